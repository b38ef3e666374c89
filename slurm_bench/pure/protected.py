"""What the rules protect in a baseline, and what has become of it in a candidate.

The baseline is ours: its statements are found by the names that all records share. The candidate's are found by
matching, whatever their names.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from slurm_bench.pure import ahead, batches, loaders, objective, shadowing, unsettled, warm_ups
from slurm_bench.pure.loaders import LOADER
from slurm_bench.pure.matching import Matching
from slurm_bench.pure.programs import EXITS, PRINTS, Program, Unit, dotted, last_name, root_of
from slurm_bench.pure.remarks import Remark, on
from slurm_bench.pure.writes import Writes

_CLOCK = frozenset({"training_time_ms", "t0"})
_READS_CLOCK = "perf_counter"
_WARM_UP_COUNT = "warmup_steps"
_WARM_UP_STATE = "initial_state"
_LOSS_IN_LOG = "val_loss:"
_TRAINING_METHODS = frozenset({"backward", "step"})
_COUNT = "the number of steps"
"""Another one is allowed, where it can be read."""


@dataclass(frozen=True)
class Group:
    """Statements that one rule protects."""

    rule: str
    what: str
    units: tuple[Unit, ...]
    breach_if_rewritten: bool = True
    breach_if_gone: bool = True
    """Where it is no breach that a statement was rewritten, or is gone, it is a suspicion."""
    unsettled: bool = False
    """Whether these, and a value by another statement, are no breach by themselves, but have to be settled."""
    breach_if_bound: Literal["ever", "derived", "never"] = "ever"
    """When a new statement may not give one of the names a value: `derived` where that is made from the old one.

    To write into the value is a breach always.
    """
    names: frozenset[str] = frozenset()
    """What the statements compute and nothing else may, within the functions that they stand in."""
    everywhere: bool = False
    """Whether that holds in all of these functions, or only in the blocks that hold the statements."""
    passes_batches: bool = False
    """Whether batches pass through the functions of its statements."""
    in_order: bool = False
    """Whether the order within a block counts for all statements, or only where one needs another."""


def differences(baseline: Program, candidate: Program) -> Iterator[Remark]:
    """What a candidate made of the statements that the rules protect."""
    groups = _groups(baseline)
    matching = Matching([unit for group in groups for unit in group.units], baseline, candidate)
    writes = Writes(candidate)
    loader = list(_with_callees(baseline, LOADER))
    on_the_way = [*loader, *(unit for group in groups if group.unsettled for unit in group.units)]
    edited = unsettled.edit(tuple(dict.fromkeys(on_the_way)), matching, candidate)
    for group in groups:
        yield from _rewritten(group, matching, candidate, edited)
        yield from _moved(group, matching)
        yield from _added(group, matching, candidate, writes)
    yield from _ended_by_measurement(_measured(groups), matching, candidate)
    yield from _trained_while_validated(matching, candidate)
    passing = [unit for group in groups if group.passes_batches for unit in group.units]
    yield from batches.other_positions(loader, edited, matching, candidate)
    yield from batches.remarks(passing, matching, candidate, writes)
    yield from objective.remarks(baseline, candidate, writes)
    yield from _in_another_order(groups, matching)
    yield from _not_reached(groups, matching, candidate)
    warm_up = [unit for group in groups if group.rule == "warm-up" for unit in group.units]
    yield from warm_ups.remarks(warm_up, matching, candidate)
    yield from ahead.remarks(_clock_starts(groups, matching), warm_up, matching, candidate)
    yield from shadowing.remarks(matching.found.values(), candidate)


# What is protected.


def _groups(baseline: Program) -> list[Group]:
    units = baseline.units
    loader = list(_with_callees(baseline, LOADER))
    deciding = list(loaders.deciding(loader))
    tokens = loaders.shards(loader)
    rest = [unit for unit in loader if unit not in deciding]
    region = _validation(units)
    feeding = [unit for unit in units if _feeds_training(unit) and unit not in region and unit not in loader]
    timed = {unit.where for unit in units if _reads_clock(unit)}
    clock = _with_all_that_bind([unit for unit in units if unit.where in timed and _is_of_the_clock(unit)], units)
    prints = [unit for unit in units if _is_print(unit) and unit not in region]
    logging = {unit.where for unit in region}
    steps = [unit for unit in units if unit.where in logging and _is_of_the_last_step(unit)]
    places = {unit.where for unit in steps}
    count = [unit for unit in units if unit.binds & {"train_steps", "step"} and unit.where in places]
    validation = [unit for unit in region if unit not in clock and not unit.only_turns_gradients_off]
    elsewhere = {*loader, *prints, *clock}
    callees = _with_callees(
        baseline, _called_by([*validation, *(unit for unit in clock if not _is_print(unit))], baseline)
    )
    carrying = [unit for unit in _with_callees(baseline, unsettled.carriers(units, baseline)) if unit not in elsewhere]
    called = [unit for unit in callees if unit not in elsewhere and unit not in carrying]
    computed = frozenset(name for unit in validation for name in unit.binds)
    return [
        Group(
            "data",
            "the data loader",
            tuple(deciding),
            unsettled=True,
            names=_bound_by(deciding) - tokens,
            everywhere=True,
            passes_batches=True,
        ),
        Group(
            "data",
            "a shard's tokens",
            tuple(unit for unit in loader if unit.binds & tokens),
            breach_if_rewritten=False,
            breach_if_gone=False,
            breach_if_bound="derived",
            names=tokens,
            everywhere=True,
        ),
        Group(
            "data",
            "what the data loader rests on",
            tuple(rest),
            breach_if_rewritten=False,
            breach_if_gone=False,
            breach_if_bound="never",
            names=_bound_by(rest),
            everywhere=True,
        ),
        Group("data", "what feeds the training", tuple(feeding), breach_if_rewritten=False, breach_if_gone=False),
        Group(
            "data",
            "what carries a batch to the model",
            tuple(carrying),
            unsettled=True,
            names=_bound_by(carrying),
            everywhere=True,
            passes_batches=True,
        ),
        Group("validation", "the validation", tuple(validation), names=computed),
        Group(
            "validation",
            "what the validation calls",
            tuple(called),
            names=_bound_by(called),
            everywhere=True,
            passes_batches=True,
        ),
        Group("timing", "the clock", tuple(clock), names=_bound_by(clock), everywhere=True, in_order=True),
        Group("steps", "the last step", tuple(steps), names=frozenset({"last_step"}), everywhere=True),
        Group(
            "steps",
            _COUNT,
            tuple(count),
            breach_if_rewritten=False,
            names=_bound_by(count),
            everywhere=True,
        ),
        Group("warm-up", "the warm-up", tuple(_warm_up(units)), breach_if_rewritten=False, in_order=True),
        Group("prints", "a print", tuple(prints), names=_bound_by(prints), everywhere=True),
    ]


def _validation(units: Sequence[Unit]) -> list[Unit]:
    """The statements of the branch that logs a validation loss."""
    branches = [unit.parent for unit in units if _LOSS_IN_LOG in _texts(unit) and unit.parent]
    return [unit for unit in units if any(unit.is_within(branch) for branch in branches)]


def _reads_clock(unit: Unit) -> bool:
    return _READS_CLOCK in _attributes(unit)


def _attributes(unit: Unit) -> set[str]:
    return {node.attr for node in unit.nodes if isinstance(node, ast.Attribute)}


def _is_of_the_clock(unit: Unit) -> bool:
    """Whether it reads the clock, waits for the GPU or handles the time, in a function that reads the clock."""
    if hasattr(unit.node, "body"):
        return False
    waits = isinstance(unit.node, ast.Expr) and "synchronize" in _attributes(unit) | unit.reads
    return waits or _reads_clock(unit) or bool((unit.binds | unit.reads) & _CLOCK)


def _feeds_training(unit: Unit) -> bool:
    """What makes the batches that are trained on, or passes them on."""
    settings = _attributes(unit)
    return "train_files" in settings or "train_loader" in unit.binds


def _with_all_that_bind(some: Sequence[Unit], units: Sequence[Unit]) -> list[Unit]:
    """These, and whatever else gives their names a value in the same functions."""
    bound = {(unit.where, name) for unit in some for name in unit.binds}
    return [unit for unit in units if unit in some or any((unit.where, name) in bound for name in unit.binds)]


def _is_print(unit: Unit) -> bool:
    if unit.scope in PRINTS or (isinstance(unit.node, ast.FunctionDef) and unit.node.name in PRINTS):
        return True
    match unit.node:
        case ast.Expr(value=ast.Call(func=ast.Name(id=name))):
            return name in PRINTS
    return False


def _is_of_the_last_step(unit: Unit) -> bool:
    """Whether it says which step is the last, or is `if last_step:` with its break."""
    if "last_step" in unit.binds:
        return True
    head = unit if isinstance(unit.node, ast.If) else unit.parent
    test = head.node.test if head and isinstance(head.node, ast.If) else None
    return isinstance(test, ast.Name) and test.id == "last_step" and isinstance(unit.node, ast.If | ast.Break)


def _called_by(units: Sequence[Unit], baseline: Program) -> frozenset[str]:
    """The program's own functions that they name."""
    return frozenset(name for unit in units for name in unit.reads & baseline.definitions)


def _with_callees(baseline: Program, names: frozenset[str]) -> Iterator[Unit]:
    """Definitions, and what else of the program's top they are built from."""
    top = {name: unit for unit in baseline.units if not unit.scope for name in unit.binds}
    wanted, seen = [name for name in sorted(names) if name in top], set[str]()
    while wanted:
        name = wanted.pop()
        seen.add(name)
        inner = [unit for unit in baseline.units if f"{unit.scope}.".startswith(f"{name}.")]
        yield top[name]
        yield from inner
        used = {read for unit in [top[name], *inner] for read in unit.reads}
        wanted += sorted((used & baseline.definitions) - seen - set(wanted))


def _warm_up(units: Sequence[Unit]) -> Iterator[Unit]:
    """What takes the state before the warm-up, its loop, and what puts the state back."""
    heads = [unit for unit in units if _WARM_UP_STATE in unit.binds | unit.reads]
    loops = [unit for unit in units if _WARM_UP_COUNT in unit.reads]
    for unit in units:
        if unit in heads or unit in loops or any(unit.is_within(head) for head in heads):
            yield unit


def _bound_by(units: Sequence[Unit]) -> frozenset[str]:
    return frozenset(name for unit in units for name in unit.binds)


def _texts(unit: Unit) -> str:
    """All string constants in it."""
    constants = (node.value for node in unit.nodes if isinstance(node, ast.Constant))
    return "\n".join(value for value in constants if isinstance(value, str))


# What has become of it.


def _rewritten(group: Group, matching: Matching, candidate: Program, edited: Unit | None) -> Iterator[Remark]:
    for unit in group.units:
        new = matching.changed.get(unit)
        if new:
            if group.what == _COUNT and candidate.declares_steps and _sets_steps(new):
                continue
            message = f"{group.what} was changed"
            is_open = unsettled.takes_further_values(unit, new) or (group.unsettled and new is not edited)
            proven = group.breach_if_rewritten and (None if is_open else True)
            yield on(new, group.rule, message, proven=proven, baseline=unit.written)
        elif unit not in matching.found:
            near = matching.nearest(unit) or unit
            excused = group.rule == "warm-up" and warm_ups.is_rewritten(unit, group.units, matching, candidate)
            message = f"a statement of {group.what} is gone"
            yield Remark(
                rule=group.rule,
                message=message,
                proven=group.breach_if_gone and not excused and (None if group.unsettled else True),
                file=near.file,
                line=near.line,
                baseline=unit.written,
            )
        elif unit in matching.extended:
            message = f"{group.what} calls the model with other arguments"
            yield on(matching.found[unit], group.rule, message, proven=False, baseline=unit.written)


def _sets_steps(unit: Unit) -> bool:
    match unit.node:
        case ast.Assign(targets=[ast.Name("train_steps")]):
            return True
    return False


def _moved(group: Group, matching: Matching) -> Iterator[Remark]:
    for unit in group.units:
        new = matching.found.get(unit)
        if new and new.where != unit.where:
            yield on(new, group.rule, f"{group.what} was moved; see what calls it", proven=False)


def _added(group: Group, matching: Matching, candidate: Program, writes: Writes) -> Iterator[Remark]:
    """Further statements that compute what only the protected ones may, or that stand among them."""
    found = [matching.found[unit] for unit in group.units if unit in matching.found]
    blocks = {(unit.where, unit.parent) for unit in found if unit.parent}
    moved_to = {unit.scope.rpartition(".")[2] for unit in found}
    results = _results(group, matching)
    all_results = frozenset(name for names in results.values() for name in names)
    for unit in candidate.units:
        if not matching.is_new(unit):
            continue
        if isinstance(unit.node, ast.Global | ast.Nonlocal) and unit.binds & all_results:
            yield on(unit, group.rule, f"{group.what} is meddled with", proven=True)
        among = any(where == unit.where and (unit.parent is block or unit.is_within(block)) for where, block in blocks)
        if unit.where not in results or not (group.everywhere or among):
            continue
        ours = results[unit.where]
        if unit.binds & ours and _is_call_of(unit, moved_to):
            yield on(unit, group.rule, f"{group.what} comes out of a function", proven=False)
        elif unit.binds & ours or writes.into(unit) & writes.views(unit.where, ours):
            written = writes.into(unit) & writes.views(unit.where, ours)
            breach = bool(written or _bound_wrongly(unit, ours, group))
            is_open = (not written or unsettled.only_grows(unit)) and _is_open(unit, ours, group, matching)
            proven = breach and (None if is_open else True)
            yield on(unit, group.rule, f"{group.what} is meddled with", proven=proven)
        elif among and group.names and not group.everywhere:
            yield on(unit, group.rule, f"a statement was added to {group.what}", proven=False)


def _is_open(unit: Unit, ours: set[str], group: Group, matching: Matching) -> bool:
    """Whether the group's values may come to the same as before, though a further statement makes them."""
    lost = [each for each in group.units if each not in matching.found]
    if not group.unsettled:
        return any(unsettled.takes_further_values(each, unit) for each in lost)
    replaces = bool(_bound_by(lost) & unit.binds)
    return replaces or not unsettled.changes_what_was_computed(unit, frozenset(ours))


def _bound_wrongly(unit: Unit, ours: set[str], group: Group) -> bool:
    if group.breach_if_bound == "derived":
        return bool(unit.binds & unit.reads & ours)
    return group.breach_if_bound == "ever" and not _begins(unit)


def _begins(unit: Unit) -> bool:
    """Whether it only gives a counter of the loader its zero, before any loop: a branch may hold it or not."""
    match unit.node:
        case ast.Assign(value=ast.Constant(value=0)):
            return unit.loops == 0 and unit.scope in LOADER
    return False


def _results(group: Group, matching: Matching) -> dict[tuple[str, str], set[str]]:
    """By function of the candidate the names that hold what the group computes."""
    results: dict[tuple[str, str], set[str]] = defaultdict(set)
    for unit in group.units:
        new = matching.found.get(unit)
        if new:
            named = matching.old_names(new.where).items()
            results[new.where] |= {theirs for theirs, ours in named if ours in unit.binds & group.names}
    return results


def _measured(groups: Sequence[Group]) -> frozenset[str]:
    """What the validation and the clock say: the names in the line that is logged."""
    clock = {name for group in groups if group.rule == "timing" for name in group.names}
    logged = {name for group in groups for unit in group.units if _LOSS_IN_LOG in _texts(unit) for name in unit.reads}
    return frozenset(clock | {name for group in groups if group.rule == "validation" for name in logged & group.names})


def _in_another_order(groups: Sequence[Group], matching: Matching) -> Iterator[Remark]:
    """Statements of one block of which a later one needs what an earlier one did, the other way round."""
    for group in groups:
        found = [(unit, matching.found[unit]) for unit in group.units if unit in matching.found]
        for number, (first, new_first) in enumerate(found):
            for second, new_second in found[number + 1 :]:
                together = (first.where, first.parent) == (second.where, second.parent)
                together = together and (new_first.where, new_first.parent) == (new_second.where, new_second.parent)
                if together and new_first.line > new_second.line and (group.in_order or _depends(second, first)):
                    yield on(new_second, group.rule, f"{group.what} comes in another order", proven=True)


def _depends(second: Unit, first: Unit) -> bool:
    changed = first.binds | first.touches
    return bool(changed & (second.reads | second.binds | second.touches) or first.reads & second.binds)


def _not_reached(groups: Sequence[Group], matching: Matching, candidate: Program) -> Iterator[Remark]:
    """Functions with protected statements in them that nothing calls, or that do not run when they are called."""
    used = {name for unit in candidate.units for name in unit.reads}
    attributes = {node for _, node in candidate.nodes if isinstance(node, ast.Attribute)}
    used |= {node.attr for node in attributes if root_of(node) in candidate.modules}
    methods = {node.attr for node in attributes}
    was = {unit.scope for group in groups for unit in group.units if _is_generator(unit)}
    places = {new.where: unit.scope for unit, new in matching.found.items() if new.scope}
    for unit in candidate.units:
        inner = unit.file, f"{unit.scope}.{next(iter(unit.binds), '')}".strip(".")
        if isinstance(unit.node, ast.FunctionDef | ast.AsyncFunctionDef) and inner in places:
            if unit.node.name not in (used | methods if unit.scope else used) and unit.node.name != "__init__":
                yield on(unit, "readable", "protected statements stand where nothing calls them", proven=True)
            if isinstance(unit.node, ast.AsyncFunctionDef):
                yield on(unit, "readable", "protected statements do not run when they are called", proven=True)
        if unit.where in places and _is_generator(unit) and places[unit.where] not in was:
            yield on(unit, "readable", "protected statements do not run when they are called", proven=True)


def _is_generator(unit: Unit) -> bool:
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in unit.nodes)


def _ended_by_measurement(measured: frozenset[str], matching: Matching, candidate: Program) -> Iterator[Remark]:
    """A loop, a function or the program that ends under a condition on what was measured."""
    for unit in candidate.units:
        if not matching.is_new(unit) or not _ends_something(unit):
            continue
        here = {theirs for theirs, name in matching.old_names(unit.where).items() if name in measured}
        if any(here & head.reads for head in unit.heads if isinstance(head.node, ast.If | ast.While)):
            yield on(unit, "steps", "the run ends by what it measures", proven=True)


def _trained_while_validated(matching: Matching, candidate: Program) -> Iterator[Remark]:
    """Training, in person or by a function that is handed on, in the branch that logs a validation loss."""
    branches = {
        (unit.parent, unit.branch)
        for unit in candidate.units
        if _LOSS_IN_LOG in _texts(unit) and unit.parent and isinstance(unit.parent.node, ast.If)
    }
    for unit in candidate.units:
        inside = any((each.parent, each.branch) in branches for each in (unit, *unit.heads))
        if inside and matching.is_new(unit) and _trains(unit, candidate):
            yield on(unit, "validation", "the model is trained where it is validated", proven=True)


def _trains(unit: Unit, candidate: Program) -> bool:
    calls = (node.func for node in unit.nodes if isinstance(node, ast.Call))
    methods = {function.attr for function in calls if isinstance(function, ast.Attribute)}
    return bool(methods & _TRAINING_METHODS or unit.reads & candidate.trainers)


def _ends_something(unit: Unit) -> bool:
    match unit.node:
        case ast.Break() | ast.Return() | ast.Raise():
            return True
        case ast.Expr(value=ast.Call(func=function)):
            return dotted(function) in EXITS
    return False


def _clock_starts(groups: Sequence[Group], matching: Matching) -> list[Unit]:
    """The candidate's statements that first read the clock."""
    clock = (unit for group in groups if group.rule == "timing" for unit in group.units)
    reading = [unit for unit in clock if _READS_CLOCK in unit.source and unit in matching.found and not unit.parent]
    return [matching.found[unit] for unit in reading]


def _is_call_of(unit: Unit, functions: set[str]) -> bool:
    match unit.node:
        case ast.Assign(value=ast.Call(func=ast.Attribute(value=ast.Call(func=called), attr="item"))):
            return last_name(called) in functions
        case ast.Assign(value=ast.Call(func=called)):
            return last_name(called) in functions
    return False
