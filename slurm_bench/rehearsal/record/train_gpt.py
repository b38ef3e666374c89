"""Train a small GPT for a fixed number of steps and report its validation loss and training time.

A stand-in for the NanoGPT speedrun: the same data format, log format, warm-up, clock and validation as the
human records, at sizes from a CPU core (TRAIN_PRESET=tiny) or a GPU (small) in seconds to GPUs in minutes (medium).
Run it in a directory that holds data/; it writes logs/<uuid>.txt there.
"""

import copy
import os
import platform
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

RANK = int(os.environ.get("RANK", "0"))
WORLD_SIZE = int(os.environ.get("WORLD_SIZE", "1"))
LOCAL_RANK = int(os.environ.get("LOCAL_RANK", "0"))
BOS_ID = 0
LOG_FILE = Path("logs") / f"{uuid.uuid4()}.txt"
BF16_PEAKS = {  # FLOP/s, dense, by NVIDIA's data sheets; the first whose words are in a card's name
    "A100": 312e12, "H100 PCIe": 756e12, "H100 NVL": 835e12, "H200 NVL": 836e12, "H100": 989e12, "H200": 989e12,
}  # fmt: skip


@dataclass(frozen=True)
class Hyperparameters:
    """One preset; the defaults are `tiny`. Batch sizes count tokens over all ranks."""

    # data
    train_files: str = "data/fineweb10B/fineweb_train_*.bin"
    val_files: str = "data/fineweb10B/fineweb_val_*.bin"
    val_tokens: int = 32768  # fixed by the task: how many tokens the validation loss is averaged over
    val_batch_size: int = 4096
    train_batch_size: int = 512
    seq_len: int = 64
    # schedule
    num_iterations: int = 200
    cooldown_frac: float = 0.5
    val_loss_every: int = 0  # 0: at the last step only
    # optimisation
    muon_lr: float = 0.02
    muon_momentum: float = 0.9
    embed_lr: float = 0.02
    head_lr: float = 0.005
    scalar_lr: float = 0.02
    adam_betas: tuple[float, float] = (0.8, 0.95)
    # model
    vocab_size: int = 64
    model_dim: int = 48
    num_layers: int = 1
    head_dim: int = 24
    rotary_base: float = 100.0
    # machine
    cuda: bool = False
    compiled: bool = False  # unless TRAIN_COMPILE=0: it then trains a third faster, and starts half a minute later


PRESETS = {
    "tiny": Hyperparameters(),
    "small": Hyperparameters(
        cuda=True, compiled=True,
        vocab_size=1024, model_dim=768, num_layers=2, head_dim=128, seq_len=1024, rotary_base=1e4,
        train_batch_size=64 * 1024, val_batch_size=128 * 1024, val_tokens=2 * 1024 * 1024,
        num_iterations=200,
    ),
    "medium": Hyperparameters(
        cuda=True, compiled=True,
        vocab_size=2048, model_dim=768, num_layers=12, head_dim=128, seq_len=1024, rotary_base=1e4,
        train_batch_size=64 * 1024, val_batch_size=128 * 1024, val_tokens=10 * 1024 * 1024,
        num_iterations=2400, val_loss_every=600,
    ),
}  # fmt: skip


def print0(s: str, console: bool = False) -> None:
    """Append a line to rank 0's log and, if `console`, to its standard output."""
    if RANK == 0:
        with LOG_FILE.open("a") as log:
            print(s, file=log)
        if console:
            print(s, flush=True)


# ---------------------------------------------------------------------------------------------------------
# Data


def _load_data_shard(file: Path) -> Tensor:
    """A shard's tokens, uint16 (count,): after 256 int32 of header that hold magic, version and count."""
    header = np.fromfile(file, dtype=np.int32, count=256)
    if len(header) < 256 or tuple(header[:2]) != (20240520, 1):
        raise ValueError(f"{file} is no token shard of version 1")
    tokens = np.fromfile(file, dtype=np.uint16, offset=header.nbytes)
    if len(tokens) != header[2]:
        raise ValueError(f"{file} promises {header[2]} tokens and holds {len(tokens)}")
    return torch.from_numpy(tokens)


class BOSFinder:
    """Cuts a shard into rows that each begin with a document."""

    def __init__(self, tokens: Tensor) -> None:
        self.size = len(tokens)
        self.bos = np.flatnonzero(tokens.numpy() == BOS_ID)
        self.cursor = 0

    def next_rows(self, count: int, seq_len: int) -> list[int] | None:
        """Starts of `count` disjoint rows of `seq_len` inputs each; None once the shard is used up."""
        starts: list[int] = []
        for _ in range(count):
            index = np.searchsorted(self.bos, self.cursor)
            if index == len(self.bos) or self.bos[index] + seq_len >= self.size:
                return None
            starts.append(int(self.bos[index]))
            self.cursor = starts[-1] + seq_len
        return starts


Batch = tuple[Tensor, Tensor]
Share = tuple[int, int]  # a rank and how many ranks there are


def _aligned_batches(tokens: Tensor, num_rows: int, seq_len: int, share: Share) -> Iterator[Batch]:
    """A rank's part of each batch: rows from as many document starts, running on into what follows."""
    finder = BOSFinder(tokens)
    rank, world_size = share
    while (starts := finder.next_rows(num_rows, seq_len)) is not None:
        rows = torch.stack([tokens[i : i + seq_len + 1] for i in starts[rank::world_size]])
        yield rows[:, :-1], rows[:, 1:]


def _running_batches(tokens: Tensor, num_rows: int, seq_len: int, share: Share) -> Iterator[Batch]:
    """A rank's part of each batch: the stream cut evenly, so that every token is a target once."""
    num_tokens = num_rows * seq_len
    rank, world_size = share
    local = num_tokens // world_size
    for batch in range((len(tokens) - 1) // num_tokens):
        start = batch * num_tokens + rank * local
        buf = tokens[start : start + local + 1]
        yield buf[:-1].view(-1, seq_len), buf[1:].view(-1, seq_len)


def distributed_data_generator(
    filename_pattern: str, num_tokens: int, seq_len: int, align_to_bos: bool, share: Share = (RANK, WORLD_SIZE)
) -> Iterator[Batch]:
    """Batches of `num_tokens` over all ranks: this rank's inputs and targets, int64 (rows, seq_len).

    Shards follow one another by name and are read once; what does not fill a batch at a shard's end is left.
    """
    files = sorted(Path(os.environ.get("DATA_PATH", ".")).glob(filename_pattern))
    num_rows, ragged = divmod(num_tokens, seq_len)
    if ragged or num_rows % share[1]:
        raise ValueError(f"{num_tokens} tokens are no whole rows of {seq_len} for each of {share[1]} ranks")
    cut = _aligned_batches if align_to_bos else _running_batches
    for file in files:
        for inputs, targets in cut(_load_data_shard(file), num_rows, seq_len, share):
            yield inputs.to(torch.int64), targets.to(torch.int64)
    raise RuntimeError(f"the {len(files)} files of {filename_pattern} hold no further batch")


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on `device`; from pinned memory, so that the copy does not wait for the GPU's queue."""
    if device.type == "cpu":
        return batch
    inputs, targets = (part.pin_memory().to(device, non_blocking=True) for part in batch)
    return inputs, targets


# ---------------------------------------------------------------------------------------------------------
# Model

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """PyTorch's causal attention, (batch, time, heads, head_dim) each."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    out: Tensor = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return out.transpose(1, 2)


def best_attention(device: torch.device) -> Attend:
    """FlashAttention 3 or 2 where there are a GPU and one of them, else PyTorch's own."""
    if device.type == "cpu":
        return sdpa
    try:  # here and not above, since the tiny preset should not wait for it
        from flash_attn_interface import flash_attn_func  # type: ignore[import-not-found, unused-ignore] # noqa: PLC0415
    except ImportError:
        try:
            from flash_attn import flash_attn_func  # type: ignore[import-not-found, unused-ignore] # noqa: PLC0415
        except ImportError:
            return sdpa

    def flash(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = flash_attn_func(q, k, v, causal=True)
        attended: Tensor = out[0] if isinstance(out, tuple) else out  # some versions add the log-sums
        return attended

    return flash


def norm(x: Tensor) -> Tensor:
    """RMSNorm over the last dimension, without a gain."""
    return F.rms_norm(x, (x.size(-1),))


def rotary_table(seq_len: int, head_dim: int, base: float) -> Tensor:
    """Cosines and sines of the rotary positions (Su et al. 2021), (2, seq_len, 1, head_dim / 2)."""
    frequencies = base ** -torch.linspace(0, 1, head_dim // 2)
    angles = torch.outer(torch.arange(seq_len), frequencies)[:, None]
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn pairs (x[i], x[i + head_dim / 2]) by their position's angle; x (batch, time, heads, head_dim)."""
    cos, sin = table
    left, right = x.chunk(2, dim=-1)
    return torch.cat([left * cos - right * sin, left * sin + right * cos], dim=-1)


class GPT(nn.Module):
    """Pre-norm decoder: rotary attention with normalised queries and keys, squared-ReLU MLP, no biases.

    Matrices of one kind live in one parameter, layers first, so that Muon treats them as one batch.
    """

    table: Tensor

    def __init__(self, args: Hyperparameters, attend: Attend, dtype: torch.dtype) -> None:
        super().__init__()
        width, layers = args.model_dim, args.num_layers
        self.head_dim, self.attend, self.dtype = args.head_dim, attend, dtype
        self.embed = nn.Parameter(torch.randn(args.vocab_size, width))
        self.attention = nn.Parameter(torch.randn(layers, 4, width, width) * width**-0.5)  # q, k, v, output
        self.mlp = nn.Parameter(torch.randn(layers, 2, 4 * width, width) * width**-0.5)  # up, down transposed
        self.sharpness = nn.Parameter(torch.full((layers,), 1.5))  # queries' length, which QK-norm takes away
        self.head = nn.Parameter(torch.zeros(args.vocab_size, width))
        with torch.no_grad():  # each layer starts as the identity
            self.attention[:, 3].zero_()
            self.mlp[:, 1].zero_()
        table = rotary_table(args.seq_len, args.head_dim, args.rotary_base)
        self.register_buffer("table", table, persistent=False)

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats of targets (batch, time) given inputs (batch, time)."""
        x = norm(F.embedding(inputs, self.embed).to(self.dtype))
        table = self.table.to(self.dtype)
        banks = (self.attention, self.mlp, self.sharpness)
        attention, mlp, sharpness = (bank.to(self.dtype).unbind() for bank in banks)
        for layer in range(len(mlp)):
            x = x + self._attend(norm(x), attention[layer], sharpness[layer], table)
            up, down = mlp[layer].unbind()
            x = x + F.linear(norm(x), up).relu().square() @ down
        logits = F.linear(norm(x), self.head.to(self.dtype)).float()
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def _attend(self, x: Tensor, weights: Tensor, sharpness: Tensor, table: Tensor) -> Tensor:
        """One attention layer: x (batch, time, width), weights (4, width, width)."""
        qkv = F.linear(x, weights[:3].flatten(0, 1))
        q, k, v = qkv.view(*x.shape[:2], 3, -1, self.head_dim).unbind(2)
        q, k = rotate(norm(q) * sharpness, table), rotate(norm(k), table)
        return F.linear(self.attend(q, k, v).flatten(2), weights[3])


# ---------------------------------------------------------------------------------------------------------
# Optimisers: not torch.optim's, whose import alone takes as long as the tiny preset's training


@dataclass
class Adam:
    """Adam (Kingma & Ba 2015) with a learning rate for each parameter."""

    rates: dict[nn.Parameter, float]
    betas: tuple[float, float]
    state: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        zeros = [torch.zeros_like(p) for p in self.rates]
        self.state = {"step": 0, "mean": zeros, "square": copy.deepcopy(zeros)}

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One update, every rate scaled by `factor`."""
        self.state["step"] += 1
        fast, slow = self.betas
        unbias, unbias_square = (1 - beta ** self.state["step"] for beta in self.betas)
        moments = zip(self.state["mean"], self.state["square"], strict=True)
        for (p, rate), (mean, square) in zip(self.rates.items(), moments, strict=True):
            assert p.grad is not None
            mean.lerp_(p.grad, 1 - fast)
            square.lerp_(p.grad.square(), 1 - slow)
            p.addcdiv_(mean, (square / unbias_square).sqrt_().add_(1e-8), value=-factor * rate / unbias)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Roughly U V^T for each matrix U S V^T of (..., rows, columns), by five Newton-Schulz steps.

    The quintic and its coefficients are those of Muon (Jordan et al. 2024).
    """
    tall = matrices.size(-2) > matrices.size(-1)
    x = (matrices.mT if tall else matrices).flatten(0, -3)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, polynomial, x, beta=3.4445)
    return (x.mT if tall else x).reshape(matrices.shape)


@dataclass
class Muon:
    """Momentum whose steps are orthogonalised: for weight matrices, any number in one parameter."""

    parameters: list[nn.Parameter]
    rate: float
    momentum: float
    dtype: torch.dtype
    state: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.state = {"mean": [torch.zeros_like(p) for p in self.parameters]}

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One update with Nesterov momentum, its rate scaled by `factor`."""
        for p, mean in zip(self.parameters, self.state["mean"], strict=True):
            assert p.grad is not None
            mean.lerp_(p.grad, 1 - self.momentum)
            update = orthogonalised(p.grad.lerp(mean, self.momentum).to(self.dtype))
            shape = max(1.0, p.size(-2) / p.size(-1)) ** 0.5
            p.add_(update, alpha=-factor * self.rate * shape)


Optimizer = Adam | Muon


def build_optimizers(model: GPT, args: Hyperparameters) -> list[Optimizer]:
    """Muon for the matrices between embedding and head, Adam for the rest."""
    rates = {model.embed: args.embed_lr, model.head: args.head_lr, model.sharpness: args.scalar_lr}
    return [
        Adam(rates, args.adam_betas),
        Muon([model.attention, model.mlp], args.muon_lr, args.muon_momentum, model.dtype),
    ]


def rate_factor(step: int, args: Hyperparameters) -> float:
    """Factor of the learning rates: 1, then down in a line towards 0 over the last `cooldown_frac`."""
    return min(1.0, (args.num_iterations - step) / (args.cooldown_frac * args.num_iterations))


# ---------------------------------------------------------------------------------------------------------
# Training


def training_step(model: nn.Module, optimizers: list[Optimizer], batch: Batch, factor: float) -> None:
    """One step on this rank's share of a batch, gradients averaged over ranks."""
    model(*batch).backward()
    if WORLD_SIZE > 1:
        for p in model.parameters():
            assert p.grad is not None
            dist.all_reduce(p.grad, op=dist.ReduceOp.AVG)
    for optimizer in optimizers:
        optimizer.step(factor)
    model.zero_grad(set_to_none=True)


def warm_up(model: nn.Module, optimizers: list[Optimizer], batches: Iterator[Batch], device: torch.device) -> None:
    """Run the training step until everything is compiled and allocated, then put back what it changed."""
    warmup_steps = 30
    initial_state = copy.deepcopy((model.state_dict(), [optimizer.state for optimizer in optimizers]))
    for _ in range(warmup_steps):
        training_step(model, optimizers, to_device(next(batches), device), 1.0)
    model.load_state_dict(initial_state[0])
    for optimizer, state in zip(optimizers, initial_state[1], strict=True):
        optimizer.state = state


def synchronize(device: torch.device) -> None:
    """Wait for the GPU, so that the clock reads finished work."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def set_up() -> tuple[Hyperparameters, torch.device]:
    """The chosen preset and this process's device; joins the other ranks if there are any."""
    name = os.environ.get("TRAIN_PRESET", "tiny")
    if name not in PRESETS:
        sys.exit(f"unknown TRAIN_PRESET {name!r}; known: {', '.join(PRESETS)}")
    args = PRESETS[name]
    if os.environ.get("TRAIN_COMPILE") == "0":
        args = replace(args, compiled=False)
    if args.cuda and not torch.cuda.is_available():
        sys.exit(f"preset {name} needs a CUDA GPU")
    device = torch.device("cuda", LOCAL_RANK) if args.cuda else torch.device("cpu")
    torch.set_num_threads(1)  # two tiny runs share two cores; beside a GPU a batch is too small to be shared out
    if args.cuda:
        torch.cuda.set_device(device)
    if WORLD_SIZE > 1:
        dist.init_process_group("nccl" if args.cuda else "gloo", device_id=device if args.cuda else None)
    return args, device


def log_facts(device: torch.device, seed: int) -> None:
    """Open the log: the program's own text, then what it runs on."""
    LOG_FILE.parent.mkdir(exist_ok=True)
    print0(Path(__file__).read_text())
    print0("=" * 100)
    print0(f"Python {platform.python_version()}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    print0(f"{WORLD_SIZE} x {device.type} ({name}), seed {seed}")
    print0("=" * 100)


def main() -> None:
    """Train the chosen preset."""
    args, device = set_up()
    seed = torch.seed()
    if RANK == 0:
        log_facts(device, seed)
    dtype = torch.bfloat16 if args.cuda else torch.float32
    raw_model = GPT(args, best_attention(device), dtype).to(device)
    if WORLD_SIZE > 1:
        for p in raw_model.parameters():
            dist.broadcast(p.detach(), 0)
    optimizers = build_optimizers(raw_model, args)
    model = cast(nn.Module, torch.compile(raw_model, dynamic=False)) if args.compiled else raw_model
    warm_up(model, optimizers, train_batches(args), device)
    if args.compiled:  # validation would be compiled anew, for a second's work
        torch.compiler.set_stance("eager_on_recompile")
    train(model, optimizers, args, device)
    if WORLD_SIZE > 1:
        dist.destroy_process_group()


def train_batches(args: Hyperparameters) -> Iterator[Batch]:
    """Training batches from the beginning of the data."""
    return distributed_data_generator(args.train_files, args.train_batch_size, args.seq_len, align_to_bos=True)


def train(model: nn.Module, optimizers: list[Optimizer], args: Hyperparameters, device: torch.device) -> None:
    """All steps and validations; the clock runs while the model trains and stands while it is validated."""
    train_loader = train_batches(args)
    train_steps = args.num_iterations
    training_time_ms = 0.0
    synchronize(device)
    t0 = time.perf_counter()
    for step in range(train_steps + 1):
        last_step = step == train_steps

        if last_step or (args.val_loss_every > 0 and step % args.val_loss_every == 0):
            synchronize(device)
            training_time_ms += 1000 * (time.perf_counter() - t0)
            assert args.val_tokens % args.val_batch_size == 0
            val_steps = args.val_tokens // args.val_batch_size
            val_loader = distributed_data_generator(
                args.val_files, args.val_batch_size, args.seq_len, align_to_bos=False
            )
            val_loss = torch.zeros((), device=device)
            model.eval()
            with torch.no_grad():
                for _ in range(val_steps):
                    inputs, targets = to_device(next(val_loader), device)
                    val_loss += model(inputs, targets)
            val_loss /= val_steps
            if WORLD_SIZE > 1:
                dist.all_reduce(val_loss, op=dist.ReduceOp.AVG)
            step_avg = training_time_ms / max(step, 1)
            timing = f"train_time:{training_time_ms:.0f}ms step_avg:{step_avg:.2f}ms"
            print0(f"step:{step}/{train_steps} val_loss:{val_loss:.4f} {timing}", console=True)
            model.train()
            synchronize(device)
            t0 = time.perf_counter()

        if last_step:
            break

        training_step(model, optimizers, to_device(next(train_loader), device), rate_factor(step, args))
        elapsed_ms = training_time_ms + 1000 * (time.perf_counter() - t0)
        timing = f"train_time:{elapsed_ms:.0f}ms step_avg:{elapsed_ms / (step + 1):.2f}ms"
        print0(f"step:{step + 1}/{train_steps} {timing}", console=True)

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    print0(speed(args, name, training_time_ms / 1000), console=True)


def flops_per_token(args: Hyperparameters) -> int:
    """Floating-point operations that a training step needs for a token: forward once, backward twice as much."""
    matrices = args.num_layers * 12 * args.model_dim**2 + args.vocab_size * args.model_dim
    attention = args.num_layers * args.seq_len * args.model_dim  # scores and values, of the earlier half on average
    return 3 * 2 * (matrices + attention)


def speed(args: Hyperparameters, card: str, training_s: float) -> str:
    """How fast the training was, and how much of the card's dense bf16 peak its model needed."""
    tokens_per_s = args.num_iterations * args.train_batch_size / training_s
    flops = tokens_per_s * flops_per_token(args) / WORLD_SIZE
    text = f"{tokens_per_s:,.0f} tokens/s, {flops / 1e12:.3g} TFLOP/s a process"
    words = card.replace("-", " ").split()
    peaks = [peak for name, peak in BF16_PEAKS.items() if set(name.split()) <= set(words)]
    return f"{text}, {flops / peaks[0]:.1%} of the bf16 peak of {card}" if peaks else text


if __name__ == "__main__":
    main()
