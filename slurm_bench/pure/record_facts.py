"""What a starting record does where a rule says "as in the starting record", read from its program.

The words are for the agent, for model judges and for readers. Where nothing can be read they say so; a task's
configuration may then say it (`task.facts`).
"""

import ast
from collections.abc import Iterable, Iterator, Mapping

from slurm_bench.pure.loaders import LOADER
from slurm_bench.pure.objective import losses_in
from slurm_bench.pure.programs import last_name, root_of
from slurm_bench.pure.rules import FOLLOWING, PROGRAM
from slurm_bench.pure.settings import Settings
from slurm_bench.words.errors import UsageError

UNREAD = "its program decides, and reading it by machine did not tell"
_PLAIN = "the cross-entropy of the next token, each with the same weight"
_SHAPE = {"input", "target", "reduction"}
"""What a cross-entropy may be given without becoming another."""
_WARM_UP = "warmup_steps"
_CLOCK = "perf_counter"


def of(record: Mapping[str, str], stated: Mapping[str, str]) -> dict[str, str]:
    """Return words for each rule that follows the starting record.

    Args:
        record: the files of the starting record, by name.
        stated: words by rule that a person knows better.

    Raises:
        UsageError: words are stated for what is no such rule.
    """
    unknown = sorted(set(stated) - set(FOLLOWING))
    if unknown:
        raise UsageError(f"task.facts: {unknown[0]} is no rule that follows the record; known: {', '.join(FOLLOWING)}")
    try:
        read = _read(record.get(PROGRAM, ""))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        read = {}
    return {rule: stated.get(rule) or read.get(rule) or UNREAD for rule in FOLLOWING}


def _read(program: str) -> dict[str, str]:
    tree, settings = ast.parse(program), Settings(program)
    return {
        "steps": _steps(settings),
        "validation": _validation(tree, settings),
        "data": _loader(tree, settings),
        "objective": _objective(tree),
        "compiler": _compiler(tree),
        "timing": _clock(tree),
        "warm-up": _warm_up(tree, settings),
    }


def _steps(settings: Settings) -> str:
    return _choice(settings.numbers("train_steps"), "steps")


def _choice(values: Iterable[int | str | bool], unit: str) -> str:
    """`10, 20 or 30 steps`; nothing for no values."""
    shown = [str(value) for value in sorted(values, key=lambda value: (str(type(value)), value))]
    return f"{' or '.join(filter(None, [', '.join(shown[:-1]), shown[-1]]))} {unit}".rstrip() if shown else ""


def _validation(tree: ast.Module, settings: Settings) -> str:
    tokens, batch = settings.numbers("val_tokens"), settings.numbers("val_batch_size")
    if not tokens or not batch:
        return ""
    aligned = {ast.unparse(value) for name, value in _keywords(tree, LOADER) if name == "align_to_bos"} - {"True"}
    alignment = f", align_to_bos={' or '.join(sorted(aligned))}" if aligned else ""
    return f"{_shards(settings, 'val_files')}{_choice(tokens, 'tokens')} in batches of {_choice(batch, '')}{alignment}"


def _shards(settings: Settings, name: str) -> str:
    """The pattern of some shards, without the folder that they lie in."""
    patterns = [
        node.value
        for text in settings.texts(name)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "*" in node.value
    ]
    return f"{patterns[0].rpartition('/')[2]}, " if patterns else ""


def _loader(tree: ast.Module, settings: Settings) -> str:
    """The shards, and the definitions of which `pure/loaders.py` protects what decides the tokens."""
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    parts = [name for name in defined if name in LOADER]
    return f"{_shards(settings, 'train_files')}read by {', '.join(parts)}" if parts else ""


def _objective(tree: ast.Module) -> str:
    """Whether every loss of a `forward` is a plain cross-entropy; nothing where one may be more."""
    plain = [_is_plain(each) for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) and losses_in(each)]
    return _PLAIN if plain and all(plain) else ""


def _is_plain(function: ast.FunctionDef) -> bool:
    returned = {
        node.id
        for each in ast.walk(function)
        if isinstance(each, ast.Return) and each.value and not losses_in(each.value)
        for node in ast.walk(each.value)
        if isinstance(node, ast.Name)
    }
    values = [
        each.value
        for each in ast.walk(function)
        if isinstance(each, ast.Assign | ast.AugAssign) and returned & set(_bound(each))
    ]
    computed = [value for value in values if not isinstance(value, ast.Constant)]
    given = {keyword.arg for call in losses_in(function) for keyword in call.keywords}
    return given <= _SHAPE and all(losses_in(value) for value in computed)


def _bound(statement: ast.Assign | ast.AugAssign) -> Iterator[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    yield from (each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name))


def _compiler(tree: ast.Module) -> str:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_compile(node.func)]
    flags = {f"{each.arg}={ast.unparse(each.value)}" for call in calls for each in call.keywords if each.arg}
    settings = {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ".config." in ast.unparse(node.targets[0])
    }
    compiled = f"torch.compile({', '.join(sorted(flags))})" if calls else ""
    return "; ".join(filter(None, [compiled, *sorted(settings)])) or ("it does not compile" if tree.body else "")


def _is_compile(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr == "compile" and root_of(function) == "torch"


def _keywords(tree: ast.Module, functions: Iterable[str]) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and last_name(node.func) in functions:
            yield from ((keyword.arg, keyword.value) for keyword in node.keywords if keyword.arg)


def _clock(tree: ast.Module) -> str:
    """The statements that read the clock, as they are written."""
    simple = (node for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.AugAssign))
    return _quoted(ast.unparse(node) for node in simple if _CLOCK in ast.unparse(node))


def _warm_up(tree: ast.Module, settings: Settings) -> str:
    """The heads of its loops, and what they count to."""
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.For)]
    over = [loop for loop in loops if _WARM_UP in ast.unparse(loop.iter)]
    if not over:
        return ""
    around = [loop for loop in loops if any(each in over for each in ast.walk(loop) if each is not loop)]
    counts = [f"{_WARM_UP} = {text}" for text in settings.texts(_WARM_UP)]
    heads = [f"for {ast.unparse(loop.target)} in {ast.unparse(loop.iter)}" for loop in (*around, *over)]
    return _quoted([*counts, *heads])


def _quoted(texts: Iterable[str]) -> str:
    return "; ".join(f"`{text}`" for text in dict.fromkeys(texts))
