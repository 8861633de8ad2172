"""Spans and metrics of answers for OpenTelemetry, where the application has set it up.

Names are those of the GenAI semantic conventions, status Development (open-telemetry/
semantic-conventions-genai, docs/gen-ai/gen-ai-spans.md and gen-ai-metrics.md).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from inspect import signature
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import metrics, trace
from opentelemetry.metrics import Meter

from ..errors import APIError
from ..providers.endpoint import Endpoint
from ..request import ChatRequest, json_schema_of
from ..types import JSON, ChatCompletion, Chunks, Usage
from ..version import __version__
from .attempt import Attempt
from .fallback import Fallback
from .route import Candidate

Attributes = dict[str, Any]

_PROVIDERS = {"azure": "azure.ai.openai", "gemini": "gcp.gemini", "mistral": "mistral_ai"}
"""The conventions' names of providers that have another one here."""

_NOT_YET = "llm_g4f"
"""The provider of an answer before one gives it."""

_REQUEST = {
    "seed": "seed",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "n": "choice.count",
}
"""Parameters that are numbers, each with its attribute below gen_ai.request."""

_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_ON_SPANS = ("true", "span_only", "span_and_event")
"""Values of it that ask for the content on spans. Source: opentelemetry-util-genai; "true" is that of
its forerunners."""


_IS_KNOWN = "explicit_bucket_boundaries_advisory" in signature(Meter.create_histogram).parameters
"""Whether the API is 1.30 or newer: the application may have brought an older one."""


def traced(kind: type[Fallback]) -> type[Fallback]:
    """`kind` with spans; `kind` itself where neither traces nor metrics are collected."""
    providers = trace.get_tracer_provider(), metrics.get_meter_provider()
    if not _IS_KNOWN or not any(map(_collects, providers)):
        return kind
    if kind not in _classes:
        _classes[kind] = type(f"Traced{kind.__name__}", (Traced, kind), {})
    return _classes[kind]


_classes: dict[type[Fallback], type[Fallback]] = {}


def _collects(provider: object) -> bool:
    """Whether the application has set this provider: those of the API itself collect nothing."""
    return not type(provider).__module__.startswith(
        ("opentelemetry.trace", "opentelemetry.metrics")
    )


class Traced(Fallback):
    """An answer with a span, and one below it for each attempt."""

    _span: trace.Span | None = None
    _attempt_span: trace.Span | None = None
    _error: BaseException | None = None

    async def open(self) -> Chunks:
        request = self._request
        self._opened_at = time.perf_counter()
        self._span = _tracer().start_span(
            f"chat {request.model}",
            kind=trace.SpanKind.CLIENT,
            attributes={**_common(_NOT_YET, request.model), **_of_request(request)},
        )
        try:
            # The attempts are below it, and what the application's own instrumentation sees of HTTP.
            with trace.use_span(self._span, record_exception=False, set_status_on_exception=False):
                return await super().open()
        except BaseException as error:
            self._error = error
            self._finish()
            raise

    async def next(self) -> Chunks:
        chunks = await super().next()
        if not chunks:
            self._finish()
        return chunks

    async def _begin(self) -> bool:
        begun = await super()._begin()
        if begun and self._attempt is not None:
            self._error = None
            candidate = self._attempt.candidate
            self._attempt_span = _tracer().start_span(
                f"chat {candidate.served.model}",
                kind=trace.SpanKind.CLIENT,
                attributes={
                    **_common(candidate.provider.name, candidate.served.model),
                    **_address(candidate),
                },
            )
        return begun

    def _record(self, attempt: Attempt, error: APIError | None) -> None:
        super()._record(attempt, error)
        self._error = error
        self._end_attempt()

    async def aclose(self) -> None:
        await super().aclose()
        self._finish()

    def _end_attempt(self) -> None:
        span, self._attempt_span = self._attempt_span, None
        if span is not None:
            _end(span, {}, self._error)

    def _finish(self) -> None:
        """End the spans, once, and record the metrics."""
        span, self._span = self._span, None
        if span is None:
            return
        self._end_attempt()
        receipt, request = self.receipt, self._request
        provider = receipt.provider or (receipt.attempts[-1].provider if receipt.attempts else "")
        common = _common(provider or _NOT_YET, request.model)
        usage = None
        attributes = {**common, "llm_g4f.cached": receipt.cached is not None}
        if receipt.provider is not None:
            completion = self.completion()
            usage = completion.usage
            common["gen_ai.response.model"] = receipt.model
            attributes |= {**common, "llm_g4f.exact": receipt.exact}
            attributes |= {**_of_answer(completion), **_of_usage(usage)}
            if request.stream and receipt.ttft is not None:
                attributes["gen_ai.response.time_to_first_chunk"] = receipt.ttft
            if _captures_content():
                attributes["gen_ai.output.messages"] = _output_messages(completion)
        _end(span, attributes, self._error)
        _measure(time.perf_counter() - self._opened_at, usage, common, self._error)


def _tracer() -> trace.Tracer:
    return trace.get_tracer("llm_g4f", __version__)


def _common(provider: str, model: str) -> Attributes:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _PROVIDERS.get(provider, provider),
        "gen_ai.request.model": model,
    }


def _address(candidate: Candidate) -> Attributes:
    if not isinstance(candidate.provider, Endpoint):
        return {}
    url = urlsplit(candidate.provider.base_url)
    port = url.port or (443 if url.scheme == "https" else 80)
    return {"server.address": url.hostname or "", "server.port": port}


def _of_request(request: ChatRequest) -> Attributes:
    params = request.params
    attributes: Attributes = {
        f"gen_ai.request.{attribute}": params[name]
        for name, attribute in _REQUEST.items()
        if isinstance(params.get(name), (int, float))
    }
    if stop := params.get("stop"):
        attributes["gen_ai.request.stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if request.stream:
        attributes["gen_ai.request.stream"] = True
    if request.wants_json_object or json_schema_of(params) is not None:
        attributes["gen_ai.output.type"] = "json"
    if _captures_content():
        attributes["gen_ai.input.messages"] = _input_messages(request)
    return attributes


def _of_answer(completion: ChatCompletion) -> Attributes:
    reasons = [choice.finish_reason for choice in completion.choices if choice.finish_reason]
    return {
        "gen_ai.response.id": completion.id,
        **({"gen_ai.response.finish_reasons": reasons} if reasons else {}),
    }


def _of_usage(usage: Usage | None) -> Attributes:
    """What the provider counted. The conventions want no count in place of a missing one."""
    if usage is None:
        return {}
    counts = {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "cache_read.input_tokens": (usage.prompt_tokens_details or {}).get("cached_tokens"),
        "reasoning.output_tokens": (usage.completion_tokens_details or {}).get("reasoning_tokens"),
    }
    return {f"gen_ai.usage.{name}": count for name, count in counts.items() if count is not None}


def _end(span: trace.Span, attributes: Attributes, error: BaseException | None) -> None:
    """End a span. An error's class and its kind in few words: its message may quote the prompt."""
    span.set_attributes(attributes)
    if error is not None:
        span.set_attribute("error.type", type(error).__name__)
        words = error.summary if isinstance(error, APIError) else None
        span.set_status(trace.StatusCode.ERROR, words)
    span.end()


def _measure(
    seconds: float, usage: Usage | None, common: Attributes, error: BaseException | None
) -> None:
    duration, tokens = _histograms(metrics.get_meter_provider())
    ending = {} if error is None else {"error.type": type(error).__name__}
    duration.record(seconds, {**common, **ending})
    if usage is not None:
        tokens.record(usage.prompt_tokens, {**common, "gen_ai.token.type": "input"})
        tokens.record(usage.completion_tokens, {**common, "gen_ai.token.type": "output"})


@lru_cache(maxsize=4)
def _histograms(provider: metrics.MeterProvider) -> tuple[metrics.Histogram, metrics.Histogram]:
    """Of durations and of tokens, with the boundaries that the conventions ask for."""
    meter = provider.get_meter("llm_g4f", __version__)
    return meter.create_histogram(
        "gen_ai.client.operation.duration",
        unit="s",
        description="GenAI operation duration.",
        explicit_bucket_boundaries_advisory=[0.01 * 2**power for power in range(14)],
    ), meter.create_histogram(
        "gen_ai.client.token.usage",
        unit="{token}",
        description="Number of input and output tokens used.",
        explicit_bucket_boundaries_advisory=[4**power for power in range(14)],
    )


def _captures_content() -> bool:
    return os.environ.get(_CAPTURE, "").lower() in _ON_SPANS


def _input_messages(request: ChatRequest) -> str:
    return _as_json(
        {"role": message.get("role", "user"), "parts": list(_parts(message))}
        for message in request.messages
    )


def _output_messages(completion: ChatCompletion) -> str:
    return _as_json(
        {
            "role": "assistant",
            "parts": list(_parts(choice.message.to_dict())),
            "finish_reason": choice.finish_reason or "",
        }
        for choice in completion.choices
    )


def _as_json(messages: Iterator[JSON]) -> str:
    return json.dumps(list(messages), ensure_ascii=False, default=str)


def _parts(message: Mapping[str, Any]) -> Iterator[JSON]:
    """The parts of a message as gen-ai-input-messages.json has them; pictures, speech and files only by
    their kind, for their size."""
    if reasoning := message.get("reasoning"):
        yield {"type": "reasoning", "content": reasoning}
    content = message.get("content") or message.get("refusal")
    if message.get("role") == "tool":
        id = message.get("tool_call_id")
        yield {"type": "tool_call_response", "id": id, "response": content}
    elif isinstance(content, str):
        yield {"type": "text", "content": content}
    else:
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict):
                text = {"content": part["text"]} if "text" in part else {}
                yield {"type": part.get("type", "text"), **text}
    for call in message.get("tool_calls") or ():
        function = call.get("function", {})
        name, arguments = function.get("name"), function.get("arguments")
        yield {"type": "tool_call", "id": call.get("id"), "name": name, "arguments": arguments}
