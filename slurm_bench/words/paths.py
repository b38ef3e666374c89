"""Every filename of a campaign, and where the package keeps what it ships."""

from dataclasses import dataclass
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]

CALIBRATIONS = "calibrations"
OPINIONS = "opinions"
DECOYS = "decoys"
REPORT = "report"
"""Folders of a campaign that are no session's."""

_LONGEST_MEMBER = 100
"""Characters of a name in an archive."""


def expanded(text: str) -> Path:
    """Return a path with the home that its ~ stands for; where nobody knows one it stays as it was typed."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def shipped(name: str) -> Path:
    """A file or folder of the project's top level (conf, containers), in a checkout or an installed wheel."""
    installed = _PACKAGE / name
    return installed if installed.exists() else _PACKAGE.parent / name


def starting_record(name: str) -> Path:
    """The folder of a record that sessions start from: our own rehearsal's, or a human one."""
    return _PACKAGE / "rehearsal" / "record" if name == "rehearsal" else shipped("human_baselines") / name


def agent_program(kind: str) -> Path:
    """The program of an agent that we ship, alone in the folder that is mounted for it."""
    return _PACKAGE / "rehearsal" / kind / "agent.py"


@dataclass(frozen=True)
class BaselinesPaths:
    """The human records that were fetched; none of it belongs to the project."""

    root: Path

    @property
    def upstream(self) -> Path:
        """What was fetched of upstream's repository, without the files that nobody asked for."""
        return self.root / ".upstream.git"

    @property
    def lock(self) -> Path:
        """Held by whoever fetches."""
        return self.root / ".upstream.lock"

    def record(self, name: str) -> Path:
        return self.root / name


@dataclass(frozen=True)
class RetimingPaths:
    """One array of blocks."""

    root: Path

    @property
    def plan(self) -> Path:
        return self.root / "plan.json"

    @property
    def trials(self) -> Path:
        return self.root / "trials"

    @property
    def incumbents(self) -> Path:
        """The incumbent's trials beside them, in the paired design."""
        return self.root / "incumbents"

    @property
    def stopped(self) -> Path:
        """Why the rest was cancelled; written before it is."""
        return self.root / "stopped.json"

    @property
    def jobs(self) -> Path:
        """The batch script and its output. Never bound into a container."""
        return self.root / "jobs"

    @property
    def collected(self) -> Path:
        """All blocks, once the array and its rerun are over."""
        return self.root / "collected.json"

    @property
    def rerun(self) -> "RetimingPaths":
        """The blocks whose first run was void."""
        return RetimingPaths(self.root / "rerun")

    def trial(self, index: int) -> Path:
        return trial_record(self.trials, index)

    def of_trials(self) -> list[Path]:
        """Records, logs and output of all trials, of reruns too."""
        arms = [folder for array in (self, self.rerun) for folder in (array.trials, array.incumbents)]
        return [file for folder in arms for file in sorted(folder.glob("[!.]*"))]

    def records(self) -> list[Path]:
        """Of all trials, of reruns too."""
        ours = [*self.trials.glob("[!.]*.json"), *self.incumbents.glob("[!.]*.json")]
        return ours + self.rerun.records() if self.rerun.root.exists() else ours


def trial_record(trials: Path, index: int) -> Path:
    return trials / f"{index:02}.json"


def trial_output(trials: Path, index: int) -> Path:
    """What the trial printed."""
    return trials / f"{index:02}.out"


def trial_log(trials: Path, index: int) -> Path:
    """The training log that the trial wrote."""
    return trials / f"{index:02}.log"


@dataclass(frozen=True)
class ExperimentPaths:
    """An experiment as its desk keeps it, outside the agent's sight."""

    root: Path

    @property
    def experiment(self) -> Path:
        return self.root / "experiment.json"

    @property
    def plan(self) -> Path:
        return self.root / "plan.json"

    @property
    def run(self) -> Path:
        return self.root / "run.json"

    @property
    def caches(self) -> Path:
        return self.root / "caches.tar.gz"

    @property
    def jobs(self) -> Path:
        """The batch script and its output. Never bound into a container."""
        return self.root / "jobs"


@dataclass(frozen=True)
class SubmissionPaths:
    root: Path

    @property
    def submission(self) -> Path:
        return self.root / "submission.json"

    @property
    def seal(self) -> Path:
        return self.root / "seal.json"

    @property
    def opinion(self) -> Path:
        return self.root / "opinion.json"

    @property
    def second_opinion(self) -> Path:
        """Asked for where the runs raised a suspicion."""
        return self.root / "second_opinion.json"

    @property
    def turn(self) -> Path:
        return self.root / "turn.json"

    @property
    def verdict(self) -> Path:
        return self.root / "verdict.json"

    @property
    def stamp(self) -> Path:
        """What the verdict rested on, and the stamp before it."""
        return self.root / "stamp.json"

    @property
    def decoy(self) -> Path:
        """What its decoy run showed."""
        return self.root / "decoy.json"

    @property
    def decoy_run(self) -> RetimingPaths:
        return RetimingPaths(self.root / "decoy")

    def failed_decoy_runs(self) -> list[Path]:
        """Decoy runs set aside because the site failed them."""
        return sorted(self.root.glob("decoy-failed*"))

    def next_failed_decoy_run(self) -> Path:
        return self.root / f"decoy-failed{len(self.failed_decoy_runs()) + 1}"

    def decoy_runs(self) -> list[RetimingPaths]:
        """All of them, those set aside too."""
        return [self.decoy_run, *(RetimingPaths(aside) for aside in self.failed_decoy_runs())]

    @property
    def retiming(self) -> RetimingPaths:
        return RetimingPaths(self.root / "retiming")

    def failed_retimings(self) -> list[Path]:
        """Retimings set aside because they could not be used."""
        return sorted(self.root.glob("retiming-failed*"))

    def retimings(self) -> list[RetimingPaths]:
        """All of them, those set aside too."""
        return [self.retiming, *(RetimingPaths(aside) for aside in self.failed_retimings())]

    def next_failed_retiming(self) -> Path:
        return self.root / f"retiming-failed{len(self.failed_retimings()) + 1}"


@dataclass(frozen=True)
class TimingPaths:
    """What whoever times seals keeps: a configuration, seals and a ledger."""

    root: Path

    def begun(self) -> bool:
        """Whether anything was ever reserved: from then on the configuration stays."""
        return any(self.ledger.glob("*.json"))

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def seals(self) -> Path:
        return self.root / "seals"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger"

    @property
    def campaign(self) -> "CampaignPaths":
        return CampaignPaths(self.root.parent)

    def timed(self) -> "list[SubmissionPaths]":
        """What was timed here, each with its retimings."""
        return [SubmissionPaths(self.root)]

    @property
    def queue_lock(self) -> Path:
        """Held by whoever queues a job here, from before it is reserved for until its number is written down."""
        return self.root / "queue.lock"

    @property
    def rests_on(self) -> Path:
        """The calibrations whose runs verdicts here rest on, if there are any."""
        return self.root / "rests_on.json"


@dataclass(frozen=True)
class CalibrationPaths(TimingPaths):
    """A program that is timed outside any session."""

    @property
    def campaign(self) -> "CampaignPaths":
        return CampaignPaths(self.root.parents[1])

    @property
    def seals(self) -> Path:
        return self.campaign.calibration_seals

    @property
    def calibration(self) -> Path:
        return self.root / "calibration.json"

    @property
    def lock(self) -> Path:
        """Held while it is timed: sessions that need the same one wait for it."""
        return self.root / "calibration.lock"

    @property
    def timing(self) -> SubmissionPaths:
        return SubmissionPaths(self.root)


@dataclass(frozen=True)
class CheckupPaths(TimingPaths):
    """What `command=doctor` leaves for its job, and finds of it."""

    @property
    def token(self) -> Path:
        return self.root / "token"

    @property
    def facts(self) -> Path:
        return self.root / "facts.json"

    @property
    def lock(self) -> Path:
        """Held here while the job looks."""
        return self.root / "lock"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"


@dataclass(frozen=True)
class SessionPaths(TimingPaths):
    def begun(self) -> bool:
        """Also once its starting record is sealed, which all its verdicts rest on."""
        return super().begun() or self.incumbent.exists()

    @property
    def session(self) -> Path:
        return self.root / "session.json"

    @property
    def log(self) -> Path:
        return self.root / "session.log"

    @property
    def agent_log(self) -> Path:
        return self.root / "agent.log"

    @property
    def desk_process(self) -> Path:
        """The process that serves the session, or served it last."""
        return self.root / "desk.pid.json"

    @property
    def agent_process(self) -> Path:
        return self.root / "agent.pid.json"

    @property
    def agent_head(self) -> Path:
        """The first process of the agent's step, where the agent has to stand still while candidates are timed."""
        return self.root / "agent_head.pid.json"

    @property
    def working(self) -> Path:
        return self.root / "working.json"

    @property
    def conversation(self) -> Path:
        """The agent's memory of where it is: its conversation's id, and how its last starts went."""
        return self.root / "conversation.json"

    @property
    def transcript(self) -> "TranscriptPaths":
        return TranscriptPaths(self.root / "transcript")

    @property
    def prompts(self) -> Path:
        """What the agent is told; it only reads here."""
        return self.root / "prompts"

    @property
    def record_facts(self) -> Path:
        """What the starting record does where a rule asks for the same."""
        return self.root / "record_facts.json"

    @property
    def model_use(self) -> Path:
        """Tokens and cost, as the key proxy counted them."""
        return self.root / "model_use.json"

    @property
    def metadata(self) -> Path:
        return self.root / "metadata.json"

    @property
    def agent_home(self) -> Path:
        return self.root / "home"

    @property
    def lock(self) -> Path:
        """Held by the one desk of the session."""
        return self.root / "desk.lock"

    @property
    def launch_lock(self) -> Path:
        """Held while a job of the session is queued."""
        return self.root / "launch.lock"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def candidates(self) -> Path:
        return self.workspace / "submissions"

    @property
    def outbox(self) -> Path:
        """Requests; the agent writes here."""
        return self.root / "outbox"

    @property
    def inbox(self) -> Path:
        """Verdicts; the agent only reads here."""
        return self.root / "inbox"

    @property
    def experiments(self) -> Path:
        return self.root / "experiments"

    def experiment(self, number: str) -> ExperimentPaths:
        return ExperimentPaths(self.experiments / number)

    @property
    def experiments_outbox(self) -> Path:
        """Requests for experiments; the agent writes here."""
        return self.root / "experiments_outbox"

    @property
    def experiments_inbox(self) -> Path:
        """How experiments stand, what they print and what they leave; the agent only reads here."""
        return self.inbox / "experiments"

    def experiment_note(self, request_id: str) -> Path:
        return self.experiments_inbox / f"{request_id}.json"

    def experiment_output(self, number: str) -> Path:
        return self.experiments_inbox / number / "output"

    def experiment_left(self, number: str) -> Path:
        return self.experiments_inbox / number / "left"

    @property
    def incumbent(self) -> Path:
        """The seal of the starting record."""
        return self.root / "incumbent.json"

    @property
    def calibration(self) -> Path:
        """The incumbent's runs that all verdicts of the session rest on, in the classic design."""
        return self.root / "calibration.json"

    @property
    def submissions(self) -> Path:
        return self.root / "submissions"

    def stamps(self) -> list[Path]:
        """Of all verdicts, in the order in which they were given."""
        return sorted(self.submissions.glob("*/stamp.json"))

    @property
    def bundles(self) -> Path:
        """Archives of verdicts."""
        return self.root / "bundles"

    def bundle(self, number: str) -> Path:
        return self.bundles / f"{self.root.name}-{number}.tar"

    def submission(self, number: str) -> SubmissionPaths:
        return SubmissionPaths(self.submissions / number)

    def timed(self) -> list[SubmissionPaths]:
        return [SubmissionPaths(record.parent) for record in sorted(self.submissions.glob("*/submission.json"))]

    @property
    def activity(self) -> Path:
        """How much the GPUs of the session's own allocations computed."""
        return self.root / "activity.json"

    @property
    def budget_in_inbox(self) -> Path:
        """What is left, for the agent; no request can have this name."""
        return self.inbox / "budget-left.json"

    def verdict_in_inbox(self, request_id: str) -> Path:
        return self.inbox / f"{request_id}.json"


@dataclass(frozen=True)
class BundlePaths(SessionPaths):
    """Names within an archive: those of a session's folder, and what lies elsewhere there."""

    root: Path = Path()

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def listed_experiments(self) -> Path:
        return self.root / "experiments.json"

    @property
    def origin(self) -> CalibrationPaths:
        """What `calibration` was taken from."""
        return CalibrationPaths(self.root / "calibration")

    def sealed(self, arm: str, path: str, sha256: str) -> Path:
        """A file of the candidate or the incumbent; one whose name is too long for a tar by its hash."""
        named = self.root / arm / path
        return named if len(str(named)) <= _LONGEST_MEMBER else self.root / arm / "by-sha256" / sha256


@dataclass(frozen=True)
class TranscriptPaths:
    """What the agent's program said."""

    root: Path

    @property
    def events(self) -> Path:
        """Its raw events, one JSON object a line."""
        return self.root / "events.jsonl"

    @property
    def trace(self) -> Path:
        """The same to read, written live."""
        return self.root / "agent_trace.txt"


@dataclass(frozen=True)
class OpinionPaths:
    """What models have said, for all sessions of a campaign: the same question gets the same answer."""

    root: Path

    def opinion(self, seal: str, question: str) -> Path:
        return self.root / f"{seal[:12]}-{question}.json"

    def vouched(self, seal: str) -> Path:
        """What a person has said of a candidate."""
        return self.root / f"{seal}-person.json"

    @property
    def seals(self) -> Path:
        """Of candidates that `command=judge` was shown."""
        return self.root / "seals"


@dataclass(frozen=True)
class DecoyPaths:
    """A seal's decoy run under certain conditions, for all sessions of a campaign."""

    root: Path

    @property
    def decoy(self) -> Path:
        return self.root / "decoy.json"

    def caches(self, job_name: str) -> Path:
        """What this job compiled: two sessions that run the same seal at once do not overwrite each other's."""
        return self.root / f"{job_name}.tar.gz"


@dataclass(frozen=True)
class DecoyDataPaths:
    """Shards of random tokens, which take the place of task.data. Nothing in its name says so."""

    root: Path

    @property
    def record(self) -> Path:
        """Beside it, where no container looks; written when all shards are."""
        return self.root.with_name(f"{self.root.name}.json")

    @property
    def lock(self) -> Path:
        """Held by whoever writes them."""
        return self.root.with_name(f".{self.root.name}.lock")


def decoy_folder(runs: Path) -> Path:
    """The folder of all shards of random tokens."""
    return runs / "shards"


def decoy_data(runs: Path, digest: str) -> DecoyDataPaths:
    """
    Args:
        digest: of the real shards.
    """
    return DecoyDataPaths(decoy_folder(runs) / digest[:12])


@dataclass(frozen=True)
class ReportPaths:
    root: Path

    @property
    def page(self) -> Path:
        return self.root / "report.html"

    @property
    def data(self) -> Path:
        """The same for machines."""
        return self.root / "report.json"

    @property
    def files(self) -> Path:
        """Its figures and tables, each by itself."""
        return self.root / REPORT

    def file(self, name: str) -> Path:
        return self.files / name


@dataclass(frozen=True)
class CampaignPaths:
    """What is in it is found in one way alone (effects/campaigns.py)."""

    root: Path

    @property
    def report(self) -> ReportPaths:
        return ReportPaths(self.root)

    @property
    def ledger_lock(self) -> Path:
        """Held by whoever reserves, charges or releases: one at a time in the whole campaign."""
        return self.root / "ledger.lock"

    @property
    def opinions(self) -> OpinionPaths:
        return OpinionPaths(self.root / OPINIONS)

    def calibration(self, name: str) -> CalibrationPaths:
        return CalibrationPaths(self.root / CALIBRATIONS / name)

    def decoy(self, name: str) -> DecoyPaths:
        return DecoyPaths(self.root / DECOYS / name)

    @property
    def calibration_seals(self) -> Path:
        """Of all calibrations together: what a calibration's folder is named by depends on the seal."""
        return self.root / CALIBRATIONS / "seals"
