"""A campaign on the real task as its records would be after weeks, made in seconds: no run of it ever took place.

The runs are drawn at random and given their verdicts by the very code that a desk uses, so that every record is one
that a real session could have left.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from omegaconf import OmegaConf

from slurm_bench.effects import seals, store
from slurm_bench.effects.campaigns import members
from slurm_bench.pure import confirmation, verdict
from slurm_bench.pure.verdict import Terms
from slurm_bench.steps import site
from slurm_bench.words.accounting import Activity, Attempt, JobState, LedgerEntry
from slurm_bench.words.config import Config
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.kinds import Kind
from slurm_bench.words.model_use import ModelUse, TokenCount
from slurm_bench.words.opinions import Finding, Opinion
from slurm_bench.words.paths import CampaignPaths, SessionPaths, starting_record, trial_record
from slurm_bench.words.records import Record, Seal, Session, SessionState, Submission, Turn
from slurm_bench.words.trials import Block, Design, Gpu, Retiming, TrainResult, Trial, TrialOutcome
from slurm_bench.words.verdicts import Decision, Outcome, Verdict
from tests.conftest import make_config

AGENTS = {"claude": "example-a", "codex": "example-b", "autoresearch": "example-a"}
START = datetime(2026, 11, 2, 8, tzinfo=UTC)
INCUMBENT_S, TARGET = 163.8, 3.28
_GPUS = 8
_GPU = Gpu(uuid="GPU-00000000-0000-0000-0000-000000000000", name="NVIDIA H100 80GB HBM3", driver="570.124.06")
_SESSION_HOURS = 24
_OFF_CLOCK_S = 61.0
ENDINGS = {"codex-2": "not confirmed", "autoresearch-2": "running"}
"""What is not over, or not confirmed, by session; all others have their score."""
LUCKY = {"claude-1": 1, "codex-1": 3}
"""How many of a session's candidates were accepted by luck: confirmations fail."""


@dataclass(frozen=True)
class Truth:
    """What a candidate really is, whatever its runs show."""

    saved_s: float
    loss: float
    fate: str = "timed"
    """Or what comes of it before, or instead of, its runs."""


def write(
    folder: Path,
    *,
    seeds: int = 3,
    submissions: int = 20,
    campaign: str = "generated",
    record: str = "2025-09-03_FA3",
) -> CampaignPaths:
    """Sessions of three agents, each with so many seeds, under `folder`, that say they started from a record."""
    for place, kind in enumerate(AGENTS):
        for seed in range(seeds):
            made = random.Random(f"{kind}{seed}")
            config = configuration(folder, campaign, kind, seed)
            config.task.record = record
            _Session(config, made, START + timedelta(hours=31 * seed + place)).write(submissions)
    return CampaignPaths(folder / "runs" / campaign)


def configuration(folder: Path, campaign: str, kind: str, seed: int) -> Config:
    config = make_config(folder, starting_record("rehearsal"), ["cluster/slurm"], "container/none")
    agent = OmegaConf.merge(
        OmegaConf.structured(type(config.agent)),
        {"kind": kind, "hours": 64.0, "submissions_per_hour": 30, "model": AGENTS[kind]},
        {"api": {"maker": "openai" if kind == "codex" else "anthropic"}},
    )
    config.agent = OmegaConf.to_object(agent)  # type: ignore[assignment]
    config.cluster = replace(
        config.cluster,
        kind="local",
        accounting="own",
        gpu_type="h100",
        node_gpus=_GPUS,
        gpu_cores=8,
        session_hours=24.0,
    )
    config.container = replace(config.container, kind="apptainer", image="containers/nanogpt.sif")
    config.task = replace(config.task, name="nanogpt_speedrun", record="2025-09-03_FA3")
    return replace(config, campaign=campaign, session=f"{kind}-{seed}", seed=seed)


class _Session:
    def __init__(self, config: Config, made: random.Random, start: datetime) -> None:
        self._config = config
        self._paths = SessionPaths(self._config.session_dir)
        self._identity = f"{config.campaign}-{config.agent.kind[:2]}{config.seed}"
        self._random, self._start, self._now = made, start, start
        self._skill = made.uniform(0.25, 0.75)
        self._arrays = 0
        self._lucky = LUCKY.get(config.session, 0)
        self._truths: dict[str, Truth] = {}
        self._ending = ENDINGS.get(config.session, "confirmed")

    def write(self, submissions: int) -> None:
        site.save_config(self._paths, self._config)
        record = starting_record("rehearsal")
        self._incumbent = seals.seal(record.parent, PurePosixPath(record.name), self._paths.seals)
        _write(self._paths.incumbent, self._incumbent)
        best_s, verdicts = 0.0, list[Verdict]()
        for number in range(1, submissions + 1):
            self._now += timedelta(hours=self._random.uniform(0.6, 1.6))
            truth = self._truth(best_s, number)
            self._truths[f"{number:04}"] = truth
            verdicts.append(self._submission(f"{number:04}", truth))
            if verdicts[-1].outcome is Outcome.ACCEPTED:
                best_s = max(best_s, truth.saved_s)
        hours = (self._now - self._start).total_seconds() / 3600
        while self._ending == "confirmed" and (chosen := confirmation.candidate(verdicts)):
            verdicts.append(self._confirmation(f"{len(verdicts) + 1:04}", chosen, len(verdicts) - submissions + 1))
        self._finish(hours)

    def _truth(self, best_s: float, number: int) -> Truth:
        if number in (2, 11):
            return Truth(0, 0, "invalid" if number == 2 else "undecided")
        if number % 8 == 5:
            return Truth(0, 0, "cheat")
        tried = best_s + self._random.gauss(0.35, 1.0) * self._skill
        return Truth(tried, self._random.choice([3.2752, 3.2757, 3.276, 3.2762, 3.2835]))

    def _submission(self, number: str, truth: Truth) -> Verdict:
        name = f"{self._random.choice(NAMES)}-{int(number)}"
        path = f"/workspace/submissions/{name}"
        submission = Submission(number=number, request=f"r{number}", path=path, received_at=self._now)
        _write(self._paths.submission(number).submission, submission)
        sealed = None if truth.fate == "invalid" else self._seal(name, int(number))
        return self._decided(submission, sealed, self._decide(number, truth, sealed))

    def _confirmation(self, number: str, chosen: Verdict, place: int) -> Verdict:
        """The chosen candidate, timed afresh."""
        where, named = self._paths.submission(number), {"request": chosen.request, "path": chosen.candidate}
        submission = Submission(number=number, received_at=self._now, confirms=chosen.submission, **named)
        _write(where.submission, submission)
        _write(where.turn, Turn(number=place))
        accepted = self._paths.submission(chosen.submission)
        sealed, opinion = store.read(accepted.seal, Seal), store.read(accepted.opinion, Opinion)
        _write(where.seal, sealed)
        _write(where.opinion, opinion)
        truth, terms = self._truths[chosen.submission], replace(_TERMS, confirmation=place)
        self._arrays += 1
        retiming = self._retiming(number, sealed, replace(truth, loss=TARGET) if place <= self._lucky else truth, terms)
        return self._decided(submission, sealed, verdict.on_retiming(retiming, (), terms))

    def _decided(self, submission: Submission, sealed: Seal | None, decision: Decision) -> Verdict:
        given = Verdict(
            **dict(decision),
            submission=submission.number,
            request=submission.request,
            candidate=submission.path,
            exit_code=decision.outcome.exit_code,
            seal=sealed.sha256 if sealed else None,
            gpu_seconds=self._charged(submission.number),
            repeats=None,
            confirms=submission.confirms,
            decided_at=self._now,
        )
        _write(self._paths.submission(submission.number).verdict, given)
        return given

    def _seal(self, name: str, number: int) -> Seal:
        """The starting record with some settings changed, and functions that none of its lines calls."""
        folder = self._paths.candidates / name
        folder.mkdir(parents=True)
        for file in starting_record("rehearsal").iterdir():
            if file.is_file():
                (folder / file.name).write_text(self._edited(file.read_text(), number))
        sealed = seals.seal(self._paths.workspace, PurePosixPath("submissions", name), self._paths.seals)
        _write(self._paths.submission(f"{number:04}").seal, sealed)
        return sealed

    def _edited(self, text: str, number: int) -> str:
        if text.startswith("#!"):
            return text
        changed = re.sub(r"= (0\.\d+)", lambda found: f"= {float(found[1]) * self._random.uniform(0.8, 1.2):.4g}", text)
        added = (f"\n\ndef tried_{each}(x):\n    return x * {self._random.random():.4f}\n" for each in range(number))
        return changed + "".join(added)

    def _decide(self, number: str, truth: Truth, sealed: Seal | None) -> Decision:
        where = self._paths.submission(number)
        if sealed is None:
            return Decision(outcome=Outcome.INVALID, reason="the candidate has no run.sh")
        opinion = _opinion(sealed, self._incumbent, cheats=truth.fate == "cheat")
        _write(where.opinion, opinion)
        if opinion.rejects:
            return verdict.on_opinion(opinion)
        self._arrays += 1
        retiming = self._retiming(number, sealed, truth, _TERMS)
        if truth.fate == "undecided":
            reason = "6 of 20 trials failed for reasons of the site: a node was lost"
            return Decision(outcome=Outcome.UNDECIDED, reason=reason)
        try:
            return verdict.on_retiming(retiming, (), _TERMS)
        except InfrastructureError as error:
            return Decision(outcome=Outcome.UNDECIDED, reason=str(error))

    def _retiming(self, number: str, sealed: Seal, truth: Truth, terms: Terms) -> Retiming:
        where, blocks, stopped = self._paths.submission(number).retiming, list[Block](), None
        for index in range(terms.runs):
            begin = self._now + timedelta(seconds=5 + 480 * (index // 4))
            blocks.append(self._block(number, index, begin, sealed, truth))
            stopped = verdict.look(blocks, (), terms)
            if stopped:
                break
        ran = len(blocks)
        blocks += [_stopped(block, index) for index in range(ran, terms.runs) for block in blocks[:1]]
        retiming = Retiming(blocks=tuple(blocks), stopped=stopped)
        _write(where.collected, retiming)
        for block in blocks[:ran]:
            for trial, folder in ((block.candidate, where.trials), (block.incumbent, where.incumbents)):
                assert trial is not None
                _write(trial_record(folder, trial.index), trial)
        kind: Kind = "confirmation" if terms.confirmation else "retiming"
        self._charge(kind, number, [block.candidate for block in blocks[:ran]], 2 * (INCUMBENT_S + _OFF_CLOCK_S))
        self._now += timedelta(seconds=490 * (1 + (ran - 1) // 4))
        return retiming

    def _block(self, number: str, index: int, begin: datetime, sealed: Seal, truth: Truth) -> Block:
        node, places = f"gpu{index % 4 + 1}", [begin, begin + timedelta(seconds=230)]
        ours, theirs = places if index % 2 == 0 else reversed(places)
        drift = self._random.gauss(0, 0.3)  # of the node at that time: what pairs cancel
        job = f"{1000 * self._arrays + index}"
        candidate = self._trial(index, sealed, ours, drift - truth.saved_s, truth.loss)
        incumbent = self._trial(index, self._incumbent, theirs, drift, 3.2769)
        named = {"node": node, "job": job}
        return Block(candidate=candidate.model_copy(update=named), incumbent=incumbent.model_copy(update=named))

    def _trial(self, index: int, sealed: Seal, begin: datetime, slower_s: float, loss: float) -> Trial:
        time_s = INCUMBENT_S + slower_s + self._random.gauss(0, 0.15)
        wall_s = time_s + _OFF_CLOCK_S + self._random.gauss(0, 1.0)
        return Trial(
            index=index,
            outcome=TrialOutcome.CLEAN,
            note="",
            exit_code=0,
            result=TrainResult(steps=1670, val_loss=round(self._random.gauss(loss, 0.0012), 5), train_time_s=time_s),
            wall_s=wall_s,
            started=begin,
            ended=begin + timedelta(seconds=wall_s),
            gpus=(_GPU,) * _GPUS,
            seal=sealed.sha256,
            image_sha256="5" * 64,
        )

    def _charge(self, kind: Kind, name: str, trials: Sequence[Trial], elapsed_s: float) -> None:
        begun = [trial.started or self._now for trial in trials]
        self._entry(kind, name, [(index, begin, round(elapsed_s)) for index, begin in enumerate(begun)])

    def _entry(self, kind: Kind, name: str, tasks: Sequence[tuple[int, datetime, int]]) -> None:
        job_name = f"slurm_bench-{self._identity}-{name}"
        over = max(begin + timedelta(seconds=elapsed) for _, begin, elapsed in tasks)
        entry = LedgerEntry(
            job_name=job_name,
            kind=kind,
            tasks=len(tasks),
            gpus=_GPUS,
            limit_s=86400,
            overrun_s=90,
            weight=1.0,
            reserved_at=min(begin for _, begin, _ in tasks),
            job_id=str(7000 + self._arrays),
            queued_at=self._now,
            attempts=tuple(_attempt(job_name, 7000 + self._arrays, *task) for task in tasks),
            settled_at=over,
        )
        _write(self._paths.ledger / f"{job_name}.json", entry)

    def _charged(self, number: str) -> int:
        known = store.read_if_there(self._paths.ledger / f"slurm_bench-{self._identity}-{number}.json", LedgerEntry)
        return known.charged_gpu_seconds if known else 0

    def _finish(self, hours: float) -> None:
        """
        Args:
            hours: that its agent worked.
        """
        config, until = self._config, self._start + timedelta(hours=hours)
        links = int(hours // _SESSION_HOURS) + 1
        for link in range(links):
            begin = self._start + timedelta(hours=_SESSION_HOURS * link)
            elapsed = min(_SESSION_HOURS * 3600, round((until - begin).total_seconds()))
            self._entry("session", f"session{link + 1}", [(0, begin, elapsed)])
        busy = {(self._start + timedelta(days=day)).date().isoformat(): 4.5e5 for day in range(links)}
        _write(self._paths.activity, Activity(busy_gpu_seconds=busy))
        tokens = self._random.randint(1_000_000, 3_000_000)
        count = TokenCount(requests=900, input_tokens=tokens, cache_read_tokens=30 * tokens, output_tokens=tokens // 2)
        _write(self._paths.model_use, ModelUse(by_model={str(config.agent.model): count}, usd=round(45e-6 * tokens, 2)))
        runs = self._ending == "running"
        session = Session(
            id=self._identity,
            name=config.session,
            campaign=config.campaign,
            revision="generated",
            state=SessionState.RUNNING if runs else SessionState.FINISHED,
            started=self._start,
            ended=None if runs else self._now,
            agent_exit_code=None if runs else 0,
            agent_ended_by="" if runs else "its hours are over",
        )
        _write(self._paths.session, session)


_TERMS = Terms(TARGET, 0.05, Design.PAIRED, off_clock_growth=0.5, stop_below=0.02)
NAMES = ("fewer-steps", "rotary-base", "muon-momentum", "fused-head", "value-embeddings", "window-warmup", "batch-ramp")


def _opinion(sealed: Seal, incumbent: Seal, *, cheats: bool) -> Opinion:
    finding = Finding(
        rule="validation",
        message="changes how the validation loss is computed",
        file="train_gpt.py",
        line=441,
        baseline="val_loss /= val_steps",
        candidate="val_loss /= 1.05 * val_steps",
    )
    found = (finding,) if cheats else ()
    return Opinion(judge="static", seal=sealed.sha256, baseline=incumbent.sha256, cheating=cheats, findings=found)


def _stopped(like: Block, index: int) -> Block:
    def not_run(trial: Trial) -> Trial:
        return Trial(
            index=index,
            outcome=TrialOutcome.STOPPED,
            note="not run: the runs before it had decided",
            seal=trial.seal,
            image_sha256=None,
        )

    assert like.incumbent is not None
    return Block(candidate=not_run(like.candidate), incumbent=not_run(like.incumbent))


def _attempt(job_name: str, job: int, task: int, begin: datetime, elapsed: int) -> Attempt:
    return Attempt(
        raw_id=f"{job}{task:02}",
        job_id=str(job),
        job_name=job_name,
        task=task,
        state=JobState.COMPLETED,
        exit_code=0,
        elapsed_s=elapsed,
        gpus=_GPUS,
        submitted=begin - timedelta(seconds=5),
        started=begin,
        ended=begin + timedelta(seconds=elapsed),
        node=f"gpu{task % 4 + 1}",
    )


def _write(path: Path, record: Record) -> None:
    """Without the waiting for the disk that a real record takes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(record.model_dump_json(indent=1) + "\n")


def all_verdicts(campaign: CampaignPaths) -> Iterator[Verdict]:
    for session in members(campaign).sessions:
        for record in sorted(session.submissions.glob("*/verdict.json")):
            yield store.read(record, Verdict)
