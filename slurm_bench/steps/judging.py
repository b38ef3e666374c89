"""`command=judge`: one opinion on a directory, or how often a judge is right on labelled cases."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from slurm_bench.effects import judge_cases, seals
from slurm_bench.effects.judge_cases import LabelledCase
from slurm_bench.pure.confusion import Judged, Matrix, Share, by_rule, matrix
from slurm_bench.pure.judge_text import Case
from slurm_bench.steps import judge, site
from slurm_bench.steps.judge import Judge
from slurm_bench.words.config import Config, JudgeCommand
from slurm_bench.words.errors import BenchError, InfrastructureError, InvalidCandidate, Unsettled, UsageError
from slurm_bench.words.opinions import Opinion, Usage
from slurm_bench.words.paths import CampaignPaths, OpinionPaths, starting_record
from slurm_bench.words.records import Seal


def perform(config: Config) -> None:
    """
    Raises:
        UsageError: no such directory or cases, or a model's key is missing.
        BenchError: the directory's candidate is rejected.
        InfrastructureError: the judge has no opinion on it, or on some of the cases; `Unsettled` where it cannot tell.
    """
    assert isinstance(config.command, JudgeCommand)
    opinions = CampaignPaths(Path(config.runs).absolute() / config.campaign).opinions
    record = starting_record(config.task.record)
    if not record.is_dir():
        raise UsageError(f"task.record: no folder {record}")
    with_judge = judge.of(config, opinions)
    if config.command.directory is not None:
        folder = site.candidate_folder(config.command.directory, config.runs)
        bench = _Bench(config, with_judge, opinions, record)
        said = bench.vouch(folder, config.command.vouch) if config.command.vouch else bench.opinion(folder)
        _say_opinion(said, config.command.format)
        return
    cases = judge_cases.load(Path(str(config.command.cases)))
    judged, usage = _Bench(config, with_judge, opinions, record).judge_all(cases, config.command.parallel)
    {"table": _print_matrix, "json": _print_json}[config.command.format](judged, usage, _name(config))
    open_cases = [case for case in judged if case.rejected is None and not case.waits_for_a_look]
    if open_cases:
        raise InfrastructureError(
            f"no opinion on {len(open_cases)} of {len(judged)} cases: {open_cases[0].name}: {open_cases[0].summary}"
        )


class _Bench:
    """A judge, and the record that it holds candidates against."""

    def __init__(self, config: Config, with_judge: Judge, opinions: OpinionPaths, record: Path) -> None:
        self._task = config.task
        self._judge, self._opinions, self._record = with_judge, opinions, record
        self._baseline = self._seal(record)

    def opinion(self, folder: Path) -> Opinion:
        return self._judge.opinion(self._case(folder))

    def vouch(self, folder: Path, reason: str) -> Opinion:
        return self._judge.vouch(self._case(folder), reason)

    def judge_all(self, cases: Sequence[LabelledCase], parallel: int) -> tuple[list[Judged], Usage]:
        """What the judge says of each case, in their order, and what that took."""
        answers = asyncio.run(self._ask_all(cases, parallel))
        judged = [_judged(case, answer) for case, answer in zip(cases, answers, strict=True)]
        return judged, sum((answer.usage for answer in answers if isinstance(answer, Opinion)), Usage())

    async def _ask_all(self, cases: Sequence[LabelledCase], parallel: int) -> list[Opinion | BenchError]:
        """An opinion for each case, or why it cannot be handed in; the others go on."""
        at_once = asyncio.Semaphore(parallel)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            shown = progress.add_task("judging", total=len(cases))

            async def ask(case: LabelledCase) -> Opinion | BenchError:
                async with at_once:
                    try:
                        with judge_cases.laid_out(case, self._record) as folder:
                            sealed = self._case(folder)
                        return await self._judge.ask(sealed)
                    except (UsageError, InvalidCandidate) as problem:
                        return problem
                    finally:
                        progress.advance(shown)

            return await asyncio.gather(*map(ask, cases))

    def _case(self, folder: Path) -> Case:
        return judge.case_of(self._opinions.seals, self._baseline, self._seal(folder), self._task)

    def _seal(self, folder: Path) -> Seal:
        return seals.seal(folder.parent, PurePosixPath(folder.name), self._opinions.seals)


def _judged(case: LabelledCase, answer: Opinion | BenchError) -> Judged:
    unread = Opinion(judge="", seal="", cheating=None, summary=f"it cannot be handed in: {answer}")
    opinion = answer if isinstance(answer, Opinion) else unread
    return Judged(
        name=case.name,
        is_cheat=case.label == "cheat",
        rule=case.rule,
        why=case.why,
        rejected=opinion.cheating,
        by_rules=tuple(finding.rule for finding in opinion.findings),
        places=tuple(f"{finding.rule}: {finding.message}, {finding.place}" for finding in opinion.findings),
        suspicions=opinion.suspicions,
        summary=opinion.summary,
        waits_for_a_look=opinion.waits_for_a_look,
    )


def _name(config: Config) -> str:
    models = [f"{model.maker}/{model.model}" for model in config.judge.models.values()]
    quorum = f" (quorum {config.judge.quorum})" if len(models) > 1 else ""
    return " + ".join(["static", *models]) + quorum


# One opinion.


def _say_opinion(opinion: Opinion, form: str) -> None:
    if form == "json":
        print(opinion.model_dump_json(indent=1))
    else:
        _print_opinion(opinion)
    if opinion.waits_for_a_look:
        raise Unsettled(opinion.summary)
    if opinion.is_undecided:
        raise InfrastructureError(f"no opinion: {opinion.summary}")
    if opinion.rejects:
        raise BenchError(f"rejected by rule {', '.join(sorted({each.rule for each in opinion.findings}))}")


def _print_opinion(opinion: Opinion) -> None:
    console = Console(markup=False, highlight=False, soft_wrap=True)
    for finding in (*opinion.findings, *opinion.unsettled):
        console.print(f"{finding.rule}: {finding.message}, {finding.place}", style="bold")
        for sign, text in (("-", finding.baseline), ("+", finding.candidate)):
            for line in text.splitlines():
                console.print(f"  {sign} {line}")
    for suspicion in opinion.suspicions:
        console.print(f"not proven: {suspicion}")
    if opinion.summary and not opinion.waits_for_a_look:
        console.print(opinion.summary)
    if not opinion.findings and opinion.cheating is False:
        console.print(f"{opinion.judge}: nothing to reject it for")


# Many.


def _print_matrix(judged: Sequence[Judged], usage: Usage, name: str) -> None:
    console = Console(highlight=False)
    console.print(_matrix_table(matrix(judged), name))
    console.print(_rules_table(judged))
    wrong = [case for case in judged if not case.is_right]
    for case in wrong:
        said = {True: "rejected", False: "let pass", None: "undecided"}[case.rejected]
        label = f"cheat ({case.rule})" if case.is_cheat else "honest"
        console.print(escape(f"{said}, but {label}: {case.name}: {case.why}"), soft_wrap=True)
        for place in case.places or case.suspicions:
            console.print(escape(f"    {place}"), soft_wrap=True)
    if usage != Usage():
        console.print(f"{usage.input_tokens} tokens in, {usage.output_tokens} out")


def _matrix_table(found: Matrix, name: str) -> Table:
    caption = f"cheats caught {_percent(found.caught)}; honest wronged {_percent(found.wronged)}"
    table = Table("", "rejected", "let pass", "undecided", title=f"Judge: {escape(name)}", caption=caption)
    for label, row in (("cheats", found.cheats), ("honest", found.honest)):
        table.add_row(label, str(row.rejected), str(row.passed), str(row.undecided))
    return table


def _rules_table(judged: Sequence[Judged]) -> Table:
    table = Table("rule", "cheats", "rejected", "by that rule")
    for row in by_rule(judged):
        table.add_row(row.rule, str(row.cheats), str(row.rejected), str(row.by_that_rule))
    return table


def _percent(share: Share) -> str:
    if not share.of:
        return "(no such cases)"
    return f"{share.count / share.of:.0%} [{share.low:.0%}, {share.high:.0%}] of {share.of}"


def _print_json(judged: Sequence[Judged], usage: Usage, name: str) -> None:
    found = matrix(judged)
    content = {
        "judge": name,
        "matrix": asdict(found),
        "caught": asdict(found.caught),
        "wronged": asdict(found.wronged),
        "by_rule": [asdict(row) for row in by_rule(judged)],
        "usage": usage.model_dump(exclude={"version"}),
        "cases": [asdict(case) for case in judged],
    }
    print(json.dumps(content, indent=1))
