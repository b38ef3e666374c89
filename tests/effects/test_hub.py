"""The real huggingface_hub client against a local hub that fails in every way that we know of."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from slurm_bench.effects.hub import Hub, Patience
from slurm_bench.effects.sources import Offered
from slurm_bench.words.errors import BenchError, InfrastructureError, UsageError
from tests.hub_server import (
    CHUNK,
    COMMIT,
    LARGE_TOKENS,
    REPO,
    Breaks,
    Compressed,
    Endless,
    HubServer,
    Page,
    Sends,
    Status,
    Step,
    shard,
    shards,
)

NAME = "fineweb_train_000001.bin"
FILES = shards()
HALF = len(FILES[NAME]) // 2
LARGE = {NAME: shard(1, LARGE_TOKENS)}
HASTY = Patience(tries=3, first_wait_s=0.01, longest_wait_s=0.02)
ONCE = Patience(tries=1)


def fetch(server: HubServer, into: Path, patience: Patience = HASTY) -> None:
    hub = Hub(server.url, REPO, patience)
    hub.fetch(hub.offer([NAME], None).files[NAME], into)


def test_what_a_hub_offers() -> None:
    with HubServer({**FILES, "README.md": b"x"}) as server:
        offer = Hub(server.url + "/", REPO).offer([NAME, "missing.bin"], None)
    assert (offer.origin, offer.kind) == (server.url, "hub")
    sha256 = hashlib.sha256(FILES[NAME]).hexdigest()
    assert offer.files == {NAME: Offered(NAME, len(FILES[NAME]), sha256, COMMIT)}


def test_a_download(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == FILES[NAME]


def test_a_broken_connection_is_gone_on_with(tmp_path: Path) -> None:
    with HubServer(LARGE, {NAME: [Breaks(CHUNK + 1000)]}) as server:
        fetch(server, tmp_path / "part", ONCE)
    assert (tmp_path / "part").read_bytes() == LARGE[NAME]
    assert [each.starts_at for each in server.of(NAME)] == [0, CHUNK]


def test_what_came_is_kept_for_another_call(tmp_path: Path) -> None:
    with HubServer(LARGE, {NAME: [Breaks(CHUNK + 1000), Status(503)]}) as server:
        with pytest.raises(InfrastructureError, match=r"503.*the same command goes on"):
            fetch(server, tmp_path / "part", ONCE)
        assert (tmp_path / "part").read_bytes() == LARGE[NAME][:CHUNK]
        fetch(server, tmp_path / "part", ONCE)
    assert (tmp_path / "part").read_bytes() == LARGE[NAME]
    assert [each.starts_at for each in server.of(NAME)] == [0, CHUNK, CHUNK]


def test_a_server_that_knows_no_ranges_sends_all_of_it_again(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(FILES[NAME][:HALF])
    with HubServer(FILES) as server:
        server.ignores_ranges = True
        fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == FILES[NAME]
    assert server.of(NAME)[0].starts_at == HALF


def test_a_whole_file_is_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(FILES[NAME])
    with HubServer(FILES) as server:
        fetch(server, tmp_path / "part")
    assert not server.of(NAME)


@pytest.mark.parametrize(
    "steps", [[Status(500), Status(502)], [Status(429, {"Retry-After": "0"})]], ids=["5xx", "too many requests"]
)
@pytest.mark.parametrize("name", ["", NAME], ids=["listing", "file"])
def test_what_passes_is_waited_for(tmp_path: Path, name: str, steps: Sequence[Step]) -> None:
    with HubServer(FILES, {name: steps}) as server:
        fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == FILES[NAME]
    assert len(server.of(name)) == len(steps) + 1


def test_what_lasts_is_an_error_of_the_site(tmp_path: Path) -> None:
    with (
        HubServer(FILES, {NAME: [Status(500)] * 9}) as server,
        pytest.raises(InfrastructureError, match="500 Internal Server Error"),
    ):
        fetch(server, tmp_path / "part")
    assert len(server.of(NAME)) == HASTY.tries


@pytest.mark.parametrize(
    ("step", "kind", "problem"),
    [
        (Status(404, {"X-Error-Code": "EntryNotFound"}), UsageError, "lacks a file"),
        (Status(403), InfrastructureError, "403"),
        (Page(), InfrastructureError, "Consistency check failed"),
        (Sends(FILES[NAME][:HALF]), InfrastructureError, "Consistency check failed"),
    ],
    ids=["not found", "forbidden", "web page", "truncated"],
)
def test_files_that_do_not_come(tmp_path: Path, step: Step, kind: type[BenchError], problem: str) -> None:
    with HubServer(FILES, {NAME: [step]}) as server, pytest.raises(kind, match=problem) as caught:
        fetch(server, tmp_path / "part")
    assert caught.type is kind and len(str(caught.value).splitlines()) == 1
    assert len(server.of(NAME)) == 1


@pytest.mark.parametrize("step", [Endless(10 * CHUNK), Compressed(10 * CHUNK)], ids=["endless", "compressed"])
def test_no_more_is_written_than_was_listed(tmp_path: Path, step: Step) -> None:
    with HubServer(LARGE, {NAME: [step]}) as server, pytest.raises(InfrastructureError, match="more comes than"):
        fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == LARGE[NAME][:CHUNK]


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    (tmp_path / "part").symlink_to("other")
    with HubServer(FILES) as server, pytest.raises(InfrastructureError, match="symbolic links"):
        fetch(server, tmp_path / "part")
    assert not (tmp_path / "other").read_bytes()


@pytest.mark.parametrize(
    ("ask", "kind", "problem"),
    [
        (lambda url: Hub(url, "someone/other").offer([NAME], None), UsageError, r"command\.repo: no data set"),
        (lambda url: Hub(url, "not a name").offer([NAME], None), UsageError, r"command\.repo: "),
        (lambda url: Hub(url, REPO).offer([NAME], "v9"), UsageError, r"command\.revision: .* no such revision"),
        (lambda url: Hub("http://127.0.0.1:9", REPO, HASTY).offer([NAME], None), InfrastructureError, "refused"),
    ],
)
def test_questions_without_an_answer(ask: Callable[[str], object], kind: type[BenchError], problem: str) -> None:
    with HubServer(FILES) as server, pytest.raises(kind, match=problem):
        ask(server.url)


def test_a_listing_that_is_a_web_page() -> None:
    with HubServer(FILES, {"": [Page()]}) as server, pytest.raises(InfrastructureError, match=r"JSON|value"):
        Hub(server.url, REPO, HASTY).offer([NAME], None)
