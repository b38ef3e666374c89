"""The typed configuration: one dataclass for each Hydra group of conf/.

OmegaConf refuses unknown keys and wrong types by these classes; `__post_init__` refuses values that make
no sense, by the field's full name. Defaults live in conf/, not here.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from string import Formatter
from typing import Any

from omegaconf import MISSING

from slurm_bench.words.errors import UsageError
from slurm_bench.words.kinds import KINDS
from slurm_bench.words.paths import CALIBRATIONS, DECOYS, OPINIONS, REPORT

UPSTREAM = "https://github.com/KellerJordan/modded-nanogpt.git"
"""Where the human records were set."""

RULE_SET_NAMES = ("all records", "by people", "objective of the start", "objective and warm-up of the start")
"""Sets of human records: by who made them, and by what they share with the record that a session starts from."""

MAKERS = ("anthropic", "openai", "azure")
PRICES = ("input", "output", "cache_read", "cache_write")
_LONGEST_NAME = 100


def _require(holds: bool, name: str, wanted: str, got: object) -> None:
    if not holds:
        raise UsageError(f"{name} must be {wanted}, got {got!r}")


def _require_positive(name: str, value: float) -> None:
    _require(0 < value < math.inf, name, "above 0 and finite", value)


_SBATCH = frozenset(
    {
        *("acctg_freq", "comment", "contiguous", "core_spec", "deadline", "delay_boot", "distribution", "exclude"),
        *("cpu_freq", "gpu_bind", "gpu_freq", "gres_flags", "hint", "licenses", "mail_type", "mail_user", "mem"),
        *("mem_bind", "mem_per_cpu", "mem_per_gpu", "mincpus", "network", "nice", "nodelist", "prefer", "priority"),
        *("profile", "spread_job", "switches", "thread_spec", "threads_per_core", "tmp", "wckey"),
    }
)
"""Options of sbatch that a site may want and that decide neither what a trial is, nor what or where it is charged."""
_SBATCH_OF_CPU_JOBS = _SBATCH | {"account", "qos", "constraint", "reservation", "cpus_per_task"}
"""Those of jobs without GPUs, which cost none."""


_GPU_OPTIONS = ("gres", "gpus-per-node")
_BLANK = re.compile(r"\s")


def _require_gpu_request(request: str) -> None:
    option, _, value = request.partition("=")
    try:
        places = [place[1:] for place in Formatter().parse(value) if place[1] is not None]
    except ValueError:
        places = []
    known = {("count", "", None), ("type", "", None)}
    good = (
        option in _GPU_OPTIONS and ("count", "", None) in places and set(places) <= known and not _BLANK.search(value)
    )
    good = good and (option != "gres" or value.startswith("gpu:"))
    _require(good, "cluster.gpu_request", "gres=gpu:{type}:{count}, gpus-per-node={type}:{count} or the like", request)


def _require_options(name: str, options: Iterable[str], known: frozenset[str]) -> None:
    refused = sorted(option for option in options if option.replace("-", "_") not in known)
    wanted = "of options that change nothing of what is timed and charged, in full (docs/sites.md)"
    _require(not refused, name, wanted, ", ".join(refused))


@dataclass
class ApiConfig:
    """Where an agent's model is: asked by the key proxy on the host, never from the agent's container."""

    maker: str | None = None
    """Null for an agent without a model."""
    base_url: str | None = None
    """Of a gateway; null is the maker's own. With azure the resource's endpoint."""
    api_version: str | None = None
    """With azure only."""
    key_variable: str = ""
    """Environment variable that holds the key; jobs do not inherit it (key_file)."""
    key_file: str | None = None
    """Or a file with the key, readable by its owner only."""
    most_tokens: int | None = None
    """That a session may use, read from a cache or not, in and out; null is no such limit."""
    prices: dict[str, float] = field(default_factory=dict)
    """USD for a million tokens: input, output, cache_read, cache_write; without them no cost is reckoned."""

    def __post_init__(self) -> None:
        known = self.maker is None or self.maker in MAKERS
        _require(known, "agent.api.maker", " or ".join(MAKERS), self.maker)
        needs_url = self.maker == "azure" and not self.base_url
        _require(not needs_url, "agent.api.base_url", "the resource's endpoint (AZURE_OPENAI_ENDPOINT)", self.base_url)
        if self.most_tokens is not None:
            _require_positive("agent.api.most_tokens", self.most_tokens)
        wrong = sorted(set(self.prices) ^ set(PRICES)) if self.prices else []
        _require(not wrong, "agent.api.prices", f"empty, or {', '.join(PRICES)}", self.prices)


PROMPT, CONVERSATION = "{prompt}", "{conversation}"
"""What is filled in when an agent's own program is started."""


@dataclass
class EventsConfig:
    """Where a program's events, one JSON object a line, say what is wanted: paths such as part.state.input."""

    conversation: str = ""
    """What it calls the conversation that it is in."""
    text: str = ""
    """What it says."""
    action: str = ""
    """What it does; only events of its doing something have anything there."""
    output: str = ""
    """What came of that."""
    failure: str = ""
    """Why its turn failed."""

    @property
    def are_read(self) -> bool:
        return any((self.conversation, self.text, self.action, self.output, self.failure))


@dataclass
class ProgramConfig:
    """The program of agent=command."""

    argv: list[str] = field(default_factory=list)
    """Its command line in the container. {prompt} is what it is told; without that it comes on standard input."""
    resume: list[str] = field(default_factory=list)
    """The same to go on with {conversation}; empty starts it afresh each time, and tells it everything again."""
    again: bool = True
    """Whether it is started again when it ends; without that the session is over then."""
    events: EventsConfig = field(default_factory=EventsConfig)
    """Empty for a program whose output is just text."""
    lost: str = ""
    """What it says, among other words, where it does not know its conversation any more."""
    version: list[str] = field(default_factory=list)
    """A command that prints its version; empty asks for none."""
    folder: str | None = None
    """Folder with the program, seen read-only and first on its PATH; null where the image has it."""

    def __post_init__(self) -> None:
        known = not self.resume or bool(self.events.conversation)
        _require(known, "agent.program.events.conversation", "known where agent.program.resume is given", "")
        named = not self.resume or any(CONVERSATION in part for part in self.resume)
        _require(named, "agent.program.resume", f"a command line with {CONVERSATION} in it", self.resume)


_MAKERS_OF = {
    "claude": ("anthropic",),
    "autoresearch": ("anthropic",),
    "codex": ("openai", "azure"),
    "command": (*MAKERS, None),
}

_ARGV_WANTED = ("empty without the kind command", "a command line")


@dataclass
class AgentConfig:
    kind: str = MISSING
    name: str | None = None
    """What tables and figures call it, and hold together as one; null is its kind."""
    hours: float = MISSING
    """Hours that an agent may work; waiting for an allocation does not count."""
    submissions_per_hour: int = MISSING
    """What it may hand in within any hour; more waits until the hour is over."""
    image: str | None = None
    """Of its container, where that is not the trials' own (container.image)."""
    model: str | None = None
    """The model's name; with azure the deployment's. Null for an agent without one."""
    effort: str | None = None
    """Reasoning effort; null is the program's default."""
    context_window: int | None = None
    """Of the model (tokens), for a program that does not know it (codex)."""
    settings: dict[str, str] = field(default_factory=dict)
    """Further settings of Codex by their names, in TOML."""
    api: ApiConfig = field(default_factory=ApiConfig)
    environment: dict[str, str] = field(default_factory=dict)
    """Further variables for its program."""
    executable: str | None = None
    """The program's name in the image, where that is not the kind's (claude, codex)."""
    program: ProgramConfig = field(default_factory=ProgramConfig)
    """With the kind `command` only."""
    stall_minutes: float = 30.0
    """Without a sign of work (docs/agents.md), after which its program is ended and started again."""
    linger_minutes: float = 5.0
    """The same once its turn is over, when its program should end by itself."""
    gpus: str = "session"
    """Where it computes: on the GPUs of its `session`, or in `experiments`, each a job of its own."""
    experiments_at_once: int = 4
    """Jobs of its own that may wait or run; more wait for their turn."""
    experiment_minutes: float = 60.0
    """The longest that it may ask for."""
    waiting_hours: float = 48.0
    """With gpus=experiments its hours stand still, so long in all, while everything that it queued waits."""

    def __post_init__(self) -> None:
        kinds = ("scripted", *_MAKERS_OF)
        _require(self.kind in kinds, "agent.kind", " or ".join(kinds), self.kind)
        _require_positive("agent.hours", self.hours)
        _require_positive("agent.submissions_per_hour", self.submissions_per_hour)
        _require_positive("agent.stall_minutes", self.stall_minutes)
        _require_positive("agent.linger_minutes", self.linger_minutes)
        _require(self.gpus in ("session", "experiments"), "agent.gpus", "session or experiments", self.gpus)
        _require_positive("agent.experiments_at_once", self.experiments_at_once)
        _require_positive("agent.experiment_minutes", self.experiment_minutes)
        _require(self.waiting_hours >= 0, "agent.waiting_hours", "0 or more", self.waiting_hours)
        if self.kind in _MAKERS_OF:
            makers = _MAKERS_OF[self.kind]
            _require(self.api.maker in makers, "agent.api.maker", " or ".join(map(str, makers)), self.api.maker)
            _require(bool(self.model) or not self.api.maker, "agent.model", "the name of a model", self.model)
        is_own = self.kind == "command"
        _require(bool(self.program.argv) == is_own, "agent.program.argv", _ARGV_WANTED[is_own], self.program.argv)

    @property
    def title(self) -> str:
        return self.name or self.kind

    @property
    def experiments(self) -> bool:
        """Whether it has no GPUs of its own, and asks for a job for each thing that it tries."""
        return self.gpus == "experiments"


@dataclass
class TaskConfig:
    name: str = MISSING
    record: str = MISSING
    """The starting record: `rehearsal`, the name of a folder in human_baselines/, or an absolute path."""
    image: str = ""
    """That trains it: what container=apptainer takes. (Sessions of before it was there have none.)"""
    agent_image: str = ""
    """The same with the agents' programs on top."""
    data: str = MISSING
    """Folder with fineweb10B/ in it."""
    synthetic: str | None = None
    """Preset of the synthetic language to write into `data` where it is missing."""
    target_loss: float = MISSING
    loss_margin: float = 0.05
    """A mean loss further below the target is not accepted without a model's or a person's look (nats a token)."""
    trial_minutes: float = MISSING
    """Limit of one training run: imports, compilation and warm-up included."""
    trial_gigabytes: float = MISSING
    """What one run may write on its node: caches, logs, checkpoints (GiB)."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that every run gets: timed ones, and those of the agent."""
    caches: dict[str, str] = field(default_factory=dict)
    """Variables that name a folder of compiled code, with a name for each: what a decoy run leaves to later runs."""
    yardstick_until: str | None = "2026-01-19_BigramHashEmbedding"  # as it was for sessions of before this field
    """The last human record that counts as human progress; null, or one that is no later than the start: the newest."""
    facts: dict[str, str] = field(default_factory=dict)
    """By rule, what the starting record does, where its analysis cannot tell or errs (docs/judge.md)."""

    def __post_init__(self) -> None:
        _require_positive("task.target_loss", self.target_loss)
        _require_positive("task.loss_margin", self.loss_margin)
        _require_positive("task.trial_minutes", self.trial_minutes)
        _require_positive("task.trial_gigabytes", self.trial_gigabytes)
        for variable, folder in self.caches.items():
            plain = folder.replace("_", "").replace("-", "").isalnum()
            _require(plain, f"task.caches.{variable}", "the name of a folder", folder)


@dataclass
class ClusterConfig:
    kind: str = MISSING
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    constraint: str | None = None
    """Features that the nodes with GPUs must have."""
    gpu_type: str = MISSING
    """As accounting and budget.weights name it; empty: asked of the cluster."""
    gpu_request: str = "gres=gpu:{type}:{count}"  # as it was for sessions of before this field
    """sbatch's option for GPUs, with {count} and mostly {type} in it; empty: asked of the cluster."""
    gpu_cores: int = 0
    """CPU cores that go with each GPU of an allocation that shares its node; 0: asked of the cluster."""
    node_gpus: int = MISSING
    """GPUs of a node: what an exclusive allocation is charged for; 0: asked of the cluster."""
    trial_gpus: int = MISSING
    """GPUs of one trial's allocation."""
    gpu_devices: bool = MISSING
    """Whether the nodes have GPUs to hand into containers; the development cluster only claims its own."""
    session_gpus: int = MISSING
    """GPUs of the agent's own allocation; with 0 it is a job without GPUs, and trials alone are charged."""
    session_hours: float = MISSING
    """Longest time limit of a session's job, and that of a relay; 0: as long as its partitions allow."""
    chain: bool = MISSING
    """Whether the next job of a session is queued by itself, through a small job without GPUs (a relay)."""
    cpu_partition: str | None = None
    """Partition of jobs without GPUs: relays, and agents of session_gpus=0; null is cluster.partition."""
    exclusive: bool = MISSING
    """Whether a trial has its node to itself."""
    foreign_cores: float | None = None
    """CPU cores that others may use on a trial's node before it starts; null asks nobody, for shared nodes."""
    parallel: int = MISSING
    """Array tasks that may run at once."""
    poll_seconds: float = MISSING
    absent_grace_seconds: float = MISSING
    """How long a task may be unknown to squeue and sacct before it counts as cancelled."""
    accounting: str = MISSING
    """Where usage is known from: sacct, or own (squeue and the tasks themselves) for sites without slurmdbd."""
    silence_minutes: float = MISSING
    """How long a scheduler that gives no answer, or lets nothing start, is waited for before a verdict is undecided.

    A file system in trouble (no room, a stale handle, a server that is away) is waited for as long.
    """
    shared_poll: str = MISSING
    """Folder that all desks of one user share on this cluster, so that they ask the scheduler as often as one.

    Not used with accounting=own, whose desks share runs/usage/poll.
    """
    scratch: str = MISSING
    """Node-local folder for trials; $NAME in it is a variable of the job."""
    slurm_conf: str | None = None
    modules: list[str] = field(default_factory=list)
    """Environment modules that a job loads first."""
    setup: list[str] = field(default_factory=list)
    """Shell lines before the job's program, after its modules."""
    sbatch: dict[str, str] = field(default_factory=dict)
    """Further sbatch options of the site, by their long names."""
    cpu_sbatch: dict[str, str] = field(default_factory=dict)
    """Those of jobs without GPUs, in place of cluster.sbatch; account, qos, constraint and reservation too."""
    follow: bool = MISSING
    """Whether `run` stays until the session is over."""

    def __post_init__(self) -> None:
        _require(self.kind in ("local", "slurm"), "cluster.kind", "local or slurm", self.kind)
        accounting = {"local": ("own",), "slurm": ("sacct", "own")}[self.kind]
        _require(self.accounting in accounting, "cluster.accounting", " or ".join(accounting), self.accounting)
        most = f"1 to cluster.node_gpus ({self.node_gpus or 'asked of the cluster'})"
        _require(0 < self.trial_gpus <= (self.node_gpus or math.inf), "cluster.trial_gpus", most, self.trial_gpus)
        for name in ("node_gpus", "gpu_cores", "session_gpus", "session_hours"):
            value = getattr(self, name)
            _require(0 <= value < math.inf, f"cluster.{name}", "0 or more, and finite", value)
        if self.gpu_request:
            _require_gpu_request(self.gpu_request)
        _require_positive("cluster.parallel", self.parallel)
        _require_positive("cluster.poll_seconds", self.poll_seconds)
        _require_positive("cluster.silence_minutes", self.silence_minutes)
        _require_options("cluster.sbatch", self.sbatch, _SBATCH)
        _require_options("cluster.cpu_sbatch", self.cpu_sbatch, _SBATCH_OF_CPU_JOBS)
        foreign = self.foreign_cores
        _require(foreign is None or foreign > 0, "cluster.foreign_cores", "above 0 or null", foreign)
        _require(
            self.absent_grace_seconds >= 0,
            "cluster.absent_grace_seconds",
            "0 or more",
            self.absent_grace_seconds,
        )

    @property
    def session_minutes(self) -> int:
        """Slurm counts time limits in whole minutes; half an hour is thirty of them, whatever floating point makes."""
        return math.ceil(round(60 * self.session_hours, 6))

    @property
    def leaves_open(self) -> bool:
        """Whether there is something to ask the cluster."""
        return not (self.gpu_type and self.gpu_request and self.gpu_cores and self.node_gpus and self.session_hours)


@dataclass
class ContainerConfig:
    kind: str = MISSING
    image: str | None = None
    gpu_devices: bool = MISSING
    """Whether to hand the node's GPUs into the container (`--nv`)."""

    def __post_init__(self) -> None:
        _require(self.kind in ("none", "apptainer"), "container.kind", "none or apptainer", self.kind)
        _require(self.kind == "none" or bool(self.image), "container.image", "the path of an image", self.image)


@dataclass
class ModelConfig:
    """One model that judges."""

    maker: str = MISSING
    model: str = MISSING
    """The model's name; with azure the deployment's."""
    base_url: str | None = None
    """Of a gateway; null is the maker's own. With azure the resource's endpoint."""
    api_version: str | None = None
    """With azure only."""
    key_variable: str = MISSING
    """Environment variable that holds the key; jobs do not inherit it (key_file)."""
    key_file: str | None = None
    """Or a file with the key, readable by its owner only."""
    effort: str | None = None
    """Reasoning effort; null is the model's default."""
    max_output_tokens: int = MISSING
    """Of one answer, reasoning included."""

    def __post_init__(self) -> None:
        _require(self.maker in MAKERS, "judge.models.*.maker", " or ".join(MAKERS), self.maker)
        _require_positive("judge.models.*.max_output_tokens", self.max_output_tokens)
        _require(
            self.maker != "azure" or bool(self.base_url),
            "judge.models.*.base_url",
            "the resource's endpoint (AZURE_OPENAI_ENDPOINT)",
            self.base_url,
        )


@dataclass
class JudgeConfig:
    """The static checker always comes first; models see what it lets pass."""

    models: dict[str, ModelConfig] = field(default_factory=dict)
    quorum: int = MISSING
    """So many of the models have to reject."""
    minutes: float = MISSING
    """Longest that an opinion may take, retries included."""
    tries: int = MISSING
    """Of one question, where the service fails."""
    stall_seconds: float = MISSING
    """Silence after which a try has failed."""
    max_prompt_characters: int = MISSING
    """A candidate that takes more, beside its baseline, is not shown to a model: undecided."""

    def __post_init__(self) -> None:
        most = max(1, len(self.models))
        _require(1 <= self.quorum <= most, "judge.quorum", f"1 to {most}, the number of models", self.quorum)
        for name in ("minutes", "tries", "stall_seconds", "max_prompt_characters"):
            _require_positive(f"judge.{name}", getattr(self, name))


@dataclass
class RetimeConfig:
    design: str = MISSING
    """Where the incumbent's times come from: paired (beside each of the candidate's) or classic (once a campaign)."""
    where: str = MISSING
    """Where trials run: fresh (allocations of their own) or allocation (the session's own, for a site of one node)."""
    confirm: bool = MISSING
    """Whether a session's best accepted candidate is timed afresh at its end; its score rests on that alone."""
    stop_below: float = MISSING
    """Chance of passing below which the rest of an array is cancelled; 0 runs all of it."""
    caches: str = "empty"
    """What timed runs find compiled: decoy (what the seal's run on random tokens left) or empty (nothing)."""
    off_clock_growth: float = MISSING
    """Growth of the time off the clock, as a share of the incumbent's, beyond which a verdict is flagged."""

    def __post_init__(self) -> None:
        _require(self.design in ("classic", "paired"), "retime.design", "classic or paired", self.design)
        _require(self.where in ("fresh", "allocation"), "retime.where", "fresh or allocation", self.where)
        _require(self.caches in ("decoy", "empty"), "retime.caches", "decoy or empty", self.caches)
        _require(0 <= self.stop_below < 1, "retime.stop_below", "0 or more, and below 1", self.stop_below)
        _require(self.off_clock_growth >= 0, "retime.off_clock_growth", "0 or more", self.off_clock_growth)

    @property
    def is_nested(self) -> bool:
        """Whether trials run in the session's own job."""
        return self.where == "allocation"


@dataclass
class BudgetConfig:
    h100_hours: float = MISSING
    """Of a session."""
    campaign_h100_hours: float | None = None
    """H100-hours of all sessions and calibrations of the campaign together; null is no such limit."""
    weights: dict[Any, float] = field(default_factory=dict)
    """H100-hours that one GPU-hour of each type counts. Hydra and YAML read the type 4090 as a number: it is text."""
    counts: list[str] = MISSING
    """Kinds of jobs that count against the budget; the others are accounted for beside it."""
    notice_at: float = MISSING
    """Share of the budget, or of the session's time, that is used when the agent is told."""

    def __post_init__(self) -> None:
        _require_positive("budget.h100_hours", self.h100_hours)
        if self.campaign_h100_hours is not None:
            _require_positive("budget.campaign_h100_hours", self.campaign_h100_hours)
        unknown = sorted(set(self.counts) - set(KINDS))
        _require(not unknown, "budget.counts", f"of {', '.join(KINDS)}", unknown)
        _require(0 < self.notice_at <= 1, "budget.notice_at", "above 0 and at most 1", self.notice_at)
        self.weights = {str(gpu_type): weight for gpu_type, weight in self.weights.items()}
        for gpu_type, weight in self.weights.items():
            _require_positive(f"budget.weights.{gpu_type}", weight)


@dataclass
class CommandConfig:
    name: str = MISSING


@dataclass
class RunCommand(CommandConfig):
    """Start a session, or go on with one; with -m a sweep of them."""

    name: str = "run"


@dataclass
class StatusCommand(CommandConfig):
    """What the campaign's sessions, or the one that `session` names, are at; it changes nothing."""

    name: str = "status"
    format: str | None = None
    """live (until all is over, or Ctrl-C), plain or json; null is live on a terminal, and plain elsewhere."""

    def __post_init__(self) -> None:
        known = self.format in (None, "live", "plain", "json")
        _require(known, "command.format", "live, plain, json or null", self.format)


@dataclass
class StopCommand(CommandConfig):
    """End the session that `session` names, and settle what it holds; `run` goes on with it."""

    name: str = "stop"
    all: bool = False
    """Every session of the campaign instead, and every calibration."""


@dataclass
class BudgetCommand(CommandConfig):
    """GPU-hours of the campaign by session, kind of job and day, from the scheduler's accounting."""

    name: str = "budget"
    format: str = "table"
    """table, csv or json."""
    guard: str | None = None
    """A limit of the campaign in Slurm itself instead: `show` how to make it, or `check` that it is in force."""
    sessions: int = 1
    """Of the campaign, which that limit is for; not used where budget.campaign_h100_hours is set."""

    def __post_init__(self) -> None:
        _require(self.format in ("table", "csv", "json"), "command.format", "table, csv or json", self.format)
        _require(self.guard in (None, "show", "check"), "command.guard", "show, check or null", self.guard)
        _require_positive("command.sessions", self.sessions)


@dataclass
class ReportCommand(CommandConfig):
    """Sessions side by side, from their records: a page, figures and tables."""

    name: str = "report"
    campaigns: list[str] = field(default_factory=list)
    """Whose sessions; empty is `campaign` alone."""
    sessions: list[str] = field(default_factory=list)
    """Names of those that are shown; empty is all of them."""
    out: str | None = None
    """Folder to write into; null is the campaign's own."""
    rule_set: str = RULE_SET_NAMES[0]
    """Human records that the figures show, and take for 100 %: all records; by people (without an AI system); or
    objective of the start, or objective and warm-up of the start, as the starting record has them."""
    until: str | None = None
    """The last human record that counts, in the place of each session's own task.yardstick_until."""
    published: bool = False
    """Whether results that others published for the same task are drawn beside, marked as such."""

    def __post_init__(self) -> None:
        known = self.rule_set in RULE_SET_NAMES
        _require(known, "command.rule_set", " or ".join(map(repr, RULE_SET_NAMES)), self.rule_set)


@dataclass
class RetimeCommand(CommandConfig):
    """Time a program outside any session: ten runs of the incumbent, or of another beside it."""

    name: str = "retime"
    record: str | None = None
    """Name of a record; where neither is given, the task's starting record."""
    directory: str | None = None
    """Or a folder with run.sh and train_gpt.py."""
    format: str = "table"
    """table or json."""

    def __post_init__(self) -> None:
        _require(self.format in ("table", "json"), "command.format", "table or json", self.format)
        both = self.record is not None and self.directory is not None
        _require(not both, "command.directory", "null where command.record is set", self.directory)


@dataclass
class JudgeCommand(CommandConfig):
    """One opinion on a directory, or the confusion matrix of a judge on labelled cases."""

    name: str = "judge"
    directory: str | None = None
    """Folder with run.sh and train_gpt.py."""
    vouch: str | None = None
    """A person's name and reason to hold that candidate for honest, where the checker cannot tell (docs/judge.md)."""
    cases: str | None = None
    """Or a folder of labelled patches (tests/judge_cases), or of human records."""
    parallel: int = 4
    """Cases that models are asked about at once."""
    format: str = "table"
    """table or json."""

    def __post_init__(self) -> None:
        _require(self.format in ("table", "json"), "command.format", "table or json", self.format)
        _require_positive("command.parallel", self.parallel)
        given = [name for name in ("directory", "cases") if getattr(self, name)]
        _require(len(given) == 1, "command.directory or command.cases", "given, one of them", " and ".join(given))
        _require(not self.vouch or bool(self.directory), "command.vouch", "given with command.directory", self.vouch)


@dataclass
class DataCommand(CommandConfig):
    """Get the training and validation shards that the task trains on, or check those that are there."""

    name: str = "data"
    source: str | None = None
    """URL of a hub, or a folder with the .bin files; null is Hugging Face's, as HF_ENDPOINT and HF_TOKEN say."""
    repo: str = "kjj0/fineweb10B-gpt2"
    """Data set on the hub."""
    revision: str | None = None
    """Branch, tag or commit of it; null is that of the shards that are there, or main."""
    training_shards: int = 9
    """So many of its training shards, beside the validation shard."""
    shard_tokens: int = 100_000_000
    """That each shard of this data set has."""
    folder: str | None = None
    """They are written into fineweb10B/ in it; null is task.data."""
    verify: bool = False
    """Whether shards that are there are read whole and held against their SHA-256, or only by header and size."""

    def __post_init__(self) -> None:
        _require_positive("command.training_shards", self.training_shards)
        _require_positive("command.shard_tokens", self.shard_tokens)


@dataclass
class DoctorCommand(CommandConfig):
    """Check a site, with the very overrides of a session, before any GPU-hour is spent."""

    name: str = "doctor"
    gpu: bool = False
    """Whether its job takes a trial's GPUs, and sees that a container sees them; it takes no GPU otherwise."""
    job: bool = True
    """Whether to queue a job at all."""
    minutes: float = 10
    """That its job may wait for its start."""
    hashes: bool = True
    """Whether to read images and data whole, and compare their hashes."""
    write: str | None = None
    """File to write the site's configuration into, e.g. conf/cluster/ours.yaml."""
    format: str = "table"
    """table or json."""

    def __post_init__(self) -> None:
        _require(self.format in ("table", "json"), "command.format", "table or json", self.format)
        _require_positive("command.minutes", self.minutes)


@dataclass
class BaselinesCommand(CommandConfig):
    """Fetch the human records' code into human_baselines/, by commit, checked by hash."""

    name: str = "baselines"
    source: str = UPSTREAM
    """A git URL, or the path of a clone or mirror of that repository."""
    only: list[str] = field(default_factory=list)
    """Names of the records to fetch; empty is all of them."""
    tables: str | None = None
    """Folder of other tables of records (command=records writes them); null is human_baselines/."""

    def __post_init__(self) -> None:
        _require(bool(self.source), "command.source", "a git URL or the path of a clone", self.source)


@dataclass
class RecordsCommand(CommandConfig):
    """Propose rows of the human tables for upstream's records from a clone of it; what wants a person is asked."""

    name: str = "records"
    source: str | None = None
    """Path of a whole clone or mirror of upstream."""
    tables: str | None = None
    """Folder of the tables to compare with, and of answers.yaml; null is human_baselines/."""
    into: str | None = None
    """Folder to write the proposed tables and the reasons into; null writes nothing."""

    def __post_init__(self) -> None:
        _require(bool(self.source), "command.source", "the path of a clone of upstream", self.source)


@dataclass
class ConfirmCommand(CommandConfig):
    """Time the best accepted candidate of a session that is over afresh, where that was left out or not to be had."""

    name: str = "confirm"


@dataclass
class BundleCommand(CommandConfig):
    """Export the verdicts of a session, each as one archive that anybody can verify offline."""

    name: str = "bundle"
    submission: str | None = None
    """Number of one submission; null is all that have a verdict."""
    out: str | None = None
    """Folder for the archives; null is bundles/ in the session's own."""

    def __post_init__(self) -> None:
        is_number = self.submission is None or (self.submission.isascii() and self.submission.isdigit())
        _require(is_number, "command.submission", "a number or null", self.submission)


@dataclass
class ReverifyCommand(CommandConfig):
    """Compute a verdict again from its archive alone."""

    name: str = "reverify"
    bundle: str | None = None
    """Path of the archive."""
    digest: str | None = None
    """Digest of its stamp, known from elsewhere; null believes the archive's own."""
    format: str = "table"
    """Of what is found: table or json."""

    def __post_init__(self) -> None:
        _require(bool(self.bundle), "command.bundle", "the path of an archive", self.bundle)
        whole = self.digest is None or re.fullmatch("[0-9a-fA-F]{64}", self.digest) is not None
        _require(whole, "command.digest", "64 hexadecimal digits or null", self.digest)
        _require(self.format in ("table", "json"), "command.format", "table or json", self.format)


COMMANDS = (
    *(RunCommand, StatusCommand, StopCommand, BudgetCommand, ReportCommand, RetimeCommand, JudgeCommand),
    *(ConfirmCommand, BundleCommand, ReverifyCommand),
    *(BaselinesCommand, RecordsCommand, DataCommand, DoctorCommand),
)


@dataclass
class Config:
    campaign: str = MISSING
    session: str = MISSING
    """Name of the session; naming an earlier one goes on with it."""
    seed: int = MISSING
    """Tells sessions of a sweep apart."""
    runs: str = MISSING
    """Folder of all campaigns; on Slurm on a file system that all nodes share."""
    command: CommandConfig = MISSING
    agent: AgentConfig = MISSING
    task: TaskConfig = MISSING
    cluster: ClusterConfig = MISSING
    container: ContainerConfig = MISSING
    judge: JudgeConfig = MISSING
    retime: RetimeConfig = MISSING
    budget: BudgetConfig = MISSING

    def __post_init__(self) -> None:
        for name in ("campaign", "session"):
            value = getattr(self, name)
            plain = value.replace("-", "").replace("_", "").replace(".", "")
            good = plain.isascii() and plain.isalnum() and value[0] != "." and len(value) <= _LONGEST_NAME
            taken = (CALIBRATIONS, DECOYS, OPINIONS, REPORT)
            _require(value not in taken, name, "another name: the campaign's own things lie there", value)
            _require(good, name, f"at most {_LONGEST_NAME} letters, digits, '.', '_' and '-'", value)
        weights, gpu_type = self.budget.weights, self.cluster.gpu_type
        wanted = f"a table with {gpu_type} in it ('+budget.weights={{{gpu_type}: H100-HOURS}}')"
        _require(not gpu_type or gpu_type in weights, "budget.weights", wanted, weights)
        contained = self.agent.api.maker is None or self.container.kind == "apptainer"
        _require(contained, "container", f"apptainer with agent={self.agent.kind}", self.container.kind)
        if self.agent.experiments:
            self.cluster = replace(self.cluster, session_gpus=0)
        if self.retime.is_nested:
            _require(self.cluster.kind == "slurm", "retime.where", "fresh with cluster.kind=local", self.retime.where)
            least, got = self.cluster.trial_gpus, self.cluster.session_gpus
            _require(got >= least, "cluster.session_gpus", f"cluster.trial_gpus ({least}) or more", got)

    @property
    def session_dir(self) -> Path:
        return Path(self.runs) / self.campaign / self.session

    @property
    def h100_weight(self) -> float:
        """H100-hours that one GPU-hour on this cluster counts."""
        return self.budget.weights[self.cluster.gpu_type]


def refuse_unknown(config: object) -> None:
    """Refuse what Hydra's `+field=value` added past the schema.

    Raises:
        UsageError: naming the field and its section.
    """
    assert is_dataclass(config)
    section = type(config).__name__.removesuffix("Config").removesuffix("Command").lower() or "config"
    known = {each.name for each in fields(config)}
    for name, value in vars(config).items():
        _require(name in known, section, f"without the unknown key {name!r}", value)
        if is_dataclass(value):
            refuse_unknown(value)
