"""Models of Anthropic, through the Messages API."""

from typing import Literal, cast

import anthropic
from anthropic.types import AssistantMessageParam, MessageParam, OutputConfigParam, UserMessageParam
from anthropic.types import Message as Answer

from slurm_bench.effects import models
from slurm_bench.effects.models import Failure, PatientModel, Question, Reply
from slurm_bench.words.opinions import Message, Usage

_URL = "https://api.anthropic.com"
"""Given to the SDK, which would else look for one in the environment."""
_LASTING = {"invalid_request_error": 400, "authentication_error": 401, "permission_error": 403, "not_found_error": 404}
"""Errors that may come inside a stream and will not pass, as the statuses that they have elsewhere."""
_CUT_OFF = {
    "max_tokens": "cut off at max_output_tokens",
    "model_context_window_exceeded": "cut off at the end of the model's context window",
}


class AnthropicModel(PatientModel):
    async def _put(self, question: Question) -> Reply | Failure:
        config = self._config
        # A client for each try: it belongs to one event loop, and a new connection leads to another server.
        client = anthropic.AsyncAnthropic(
            api_key=self._key.reveal(),
            base_url=config.base_url or _URL,
            timeout=self._patience.stall_s,
            max_retries=0,
        )
        async with (
            client,
            client.messages.stream(
                model=config.model,
                max_tokens=config.max_output_tokens,
                system=question.system,
                messages=[_message(each) for each in question.messages],
                output_config=_output(question, config.effort),
                # Effort is one of reasoning, which these models do only when told to.
                thinking={"type": "adaptive"} if config.effort else anthropic.omit,
            ) as stream,
        ):
            return _reply(await stream.get_final_message())

    def _explain(self, error: Exception) -> Failure:
        if not isinstance(error, anthropic.APIStatusError):
            return models.of_connection(error)
        text = error.api_message or error.message
        if not error.response.is_success:
            return models.of_status(error.status_code, text, error.response.headers)
        if error.type in _LASTING:
            return models.of_status(_LASTING[error.type], text, {})
        return Failure(f"{error.type or 'error'} in the stream: {text}", again=True)


def _message(message: Message) -> MessageParam:
    if message.role == "user":
        return UserMessageParam(role="user", content=message.text)
    return AssistantMessageParam(role="assistant", content=message.text)


def _output(question: Question, effort: str | None) -> OutputConfigParam:
    output: OutputConfigParam = {
        "format": {"type": "json_schema", "schema": anthropic.transform_schema(question.answer)}
    }
    if effort:
        # The service knows better than this SDK which efforts there are.
        output["effort"] = cast(Literal["high"], effort)
    return output


def _reply(answer: Answer) -> Reply | Failure:
    if answer.stop_reason is None:
        return models.BROKEN_OFF
    text = "".join(block.text for block in answer.content if block.type == "text")
    problem = _problem(answer)
    return Reply(text, complete=not problem, problem=problem, usage=_usage(answer))


def _problem(answer: Answer) -> str:
    reason = answer.stop_reason or ""
    if reason in ("end_turn", "stop_sequence"):
        return ""
    if reason == "refusal":
        details = answer.stop_details
        why = (details.explanation or details.category) if details else None
        return f"refused: {why or 'no reason given'}"
    return _CUT_OFF.get(reason, f"stopped early: {reason}")


def _usage(answer: Answer) -> Usage:
    usage = answer.usage
    cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
    return Usage(input_tokens=usage.input_tokens + cached, output_tokens=usage.output_tokens)
