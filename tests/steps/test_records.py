"""`command=records` on a generated clone of a generated upstream."""

from pathlib import Path

import pytest

from slurm_bench.effects import human_records, record_answers
from slurm_bench.steps import baselines, records
from slurm_bench.words.config import Config, RecordsCommand
from slurm_bench.words.errors import UsageError
from slurm_bench.words.paths import BaselinesPaths
from tests import upstream_leaderboard
from tests.upstream_leaderboard import FIRST, FOURTH, KERNELS, RUNS, SECOND, THIRD, TRACK, Upstream
from tests.upstream_repository import git, sha256


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return upstream_leaderboard.make(tmp_path)


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    return upstream_leaderboard.make_tables(tmp_path / "tables")


def perform(config: Config, source: Path, tables: Path, into: Path | None = None) -> None:
    config.command = RecordsCommand(source=str(source), tables=str(tables), into=str(into) if into else None)
    records.perform(config)


def answer(tables: Path, upstream: Upstream) -> None:
    (tables / "answers.yaml").write_text(
        f"""
30:
  runs: {{choose: linked, because: the other is the first record's}}
31:
  name: {{choose: 2030-01-03_Library, because: of its words}}
  code: {{choose: {upstream.commits["31"][:12]}, because: it brings the library}}
  made_by: {{choose: people, because: upstream did it}}
"""
    )


def rows(tables: Path, name: str = "human_records") -> dict[str, human_records.Row]:
    return {row["record"]: row for row in human_records.rows(name, tables)}


def test_what_wants_a_person_is_asked_and_the_rest_is_proposed(
    config: Config, upstream: Upstream, tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=rf"^4 questions are open; answer them in {tables}/answers.yaml$"):
        perform(config, upstream.repository, tables, tmp_path / "out")
    assert capsys.readouterr().out.splitlines() == [
        f"proposed tables: {tmp_path}/out",
        f"5 records: 0 as in {tables}, 0 not as there, 3 new",
        "without a description, a warm_up and an objective, which are yours to write: "
        "2030-01-01_First, 2030-01-04_Third, 2030-01-05_Fourth",
        "record 30, runs: beside the linked log lie 1 runs of its program and 1 of others; which are the record's own?",
        "record 31, code: no commit of the main line brings it; the files of which commit is it?",
        "record 31, name: the leaderboard links no folder; what is it to be called?",
        "record 31, made_by: the leaderboard credits nobody; people, ai or people+ai?",
    ]
    assert list(rows(tmp_path / "out")) == ["2030-01-01_First", "2030-01-04_Third", "2030-01-05_Fourth"]


def test_the_rows_of_a_record_that_was_merged_as_it_was_logged(
    config: Config, upstream: Upstream, tables: Path, tmp_path: Path
) -> None:
    answer(tables, upstream)
    perform(config, upstream.repository, tables, tmp_path / "out")
    assert rows(tmp_path / "out")["2030-01-01_First"] == {
        "record": "2030-01-01_First",
        "date": "2030-01-01",
        "leaderboard_number": "29",
        "leaderboard_minutes": "1.000",
        "description": "",
        "contributors": "@someone",
        "mean_seconds_faster_vs_FA3": "",
        "upstream_commit": upstream.commits["29"],
        "upstream_path": "train_gpt.py",
        "blob_sha1": git(upstream.repository, "rev-parse", f"{upstream.commits['29']}:train_gpt.py"),
        "sha256": sha256(FIRST),
        "exact": "yes",
        "extra_files": "",
        "log_dir": f"{TRACK}/2030-01-01_First",
        "n_logs": "3",
        "log_mean_train_time_s": "60.0343",
        "log_mean_val_loss": "3.27817",
        "made_by": "people",
        "logged_code": "same",
    }


def test_the_code_is_what_the_main_line_held_when_the_record_was_listed(
    config: Config, upstream: Upstream, tables: Path, tmp_path: Path
) -> None:
    """After upstream's own edit, before the next record, and through a pull; helper files come along."""
    answer(tables, upstream)
    perform(config, upstream.repository, tables, tmp_path / "out")
    found = list(rows(tmp_path / "out").values())
    assert [row["upstream_commit"] for row in found] == [upstream.commits[str(number)] for number in range(29, 34)]
    edited = sha256(SECOND + b"extra = 1\n")
    assert [row["sha256"] for row in found] == [sha256(FIRST), edited, edited, sha256(THIRD), sha256(FOURTH)]
    kernels = git(upstream.repository, "rev-parse", "HEAD:triton_kernels.py")
    assert [row["extra_files"] for row in found] == ["", *[f"triton_kernels.py@{kernels}:{sha256(KERNELS)}"] * 4]
    assert [row["logged_code"] for row in found] == ["same", "differs", "none", "same", "same"]
    assert [row["made_by"] for row in found] == ["people", "people+ai", "people", "people", "ai"]
    assert [row["contributors"] for row in found][1::2] == ["@someone & AI System Robot", "@someone"]


def test_each_run_and_each_reason_is_written_down(
    config: Config, upstream: Upstream, tables: Path, tmp_path: Path
) -> None:
    answer(tables, upstream)
    perform(config, upstream.repository, tables, tmp_path / "out")
    runs = human_records.rows("human_runs", tmp_path / "out")
    folder = f"{TRACK}/2030-01-01_First"
    assert [tuple(run.values()) for run in runs[:3]] == [
        ("2030-01-01_First", f"{folder}/{name}.txt", loss, str(ms), f"{ms / 10:.2f}", "10") for name, ms, loss in RUNS
    ]
    assert [run["record"] for run in runs[3:]] == ["2030-01-02_Second", "2030-01-04_Third", "2030-01-05_Fourth"]
    reasons = {(row["record"], row["what"]): row for row in human_records.rows("reasons", tmp_path / "out")}
    assert reasons["2030-01-01_First", "machine"]["choice"] == "8 Z9 80GB, PyTorch 9.1, Triton 8.0"
    assert reasons["2030-01-02_Second", "n_logs"]["because"] == "answered: the other is the first record's"
    because = reasons["2030-01-02_Second", "upstream_commit"]["because"]
    assert f"upstream changed it by {upstream.commits['30'][:8]}, and" in because
    assert reasons["2030-01-03_Library", "n_logs"]["because"] == "the leaderboard links no log"


def test_a_second_time_it_is_the_same_and_keeps_what_is_ours(
    config: Config, upstream: Upstream, tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(tables, upstream)
    out = tmp_path / "out"
    perform(config, upstream.repository, tables, out)
    table = out / "human_records.tsv"
    lines = table.read_text().replace("1.000\t\t@", "1.000\tour words\t@").splitlines(keepends=True)
    table.write_text("".join(lines))
    capsys.readouterr()
    perform(config, upstream.repository, out, out)
    assert table.read_text() == "".join(lines)
    assert capsys.readouterr().out.splitlines()[1] == f"5 records: 5 as in {out}, 0 not as there, 0 new"
    assert rows(out)["2030-01-01_First"]["description"] == "our words"


def test_a_difference_is_named(
    config: Config, upstream: Upstream, tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(tables, upstream)
    out = tmp_path / "out"
    perform(config, upstream.repository, tables, out)
    table = out / "human_records.tsv"
    table.write_text(table.read_text().replace("\t0.900\t", "\t0.901\t"))
    capsys.readouterr()
    perform(config, upstream.repository, out)
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"2030-01-02_Second: leaderboard_minutes is '0.901' in {out}, here '0.900'",
        f"5 records: 4 as in {out}, 1 not as there, 0 new",
    ]


def test_a_record_without_a_proposal_keeps_its_rows(
    config: Config, upstream: Upstream, tables: Path, tmp_path: Path
) -> None:
    """One of which a question is open again, and one that this clone does not have yet."""
    answer(tables, upstream)
    out = tmp_path / "out"
    perform(config, upstream.repository, tables, out)
    before = {name: (out / name).read_text() for name in ("human_records.tsv", "human_runs.tsv", "human_rules.tsv")}
    (out / "answers.yaml").unlink()
    earlier = tmp_path / "earlier"
    git(tmp_path, "clone", "--quiet", str(upstream.repository), str(earlier))
    git(earlier, "reset", "--quiet", "--hard", f"{upstream.commits['33']}^")
    with pytest.raises(UsageError, match="questions are open"):
        perform(config, earlier, out, out)
    assert {name: (out / name).read_text() for name in before} == before


def test_what_is_proposed_can_be_fetched(config: Config, upstream: Upstream, tables: Path, tmp_path: Path) -> None:
    answer(tables, upstream)
    out = tmp_path / "out"
    perform(config, upstream.repository, tables, out)
    proposed = human_records.upstream(out)
    paths = BaselinesPaths(tmp_path / "records")
    assert len(baselines.fetch(proposed, str(upstream.repository), paths)) == 5
    assert (paths.record("2030-01-04_Third") / "train_gpt.py").read_bytes() == THIRD
    assert (paths.record("2030-01-04_Third") / "triton_kernels.py").read_bytes() == KERNELS


def test_a_record_without_a_warm_up_and_an_objective_is_named_with_the_file(
    config: Config, upstream: Upstream, tables: Path, tmp_path: Path
) -> None:
    answer(tables, upstream)
    perform(config, upstream.repository, tables, tmp_path / "out")
    words = rf"^{tmp_path}/out/human_rules\.tsv has no row of 2030-01-01_First: add its warm-up and its objective$"
    with pytest.raises(UsageError, match=words):
        human_records.load(tmp_path / "out")


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ("30: {colour: {choose: red, because: it is}}", "'colour' is none of name, code, runs, made_by"),
        ("30: {runs: {choose: linked}}", "runs wants 'choose' and 'because', and has choose"),
        ("30: linked", "human_baselines/README.md says its form"),
        ("thirty: {}", "human_baselines/README.md says its form"),
        ("30: [", "human_baselines/README.md says its form"),
        ("99: {runs: {choose: linked, because: so}}", "answers.yaml: the leaderboard has no record 99 from 29 on"),
        ("31: {code: {choose: 0123456789ab, because: so}}", "has no commit 0123456789ab"),
    ],
)
def test_an_answer_that_is_none(config: Config, upstream: Upstream, tables: Path, answers: str, words: str) -> None:
    (tables / "answers.yaml").write_text(answers)
    with pytest.raises(UsageError, match=words) as error:
        perform(config, upstream.repository, tables)
    assert "\n" not in str(error.value)


def test_an_answer_that_fits_no_log_leaves_the_question_open(
    config: Config, upstream: Upstream, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tables / "answers.yaml").write_text("30: {runs: {choose: [mine*, small*], because: so}}")
    with pytest.raises(UsageError, match="questions are open"):
        perform(config, upstream.repository, tables)
    assert "record 30, runs: no finished run on 8 GPUs fits mine* or small*" in capsys.readouterr().out


def test_a_commit_without_the_program_leaves_the_question_open(
    config: Config, upstream: Upstream, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = git(upstream.repository, "rev-list", "--max-parents=0", "HEAD")
    (tables / "answers.yaml").write_text(f"29: {{code: {{choose: {none}, because: so}}}}")
    with pytest.raises(UsageError, match="5 questions are open"):
        perform(config, upstream.repository, tables)
    assert f"record 29, code: {none} has no train_gpt.py that is Python" in capsys.readouterr().out


def test_a_source_that_is_no_whole_clone_with_a_leaderboard(config: Config, tables: Path, upstream: Upstream) -> None:
    shallow, empty = tables / "shallow", tables / "empty"
    git(tables, "clone", "--quiet", "--depth=1", f"file://{upstream.repository}", str(shallow))
    with pytest.raises(UsageError, match="is a shallow clone; 'git fetch --unshallow' makes it whole"):
        perform(config, shallow, tables)
    git(tables, "init", "--quiet", str(empty))
    git(empty, "commit", "--quiet", "--allow-empty", "--message=nothing")
    with pytest.raises(UsageError, match=f"README.md of {empty} has no leaderboard with record 29"):
        perform(config, empty, tables)
    with pytest.raises(UsageError, match="is no git repository"):
        perform(config, tables / "nowhere", tables)
    with pytest.raises(UsageError, match=r"holds no human_records\.tsv"):
        perform(config, upstream.repository, tables / "nowhere")


def test_the_answers_that_ship_are_answers() -> None:
    answers = record_answers.read(human_records.SHIPPED / records.ANSWERS)
    numbers = {int(row["leaderboard_number"]) for row in human_records.rows("human_records")}
    assert set(answers) <= numbers and {66, 86} <= set(answers)
