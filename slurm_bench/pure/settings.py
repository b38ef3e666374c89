"""What a program's text sets: the values of its settings, as far as they can be read without running it."""

import ast
import itertools
import operator
from collections import defaultdict
from collections.abc import Iterator, Sequence

from slurm_bench.pure.normal_form import nodes_of

Value = int | str | bool

_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv}
_LARGEST = 10**12
_MOST_VALUES = 64
_MOST_BINDINGS = 64
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


class Settings:
    """Settings by their names, wherever the text gives them a value; text that is no Python sets nothing."""

    def __init__(self, program: str) -> None:
        self._given: dict[str, list[ast.expr]] = defaultdict(list)
        self._read: dict[str, frozenset[Value] | None] = {}
        try:
            nodes = nodes_of(ast.parse(program))
            for name, value in (*_assigned(nodes), *_handed_over(nodes), *_otherwise(nodes)):
                self._given[name].append(value)
        except _UNREADABLE:
            self._given.clear()

    def sets(self, name: str) -> bool:
        return name in self._given

    def texts(self, name: str) -> list[str]:
        """Return the expressions that give a setting its value, as they are written."""
        return [ast.unparse(value) for value in self._given.get(name, [])]

    def values(self, name: str) -> frozenset[Value] | None:
        """Return the values that a setting is given, several where it has presets; None if one cannot be read."""
        try:
            return self._values_of(name, frozenset())
        except RecursionError:
            return None

    def numbers(self, name: str) -> frozenset[int]:
        """Return the whole numbers that a setting is given; none if one of its values is no number, or not readable."""
        values = self.values(name) or frozenset()
        numbers = frozenset(value for value in values if isinstance(value, int) and not isinstance(value, bool))
        return numbers if len(numbers) == len(values) else frozenset()

    def _values_of(self, name: str, on_the_way: frozenset[str]) -> frozenset[Value] | None:
        if name in self._read:
            return self._read[name]
        given = self._given.get(name, [])
        found: frozenset[Value] | None = frozenset() if len(given) <= _MOST_BINDINGS else None
        for value in given if found is not None else ():
            read = self._evaluated(value, on_the_way | {name})
            found = None if read is None or found is None or len(found | read) > _MOST_VALUES else found | read
            if found is None:
                break
        if not on_the_way:
            self._read[name] = found
        return found

    def _evaluated(self, expression: ast.expr, on_the_way: frozenset[str]) -> frozenset[Value] | None:
        match expression:
            case ast.Constant(value=int() | str() as value):
                return frozenset({value}) if isinstance(value, str) or abs(value) <= _LARGEST else None
            case ast.Name(id=name) | ast.Attribute(attr=name):
                if name in on_the_way:
                    return frozenset()  # `self.steps = steps`: what it is given elsewhere
                return self._values_of(name, on_the_way) or None
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return self._combined(type(op), left, right, on_the_way)
        return None

    def _combined(
        self, op: type[ast.operator], left: ast.expr, right: ast.expr, on_the_way: frozenset[str]
    ) -> frozenset[Value] | None:
        ours, theirs = self._evaluated(left, on_the_way), self._evaluated(right, on_the_way)
        if ours is None or theirs is None or any(isinstance(value, str) for value in ours | theirs):
            return None
        found: set[Value] = set()
        for pair in itertools.product(ours, theirs):
            try:
                value = _OPERATORS[op](*pair)
            except ZeroDivisionError:
                return None
            if len(found) > _MOST_VALUES or abs(value) > _LARGEST:
                return None
            found.add(value)
        return frozenset(found)


def _assigned(nodes: Sequence[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """Assignments to names and attributes, and arguments given by name."""
    for node in nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=name) | ast.Attribute(attr=name)], value=value):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name) | ast.Attribute(attr=name), value=ast.expr() as value):
                yield name, value
            case ast.keyword(arg=str(name), value=value):
                yield name, value


def _otherwise(nodes: Sequence[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """Names that get a value in any other way, which is not read: `for`, `with`, `:=`, `-=`, among several."""
    plain = {id(target) for node in nodes if isinstance(node, ast.Assign) for target in node.targets[:1]}
    plain |= {id(node.target) for node in nodes if isinstance(node, ast.AnnAssign)}
    for node in nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) if (
                id(node) not in plain
            ):
                yield name, ast.Constant(None)


def _handed_over(nodes: Sequence[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """Arguments of the program's own functions and classes that calls give by their place."""
    parameters: dict[str, list[str]] = {}
    for node in nodes:
        match node:
            case ast.FunctionDef(name=name, args=arguments):
                parameters.setdefault(name, [each.arg for each in arguments.args])
            case ast.ClassDef(name=name, body=body):
                for each in body:
                    if isinstance(each, ast.FunctionDef) and each.name == "__init__":
                        parameters[name] = [parameter.arg for parameter in each.args.args[1:]]
    for node in nodes:
        match node:
            case ast.Call(func=ast.Name(id=called), args=given) if called in parameters:
                yield from zip(parameters[called], given, strict=False)


_SUM = ("num_scheduled_iterations", "num_extension_iterations")
"""Later records split their steps in two; their log counts the sum."""
_STEPS = ("num_iterations", "iteration_extension", "train_steps", *_SUM)


def declared_steps(program: str) -> frozenset[int]:
    """Return the numbers of training steps that a program's text sets, several where it has presets.

    None if any of them cannot be read: an honest run may then count to a number that we do not know.
    """
    settings = Settings(program)
    found: set[int] = set()
    for name in filter(settings.sets, _STEPS):
        numbers = settings.numbers(name)
        if not numbers:
            return frozenset()
        found |= numbers
    scheduled, extension = (settings.numbers(name) for name in _SUM)
    return frozenset(found | {sum(pair) for pair in itertools.product(scheduled, extension)})
