"""Constructs that break a rule wherever they are new: a program could get around what is protected in it."""

import ast
from collections.abc import Iterator

from slurm_bench.pure.loaders import LOADER
from slurm_bench.pure.normal_form import folded, nodes_of, text_of
from slurm_bench.pure.novelties import Check
from slurm_bench.pure.programs import Program, dotted, imported_roots, last_name, root_of

_DATA_SETTINGS = {"train_files", "val_files", "val_tokens", "val_batch_size", "val_seq_len"}
_DATA_PATH = "data_path = os.environ.get('DATA_PATH', '.')"
_COMPILER_SETTINGS = ("_inductor", "_dynamo")
_CODE_FROM_TEXT = {"exec", "eval", "compile", "__import__", "importlib.import_module", "marshal.loads", "pickle.loads"}
_FAR_REACHING = {
    "_ctypes", "_posixsubprocess", "_thread", "atexit", "bdb", "builtins", "cffi", "code", "codeop", "cpp_extension",
    "ctypes", "doctest", "faulthandler", "fcntl", "importlib", "inspect", "mmap", "multiprocessing", "pdb", "pkgutil",
    "pty", "runpy", "signal", "site", "socket", "subprocess", "symtable", "timeit", "trace", "unittest",
}  # fmt: skip
"""Modules with which a program could reach around what the other checks look at."""
_UNPACKING = {
    "base64", "binascii", "bz2", "codecs", "dbm", "gzip", "lzma", "marshal", "pickle", "shelve", "sqlite3", "tarfile",
    "zipfile", "zlib",
}  # fmt: skip
"""Modules that make data or code of what nobody can read."""
_INNER_PARTS = {
    "_current_frames", "_getframe", "addaudithook", "cr_frame", "dup", "dup2", "f_back", "f_builtins", "f_globals",
    "f_locals", "get_objects", "get_referents", "get_referrers", "gi_frame", "setprofile", "settrace", "tb_frame",
}  # fmt: skip
"""Attributes by which a program gets at other functions' variables, at its callers, or at open files."""
_EXTENSIONS = {"cpp_extension", "load_inline", "load_library"}
_LONGEST_WORD = 120
_MODES = {"__call__", "train", "eval", "training"}
"""Methods of a module that PyTorch calls, or that say whether it is trained."""
_ONLY_IN_VALIDATION = {"is_grad_enabled", "is_inference", "is_inference_mode_enabled"}
_RUNNING_ELSEWHERE = {
    "Process", "Thread", "Timer", "apply_async", "call_later", "create_task", "gather", "map", "run_in_executor",
    "start_new_thread", "submit", "to_thread",
}  # fmt: skip
_STATE_HOOKS = ("state_dict_hook", "state_dict_pre_hook", "state_dict_post_hook")
_STARTS_PROCESSES = ("system", "popen", "fork", "exec", "spawn", "posix_spawn")
_OWN_SWITCHES = "torch.backends."
"""What of a library is there to be set; the compiler's settings have a check of their own."""
_READING = {"get", "copy", "items", "keys", "values"}
_SEEDS = {"initial_seed", "manual_seed", "manual_seed_all", "seed", "set_rng_state", "set_rng_state_all", "set_state"}
_SEEDED = {"torch", "np", "numpy", "random"}
_LOSSES = {"cross_entropy", "nll_loss", "CrossEntropyLoss"}
_LOSS_CHANGES = {"label_smoothing", "ignore_index", "weight"}


def _settings(node: ast.AST, program: Program) -> Iterator[str]:
    match node:
        case ast.Assign(targets=targets, value=whole):
            value = _below_data_path(whole, program)
            for name in {last_name(target) for target in targets} & _DATA_SETTINGS - {last_name(value)}:
                yield f"{name} = {_value(value, program)}"
        case ast.Tuple(ctx=ast.Store(), elts=elements) | ast.List(ctx=ast.Store(), elts=elements):
            yield from (f"{name} among others" for name in {last_name(each) for each in elements} & _DATA_SETTINGS)
        case ast.NamedExpr(target=target) | ast.For(target=target) if last_name(target) in _DATA_SETTINGS:
            yield f"{last_name(target)} by another way"
        case ast.keyword(arg=str(name), value=value) if name in _DATA_SETTINGS - {last_name(value)}:
            yield f"{name} = {_value(value, program)}"
        case ast.FunctionDef(name=name) | ast.Constant(value=str(name)) if name in _DATA_SETTINGS:
            yield f"{name} by another way"


def _below_data_path(value: ast.expr, program: Program) -> ast.expr:
    """A path without the folder of the data, which a program may put before it at once or later."""
    match value:
        case ast.Call(func=function, args=[ast.Name("data_path"), path]) if dotted(function) == "os.path.join":
            return path if _knows_data_path(program) else value
    return value


def _knows_data_path(program: Program) -> bool:
    """Whether `data_path` is what the environment says wherever it is given a meaning."""
    given = [unit.source for unit in program.units if "data_path" in unit.binds]
    passed = any(isinstance(node, ast.arg) and node.arg == "data_path" for _, node in program.nodes)
    return set(given) == {_DATA_PATH} and not passed


def _value(node: ast.expr, program: Program) -> str:
    """A setting's value, whether it is written as a number, as arithmetic or as the name of a constant."""
    return folded(program.constants.get(node.id, node) if isinstance(node, ast.Name) else node)


def _loader_calls(node: ast.AST, _program: Program) -> Iterator[str]:
    match node:
        case ast.Call(func=ast.Name(id="distributed_data_generator"), args=[files, *_], keywords=keywords):
            aligned = [text_of(keyword.value) for keyword in keywords if keyword.arg == "align_to_bos"]
            yield f"{last_name(files)} {aligned}"


def _validation_shards(node: ast.AST, _program: Program) -> Iterator[str]:
    match node:
        case ast.Attribute(attr="val_files"):
            yield "val_files"
        case ast.Constant(value=str(text)) if "fineweb_val" in text or text == "val_files":
            yield "fineweb_val"


def _loader_names(node: ast.AST, program: Program) -> Iterator[str]:
    """Every place that gives a name of the loader a meaning; a definition that was moved is imported."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) if name in LOADER:
            yield f"definition of {name}"
        case ast.Name(id=name, ctx=ast.Store()) if name in LOADER:
            yield f"{name} = …"
        case ast.ImportFrom(module=module, names=names):
            for alias in names:
                moved = module in program.modules and alias.asname in (None, alias.name)
                if (alias.asname or alias.name) in LOADER and not moved:
                    yield f"import of {alias.name}"


def _compile_flags(node: ast.AST, _program: Program) -> Iterator[str]:
    """Flags of torch.compile, as a call, a decorator or a module's method."""
    if isinstance(node, ast.Call) and _is_compile(node.func):
        yield from (_flag(keyword) for keyword in node.keywords)
        yield from ("positional" for _ in node.args[1:])


def _is_compile(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr == "compile" and root_of(function) != "re"


def _flag(keyword: ast.keyword) -> str:
    return f"{keyword.arg or '**'}={text_of(keyword.value)}"


def _compile_aliases(node: ast.AST, _program: Program) -> Iterator[str]:
    """torch.compile where it is neither called nor a decorator: under another name, or in a partial."""
    match node:
        case ast.Assign(value=ast.Attribute() as value) if dotted(value) == "torch.compile":
            yield "alias"
        case ast.Call(args=arguments, keywords=keywords):
            values = [*arguments, *(keyword.value for keyword in keywords)]
            yield from ("argument" for value in values if dotted(value) == "torch.compile")
        case ast.ImportFrom(module="torch", names=names):
            yield from ("import" for alias in names if alias.name == "compile")
        case ast.Call(func=ast.Name(id="getattr"), args=[ast.Name(id="torch"), *_]):
            yield "getattr"


def _compiler_settings(node: ast.AST, _program: Program) -> Iterator[str]:
    match node:
        case ast.Assign(targets=targets) if any(_is_compiler(target) for target in targets):
            yield text_of(node)
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target) if _is_compiler(target):
            yield text_of(node)
        case ast.Call(func=function) if _is_compiler(function) and "config" in text_of(function):
            yield text_of(node)


def _is_compiler(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and _is_compiler_part(text_of(node))


def _code_from_text(node: ast.AST, _program: Program) -> Iterator[str]:
    if isinstance(node, ast.Call) and dotted(node.func) in _CODE_FROM_TEXT:
        yield text_of(node)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in ("exec", "eval", "__import__"):
        yield node.id


def _star_imports(node: ast.AST, _program: Program) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
        yield str(node.module)


def _far_reaching(node: ast.AST, _program: Program) -> Iterator[str]:
    match node:
        case ast.Attribute(value=ast.Name(id="os"), attr=name) if name.startswith(_STARTS_PROCESSES):
            yield f"os.{name}"
        case ast.Import(names=names):
            yield from (each.name for each in names if _reaches_far(each.name))
        case ast.ImportFrom(module=str(module), names=names):
            yield from (each.name for each in names if _reaches_far(f"{module}.{each.name}"))


def _reaches_far(module: str) -> bool:
    return any(part in _FAR_REACHING for part in module.split(".")) or module.startswith("logging.config")


def _unpacking(node: ast.AST, _program: Program) -> Iterator[str]:
    yield from (root for root in imported_roots(node) if root in _UNPACKING)


def _inner_parts(node: ast.AST, _program: Program) -> Iterator[str]:
    match node:
        case ast.Attribute(attr=name) if name in _INNER_PARTS:
            yield name
        case ast.ImportFrom(names=names):
            yield from (each.name for each in names if each.name in _INNER_PARTS)


def _extensions(node: ast.AST, _program: Program) -> Iterator[str]:
    match node:
        case ast.Attribute(attr=name) | ast.alias(name=name) if name in _EXTENSIONS:
            yield name


def _opaque_texts(node: ast.AST, _program: Program) -> Iterator[str]:
    """Constants with a word that is too long to be one: weights, say, in letters."""
    match node:
        case ast.Constant(value=str(text)) if any(len(word) > _LONGEST_WORD for word in text.split()):
            yield "text"
        case ast.Constant(value=bytes(text)) if len(text) > _LONGEST_WORD:
            yield "bytes"


def _own_modes(node: ast.AST, _program: Program) -> Iterator[str]:
    """Another `__call__`, `train` or `eval` of a class that is called as a module."""
    match node:
        case ast.ClassDef(body=body, bases=bases) if any("Module" in text_of(base) for base in bases):
            yield from (each.name for each in body if isinstance(each, ast.FunctionDef) and each.name in _MODES)
        case ast.Attribute(attr=name, value=value, ctx=ast.Store()) if name in _MODES and text_of(value) != "self":
            yield name


def _asks_for_gradients(node: ast.AST, _program: Program) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and node.attr in _ONLY_IN_VALIDATION:
        yield node.attr


def _forward_hooks(node: ast.AST, _program: Program) -> Iterator[str]:
    match node:
        case ast.Attribute(attr=name) if name.startswith("register_") and "forward" in name:
            yield name


def _state_hooks(node: ast.AST, _program: Program) -> Iterator[str]:
    """What changes a state on its way into a model or an optimizer, or out of it."""
    match node:
        case ast.Attribute(attr=name) if name.endswith(_STATE_HOOKS):
            yield name
        case ast.FunctionDef(name="_load_from_state_dict" | "_save_to_state_dict" as name):
            yield name


def _looks_ahead(node: ast.AST, _program: Program) -> Iterator[str]:
    """Positions moved towards the beginning, so that each meets what comes after it."""
    match node:
        case ast.Call(args=[_, ast.UnaryOp(op=ast.USub(), operand=ast.Constant())]) if last_name(node.func) == "roll":
            yield "roll"
        case ast.Call(args=[ast.Tuple(elts=[first, _, *_]) | ast.List(elts=[first, _, *_]), *_]):
            if last_name(node.func) in ("cat", "concat", "concatenate") and _cuts_the_first(first):
                yield "cat"


def _cuts_the_first(node: ast.expr) -> bool:
    """`x[:, 1:]`, where the first dimension is the batch's."""
    match node:
        case ast.Subscript(slice=ast.Tuple(elts=[ast.Slice(None, None), ast.Slice(ast.Constant(1), None), *_])):
            return True
    return False


def _handed_training(node: ast.AST, program: Program) -> Iterator[str]:
    """A function that trains, given to what runs it elsewhere."""
    if isinstance(node, ast.Call) and last_name(node.func) in _RUNNING_ELSEWHERE:
        given = (*node.args, *(keyword.value for keyword in node.keywords))
        named = {last_name(each) for value in given for each in nodes_of(value)}
        yield from sorted(named & program.trainers)


def _weights(node: ast.AST, _program: Program) -> Iterator[str]:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="torch" | "np" | "numpy" as module), attr="load")):
            yield f"{module}.load"
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name in ("load_file", "safe_open"):
            yield name


def _waiting(node: ast.AST, _program: Program) -> Iterator[str]:
    match node:
        case ast.Attribute(value=ast.Name(id="time"), attr="sleep"):
            yield "sleep"
        case ast.ImportFrom(module="time", names=names):
            yield from ("sleep" for each in names if each.name == "sleep")


def _compiler_imports(node: ast.AST, _program: Program) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (each.name for each in names if _is_compiler_part(each.name))
        case ast.ImportFrom(module=str(module), names=names):
            yield from (each.name for each in names if _is_compiler_part(f"{module}.{each.name}"))


def _patches(node: ast.AST, program: Program) -> Iterator[str]:
    """What changes a library or the environment while the program runs."""
    match node:
        case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
            text = text_of(node)
            has_own_check = text.startswith(_OWN_SWITCHES) or _is_compiler_part(text)
            if (_is_foreign(node, program) and not has_own_check) or text.endswith(".perf_counter"):
                yield text.replace("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # a new name of the same
        case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[target, *_]) if _is_foreign(target, program):
            yield text_of(node)
        case ast.Call(func=ast.Attribute(attr="putenv" | "unsetenv")):
            yield text_of(node)
        case ast.Call(func=ast.Attribute(value=value, attr=method)) if dotted(value) == "os.environ":
            if method not in _READING:
                yield text_of(node)


def _is_foreign(node: ast.AST, program: Program) -> bool:
    return id(node) not in program.locals and root_of(node) in program.foreign | program.aliases | {"__builtins__"}


def _is_compiler_part(text: str) -> bool:
    return any(name in text for name in _COMPILER_SETTINGS)


def _forged_lines(node: ast.AST, _program: Program) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and "val_loss:" in node.value:
        yield "val_loss:"


def _seeds(node: ast.AST, _program: Program) -> Iterator[str]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _SEEDS:
        takes = bool(node.args or node.keywords) or node.func.attr == "initial_seed"
        if takes and root_of(node.func.value) in _SEEDED and not _holds_call(node.func.value):
            yield "seed"


def _default_generators(node: ast.AST, _program: Program) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and node.attr in ("default_generator", "default_generators"):
        yield node.attr


def _holds_call(node: ast.AST) -> bool:
    return any(isinstance(each, ast.Call) for each in nodes_of(node))


def _warm_up_loops(node: ast.AST, program: Program) -> Iterator[str]:
    """Loops that train for a number of rounds which the text says, and validate nothing."""
    match node:
        case ast.For(iter=ast.Call(func=ast.Name(id="range"), args=[ast.Constant(0), rounds] | [rounds])) if (
            _only_trains(node, program)
        ):
            value = program.constants.get(rounds.id) if isinstance(rounds, ast.Name) else rounds
            if isinstance(value, ast.Constant):
                yield f"{value.value!r} steps"


def _only_trains(loop: ast.For, program: Program) -> bool:
    validates = any(line for node in nodes_of(loop) for line in _forged_lines(node, program))
    return program.trains(loop) and not validates


def _loss_changes(node: ast.AST, program: Program) -> Iterator[str]:
    if isinstance(node, ast.Call) and last_name(node.func) in _LOSSES and root_of(node.func) in program.foreign:
        yield from ("*" for each in node.args if isinstance(each, ast.Starred))
        yield from (str(keyword.arg) for keyword in node.keywords if keyword.arg in _LOSS_CHANGES)


def _not_causal(node: ast.AST, _program: Program) -> Iterator[str]:
    """Attention that is told to look ahead: PyTorch's, flash-attn's, or a partial of them."""
    match node:
        case ast.keyword(arg="causal" | "is_causal" as name, value=ast.Constant(value=value)) if not value:
            yield name


CHECKS = (
    Check("data", "a file pattern or a size of the validation differs", _settings, against="other"),
    Check("data", "the loader is called for other shards, or otherwise aligned", _loader_calls),
    Check("data", "the validation shards are read elsewhere", _validation_shards),
    Check("data", "a name of the loader gets another meaning", _loader_names),
    Check("warm-up", "no loop of the warm-up's steps is left", _warm_up_loops, against="less"),
    Check("compiler", "torch.compile gets a flag or mode that is not in the record", _compile_flags, counted=False),
    Check("compiler", "torch.compile gets another name", _compile_aliases),
    Check("compiler", "a part of the compiler is imported", _compiler_imports),
    Check("compiler", "a setting of the compiler differs", _compiler_settings, against="other"),
    Check("readable", "code is made from text", _code_from_text),
    Check("readable", "names are imported without being named", _star_imports),
    Check("readable", "data or code is unpacked", _unpacking),
    Check("readable", "a constant that nobody can read", _opaque_texts),
    Check("readable", "an extension is compiled or loaded", _extensions),
    Check("environment", "something reaches around the rules", _far_reaching),
    Check("environment", "the program looks into frames, objects or open files that are not its own", _inner_parts),
    Check("environment", "a library or the environment is changed", _patches),
    Check("prints", "another line with a validation loss", _forged_lines),
    Check("draws", "a global generator is seeded, or its seed is looked at", _seeds),
    Check("draws", "a global generator is taken hold of", _default_generators),
    Check("comparable", "an attention looks ahead", _not_causal),
    Check("comparable", "a model gets a call, a train, an eval or a training of its own", _own_modes),
    Check("comparable", "the program asks whether gradients are computed", _asks_for_gradients),
    Check("comparable", "a position meets what comes after it", _looks_ahead),
    Check("warm-up", "a hook changes what is put back", _state_hooks),
    Check("comparable", "a hook on a forward pass", _forward_hooks),
    Check("timing", "the program waits", _waiting),
    Check("timing", "training is handed to another thread", _handed_training),
    Check("tuning", "weights or results are loaded", _weights),
    Check("objective", "the cross-entropy is smoothed, weighted or leaves targets away", _loss_changes),
)
