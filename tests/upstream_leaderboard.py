"""A small git repository with a leaderboard, logs and a history of the shapes of upstream's; all text is made up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slurm_bench.pure.proposals import COLUMNS, RULE_COLUMNS, RUN_COLUMNS
from slurm_bench.pure.rules import SEPARATOR
from tests.upstream_repository import git

TRACK = "records/track_1_short"
FIRST = b"loss = 1\n"
SECOND = b"import triton_kernels\n\nloss = 2\n"
KERNELS = b"import os\n\nspeed = 1\n"
THIRD = b"import triton_kernels\n\nloss = 3\n"
FOURTH = b"import triton_kernels\n\nloss = 4\n"


def row(number: int, minutes: str, date: str, linked: str = "-", credited: str = "@someone") -> str:
    """A line of the leaderboard."""
    return f"{number} | {minutes} minutes | [words](https://example.org) | {date} | {linked} | {credited}"


def links(log: str, pull: int) -> str:
    return f"[log]({TRACK}/{log}),[PR](https://example.org/pull/{pull})"


def readme(rows: Sequence[str]) -> str:
    """A README with the table, and another track's after it."""
    head = ["# Title", "", "| # | Record time | Description | Date | Log | Contributors |", "| - | - | - | - | - | - |"]
    other = ["", "## Another track", "", "| # | Record time |", row(1, "9.9", "01/01/30"), ""]
    return "\n".join([*head, row(28, "3.0", "12/31/29"), *rows, *other])


def log(
    program: Mapping[str, bytes] | bytes, ms: int = 60_000, loss: str = "3.2790", gpus: int = 8, *, ends: bool = True
) -> bytes:
    """A training log."""
    files = {"train_gpt.py": program} if isinstance(program, bytes) else dict(program)
    first, *others = files.items()
    rule = "-" * 40
    texts = [first[1].decode(), *(f"\n\n{rule}\n# {name}\n{rule}\n\n{data.decode()}" for name, data in others)]
    machine = [f"|   {gpu}  NVIDIA Z9 80GB          On  |   00000000:0{gpu}:00.0 Off |" for gpu in range(gpus)]
    lines = ["Running PyTorch 9.1 compiled for CUDA 1", "Running Triton version 8.0", *machine, SEPARATOR]
    lines += [f"step:0/10 val_loss:10.8258 train_time:0ms step_avg:{'0.01'}ms"]
    lines += [f"step:10/10 val_loss:{loss} train_time:{ms}ms step_avg:{ms / 10:.2f}ms"] * ends
    return ("".join(texts) + f"\n{SEPARATOR}\n" + "\n".join(lines) + "\n").encode()


@dataclass
class History:
    """The repository while it grows."""

    repository: Path
    rows: list[str] = field(default_factory=list)

    def commit(self, subject: str, files: Mapping[str, bytes] | None = None) -> str:
        for name, data in (files or {}).items():
            (self.repository / name).parent.mkdir(parents=True, exist_ok=True)
            (self.repository / name).write_bytes(data)
        git(self.repository, "add", "--all")
        git(self.repository, "commit", "--quiet", "--allow-empty", f"--message={subject}")
        return git(self.repository, "rev-parse", "HEAD")

    def list_(self, *rows: str) -> str:
        """Put records on the leaderboard."""
        self.rows += rows
        return self.commit("Update README.md", {"README.md": readme(self.rows).encode()})


@dataclass(frozen=True)
class Upstream:
    repository: Path
    commits: Mapping[str, str]
    """By what they do."""


def make(folder: Path) -> Upstream:
    """Five records from number 29 on: see the comments."""
    repository = folder / "upstream"
    repository.mkdir(parents=True)
    git(repository, "init", "--quiet", "--initial-branch=master")
    git(repository, "config", "core.autocrlf", "false")
    history, commits = History(repository), {}
    history.list_()
    # 29: merged as it was logged; the logs moved later; one of them is not finished, one is of a single GPU.
    first = {f"records/2030-01-01_First/{name}.txt": log(FIRST, ms, loss) for name, ms, loss in RUNS}
    first["records/2030-01-01_First/lost.txt"] = log(FIRST, ends=False)
    first["records/2030-01-01_First/small.txt"] = log(FIRST, 480_000, gpus=1)
    commits["29"] = history.commit("New record (#1)", {"train_gpt.py": FIRST, **first})
    git(repository, "mv", "records/2030-01-01_First", f"{_made(repository)}/2030-01-01_First")
    history.commit("Tidy up")
    history.list_(row(29, "1.000", "01/01/30", links("2030-01-01_First/b.txt", 1)))
    # 30: changed by upstream before it was listed; a log of 29's program lies beside the linked one.
    second = {"train_gpt.py": SECOND, "triton_kernels.py": KERNELS}
    edited = SECOND + b"extra = 1\n"
    logs = {"own": log(second, 50_000), "base": log(FIRST, 61_000)}
    history.commit("Faster (#2)", {**second, **_logs("2030-01-02_Second", logs)})
    commits["30"] = history.commit("Update train_gpt.py", {"train_gpt.py": edited})
    history.commit("Update train_gpt.py", {"notes.py": b"other = 1\n"})
    ai = "@someone & AI System [Robot](https://example.org)"
    history.list_(row(30, "0.900", "01/02/30", links("2030-01-02_Second/own.txt", 2), ai))
    # 31: neither log nor pull request nor credits.
    commits["31"] = history.commit("Other library", {"requirements.txt": b"library\n"})
    history.list_(row(31, "0.800", "01/03/30", credited="-"))
    # 32 and 33: on one leaderboard, and upstream's main line is the second parent of a pull.
    git(repository, "branch", "local")
    third, fourth = {"train_gpt.py": THIRD}, {"train_gpt.py": FOURTH}
    commits["32"] = history.commit("Third (#3)", third | _logs("2030-01-04_Third", {"x": log({**second, **third})}))
    commits["33"] = history.commit("Fourth (#4)", fourth | _logs("2030-01-05_Fourth/mine", {"y": log(second | fourth)}))
    history.list_(
        row(32, "0.700", "01/04/30", links("2030-01-04_Third/x.txt", 3)),
        row(33, "0.600", "01/05/30", links("2030-01-05_Fourth", 4), "AI system Robot"),
    )
    git(repository, "branch", "--move", "server")
    git(repository, "checkout", "--quiet", "local")
    history.commit("Something else", {"elsewhere.txt": b"1\n"})
    git(repository, "merge", "--quiet", "--message=Merge branch 'master' of https://example.org/x", "server")
    return Upstream(repository, commits)


RUNS = (("a", 60_000, "3.2790"), ("b", 60_100, "3.2785"), ("c", 60_003, "3.2770"))


def _made(repository: Path) -> str:
    (repository / TRACK).mkdir(parents=True)
    return TRACK


def _logs(folder: str, logs: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{TRACK}/{folder}/{name}.txt": data for name, data in logs.items()}


def make_tables(folder: Path) -> Path:
    """Tables without a record."""
    folder.mkdir()
    heads = {"records": COLUMNS, "runs": RUN_COLUMNS, "rules": RULE_COLUMNS, "rewrites": ("record", "file", "rules")}
    for name, columns in heads.items():
        (folder / f"human_{name}.tsv").write_text("\t".join(columns) + "\n")
    return folder
