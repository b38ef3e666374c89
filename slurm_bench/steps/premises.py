"""What a session stands on that can be looked at without a scheduler: record, folder of runs, data, images, keys."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from slurm_bench.effects import containers, human_records, lock_check, machine, shards
from slurm_bench.effects.containers import Container
from slurm_bench.pure.checkup import fails, note, ok
from slurm_bench.pure.shards import VALIDATION
from slurm_bench.steps import baselines, enclosure, judge, site
from slurm_bench.words.checkup import Finding
from slurm_bench.words.config import Config
from slurm_bench.words.paths import starting_record

Look = Callable[[], Iterable[Finding]]


def looks(config: Config, hashes: bool) -> Iterator[tuple[str, Look]]:
    """Each by the name of what it looks at, so that one that cannot be had does not stop the others.

    Args:
        hashes: whether images and data are read whole.
    """
    yield "starting record", lambda: _folders(config)
    yield "runs", lambda: _runs(Path(config.runs))
    yield "data", lambda: _data(config, hashes)
    if config.container.kind == "none":
        yield "container", lambda: [note("container", "none", "contains nothing: for the rehearsal only")]
    else:
        yield "container.image", lambda: _image("container.image", site.container_of(config.container), hashes)
        if config.agent.image and config.agent.image != config.container.image:
            yield "agent.image", lambda: _image("agent.image", site.agent_container_of(config), hashes)
    if config.agent.api.maker or config.judge.models:
        yield "keys", lambda: _keys(config)


def _folders(config: Config) -> Iterator[Finding]:
    site.check_folders(config)
    name = config.task.record
    human = [record for record in human_records.upstream() if record.name == name]
    for record in human:
        baselines.is_there(record, starting_record(name))  # refuses one that was changed
    yield ok("starting record", f"{name}, by its hashes" if human else name)


def _runs(runs: Path) -> Iterator[Finding]:
    """Whether files can be renamed and locked there, which every record of ours rests on."""
    site.check_runs(str(runs))
    runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=runs) as folder:
        old, new = Path(folder, "old"), Path(folder, "new")
        old.write_text("old")
        new.write_text("new")
        new.replace(old)
        if old.read_text() != "new" or new.exists():
            yield fails(
                "runs", f"{runs}: a file that is renamed does not replace the other", "set runs to another folder"
            )
            return
        if problem := lock_check.problem(Path(folder)):
            yield fails("runs", f"{runs}: {problem}", "set runs to a folder whose file system has locks (flock)")
            return
    yield ok("runs", f"{runs}: {machine.free_gb(runs):.0f} GB free")


def _data(config: Config, hashes: bool) -> Iterator[Finding]:
    folder = Path(config.task.data)
    if config.task.synthetic:
        yield ok("data", f"the synthetic language {config.task.synthetic}, which is written where it is missing")
        return
    wrong = shards.check(folder, whole=hashes)
    yield from (fails("data", each) for each in wrong)
    if not wrong:
        count = sum(name != VALIDATION for name, _ in shards.identities(folder))
        what = f"{count} training shards and the validation shard in {folder}"
        yield ok("data", f"{what}, by {'their hashes' if hashes else 'header and size'}")


def _image(field: str, container: Container, hashes: bool) -> Iterator[Finding]:
    """The image beside the digest that was written down when it was built."""
    assert container.image
    recorded = containers.recorded_sha256(container.image)
    if recorded is None:
        yield note(field, f"{container.image.name}, without a recorded digest", "scripts/build_image records one")
    elif hashes and containers.image_sha256(container) != recorded:
        remedy = "it is not what was built: build or copy it again (scripts/build_image)"
        yield fails(field, f"{container.image} has another SHA-256 than {container.image.name}.sha256 says", remedy)
    else:
        yield ok(field, f"{container.image.name}, sha256:{recorded[:12]}…{'' if hashes else ' by its record'}")


def _keys(config: Config) -> Iterator[Finding]:
    enclosure.check(config)
    judge.check(config)
    yield ok("keys", "there, and readable by their owner only")
