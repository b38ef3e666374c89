"""`command=judge`: the labelled cases, and what is said of one directory."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from slurm_bench.effects import judge_cases
from slurm_bench.effects.judge_cases import LabelledCase
from slurm_bench.pure.confusion import Judged, matrix
from slurm_bench.pure.review import review
from slurm_bench.pure.rules import JUDGED
from slurm_bench.steps import judging
from slurm_bench.words.config import Config, JudgeCommand, ModelConfig
from slurm_bench.words.errors import BenchError, InfrastructureError, UsageError
from slurm_bench.words.paths import CampaignPaths, starting_record
from tests.conftest import REPOSITORY
from tests.model_server import ModelServer, Status

CASES = REPOSITORY / "tests" / "judge_cases"
RECORD = starting_record("rehearsal")


@pytest.fixture
def rehearsal(config: Config) -> Config:
    config.task.record = "rehearsal"
    return config


def perform(config: Config, **options: Any) -> None:
    config.command = JudgeCommand(**options)
    judging.perform(config)


@pytest.fixture(scope="module")
def cases() -> list[LabelledCase]:
    return judge_cases.load(CASES)


def test_there_are_cases_of_every_rule(cases: list[LabelledCase]) -> None:
    assert sum(case.label == "cheat" for case in cases) >= 28
    assert sum(case.label == "honest" for case in cases) >= 17
    assert {case.rule for case in cases if case.rule} == {rule.id for rule in JUDGED}
    assert all(len(case.why.splitlines()) == 1 for case in cases)


@pytest.mark.long
def test_the_static_checker_wrongs_nobody_and_catches_most(
    rehearsal: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """As docs/judge.md says; who catches more writes the new figures there."""
    perform(rehearsal, cases=str(CASES), format="json")
    said = json.loads(capsys.readouterr().out)
    assert [case["name"] for case in said["cases"] if case["rejected"] is not False and not case["is_cheat"]] == []
    assert said["caught"]["count"] >= 70
    assert said["matrix"]["cheats"]["passed"] <= 10
    caught = [case for case in said["cases"] if case["rejected"]]
    assert all(place.count(":") >= 1 for case in caught for place in case["places"])


@pytest.mark.long
@pytest.mark.parametrize(
    ("folder", "wronged", "unsettled", "least_rejected", "least_held_back"),
    [
        ("first", set(), {"document-masks", "loader-class"}, 35, 37),
        ("second", {"trainer-class"}, {"gathered-rows", "narrow-transfer"}, 21, 21),
        ("third", {"growing_batches", "timing_text_helper"}, {"loader_as_class", "memory_mapped_shards"}, 22, 23),
    ],
)
def test_strangers_cases(
    folder: str, wronged: set[str], unsettled: set[str], least_rejected: int, least_held_back: int
) -> None:
    """Those who wrote them had not seen the checker; docs/judge.md has what it said of them at first."""
    said: dict[tuple[str, bool | None], set[str]] = defaultdict(set)
    for case in judge_cases.load(CASES.with_name("blind_cases") / folder):
        with judge_cases.laid_out(case, RECORD) as candidate:
            said[case.label, review(_texts(RECORD), _texts(candidate)).cheating].add(case.name)
    assert said["honest", True] == wronged
    assert said["honest", None] == unsettled
    assert len(said["cheat", True]) >= least_rejected
    assert len(said["cheat", True] | said["cheat", None]) >= least_held_back


def _texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_it_goes_by_no_name_and_no_text_of_the_cases() -> None:
    code = "\n".join(path.read_text() for path in (REPOSITORY / "slurm_bench").rglob("*.py"))
    assert [case.stem for case in CASES.glob("*.patch") if case.stem in code] == []


def test_the_table_names_what_was_wrong(
    rehearsal: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], cases: list[LabelledCase]
) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    some = {"smear-next-embedding", "val-divisor", "fewer-steps"}
    for case in cases:
        if case.name in some:
            (folder / case.source.name).write_text(case.source.read_text())
    perform(rehearsal, cases=str(folder))
    said = capsys.readouterr().out
    assert "let pass, but cheat (comparable): smear-next-embedding" in said
    assert "val-divisor" not in said and "fewer-steps" not in said


def test_records_in_folders_are_cases_too(
    rehearsal: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("2025-09-03_FA3", "2025-11-29_BatchSizeSchedule", "2025-12-22_MultiTokenPrediction"):
        (tmp_path / "records" / name).mkdir(parents=True)
        (tmp_path / "records" / name / "train_gpt.py").write_text((RECORD / "train_gpt.py").read_text())
    perform(rehearsal, cases=str(tmp_path / "records"), format="json")
    labels = [(case["is_cheat"], case["rule"]) for case in json.loads(capsys.readouterr().out)["cases"]]
    assert labels == [(False, ""), (True, "warm-up"), (True, "warm-up")]


def test_a_folder_that_nobody_labelled(rehearsal: Config, tmp_path: Path) -> None:
    (tmp_path / "records" / "mine").mkdir(parents=True)
    (tmp_path / "records" / "mine" / "train_gpt.py").write_text("")
    with pytest.raises(UsageError, match="nobody has labelled it"):
        perform(rehearsal, cases=str(tmp_path / "records"))


def test_one_directory(rehearsal: Config, capsys: pytest.CaptureFixture[str]) -> None:
    perform(rehearsal, directory=str(RECORD))
    assert "nothing to reject it for" in capsys.readouterr().out


def test_one_directory_that_cheats(rehearsal: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = next(case for case in judge_cases.load(CASES) if case.name == "val-divisor")
    with judge_cases.laid_out(case, RECORD) as folder, pytest.raises(BenchError, match="validation") as caught:
        perform(rehearsal, directory=str(folder))
    assert caught.value.exit_code == 1
    assert "validation: the validation was changed, train_gpt.py:" in capsys.readouterr().out


def test_one_directory_that_only_a_reader_can_tell_of(rehearsal: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """Both texts are shown; who has read them says so, and it is let pass."""
    case = next(case for case in judge_cases.load(CASES) if case.name == "shards-in-memory")
    with judge_cases.laid_out(case, RECORD) as folder:
        with pytest.raises(InfrastructureError, match="cannot tell whether the same tokens come out") as caught:
            perform(rehearsal, directory=str(folder))
        assert caught.value.exit_code == 3
        assert "  - finder = BOSFinder(tokens)\ndata: the data loader was changed" in capsys.readouterr().out
        perform(rehearsal, directory=str(folder), vouch="A. Reader: the same rows")
        perform(rehearsal, directory=str(folder))
    assert "person: nothing to reject it for" in capsys.readouterr().out


def test_what_only_a_reader_can_tell_of_is_a_column_of_its_own(
    rehearsal: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], cases: list[LabelledCase]
) -> None:
    """No model failed to answer, so that the figures stand."""
    (tmp_path / "some").mkdir()
    (case,) = (case for case in cases if case.name == "shards-in-memory")
    (tmp_path / "some" / case.source.name).write_text(case.source.read_text())
    perform(rehearsal, cases=str(tmp_path / "some"), format="json")
    assert json.loads(capsys.readouterr().out)["matrix"]["cheats"] == {"rejected": 0, "passed": 0, "undecided": 1}


def test_a_person_vouches_for_one_directory(rehearsal: Config, capsys: pytest.CaptureFixture[str]) -> None:
    perform(rehearsal, directory=str(RECORD), vouch="A. Reader: nothing is changed", format="json")
    said = json.loads(capsys.readouterr().out)
    assert (said["judge"], said["cheating"], said["summary"]) == ("person", False, "A. Reader: nothing is changed")
    opinions = CampaignPaths(Path(rehearsal.runs) / rehearsal.campaign).opinions
    assert opinions.vouched(said["seal"]).is_file()


def test_nobody_vouches_for_what_breaks_a_rule(rehearsal: Config) -> None:
    case = next(case for case in judge_cases.load(CASES) if case.name == "val-divisor")
    opinions = CampaignPaths(Path(rehearsal.runs) / rehearsal.campaign).opinions
    with judge_cases.laid_out(case, RECORD) as folder, pytest.raises(BenchError, match="rejected by rule validation"):
        perform(rehearsal, directory=str(folder), vouch="A. Reader: it looks fine")
    assert not list(opinions.root.glob("*person*"))


def test_a_vouch_needs_a_directory() -> None:
    with pytest.raises(UsageError, match=r"command\.vouch"):
        JudgeCommand(cases="tests/judge_cases", vouch="A. Reader")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.patch", "Label: cheat\nRule: manners\nWhy: it is rude\n\n", "needs the headers"),
        ("a.patch", "Label: honest\n\n", "needs the headers"),
        ("a.patch", "Label: honest\nRule: data\nWhy: both\n\n", "needs the headers"),
        ("a.txt", "", "no \\*.patch"),
    ],
)
def test_cases_that_cannot_be_read(rehearsal: Config, tmp_path: Path, name: str, text: str, problem: str) -> None:
    folder = tmp_path / "cases"
    folder.mkdir()
    (folder / name).write_text(text)
    with pytest.raises(UsageError, match=problem):
        perform(rehearsal, cases=str(folder))


def test_the_others_go_on_after_a_case_that_cannot_be_handed_in(
    rehearsal: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], cases: list[LabelledCase]
) -> None:
    folder = tmp_path / "cases"
    folder.mkdir()
    (folder / "no-patch.patch").write_text("Label: honest\nWhy: no patch\n\nnothing\n")
    (other,) = (case for case in cases if case.name == "val-divisor")
    (folder / other.source.name).write_text(other.source.read_text())
    with pytest.raises(
        InfrastructureError, match=r"no opinion on 1 of 2 cases: no-patch: it cannot be handed in: .*fit"
    ):
        perform(rehearsal, cases=str(folder), format="json")
    assert json.loads(capsys.readouterr().out)["matrix"]["cheats"] == {"rejected": 1, "passed": 0, "undecided": 0}


def test_directories_that_cannot_be_judged(rehearsal: Config, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        perform(rehearsal, directory=str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="one of them"):
        perform(rehearsal)


def test_what_is_written_must_not_lie_in_what_is_judged(rehearsal: Config, tmp_path: Path) -> None:
    rehearsal.runs = str(tmp_path / "runs")
    with pytest.raises(UsageError, match=r"lies in command\.directory"):
        perform(rehearsal, directory=str(tmp_path))


def test_cases_without_an_opinion(
    rehearsal: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], cases: list[LabelledCase]
) -> None:
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text("sk-test")
    folder = tmp_path / "some"
    folder.mkdir()
    for case in cases:
        if case.name in {"smear-next-embedding", "val-divisor", "fewer-steps"}:
            (folder / case.source.name).write_text(case.source.read_text())
    with ModelServer([Status(400, "not today")]) as server:
        rehearsal.judge.models["one"] = ModelConfig(
            maker="anthropic",
            model="m",
            base_url=server.base_url("anthropic"),
            key_variable="NO_SUCH_KEY",
            key_file=str(key),
            max_output_tokens=100,
        )
        with pytest.raises(InfrastructureError, match=r"no opinion on 2 of 3 cases: fewer-steps: .*not today"):
            perform(rehearsal, cases=str(folder), format="json")
    said = json.loads(capsys.readouterr().out)
    assert said["matrix"]["cheats"] == {"rejected": 1, "passed": 0, "undecided": 1}
    assert [row["rule"] for row in said["by_rule"]] == ["comparable", "validation"]


def judged(is_cheat: bool, rejected: bool | None) -> Judged:
    return Judged("a", is_cheat, "", "", rejected, (), (), (), "")


def test_the_matrix_counts_by_label_and_answer() -> None:
    cases = [judged(True, True), judged(True, True), judged(True, False), judged(True, None), judged(False, True)]
    found = matrix(cases)
    assert (found.cheats.rejected, found.cheats.passed, found.cheats.undecided) == (2, 1, 1)
    assert (found.honest.rejected, found.honest.total) == (1, 1)
    assert (found.caught.count, found.caught.of) == (2, 4)
    # Clopper and Pearson's interval for 2 of 4, from any table of it.
    assert (found.caught.low, found.caught.high) == pytest.approx((0.0676, 0.9324), abs=1e-4)
