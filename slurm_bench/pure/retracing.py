"""The runs behind a verdict, from their training logs and the scheduler's rows to the blocks that it was given on."""

from collections.abc import Iterator, Sequence

from slurm_bench.pure import decoys, trainlog, verdict
from slurm_bench.pure.blocks import collect, recorded, to_run_again, with_reruns
from slurm_bench.pure.differences import differences
from slurm_bench.pure.evidence import Array, Check, Evidence, Exhibit, Sealed, compared
from slurm_bench.pure.presence import was_queued, wrong_in_runs
from slurm_bench.pure.rules import PROGRAM, RUNS
from slurm_bench.pure.settings import declared_steps
from slurm_bench.pure.trainlog import NoResult
from slurm_bench.pure.verdict import NOT_RUN
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.config import Config
from slurm_bench.words.trials import Arm, Block, Decoy, Design, EarlyStop, Retiming, Trial, TrialOutcome, TrialPlan


def checks(evidence: Evidence) -> Iterator[Check]:
    """What was planned, run, collected and stopped; nothing where nothing was planned."""
    exhibit = evidence.timed
    yield from _decoy_run(exhibit, evidence)
    if not exhibit.arrays:
        if was_queued(exhibit):
            yield Check("trial plan", "an array was queued, and its plan is not there", False)
    else:
        yield from _of_array(exhibit, evidence)
    if evidence.calibration and (exhibit.collected or exhibit.stopped):
        yield from _calibration(evidence, evidence.calibration)


def _of_array(exhibit: Exhibit, evidence: Evidence) -> Iterator[Check]:
    yield _plans("trial plan", exhibit.arrays, _arms(evidence), evidence, evidence.terms.runs)
    yield _results("training logs", exhibit.arrays, exhibit.collected)
    if exhibit.collected and exhibit.collected.incumbents:
        yield _order(exhibit.arrays[0].plan, exhibit.collected)
    if exhibit.collected:
        yield _blocks("blocks", exhibit.arrays, exhibit.collected, exhibit.stopped)
    if exhibit.stopped:
        yield _stop(exhibit, exhibit.stopped, evidence)


# The run on random tokens, before them.


def _decoy_run(exhibit: Exhibit, evidence: Evidence) -> Iterator[Check]:
    decoy, candidate = exhibit.decoy, evidence.candidate
    if decoy is None:
        wanted = evidence.config.retime.caches == "decoy" and (exhibit.collected or exhibit.stopped)
        if wanted or exhibit.verdict.canary:
            yield Check("decoy run", "there was one, and it is not there", False)
        return
    wrong = [] if candidate and decoy.seal == candidate.seal.sha256 else ["it is another seal's"]
    wrong += differences(decoy.canary, decoys.canary(decoy.trial, decoy.compiling, decoys.floor(decoy.shards)))
    given, kept = decoy.trial.caches, decoy.compiling.kept if decoy.compiling else None
    wrong += [] if decoy.caches == kept else ["its caches are not those that its run kept"]
    wrong += [] if given is None or given.sha256 == (kept.sha256 if kept else None) else ["it began with other caches"]
    if exhibit.arrays:
        began = exhibit.arrays[0].plan.arms[0].caches
        wrong += [] if began in (None, decoy.caches) else ["the timed runs began with other caches"]
    if not exhibit.decoy_arrays:
        found = "; ".join(wrong) or "as it was recorded for another verdict of its campaign"
        yield Check("decoy run", found, False if wrong else None)
        return
    wrong += list(_wrong_decoy_array(exhibit.decoy_arrays, decoy, evidence))
    loss = f"a loss of {decoy.canary.loss:.4f}" if decoy.canary.loss is not None else "no result"
    yield compared("decoy run", wrong, f"{loss} on random tokens, where {decoy.canary.floor:.4f} is the least")


def _wrong_decoy_array(arrays: Sequence[Array], decoy: Decoy, evidence: Evidence) -> Iterator[str]:
    halves = 2 if evidence.config.task.caches else 1
    arms = [evidence.candidate] * halves if evidence.candidate else []
    for array in arrays:
        yield from _wrong_in_plan(array.plan, arms, evidence)
        yield from _strangers(array)
    yield from wrong_in_runs(arrays, Retiming(blocks=(Block(candidate=decoy.trial, incumbent=decoy.compiling),)))
    yield from (line for line in _wrong_runs(arrays) if line)


def _arms(evidence: Evidence) -> list[Sealed]:
    paired = evidence.terms.design is Design.PAIRED
    candidate = [evidence.candidate] if evidence.candidate else []
    return [*candidate, evidence.incumbent] if paired else candidate


def _calibration(evidence: Evidence, calibration: Retiming) -> Iterator[Check]:
    if not evidence.calibration_arrays:
        yield Check("calibration", "the runs that it was taken from are not there", False)
        return
    arrays = evidence.calibration_arrays
    yield _plans("calibration's plan", arrays, [evidence.incumbent], evidence, RUNS)
    yield _results("calibration's logs", arrays, calibration)
    yield _blocks("calibration's blocks", arrays, calibration, None)


# What was to be run.


def _plans(what: str, arrays: Sequence[Array], arms: Sequence[Sealed], evidence: Evidence, runs: int) -> Check:
    wrong = [line for array in arrays for line in _wrong_in_plan(array.plan, arms, evidence)]
    wrong += [line for array in arrays for line in _strangers(array)]
    first = arrays[0].plan
    if sorted(first.indices) != list(range(runs)):
        wrong.append(f"its blocks are {list(first.indices)}")
    if len(set(first.candidate_first) & set(first.indices)) != runs // 2:
        wrong.append("the candidate does not begin half of its blocks")
    for again in arrays[1:]:
        if again.plan.candidate_first != first.candidate_first:
            wrong.append("the order within blocks was drawn twice")
        if [arm.caches for arm in again.plan.arms] != [arm.caches for arm in first.arms]:
            wrong.append("what was run once more began with other caches")
    return compared(what, wrong, "seals, image and environment as sealed and configured")


def _wrong_in_plan(plan: TrialPlan, arms: Sequence[Sealed], evidence: Evidence) -> Iterator[str]:
    config = evidence.config
    if [arm.seal for arm in plan.arms] != [arm.seal for arm in arms]:
        yield f"it runs the seals {', '.join(arm.seal.sha256[:12] for arm in plan.arms)}"
    for arm, sealed in zip(plan.arms, arms, strict=False):
        steps = tuple(sorted(declared_steps(sealed.text.get(PROGRAM, ""))))
        if arm.declared_steps != steps:
            yield f"it takes {arm.declared_steps} for the steps that the program declares, which are {steps}"
    if plan.environment != config.task.environment:
        yield "its environment is not task.environment"
    yield from _wrong_conditions(plan, config)
    if plan.image_sha256 and evidence.images is not None and plan.image_sha256 not in evidence.images:
        yield f"its image {plan.image_sha256[:12]} is none of the session's"


def _wrong_conditions(plan: TrialPlan, config: Config) -> Iterator[str]:
    if plan.container != config.container.kind:
        yield f"its container is {plan.container}, not {config.container.kind}"
    if plan.timeout_s != round(config.task.trial_minutes * 60):
        yield f"its time limit is {plan.timeout_s} s, not task.trial_minutes"


def _strangers(array: Array) -> Iterator[str]:
    """Records of other bytes, or of another image, than was planned."""
    for (place, index), trial in array.records.items():
        if (trial.index, trial.seal) != (index, array.plan.arms[place].seal.sha256):
            yield f"trial {index} ran another seal"
        if trial.image_sha256 != array.plan.image_sha256:
            yield f"trial {index} ran in another image"
        given = array.plan.arms[place].caches
        if not array.plan.is_decoy and trial.caches and trial.caches.sha256 != (given.sha256 if given else None):
            yield f"trial {index} began with other caches"


# What the runs said.


def _results(what: str, arrays: Sequence[Array], collected: Retiming | None) -> Check:
    runs = [trial for array in arrays for trial in array.records.values()]
    wrong = _wrong_runs(arrays)
    wrong += wrong_in_runs(arrays, collected) if collected else []
    read = sum(trial.result is not None for trial in runs)
    silent = len(runs) - read
    return compared(what, wrong, f"{read} results as logged" + (f", {silent} runs without one" if silent else ""))


def _wrong_runs(arrays: Sequence[Array]) -> list[str]:
    """Runs whose records are not what their runners can have made of their logs."""
    runs = [
        (array.plan.arms[place], trial, array.logs.get((place, trial.index)))
        for array in arrays
        for (place, _), trial in array.records.items()
    ]
    problems = [(trial.index, _wrong_in_run(arm, trial, log)) for arm, trial, log in runs]
    return [f"trial {index}: {problem}" for index, problem in problems if problem]


def _wrong_in_run(arm: Arm, trial: Trial, log: str | None) -> str:
    """Why a record cannot be what its runner made of this log; empty if it can."""
    if trial.result is None:
        claims = trial.outcome in (TrialOutcome.CLEAN, TrialOutcome.IMPLAUSIBLE)
        return f"{trial.outcome} without a result" if claims else _wrong_silence(trial, log)
    if log is None:
        return "no log of its result"
    try:
        found = differences(trial.result, trainlog.parse(log))
    except NoResult as problem:
        return str(problem)
    if found:
        return "; ".join(found)
    implausible = trainlog.implausible(trial.result, trial.wall_s, arm.declared_steps)
    if trial.outcome is TrialOutcome.CLEAN and (implausible or trial.exit_code != 0):
        return implausible or f"clean with exit code {trial.exit_code}"
    return "" if trial.outcome is not TrialOutcome.IMPLAUSIBLE or implausible else "nothing is implausible about it"


def _wrong_silence(trial: Trial, log: str | None) -> str:
    if trial.outcome is not TrialOutcome.NO_RESULT or log is None:
        return ""
    try:
        return f"its log says {trainlog.parse(log)!r}"
    except NoResult as problem:
        return "" if str(problem) == trial.note else str(problem)


# What was made of them.


def _blocks(what: str, arrays: Sequence[Array], collected: Retiming, stopped: EarlyStop | None) -> Check:
    entries = [array.entry for array in arrays if array.entry]
    if len(entries) < len(arrays):
        return Check(what, "the scheduler's rows are not in the bundle", None)
    computed = _collected(arrays, entries, stopped)
    if computed is None:
        return Check(what, "void blocks were not run once more", False)
    wrong = [] if collected.stopped == stopped else ["they were stopped otherwise"]
    if len(computed) != len(collected.blocks):
        wrong.append(f"{len(collected.blocks)} blocks, computed {len(computed)}")
    for stored, again in zip(collected.blocks, computed, strict=False):
        wrong += _wrong_in_block(stored, again)
    return compared(what, wrong, f"{len(computed)} blocks by the runners' records and the scheduler's rows")


def _collected(
    arrays: Sequence[Array], entries: Sequence[LedgerEntry], stopped: EarlyStop | None
) -> list[Block] | None:
    """The blocks of an array, and of its rerun where there was one; None where that is missing."""
    first = arrays[0]
    blocks = collect(first.plan, first.left, entries[0].attempts, stopped)
    void = to_run_again(blocks, stopped)
    if not void:
        return blocks
    if len(arrays) == 1 or arrays[1].plan.indices != tuple(void):
        return None
    return with_reruns(blocks, collect(arrays[1].plan, arrays[1].left, entries[1].attempts, None), void)


def _order(plan: TrialPlan, collected: Retiming) -> Check:
    """Check who began each block: it was drawn before any ran."""
    began = {
        block.candidate.index: block.candidate.started < block.incumbent.started
        for block in collected.blocks
        if block.incumbent and block.candidate.started and block.incumbent.started
        if not {block.candidate.outcome, block.incumbent.outcome} & set(NOT_RUN)
    }
    wrong = [f"block {index}" for index, ours in began.items() if ours != (index in plan.candidate_first)]
    found = f"the candidate begins blocks {', '.join(map(str, plan.candidate_first))}, as drawn"
    return compared("order within blocks", [f"another one began {', '.join(wrong)}"] if wrong else [], found)


def _wrong_in_block(stored: Block, computed: Block) -> list[str]:
    """What differs; of a run that does not count only that it does not, since the scheduler may say more by now."""
    wrong = []
    for ours, theirs in ((stored.candidate, computed.candidate), (stored.incumbent, computed.incumbent)):
        if ours is None or theirs is None:
            wrong += [] if ours is theirs else [f"block {stored.candidate.index} has no incumbent"]
        elif ours.outcome not in NOT_RUN or theirs.outcome not in NOT_RUN:
            wrong += [f"trial {ours.index}: {line}" for line in differences(ours, theirs)]
    return wrong


def _stop(exhibit: Exhibit, stopped: EarlyStop, evidence: Evidence) -> Check:
    """The early stop by the runs that it says it saw."""
    array = exhibit.arrays[0]
    blocks = [block for index in stopped.seen if (block := recorded(array.plan, array.left, index))]
    computed = verdict.look(blocks, evidence.beside, evidence.terms)
    if computed is None or len(blocks) != len(stopped.seen):
        return Check("early stop", f"the runs {list(stopped.seen)} do not decide", False)
    if stopped.chance == computed.chance == 0:  # of a failure only how many clean runs were over is not known
        stopped, computed = (each.model_copy(update={"reason": _failure(each)}) for each in (stopped, computed))
    return compared("early stop", differences(stopped, computed), f"after trials {', '.join(map(str, stopped.seen))}")


def _failure(stopped: EarlyStop) -> str:
    return stopped.reason.partition(": ")[2]
