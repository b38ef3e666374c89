"""Forms of a syntax tree in which what does not matter is gone."""

import ast
import copy

_ANY_NAME = "_"
_LARGEST_FOLDED = 2**64
_EXACT = {"dtype=torch.float32", "dtype=torch.float64", "dtype=torch.float"}
"""Types in which a sum of losses that begins with torch's zero is as good as with Python's."""


def normalised(tree: ast.Module) -> ast.Module:
    """A program without what cannot change what it does: annotations, docstrings, ways of writing a number.

    The tree that is handed over is changed itself.
    """
    normalised = _Normaliser().visit(tree)
    assert isinstance(normalised, ast.Module)
    return ast.fix_missing_locations(normalised)


def text_of(node: ast.AST) -> str:
    """Its source; where Python cannot write it, some other text that is the same for the same node."""
    try:
        return ast.unparse(node)
    except ValueError:
        return ast.dump(node)


def nodes_of(tree: ast.AST) -> list[ast.AST]:
    """It and all below it, in the order of `ast.walk` and in half of its time; without the contexts of names."""
    found = [tree]
    for node in found:
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, list):
                found += [each for each in value if isinstance(each, ast.AST)]
            elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
                found.append(value)
    return found


def folded(expression: ast.expr) -> str:
    """Its source, integer arithmetic carried out."""
    return text_of(_Normaliser().visit(copy.deepcopy(expression)))


class _Normaliser(ast.NodeTransformer):
    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return self._assign(node, node.target, self.visit(node.value))

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        old = copy.deepcopy(node.target)
        old.ctx = ast.Load()
        return self._assign(node, node.target, ast.BinOp(old, node.op, self.visit(node.value)))

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Other ways of writing the sum that begins a mean, and a reduction that only its printer reads."""
        self.generic_visit(node)
        match node:
            case ast.Call(
                func=ast.Attribute(ast.Name("torch"), "zeros"),
                args=[ast.Tuple(elts=[]) | ast.List(elts=[])],
                keywords=options,
            ):
                if all(option.arg == "device" or ast.unparse(option) in _EXACT for option in options):
                    return ast.copy_location(ast.Constant(0), node)
            case ast.Call(func=ast.Attribute(ast.Name("dist") as module, "reduce"), args=[value, ast.Constant(0)]):
                function = ast.copy_location(ast.Attribute(module, "all_reduce", ast.Load()), node.func)
                return ast.copy_location(ast.Call(function, [value], node.keywords), node)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        match node:
            case ast.BinOp(ast.Constant(value=int(left)), op, ast.Constant(value=int(right))):
                value = _folded(left, op, right)
                return node if value is None else ast.copy_location(ast.Constant(value), node)
            case ast.BinOp(left, ast.Mult() as op, ast.Constant(value=int() | float()) as factor):
                return ast.copy_location(ast.BinOp(factor, op, left), node)
        return node

    @staticmethod
    def _assign(node: ast.stmt, target: ast.expr, value: ast.expr) -> ast.AST:
        return ast.copy_location(ast.Assign([target], value), node)


def _folded(left: int, op: ast.operator, right: int) -> int | None:
    match op:
        case ast.Mult() if abs(left * right) < _LARGEST_FOLDED:
            return left * right
        case ast.Add() if abs(left + right) < _LARGEST_FOLDED:
            return left + right
        case ast.Pow() if abs(left) <= 10 and 0 <= right <= 20:
            return int(left**right)
        case ast.LShift() if left >= 0 and 0 <= right < 64 and left << right < _LARGEST_FOLDED:
            return left << right
    return None


class Renamer(ast.NodeTransformer):
    """Puts a placeholder for each name that is not given, and remembers what it replaced."""

    def __init__(self, given: frozenset[str]) -> None:
        self._given = given
        self.names: list[str] = []

    def _placeholder(self, name: str) -> str:
        if name in self._given:
            return name
        self.names.append(name)
        return _ANY_NAME

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._placeholder(node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg = self._placeholder(node.arg)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self._placeholder(node.name)
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.name = self._placeholder(node.name)
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.name = self._placeholder(node.name)
        return self.generic_visit(node)
