"""Spans and metrics of answers, as OpenTelemetry's SDK collects and sends them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_g4f import config
from llm_g4f.client import AsyncClient, Client
from llm_g4f.errors import G4FError, NoProviderError
from llm_g4f.request import ChatRequest
from llm_g4f.routing.answer import answer_to
from llm_g4f.routing.fallback import Fallback
from llm_g4f.routing.registry import Registry
from tests.support.prompts import Ask
from tests.support.server import (
    CLOSE,
    HANG,
    SSE_HEAD,
    Server,
    call,
    calls,
    chunk,
    completion,
    event,
    events,
    framed,
    http,
    stream,
    whole,
)

Endpoints = Callable[..., Path]
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 2,
    "total_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
BUSY = http(429, {"error": {"message": "no room for hi"}}, [("Retry-After", "7")])


class Telemetry:
    """What the SDK has collected in memory."""

    def __init__(self) -> None:
        # Only here: what is loaded counts.
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.traces = TracerProvider()
        self.traces.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.metrics = MeterProvider([self._reader])

    def spans(self) -> list[Any]:
        """The spans that have ended: the attempts before their answer."""
        return list(self._exporter.get_finished_spans())

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """The attributes and the values of a metric."""
        data = self._reader.get_metrics_data()
        return [
            (dict(point.attributes or {}), point)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture(scope="module")
def loaded() -> Iterator[None]:
    """OpenTelemetry is loaded, and for other tests in this process it is not."""
    import opentelemetry.sdk.metrics
    import opentelemetry.trace  # noqa: F401

    yield
    del sys.modules["opentelemetry.trace"]


@pytest.fixture
def telemetry(loaded: None, monkeypatch: pytest.MonkeyPatch) -> Telemetry:
    """The providers that an application has set, for one test."""
    from opentelemetry import metrics, trace

    telemetry = Telemetry()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: telemetry.traces)
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: telemetry.metrics)
    monkeypatch.setattr(trace, "get_tracer", telemetry.traces.get_tracer)
    return telemetry


def kind(span: Any) -> str:
    name: str = span.kind.name
    return name


@pytest.mark.parametrize("streaming", [False, True])
def test_an_answer_is_a_span_with_one_for_its_attempt(
    streaming: bool, endpoints: Endpoints, telemetry: Telemetry
) -> None:
    async def ask() -> None:
        answer: Any = await AsyncClient().chat.completions.create(
            *("hi", "gpt-4o"),
            stream=streaming,
            temperature=0.5,
            max_completion_tokens=9,
            seed=3,
            stop="x",
            response_format={"type": "json_object"},
        )
        if streaming:
            [_ async for _ in answer]

    parts = (chunk("{}"), chunk(finish="stop"), chunk(usage=USAGE), "[DONE]")
    answered = http(200, {**completion("{}"), "usage": USAGE})
    with Server(events(*parts) if streaming else answered) as box:
        endpoints(box=box)
        asyncio.run(ask())
    attempt, span = telemetry.spans()
    assert (span.name, kind(span), span.parent) == ("chat gpt-4o", "CLIENT", None)
    assert span.instrumentation_scope.name == "llm_g4f"
    attributes = dict(span.attributes)
    if streaming:
        assert 0 < attributes.pop("gen_ai.response.time_to_first_chunk") < 60
        assert attributes.pop("gen_ai.request.stream") is True
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "box",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.seed": 3,
        "gen_ai.request.stop_sequences": ("x",),
        "gen_ai.output.type": "json",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "gpt-4o-2024-11-20",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 1,
        "llm_g4f.cached": False,
        "llm_g4f.exact": True,
    }
    assert attempt.parent == span.context
    assert (attempt.name, kind(attempt)) == ("chat gpt-4o", "CLIENT")
    assert dict(attempt.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "box",
        "gen_ai.request.model": "gpt-4o",
        "server.address": "127.0.0.1",
        "server.port": box.port,
    }
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "box",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-2024-11-20",
    }
    ((found, point),) = telemetry.points("gen_ai.client.operation.duration")
    assert (found, point.count) == (common, 1)
    assert 0 < point.sum < 60
    assert point.explicit_bounds[0] == 0.01
    assert point.explicit_bounds[-1] == pytest.approx(81.92)
    tokens = telemetry.points("gen_ai.client.token.usage")
    assert [(found, point.sum) for found, point in tokens] == [
        ({**common, "gen_ai.token.type": "input"}, 7),
        ({**common, "gen_ai.token.type": "output"}, 2),
    ]
    assert tokens[0][1].explicit_bounds[-1] == 67_108_864


def test_a_failed_attempt_is_a_span_with_its_error(
    endpoints: Endpoints, telemetry: Telemetry
) -> None:
    with Server(BUSY) as a, Server(whole()) as b:
        endpoints(a=a, b=b)
        # The synchronous client works in another thread, below the application's own span.
        with telemetry.traces.get_tracer("app").start_as_current_span("page") as page:
            Client("a,b").chat.completions.create("hi")
    failed, good, span, _ = telemetry.spans()
    assert failed.parent == good.parent == span.context
    assert span.parent.span_id == page.get_span_context().span_id
    assert [one.attributes["gen_ai.provider.name"] for one in (failed, good, span)] == [
        "a",
        "b",
        "b",
    ]
    assert [one.attributes.get("error.type") for one in (failed, good, span)] == [
        *("RateLimitError", None, None)
    ]
    assert (failed.status.status_code.name, failed.status.description) == ("ERROR", "rate limit")
    assert span.status.is_ok


@pytest.mark.parametrize("streaming", [False, True])
def test_a_request_without_an_answer_is_a_span_with_its_error(
    streaming: bool, endpoints: Endpoints, telemetry: Telemetry, user_path: Path
) -> None:
    with Server(BUSY) as a:
        endpoints(a=a)
        with pytest.raises(G4FError):
            Client("a").chat.completions.create("hi", stream=streaming)
        with pytest.raises(NoProviderError):
            Client("a").chat.completions.create("hi", provider="openai", stream=streaming)
    *_, span, unknown = telemetry.spans()
    assert span.attributes["error.type"] == "RateLimitError"
    assert span.attributes["gen_ai.provider.name"] == "a"
    assert (span.status.status_code.name, span.status.description) == ("ERROR", "rate limit")
    assert unknown.attributes["error.type"] == "NoProviderError"
    # What a server says may quote the prompt.
    assert "no room" not in "".join(one.to_json() for one in telemetry.spans())
    errors = [
        found["error.type"] for found, _ in telemetry.points("gen_ai.client.operation.duration")
    ]
    assert sorted(errors) == ["NoProviderError", "RateLimitError"]
    assert telemetry.points("gen_ai.client.token.usage") == []


def test_a_stream_that_breaks_off_is_a_span_with_its_error(
    endpoints: Endpoints, telemetry: Telemetry
) -> None:
    with Server([SSE_HEAD, framed(event(chunk("Hel"))), CLOSE]) as a:
        endpoints(a=a)
        with pytest.raises(G4FError):
            list(Client().chat.completions.create("hi", stream=True))
    attempt, span = telemetry.spans()
    assert attempt.attributes["error.type"] == span.attributes["error.type"]
    assert span.attributes["error.type"].endswith("StreamError")


def test_a_stream_that_is_left_is_a_span(endpoints: Endpoints, telemetry: Telemetry) -> None:
    async def leave() -> None:
        async with AsyncClient("a,b").chat.completions.create("hi", stream=True) as left:
            await anext(left)

    with Server(BUSY) as a, Server([SSE_HEAD, framed(event(chunk("Hel"))), HANG]) as b:
        endpoints(a=a, b=b)
        asyncio.run(leave())
    failed, attempt, span = telemetry.spans()
    assert failed.parent == attempt.parent == span.context
    assert "error.type" not in attempt.attributes
    assert "error.type" not in span.attributes
    assert "gen_ai.response.finish_reasons" not in span.attributes


def test_tokens_that_were_not_counted_are_not_reported(
    endpoints: Endpoints, telemetry: Telemetry
) -> None:
    with Server(events(chunk("Hello"), chunk(finish="stop"), "[DONE]")) as a:
        endpoints(a=a)
        Client().chat.completions.create("hi")
    _, span = telemetry.spans()
    assert not [name for name in span.attributes if "usage" in name]
    assert telemetry.points("gen_ai.client.token.usage") == []


def test_an_answer_that_was_kept_has_no_attempt(endpoints: Endpoints, telemetry: Telemetry) -> None:
    with Server(whole()) as a:
        endpoints("cache: {ttl: 1d}", a=a)
        for _ in range(2):
            Client().chat.completions.create("hi")
    _, first, second = telemetry.spans()
    assert [one.attributes["llm_g4f.cached"] for one in (first, second)] == [False, True]
    assert "gen_ai.usage.input_tokens" not in second.attributes


@pytest.mark.parametrize(
    ("value", "captured"),
    [
        ("true", True),
        ("SPAN_ONLY", True),
        ("span_and_event", True),
        ("EVENT_ONLY", False),
        ("NO_CONTENT", False),
        ("", False),
    ],
)
def test_content_is_captured_where_the_environment_asks_for_it(
    value: str,
    captured: bool,
    endpoints: Endpoints,
    telemetry: Telemetry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(CAPTURE, value)
    past: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Look."}, PICTURE]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "1", "content": "3"},
    ]
    with Server(calls(call("f", '{"a": 1}', "2"))) as a:
        endpoints("", a=a)
        Client().chat.completions.create(past)
    attempt, span = telemetry.spans()
    said = "".join(one.to_json() for one in (attempt, span))
    assert ("Be brief" in said) is captured
    assert "base64" not in said
    if not captured:
        return
    assert json.loads(span.attributes["gen_ai.input.messages"]) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Look."}, {"type": "image_url"}]},
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "1", "name": "f", "arguments": "{}"}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "1", "response": "3"}]},
    ]
    assert json.loads(span.attributes["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "2", "name": "f", "arguments": '{"a": 1}'}],
            "finish_reason": "tool_calls",
        }
    ]


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def test_a_prompt_of_llm_is_a_span(ask: Ask, endpoints: Endpoints, telemetry: Telemetry) -> None:
    with Server(stream("Hello")) as a:
        endpoints(a=a)
        ask("hi")
    attempt, span = telemetry.spans()
    assert span.attributes["gen_ai.usage.output_tokens"] == 2
    assert attempt.parent == span.context


@pytest.mark.usefixtures("loaded")
def test_providers_have_the_names_of_the_conventions() -> None:
    from llm_g4f.providers.catalogue import PROVIDERS
    from llm_g4f.routing import tracing

    assert tracing._PROVIDERS.keys() < PROVIDERS.keys()
    assert tracing._common("azure", "m")["gen_ai.provider.name"] == "azure.ai.openai"


@pytest.mark.usefixtures("loaded")
def test_without_a_provider_of_the_application_nothing_is_traced() -> None:
    request = ChatRequest(model="gpt-4o", messages=[])
    assert type(answer_to(request, Registry(config.load()))) is Fallback


def test_opentelemetry_is_not_imported_by_us(endpoints: Endpoints) -> None:
    program = (
        "import sys; from llm_g4f import Client; Client().chat.completions.create('hi');"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    with Server(whole()) as a:
        endpoints(a=a)
        made = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert made.stdout.decode().split() == ["[]"]


def test_a_collector_gets_the_spans(endpoints: Endpoints, telemetry: Telemetry) -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    with Server(whole()) as a, Server(http(200, b"", kind="application/x-protobuf")) as collector:
        endpoints(a=a)
        exporter = OTLPSpanExporter(endpoint=f"{collector.origin}/v1/traces")
        telemetry.traces.add_span_processor(BatchSpanProcessor(exporter))
        Client().chat.completions.create("hi")
        telemetry.traces.shutdown()
    (request,) = collector.requests
    sent = ExportTraceServiceRequest.FromString(request.body)
    spans = sent.resource_spans[0].scope_spans[0].spans
    assert sorted(span.name for span in spans) == ["chat gpt-4o", "chat gpt-4o"]
    assert spans[0].parent_span_id == spans[1].span_id
    assert request.path == "/v1/traces"
