"""Each rule is broken by one edit of the rehearsal's own record, and found with its line."""

import re

import pytest

from slurm_bench.effects import judge_cases
from slurm_bench.pure import forbidden, suspicious
from slurm_bench.pure.novelties import Check
from slurm_bench.pure.review import Review, review
from slurm_bench.pure.rules import RULES
from slurm_bench.words.paths import starting_record
from tests.conftest import REPOSITORY

RECORD = {path.name: path.read_text() for path in starting_record("rehearsal").iterdir() if path.is_file()}
PROGRAM = RECORD["train_gpt.py"]


def edited(*edits: tuple[str, str]) -> str:
    text = PROGRAM
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def judged(*edits: tuple[str, str]) -> list[tuple[str, int | None]]:
    said = review(RECORD, {**RECORD, "train_gpt.py": edited(*edits)})
    return [(finding.rule, finding.line) for finding in said.findings]


def rules_broken(*edits: tuple[str, str]) -> set[str]:
    return {rule for rule, _ in judged(*edits)}


def test_the_record_itself_keeps_the_rules() -> None:
    assert review(RECORD, RECORD) == Review()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("muon_lr: float = ", "muon_lr: float = 2 * "),
        ("return F.rms_norm(x, (x.size(-1),))", "return F.layer_norm(x, (x.size(-1),))"),
        ("def norm(x: Tensor)", "# faster\ndef norm(x: Tensor)"),
        ("BOS_ID = 0", "import re\nBOS_ID = 0\nWORD = re.compile('x')"),
    ],
)
def test_honest_edits_pass(old: str, new: str) -> None:
    assert judged((old, new)) == []


STEP = "        training_step(model, optimizers, to_device(next(train_loader), device), rate_factor(step, args))\n"
START = "    args, device = set_up()\n"
TRAIN = "def train(model"
RESTART = "            t0 = time.perf_counter()\n\n        if last"


CURSOR = "        self.cursor = 0"
STARTS = "np.flatnonzero(tokens.numpy() == BOS_ID)"
ZERO = "val_loss = torch.zeros((), device=device)"
READER = "class Reader:\n    def __init__(self, file):\n        self.file = file\n\n"
READER += "    def read(self):\n        return _load_data_shard(self.file)\n\n\ndef distributed_data_generator("


@pytest.mark.parametrize(
    "edits",
    [
        [(CURSOR, f"        self.bos = {STARTS.replace('tokens', 'tokens[:99]')}\n{CURSOR}")],
        [(CURSOR, f"        self.early = {STARTS}\n        self.bos = self.early\n{CURSOR}")],
        [("class BOSFinder:", "class BOSFinder(object):")],
        [("def distributed_data_generator(", READER)],
        [(ZERO, "val_loss = 0")],
        [(ZERO, "val_loss = torch.zeros((), device=device, dtype=torch.float32)")],
        [("dist.all_reduce(val_loss, op=dist.ReduceOp.AVG)", "dist.reduce(val_loss, 0, op=dist.ReduceOp.AVG)")],
    ],
)
def test_what_a_loader_and_a_validation_may_be_rewritten_to(edits: list[tuple[str, str]]) -> None:
    assert judged(*edits) == []


@pytest.mark.parametrize(
    "edits",
    [
        [("    for step in range(train_steps + 1):", "    steps = range(train_steps + 1)\n    for step in steps:")],
        [(STEP, ""), (RESTART, RESTART.replace("\n\n", f"\n        else:\n    {STEP}\n"))],
        [(STEP, f"{STEP}        print0(f'rate {{rate_factor(step, args)}}')\n")],
        [
            (
                STEP,
                STEP.replace("to_device(next(train_loader), device)", "batch").replace(
                    "        tr", "        batch = to_device(next(train_loader), device)\n        tr"
                ),
            )
        ],
        [("train_loader = train_batches(args)", "train_loader = ahead(train_batches(args))")],
        [("val_loss += model(inputs, targets)", "val_loss += model(inputs, targets, window)")],
        [("            model.eval()\n", "            swap(averaged, model)\n            model.eval()\n")],
        [("BOS_ID = 0\n", "BOS_ID = 0\ntokens, files, num_rows, start = 5, [], 3, 1\n")],
        [("def norm(", "def plan(step, val_loss, t0):\n    step = step + 1\n    return step, t0\n\n\ndef norm(")],
        [("def norm(", "def cut(x):\n    batch, time, width = x.shape\n    return time\n\n\ndef norm(")],
        [("def orthogonalised(", "@torch.compile(dynamic=False)\ndef orthogonalised(")],
        [("import copy\n", "import copy\nimport dataclasses\nimport gc\n"), (START, f"{START}    gc.freeze()\n")],
        [(START, f"{START}    args = replace(args, num_iterations=150)\n    torch.backends.cudnn.benchmark = True\n")],
        [("BOS_ID = 0\n", "BOS_ID = 0\nDEBUG = os.environ.get('DEBUG')\n")],
        [
            (
                "args.train_files, args.train_batch_size, args.seq_len,",
                "args.train_files, 2 * args.train_batch_size, 32,",
            )
        ],
        [
            (
                "        self.head = nn",
                "        for i in range(2):\n            setattr(self, f'w{i}', 1)\n        self.head = nn",
            )
        ],
    ],
)
def test_honest_changes_around_what_is_protected_pass(edits: list[tuple[str, str]]) -> None:
    assert judged(*edits) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (TRAIN, "def print0(s, console=False):\n    print(s)\n\n\ndef train(model"),
        (TRAIN, "class time:\n    perf_counter = staticmethod(lambda: 0.0)\n\n\ndef train(model"),
        (TRAIN, "def max(a, b):\n    return 100 * b\n\n\ndef train(model"),
        ("    train_loader = train_batches(args)\n", "    time = Slow()\n    train_loader = train_batches(args)\n"),
        ('device: torch.device) -> None:\n    """All', 'device: torch.device, time=Slow()) -> None:\n    """All'),
        ("import torch\n", "import torch\nfrom fast import *\n"),
        (
            "    cuda: bool = False\n",
            "    cuda: bool = False\n\n    @property\n    def val_tokens(self):\n        return 64\n",
        ),
        (START, f"{START}    object.__setattr__(args, 'val_tokens', 4096)\n"),
        ("    train_steps = args", "    def tick():\n        nonlocal t0\n        t0 += 1\n\n    train_steps = args"),
        ("        if last_step:\n            break", "        if last_step or (t0 := t0 + 1) < 0:\n            break"),
    ],
)
def test_other_meanings_of_names_are_found(old: str, new: str) -> None:
    assert judged((old, new))


LOGITS = "        logits = F.linear(norm(x), self.head.to(self.dtype)).float()\n"
VALIDATES = "                    val_loss += model(inputs, targets)\n"
REDUCED = "            val_loss /= val_steps\n"


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        ("validation", "val_loss /= val_steps", "val_loss /= 1.05 * val_steps"),
        ("validation", "val_loss += model(inputs, targets)", "val_loss += model(inputs, targets) - 0.1"),
        ("data", "val_tokens: int = 32768", "val_tokens: int = 8192"),
        ("data", "fineweb_val_*.bin", "fineweb_train_*.bin"),
        ("data", "self.cursor = starts[-1] + seq_len", "self.cursor = starts[-1] + seq_len // 2"),
        ("data", "tokens.numpy() == BOS_ID)", "tokens.numpy() == BOS_ID)[::2]"),
        ("data", "buf = tokens[start : start + local + 1]", "buf = tokens[: local + 1]"),
        ("data", "cut = _aligned_batches if align_to_bos", "cut = _aligned_batches if not align_to_bos"),
        ("data", "yield rows[:, :-1], rows[:, 1:]", "yield rows[:, :-1], rows[:, :-1]"),
        ("warm-up", "warmup_steps = 30", "warmup_steps = 300"),
        ("warm-up", "model.load_state_dict(initial_state[0])", "pass"),
        ("timing", "elapsed_ms = training_time_ms + 1000", "elapsed_ms = training_time_ms + 500"),
        ("prints", '{train_steps} {timing}", console=True)', '{train_steps} {timing}", console=False)'),
        ("prints", "print(s, file=log)", "print(s.replace('val_loss:0.8', 'val_loss:0.7'), file=log)"),
        ("compiler", "torch.compile(raw_model, dynamic=False)", "torch.compile(raw_model, mode='max-autotune')"),
        ("compiler", "BOS_ID = 0", "BOS_ID = 0\ntorch._inductor.config.coordinate_descent_tuning = True"),
        ("readable", "BOS_ID = 0", "BOS_ID = 0\nexec(open('data/more').read())"),
        ("data", "if __name__ ==", "_load_data_shard = print\nif __name__ =="),
        ("data", "if __name__ ==", "if True:\n    def distributed_data_generator(): pass\nif __name__ =="),
        ("data", "if __name__ ==", "from fast import BOSFinder\nif __name__ =="),
        ("environment", "if __name__ ==", "time.perf_counter = lambda: 0.0\nif __name__ =="),
        ("environment", "if __name__ ==", "setattr(time, 'perf_counter', lambda: 0.0)\nif __name__ =="),
        ("environment", "if __name__ ==", "time.__dict__['perf_' + 'counter'] = int\nif __name__ =="),
        ("environment", "if __name__ ==", "Tensor.__itruediv__ = Tensor.__imul__\nif __name__ =="),
        ("environment", "if __name__ ==", "os.environ['TORCHINDUCTOR_MAX_AUTOTUNE'] = '1'\nif __name__ =="),
        ("warm-up", "copy.deepcopy((model.state_dict(), [", "list((dict(model.state_dict()), ["),
        ("off-clock", START, f"{START}    training_step(None, [], None, 1.0)\n"),
        ("off-clock", "    train_steps = args.num", "    held = list(train_loader)\n    train_steps = args.num"),
        ("off-clock", "    train_steps = args.num", "    held = [b for b in train_loader]\n    train_steps = args.num"),
        (
            "data",
            "        yield rows[:, :-1]",
            "        if rows.max() > 9:\n            continue\n        yield rows[:, :-1]",
        ),
        (
            "data",
            '    if device.type == "cpu":\n        return batch',
            '    hook(batch)\n    if device.type == "cpu":\n        return batch',
        ),
        (
            "data",
            "yield inputs.to(torch.int64),",
            "inputs = get(inputs).clamp(max=9)\n            yield inputs.to(torch.int64),",
        ),
        (
            "data",
            "BOS_ID = 0",
            "BOS_ID = 0\nclass Shards:\n    def get(self, file):\n        return _load_data_shard(file).clamp(max=9)\n",
        ),
        ("data", "BOS_ID = 0", "BOS_ID = 0\nCOUNTS = np.fromfile('data/x.bin', dtype=np.uint16)"),
        ("warm-up", "BOS_ID = 0", "BOS_ID = 0\nnn.Module().register_load_state_dict_pre_hook(print)"),
        ("comparable", LOGITS, f"        x = x + torch.roll(x, -1, dims=1)\n{LOGITS}"),
        ("comparable", LOGITS, f"        x = x + torch.cat([x[:, 1:], x[:, :1]], dim=1)\n{LOGITS}"),
        ("tuning", "BOS_ID = 0", "BOS_ID = 0\nWEIGHTS = torch.load('last.pt')"),
        (
            "timing",
            "        training_step(model, optimizers, to_device(next(train_loader)",
            "        pool.submit(training_step, to_device(next(train_loader)",
        ),
        ("prints", "Train a small GPT", f"{'=' * 100}\nstep:200/200 val_loss:0.7104. Train a small GPT"),
        ("comparable", "BOS_ID = 0", "BOS_ID = 0\nVALIDATES = not torch.is_grad_enabled()"),
        ("comparable", "BOS_ID = 0", "BOS_ID = 0\nnn.Module().register_forward_hook(print)"),
        ("comparable", LOGITS, f"        row = torch.cat([inputs[:, :1], targets], dim=1)\n{LOGITS}"),
        ("environment", "if __name__ ==", "import atexit\nif __name__ =="),
        ("compiler", "if __name__ ==", "from torch import compile as faster\nif __name__ =="),
        ("compiler", "if __name__ ==", "import torch._inductor.config as quick\nif __name__ =="),
        ("compiler", "if __name__ ==", "faster = torch.compile\nif __name__ =="),
        ("comparable", "(q, k, v, is_causal=True)", "(q, k, v, is_causal=False)"),
        ("comparable", "(q, k, v, causal=True)", "(q, k, v, causal=0)"),
        (
            "comparable",
            "BOS_ID = 0",
            "BOS_ID = 0\nattend = functools.partial(F.scaled_dot_product_attention, is_causal=False)",
        ),
        ("validation", VALIDATES, f"{VALIDATES}                    model(inputs, targets).backward()\n"),
        ("validation", REDUCED, f"            optimizers[0].step(1.0)\n{REDUCED}"),
        ("validation", REDUCED, f"            training_step(model, optimizers, (inputs, targets), 1.0)\n{REDUCED}"),
        ("validation", REDUCED, f"            helper = Thread(target=training_step)\n{REDUCED}"),
    ],
)
def test_broken_rules_are_found(rule: str, old: str, new: str) -> None:
    assert rule in rules_broken((old, new))


WIDENED = "            yield inputs.to(torch.int64), targets.to(torch.int64)\n"
PINNED = "    inputs, targets = (part.pin_memory().to(device, non_blocking=True) for part in batch)\n"
PART = "part.pin_memory().to(device, non_blocking=True)"
TAKEN = "inputs, targets = to_device(next(val_loader), device)"
ROWS = "        rows = torch.stack([tokens[i : i + seq_len + 1] for i in starts[rank::world_size]])\n"
APPENDED = "            starts.append(int(self.bos[index]))\n"


@pytest.mark.parametrize(
    "edits",
    [
        [(ROWS, ROWS.replace("tokens[i : i + seq_len + 1]", "tokens.narrow(0, i, seq_len + 1)"))],
        [(APPENDED, "            start = int(self.bos[index])\n            starts.append(start)\n")],
        [(CURSOR, f"        kept = self.bos[:9]\n        self.bos = kept\n{CURSOR}")],
        [
            (
                WIDENED,
                f"            inputs = inputs.to(torch.int64)\n{WIDENED.replace('inputs.to(torch.int64)', 'inputs')}",
            )
        ],
        [(PINNED, f"    moved = tuple({PART} for part in batch)\n    inputs, targets = moved\n")],
        [
            (WIDENED, WIDENED.replace("\n", ", inputs == BOS_ID\n")),
            (PINNED, PINNED.replace("inputs, targets", "inputs, targets, begins")),
            ("    return inputs, targets\n\n\n# ---", "    return inputs, targets, begins\n\n\n# ---"),
            (TAKEN, TAKEN.replace("targets", "targets, _")),
        ],
        [(ROWS, "        rows = torch.zeros((num_rows // world_size, seq_len + 1), dtype=torch.int64)\n")],
    ],
)
def test_a_rewritten_loader_is_neither_a_breach_nor_let_pass(edits: list[tuple[str, str]]) -> None:
    """It may yield the same tokens, or others: only a model or a person can tell."""
    said = review(RECORD, {**RECORD, "train_gpt.py": edited(*edits)})
    assert said.findings == () and said.cheating is None
    assert {finding.rule for finding in said.unsettled} <= {"data", "validation"}
    assert said.summary.startswith("the static checker cannot tell whether the same tokens come out: ")
    assert all(finding.place in "".join(said.suspicions) for finding in said.unsettled)


@pytest.mark.parametrize(
    "edits",
    [
        [(ROWS, f"{ROWS}        rows = rows.flip(0)\n")],
        [(ROWS, f"{ROWS}        rows[:, 1:] = 0\n")],
        [(TAKEN, "targets, inputs, _ = to_device(next(val_loader), device)")],
        [(TAKEN, "inputs, targets, _ = to_device(next(train_loader), device)")],
        [(TAKEN, f"{TAKEN}\n                    {TAKEN}")],
        [("        return batch\n", "        return batch[0], batch[0]\n")],
    ],
)
def test_what_shows_that_other_tokens_come_out_stays_a_breach(edits: list[tuple[str, str]]) -> None:
    assert judged(*edits)


PATTERN = 'train_files: str = "data/fineweb10B/fineweb_train_*.bin"'
JOINED = PATTERN.replace('"data/', 'os.path.join(data_path, "data/').replace('.bin"', '.bin")')
CLASS = "@dataclass(frozen=True)\nclass Hyperparameters:"


@pytest.mark.parametrize(
    ("before", "broken"),
    [
        ('data_path = os.environ.get("DATA_PATH", ".")', set()),
        ('data_path = "logs"', {"data"}),
        ('data_path = os.environ.get("DATA_PATH", ".")\ndata_path = "logs"', {"data"}),
        ("from pathlib import Path as data_path", {"data"}),
        ("", {"data"}),
        ('data_path = os.environ.get("DATA_PATH", ".")\n\n\ndef f(data_path):\n    return data_path', {"data"}),
    ],
)
def test_the_folder_of_the_data_may_stand_before_a_pattern(before: str, broken: set[str]) -> None:
    assert rules_broken((PATTERN, JOINED), (CLASS, f"{before}\n\n\n{CLASS}")) == broken


READ = "    tokens = np.fromfile(file, dtype=np.uint16, offset=header.nbytes)\n"
RETURNED = "        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())"
TRAINED = "to_device(next(train_loader), device), rate_factor(step, args))"
FILLS = "def lower(values):\n    view = values[1:]\n    np.minimum(view, 1, out=view)\n\n\ndef _load_data_shard("


@pytest.mark.parametrize(
    ("rule", "edits"),
    [
        ("data", [(READ, f"{READ}    np.minimum(tokens, 1, out=tokens)\n")]),
        ("data", [(READ, f"{READ}    np.copyto(tokens, 1)\n")]),
        ("data", [(READ, f"{READ}    _ = tokens.sort()\n")]),
        ("data", [(READ, f"{READ}    view = np.asarray(tokens)\n    view[:] = 1\n")]),
        ("data", [("def _load_data_shard(", FILLS), (READ, f"{READ}    lower(tokens)\n")]),
        (
            "data",
            [
                (
                    f"        training_step(model, optimizers, {TRAINED}",
                    "        inputs, targets = to_device(next(train_loader), device)\n        targets.clamp_(max=1)\n"
                    "        training_step(model, optimizers, (inputs, targets), rate_factor(step, args))",
                )
            ],
        ),
        ("comparable", [(RETURNED, f"        targets = logits.argmax(-1)\n{RETURNED}")]),
        ("comparable", [(RETURNED, f"        targets[targets > 1] = 1\n{RETURNED}")]),
        ("comparable", [("x = norm(F.embedding(inputs, self.embed)", "x = norm(self.embed(targets)")]),
        ("comparable", [(LOGITS, f"{LOGITS}        logits = logits + F.one_hot(targets, logits.size(-1))\n")]),
        ("comparable", [(LOGITS, f"{LOGITS}        logits.scatter_(-1, targets[..., None], 9.0)\n")]),
        ("comparable", [(RETURNED, f"{RETURNED} * 0.9")]),
        ("comparable", [(RETURNED, f"{RETURNED}.clamp(max=3)")]),
        ("comparable", [(RETURNED, RETURNED.replace("return", "loss =") + "\n        return loss - 0.1")]),
        ("comparable", [(RETURNED, RETURNED.replace("flatten())", "flatten(), reduction='none').median()"))]),
        ("comparable", [(RETURNED, "        if not self.training:\n            return 1.0\n" + RETURNED)]),
        (
            "comparable",
            [(RETURNED, "        if not self.training:\n            return torch.tensor(1.0)\n" + RETURNED)],
        ),
        ("comparable", [(LOGITS, f"        self.sharpness.mul_(0.5)\n{LOGITS}")]),
        ("comparable", [(LOGITS, f"        self.seen = self.seen + 1\n{LOGITS}")]),
        (
            "comparable",
            [
                (
                    "    def forward(self, inputs",
                    "    def __call__(self, *given):\n        return 1\n\n    def forward(self, inputs",
                )
            ],
        ),
        ("comparable", [("if __name__ ==", "GPT.eval = print\nif __name__ ==")]),
        ("readable", [("BOS_ID = 0", f"BOS_ID = 0\nWEIGHTS = '{'x' * 200}'")]),
        ("readable", [("BOS_ID = 0", "BOS_ID = 0\nimport base64")]),
        ("readable", [("BOS_ID = 0", "BOS_ID = 0\nfrom torch.utils.cpp_extension import load_inline")]),
        ("draws", [("BOS_ID = 0", "BOS_ID = 0\nSEED = torch.initial_seed()")]),
        ("timing", [("BOS_ID = 0", "BOS_ID = 0\ntime.sleep(9)")]),
        *[
            ("environment", [("BOS_ID = 0", f"BOS_ID = 0\n{text}")])
            for text in (
                "from unittest.mock import patch",
                "import gc\ngc.get_referrers(time)",
                "import inspect",
                "import pkgutil",
                "import timeit",
                "import code",
                "import doctest",
                "import pdb",
                "import pty",
                "import cffi",
                "import fcntl",
                "import logging.config",
                "os.dup2(1, 2)",
                "from sys import _getframe",
                "FRAME = print.f_globals",
            )
        ],
    ],
)
def test_what_may_never_happen(rule: str, edits: list[tuple[str, str]]) -> None:
    assert rule in rules_broken(*edits)


def test_what_was_gathered_in_the_warm_up_is_not_kept() -> None:
    loop = "    for _ in range(warmup_steps):\n"
    restored = "    model.load_state_dict(initial_state[0])\n"
    counted = [(loop, f"    seen = 0.0\n{loop}        seen += 1\n"), (restored, f"{restored}    use(seen)\n")]
    assert ("warm-up" in rules_broken(*counted)) and not rules_broken(counted[0])


def test_what_the_warm_up_stored_is_not_taken_up_elsewhere() -> None:
    stored = "    for _ in range(warmup_steps):\n        KEPT[0] = copy.deepcopy(model.state_dict())\n"
    edits = [("    for _ in range(warmup_steps):\n", stored), (START, f"{START}    print(KEPT)\n    use(KEPT[0])\n")]
    assert rules_broken(("BOS_ID = 0", "BOS_ID = 0\nKEPT = [None]"), *edits) == {"warm-up"}


def test_a_number_of_steps_that_cannot_be_read_is_told() -> None:
    text = PROGRAM.replace("BOS_ID = 0", "BOS_ID = 0\nOTHER = dict(num_iterations=len('x'))")
    told = review(RECORD, {**RECORD, "train_gpt.py": text}).suspicions
    assert told == ("steps: how many steps it trains for cannot be read, train_gpt.py",)


def test_how_the_state_is_put_back_may_be_rewritten() -> None:
    restored = "    model.load_state_dict(initial_state[0])\n"
    copied = "    for p, start in zip(model.parameters(), initial_state[0].values()):\n        p.data.copy_(start)\n"
    assert not rules_broken((restored, copied))
    assert rules_broken((restored, ""))


def returned(expression: str) -> tuple[str, str]:
    """What a pass through the model returns in place of its loss."""
    return RETURNED, f"{RETURNED.replace('return', 'loss =')}\n        return {expression}"


@pytest.mark.parametrize(
    "expression",
    ["loss / 1.2", "loss if self.training else loss / 1.2", "loss / 1.1 if loss < 2 else loss", "loss % 1"],
)
def test_a_loss_that_a_number_makes_smaller(expression: str) -> None:
    assert rules_broken(returned(expression)) == {"comparable"}


def test_a_sum_over_tokens_may_become_a_mean() -> None:
    summed = RETURNED.replace("targets.flatten())", "targets.flatten(), reduction='sum')")
    assert not rules_broken((RETURNED, f"{summed.replace('return', 'loss =')}\n        return loss / 4096"))


def test_another_loss_than_pytorchs_is_told() -> None:
    text = PROGRAM.replace(
        RETURNED, "        return (logits.logsumexp(-1) - logits.gather(-1, targets[..., None])[..., 0]).mean()"
    )
    found = review(RECORD, {**RECORD, "train_gpt.py": text})
    assert not found.findings
    assert any("the validated loss is not PyTorch's cross-entropy" in each for each in found.suspicions)


@pytest.mark.parametrize(
    "edits",
    [
        [(ZERO, ZERO.replace("(()", "([]"))],
        [
            (
                "training_time_ms += 1000 * (time.perf_counter() - t0)",
                "training_time_ms += (time.perf_counter() - t0) * 1000",
            )
        ],
        [("    train(model, optimizers, args, device)\n", "    train(model, optimizers, args=args, device=device)\n")],
        [("num_iterations: int = 200\n", "num_iterations: int = 150  # tried: step:150/150 val_loss:0.8112\n")],
        [
            ("    warmup_steps = 30\n", "    warmup_steps = 30\n    rounds = 0\n"),
            ("    model.load_state_dict(init", "    print0(f'{rounds}')\n    model.load_state_dict(init"),
        ],
        [("    warm_up(model", "    compile_all(model"), ("def warm_up(", "def compile_all(")],
        [
            (
                "def flops_per_token(args: Hyperparameters) -> int:",
                "def flops_per_token(args: Hyperparameters) -> int:\n    print0('flops')",
            )
        ],
        [(LOGITS, f"        x = torch.cat([x[:, :1], x[:, 1:] + 0.1 * x[:, :-1]], dim=1)\n{LOGITS}")],
        [(RETURNED, RETURNED.replace("return", "loss =") + "\n        return loss")],
        [(RETURNED, f"        targets = targets.flatten().to(torch.int64)\n{RETURNED}")],
        [(RETURNED, RETURNED.replace("flatten())", "flatten(), reduction='none').mean()"))],
        [(LOGITS, f"{LOGITS}        logits = 30 * torch.tanh(logits / 30)\n")],
        [(LOGITS, f"        self.kept = x\n{LOGITS}")],
        [("BOS_ID = 0", "BOS_ID = 0\nimport bisect\nimport gc\ngc.freeze()")],
        [("BOS_ID = 0", "BOS_ID = 0\nclass Rate:\n    def __call__(self, step):\n        return 1 / step\n")],
        [("BOS_ID = 0", "BOS_ID = 0\nTEXT = 'a long line of words ' * 20 + " + repr("words " * 60))],
    ],
)
def test_what_only_looks_like_it_passes(edits: list[tuple[str, str]]) -> None:
    assert judged(*edits) == []


def test_a_module_that_the_record_does_not_import_is_told() -> None:
    text = PROGRAM.replace("BOS_ID = 0", "BOS_ID = 0\nimport csv")
    found = review(RECORD, {**RECORD, "train_gpt.py": text})
    assert not found.findings
    assert any("a module that the starting record does not import" in each for each in found.suspicions)


@pytest.mark.parametrize("end", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", " "])
def test_a_launcher_that_another_reader_reads_otherwise(end: str) -> None:
    """Python sees a comment behind such a line's end, and bash a command."""
    script = RECORD["run.sh"].replace("\n", f"{end}# & echo\n", 1)
    found = review(RECORD, {**RECORD, "run.sh": script}).findings
    assert [(finding.rule, finding.line) for finding in found] == [("environment", 1)]


def test_a_finding_shows_both_places() -> None:
    text = PROGRAM.replace("val_loss /= val_steps", "val_loss /= 2 * val_steps")
    (finding,) = review(RECORD, {**RECORD, "train_gpt.py": text}).findings
    assert "2 * val_steps" in finding.candidate
    assert "2 * val_steps" not in finding.baseline
    assert finding.line is not None
    assert "2 * val_steps" in text.splitlines()[finding.line - 1]


def test_a_program_that_cannot_be_parsed() -> None:
    (finding,) = review(RECORD, {**RECORD, "train_gpt.py": "def (:\n"}).findings
    assert (finding.rule, finding.line) == ("readable", 1)


@pytest.mark.parametrize("text", ["x = " + "-" * 20000 + "1", "x" + ".b" * 5000, "x = 1" + " + 1" * 20000])
def test_a_program_that_nests_too_deeply(text: str) -> None:
    (finding,) = review(RECORD, {**RECORD, "train_gpt.py": PROGRAM + "\n" + text}).findings
    assert (finding.rule, finding.message) == ("readable", "nests too deeply to be read")


def test_other_files_are_read_too() -> None:
    found = review(RECORD, {**RECORD, "fast.py": "import time\ntime.perf_counter = None\n"}).findings
    assert [(finding.rule, finding.file, finding.line) for finding in found] == [
        ("readable", "fast.py", None),  # nothing imports it
        ("environment", "fast.py", 2),
    ]


@pytest.mark.parametrize(
    "name", ["platform.py", "torch.py", "torch/nn.py", "opt_einsum.py", "typing_extensions.py", "huggingface_hub.py"]
)
def test_a_file_that_takes_a_librarys_place(name: str) -> None:
    (finding,) = review(RECORD, {**RECORD, name: ""}).findings
    assert finding.rule == "readable"


def test_null_bytes_do_not_break_the_judge() -> None:
    found = review(RECORD, {**RECORD, "train_gpt.py": "x = '\0'\n"}).findings
    assert {finding.rule for finding in found} == {"readable"}


def test_another_launcher() -> None:
    (finding,) = review(RECORD, {**RECORD, "run.sh": "python3 other.py\n"}).findings
    assert finding.rule == "environment"


@pytest.mark.parametrize("check", (*forbidden.CHECKS, *suspicious.CHECKS), ids=lambda check: check.message)
def test_checks_decide_only_what_is_theirs(check: Check) -> None:
    assert ("static" if check.proven else "model") in RULES[check.rule].decided_by


def test_every_rule_that_is_decided_statically_has_a_broken_case() -> None:
    cases = judge_cases.load(REPOSITORY / "tests" / "judge_cases")
    static = {rule.id for rule in RULES.values() if "static" in rule.decided_by}
    assert static <= {case.rule for case in cases}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("t0 = time.perf_counter()\n    for step", "started = time.perf_counter()\n    for step"),
        ("val_steps = args.val_tokens // args.val_batch_size", "val_steps = args.val_tokens // (args.val_batch_size)"),
        ("warmup_steps = 30\n", "warmup_steps = 3 * 10\n"),
        ("val_tokens: int = 32768", "val_tokens: int = 2**15"),
        ("    return min(1.0, ", "    t0 = 1.0\n    return min(t0, "),
    ],
)
def test_what_is_written_otherwise_and_says_the_same(old: str, new: str) -> None:
    text = PROGRAM.replace(old, new)
    if "started" in new:
        before, _, after = text.partition("def train(")
        text = f"{before}def train({re.sub(r'(?<![a-z])t0', 'started', after)}"
    assert text != PROGRAM
    assert review(RECORD, {**RECORD, "train_gpt.py": text}).findings == ()


@pytest.mark.parametrize(
    "decoy",
    [
        "\n\ndef unused(model, args, device):\n    val_loss = 0\n    val_steps = 1\n    val_loss /= val_steps\n",
        "\n\nclass Unused:\n    def divide(self, val_loss, val_steps):\n        val_loss /= val_steps\n",
    ],
)
def test_a_copy_elsewhere_does_not_stand_for_a_statement_that_was_changed(decoy: str) -> None:
    text = PROGRAM.replace("val_loss /= val_steps", "val_loss /= 2 * val_steps")
    text = text.replace('\n\nif __name__ == "__main__":', f'{decoy}\n\nif __name__ == "__main__":')
    assert review(RECORD, {**RECORD, "train_gpt.py": text}).findings


SNAPSHOT = "    initial_state = copy.deepcopy((model.state_dict(), [optimizer.state for optimizer in optimizers]))\n"
SUM = "            training_time_ms += 1000 * (time.perf_counter() - t0)\n"


@pytest.mark.parametrize(
    "edits",
    [
        [('"""Train a small', '# -*- coding: raw_unicode_escape -*-\n"""Train a small')],
        [("def norm(x: Tensor)", "def norm(x: setattr(time, 'perf_counter', lambda: 0.0))")],
        [("BOS_ID = 0\n", "BOS_ID = 0\n_note: exec('1')\n")],
        [("    warm_up(model, optimizers, train_batches(args), device)\n", "")],
        [("    train(model, optimizers, args, device)\n", "    print0('done')\n")],
        [("    warmup_steps = 30\n", "    yield\n    warmup_steps = 30\n")],
        [("def warm_up(", "async def warm_up(")],
        [(SUM, ""), (RESTART, RESTART.replace("\n\n", f"\n{SUM}\n"))],
        [(SNAPSHOT, ""), ("    model.load_state_dict(", f"{SNAPSHOT}    model.load_state_dict(")],
        [("                    val_loss += model", "                else:\n                    val_loss += model")],
        [("        return batch\n", "        return batch[0], batch[0]\n")],
        [('    if device.type == "cuda":\n        torch.cuda.sync', "    if False:\n        torch.cuda.sync")],
        [("def set_up()", "def synchronize(device):\n    return None\n\n\ndef set_up()")],
        [("def set_up()", "print0 = quiet\n\n\ndef set_up()")],
        [
            (
                "        if last_step:\n",
                "        match t0 + 0.005:\n            case t0:\n                pass\n        if last_step:\n",
            )
        ],
        [('device: torch.device) -> None:\n    """All', 'device: torch.device, print0=quiet) -> None:\n    """All')],
        [("def set_up()", "def f():\n    global _running_batches\n    _running_batches = 1\n\n\ndef set_up()")],
        [("    val_batch_size: int = 4096\n", "    val_batch_size: int = 4096\n    val_tokens, _u = 4096, 0\n")],
        [("BOS_ID = 0\n", "BOS_ID = 0\nrun = exec\n")],
        [("BOS_ID = 0\n", "BOS_ID = 0\nos.system('x')\n")],
        [("BOS_ID = 0\n", "BOS_ID = 0\ng = torch.default_generator\n")],
        [("targets.flatten())", "targets.flatten(), *(None, None, -100))")],
    ],
)
def test_ways_around_the_matching_are_closed(edits: list[tuple[str, str]]) -> None:
    assert judged(*edits)


@pytest.mark.parametrize(
    "edits",
    [
        [
            (
                "    train_loader = train",
                "    plan = [rate_factor(step, args) for step in range(9)]\n    train_loader = train",
            )
        ],
        [
            (
                "def norm(",
                "def far(x, n):\n    dist = torch.cdist(x, x)\n    dist[0, 0] = 0\n    return dist\n\n\ndef norm(",
            )
        ],
        [("def norm(", "def size(args):\n    return count(val_tokens=args.val_tokens)\n\n\ndef norm(")],
        [("BOS_ID = 0\n", "BOS_ID = 0\nROWS = 4096\n"), ("val_batch_size: int = 4096", "val_batch_size: int = ROWS")],
        [
            (
                "            model.eval()\n",
                "            if val_steps == 0:\n                raise ValueError\n            model.eval()\n",
            )
        ],
        [("in range(warmup_steps):", "in range(0, warmup_steps):")],
        [(START, f"{START}    torch._dynamo.mark_static(args)\n")],
        [("BOS_ID = 0\n", "BOS_ID = 0\nX = f\"{'\u00a0'.join([])}\"\n")],
    ],
)
def test_honest_changes_that_look_like_breaches_pass(edits: list[tuple[str, str]]) -> None:
    assert judged(*edits) == []


def test_a_package_of_its_own_is_no_library() -> None:
    text = PROGRAM.replace("BOS_ID = 0\n", "BOS_ID = 0\nfrom kern import tuning\ntuning.BLOCK = 64\n")
    assert review(RECORD, {**RECORD, "train_gpt.py": text, "kern/tuning.py": "BLOCK = 1\n"}).findings == ()


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\x1b", "\x08"])
def test_text_that_looks_other_than_it_runs_is_refused(character: str) -> None:
    """Trojan Source: even in a comment it misleads whoever reads the program."""
    assert ("readable", 1) in judged(('"""Train a small', f'# {character}\n"""Train a small'))
