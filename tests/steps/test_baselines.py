"""`command=baselines` out of real git repositories on this machine, with tables of their own."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
import yaml

from slurm_bench.effects import human_records, seals
from slurm_bench.pure.rewrites import UpstreamRecord
from slurm_bench.steps import baselines
from slurm_bench.words.errors import BenchError, InfrastructureError, UsageError
from slurm_bench.words.paths import BaselinesPaths
from tests import upstream_repository
from tests.conftest import REPOSITORY
from tests.upstream_repository import EXACT, RECORDS, MadeRecord, Upstream, commit_all, git
from tests.waiting import LONG_S

pytestmark = pytest.mark.whole

NAMES = [record.name for record in RECORDS]
MANY = 60

PROGRAM = """\
import sys
from pathlib import Path

from slurm_bench.effects import human_records
from slurm_bench.steps import baselines
from slurm_bench.words.paths import BaselinesPaths

tables, source, root = sys.argv[1:]
print(len(baselines.fetch(human_records.upstream(Path(tables)), source, BaselinesPaths(Path(root)))))
"""

KILLING_GIT = """\
#!/bin/sh
for record in {records}/20*; do [ -e "$record" ] && kill -KILL $PPID; done
exec {git} "$@"
"""
"""Ends whoever asks it for more once a record is there."""


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return upstream_repository.make(tmp_path)


@pytest.fixture
def paths(tmp_path: Path) -> BaselinesPaths:
    return BaselinesPaths(tmp_path / "baselines")


def contents(paths: BaselinesPaths) -> dict[str, bytes]:
    return {str(path.relative_to(paths.root)): path.read_bytes() for path in sorted(paths.root.glob("20*/*"))}


def wanted_contents(paths: BaselinesPaths) -> dict[str, bytes]:
    return {f"{record.name}/{name}": result for record in RECORDS for name, (_, _, result) in record.files.items()}


def check_all(paths: BaselinesPaths) -> None:
    found = contents(paths)
    theirs = {name: data for name, data in found.items() if not name.endswith(("run.sh", "provenance.yaml"))}
    assert theirs == wanted_contents(paths)
    assert len(found) == len(theirs) + 2 * len(RECORDS)
    left = {path.name for path in paths.root.iterdir()} - set(NAMES)
    assert left <= {".upstream.git", ".upstream.lock"}


def make_bare(upstream: Upstream, folder: Path) -> str:
    git(upstream.repository, "clone", "--quiet", "--mirror", ".", str(folder))
    return str(folder)


def make_partial(upstream: Upstream, folder: Path) -> str:
    url = f"file://{upstream.repository}"
    git(upstream.repository, "clone", "--quiet", "--no-checkout", "--filter=blob:none", url, str(folder))
    missing = git(folder, "rev-list", "--all", "--objects", "--missing=print")
    assert "?" in missing, "the clone has all files: nothing is tested"
    return str(folder)


def source_of(kind: str, upstream: Upstream, folder: Path) -> str:
    return {
        "clone": lambda: str(upstream.repository),
        "git-folder": lambda: str(upstream.repository / ".git"),
        "mirror": lambda: make_bare(upstream, folder),
        "partial": lambda: make_partial(upstream, folder),
        "url": lambda: f"file://{upstream.repository}",
    }[kind]()


@pytest.mark.parametrize("kind", ["clone", "git-folder", "mirror", "partial", "url"])
def test_every_record_byte_for_byte_from_any_source(
    kind: str, upstream: Upstream, paths: BaselinesPaths, tmp_path: Path
) -> None:
    source = source_of(kind, upstream, tmp_path / "odd name' \"x")
    assert baselines.fetch(upstream.records(), source, paths) == NAMES
    check_all(paths)
    assert paths.upstream.exists() == (kind == "url")


def test_a_record_can_be_sealed_and_says_where_it_is_from(
    upstream: Upstream, paths: BaselinesPaths, tmp_path: Path
) -> None:
    baselines.fetch(upstream.records(), str(upstream.repository), paths)
    for name in NAMES:
        if EXACT in (paths.record(name) / "train_gpt.py").read_bytes():  # fetched to the byte, and refused
            continue
        assert seals.seal(paths.root, PurePosixPath(name), tmp_path / "seals").files
    launcher = paths.record(NAMES[0]) / "run.sh"
    assert stat.S_IMODE(launcher.stat().st_mode) == 0o755
    assert launcher.read_text().splitlines()[-1] == "exec torchrun --standalone --nproc_per_node=gpu train_gpt.py"
    said = yaml.safe_load((paths.record(NAMES[-1]) / "provenance.yaml").read_text())
    assert (said["record"], said["commit"]) == (NAMES[-1], upstream.commits[NAMES[-1]])
    assert "KellerJordan/modded-nanogpt" in said["upstream"]
    kernels = said["files"]["triton_kernels.py"]
    assert kernels == {
        "path": "triton_kernels.py",
        "upstream_sha256": upstream_repository.sha256(upstream_repository.KERNELS),
        "rewrites": {"R4": 2},
        "sha256": upstream_repository.sha256(upstream_repository.CAST_KERNELS),
    }


def test_the_same_bytes_from_every_source(upstream: Upstream, paths: BaselinesPaths, tmp_path: Path) -> None:
    baselines.fetch(upstream.records(), str(upstream.repository), paths)
    other = BaselinesPaths(tmp_path / "other")
    baselines.fetch(upstream.records(), f"file://{upstream.repository}", other)
    assert contents(other) == contents(paths)


def test_what_is_there_needs_no_source(upstream: Upstream, paths: BaselinesPaths) -> None:
    some = baselines.wanted(upstream.records(), NAMES[:2])
    assert baselines.fetch(some, str(upstream.repository), paths) == NAMES[:2]
    assert baselines.fetch(upstream.records(), str(upstream.repository), paths) == NAMES[2:]
    assert baselines.fetch(upstream.records(), "/nowhere", paths) == []
    check_all(paths)


def test_only_what_is_asked_for_is_fetched_from_a_url(upstream: Upstream, paths: BaselinesPaths) -> None:
    baselines.fetch(baselines.wanted(upstream.records(), NAMES[1:2]), f"file://{upstream.repository}", paths)
    assert git(paths.upstream, "for-each-ref", "--format=%(refname)") == f"refs/fetched/{upstream.commits[NAMES[1]]}"
    kinds = git(paths.upstream, "cat-file", "--batch-all-objects", "--batch-check=%(objecttype)").split()
    assert sorted(kinds) == ["blob", "commit", "tree"]


def test_a_cache_goes_on_after_a_killed_git_and_under_another_url(
    upstream: Upstream, paths: BaselinesPaths, tmp_path: Path
) -> None:
    baselines.fetch(baselines.wanted(upstream.records(), NAMES[:1]), f"file://{upstream.repository}", paths)
    (paths.upstream / "shallow.lock").touch()
    (paths.upstream / "config.lock").touch()
    moved = upstream.repository.rename(tmp_path / "moved")
    assert baselines.fetch(upstream.records(), f"file://{moved}", paths) == NAMES[1:]
    check_all(paths)


def test_an_unreachable_url_is_the_sites_failure_and_leaves_no_record(
    upstream: Upstream, paths: BaselinesPaths, tmp_path: Path
) -> None:
    with pytest.raises(InfrastructureError, match=rf"^{NAMES[0]}: git fetch in .*; ask again") as raised:
        baselines.fetch(upstream.records(), f"file://{tmp_path}/nowhere", paths)
    assert "\n" not in str(raised.value)
    assert contents(paths) == {}
    assert baselines.fetch(upstream.records(), f"file://{upstream.repository}", paths) == NAMES


def refused(records: list[UpstreamRecord], source: Path | str, paths: BaselinesPaths) -> BenchError:
    with pytest.raises(BenchError) as raised:
        baselines.fetch(records, str(source), paths)
    assert "\n" not in str(raised.value)
    assert not [name for name in contents(paths) if not name.startswith(tuple(NAMES[:2]))]
    return raised.value


def test_a_wrong_hash(upstream: Upstream, paths: BaselinesPaths) -> None:
    """Earlier records stay; the wrong one is not written."""
    records = upstream.records()
    (file,) = records[2].files
    records[2] = replace(records[2], files=(replace(file, sha256="0" * 64),))
    error = refused(records, upstream.repository, paths)
    assert isinstance(error, InfrastructureError)
    assert str(error).startswith(f"{NAMES[2]}: train_gpt.py has the SHA-256")
    assert len(contents(paths)) == 6
    assert not list(paths.root.glob(".20*"))


def test_a_wrong_result(upstream: Upstream, paths: BaselinesPaths) -> None:
    records = upstream.records()[2:]
    (file,) = records[0].files
    once_more = replace(file.rewrites[0], places=2)
    error = refused([replace(records[0], files=(replace(file, rewrites=(once_more,)),))], upstream.repository, paths)
    assert str(error).startswith(f"{NAMES[2]}: rewrite rule R1 fits in 1 places, not in 2")
    error = refused([replace(records[0], files=(replace(file, result_sha256="1" * 64),))], upstream.repository, paths)
    assert str(error).startswith(f"{NAMES[2]}: train_gpt.py after its rewrites has the SHA-256")


def test_a_replaced_object_is_not_upstreams(upstream: Upstream, paths: BaselinesPaths) -> None:
    """git's own way of showing other bytes under an object's name is switched off."""
    name = git(upstream.repository, "rev-parse", f"{upstream.commits[NAMES[0]]}:train_gpt.py")
    (upstream.repository / "other").write_bytes(b"import os\n")
    other = git(upstream.repository, "hash-object", "-w", "other")
    git(upstream.repository, "replace", name, other)
    assert git(upstream.repository, "cat-file", "blob", name) == "import os"
    baselines.fetch(upstream.records(), str(upstream.repository), paths)
    check_all(paths)


def test_a_missing_commit(upstream: Upstream, paths: BaselinesPaths) -> None:
    records = [replace(upstream.records()[3], commit="1" * 40)]
    error = refused(records, upstream.repository, paths)
    assert isinstance(error, UsageError)
    assert str(error).startswith(f"{NAMES[3]}: command.source: {upstream.repository} has no commit 1111")
    error = refused(records, f"file://{upstream.repository}", paths)
    assert isinstance(error, InfrastructureError)
    assert "not our ref" in str(error)


@pytest.mark.parametrize("kind", ["link", "folder", "submodule", "gone", "folder-link", "too-large"])
def test_only_a_plain_file_is_taken(kind: str, upstream: Upstream, paths: BaselinesPaths) -> None:
    repository, path = upstream.repository, "train_gpt.py"
    (repository / "target").write_bytes(EXACT)
    (repository / path).unlink()
    if kind == "link":
        (repository / path).symlink_to("target")
    elif kind == "folder":
        (repository / path).mkdir()
        (repository / path / "file").write_bytes(EXACT)
    elif kind == "submodule":
        git(repository, "update-index", "--add", "--cacheinfo", f"160000,{upstream.commits[NAMES[0]]},{path}")
    elif kind == "folder-link":
        path = "linked/target"
        (repository / "linked").symlink_to(".")
    elif kind == "too-large":
        (repository / path).write_bytes(bytes(5 * 2**20))
    commit = git(repository, "rev-parse", "HEAD")
    if kind == "submodule":
        git(repository, "commit", "--quiet", "--message=submodule")
        commit = git(repository, "rev-parse", "HEAD")
    else:
        commit = commit_all(repository)
    record = upstream.records()[3]
    (file,) = record.files
    error = refused([replace(record, commit=commit, files=(replace(file, path=path),))], repository, paths)
    words = "has 5242880 bytes" if kind == "too-large" else f"has no plain file {path}"
    assert words in str(error)
    assert error.exit_code == 2


@pytest.mark.parametrize("kind", ["nowhere", "file", "no-repository"])
def test_a_source_that_is_no_repository(kind: str, upstream: Upstream, paths: BaselinesPaths, tmp_path: Path) -> None:
    source = tmp_path / kind
    if kind == "file":
        source.touch()
    elif kind == "no-repository":
        source.mkdir()
    error = refused(upstream.records(), source, paths)
    assert isinstance(error, UsageError)
    assert str(error).startswith(f"command.source: {source} is no git repository")


def test_a_folder_that_cannot_be_written(upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    paths = BaselinesPaths(tmp_path / "file" / "baselines")
    error = refused(upstream.records(), upstream.repository, paths)
    assert isinstance(error, InfrastructureError)
    assert f"{paths.root} cannot be written" in str(error)


def test_a_record_that_cannot_be_written(upstream: Upstream, paths: BaselinesPaths) -> None:
    paths.root.mkdir()
    paths.record(NAMES[0]).touch()
    error = refused(upstream.records(), upstream.repository, paths)
    assert isinstance(error, InfrastructureError)
    assert f"{paths.record(NAMES[0])} cannot be written" in str(error)
    assert not list(paths.root.glob(".20*"))


def test_what_somebody_changed_is_neither_taken_for_the_record_nor_lost(
    upstream: Upstream, paths: BaselinesPaths
) -> None:
    baselines.fetch(upstream.records(), str(upstream.repository), paths)
    changed = paths.record(NAMES[1]) / "run.sh"
    changed.write_text("exec python3 train_gpt.py\n")
    with pytest.raises(UsageError, match=rf"^{NAMES[1]}: .*run\.sh is missing or was changed; move .* away"):
        baselines.fetch(upstream.records(), str(upstream.repository), paths)
    shutil.rmtree(paths.record(NAMES[1]))
    (paths.record(NAMES[2]) / "__pycache__").mkdir()
    assert baselines.fetch(upstream.records(), str(upstream.repository), paths) == [NAMES[1]]


@pytest.mark.parametrize("name", ["sitecustomize.py", "logs/run.txt", "data/link"])
def test_what_is_no_part_of_a_record_is_named(name: str, upstream: Upstream, paths: BaselinesPaths) -> None:
    """Else a session would seal it with the record, or refuse the record in its job."""
    baselines.fetch(upstream.records(), str(upstream.repository), paths)
    extra = paths.record(NAMES[1]) / name
    extra.parent.mkdir(exist_ok=True)
    extra.touch()
    top = paths.record(NAMES[1]) / name.partition("/")[0]
    with pytest.raises(UsageError, match=rf"^{NAMES[1]}: {top} is no part of the record; move it away"):
        baselines.fetch(upstream.records(), str(upstream.repository), paths)
    extra.rename(top.with_name(".hidden"))
    if top.is_dir():
        top.rmdir()
    assert baselines.fetch(upstream.records(), str(upstream.repository), paths) == []


def test_an_unknown_record(upstream: Upstream) -> None:
    with pytest.raises(UsageError, match=r"^command\.only: no human record 2031-01-01_Unknown"):
        baselines.wanted(upstream.records(), [NAMES[0], "2031-01-01_Unknown"])


def test_variables_of_a_surrounding_git_lead_nowhere_else(
    upstream: Upstream, paths: BaselinesPaths, tmp_path: Path
) -> None:
    (tmp_path / "objects").mkdir()
    misleading = {"GIT_DIR": "/nowhere", "GIT_OBJECT_DIRECTORY": str(tmp_path / "objects"), "GIT_TRACE": "1"}
    done = in_a_process(upstream, str(upstream.repository), paths, **misleading)
    assert done.wait(60) == 0
    check_all(paths)


@pytest.mark.parametrize("kind", ["clone", "url"])
def test_a_mirror_of_somebody_else(kind: str, upstream: Upstream, paths: BaselinesPaths, tmp_path: Path) -> None:
    give_away(upstream.repository)
    baselines.fetch(upstream.records(), source_of(kind, upstream, tmp_path), paths)
    check_all(paths)


def test_the_configuration_of_somebody_elses_clone_starts_nothing(
    upstream: Upstream, paths: BaselinesPaths, tmp_path: Path
) -> None:
    clone = Path(make_partial(upstream, tmp_path / "partial"))
    started = tmp_path / "started"
    git(clone, "config", "remote.origin.uploadpack", f"touch {started}; git-upload-pack")
    give_away(clone)
    error = refused(upstream.records(), clone, paths)
    assert isinstance(error, InfrastructureError)
    assert not started.exists()


@pytest.mark.parametrize("kind", ["below", "git-file", "included", "worktree"])
def test_a_strangers_configuration_starts_nothing_wherever_git_finds_it(
    kind: str, upstream: Upstream, paths: BaselinesPaths, tmp_path: Path
) -> None:
    """git searches upwards, goes where a file .git leads, and reads what a configuration includes."""
    clone, mine, started = Path(make_partial(upstream, tmp_path / "shared")), tmp_path / "mine", tmp_path / "started"
    strange = tmp_path / "strange" if kind == "included" else clone
    strange.mkdir(exist_ok=True)
    git(clone, "config", "--file", str(strange / "config"), "remote.origin.uploadpack", f"touch {started}; false")
    if kind == "included":
        git(clone, "config", "include.path", str(strange / "config"))
    else:
        git(clone, "config", "remote.origin.uploadpack", f"touch {started}; false")
    if kind == "worktree":
        git(clone, "worktree", "add", "--quiet", "--no-checkout", str(mine))
    give_away(strange)
    if kind == "below":
        mine = clone / "mine"
        mine.mkdir()
    elif kind == "git-file":
        mine.mkdir()
        (mine / ".git").write_text(f"gitdir: {clone}/.git\n")
    elif kind == "included":
        mine = clone
    error = refused(upstream.records(), mine, paths)
    assert NAMES[0] in str(error)
    assert not started.exists()


def test_a_mirror_that_lacks_a_file(upstream: Upstream, paths: BaselinesPaths, tmp_path: Path) -> None:
    mirror = Path(make_bare(upstream, tmp_path / "mirror"))
    blob = git(mirror, "rev-parse", f"{upstream.commits[NAMES[0]]}:train_gpt.py")
    (mirror / "objects" / blob[:2] / blob[2:]).unlink()
    error = refused(upstream.records(), mirror, paths)
    assert str(error).startswith(f"{NAMES[0]}: command.source: {mirror} lacks the file train_gpt.py of commit ")
    assert error.exit_code == 2


def test_a_cache_that_is_no_repository_any_more_begins_anew(
    upstream: Upstream, paths: BaselinesPaths, tmp_path: Path
) -> None:
    """As a loss of power leaves one; and the repository around it is not taken for it."""
    git(tmp_path, "init", "--quiet")
    around = (tmp_path / ".git" / "config").read_bytes()
    url = f"file://{upstream.repository}"
    baselines.fetch(baselines.wanted(upstream.records(), NAMES[:1]), url, paths)
    (paths.upstream / "HEAD").write_bytes(b"")
    assert baselines.fetch(upstream.records(), url, paths) == NAMES[1:]
    check_all(paths)
    assert (tmp_path / ".git" / "config").read_bytes() == around


def give_away(folder: Path) -> None:
    """To another user, where we are root; others find themselves in the position of an owner."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, 65534)


def in_a_process(
    upstream: Upstream, source: str, paths: BaselinesPaths, **environment: str
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(upstream.tables), source, str(paths.root)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
    )


def many(folder: Path) -> Upstream:
    records = [
        MadeRecord(f"20{number:02}-01-01_Record", (b"%d\n" % number, "", b"%d\n" % number)) for number in range(MANY)
    ]
    return upstream_repository.make(folder, records)


def test_killed_in_the_middle_it_goes_on(tmp_path: Path, paths: BaselinesPaths) -> None:
    """SIGKILL: what is there is whole, and is not written again."""
    upstream = many(tmp_path)
    killing = tmp_path / "bin" / "git"
    killing.parent.mkdir()
    killing.write_text(KILLING_GIT.format(records=paths.root, git=shutil.which("git")))
    killing.chmod(0o755)
    process = in_a_process(upstream, str(upstream.repository), paths, PATH=f"{killing.parent}:{os.environ['PATH']}")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = {folder.name: folder.stat().st_ino for folder in paths.root.glob("20*")}
    assert 0 < len(before) < MANY
    assert all(len(list((paths.root / name).iterdir())) == 3 for name in before)
    fetched = baselines.fetch(upstream.records(), str(upstream.repository), paths)
    assert sorted([*fetched, *before]) == [record.name for record in upstream.records()]
    after = {folder.name: folder.stat().st_ino for folder in paths.root.glob("20*")}
    assert {name: after[name] for name in before} == before
    assert not list(paths.root.glob(".20*"))


def test_what_a_killed_process_left_is_cleared_away(upstream: Upstream, paths: BaselinesPaths) -> None:
    left = paths.root / f".{NAMES[0]}.killed"
    left.mkdir(parents=True)
    (left / "train_gpt.py").touch()
    paths.record(NAMES[0]).mkdir()
    assert baselines.fetch(upstream.records(), str(upstream.repository), paths) == NAMES
    check_all(paths)


@pytest.mark.parametrize("kind", ["clone", "url"])
def test_two_at_once_bring_each_record_once(
    kind: str, upstream: Upstream, paths: BaselinesPaths, tmp_path: Path
) -> None:
    source = source_of(kind, upstream, tmp_path)
    processes = [in_a_process(upstream, source, paths) for _ in range(2)]
    brought = [int(process.communicate(timeout=LONG_S)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(brought) == len(RECORDS)
    check_all(paths)


def test_the_shipped_tables_name_every_rewrite() -> None:
    """26 programs that differ, by the counts of the original benchmark; the newer records' run as they are."""
    records = human_records.upstream()
    assert len(records) == 61
    by_name = {record.name: record for record in records}
    rewritten = [record for record in records if record.files[0].rewrites]
    assert len(rewritten) == 26
    assert [file.name for file in by_name["2026-01-19_BigramHashEmbedding"].files] == [
        "train_gpt.py",
        "triton_kernels.py",
    ]
    assert [file.name for file in by_name["2026-07-17_FP8DownProjection"].files] == [
        "train_gpt.py",
        "triton_kernels.py",
        "dc_triton_kernels.py",
    ]
    assert sum(len(record.files) for record in records) == 34 + 2 + 27 + 27 + 5
    assert not any(file.rewrites for record in records[34:] for file in record.files)
    files = [file for record in records for file in record.files]
    assert all(len(file.sha256) == 64 for file in files)
    assert all(bool(file.rewrites) == (len(file.result_sha256) == 64) for file in files)
