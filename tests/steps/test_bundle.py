"""Verdicts exported and computed again: of every outcome, in both designs, from real seals and real trials."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from slurm_bench.effects import bundles, store
from slurm_bench.effects.containers import NoContainer
from slurm_bench.pure import stamps
from slurm_bench.pure.sealing import describe
from slurm_bench.steps import bundle, judging, reverify, site, workspace
from slurm_bench.steps.experiments import Experiments, Site
from slurm_bench.words.bundles import ListedExperiment, ListedExperiments, Manifest, Stamp
from slurm_bench.words.config import BundleCommand, Config, JudgeCommand, ReverifyCommand
from slurm_bench.words.errors import BenchError, UsageError
from slurm_bench.words.experiments import ExperimentNote, ExperimentRequest
from slurm_bench.words.records import Session, SessionState
from slurm_bench.words.verdicts import Outcome, Verdict
from tests.conftest import make_config, make_quick_record
from tests.fake_cluster import FakeCluster
from tests.steps.test_decoy import CAUTIOUS, CONSTANT, another_session, decoy_config
from tests.steps.test_desk import CRASHES, FAST, HOPELESS, SLOW, Scene

pytestmark = pytest.mark.long

EXEC = ("num_iterations = 10", "num_iterations = 10\nexec('')")
LONG_START = ("time.sleep(seconds)", "[time.sleep(pause) for pause in (1.5, seconds)]")
"""For much longer than a busy machine takes to start a program: that is what it is compared with."""


def another(steps: int) -> tuple[str, str]:
    """Makes other bytes of a candidate."""
    return "num_iterations = 10", f"num_iterations = {steps}"


@dataclass
class Exported:
    scene: Scene
    archives: dict[str, Path]
    """By the candidate's name."""


def begin(folder: Path, design: str = "paired", one_by_one: bool = False) -> Scene:
    config = make_config(folder, make_quick_record(folder), ["cluster/local"], "container/none")
    config.retime.design = design
    scene = Scene(config, FakeCluster(one_by_one=one_by_one))
    write_session(scene)
    return scene


def write_session(scene: Scene) -> None:
    now = datetime.now(UTC)
    named = {"id": scene.identity, "name": scene.config.session, "campaign": scene.config.campaign}
    begun = Session(**named, revision="r1", state=SessionState.RUNNING, started=now)
    store.write(scene.paths.session, begun)


def export(scene: Scene, **options: Any) -> dict[str, Path]:
    scene.config.command = BundleCommand(**options)
    bundle.perform(scene.config)
    folder = Path(options.get("out") or scene.paths.bundles)
    return {name_of(scene, path.stem[-4:]): path for path in sorted(folder.glob("*.tar"))}


def name_of(scene: Scene, number: str) -> str:
    return Path(store.read(scene.paths.submission(number).verdict, Verdict).candidate).name


def vouch(scene: Scene, candidate: Path) -> None:
    """A person looks at a candidate, and writes down that it is honest."""
    config = copy.deepcopy(scene.config)
    config.command = JudgeCommand(directory=str(candidate), vouch="A. Reader: the longer start is a compilation")
    judging.perform(config)


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A session with a verdict of every kind; arrays run to their end before anybody looks."""
    scene = begin(tmp_path_factory.mktemp("paired"))
    scene.submit("nowhere", "a0")
    scene.submit(scene.candidate("judged", EXEC), "a1")
    scene.submit(scene.candidate("accepted", FAST), "a2")
    scene.submit(scene.candidate("too-lossy", HOPELESS), "a3")
    scene.submit(scene.candidate("too-slow", SLOW), "a4")
    scene.submit(scene.candidate("repeated", FAST), "a5")
    scene.cluster.lost = {3, 4}
    scene.submit(scene.candidate("run-again", FAST, another(11)), "a6")
    scene.cluster.lost = set(range(6))
    scene.submit(scene.candidate("undecided", FAST, another(12)), "a7")
    scene.cluster.lost, scene.cluster.silent = set(), True
    scene.submit(scene.candidate("unheard", FAST, another(13)), "a8")
    scene.cluster.silent = False
    scene.submit(scene.candidate("unsettled", FAST, LONG_START), "a9")
    candidate = scene.candidate("flagged", FAST, LONG_START)
    vouch(scene, candidate)
    scene.submit(candidate, "a9b")
    scene.submit(scene.candidate("crashed", CRASHES), "aa")
    scene.submit(scene.candidate("no-log", ("log.write_text(text)", "log.write_text('')")), "ab")
    scene.config.budget.h100_hours = 0.001
    scene.desk = scene.another_desk()
    scene.submit(scene.candidate("over-budget", FAST, another(14)), "ac")
    return Exported(scene, export(scene))


LOADER = """
def distributed_data_generator(values, size):
    for start in range(0, len(values), size):
        batch = values[start : start + size]
        yield batch


first = next(distributed_data_generator([1, 2, 3, 4], 2))
"""
REWRITTEN = ("values[start : start + size]", "list(map(values.__getitem__, range(start, start + size)))")


@pytest.fixture(scope="module")
def rewritten(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A record with a loader, and a candidate that writes it anew: before and after a person has looked."""
    folder = tmp_path_factory.mktemp("rewritten")
    record = make_quick_record(folder)
    program = record / "train_gpt.py"
    program.write_text(program.read_text().replace("num_iterations = 10\n", f"num_iterations = 10\n{LOADER}"))
    scene = Scene(make_config(folder, record, ["cluster/local"], "container/none"), FakeCluster())
    write_session(scene)
    scene.submit(scene.candidate("unread", FAST, REWRITTEN), "a0")
    candidate = scene.candidate("read", FAST, REWRITTEN)
    vouch(scene, candidate)
    scene.submit(candidate, "a1")
    return Exported(scene, export(scene))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Arrays that were ended as soon as they had decided."""
    scene = begin(tmp_path_factory.mktemp("stopped"), one_by_one=True)
    for request, (name, edit) in enumerate({"loss": HOPELESS, "speed": SLOW, "crash": CRASHES}.items()):
        scene.submit(scene.candidate(name, edit), f"a{request}")
    scene.cluster.failing_at_cancel = True
    scene.submit(scene.candidate("then-silent", HOPELESS, another(11)), "a8")
    return Exported(scene, export(scene))


@pytest.fixture(scope="module")
def in_classic(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    scene = begin(tmp_path_factory.mktemp("classic"), "classic", one_by_one=True)
    scene.submit(scene.candidate("accepted", FAST), "a0")
    scene.submit(scene.candidate("loss", HOPELESS), "a1")
    scene.submit(scene.candidate("speed", SLOW), "a2")
    return Exported(scene, export(scene))


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The archives, by number, of two that were accepted, a confirmation that the site failed, and the score."""
    scene = begin(tmp_path_factory.mktemp("confirmed"))
    scene.submit(scene.candidate("better", FAST), "a0")
    scene.submit(scene.candidate("good", ("SECONDS = 0.08", "SECONDS = 0.06")), "a1")
    scene.cluster.lost = set(range(11))
    scene.desk.confirm()
    scene.cluster.lost = {5}
    scene.desk.confirm()
    export(scene)
    return {path.stem[-4:]: path for path in scene.paths.bundles.glob("*.tar")}


@pytest.fixture(scope="module")
def with_decoys(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A session whose candidates have decoy runs, before arrays that are not looked at meanwhile."""
    scene = Scene(decoy_config(tmp_path_factory.mktemp("decoys")), FakeCluster())
    write_session(scene)
    scene.submit(scene.candidate("accepted", FAST), "a0")
    scene.submit(scene.candidate("canary", CONSTANT), "a1")
    scene.submit(scene.candidate("cautious", FAST, CAUTIOUS), "a2")
    return Exported(scene, export(scene))


@dataclass
class Found:
    exit_code: int
    said: str
    checks: Mapping[str, tuple[bool | None, str]]
    """What was found of each thing, and whether it agrees."""

    @property
    def differing(self) -> list[str]:
        return [what for what, (agrees, _) in self.checks.items() if agrees is False]

    @property
    def as_recorded(self) -> list[str]:
        return [what for what, (agrees, _) in self.checks.items() if agrees is None]


Verify = Callable[..., Found]


@pytest.fixture
def verify(config: Config, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Verifies an archive with a configuration that has nothing to do with it."""

    def perform(path: Path, digest: str | None = None) -> Found:
        config.command = ReverifyCommand(bundle=str(path), digest=digest, format="json")
        capsys.readouterr()
        code, said = 0, ""
        try:
            reverify.perform(config)
        except BenchError as error:
            code, said = error.exit_code, str(error)
        printed = capsys.readouterr().out
        checks = json.loads(printed)["checks"] if printed else []
        assert not printed or json.loads(printed)["as_recorded"] == [
            each["what"] for each in checks if each["agrees"] is None
        ]
        return Found(code, said, {each["what"]: (each["agrees"], each["found"]) for each in checks})

    return perform


# What is confirmed.


@pytest.mark.parametrize(
    ("name", "recorded", "computed"),
    [
        ("nowhere", ["verdict"], []),
        ("judged", [], ["judge: static rules", "judge", "verdict"]),
        ("accepted", [], ["judge: static rules", "trial plan", "training logs", "blocks", "verdict"]),
        ("too-lossy", [], ["blocks", "verdict"]),
        ("too-slow", [], ["blocks", "verdict"]),
        ("repeated", [], ["judge: static rules", "training logs", "blocks", "verdict"]),
        ("run-again", [], ["blocks", "verdict"]),
        ("undecided", [], ["blocks", "verdict"]),
        ("unheard", ["verdict"], ["judge"]),
        ("unsettled", [], ["judge", "second opinion", "blocks", "verdict"]),
        ("flagged", [], ["judge", "second opinion", "blocks", "verdict"]),
        ("crashed", [], ["blocks", "verdict"]),
        ("no-log", [], ["training logs", "blocks", "verdict"]),
        ("over-budget", ["verdict"], ["judge", "trial plan"]),
    ],
)
def test_a_verdict_is_confirmed(
    paired: Exported, verify: Verify, name: str, recorded: list[str], computed: list[str]
) -> None:
    """Of every outcome; what cannot be computed again is said to rest on the records alone."""
    found = verify(paired.archives[name])
    assert found.exit_code == 0, found.said
    assert found.as_recorded == ["digest", "metadata", *recorded]
    assert all(found.checks[what][0] is True for what in computed)


def test_all_outcomes_are_there(paired: Exported) -> None:
    """What the test above confirms is what it is named after."""
    scene = paired.scene
    records = sorted(scene.paths.submissions.glob("*/verdict.json"))
    given = {name_of(scene, path.parent.name): store.read(path, Verdict) for path in records}
    outcomes = {
        name: f"{each.outcome}{f' by {each.rejected_by}' if each.rejected_by else ''}" for name, each in given.items()
    }
    assert outcomes == {
        "nowhere": "invalid",
        "judged": "rejected by judge",
        "accepted": "accepted",
        "too-lossy": "rejected by loss",
        "too-slow": "rejected by speed",
        "repeated": "accepted",
        "run-again": "accepted",
        "undecided": "undecided",
        "unheard": "undecided",
        "unsettled": "undecided",
        "flagged": "accepted",
        "crashed": "rejected by loss",
        "no-log": "rejected by loss",
        "over-budget": "over budget",
    }
    assert given["repeated"].repeats == "0003"
    assert given["run-again"].rerun == (3, 4)
    assert "a person (command=judge command.vouch=…, docs/judge.md) has to look" in given["unsettled"].reason
    assert "Flagged" in given["flagged"].reason


@pytest.mark.parametrize("name", ["loss", "speed", "crash", "then-silent"])
def test_an_early_stop_is_confirmed(stopped: Exported, verify: Verify, name: str) -> None:
    found = verify(stopped.archives[name])
    assert found.exit_code == 0, found.said
    assert found.checks["early stop"][0] is True and found.checks["verdict"][0] is True


@pytest.mark.parametrize("name", ["accepted", "loss", "speed"])
def test_the_classic_design_is_confirmed(in_classic: Exported, verify: Verify, name: str) -> None:
    found = verify(in_classic.archives[name])
    assert found.exit_code == 0, found.said
    for what in ("calibration's plan", "calibration's logs", "calibration's blocks", "verdict"):
        assert found.checks[what][0] is True


def test_a_rewritten_loader_waits_for_a_reader(rewritten: Exported, verify: Verify) -> None:
    """It is not called cheating, and costs no run before somebody has looked."""
    unread, read = (
        store.read(rewritten.scene.paths.submission(number).verdict, Verdict) for number in ("0001", "0002")
    )
    assert (unread.outcome, unread.findings, unread.gpu_seconds) == (Outcome.UNDECIDED, (), 0)
    assert "cannot tell whether the same tokens come out: the data loader was changed, train_gpt.py:" in unread.reason
    assert "or a model (judge=panel) or a person (command=judge command.vouch=…, docs/judge.md) has to look" in (
        unread.reason
    )
    assert read.outcome is Outcome.ACCEPTED
    assert read.suspicions[0].startswith("data: the data loader was changed")
    for name, found in (("unread", "static cannot tell"), ("read", "person lets it pass, by static, person")):
        said = verify(rewritten.archives[name])
        assert said.exit_code == 0, said.said
        assert said.checks["judge"] == (True, found)
        assert said.checks["judge: static rules"] == (True, "again findings: 0, suspicions: 1, unsettled: 1")


@pytest.mark.parametrize(
    ("name", "claims", "differs"),
    [
        ("unread", {"cheating": False}, "judge"),
        ("unread", {"cheating": False, "summary": "", "unsettled": []}, "judge: static rules"),
        ("read", {"members": []}, "judge"),
    ],
)
def test_nobody_can_claim_that_somebody_looked(
    forge_reading: Callable[..., Found], name: str, claims: dict[str, Any], differs: str
) -> None:
    assert differs in forge_reading(name, claims).differing


@pytest.fixture
def forge_reading(rewritten: Exported, verify: Verify, tmp_path: Path) -> Callable[..., Found]:
    """Verifies an archive in which the judge's opinion says something else."""

    def make(name: str, claims: dict[str, Any]) -> Found:
        source = rewritten.archives[name]
        edits = {
            f"submissions/{source.stem[-4:]}/opinion.json": lambda content: json.dumps(
                {**json.loads(content), **claims}
            ).encode()
        }
        return verify(forged(source, edits, tmp_path))

    return make


@pytest.mark.parametrize(
    ("name", "outcome", "said"),
    [
        ("accepted", "accepted", "a loss of "),
        ("canary", "rejected by canary", "a loss of 3.2"),
        ("cautious", "undecided", "no result on random tokens, where "),
    ],
)
def test_a_decoy_run_is_confirmed(with_decoys: Exported, verify: Verify, name: str, outcome: str, said: str) -> None:
    path = with_decoys.archives[name]
    given = store.read(with_decoys.scene.paths.submission(path.stem[-4:]).verdict, Verdict)
    assert f"{given.outcome}{f' by {given.rejected_by}' if given.rejected_by else ''}" == outcome
    found = verify(path)
    assert found.exit_code == 0, found.said
    assert found.as_recorded == ["digest", "metadata"]
    assert found.checks["decoy run"][0] is True and found.checks["decoy run"][1].startswith(said)
    assert found.checks["verdict"][0] is True


def test_a_decoy_run_of_another_session_is_as_recorded(with_decoys: Exported, verify: Verify, tmp_path: Path) -> None:
    """It lies in that one's folder, so that only its record is there; what that says still has to fit."""
    other = another_session(with_decoys.scene)
    write_session(other)
    other.submit(other.candidate("accepted", FAST), "a0")
    (path,) = export(other).values()
    found = verify(path)
    assert found.exit_code == 0, found.said
    assert found.checks["decoy run"] == (None, "as it was recorded for another verdict of its campaign")
    changed = forged(path, {"submissions/0001/decoy.json": change("canary", "loss", to=6.5)}, tmp_path)
    assert "decoy run" in verify(changed).differing


def test_a_stamp_that_is_known_from_elsewhere(paired: Exported, verify: Verify) -> None:
    path = paired.archives["accepted"]
    known = stamps.digest(store.read(paired.scene.paths.submission("0003").stamp, Stamp))
    assert verify(path, known.upper()).as_recorded == ["metadata"]
    found = verify(path, "0" * 64)
    assert (found.exit_code, found.differing) == (1, ["digest"])


def test_the_newest_stamp_serves_all_bundles_of_its_session(
    paired: Exported, forge: Callable[..., Path], verify: Verify
) -> None:
    """Whoever publishes one digest has published all before it; an earlier one says nothing of what came later."""

    def digest(number: str) -> str:
        return stamps.digest(store.read(paired.scene.paths.submission(number).stamp, Stamp))

    found = verify(paired.archives["accepted"], digest("0014"))
    assert found.checks["digest"] == (True, f"{digest('0014')}, of submission 0014")
    assert verify(paired.archives["accepted"], digest("0002")).differing == ["digest"]
    changed = forge({f"{HERE}/submission.json": change("received_at", to="2026-01-01T00:00:00Z")})
    assert verify(changed, digest("0014")).differing == ["digest"]
    assert verify(forge({"submissions/0008/stamp.json": change("confirmation", to=1)}), digest("0014")).exit_code == 1


def test_a_table_for_people(paired: Exported, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    config.command = ReverifyCommand(bundle=str(paired.archives["accepted"]))
    reverify.perform(config)
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "confirmed; as recorded: digest, metadata"
    said = " ".join(printed.split())
    assert "session one, submission 0003: accepted" in said
    assert "training logs │ ok │ 20 results as logged" in said


# What is found.

Edits = Mapping[str, Callable[[bytes], bytes | None]]
"""New content by member; None takes it out."""


@pytest.fixture
def forge(paired: Exported, tmp_path: Path) -> Callable[..., Path]:
    """Makes an archive anew with other content; restamped, with a chain that is consistent again."""

    def make(edits: Edits, restamp: bool = True, name: str = "accepted") -> Path:
        return forged(paired.archives[name], edits, tmp_path, restamp)

    return make


def forged(source: Path, edits: Edits, folder: Path, restamp: bool = True) -> Path:
    contents = members(source)
    for member, edit in edits.items():
        changed = edit(contents[member])
        contents = {**contents, member: changed} if changed is not None else without(contents, member)
    if restamp:
        contents |= restamped(contents, source.stem[-4:])
    bundles.write(folder / source.name, contents)
    return folder / source.name


def members(path: Path) -> dict[str, bytes]:
    """All of an archive, output too."""
    found, data, offset = {}, path.read_bytes(), 0
    while data[offset]:
        name, size = data[offset : offset + 100].rstrip(b"\0").decode(), int(data[offset + 124 : offset + 135], 8)
        found[name] = data[offset + 512 : offset + 512 + size]
        offset += 512 + -(-size // 512) * 512
    del found[bundles.SUMS]
    return found


def without(contents: Mapping[str, bytes], member: str) -> dict[str, bytes]:
    return {name: content for name, content in contents.items() if name != member}


def restamped(contents: Mapping[str, bytes], number: str) -> dict[str, bytes]:
    """The stamp of a submission as of its content now, those after it, and the manifest."""
    name = f"submissions/{number}/stamp.json"
    stamp = Stamp.model_validate_json(contents[name])
    files = {each: stamps.sha256(contents[each]) for each in stamp.files if each in contents}
    new = stamp.model_copy(update={"files": files})
    manifest = Manifest.model_validate_json(contents["manifest.json"])
    told = manifest.model_copy(update={"stamp": stamps.digest(new)})
    return {**chained(contents, new), "manifest.json": told.model_dump_json().encode()}


def chained(contents: Mapping[str, bytes], stamp: Stamp) -> dict[str, bytes]:
    found = {f"submissions/{stamp.submission}/stamp.json": stamp.model_dump_json().encode()}
    for name in sorted(name for name in contents if name.endswith("/stamp.json") and name > max(found)):
        stamp = Stamp.model_validate_json(contents[name]).model_copy(update={"previous": stamps.digest(stamp)})
        found[name] = stamp.model_dump_json().encode()
    return found


def change(*where: str | int, to: Any) -> Callable[[bytes], bytes]:
    """Another value at a place in a JSON record."""

    def edit(content: bytes) -> bytes:
        record = json.loads(content)
        part = record
        for step in where[:-1]:
            part = part[step]
        assert part[where[-1]] != to
        part[where[-1]] = to
        return json.dumps(record).encode()

    return edit


def replace(old: str, new: str) -> Callable[[bytes], bytes]:
    def edit(content: bytes) -> bytes:
        assert old in content.decode()
        return content.decode().replace(old, new).encode()

    return edit


def gone(content: bytes) -> None:
    return None


HERE = "submissions/0003"
LOSS = ("blocks", 0, "candidate", "result", "val_loss")


def test_a_consistent_archive_of_changed_records_is_found_by_its_stamp(
    forge: Callable[..., Path], verify: Verify
) -> None:
    """A loss is changed, and every sum of the archive with it."""
    found = verify(forge({f"{HERE}/retiming/collected.json": change(*LOSS, to=3.1)}, restamp=False))
    assert found.exit_code == 1
    assert "stamped records" in found.differing
    assert "collected.json was changed" in found.checks["stamped records"][1]


@pytest.mark.parametrize(
    ("member", "edit", "differs"),
    [
        (f"{HERE}/retiming/collected.json", change(*LOSS, to=3.1), "blocks"),
        (f"{HERE}/retiming/trials/03.json", change("result", "train_time_s", to=0.01), "training logs"),
        (f"{HERE}/retiming/trials/03.log", replace("train_time:4", "train_time:3"), "training logs"),
        (f"{HERE}/retiming/trials/03.log", gone, "training logs"),
        (f"{HERE}/retiming/trials/03.json", change("seal", to="0" * 64), "trial plan"),
        (f"{HERE}/retiming/trials/03.json", gone, "blocks"),
        (f"{HERE}/retiming/plan.json", change("environment", to={"FAST": "1"}), "trial plan"),
        (f"{HERE}/retiming/plan.json", change("arms", 0, "declared_steps", to=[10, 11]), "trial plan"),
        (f"{HERE}/verdict.json", change("speed", "p_value", to=1e-3), "verdict"),
        (f"{HERE}/verdict.json", change("speed", "saved_s", to=10.0), "verdict"),
        (f"{HERE}/verdict.json", change("outcome", to="rejected"), "verdict"),
        (f"{HERE}/verdict.json", change("level", to=0.02), "verdict"),
        (f"{HERE}/verdict.json", change("confirmation", to=1), "confirmation"),
        (f"{HERE}/verdict.json", change("candidate", to="submissions/other"), "verdict"),
        (f"{HERE}/verdict.json", change("seal", to="0" * 64), "candidate"),
        (f"{HERE}/opinion.json", change("suspicions", to=["clock: odd, train_gpt.py:1"]), "judge: static rules"),
        (f"{HERE}/opinion.json", change("baseline", to="0" * 64), "judge"),
        (f"{HERE}/stamp.json", change("confirmation", to=2), "confirmation"),
        (f"{HERE}/stamp.json", change("previous", to="0" * 64), "chain"),
        ("candidate/train_gpt.py", replace("LOSS = 3.25", "LOSS = 3.21"), "candidate"),
        ("incumbent/run.sh", replace("exec", "exec "), "starting record"),
        ("config.yaml", replace("target_loss: 3.28", "target_loss: 3.3"), "chain"),
        ("config.yaml", replace("target_loss: 3.28", "target_loss: 3.3"), "verdict"),
        ("session.json", change("id", to="other"), "chain"),
        ("session.json", change("name", to="other"), "chain"),
        ("session.json", change("campaign", to="other"), "chain"),
        ("submissions/0001/stamp.json", gone, "chain"),
        ("submissions/0002/stamp.json", change("confirmation", to=1), "chain"),
        ("ledger/slurm_bench-id-0003.json", change("attempts", 2, "state", to="NODE_FAIL"), "blocks"),
    ],
)
def test_what_does_not_follow_is_found(
    forge: Callable[..., Path], verify: Verify, member: str, edit: Callable[[bytes], bytes | None], differs: str
) -> None:
    """Though its stamp was made anew."""
    found = verify(forge({member: edit}))
    assert found.exit_code == 1
    assert differs in found.differing, found.checks
    assert differs in found.said


SCORE = "submissions/0004/retiming"


@pytest.fixture
def reforge(confirmed: Mapping[str, Path], tmp_path: Path) -> Callable[[Edits], Path]:
    """Makes the archive of the score anew with other content, its stamp too."""
    return lambda edits: forged(confirmed["0004"], edits, tmp_path)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("0003", "the 1. of its session, of submission 0001, the best that was left"),
        ("0004", "the 2. of its session, of submission 0001, the best that was left"),
    ],
)
def test_a_score_is_computed_again(confirmed: Mapping[str, Path], verify: Verify, number: str, said: str) -> None:
    """From its twenty blocks, and from all verdicts before it: that it was this candidate's turn, at this level."""
    found = verify(confirmed[number])
    assert found.exit_code == 0, found.said
    assert found.checks["confirmation"] == (True, said)
    assert found.checks["trial plan"][0] and found.checks["verdict"][0]


def test_an_accepted_verdict_cannot_be_sold_as_a_score(paired: Exported, verify: Verify, tmp_path: Path) -> None:
    """One that repeats what was accepted, and says that it confirms it, without a fresh run."""
    archive, others = paired.archives["repeated"], paired.scene.paths.submissions
    before = {
        f"submissions/{path.parent.name}/verdict.json": path.read_bytes() for path in others.glob("*/verdict.json")
    }
    whole = tmp_path / "whole" / archive.name
    bundles.write(whole, {**before, **members(archive)})
    confirms = change("confirms", to="0003")
    edits = {f"submissions/{archive.stem[-4:]}/{name}.json": confirms for name in ("verdict", "submission")}
    found = verify(forged(whole, edits, tmp_path))
    assert found.exit_code == 1
    assert {"confirmation", "verdict"} & set(found.differing)


@pytest.mark.parametrize(
    ("member", "edit", "differs"),
    [
        ("submissions/0004/verdict.json", change("confirms", to="0002"), "confirmation"),
        ("submissions/0004/verdict.json", change("confirmation", to=1), "confirmation"),
        ("submissions/0004/verdict.json", change("level", to=0.005), "verdict"),
        ("submissions/0004/verdict.json", change("confirms", to=None), "verdict"),
        ("submissions/0004/submission.json", change("confirms", to=None), "verdict"),
        ("submissions/0004/stamp.json", change("confirmation", to=None), "confirmation"),
        (f"{SCORE}/plan.json", change("candidate_first", to=list(range(10, 20))), "order within blocks"),
        (f"{SCORE}/plan.json", change("candidate_first", to=list(range(20))), "trial plan"),
        (f"{SCORE}/collected.json", change("blocks", 19, "candidate", "note", to="-"), "blocks"),
        ("submissions/0002/verdict.json", change("speed", "saved_s", to=9.0), "confirmation"),
        ("submissions/0002/verdict.json", change("speed", "saved_s", to=9.0), "stamped records"),
        ("submissions/0003/stamp.json", change("confirmation", to=None), "chain"),
        ("submissions/0003/stamp.json", change("confirmation", to=None), "confirmation"),
    ],
)
def test_a_score_that_does_not_follow_is_found(
    reforge: Callable[[Edits], Path], verify: Verify, member: str, edit: Callable[[bytes], bytes | None], differs: str
) -> None:
    found = verify(reforge({member: edit}))
    assert found.exit_code == 1
    assert differs in found.differing, found.checks


Changed = Callable[[str, Edits], Found]


@pytest.fixture
def changed(with_decoys: Exported, verify: Verify, tmp_path: Path) -> Changed:
    """Verifies a candidate's archive that was made anew with other records of its submission."""

    def make(name: str, edits: Edits) -> Found:
        source = with_decoys.archives[name]
        below = f"submissions/{source.stem[-4:]}"
        return verify(forged(source, {f"{below}/{member}": edit for member, edit in edits.items()}, tmp_path))

    return make


@pytest.mark.parametrize(
    ("place", "edit", "differs"),
    [
        ("accepted/decoy.json", change("canary", "loss", to=6.5), ["decoy run", "verdict"]),
        ("accepted/decoy.json", change("canary", "floor", to=3.0), ["decoy run", "verdict"]),
        ("accepted/decoy.json", change("shards", "words", to=25), ["decoy run"]),
        ("accepted/decoy.json", change("shards", "word_share", to=0.5), ["decoy run"]),
        ("accepted/decoy.json", change("trial", "result", "val_loss", to=6.5), ["decoy run"]),
        ("accepted/decoy.json", change("seal", to="0" * 64), ["decoy run"]),
        ("accepted/decoy.json", change("caches", "sha256", to="0" * 64), ["decoy run"]),
        ("accepted/decoy.json", gone, ["decoy run", "verdict"]),
        ("accepted/decoy/trials/00.json", change("result", "val_loss", to=6.5), ["decoy run"]),
        ("accepted/decoy/trials/00.json", gone, ["decoy run"]),
        ("accepted/decoy/trials/00.log", replace("val_loss:6", "val_loss:7"), ["decoy run"]),
        ("accepted/decoy/trials/00.log", gone, ["decoy run"]),
        ("accepted/decoy/plan.json", change("environment", to={"FAST": "1"}), ["decoy run"]),
        ("accepted/retiming/plan.json", change("arms", 0, "caches", "sha256", to="0" * 64), ["decoy run"]),
        ("accepted/retiming/trials/03.json", change("caches", "sha256", to="0" * 64), ["trial plan"]),
        ("accepted/verdict.json", change("canary", "loss", to=6.5), ["verdict"]),
        ("accepted/verdict.json", change("canary", to=None), ["verdict"]),
        ("accepted/verdict.json", change("caches", to="empty"), ["verdict"]),
        ("accepted/verdict.json", change("cache_misses", to=[3]), ["verdict"]),
        ("canary/decoy.json", change("canary", "loss", to=6.0), ["decoy run", "verdict"]),
        ("canary/decoy.json", gone, ["decoy run", "verdict"]),
        ("canary/decoy/trials/00.log", replace("val_loss:3", "val_loss:6"), ["decoy run"]),
        ("canary/verdict.json", change("reason", to="no reason"), ["verdict"]),
        ("cautious/decoy.json", change("canary", "loss", to=6.0), ["decoy run", "verdict"]),
    ],
)
def test_a_decoy_run_that_was_changed_is_found(
    changed: Changed, place: str, edit: Callable[[bytes], bytes | None], differs: list[str]
) -> None:
    """Though its stamp was made anew."""
    name, _, member = place.partition("/")
    found = changed(name, {member: edit})
    assert found.exit_code == 1
    assert set(differs) <= set(found.differing), found.checks


def test_a_loss_that_was_changed_in_all_records_of_a_decoy_run(with_decoys: Exported, changed: Changed) -> None:
    """Attack: take the canary's rejection back, in the log, the records and the verdict alike.

    Defence: the verdict is computed again; and what is left then is a candidate that nobody timed.
    """
    canary = store.read(with_decoys.scene.paths.submission("0002").verdict, Verdict).canary
    assert canary

    def everywhere(content: bytes) -> bytes:
        assert f"{canary.loss}".encode() in content
        return content.replace(f"{canary.loss:.4f}".encode(), b"6.0100").replace(f"{canary.loss}".encode(), b"6.01")

    names = ("decoy.json", "decoy/trials/00.json", "decoy/trials/00.log", "decoy/collected.json", "verdict.json")
    found = changed("canary", dict.fromkeys(names, everywhere))
    assert found.differing == ["verdict"]
    assert "without runs that decide" in found.checks["verdict"][1]


def test_a_session_of_another_name_is_not_confirmed_by_its_digest(
    paired: Exported, forge: Callable[..., Path], verify: Verify
) -> None:
    """Attack: give a known digest's session the name of another, in all records that have it."""
    known = stamps.digest(store.read(paired.scene.paths.submission("0003").stamp, Stamp))
    renamed = {"session.json": change("name", to="other"), "manifest.json": change("session", to="other")}
    assert verify(forge(renamed, restamp=False), known).differing == ["chain"]


def test_a_finding_that_was_taken_out_of_an_opinion(forge: Callable[..., Path], verify: Verify) -> None:
    found = verify(forge({"submissions/0002/opinion.json": change("findings", to=[])}, name="judged"))
    assert {"judge: static rules", "judge"} <= set(found.differing)


def test_records_that_contradict_one_another(forge: Callable[..., Path], verify: Verify) -> None:
    """Where no desk would have got to, nothing is confirmed, and it is said without a traceback."""
    found = verify(forge({f"{HERE}/retiming/plan.json": change("arms", to=[])}))
    assert (found.exit_code, found.differing[-1]) == (1, "records")


# What was left out.


@pytest.fixture
def reduce(tmp_path: Path) -> Callable[..., Path]:
    """Makes an archive anew without some of its members, restamped."""

    def make(source: Path, is_left_out: Callable[[str], bool]) -> Path:
        kept = {name: content for name, content in members(source).items() if not is_left_out(name)}
        assert len(kept) < len(members(source))
        bundles.write(tmp_path / source.name, kept | restamped(kept, source.stem[-4:]))
        return tmp_path / source.name

    return make


def is_run(name: str) -> bool:
    return "/retiming/" in name and not name.endswith(("collected.json", "stopped.json"))


@pytest.mark.parametrize(
    ("left_out", "differs"),
    [
        (lambda name: is_run(name) or name.startswith("ledger/"), "trial plan"),
        (is_run, "trial plan"),
        (lambda name: "/trials/" in name or name.startswith("ledger/"), "training logs"),
        (lambda name: "/incumbents/" in name or name.startswith("ledger/"), "training logs"),
        (lambda name: name.endswith("/incumbents/07.json") or name.startswith("ledger/"), "training logs"),
        (lambda name: name.endswith("/trials/07.log") or name.startswith("ledger/"), "training logs"),
    ],
)
def test_runs_that_were_left_out_confirm_nothing(
    paired: Exported, verify: Verify, reduce: Callable[..., Path], left_out: Callable[[str], bool], differs: str
) -> None:
    """Attack: keep what was made of the runs, and leave out the runs."""
    found = verify(reduce(paired.archives["accepted"], left_out))
    assert found.exit_code == 1
    assert differs in found.differing


@pytest.mark.parametrize("left_out", ["/rerun/plan.json", "/rerun/trials/03.json", "/rerun/incumbents/03.log"])
def test_a_second_run_that_was_left_out(
    paired: Exported, verify: Verify, reduce: Callable[..., Path], left_out: str
) -> None:
    path = reduce(paired.archives["run-again"], lambda name: name.endswith(left_out) or name.startswith("ledger/"))
    assert verify(path).differing == ["training logs"]


@pytest.mark.parametrize("name", ["loss", "speed", "crash", "then-silent"])
def test_the_runs_of_an_early_stop_that_were_left_out(
    stopped: Exported, verify: Verify, reduce: Callable[..., Path], name: str
) -> None:
    assert "trial plan" in verify(reduce(stopped.archives[name], is_run)).differing
    assert "early stop" in verify(reduce(stopped.archives[name], lambda name: "/trials/0" in name)).differing


@pytest.mark.parametrize("name", ["accepted", "speed"])
def test_a_calibration_whose_runs_were_left_out(
    in_classic: Exported, verify: Verify, reduce: Callable[..., Path], name: str
) -> None:
    path = in_classic.archives[name]
    found = verify(reduce(path, lambda name: name.startswith("calibration/")))
    assert found.differing == ["calibration"]
    found = verify(reduce(path, lambda name: name.startswith(("calibration/retiming/trials/", "calibration/ledger/"))))
    assert found.differing == ["calibration's logs"]


def test_rows_of_the_scheduler_that_are_not_there(
    paired: Exported, verify: Verify, reduce: Callable[..., Path], forge: Callable[..., Path]
) -> None:
    """The runs' records say enough; but what was made of them has to agree with them."""
    found = verify(reduce(paired.archives["run-again"], lambda name: name.startswith("ledger/")))
    assert (found.exit_code, found.checks["blocks"][0]) == (0, None)
    ledger = "ledger/slurm_bench-id-0003.json"
    found = verify(forge({f"{HERE}/retiming/collected.json": change(*LOSS, to=3.1), ledger: gone}))
    assert found.differing == ["training logs", "verdict"]


# What contradicts the rest.


def test_a_candidate_without_a_program_was_never_judged(
    paired: Exported, forge: Callable[..., Path], verify: Verify
) -> None:
    """Attack: take the program away, with its entry in the seal, so that the static checker has nothing to read."""
    contents = members(paired.archives["accepted"])
    old = json.loads(contents[f"{HERE}/seal.json"])["sha256"]
    seal = describe({"run.sh": (0o755, contents["candidate/run.sh"])})
    assert seal.sha256 != old
    records = [name for name in contents if name.startswith(HERE) and name.endswith(".json")]
    edits: dict[str, Callable[[bytes], bytes | None]] = {
        name: lambda content: content.replace(old.encode(), seal.sha256.encode()) for name in records
    }
    edits |= {f"{HERE}/seal.json": lambda content: seal.model_dump_json().encode(), "candidate/train_gpt.py": gone}
    found = verify(forge(edits))
    assert "judge: static rules" in found.differing
    assert "candidate" not in found.differing


def test_an_opinion_that_claims_other_rules_does_not_escape_the_checker(
    forge: Callable[..., Path], verify: Verify
) -> None:
    """Attack: say that the rules were others, so that a finding is never looked for."""

    def claims(content: bytes) -> bytes:
        return json.dumps({**json.loads(content), "rules": "0" * 16, "findings": [], "cheating": False}).encode()

    found = verify(forge({"submissions/0002/opinion.json": claims}, name="judged"))
    assert "TODAY'S RULES FIND 1 MORE: " in found.checks["judge: static rules"][1]
    assert "judge: static rules" in found.as_recorded


@pytest.mark.parametrize(
    ("repeats", "words"),
    [
        ("0006", "0006 is no submission before it"),
        ("0009", "0009 is no submission before it"),
        ("../../x", "../../x is no submission before it"),
    ],
)
def test_a_verdict_repeats_only_an_earlier_one(
    forge: Callable[..., Path], verify: Verify, repeats: str, words: str
) -> None:
    found = verify(forge({"submissions/0006/verdict.json": change("repeats", to=repeats)}, name="repeated"))
    assert (found.exit_code, "verdict" in found.differing) == (1, True)
    assert words in found.checks["verdict"][1]


def test_a_repetition_is_not_repeated(forge: Callable[..., Path], verify: Verify) -> None:
    found = verify(forge({f"{HERE}/verdict.json": change("repeats", to="0002")}, name="repeated"))
    assert "it cannot repeat submission 0003" in found.checks["verdict"][1]


def test_an_opinion_without_a_seal(forge: Callable[..., Path], verify: Verify) -> None:
    seal = {f"{HERE}/seal.json": gone}
    assert "judge" in verify(forge(seal)).differing


def test_an_early_stop_that_the_runs_do_not_bear_out(stopped: Exported, verify: Verify, tmp_path: Path) -> None:
    """The runs that it saw were others: loss, log and record changed alike."""
    contents = members(stopped.archives["loss"])
    for index in range(3):
        name = f"submissions/0001/retiming/trials/{index:02}"
        loss = json.loads(contents[f"{name}.json"])["result"]["val_loss"]
        contents[f"{name}.json"] = change("result", "val_loss", to=3.2 + index / 100)(contents[f"{name}.json"])
        contents[f"{name}.log"] = replace(f"val_loss:{loss:.4f}", f"val_loss:{3.2 + index / 100:.4f}")(
            contents[f"{name}.log"]
        )
    bundles.write(tmp_path / "forged.tar", {**contents, **restamped(contents, "0001")})
    found = verify(tmp_path / "forged.tar")
    assert found.differing == ["training logs", "blocks", "early stop"]
    assert "trial 0: result.val_loss" in found.checks["training logs"][1]


def test_a_chain_made_anew_is_found_only_by_a_digest_known_from_elsewhere(
    paired: Exported, forge: Callable[..., Path], verify: Verify
) -> None:
    """What a bundle does not prove: who writes all records anew writes a stamp too."""
    known = stamps.digest(store.read(paired.scene.paths.submission("0003").stamp, Stamp))
    path = forge({f"{HERE}/submission.json": change("received_at", to="2026-01-01T00:00:00Z")})
    assert verify(path).exit_code == 0
    found = verify(path, known)
    assert (found.exit_code, found.differing) == (1, ["digest"])


def test_a_charge_that_the_accounting_corrected_is_no_difference(forge: Callable[..., Path], verify: Verify) -> None:
    found = verify(forge({"ledger/slurm_bench-id-0003.json": change("attempts", 2, "elapsed_s", to=100)}))
    assert found.exit_code == 0
    assert "GPU-seconds" in found.as_recorded
    assert found.checks["GPU-seconds"][1].startswith("10; the ledger has 109 by now")


def test_a_record_that_was_slipped_in_counts_for_nothing(paired: Exported, verify: Verify, tmp_path: Path) -> None:
    """No stamp names it."""
    contents = members(paired.archives["judged"])
    there = "submissions/0002"
    contents[f"{there}/second_opinion.json"] = change("judge", to="kind")(contents[f"{there}/opinion.json"])
    bundles.write(tmp_path / "forged.tar", contents)
    found = verify(tmp_path / "forged.tar")
    assert found.exit_code == 0 and "second opinion" not in found.checks
    assert found.checks["not stamped"] == (None, "files: 1: submissions/0002/second_opinion.json")


@pytest.mark.parametrize(
    ("name", "exit_code"),
    [
        ("README.md", 0),
        ("candidate/extra.py", 0),
        ("submissions/0003/note.txt", 1),
        ("submissions/0003/retiming/trials/03.json.old", 1),
        ("submissions/0003/retiming/jobs/0_log.out", None),
    ],
)
def test_a_file_that_nothing_names_is_said(
    paired: Exported, verify: Verify, tmp_path: Path, name: str, exit_code: int | None
) -> None:
    """Among the records of a submission it differs; what a job printed is part of a bundle."""
    bundles.write(tmp_path / "more.tar", {**members(paired.archives["accepted"]), name: b"more"})
    found = verify(tmp_path / "more.tar")
    assert found.exit_code == (exit_code or 0)
    said = found.checks.get("not stamped")
    assert said == (None if exit_code is None else (None if exit_code == 0 else False, f"files: 1: {name}"))


def flipped(path: Path, stride: int) -> Iterator[bytes]:
    data = path.read_bytes()
    for position in range(0, len(data), stride):
        yield data[:position] + bytes([data[position] ^ 1 << position % 8]) + data[position + 1 :]


def test_no_flipped_bit_is_confirmed(paired: Exported, verify: Verify, tmp_path: Path) -> None:
    """In headers, content, padding and end."""
    path, count = tmp_path / "flipped.tar", 0
    for data in flipped(paired.archives["nowhere"], 47):
        path.write_bytes(data)
        assert verify(path).exit_code in (1, 2)
        count += 1
    assert count > 250


def test_every_flipped_bit_is_found_by_reading_alone(paired: Exported, tmp_path: Path) -> None:
    """Of an archive with all kinds of members."""
    path, count = tmp_path / "flipped.tar", 0
    for data in flipped(paired.archives["accepted"], 97):
        path.write_bytes(data)
        count += is_found(path)
    assert count == len(range(0, paired.archives["accepted"].stat().st_size, 97)) > 1000


def is_found(path: Path) -> bool:
    try:
        return bool(bundles.read(path).wrong)
    except UsageError:
        return True


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("retime: &one {}\njudge: *one\n", "refers to itself"),
        ("{" * 200, "nests too deeply"),
        ("{" * 200_000, "nest"),
        ("!!python/object/apply:os.system ['true']", "cannot be read"),
        ("a" * 300_000, "more than 256 KiB"),
        ("task: {}", "cannot be read"),
        ("just a text", "cannot be read"),
    ],
)
def test_a_hostile_configuration(forge: Callable[..., Path], verify: Verify, text: str, words: str) -> None:
    """Attack: a config.yaml that grows without bound when it is read, or makes Python objects.

    Defence: it is read as plain values, within a size, and without references.
    """
    found = verify(forge({"config.yaml": lambda content: text.encode()}))
    assert found.exit_code == 2
    assert words in found.said


def without_field(content: bytes) -> bytes:
    return b"\n".join(line for line in content.split(b"\n") if b"stop_below" not in line)


@pytest.mark.parametrize(
    ("member", "edit"),
    [
        ("config.yaml", replace("retime:\n", "retime:\n  newer: 1\n")),
        ("config.yaml", without_field),
        (f"{HERE}/verdict.json", lambda content: json.dumps({**json.loads(content), "newer": 1}).encode()),
    ],
)
def test_what_another_version_wrote(
    forge: Callable[..., Path], verify: Verify, member: str, edit: Callable[[bytes], bytes | None]
) -> None:
    """It is unreadable, in one line that says which version reads it."""
    found = verify(forge({member: edit, "manifest.json": change("revision", to="r7")}))
    assert (found.exit_code, found.said.count("\n")) == (2, 0)
    assert "verify with revision r7" in found.said


@pytest.mark.parametrize(
    ("member", "mib"),
    [(f"{HERE}/opinion.json", 16), ("notes.txt", 64)],
)
def test_a_member_that_is_too_large(paired: Exported, verify: Verify, tmp_path: Path, member: str, mib: int) -> None:
    """Attack: a record that takes minutes to be read."""
    bundles.write(tmp_path / "l.tar", {**members(paired.archives["accepted"]), member: b" " * (mib * 2**20 + 1)})
    found = verify(tmp_path / "l.tar")
    assert found.exit_code == 2 and f"more than {mib} MiB" in found.said


HOSTILE = "\x1b]0;owned\x07\x1b[31m\r\n"


def with_key(content: bytes) -> bytes:
    return json.dumps({**json.loads(content), HOSTILE: 1}).encode()


@pytest.mark.parametrize(
    ("member", "edit"),
    [
        ("session.json", with_key),
        ("manifest.json", with_key),
        (f"{HERE}/opinion.json", with_key),
        (f"{HERE}/opinion.json", change("judge", to=HOSTILE)),
        (f"{HERE}/opinion.json", change("rules", to=HOSTILE)),
        (f"{HERE}/verdict.json", change("repeats", to=HOSTILE)),
        (f"{HERE}/verdict.json", change("reason", to=HOSTILE)),
        (f"{HERE}/retiming/trials/03.json", change("seal", to=HOSTILE)),
        ("session.json", change("name", to=HOSTILE)),
        ("config.yaml", lambda content: content + b'"\\e[31m\\a": 1\n'),
        ("config.yaml", replace("target_loss: 3.28", 'target_loss: "\\e[31m"')),
    ],
)
def test_nothing_of_a_bundle_commands_the_terminal(
    forge: Callable[..., Path],
    config: Config,
    capsys: pytest.CaptureFixture[str],
    member: str,
    edit: Callable[[bytes], bytes | None],
) -> None:
    """Attack: escape sequences in keys, values and names. Defence: all of it is made plain, in errors too."""
    path = forge({member: edit}, restamp=member != "manifest.json")
    capsys.readouterr()
    for form in ("table", "json"):
        config.command = ReverifyCommand(bundle=str(path), format=form)
        said = ""
        try:
            reverify.perform(config)
        except BenchError as error:
            said = str(error)
        printed = capsys.readouterr().out.replace("\n", "")
        assert said or printed
        assert (said + printed).isprintable()


def test_the_name_of_a_member_commands_no_terminal(paired: Exported, verify: Verify, tmp_path: Path) -> None:
    data = paired.archives["nowhere"].read_bytes()
    (tmp_path / "hostile.tar").write_bytes(b"\x1b[31m" + data[5:])
    found = verify(tmp_path / "hostile.tar")
    assert found.exit_code == 2 and found.said.isprintable()


# What is exported.


def test_the_same_content_gives_the_same_bytes(paired: Exported, tmp_path: Path) -> None:
    again = export(paired.scene, out=str(tmp_path / "again"))
    assert len(again) == len(paired.archives)
    for name, path in again.items():
        assert path.read_bytes() == paired.archives[name].read_bytes()


def test_one_submission_of_several(paired: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = export(paired.scene, out=str(tmp_path), submission="3").values()
    assert path == tmp_path / "one-0003.tar"
    digest = stamps.digest(store.read(paired.scene.paths.submission("0003").stamp, Stamp))
    newest = stamps.digest(store.read(paired.scene.paths.submission("0014").stamp, Stamp))
    assert capsys.readouterr().out == (
        f"{path}: submission 0003, stamp {digest}\nto publish: {newest}, the newest stamp (submission 0014)\n"
    )


def test_a_bundle_has_all_that_the_verdict_rests_on(paired: Exported) -> None:
    names = set(members(paired.archives["repeated"]))
    assert {"manifest.json", "config.yaml", "session.json", "incumbent.json"} <= names
    assert {"candidate/run.sh", "candidate/train_gpt.py", "incumbent/train_gpt.py"} <= names
    assert {f"submissions/{number:04}/stamp.json" for number in range(1, 14)} <= names
    assert "submissions/0007/verdict.json" not in names
    assert {f"{HERE}/retiming/trials/09.{kind}" for kind in ("json", "log", "out")} <= names
    assert "ledger/slurm_bench-id-0003.json" in names


@pytest.fixture
def quick(tmp_path: Path) -> Scene:
    """A session with one verdict that took no run."""
    scene = begin(tmp_path)
    scene.submit("nowhere", "a0")
    return scene


@pytest.mark.parametrize(
    ("session", "submission", "words"),
    [
        ("other", None, r"session: none of that name in campaign test: session=NAME of one$"),
        ("one", "7", r"no 0007 in session one; there are 0001 to 0001"),
        ("one", "1", "has no stamp: an older version"),
        ("one", None, "session one has no stamped verdict"),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_line(
    quick: Scene, session: str, submission: str | None, words: str
) -> None:
    quick.paths.submission("0001").stamp.unlink()
    quick.config.session = session
    with pytest.raises(UsageError, match=words):
        export(quick, submission=submission)
    assert not quick.paths.bundles.exists()


def test_what_is_not_decided_yet(quick: Scene) -> None:
    quick.paths.submission("0001").verdict.unlink()
    with pytest.raises(UsageError, match="0001 is not decided yet"):
        export(quick, submission="1")


def test_experiments_are_listed_up_to_the_verdict_and_not_bundled(tmp_path: Path, verify: Verify) -> None:
    (tmp_path / "other").mkdir()
    scene = begin(tmp_path / "other")
    tries = scene.candidate("tries")
    scene.submit("nowhere", "a0")
    experiment(scene, "e0", scene.paths.workspace / "nothing")
    experiment(scene, "e1", tries)
    scene.submit("elsewhere", "a1")
    experiment(scene, "e2", tries)
    first, second = export(scene).values()
    assert "experiments.json" not in members(first), "there were none yet"
    found = members(second)
    listed = ListedExperiments.model_validate_json(found["experiments.json"]).experiments
    assert listed == (ListedExperiment(number="0001", path=str(tries), gpus=1, gpu_seconds=1),)
    assert not [name for name in found if name.startswith(("experiments/", "inbox/")) or "-experiment" in name]
    told = verify(second)
    assert told.exit_code == 0 and "not stamped" not in told.checks


def experiment(scene: Scene, request: str, folder: Path) -> None:
    """What an agent asks for, from its request to its end."""
    ledger = site.ledger_of(scene.config, scene.paths, scene.cluster)
    where = Site(scene.identity, scene.cluster, NoContainer(), ledger)
    desk = Experiments(scene.config, scene.paths, where, workspace.mount(scene.paths))
    scene.paths.experiments_outbox.mkdir(exist_ok=True)
    store.write(scene.paths.experiments_outbox / f"{request}.json", ExperimentRequest(id=request, path=str(folder)))
    desk.tick()
    desk.end()
    assert store.read(scene.paths.experiment_note(request), ExperimentNote).state == "over"


def test_no_secret_is_exported(quick: Scene, tmp_path: Path) -> None:
    """A variable that is named like one, a password in an address, and a key that this machine has."""
    config = quick.paths.config
    text = config.read_text()
    for old, new, words in (
        ("environment: {}", "environment: {MY_API_KEY: x}", "environment.MY_API_KEY seems to be a secret"),
        ("maker: null\n    base_url: null", "maker: anthropic\n    base_url: https://a:b@c.de", "has a password in it"),
        ("setup: []", "setup: ['export HTTPS_PROXY=http://a:b@c.de:3128']", "cluster.setup has a password in it"),
    ):
        assert old in text
        config.write_text(
            text.replace(old, new).replace("kind: none", "kind: apptainer").replace("image: null", "image: x")
        )
        with pytest.raises(UsageError, match=words):
            export(quick)
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text("sk-test-6fd1c0ffee")
    model = f"models: {{one: {{maker: openai, model: m, key_variable: X, key_file: {key}, max_output_tokens: 1}}}}"
    config.write_text(text.replace("models: {}", model))
    (quick.paths.submission("0001").root / "note.txt").write_text("the key is sk-test-6fd1c0ffee")
    with pytest.raises(UsageError, match=r"the key of judge.models.one stands in submissions/0001/note.txt"):
        export(quick)
    assert not list(quick.paths.root.rglob("*.tar"))


# What the desk stamps.


def test_a_desk_that_died_before_the_stamp_writes_it(quick: Scene) -> None:
    """Stamped before the verdict reaches the agent: whoever has a verdict can have it verified."""
    where = quick.paths.submission("0001")
    first = store.read(where.stamp, Stamp)
    where.stamp.unlink()
    quick.paths.verdict_in_inbox("a0").unlink()
    quick.desk = quick.another_desk()
    quick.desk.serve()
    again = store.read(where.stamp, Stamp)
    assert again.model_copy(update={"stamped_at": first.stamped_at}) == first
    assert quick.paths.verdict_in_inbox("a0").exists()


def test_what_may_still_change_is_not_stamped(stopped: Exported) -> None:
    """Of an array that nobody could end only the runs that decided."""
    stamp = store.read(stopped.scene.paths.submission("0004").stamp, Stamp)
    runs = {name.rpartition("/")[2] for name in stamp.files if "/trials/" in name}
    assert runs == {f"{index:02}.{kind}" for index in range(3) for kind in ("json", "log", "out")}
