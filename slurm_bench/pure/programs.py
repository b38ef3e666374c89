"""A Python program as a list of its statements, in a form in which names do not matter.

Two statements have the same shape if they differ only in the names that their program chose itself, in annotations,
in comments, or in `x += y` against `x = x + y`.
"""

import ast
import builtins
import copy
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from slurm_bench.pure.normal_form import Renamer, nodes_of, normalised, text_of
from slurm_bench.pure.rules import PROGRAM
from slurm_bench.pure.settings import declared_steps

_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")
_WITHOUT_GRADIENTS = ("torch.no_grad()", "torch.inference_mode()")
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
EXITS = ("sys.exit", "exit", "quit", "os._exit")
"""Calls that end the program."""
PRINTS = frozenset({"print", "print0"})
"""Functions that only say something."""
_WRITING = {"byteswap", "fill", "itemset", "partition", "put", "setfield", "sort"}
"""Methods of arrays that change them; those of tensors end in an underscore."""
_FILLING = {"copyto", "fill_diagonal", "place", "put", "put_along_axis", "putmask", "shuffle"}
"""Functions of libraries that write into their first argument."""
Place = tuple[str, str]
"""A file, and the qualified name of a function or class in it."""
_LOOPS = (ast.For, ast.AsyncFor, ast.While)


@dataclass(frozen=True)
class Form:
    """A statement without the names that its program chose."""

    shape: str
    """Its source with placeholders."""
    names: tuple[str, ...]
    """What stood where the placeholders are, in order."""


@dataclass(frozen=True, eq=False)
class Unit:
    """A simple statement, or the head of a compound one."""

    file: str
    scope: str
    """Qualified name of the function or class around it; empty at the top of a file."""
    node: ast.stmt
    """Normalised; of a compound statement without what it encloses."""
    parent: "Unit | None"
    """The compound statement around it within the same scope."""
    branch: str
    """The block of its parent that it stands in."""
    written: str
    """As it stands in its file."""
    given: frozenset[str] = field(repr=False)
    """Names that the program did not choose."""
    caught: frozenset[str] = frozenset()
    """Names that its clauses bind."""

    @property
    def line(self) -> int:
        return self.node.lineno

    @property
    def where(self) -> Place:
        return self.file, self.scope

    @cached_property
    def nodes(self) -> Sequence[ast.AST]:
        """All nodes of its tree."""
        return nodes_of(self.node)

    @cached_property
    def source(self) -> str:
        return text_of(self.node)

    @cached_property
    def form(self) -> Form:
        return _form(self.node, self.given)

    @cached_property
    def path(self) -> tuple[str, ...]:
        """The compound statements around it, from the innermost loop (left away) inwards."""
        if self.parent is None or isinstance(self.parent.node, _LOOPS):
            return ()
        if self.parent.only_turns_gradients_off:
            return self.parent.path
        return (*self.parent.path, f"{self.parent.form.shape} {self.branch}")

    @cached_property
    def only_turns_gradients_off(self) -> bool:
        """A block that changes no result; whether it is one or a decorator is a matter of taste."""
        items = self.node.items if isinstance(self.node, ast.With) else []
        return bool(items) and all(text_of(item) in _WITHOUT_GRADIENTS for item in items)

    @cached_property
    def loops(self) -> int:
        """How many loops are around it."""
        if self.parent is None:
            return 0
        return self.parent.loops + isinstance(self.parent.node, _LOOPS)

    @cached_property
    def reads(self) -> frozenset[str]:
        return frozenset(_names_in(self.node, ast.Load))

    @cached_property
    def binds(self) -> frozenset[str]:
        """Names that it gives a meaning."""
        bound = {*_names_in(self.node, ast.Store), *self.caught}
        match self.node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                bound |= {alias.asname or alias.name.partition(".")[0] for alias in aliases}
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                bound |= set(names)
        return frozenset(bound)

    @cached_property
    def touches(self) -> frozenset[str]:
        """Names whose values it changes in place: through an attribute, an index, a method's call or `out=`."""
        changed = {root_of(node) for node in self.nodes if _is_written_part(node)}
        for call in (node for node in self.nodes if isinstance(node, ast.Call)):
            # Of a method whose result goes nowhere only what it changes can be wanted.
            if isinstance(call.func, ast.Attribute) and (isinstance(self.node, ast.Expr) or _writes(call.func.attr)):
                changed.add(root_of(call.func))
            if last_name(call.func) in _FILLING and call.args:
                changed.add(root_of(call.args[0]))
            changed |= {root_of(keyword.value) for keyword in call.keywords if keyword.arg == "out"}
        return frozenset(changed - {""})

    @property
    def heads(self) -> Iterator["Unit"]:
        """The compound statements around it, from the inside."""
        head = self.parent
        while head is not None:
            yield head
            head = head.parent

    def is_within(self, other: "Unit") -> bool:
        return other in self.heads


class Program:
    """The Python files of a candidate or a baseline.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: a file cannot be parsed.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self._lines = {name: text.split("\n") for name, text in files.items() if name.endswith(".py")}
        self._trees = {name: normalised(ast.parse(files[name], name)) for name in self._lines}
        self.modules = frozenset(_modules(self._trees))
        """Its own modules and packages."""
        self.foreign = frozenset(self._foreign_names())
        """Names that stand for libraries, or for parts of them."""
        given = self.foreign | frozenset(dir(builtins))
        self.units = tuple(
            unit
            for name, tree in self._trees.items()
            for unit in _Reader(name, self._lines[name], given).units(tree, "", None)
        )
        self.definitions = frozenset(
            name for unit in self.units if isinstance(unit.node, _SCOPES) for name in unit.binds if not unit.scope
        )

        bound = Counter(name for unit in self.units for name in unit.binds)
        self.locals = frozenset(self._local_nodes())
        """Numbers of nodes that stand on a variable of their own function, whatever a library is called."""
        self.aliases = frozenset(name for name in self._aliases() if bound[name] == 1)
        """Variables that are nothing but another name of a library or its parts."""

    @property
    def files(self) -> Iterable[str]:
        return self._trees.keys()

    @cached_property
    def imported(self) -> frozenset[str]:
        """Modules that its import statements name, with the packages around them."""
        named = (name for file, node in self.nodes for name in _imports(node, file))
        return frozenset(package for name in named for package in _with_packages(name))

    @cached_property
    def constants(self) -> Mapping[str, ast.Constant]:
        """Variables that only ever hold one constant."""
        bound = Counter(name for unit in self.units for name in unit.binds)
        found = {}
        for unit in self.units:
            match unit.node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant() as value) if bound[name] == 1:
                    found[name] = value
        return found

    @cached_property
    def trainers(self) -> frozenset[str]:
        """`backward`, and the program's functions that call it, themselves or through others."""
        called: dict[str, set[str]] = defaultdict(set)
        for unit in self.units:
            calls = (node.func for node in unit.nodes if isinstance(node, ast.Call))
            # `model.train()` is no call of a function `train`.
            functions = {last_name(each) for each in calls if isinstance(each, ast.Name) or last_name(each) != "train"}
            called[unit.scope.partition(".")[0]] |= functions
        found = {"backward"}
        while more := {name for name, names in called.items() if name and names & found} - found:
            found |= more
        return frozenset(found)

    @cached_property
    def declares_steps(self) -> bool:
        """Whether its text says how many steps it trains for."""
        return bool(declared_steps("\n".join(self._lines.get(PROGRAM, []))))

    def trains(self, node: ast.AST) -> bool:
        """Whether something in it takes a step of training."""
        called = {last_name(each.func) for each in nodes_of(node) if isinstance(each, ast.Call)}
        return bool(called & ({"step"} | self.trainers))

    @cached_property
    def functions(self) -> frozenset[str]:
        """Names of the functions at the top of its files."""
        return frozenset(
            unit.node.name for unit in self.units if isinstance(unit.node, ast.FunctionDef) and not unit.scope
        )

    @cached_property
    def nodes(self) -> Sequence[tuple[str, ast.AST]]:
        """Every node of the normalised trees, with its file."""
        return [(name, node) for name, tree in self._trees.items() for node in nodes_of(tree)]

    def line(self, file: str, number: int) -> str:
        """A line as it stands in its file."""
        lines = self._lines[file]
        return lines[number - 1].strip() if 0 < number <= len(lines) else ""

    def _foreign_names(self) -> Iterator[str]:
        for _, node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.partition(".")[0] not in self.modules:
                        yield alias.asname or alias.name.partition(".")[0]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module not in self.modules:
                yield from (alias.asname or alias.name for alias in node.names)

    def _local_nodes(self) -> Iterator[int]:
        own: dict[tuple[str, str], set[str]] = defaultdict(set)
        for unit in self.units:
            if not isinstance(unit.node, ast.Import | ast.ImportFrom | ast.Global | ast.Nonlocal):
                own[unit.where] |= unit.binds
            if isinstance(unit.node, ast.FunctionDef):
                inner = f"{unit.scope}.{unit.node.name}".strip(".")
                own[unit.file, inner] |= {node.arg for node in nodes_of(unit.node.args) if isinstance(node, ast.arg)}
        for unit in self.units:
            if unit.scope:
                yield from (id(node) for node in unit.nodes if root_of(node) in own[unit.where])

    def _aliases(self) -> Iterator[str]:
        for unit in self.units:
            match unit.node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name() | ast.Attribute() as value):
                    if root_of(value) in self.foreign:
                        yield name


def form_with_cut_calls(unit: Unit, definitions: frozenset[str], keep: int) -> Form:
    """Its form, as if a variable that is called (a model, not a function) got its first arguments only."""
    node = copy.deepcopy(unit.node)
    for call in nodes_of(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            name = call.func.id
            if name not in unit.given and name not in definitions:
                call.args, call.keywords = call.args[:keep], []
    return _form(node, unit.given)


def _form(node: ast.stmt, given: frozenset[str]) -> Form:
    renamer = Renamer(given)
    stripped = renamer.visit(copy.deepcopy(node))
    return Form(text_of(stripped), tuple(renamer.names))


def last_name(node: ast.AST) -> str:
    """`c` of a.b.c."""
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def dotted(node: ast.AST) -> str:
    """a.b.c as it is written, or nothing where it is more than names and dots."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else ""


def imported_roots(node: ast.AST) -> list[str]:
    """Return `a` for each a.b.c that an import statement takes from outside the package that it stands in."""
    match node:
        case ast.Import(names=names):
            return [each.name.partition(".")[0] for each in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module.partition(".")[0]]
    return []


def root_of(node: ast.AST) -> str:
    """`a` of a.b[c].d(), or nothing."""
    while True:
        match node:
            case ast.Attribute(value=inner) | ast.Subscript(value=inner) | ast.Starred(value=inner):
                node = inner
            case ast.Call(func=inner):
                node = inner
            case ast.Name(id=name):
                return name
            case _:
                return ""


def _writes(method: str) -> bool:
    return method in _WRITING or (method.endswith("_") and not method.endswith("__"))


def _is_written_part(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del)


def _names_in(node: ast.AST, context: type[ast.expr_context]) -> Iterator[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, context):
        yield node.id
    for field_name, value in ast.iter_fields(node):
        if isinstance(node, ast.comprehension) and field_name == "target":
            continue  # a name of the comprehension's own
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _names_in(child, context)


def _names_in_clauses(statement: ast.stmt) -> set[str]:
    """What a statement's `except … as` and `case` clauses bind."""
    handlers = [handler.name for handler in getattr(statement, "handlers", ()) if handler.name]
    patterns = [node for case in getattr(statement, "cases", ()) for node in nodes_of(case.pattern)]
    captured = [getattr(node, "name", None) or getattr(node, "rest", None) for node in patterns]
    return {name for name in (*handlers, *captured) if name}


class _Reader:
    """Reads one file's statements in order."""

    def __init__(self, file: str, lines: Sequence[str], given: frozenset[str]) -> None:
        self._file, self._lines, self._given = file, lines, given

    def units(self, node: ast.AST, scope: str, parent: Unit | None, clause: str = "") -> Iterator[Unit]:
        for block in _BLOCKS:
            for child in getattr(node, block, ()):
                if not isinstance(child, ast.stmt):  # an except clause, a case: its statements count as its parent's
                    yield from self.units(child, scope, parent, _clause(child))
                    continue
                branch = clause if block == "body" else block
                caught = frozenset(_names_in_clauses(child))
                unit = Unit(self._file, scope, _head(child), parent, branch, self._written(child), self._given, caught)
                yield unit
                if isinstance(child, _SCOPES):
                    yield from self.units(child, f"{scope}.{child.name}".strip("."), None)
                else:
                    yield from self.units(child, scope, unit)

    def _written(self, statement: ast.stmt) -> str:
        last = statement.end_lineno or statement.lineno
        body = getattr(statement, "body", None)
        if body:
            last = max(statement.lineno, body[0].lineno - 1)
        return textwrap.dedent("\n".join(self._lines[statement.lineno - 1 : last])).strip()


def module_of(file: str) -> str:
    """Return the dotted name by which a file is imported."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _modules(files: Iterable[str]) -> Iterator[str]:
    for file in files:
        yield from _with_packages(module_of(file))


def _with_packages(module: str) -> Iterator[str]:
    """`a`, `a.b` and `a.b.c` of a.b.c."""
    parts = module.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _imports(node: ast.AST, file: str) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (each.name for each in names)
        case ast.ImportFrom(module=module, level=level, names=names):
            package = file.removesuffix(".py").split("/")[: -level or None] if level else []
            source = ".".join([*package, *([module] if module else [])])
            yield from (f"{source}.{each.name}" for each in names)


def _clause(node: ast.AST) -> str:
    bare = copy.copy(node)
    if hasattr(bare, "body"):
        bare.body = [ast.Pass()]
    return text_of(bare).partition("\n")[0]


def _head(statement: ast.stmt) -> ast.stmt:
    """The statement without what it encloses."""
    if not hasattr(statement, "body"):
        return statement
    bare = copy.copy(statement)
    for block in _BLOCKS:
        if hasattr(bare, block):
            setattr(bare, block, [ast.Pass()] if block == "body" else [])
    return bare
