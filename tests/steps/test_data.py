"""`command=data` against a local hub and local folders."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from slurm_bench.effects import locking, shards, store
from slurm_bench.effects.hub import Hub, Patience
from slurm_bench.pure.shards import VALIDATION
from slurm_bench.steps import data
from slurm_bench.words.config import Config, DataCommand
from slurm_bench.words.data import ShardSet
from slurm_bench.words.errors import BenchError, InfrastructureError, UsageError
from tests.hub_server import COMMIT, REPO, TOKENS, HubServer, Page, Sends, Status, shard
from tests.hub_server import shards as small_shards

FILES = small_shards()
FIRST, SECOND = "fineweb_train_000001.bin", "fineweb_train_000002.bin"


def command(**options: Any) -> DataCommand:
    return DataCommand(**{"repo": REPO, "training_shards": 2, "shard_tokens": TOKENS, **options})


def perform(config: Config, **options: Any) -> None:
    config.command = command(**options)
    data.perform(config)


@pytest.fixture
def folder(config: Config) -> Path:
    return Path(config.task.data) / "fineweb10B"


def record(folder: Path) -> ShardSet:
    return store.read(folder / "shards.json", ShardSet)


def contents(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.bin")}


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in {*FILES, "shards.json"})


def local_folder(parent: Path, files: Mapping[str, bytes] = FILES) -> Path:
    source = parent / "source"
    source.mkdir(exist_ok=True)
    for name, body in files.items():
        (source / name).write_bytes(body)
    return source


def altered(body: bytes) -> bytes:
    return body[:-100] + bytes([body[-100] ^ 1]) + body[-99:]


def test_from_a_hub(config: Config, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with HubServer(FILES) as server:
        perform(config, source=server.url)
    assert contents(folder) == FILES and not left_over(folder)
    found = record(folder)
    assert found.repo == REPO and [each.name for each in found.shards] == sorted(FILES)
    for each in found.shards:
        assert each.sha256 == hashlib.sha256(FILES[each.name]).hexdigest()
        assert (each.size, each.tokens) == (len(FILES[each.name]), TOKENS)
        assert (each.source, each.revision, each.stated_by) == (server.url, COMMIT, ("hub",))
    said = capsys.readouterr().out
    assert "3 shards, 0.000363 GB" in said and "3 got and read whole, 0 were there" in said
    assert "of 3 somebody else states the same SHA-256" in said
    assert shards.check(folder.parent, whole=True) == []


def test_a_second_run_asks_nobody(config: Config, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with HubServer(FILES) as server:
        perform(config, source=server.url)
        asked = len(server.requests)
        perform(config, source=server.url)
        perform(config, source=server.url, verify=True)
        assert len(server.requests) == asked
    said = capsys.readouterr().out
    assert "0 got and read whole, 3 were there, checked by header and size" in said
    assert "0 got and read whole, 3 were there, checked by SHA-256;" in said


def test_only_what_is_missing_is_fetched(config: Config, folder: Path) -> None:
    with HubServer(FILES) as server:
        perform(config, source=server.url, training_shards=1)
        perform(config, source=server.url)
        assert [len(server.of(name)) for name in FILES] == [1, 1, 1]
    assert contents(folder) == FILES


def test_each_shard_is_entered_when_it_is_there(config: Config, folder: Path) -> None:
    with HubServer(FILES, {SECOND: [Status(403)]}) as server:
        with pytest.raises(InfrastructureError, match="403"):
            perform(config, source=server.url)
        assert [each.name for each in record(folder).shards] == [FIRST]
        perform(config, source=server.url)
        assert len(server.of(FIRST)) == 1
    assert contents(folder) == FILES


def test_a_run_that_is_killed_before_it_enters_a_shard(config: Config, folder: Path) -> None:
    """A file with a final name that nobody entered is held against the hub, and not fetched again."""
    folder.mkdir(parents=True)
    (folder / FIRST).write_bytes(FILES[FIRST])
    with HubServer(FILES) as server:
        perform(config, source=server.url)
        assert not server.of(FIRST)
    assert record(folder).find(FIRST) is not None and contents(folder) == FILES


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (altered(FILES[SECOND]), "was altered: its SHA-256 is .* where the hub states"),
        (shard(2, TOKENS - 10), "Consistency check failed"),
        (b"\1" * len(FILES[SECOND]), "is no shard of tokens"),
    ],
    ids=["altered", "truncated", "foreign"],
)
def test_a_hub_that_sends_other_bytes(config: Config, folder: Path, body: bytes, problem: str) -> None:
    with HubServer(FILES, {SECOND: [Sends(body)]}) as server:
        with pytest.raises(BenchError, match=problem) as caught:
            perform(config, source=server.url)
        assert caught.value.exit_code in (2, 3) and len(str(caught.value).splitlines()) == 1
        assert SECOND not in contents(folder) and VALIDATION not in contents(folder)
        assert record(folder).find(SECOND) is None
        if "altered" in problem or "no shard" in problem:
            assert (folder / f"{SECOND}.refused").read_bytes() == body


def test_a_network_that_asks_to_log_in(config: Config, folder: Path) -> None:
    with HubServer(FILES, {FIRST: [Page()]}) as server:
        with pytest.raises(UsageError, match=rf"{FIRST} from http.* begins with .<!DOCTYPE html><html><he.;"):
            perform(config, source=server.url)
        assert left_over(folder) == [f"{FIRST}.refused"]
        perform(config, source=server.url)
    assert contents(folder) == FILES


def test_a_hub_that_states_another_size(config: Config, folder: Path) -> None:
    with HubServer(FILES) as server:
        server.lists_sizes[VALIDATION] = 500
        with pytest.raises(UsageError, match=rf"command\.source: {VALIDATION} at .* has 500 bytes instead of 121,024"):
            perform(config, source=server.url)
        assert [each.name for each in server.requests] == [""], "nothing was fetched"
        server.files.pop(VALIDATION)
        with pytest.raises(UsageError, match=rf"command\.source: no {VALIDATION} in {REPO}"):
            perform(config, source=server.url)


def test_a_disk_without_room(config: Config, folder: Path) -> None:
    huge = 10**18
    with HubServer(FILES) as server:
        server.lists_sizes = dict.fromkeys(FILES, 1024 + 2 * huge)
        with pytest.raises(UsageError, match=r"has room for .* GB, and 6e\+09 GB are to come"):
            perform(config, source=server.url, shard_tokens=huge)
        assert [each.name for each in server.requests] == [""], "nothing was fetched"


def test_a_partial_file_that_is_too_long_begins_anew(config: Config, folder: Path) -> None:
    folder.mkdir(parents=True)
    sha256 = hashlib.sha256(FILES[FIRST]).hexdigest()
    (folder / f".{FIRST}.{sha256[:12]}.incomplete").write_bytes(FILES[FIRST] + b"more")
    with HubServer(FILES) as server:
        perform(config, source=server.url)
    assert contents(folder) == FILES and not left_over(folder)


def test_shards_of_another_commit(config: Config, folder: Path) -> None:
    """What is missing is got from the commit that is there; another one is not mixed in."""
    with HubServer(FILES) as server:
        perform(config, source=server.url, training_shards=1)
        perform(config, source=server.url)
        assert f"/revision/{COMMIT}" in server.of("")[1].path
        server.commit = "f" * 40
        with pytest.raises(UsageError, match=rf"command\.revision: .* holds shards of {COMMIT}"):
            perform(config, source=server.url, revision="main")
        with pytest.raises(UsageError, match=r"command\.revision: .* no such revision"):
            perform(config, source=server.url, revision=COMMIT, training_shards=3)
        with pytest.raises(UsageError, match=rf"command\.repo: .* holds shards of {REPO}"):
            perform(config, source=server.url, repo="someone/other")


def relabel(folder: Path, revision: str | None, *names: str) -> None:
    """As if these shards had come from another commit, or nobody had said from which."""
    others = (each.model_copy(update={"revision": revision}) for each in record(folder).shards if each.name in names)
    found = record(folder)
    for each in others:
        found = found.with_shard(each)
    store.write(folder / "shards.json", found)


@pytest.mark.parametrize("other", ["f" * 40, None])
def test_a_source_with_shards_of_several_commits(
    config: Config, folder: Path, tmp_path: Path, other: str | None
) -> None:
    with HubServer(FILES) as server:
        data.collect(command(), tmp_path / "source", Hub(server.url, REPO))
    relabel(tmp_path / "source", other, FIRST)
    with pytest.raises(UsageError, match=rf"^command\.source: {tmp_path}/source has shards of {COMMIT} and "):
        perform(config, source=str(tmp_path / "source"))
    assert not contents(folder)


def test_a_folder_that_does_not_say_and_one_that_does(config: Config, folder: Path, tmp_path: Path) -> None:
    """Whoever states the hash of what is there says of which commit it is; else nobody knows what is mixed."""
    source = local_folder(tmp_path)
    perform(config, source=str(source), training_shards=1)
    with (
        HubServer({**FILES, FIRST: shard(77)}) as server,
        pytest.raises(UsageError, match=r"^command\.revision: .* of no stated revision, and http.* of 0123"),
    ):
        perform(config, source=server.url)
    assert SECOND not in contents(folder)
    with HubServer(FILES) as server:
        perform(config, source=server.url)
        assert not server.of(FIRST)
    assert contents(folder) == FILES


def test_no_unlabelled_shard_is_put_beside_those_of_a_commit(config: Config, folder: Path, tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        perform(config, source=server.url, training_shards=1)
    with pytest.raises(UsageError, match=rf"^command\.revision: .* of {COMMIT}, and .* those of no stated revision"):
        perform(config, source=str(local_folder(tmp_path)))


@pytest.mark.parametrize("kind", ["hub", "folder"])
def test_a_planted_link_is_no_partial_file(config: Config, folder: Path, tmp_path: Path, kind: str) -> None:
    others = tmp_path / "others"
    others.write_bytes(b"")
    folder.mkdir(parents=True)
    for name, body in FILES.items():
        for content in (hashlib.sha256(body).hexdigest()[:12], "unstated"):
            (folder / f".{name}.{content}.incomplete").symlink_to(others)
    with HubServer(FILES) as server:
        perform(config, source=server.url if kind == "hub" else str(local_folder(tmp_path)))
    assert contents(folder) == FILES and not others.read_bytes()
    assert not any((folder / name).is_symlink() for name in FILES)


@pytest.mark.parametrize("verify", [False, True])
def test_what_was_altered_in_place(config: Config, folder: Path, verify: bool) -> None:
    with HubServer(FILES) as server:
        perform(config, source=server.url)
        (folder / SECOND).write_bytes(altered(FILES[SECOND]) if verify else FILES[SECOND][:-2])
        problem = "was altered" if verify else "is cut off"
        with pytest.raises(UsageError, match=rf"{SECOND} {problem}.*run again"):
            perform(config, source=server.url, verify=verify)
        assert SECOND not in contents(folder)
        perform(config, source=server.url)
    assert contents(folder) == FILES


def test_from_a_folder(config: Config, folder: Path, tmp_path: Path) -> None:
    """Copied, since a link would share its file with others."""
    source = local_folder(tmp_path)
    perform(config, source=str(source))
    assert contents(folder) == FILES and not left_over(folder)
    assert not any((folder / name).samefile(source / name) for name in FILES)
    assert not any(path.is_symlink() for path in folder.iterdir())
    shards_found = record(folder).shards
    assert {(each.source, each.revision, each.stated_by) for each in shards_found} == {(str(source), None, ())}


def test_a_folder_that_a_run_of_ours_filled_states_hashes(config: Config, folder: Path, tmp_path: Path) -> None:
    """The way to a machine without internet."""
    with HubServer(FILES) as server:
        data.collect(command(), tmp_path / "source", Hub(server.url, REPO))
    perform(config, source=str(tmp_path / "source"))
    assert {(each.revision, each.stated_by) for each in record(folder).shards} == {(COMMIT, ("folder",))}
    (tmp_path / "source" / FIRST).write_bytes(altered(FILES[FIRST]))
    with pytest.raises(UsageError, match=r"was altered: .* where the folder states"):
        perform(config, source=str(tmp_path / "source"), folder=str(tmp_path / "second"))
    with pytest.raises(UsageError, match=rf"command\.source: .* holds shards of {REPO}"):
        perform(config, source=str(tmp_path / "source"), folder=str(tmp_path / "third"), repo="someone/other")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (FILES[FIRST][:5000], rf"command\.source: {FIRST} at .* has 5,000 bytes instead of 121,024"),
        (b"\1" * len(FILES[FIRST]), rf"{FIRST} from .* is no shard of tokens"),
        (shard(1)[:-2] + b"\xff\xff", rf"{FIRST} from .* has the token 65535"),
    ],
    ids=["truncated", "foreign", "other vocabulary"],
)
def test_folders_with_bad_files(config: Config, folder: Path, tmp_path: Path, body: bytes, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        perform(config, source=str(local_folder(tmp_path, {**FILES, FIRST: body})))
    assert not contents(folder)


def test_shards_that_somebody_copied_into_place(config: Config, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, body in FILES.items():
        (folder / name).write_bytes(body)
    perform(config, source=str(folder))
    assert contents(folder) == FILES and len(record(folder).shards) == 3
    assert shards.check(folder.parent, whole=True) == []


def test_a_record_that_cannot_be_read(config: Config, folder: Path) -> None:
    with HubServer(FILES) as server:
        perform(config, source=server.url)
        (folder / "shards.json").write_text("{")
        with pytest.raises(UsageError, match=r"shards\.json is no ShardSet record.*: remove it"):
            perform(config, source=server.url)
        (folder / "shards.json").unlink()
        perform(config, source=server.url)
        assert [len(server.of(name)) for name in FILES] == [1, 1, 1], "taken in anew, not fetched again"
    assert shards.check(folder.parent, whole=True) == []


def test_links_are_not_taken(config: Config, folder: Path, tmp_path: Path) -> None:
    """A container sees the data folder, and not what a link leads to."""
    source = local_folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / FIRST).symlink_to(source / FIRST)
    with pytest.raises(UsageError, match=rf"{FIRST} is a link"):
        perform(config, source=str(source))
    perform(config, source=str(source))
    assert contents(folder) == FILES == contents(source) and not (folder / FIRST).is_symlink()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "fineweb10B").symlink_to(folder)
    with pytest.raises(UsageError, match=r"command\.folder: .* is a link"):
        perform(config, source=str(source), folder=str(tmp_path / "linked"))
    (problem,) = shards.check(tmp_path / "linked", whole=False)
    assert "fineweb10B is a link" in problem


def test_a_folder_that_is_not_there(config: Config, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"command\.source: no folder"):
        perform(config, source=str(tmp_path / "nothing"))


def test_the_published_hashes_hold_for_their_data_set(config: Config, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"was altered: .* where the publication states 771fa4a99b9f"):
        perform(config, source=str(local_folder(tmp_path)), repo=DataCommand().repo)


def test_two_runs_at_once(config: Config, folder: Path) -> None:
    with HubServer(FILES) as server:
        folder.parent.mkdir(parents=True)
        with (
            locking.lock(folder.parent / ".fineweb10B.lock"),
            pytest.raises(UsageError, match=r"command\.folder: another run is getting shards"),
        ):
            perform(config, source=server.url)
        assert not server.requests
        perform(config, source=server.url)


def test_the_rehearsals_folder_is_not_for_it(config: Config, tmp_path: Path) -> None:
    config.task.synthetic = "tiny"
    with pytest.raises(UsageError, match=r"command\.folder: .* name task=nanogpt_speedrun"):
        perform(config, source=str(local_folder(tmp_path)))
    perform(config, source=str(local_folder(tmp_path)), folder=str(tmp_path / "own"))
    assert json.loads((tmp_path / "own" / "fineweb10B" / "shards.json").read_text())["version"] == 1


def test_a_hub_that_stays_silent_is_given_up(config: Config, folder: Path) -> None:
    hub = Hub("http://127.0.0.1:9", REPO, Patience(tries=1))
    with pytest.raises(InfrastructureError, match=r"source= names a mirror"):
        data.collect(command(), folder, hub)
    assert not contents(folder)
