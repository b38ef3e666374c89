"""The rehearsal's training script: its data, its warm-up, its parts, and whole runs of it."""

import dataclasses
import importlib.util
import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from slurm_bench.rehearsal import corpus
from tests.waiting import LONG_S

torch = pytest.importorskip("torch")
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

pytestmark = pytest.mark.whole

SOURCE = Path(corpus.__file__).parent / "record"
CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    corpus.write_shards(directory, "tiny", seed=0)
    return directory


@pytest.fixture(scope="session")
def script() -> ModuleType:
    """train_gpt.py as a module; it stands alone and is no part of the package's imports."""
    spec = importlib.util.spec_from_file_location("rehearsal_train_gpt", SOURCE / "train_gpt.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    torch.set_num_threads(1)
    return module


@pytest.fixture
def workplace(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory as a trial has it."""
    for name in ("train_gpt.py", "run.sh"):
        shutil.copy(SOURCE / name, tmp_path)
    (tmp_path / "data").symlink_to(data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_shard(path: Path, tokens: list[int], version: int = 1, count: int | None = None) -> None:
    header = np.zeros(256, np.int32)
    header[:3] = 20240520, version, len(tokens) if count is None else count
    path.write_bytes(header.tobytes() + np.array(tokens, np.uint16).tobytes())


def validation_tokens(data: Path) -> list[int]:
    tokens: list[int] = np.fromfile(data / "fineweb10B/fineweb_val_000000.bin", np.uint16, offset=1024).tolist()
    return tokens


# Data


def test_a_shard_is_read_whole(script: ModuleType, tmp_path: Path) -> None:
    write_shard(tmp_path / "a.bin", [0, 7, 65535, 9])
    assert script._load_data_shard(tmp_path / "a.bin").tolist() == [0, 7, 65535, 9]


@pytest.mark.parametrize("wrong", [{"version": 2}, {"count": 3}, {"count": 5}])
def test_a_broken_shard_is_refused(script: ModuleType, tmp_path: Path, wrong: dict[str, int]) -> None:
    write_shard(tmp_path / "a.bin", [0, 7, 8, 9], **wrong)
    with pytest.raises(ValueError, match=r"a\.bin"):
        script._load_data_shard(tmp_path / "a.bin")


def test_rows_begin_with_documents_and_do_not_overlap(script: ModuleType) -> None:
    tokens = torch.tensor([0, 1, 1, 1, 1, 0, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0], dtype=torch.uint16)
    finder = script.BOSFinder(tokens)
    # After the row 0..2 comes the document at 5, whose row takes in the one at 7; then the one at 11.
    assert finder.next_rows(2, seq_len=3) == [0, 5]
    assert finder.next_rows(1, seq_len=3) == [11]
    assert finder.next_rows(1, seq_len=3) is None


def test_training_batches_are_aligned_text(script: ModuleType, workplace: Path) -> None:
    args = script.PRESETS["tiny"]
    inputs, targets = next(
        script.distributed_data_generator(args.train_files, args.train_batch_size, args.seq_len, align_to_bos=True)
    )
    assert inputs.shape == targets.shape == (args.train_batch_size // args.seq_len, args.seq_len)
    assert inputs.dtype == targets.dtype == torch.int64
    assert (inputs[:, 0] == 0).all()
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    text = script._load_data_shard(workplace / "data/fineweb10B/fineweb_train_000001.bin").tolist()
    assert [*inputs[0].tolist(), targets[0, -1].item()] == text[: args.seq_len + 1]


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_validation_reads_every_token_once(script: ModuleType, workplace: Path, data: Path, world_size: int) -> None:
    args = script.PRESETS["tiny"]
    val_steps, ragged = divmod(args.val_tokens, args.val_batch_size)
    assert not ragged
    pattern, tokens = args.val_files, args.val_batch_size
    ranks = [
        script.distributed_data_generator(pattern, tokens, args.seq_len, False, (rank, world_size))
        for rank in range(world_size)
    ]
    seen, wanted = [], []
    for _, rank in itertools.product(range(val_steps), ranks):
        inputs, targets = next(rank)
        seen += inputs.flatten().tolist()
        wanted += targets.flatten().tolist()
    text = validation_tokens(data)
    assert seen == text[: args.val_tokens]
    assert wanted == text[1 : args.val_tokens + 1]


def test_ranks_share_the_batch_of_one(script: ModuleType, workplace: Path) -> None:
    args = script.PRESETS["tiny"]

    def rows(share: tuple[int, int]) -> list[list[int]]:
        batches = script.distributed_data_generator(args.train_files, 512, args.seq_len, True, share)
        return [row for inputs, _ in itertools.islice(batches, 5) for row in inputs.tolist()]

    assert sorted(rows((0, 2)) + rows((1, 2))) == sorted(rows((0, 1)))


@pytest.mark.parametrize("align", [True, False])
def test_the_end_of_the_data_is_an_error(script: ModuleType, workplace: Path, align: bool) -> None:
    batches = script.distributed_data_generator("data/fineweb10B/fineweb_val_*.bin", 4096, 64, align)
    with pytest.raises(RuntimeError, match="no further batch"):
        list(batches)


def test_batches_that_do_not_divide_are_refused(script: ModuleType) -> None:
    for tokens, share in [(100, (0, 1)), (192, (0, 2))]:
        with pytest.raises(ValueError, match="no whole rows"):
            next(script.distributed_data_generator("*", tokens, 64, True, share))


# Model and optimisers


def fresh(script: ModuleType, seed: int = 0) -> tuple[Any, list[Any]]:
    torch.manual_seed(seed)
    args = script.PRESETS["tiny"]
    model = script.GPT(args, script.sdpa, torch.float32)
    return model, script.build_optimizers(model, args)


def test_the_untrained_model_knows_nothing(script: ModuleType, workplace: Path) -> None:
    model, _ = fresh(script)
    inputs, targets = next(script.train_batches(script.PRESETS["tiny"]))
    assert model(inputs, targets).item() == pytest.approx(np.log(64), abs=1e-5)


def test_the_model_sees_the_past_alone(script: ModuleType) -> None:
    model, _ = fresh(script)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p), alpha=0.1)
    inputs = torch.randint(1, 64, (1, 64))
    only_30 = torch.full((1, 64), -100)  # cross_entropy's own mark for targets to leave out
    only_30[0, 30] = 5

    def loss_with_change_at(position: int) -> float:
        changed = inputs.clone()
        changed[0, position] = 0
        loss: float = model(changed, only_30).item()
        return loss

    unchanged = model(inputs, only_30).item()
    assert loss_with_change_at(31) == unchanged
    assert loss_with_change_at(29) != unchanged


def test_rotary_products_depend_on_distance_alone(script: ModuleType) -> None:
    table = script.rotary_table(8, 4, 100.0)
    q, k = (torch.randn(4).expand(1, 8, 1, 4) for _ in range(2))
    products = script.rotate(q, table)[0, :, 0] @ script.rotate(k, table)[0, :, 0].T
    for distance in range(1, 8):
        diagonal = products.diagonal(distance)
        assert torch.allclose(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5)
    assert not torch.allclose(products[0, 0], products[0, 1], atol=1e-3)


@pytest.mark.parametrize("shape", [(3, 20, 8), (2, 2, 8, 20), (1, 16, 16)])
def test_orthogonalised_has_singular_values_near_one(script: ModuleType, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(shape, generator=generator)
    result = script.orthogonalised(matrices)
    assert result.shape == matrices.shape
    values = torch.linalg.svdvals(result)
    assert values.max() < 1.3
    assert values.median() > 0.6
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    assert ((left @ right) * result).sum() / (left @ right).norm() / result.norm() > 0.95


def test_adam_agrees_with_pytorchs(script: ModuleType) -> None:
    p = torch.nn.Parameter(torch.randn(5, generator=torch.Generator().manual_seed(1)))
    reference = torch.nn.Parameter(p.detach().clone())
    ours, theirs = script.Adam({p: 0.01}, (0.8, 0.95)), torch.optim.Adam([reference], 0.01, (0.8, 0.95))
    for step in range(4):
        p.grad = torch.sin(torch.arange(5.0) + step)
        reference.grad = p.grad.clone()
        ours.step(1.0)
        theirs.step()
    assert torch.allclose(p, reference, atol=1e-6)


def test_learning_rate_stays_then_falls_to_its_last_step(script: ModuleType) -> None:
    args = script.Hyperparameters(num_iterations=100, cooldown_frac=0.5)
    factors = [script.rate_factor(step, args) for step in range(100)]
    assert factors[:51] == [1.0] * 51
    assert factors[75] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(0.02)


# Warm-up


def state(model: Any, optimizers: list[Any]) -> list[Any]:
    """Everything that training changes, copied."""
    moments = [optimizer.state.values() for optimizer in optimizers]
    flat = itertools.chain.from_iterable(v if isinstance(v, list) else [v] for m in moments for v in m)
    return [torch.as_tensor(part).clone() for part in (*model.state_dict().values(), *flat)]


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_warm_up_trains_thirty_steps_and_leaves_no_trace(script: ModuleType, workplace: Path) -> None:
    args = script.PRESETS["tiny"]
    model, optimizers = fresh(script)
    batches = script.train_batches(args)
    script.training_step(model, optimizers, next(batches), 1.0)  # so that no moment is zero
    before, midway = state(model, optimizers), []

    def watched() -> Iterator[Any]:
        for batch in batches:
            midway.append(state(model, optimizers))
            yield batch

    script.warm_up(model, optimizers, watched(), CPU)
    assert len(midway) == 30
    assert not any(same(before, later) for later in midway[1:])
    assert same(before, state(model, optimizers))
    assert all(p.grad is None for p in model.parameters())


def test_training_after_warm_up_is_training_without(script: ModuleType, workplace: Path) -> None:
    args = script.PRESETS["tiny"]
    ends = []
    for warm in (False, True):
        model, optimizers = fresh(script)
        if warm:
            script.warm_up(model, optimizers, script.train_batches(args), CPU)
        for batch in itertools.islice(script.train_batches(args), 5):
            script.training_step(model, optimizers, batch, 1.0)
        ends.append(state(model, optimizers))
    assert same(*ends)


# The clock


class SlowToValidate(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """The model, taking a second for each batch, and an hour for one that it does not train on."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds

    def forward(self, inputs: Any, targets: Any) -> Any:
        self.seconds += 1 if self.training else 3600
        return self.model(inputs, targets)


def test_the_clock_stands_still_while_the_model_is_validated(
    script: ModuleType, workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    args = dataclasses.replace(script.PRESETS["tiny"], num_iterations=4, val_loss_every=2, val_tokens=4096)
    model, optimizers = fresh(script)
    (workplace / "logs").mkdir()
    slow = SlowToValidate(model)
    monkeypatch.setattr(script, "time", slow)
    script.train(slow, optimizers, args, CPU)
    lines = re.findall(r"step:(\d)/4 val_loss:(\S+) train_time:(\d+)ms", capsys.readouterr().out)
    assert [step for step, _, _ in lines] == ["0", "2", "4"]
    assert float(lines[0][1]) == pytest.approx(np.log(64), abs=1e-4)
    assert [ms for _, _, ms in lines] == ["0", "2000", "4000"]


# Its speed


def unmasked(q: Any, k: Any, v: Any) -> Any:
    """Attention as matrix products, which PyTorch counts: twice what a causal one needs."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return ((q @ k.mT).softmax(-1) @ v).transpose(1, 2)


def test_the_operations_are_those_that_pytorch_counts(script: ModuleType) -> None:
    args = script.PRESETS["tiny"]
    model = script.GPT(args, unmasked, torch.float32)
    tokens = torch.zeros(8, args.seq_len, dtype=torch.int64)
    with FlopCounterMode(display=False) as counted:
        model(tokens, tokens).backward()
    masked_away = 6 * args.num_layers * args.seq_len * args.model_dim
    assert counted.get_total_flops() == tokens.numel() * (script.flops_per_token(args) + masked_away)


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("NVIDIA H100 80GB HBM3", "100.0% of the bf16 peak of NVIDIA H100 80GB HBM3"),
        ("NVIDIA H100 PCIe", "130.8% of the bf16 peak of NVIDIA H100 PCIe"),
        ("NVIDIA H200 NVL", "118.3% of the bf16 peak of NVIDIA H200 NVL"),
        ("NVIDIA A100-SXM4-80GB", "317.0% of the bf16 peak of NVIDIA A100-SXM4-80GB"),
        ("NVIDIA RTX A1000", "989 TFLOP/s a process"),
        ("", "989 TFLOP/s a process"),
    ],
)
def test_the_share_of_the_peak_is_that_of_the_card(script: ModuleType, card: str, said: str) -> None:
    args = script.PRESETS["small"]
    seconds = args.num_iterations * args.train_batch_size * script.flops_per_token(args) / 989e12
    assert script.speed(args, card, seconds).endswith(said)


@pytest.mark.parametrize(
    ("variables", "gpus", "started"),
    [
        ({"TRAIN_PRESET": "tiny"}, 8, "python3 train_gpt.py"),
        ({"TRAIN_PRESET": "small"}, 0, "python3 train_gpt.py"),
        ({"TRAIN_PRESET": "small"}, 1, "python3 train_gpt.py"),
        ({"TRAIN_PRESET": "small"}, 2, "torchrun --standalone --nproc_per_node=2 train_gpt.py"),
        ({"TRAIN_PRESET": "small", "CUDA_VISIBLE_DEVICES": "3"}, 8, "python3 train_gpt.py"),
        ({"TRAIN_PRESET": "small", "CUDA_VISIBLE_DEVICES": ""}, 8, "python3 train_gpt.py"),
        (
            {"TRAIN_PRESET": "medium", "CUDA_VISIBLE_DEVICES": "0,2,5"},
            8,
            "torchrun --standalone --nproc_per_node=3 train_gpt.py",
        ),
    ],
)
def test_as_many_processes_as_gpus_are_ours(tmp_path: Path, variables: dict[str, str], gpus: int, started: str) -> None:
    shutil.copy(SOURCE / "run.sh", tmp_path)
    listed = "".join(f"GPU {index}: NVIDIA H100 (UUID: GPU-{index})\n" for index in range(gpus))
    for name, body in (
        ("nvidia-smi", f"cat <<'END'\n{listed}END\n"),
        ("python3", 'echo python3 "$@"\n'),
        ("torchrun", 'echo torchrun "$@"\n'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "run.sh"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == started


# Whole runs

FINAL = re.compile(r"^step:(\d+)/\1 val_loss:(\d\.\d{4}) train_time:(\d+)ms step_avg:(\d+\.\d\d)ms$", re.MULTILINE)
PROGRESS = re.compile(r"^step:\d+/\d+ train_time:\d+ms step_avg:\d+\.\d\dms$", re.MULTILINE)


def environment(**extra: str) -> dict[str, str]:
    return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **extra}


def check_loss(text: str) -> None:
    """Exactly one validation line, at the last step, between the floor and the target of the task."""
    assert text.count("val_loss:") == 1
    (final,) = FINAL.findall(text)
    assert corpus.Language.preset("tiny").entropy_per_token < float(final[1]) < 0.82


@pytest.fixture
def tiny_run(workplace: Path) -> "subprocess.CompletedProcess[str]":
    """run.sh's outcome, with what it imports."""
    return subprocess.run(
        ["bash", "run.sh"],
        env=environment(PYTHONPROFILEIMPORTTIME="1"),
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=True,
    )


def test_a_tiny_run_keeps_the_contract(tiny_run: "subprocess.CompletedProcess[str]", workplace: Path) -> None:
    done = tiny_run
    assert " torch\n" in done.stderr
    assert "torch._dynamo" not in done.stderr, "an import that costs more than the training"
    (log,) = (path for path in workplace.rglob("*") if path.is_file() and path.parent != workplace)
    assert re.fullmatch(r"logs/[0-9a-f-]{36}\.txt", str(log.relative_to(workplace)))
    program, facts, progress = log.read_text().split("=" * 100 + "\n")
    assert program == (workplace / "train_gpt.py").read_text() + "\n"
    assert torch.__version__ in facts
    assert progress == done.stdout
    assert len(PROGRESS.findall(progress)) == 200
    assert re.search(r"^[0-9,]+ tokens/s, [0-9.e-]+ TFLOP/s a process\Z", progress.rstrip("\n"), re.MULTILINE)
    check_loss(progress)


def test_two_ranks_train_as_one(workplace: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = []
    for rank in ("0", "1"):
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "RANK": rank}
        process = subprocess.Popen(
            [sys.executable, "train_gpt.py"], env=environment(**place), stdout=subprocess.PIPE, text=True
        )
        ranks.append(process)
    first, second = (process.communicate(timeout=LONG_S)[0] for process in ranks)
    assert [process.returncode for process in ranks] == [0, 0]
    check_loss(first)
    assert second == ""
    assert len(list((workplace / "logs").iterdir())) == 1


@pytest.mark.parametrize("preset", ["enormous", "small"])
def test_a_preset_that_cannot_run_says_so(workplace: Path, preset: str) -> None:
    done = subprocess.run(
        [sys.executable, "train_gpt.py"],
        env=environment(TRAIN_PRESET=preset, CUDA_VISIBLE_DEVICES=""),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert preset in done.stderr
    assert "Traceback" not in done.stderr
    assert not (workplace / "logs").exists()
