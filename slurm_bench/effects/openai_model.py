"""Models of OpenAI, from OpenAI itself or deployed on Azure, through the Responses API."""

from typing import cast

import openai
from openai.types import ReasoningEffort
from openai.types.responses import (
    EasyInputMessageParam,
    Response,
    ResponseCompletedEvent,
    ResponseFailedEvent,
    ResponseFormatTextJSONSchemaConfigParam,
    ResponseIncompleteEvent,
)

from slurm_bench.effects import models
from slurm_bench.effects.models import Failure, PatientModel, Question, Reply
from slurm_bench.words.opinions import Usage

_URL = "https://api.openai.com/v1"
"""Given to the SDK, which would else look for one in the environment."""
_API_VERSION = "2025-04-01-preview"
_REFUSALS = frozenset({"bio_policy", "content_filter", "invalid_prompt", "misalignment_policy_violation"})
"""Errors by which a filter before the model refuses a prompt: a candidate's text can call them up, at every try."""
_LASTING = {"invalid_request_error": 400, "data_residency_mismatch": 400, "invalid_api_key": 401}
"""Errors that may come inside a stream and will not pass, as the statuses that they have elsewhere."""


class OpenAIModel(PatientModel):
    def _client(self) -> openai.AsyncOpenAI:
        # A client for each try: it belongs to one event loop, and a new connection leads to another server.
        config = self._config
        if config.maker == "azure":
            return openai.AsyncAzureOpenAI(
                api_key=self._key.reveal(),
                azure_endpoint=config.base_url or "",
                api_version=config.api_version or _API_VERSION,
                timeout=self._patience.stall_s,
                max_retries=0,
            )
        return openai.AsyncOpenAI(
            api_key=self._key.reveal(),
            base_url=config.base_url or _URL,
            timeout=self._patience.stall_s,
            max_retries=0,
        )

    async def _put(self, question: Question) -> Reply | Failure:
        config = self._config
        last: Response | None = None
        async with (
            self._client() as client,
            client.responses.stream(
                model=config.model,
                max_output_tokens=config.max_output_tokens,
                instructions=question.system,
                input=[EasyInputMessageParam(role=each.role, content=each.text) for each in question.messages],
                text={"format": _format(question)},
                reasoning={"effort": cast(ReasoningEffort, config.effort)} if config.effort else openai.omit,
                store=False,
            ) as stream,
        ):
            async for event in stream:
                if event.type == "error":
                    return _of_code(event.code, event.message)
                if isinstance(event, ResponseCompletedEvent | ResponseIncompleteEvent | ResponseFailedEvent):
                    last = event.response
        return _reply(last) if last else models.BROKEN_OFF

    def _explain(self, error: Exception) -> Reply | Failure:
        if not isinstance(error, openai.APIError) or isinstance(error, openai.APIConnectionError):
            return models.of_connection(error)
        if not isinstance(error, openai.APIStatusError) or error.code in _REFUSALS:
            return _of_code(error.code or error.type, error.message)
        return models.of_status(error.status_code, error.message, error.response.headers)


def _format(question: Question) -> ResponseFormatTextJSONSchemaConfigParam:
    # The SDK's own text_format would parse the reply, and raise where it cannot. This is the public way to its schema.
    function = openai.pydantic_function_tool(question.answer)["function"]
    return {
        "type": "json_schema",
        "name": function["name"],
        "schema": function["parameters"],
        "strict": True,
    }


def _reply(response: Response) -> Reply | Failure:
    if response.status == "failed":
        error = response.error
        return _of_code(error.code, error.message) if error else _of_code(None, "the response failed")
    problem = _problem(response)
    usage = response.usage
    return Reply(
        text=response.output_text,
        complete=not problem,
        problem=problem,
        usage=Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens) if usage else Usage(),
    )


def _problem(response: Response) -> str:
    if response.status == "incomplete":
        reason = response.incomplete_details and response.incomplete_details.reason
        if reason == "content_filter":
            return "refused: content_filter"
        return "cut off at max_output_tokens" if reason == "max_output_tokens" else f"stopped early: {reason}"
    messages = [item for item in response.output if item.type == "message"]
    refusals = [part.refusal for message in messages for part in message.content if part.type == "refusal"]
    return f"refused: {' '.join(refusals) or 'no reason given'}" if refusals else ""


def _of_code(code: str | None, text: str) -> Reply | Failure:
    """What an error with this code means, wherever it comes."""
    if code in _REFUSALS:
        return Reply(text="", complete=False, problem=f"refused: {code}: {text}")
    if code in _LASTING:
        return models.of_status(_LASTING[code], text, {})
    return Failure(f"{code or 'error'} in the stream: {text}", again=True)
