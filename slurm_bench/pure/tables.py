"""The report's tables, each once: its rows as values for machines, and as short text for people."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from slurm_bench.pure.progress import Step
from slurm_bench.pure.score import Saved, ScoreState
from slurm_bench.pure.summary import SessionSummary, Standing, SubmissionSummary
from slurm_bench.pure.usage import Account
from slurm_bench.pure.yardstick import RULE_SETS, HumanStep, Progress, Yardstick, measure_of
from slurm_bench.words.verdicts import Outcome, Verdict

Value = str | int | float | None
Row = Mapping[str, Value]
NOTHING = "\N{EN DASH}"
_TOGETHER = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Column:
    heading: str
    text: Callable[[Row], str]
    """Of a row, for people."""
    sort_by: str = ""
    """Name of the value that it is sorted by, where it is a number."""


@dataclass(frozen=True)
class Table:
    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...] = field(default=())
    """All with the same names, in the same order."""

    def texts(self) -> list[list[str]]:
        return [[column.text(row) for column in self.columns] for row in self.rows]


def leaderboard(standings: Sequence[Standing]) -> Table:
    rows = tuple(_standing(place, each) for place, each in enumerate(standings, 1))
    shares = {share.rule_set: share for each in standings for share in each.human_progress}
    with_use = any(row["tokens"] is not None for row in rows)
    columns = (
        Column("#", _plain("place"), "place"),
        Column("agent", _plain("agent")),
        Column("seeds", _seeds),
        Column("score, seconds saved", _interval("score_s", 2), "score_s"),
        Column("overlaps with", _overlaps),
        Column("mean score of seeds (range)", _mean_of_seeds, "seed_mean_s"),
        *(_human_progress(shares[rule_set]) for rule_set in RULE_SETS if rule_set in shares),
        Column("accepted, not confirmed", _interval("unconfirmed_s", 2), "unconfirmed_s"),
        Column("H100-hours", _number("h100_hours", 1), "h100_hours"),
        Column("verdicts", _verdicts),
        *(_MODEL_USE if with_use else ()),
    )
    return Table("leaderboard", "Agents, best first", columns, rows)


def _human_progress(share: Progress) -> Column:
    name = _percent_of(share.rule_set)
    return Column(f"% of human progress, {measure_of(share)}", _interval(name, 1), name)


def _standing(place: int, each: Standing) -> Row:
    shares = {share.rule_set: share for share in each.human_progress}
    row: dict[str, Value] = {"place": place, "agent": each.contestant, "seeds": sum(each.seeds.values())}
    row |= {_seeds_of(state): each.seeds.get(state, 0) for state in ScoreState}
    row |= {"score_session": each.score_session, **_with_ends("score_s", _ends(each.score))}
    row |= {"unconfirmed_session": each.unconfirmed_session}
    row |= _with_ends("unconfirmed_s", _ends_of_step(each.unconfirmed))
    row["overlaps"] = ", ".join(f"#{other}" for other in each.overlaps)
    row |= {"seed_mean_s": each.seed_mean_s, "seed_low_s": each.seed_low_s, "seed_high_s": each.seed_high_s}
    for name in RULE_SETS:
        share = shares.get(name)
        row |= _with_ends(_percent_of(name), (share.percent, share.low, share.high) if share else None)
    row["h100_hours"] = each.h100_hours
    row |= {_count_of(outcome): each.outcomes.get(outcome, 0) for outcome in Outcome}
    return {**row, "tokens": each.tokens, "usd": each.usd}


def submissions(sessions: Sequence[SessionSummary]) -> Table:
    rows = tuple(
        _submission(session, each) for session in sessions for each in (*session.submissions, *session.confirmations)
    )
    columns = (
        Column("session", _plain("session")),
        Column("#", _plain("submission"), "submission"),
        Column("candidate", _plain("candidate")),
        Column("verdict", _plain("verdict")),
        Column("mean loss", _number("loss", 4), "loss"),
        Column("seconds saved", _interval("saved_s", 2), "saved_s"),
        Column("after H100-hours", _number("h100_hours", 1), "h100_hours"),
    )
    return Table("submissions", "Submissions", columns, rows)


def _submission(session: SessionSummary, each: SubmissionSummary) -> Row:
    verdict = each.verdict
    speed, loss = verdict.speed, verdict.loss
    row: dict[str, Value] = {"session": session.label, "agent": session.contestant, "submission": verdict.submission}
    row |= {"candidate": each.name, "verdict": verdict_text(each), "outcome": verdict.outcome.value}
    row |= {"confirms": verdict.confirms or "", "confirmation": verdict.confirmation}
    row |= {"rejected_by": verdict.rejected_by or "", "loss": loss.mean if loss else None}
    row |= {"loss_p_value": loss.p_value if loss else None}
    row |= {"loss_adjusted_p_value": loss.adjusted_p_value if loss else None}
    row |= _with_ends("saved_s", (speed.saved_s, speed.saved_low_s, speed.saved_high_s) if speed else None)
    row |= {"speed_p_value": speed.p_value if speed else None, "level": verdict.level}
    row |= {"h100_hours": each.h100_hours, "hours": each.hours, "gpu_seconds": verdict.gpu_seconds}
    return {
        **row,
        "runs": len(each.runs.losses),
        "seal": verdict.seal or "",
        "stamp": each.stamp,
        "reason": verdict.reason,
    }


def verdict_text(each: SubmissionSummary) -> str:
    """Return the outcome, with what rejected it, and the submission that it repeats or confirms."""
    verdict = each.verdict
    confirms = f"confirmation of {verdict.confirms}: " if verdict.confirms else ""
    return f"{confirms}{outcome_text(verdict)}{f', as {verdict.repeats}' if verdict.repeats else ''}"


def outcome_text(verdict: Verdict) -> str:
    """Return the outcome, with what rejected it."""
    return f"{verdict.outcome}{f' by {verdict.rejected_by}' if verdict.rejected_by else ''}"


def sessions(summaries: Sequence[SessionSummary]) -> Table:
    rows = tuple(_session(each) for each in summaries)
    columns = (
        Column("session", _plain("session")),
        Column("agent", _plain("agent")),
        Column("state", _plain("state")),
        Column("score, seconds saved", _score, "score_s"),
        Column("accepted, not confirmed", _interval("unconfirmed_s", 2), "unconfirmed_s"),
        Column("hours", _number("hours", 1), "hours"),
        Column("used", _number("h100_hours", 1), "h100_hours"),
        Column("of H100-hours", _number("limit", 0), "limit"),
        Column("idle", _idle, "idle_share"),
        *_MODEL_USE,
        Column("cluster, container", _plain("site")),
        Column("why it ended", _plain("ending")),
    )
    return Table("sessions", "Sessions", columns, rows)


def _session(each: SessionSummary) -> Row:
    account = each.budget
    row: dict[str, Value] = {"session": each.label, "agent": each.contestant, "state": each.session.state.value}
    row |= {"score_state": each.score.state.value, **_with_ends("score_s", _ends(each.score.saved))}
    row |= {"score_why": each.score.why, "scored_submission": each.score.submission if each.score.saved else ""}
    row |= _with_ends("unconfirmed_s", _ends_of_step(each.unconfirmed))
    row |= {"started": each.session.started.isoformat(), "hours": each.hours, "h100_hours": each.h100_hours}
    row |= {name: getattr(account, name, None) for name in ("limit", "left", "gpu_seconds")}
    row |= {"by_experiments": each.by_experiments, "idle_share": None if each.by_experiments else _idle_share(account)}
    row |= {"accounting": account.accounting if account else "", "tokens": each.tokens, "usd": each.usd}
    row |= {"site": f"{each.cluster}, {each.container}", "design": each.design, "where": each.where}
    return {**row, "ending": each.ending, "revision": each.session.revision}


def budget(summaries: Sequence[SessionSummary]) -> Table:
    lines = [(each, line) for each in summaries if each.budget for line in each.budget.lines]
    rows = tuple({"session": each.label, **vars(line)} for each, line in lines)
    columns = (
        Column("session", _plain("session")),
        Column("kind", _plain("kind")),
        Column("day", _plain("day")),
        Column("attempts", _plain("attempts"), "attempts"),
        Column("GPU-seconds", _plain("gpu_seconds"), "gpu_seconds"),
        Column("H100-hours", _number("h100_hours", 2), "h100_hours"),
        Column("idle GPU-seconds", _plain("idle_gpu_seconds", "not seen"), "idle_gpu_seconds"),
    )
    return Table("budget", "GPU time by session, kind of job and day (UTC)", columns, rows)


def yardstick(yardsticks: Sequence[Yardstick]) -> Table:
    """Return what 100 % of human progress is, under each rule set."""
    columns = (
        Column("human records", _plain("rule_set")),
        Column("100 % is, in seconds", _number("seconds", 1), "seconds"),
        Column("known from", _plain("source")),
        Column("set by", _plain("record")),
        Column("on", _plain("date")),
        Column("records after the start", _plain("records"), "records"),
    )
    return Table("yardstick", "100 % of human progress from the start on", columns, tuple(map(_measure, yardsticks)))


def _measure(each: Yardstick) -> Row:
    row: dict[str, Value] = {"rule_set": each.rule_set, "seconds": each.whole.saved_s}
    row |= {"source": each.whole.source.value, "record": each.whole.name, "date": each.whole.date.isoformat()}
    return {**row, "records": len(each.steps)}


def human_steps(yardstick: Yardstick | None) -> Table:
    """Return the human records of a yardstick, oldest first."""
    columns = (
        Column("record", _plain("record")),
        Column("date", _plain("date")),
        Column("by", _plain("made_by")),
        Column("seconds saved", _number("saved_s", 1), "saved_s"),
        Column("known from", _plain("source")),
    )
    rows = tuple(map(_human_step, yardstick.steps)) if yardstick else ()
    which = f": {yardstick.rule_set}, from {yardstick.start.name} on" if yardstick else ""
    return Table("human", f"Human records{which}", columns, rows)


def _human_step(step: HumanStep) -> Row:
    row: dict[str, Value] = {"record": step.name, "date": step.date.isoformat(), "made_by": step.made_by}
    return {**row, "saved_s": step.saved_s, "source": step.source.value}


def _percent_of(rule_set: str) -> str:
    return f"percent_{rule_set.replace(' ', '_')}".replace("-", "_")


def _count_of(outcome: Outcome) -> str:
    return outcome.value.replace(" ", "_")


def _seeds_of(state: ScoreState) -> str:
    return f"seeds_{state.value.replace(' ', '_')}"


def _ends(saved: Saved | None) -> tuple[float, float, float] | None:
    return (saved.saved_s, saved.saved_low_s, saved.saved_high_s) if saved else None


def _ends_of_step(step: Step | None) -> tuple[float, float, float] | None:
    return (step.saved_s, step.low_s, step.high_s) if step else None


def _with_ends(name: str, values: tuple[float, float, float] | None) -> dict[str, Value]:
    value, low, high = values or (None, None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _plain(name: str, nothing: str = "") -> Callable[[Row], str]:
    def text(row: Row) -> str:
        value = row[name]
        return nothing if value is None else str(value)

    return text


def _number(name: str, digits: int) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        value = row[name]
        return NOTHING if value is None else _rounded(float(value), digits)

    return text


def _rounded(value: float, digits: int) -> str:
    """With so many decimals, or more where nothing would be left: a rehearsal uses thousandths of an hour."""
    return f"{value:.2g}" if 0 < abs(value) < 0.5 else f"{value:.{digits}f}"


def _interval(name: str, digits: int) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        if row[name] is None:
            return NOTHING
        if not any((row[name], row[f"{name}_low"], row[f"{name}_high"])):
            return "0"
        low, high = f"{row[f'{name}_low']:.{digits}f}", f"{row[f'{name}_high']:.{digits}f}"
        return f"{row[name]:.{digits}f} [{low},{_TOGETHER}{high}]"

    return text


def _overlaps(row: Row) -> str:
    return str(row["overlaps"]) or ("none" if row["score_s"] is not None else NOTHING)


def _score(row: Row) -> str:
    """Say the score, or why there is none."""
    return str(row["score_state"]) if row["score_s"] is None else _interval("score_s", 2)(row)


def _seeds(row: Row) -> str:
    """Say how many there are, and where not all have a score, what is with the others."""
    counts = ((row[_seeds_of(state)], state.value) for state in ScoreState)
    told = f" ({', '.join(f'{count} {name}' for count, name in counts if count)})"
    return f"{row['seeds']}{told if row[_seeds_of(ScoreState.SCORED)] != row['seeds'] else ''}"


def _mean_of_seeds(row: Row) -> str:
    """Say the mean and range of those that have a score, if these are several."""
    if row[_seeds_of(ScoreState.SCORED)] in (0, 1):
        return NOTHING
    return f"{row['seed_mean_s']:.2f} ({row['seed_low_s']:.2f}{_TOGETHER}to{_TOGETHER}{row['seed_high_s']:.2f})"


def _verdicts(row: Row) -> str:
    counts = ((row[_count_of(outcome)], outcome.value) for outcome in Outcome)
    return ", ".join(f"{count} {name}" for count, name in counts if count)


def _idle_share(account: Account | None) -> float | None:
    return account.idle_share if account else None


def _idle(row: Row) -> str:
    """Say how much of its GPU time was idle, where its agent holds any."""
    if row["by_experiments"]:
        return NOTHING
    share = row["idle_share"]
    return "not seen" if share is None else f"{100 * float(share):.0f} %"


def _millions(name: str) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        count = row[name]
        return NOTHING if count is None else f"{float(count) / 1e6:.1f}{_TOGETHER}M"

    return text


_MODEL_USE = (Column("tokens", _millions("tokens"), "tokens"), Column("USD", _number("usd", 2), "usd"))
