"""What a model's loss is computed from, and what becomes of it between the cross-entropy and the print."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator

from slurm_bench.pure.normal_form import nodes_of
from slurm_bench.pure.programs import Place, Program, Unit, last_name, root_of
from slurm_bench.pure.remarks import Remark, on
from slurm_bench.pure.writes import Writes

LOSSES = frozenset({"cross_entropy", "nll_loss"})
_SHAPING = {"contiguous", "detach", "flatten", "int", "long", "reshape", "squeeze", "to", "type", "unsqueeze", "view"}
"""Methods that leave a target what it is."""
_REVEALING = {
    "cat", "concat", "concatenate", "embedding", "hstack", "index_add", "one_hot", "roll", "scatter", "scatter_add",
    "stack", "vstack", "where",
}  # fmt: skip
"""Functions that make a prediction or an input of a target; also in place, with an underscore."""
_BENDING = {
    "clamp", "clamp_max", "clamp_min", "clip", "exp", "floor", "kthvalue", "log", "log1p", "max", "maximum", "median",
    "min", "minimum", "nan_to_num", "nanmedian", "pow", "quantile", "round", "sigmoid", "sqrt", "square", "tanh",
    "topk", "trunc", "where",
}  # fmt: skip
"""Functions after which a mean cross-entropy is none."""
_CONSTANTS = {"full", "ones", "scalar_tensor", "tensor", "zeros"}


def remarks(baseline: Program, candidate: Program, writes: Writes) -> Iterator[Remark]:
    """Remark on new statements of the candidate by which its loss is no cross-entropy of the next token."""
    yield from _another_loss(baseline, candidate)
    known = {unit.source for unit in baseline.units}
    places: dict[Place, list[Unit]] = defaultdict(list)
    for unit in candidate.units:
        places[unit.where].append(unit)
    for units in places.values():
        new = [unit for unit in units if unit.source not in known]
        if any(_losses_of(unit) for unit in units):
            targets, results = (
                _targets(units),
                frozenset(name for unit in units if _losses_of(unit) for name in unit.binds),
            )
            for unit in new:
                yield from _on_targets(unit, targets, writes)
                yield from _on_loss(unit, results)
        if any(unit.scope.endswith(".forward") for unit in units):
            yield from _on_state(new)


def _another_loss(baseline: Program, candidate: Program) -> Iterator[Remark]:
    """Where the baseline validates by PyTorch's cross-entropy, and nothing that the candidate calls does."""
    ours = [unit for unit in baseline.units if _losses_of(unit) and not _only_in_training(unit)]
    called = {last_name(node.func) for _, node in candidate.nodes if isinstance(node, ast.Call)} | {"forward"}
    theirs = [unit for unit in candidate.units if _losses_of(unit) and not _only_in_training(unit)]
    if ours and not any(unit.scope.rpartition(".")[2] in called for unit in theirs):
        new = [unit for unit in candidate.units if unit.scope.endswith(".forward")]
        for unit in new[-1:]:
            message = "the validated loss is not PyTorch's cross-entropy"
            yield on(unit, "comparable", message, proven=False, baseline=ours[0].written)


def losses_in(node: ast.AST) -> list[ast.Call]:
    """Return the calls of PyTorch's cross-entropies in it."""
    return _losses(nodes_of(node))


def _losses_of(unit: Unit) -> list[ast.Call]:
    return _losses(unit.nodes)


def _losses(nodes: Iterable[ast.AST]) -> list[ast.Call]:
    return [each for each in nodes if isinstance(each, ast.Call) and last_name(each.func) in LOSSES]


def _targets(units: Iterable[Unit]) -> frozenset[str]:
    """Names that hold the targets of a function's cross-entropies."""
    given = [value for unit in units for call in _losses_of(unit) for value in _second_argument(call)]
    found = frozenset(root_of(value) for value in given) - {""}
    for unit in reversed(list(units)):
        match unit.node:
            case ast.Assign(value=value) if unit.binds & found and _is_shaped(value):
                found |= {root_of(value)}
    return found


def _second_argument(call: ast.Call) -> list[ast.expr]:
    return [*call.args[1:2], *(keyword.value for keyword in call.keywords if keyword.arg == "target")]


def _is_shaped(value: ast.expr) -> bool:
    """Whether it is a variable, or a variable's values in another shape or type."""
    match value:
        case ast.Name():
            return True
        case ast.Call(func=ast.Attribute(value=inner, attr=name)):
            return name in _SHAPING and _is_shaped(inner)
        case ast.Subscript(value=inner):
            return _is_shaped(inner)
    return False


def _on_targets(unit: Unit, targets: frozenset[str], writes: Writes) -> Iterator[Remark]:
    match unit.node:
        case ast.Assign(value=value) if unit.binds & targets and not (_is_shaped(value) and root_of(value) in targets):
            yield on(unit, "comparable", "the targets are made anew", proven=True)
    if writes.into(unit) & targets:
        yield on(unit, "comparable", "the targets are changed", proven=True)
    for call in (node for node in unit.nodes if isinstance(node, ast.Call)):
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        holds = any(isinstance(node, ast.Name) and node.id in targets for each in given for node in nodes_of(each))
        function = last_name(call.func).rstrip("_")
        if holds and (function in _REVEALING or _is_part_of_model(call.func)):
            yield on(unit, "comparable", "the model is shown its targets", proven=True)


def _is_part_of_model(function: ast.expr) -> bool:
    """`self.embed`, or `self.blocks[0]`: a part that is called, no loss and no method."""
    return root_of(function) == "self" and "loss" not in last_name(function)


def _on_loss(unit: Unit, results: frozenset[str]) -> Iterator[Remark]:
    if isinstance(unit.node, ast.If | ast.While | ast.FunctionDef):
        return
    trains_only = _only_in_training(unit)
    rule = "objective" if trains_only else "comparable"
    if any(_bends(node, results) for node in unit.nodes):
        yield on(unit, rule, "the loss is changed after the cross-entropy", proven=not trains_only)
    match unit.node:
        case ast.Return(value=ast.Constant(value=int() | float())):
            yield on(unit, rule, "the loss is a constant", proven=True)
        case ast.Return(value=ast.Call(func=function)) if last_name(function) in _CONSTANTS and not _holds(
            unit.node, results
        ):
            yield on(unit, rule, "the loss is a constant", proven=True)


def _bends(node: ast.AST, results: frozenset[str]) -> bool:
    """Whether an operation makes something else of a loss that it is applied to."""
    match node:
        case ast.Call(func=function, args=arguments) if last_name(function).rstrip("_") in _BENDING:
            owner = [function.value] if isinstance(function, ast.Attribute) else []
            return any(_holds(each, results) for each in (*owner, *arguments))
        case ast.BinOp(left=left, op=ast.Mult() | ast.Sub() | ast.Pow(), right=right):
            return any(
                isinstance(number, ast.Constant) and _holds(other, results)
                for number, other in ((left, right), (right, left))
            )
        case ast.BinOp(
            left=left, op=ast.Div() | ast.FloorDiv() | ast.Mod(), right=ast.Constant(value=int() | float() as by)
        ):
            return by < _FEWEST_TOKENS and _holds(left, results)
    return False


_FEWEST_TOKENS = 64
"""By which a sum over tokens may be divided, to be a mean."""


def _holds(node: ast.AST, results: frozenset[str]) -> bool:
    names = {each.id for each in nodes_of(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)}
    return bool(names & results or losses_in(node))


def _on_state(new: Iterable[Unit]) -> Iterator[Remark]:
    """Values of the model that a pass through it changes, be it trained or not."""
    for unit in new:
        if unit.scope.endswith(".forward") and "self" in unit.touches and _counts_on(unit):
            proven = not _only_in_training(unit)
            yield on(unit, "comparable", "a pass through the model changes what it keeps", proven=proven)


def _only_in_training(unit: Unit) -> bool:
    """Whether it stands under `if self.training:`, or in the other branch of its opposite."""
    for each in (unit, *unit.heads):
        match each.parent and each.parent.node:
            case ast.If(test=ast.Attribute(attr="training")) if each.branch != "orelse":
                return True
            case ast.If(test=ast.UnaryOp(op=ast.Not(), operand=ast.Attribute(attr="training"))):
                if each.branch == "orelse":
                    return True
    return False


def _counts_on(unit: Unit) -> bool:
    """Whether the new value rests on the old one: a cache that is filled does not."""
    match unit.node:
        case ast.Assign(targets=[target], value=value):
            return any(
                isinstance(each, ast.Attribute | ast.Subscript) and ast.unparse(each) == ast.unparse(target)
                for each in nodes_of(value)
            )
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name))):
            return name.endswith("_") and name not in ("copy_", "requires_grad_", "fill_", "zero_")
    return False
