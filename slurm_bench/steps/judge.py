"""One opinion on a seal: the static checker, and then, on what it let pass, one or several models.

A model that gives no usable answer is asked once more; after that it has no opinion, which is never a rejection.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from slurm_bench.effects import models, seals, static_checker, store
from slurm_bench.effects.models import Model, ModelError, Patience, Question
from slurm_bench.pure import judge_text, panel, record_facts
from slurm_bench.pure.judge_text import Answer, Case, Unusable
from slurm_bench.steps import site
from slurm_bench.words.config import Config, JudgeConfig, ModelConfig, TaskConfig
from slurm_bench.words.opinions import PERSON, Message, Opinion, Usage
from slurm_bench.words.paths import OpinionPaths
from slurm_bench.words.records import Seal

log = logging.getLogger(__name__)
T = TypeVar("T")

_MOST_ASKED = 2
_WATCH_S = 1.0
_LONGEST_WAIT_S = 60.0


class Judge:
    """
    Args:
        members: the models of the configuration, in its order; none for the static checker alone.
        opinions: where decided opinions of models are kept, so that no candidate is asked about until luck comes.
        watch: called every second while models think.
    """

    def __init__(
        self,
        config: JudgeConfig,
        members: Sequence[Model],
        opinions: OpinionPaths,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._members = members
        self._opinions = opinions
        self._watch = watch

    def opinion(self, case: Case, notes: Sequence[str] = ()) -> Opinion:
        """What is to be said of a candidate beside its baseline; undecided where too few models answered.

        Args:
            notes: suspicions from elsewhere, for the models to weigh.
        """
        return asyncio.run(self._watched(self.ask(case, notes)))

    async def ask(self, case: Case, notes: Sequence[str] = ()) -> Opinion:
        """The same for callers that ask about several candidates at once, and watch nothing."""
        static = await asyncio.to_thread(static_opinion, case, notes)
        told = (*notes, *static.suspicions)
        members = () if static.rejects else zip(self._config.models.values(), self._members, strict=True)
        answers = await asyncio.gather(*(self._ask_safely(*member, case, told) for member in members))
        persons = self._vouched(case, told) if notes or static.is_undecided else []
        return panel.combined(static, [*answers, *persons], self._config.quorum)

    def _vouched(self, case: Case, told: tuple[str, ...]) -> list[Opinion]:
        """What a person has written down about this candidate; it counts where the static checker cannot settle it."""
        said = store.read_if_there(self._opinions.vouched(case.seal), Opinion)
        counts = said is not None and (said.seal, said.baseline) == (case.seal, case.baseline_seal)
        return [said.model_copy(update={"notes": told})] if said and counts else []

    def vouch(self, case: Case, reason: str) -> Opinion:
        """Write down that a person holds a candidate for honest, if the static checker proves nothing.

        Returns:
            The person's opinion, or the static checker's that rejects.
        """
        static = static_opinion(case)
        if static.rejects:
            return static
        said = _blank(PERSON, case, ()).model_copy(update={"summary": reason})
        store.write(self._opinions.vouched(case.seal), said)
        return said

    async def _ask_safely(self, config: ModelConfig, model: Model, case: Case, notes: Sequence[str]) -> Opinion:
        """A model's opinion; a defect of ours with one model must not take the others' opinions along."""
        try:
            return await self._kept_or_asked(config, model, case, notes)
        except Exception as error:
            log.exception("a defect with %s", model.name)
            return _undecided(_blank(model.name, case, notes), f"a defect ({type(error).__name__})")

    async def _watched(self, work: Awaitable[T]) -> T:
        task = asyncio.ensure_future(work)
        while not task.done():
            await asyncio.wait({task}, timeout=_WATCH_S)
            await asyncio.to_thread(self._watch)
        return task.result()

    async def _kept_or_asked(self, config: ModelConfig, model: Model, case: Case, notes: Sequence[str]) -> Opinion:
        """A model's opinion: the one it gave before to the same question, or a new one."""
        question = judge_text.question(case, notes)
        asked = [_answers_differ_by(config), judge_text.system(case.facts), question]
        digest = hashlib.sha256("\0".join(asked).encode()).hexdigest()
        kept = self._opinions.opinion(case.seal, digest)
        earlier = store.read_if_there(kept, Opinion)
        if earlier is not None:
            return earlier
        opinion = await self._ask(model, case, question, notes)
        if not opinion.is_undecided:
            store.write(kept, opinion)
        return opinion

    async def _ask(self, model: Model, case: Case, question: str, notes: Sequence[str]) -> Opinion:
        blank = _blank(model.name, case, notes).model_copy(update={"system": judge_text.system(case.facts)})
        if len(question) > self._config.max_prompt_characters:
            return _undecided(blank, f"the question has {len(question)} characters: too long for a model")
        conversation = _Conversation(model, case, blank, question)
        try:
            async with asyncio.timeout(self._config.minutes * 60):
                return await conversation.hold()
        except TimeoutError:
            problem = f"no answer within {self._config.minutes:g} minutes"
        except ModelError as error:
            conversation.retries += error.retries
            problem = str(error).removeprefix(f"{model.name}: ")
        log.warning("%s gave no opinion: %s", model.name, problem)
        return _undecided(conversation.record(), problem)


class _Conversation:
    """What is said with one model about one candidate."""

    def __init__(self, model: Model, case: Case, blank: Opinion, question: str) -> None:
        self._model, self._case, self._blank = model, case, blank
        self._messages = [Message(role="user", text=question)]
        self._usage = Usage()
        self.retries: tuple[str, ...] = ()

    async def hold(self) -> Opinion:
        problem = ""
        for turn in range(_MOST_ASKED):
            if turn:
                self._messages.append(Message(role="user", text=judge_text.ask_again(problem)))
            try:
                return self._opinion_of(await self._answer())
            except Unusable as error:
                problem = str(error)
        return _undecided(self.record(), f"no usable answer, asked {_MOST_ASKED} times: {problem}")

    async def _answer(self) -> Answer:
        said = [message for message in self._messages if message.text]  # a refusal may say nothing, and APIs want text
        reply = await self._model.ask(Question(self._blank.system, said, Answer))
        text = reply.text.encode("utf-8", "replace").decode()  # a lone surrogate could not be written down
        self._messages.append(Message(role="assistant", text=text))
        self._usage += reply.usage
        self.retries += reply.retries
        if not reply.complete:
            raise Unusable(reply.problem)
        return judge_text.read_answer(text, self._case)

    def _opinion_of(self, answer: Answer) -> Opinion:
        return self.record().model_copy(
            update={
                "cheating": answer.cheating,
                "confidence": answer.confidence,
                "findings": judge_text.findings(answer, self._case) if answer.cheating else (),
                "summary": answer.summary,
            }
        )

    def record(self) -> Opinion:
        """All that was said so far."""
        spoken = {"messages": tuple(self._messages), "usage": self._usage, "retries": self.retries}
        return self._blank.model_copy(update=spoken)


def static_opinion(case: Case, notes: Sequence[str] = ()) -> Opinion:
    """What the static checker says of a candidate beside its baseline."""
    review = static_checker.check(case.baseline, case.candidate)
    said = {each: getattr(review, each) for each in ("cheating", "findings", "suspicions", "unsettled", "summary")}
    return _blank("static", case, notes).model_copy(update=said)


def case_of(seal_store: Path, baseline: Seal, candidate: Seal, task: TaskConfig) -> Case:
    record = seals.load(seal_store, baseline)
    facts = record_facts.of(record, task.facts)
    return Case(record, seals.load(seal_store, candidate), baseline.sha256, candidate.sha256, facts)


def of(config: Config, opinions: OpinionPaths, watch: Callable[[], None] = lambda: None) -> Judge:
    """The judge of this configuration.

    Raises:
        UsageError: a model's key is not there.
    """
    patience = Patience(config.judge.tries, config.judge.stall_seconds, _LONGEST_WAIT_S)
    members = [models.of(each, site.key_of(each), patience) for each in config.judge.models.values()]
    return Judge(config.judge, members, opinions, watch)


def check(config: Config) -> None:
    """See that the judge will have its keys where it runs.

    Raises:
        UsageError: naming the key.
    """
    for name, model in config.judge.models.items():
        site.check_key(config, f"judge.models.{name}", model)


def _answers_differ_by(model: ModelConfig) -> str:
    """What of a model's configuration another answer could come from: all but where its key is."""
    return json.dumps({name: value for name, value in asdict(model).items() if not name.startswith("key_")})


def _blank(judge: str, case: Case, notes: Sequence[str]) -> Opinion:
    return Opinion(
        judge=judge,
        seal=case.seal,
        baseline=case.baseline_seal,
        rules=judge_text.rules_digest(case.facts),
        notes=tuple(notes),
        asked_at=datetime.now(UTC),
    )


def _undecided(opinion: Opinion, problem: str) -> Opinion:
    return opinion.model_copy(update={"cheating": None, "summary": problem})
