"""The loop over a route: who is asked, how often, and what the caller gets."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from llm_g4f import config
from llm_g4f.client import AsyncClient
from llm_g4f.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ContextLengthError,
    G4FError,
    InternalServerError,
    InvalidResponseError,
    NoProviderError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    StreamError,
    TruncatedStreamError,
    UnprocessableEntityError,
)
from llm_g4f.routing import fallback
from llm_g4f.types import ChatCompletion
from tests.support.answers import outcomes, streamed, text_of
from tests.support.server import (
    CLOSE,
    END,
    HANG,
    RESET,
    SSE_HEAD,
    USAGE,
    Script,
    Server,
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


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "BACKOFF", (0.01, 0.02))


def ask(provider: str | None = "a,b", **params: Any) -> ChatCompletion:
    async def run() -> ChatCompletion:
        answer = await AsyncClient(provider).chat.completions.create("hi", **params)
        assert isinstance(answer, ChatCompletion)
        return answer

    return asyncio.run(run())


def broken(*texts: str) -> Script:
    """A stream that breaks off behind `texts`."""
    return [*events(*map(chunk, texts))[:-1], 0.02, CLOSE]


def no(status: int, message: str = "No.", **error: Any) -> Script:
    """A refusal; with 429 the server says when to come back."""
    wait = [("Retry-After", "7")] if status == 429 else []
    return http(status, {"error": {"message": message, **error}}, wait)


def test_the_first_that_can_answers(endpoints: Endpoints) -> None:
    with Server(whole("from a")) as a, Server(whole("from b")) as b:
        endpoints(a=a, b=b)
        answer = ask()
        assert text_of(answer) == "from a"
        assert (len(a.requests), len(b.requests)) == (1, 0)
    assert answer.provider == "a"
    assert answer.receipt is not None
    (attempt,) = answer.receipt.attempts
    assert (attempt.provider, attempt.outcome, attempt.status) == ("a", "ok", 200)
    assert attempt.model == answer.receipt.model == "gpt-4o-2024-11-20"
    assert answer.receipt.seconds is not None
    assert answer.receipt.ttft is not None
    assert 0 < answer.receipt.ttft <= answer.receipt.seconds


def test_another_answers_where_the_first_fails(endpoints: Endpoints) -> None:
    busy = http(503, {"error": {"message": "No."}}, [("Retry-After", "7")])
    with Server(busy) as a, Server(stream("Hel", "lo")) as b:
        endpoints(a=a, b=b)
        answer = ask(stream=False)
    assert (text_of(answer), answer.provider) == ("Hello", "b")
    receipt = answer.receipt
    assert receipt is not None
    first, second = receipt.attempts
    assert (first.provider, first.outcome, first.status) == ("a", "InternalServerError", 503)
    assert (first.retry_after, second.retry_after) == (7.0, None)
    assert first.message is not None
    assert "No." in first.message
    assert (second.provider, second.outcome, second.status, second.message) == (
        "b",
        "ok",
        200,
        None,
    )
    assert (receipt.requested_model, receipt.provider) == ("gpt-4o", "b")
    assert (receipt.model, receipt.exact) == ("gpt-4o-2024-11-20", True)
    assert 0 <= first.seconds <= (receipt.seconds or 0)


OPEN = [SSE_HEAD, framed(event(chunk("", role="assistant")))]

# What fails, its error, how often it is asked with another behind it, how often alone.
NEXT: dict[str, tuple[Script, type[APIError], int]] = {
    "429": (no(429), RateLimitError, 1),
    "429 quota": (no(429, code="insufficient_quota"), RateLimitError, 1),
    "402": (no(402), APIStatusError, 1),
    "401": (no(401), AuthenticationError, 1),
    "403": (no(403), PermissionDeniedError, 1),
    "404": (no(404), NotFoundError, 1),
    "408": (no(408), APITimeoutError, 2),
    "409": (no(409), ConflictError, 2),
    "500": (no(500), InternalServerError, 2),
    "502 html": (http(502, "<html>", kind="text/html"), InternalServerError, 2),
    "503": (no(503), InternalServerError, 2),
    "529": (no(529), InternalServerError, 2),
    "reset": ([RESET], APIConnectionError, 2),
    "closed": ([CLOSE], APIConnectionError, 2),
    "html": (http(200, "<html>", kind="text/html"), InvalidResponseError, 1),
    "not json": (http(200, "{"), InvalidResponseError, 1),
    "text": (http(200, "upstream error", kind="text/plain"), InvalidResponseError, 1),
    "empty": (http(200, ""), InvalidResponseError, 1),
    "another json": (http(200, {"a": 1}), InvalidResponseError, 1),
    "bad chunk": (events("{", chunk("x"), "[DONE]"), InvalidResponseError, 1),
    "only done": (events("[DONE]"), InvalidResponseError, 1),
    "empty answer": (events(chunk("", role="assistant"), chunk(finish="stop"), "[DONE]"), InvalidResponseError, 1),
    "usage alone": (events(chunk(usage=USAGE), "[DONE]"), InvalidResponseError, 1),
    "whole and empty": (whole(""), InvalidResponseError, 1),
    "whole and null": (whole(None), InvalidResponseError, 1),
    "error under 200": (http(200, {"error": {"message": "No."}}), InternalServerError, 2),
    "error in the stream": (events({"error": {"message": "No."}}), InternalServerError, 2),
    "error beside choices": (events(chunk("x") | {"error": {"message": "No."}}), InternalServerError, 2),
    "429 in the stream": (events({"error": {"message": "No.", "code": 429}}), RateLimitError, 1),
    "finish error": (events(chunk("x", finish="error")), StreamError, 2),
    "broken before text": ([*OPEN, 0.02, CLOSE], TruncatedStreamError, 2),
    "ended before text": ([*OPEN, END], TruncatedStreamError, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", NEXT)
def test_before_the_first_word_another_is_asked_at_once(name: str, endpoints: Endpoints) -> None:
    script, kind, _ = NEXT[name]
    with Server(script) as a, Server(stream("Hello")) as b:
        endpoints(a=a, b=b)
        answer = ask()
        assert (text_of(answer), len(a.requests), len(b.requests)) == ("Hello", 1, 1)
        assert outcomes(answer) == [("a", kind.__name__), ("b", "ok")]
        assert streamed() == ("Hello", None)


@pytest.mark.parametrize("name", NEXT)
def test_who_is_alone_is_asked_again_where_that_may_help(name: str, endpoints: Endpoints) -> None:
    script, kind, tries = NEXT[name]
    with Server(script) as a:
        endpoints(a=a)
        with pytest.raises(G4FError) as caught:
            ask("a")
        assert len(a.requests) == tries
    assert type(caught.value) is kind
    assert outcomes(caught.value) == [("a", kind.__name__)] * tries


def test_the_second_try_may_answer(endpoints: Endpoints) -> None:
    with Server(no(503), stream("Hello")) as a:
        endpoints(a=a)
        answer = ask("a")
        assert len(a.requests) == 2
    assert text_of(answer) == "Hello"
    assert outcomes(answer) == [("a", "InternalServerError"), ("a", "ok")]


RAISE: dict[str, tuple[Script, type[APIError]]] = {
    "400": (no(400), BadRequestError),
    "413": (no(413), BadRequestError),
    "422": (no(422), UnprocessableEntityError),
    "302": (http(302, "", [("Location", "http://127.0.0.1:9/")]), APIStatusError),
    "308": (http(308, "", [("Location", "http://127.0.0.1:9/")]), APIStatusError),
    "400 under 200": (http(200, {"error": {"message": "No.", "code": 400}}), BadRequestError),
    "403 moderation": (
        no(
            403,
            "openai/gpt-4o requires moderation on OpenRouter. Your input was flagged",
            code=403,
            metadata={"reasons": ["violence"], "flagged_input": "hi"},
        ),
        PermissionDeniedError,
    ),
}


@pytest.mark.parametrize("name", RAISE)
def test_what_nobody_else_would_mend_is_raised(name: str, endpoints: Endpoints) -> None:
    script, kind = RAISE[name]
    with Server(script) as a, Server(stream("Hello")) as b:
        endpoints(a=a, b=b)
        with pytest.raises(kind) as caught:
            ask()
        assert (len(a.requests), len(b.requests)) == (1, 0)
    assert outcomes(caught.value) == [("a", type(caught.value).__name__)]


def test_a_request_that_is_no_json_is_sent_to_nobody(endpoints: Endpoints) -> None:
    with Server(stream("Hello")) as a, Server(stream("Hello")) as b:
        endpoints(a=a, b=b)
        with pytest.raises(BadRequestError, match="cannot be written as JSON"):
            ask(temperature=float("nan"))
        assert not a.requests + b.requests


@pytest.mark.parametrize("messages", ["", "  ", []])
def test_an_empty_prompt_is_sent_to_nobody(messages: Any, endpoints: Endpoints) -> None:
    async def run() -> None:
        await AsyncClient("a").chat.completions.create(messages)

    with Server(stream("Hello")) as a:
        endpoints(a=a)
        with pytest.raises(BadRequestError, match="the prompt is empty") as caught:
            asyncio.run(run())
        assert not a.requests
    assert caught.value.status_code == 400


def test_an_untrusted_server_ends_the_search(endpoints: Endpoints) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with Server(stream("Hello"), tls=context) as a, Server(stream("Hello")) as b:
        endpoints(a=a, b=b)
        with pytest.raises(APIConnectionError, match="no trustworthy TLS") as caught:
            ask()
        assert not a.requests + b.requests
    assert outcomes(caught.value) == [("a", "APIConnectionError")]


def too_long() -> Script:
    return no(400, "This model's maximum context length is 8 tokens.", code="context_length_exceeded")  # fmt: skip


def sized(write_config: Callable[[str], Path], *servers: tuple[Server, int | None]) -> None:
    lines = ["providers:"]
    for name, (server, context) in zip("abcd", servers, strict=False):
        size = f", context: {context}" if context else ""
        lines.append(f"  {name}: {{base_url: '{server.url}'{size}}}")
    write_config("\n".join(lines))


def test_a_prompt_too_long_goes_to_a_larger_window_alone(
    write_config: Callable[[str], Path],
) -> None:
    with (
        Server(too_long()) as a,
        Server(stream("b")) as b,
        Server(stream("c")) as c,
        Server(stream("d")) as d,
    ):
        sized(write_config, (a, 8000), (b, 8000), (c, None), (d, 16_000))
        answer = ask("a,b,c,d")
        assert text_of(answer) == "d"
        assert [len(one.requests) for one in (a, b, c, d)] == [1, 0, 0, 1]
    assert outcomes(answer) == [("a", "ContextLengthError"), ("d", "ok")]


def test_a_prompt_too_long_for_all_is_told_so(write_config: Callable[[str], Path]) -> None:
    with Server(too_long()) as a, Server(stream("b")) as b:
        sized(write_config, (a, 8000), (b, 4000))
        with pytest.raises(ContextLengthError):
            ask()
        assert (len(a.requests), len(b.requests)) == (1, 0)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (broken("Hel"), TruncatedStreamError),
        ([*events(chunk("Hel"))[:-1], 0.02, RESET], TruncatedStreamError),
        (events(chunk("Hel")), TruncatedStreamError),
        (events(chunk("Hel"), {"error": {"message": "No.", "code": 503}}), StreamError),
        (events(chunk("Hel"), {"error": {"message": "No.", "code": 400}}), StreamError),
        (events(chunk("Hel"), {"error": {"message": "No.", "code": 429}}), StreamError),
        (events(chunk("Hel"), "{"), StreamError),
        (events(chunk("Hel"), chunk(finish="error")), StreamError),
        (events(chunk("H"), chunk("el"), {"nonsense": 1}), StreamError),
    ],
)
def test_after_the_first_word_nobody_else_is_asked(
    script: Script, kind: type[APIError], endpoints: Endpoints
) -> None:
    with Server(script) as a, Server(stream("from b")) as b:
        endpoints(a=a, b=b)
        text, error = streamed()
        assert text == "Hel"
        assert type(error) is kind
        assert error.partial == "Hel"
        assert outcomes(error) == [("a", kind.__name__)]
        with pytest.raises(kind) as caught:
            ask()
        assert isinstance(caught.value, APIError)
        assert caught.value.partial == "Hel"
        assert (len(a.requests), len(b.requests)) == (2, 0)


@pytest.mark.parametrize(
    "said",
    [
        {"reasoning": "Hm"},
        {"reasoning_content": "Hm"},
        {"refusal": "No."},
        {"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": '{"a'}}]},
    ],
    ids=str,
)
def test_reasoning_refusals_and_tool_calls_are_first_words_too(
    said: dict[str, Any], endpoints: Endpoints
) -> None:
    with Server(events(chunk(**said))) as a, Server(stream("from b")) as b:
        endpoints(a=a, b=b)
        with pytest.raises(TruncatedStreamError):
            ask()
        assert (len(a.requests), len(b.requests)) == (1, 0)


def test_nothing_of_a_failed_candidate_reaches_the_caller(endpoints: Endpoints) -> None:
    one = chunk("", role="assistant") | {"id": "from-a", "system_fingerprint": "from-a"}
    with Server(events(one, one)) as a, Server(stream("from b")) as b:
        endpoints(a=a, b=b)
        answer = ask()
    assert "from-a" not in answer.model_dump_json()
    assert text_of(answer) == "from b"


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_an_answer_cut_before_its_first_word_is_an_answer(
    reason: str, endpoints: Endpoints
) -> None:
    with Server(events(chunk("", finish=reason), "[DONE]")) as a, Server(stream("b")) as b:
        endpoints(a=a, b=b)
        answer = ask()
        assert not b.requests
    assert (text_of(answer), answer.choices[0].finish_reason) == ("", reason)


def test_all_fail_and_the_first_error_names_them_all(endpoints: Endpoints) -> None:
    with Server(no(429, "A.")) as a, Server(no(404, "B.")) as b, Server([CLOSE]) as c:
        endpoints(a=a, b=b, c=c)
        with pytest.raises(RateLimitError) as caught:
            ask("a,b,c")
        assert [len(one.requests) for one in (a, b, c)] == [1, 1, 2]
    assert outcomes(caught.value) == [
        ("a", "RateLimitError"),
        ("b", "NotFoundError"),
        ("c", "APIConnectionError"),
        ("c", "APIConnectionError"),
    ]
    said = str(caught.value).splitlines()
    assert said[0].startswith("a takes no more requests")
    assert said[1] == "Tried:"
    assert [line.split()[0] for line in said[2:]] == ["a", "b", "c", "c"]
    assert '"B."' in said[3]
    assert caught.value.provider == "a"
    assert caught.value.receipt is not None
    assert caught.value.receipt.provider is None
    assert caught.value.receipt.seconds is not None


def test_five_tries_a_call(endpoints: Endpoints) -> None:
    names = "abcdefg"
    servers = {name: Server(no(503)) for name in names}
    for server in servers.values():
        server.__enter__()
    try:
        endpoints(**servers)
        with pytest.raises(InternalServerError) as caught:
            ask(" ".join(names))
        assert [len(one.requests) for one in servers.values()] == [1, 1, 1, 1, 1, 0, 0]
        assert len(outcomes(caught.value)) == 5
        with pytest.raises(InternalServerError):
            ask("a b c d")
        assert [len(one.requests) for one in servers.values()][:5] == [2, 2, 2, 3, 1]
    finally:
        for server in servers.values():
            server.__exit__()


def test_a_free_retry_of_a_stale_connection_is_no_attempt(endpoints: Endpoints) -> None:
    with Server(whole("one"), [RESET], whole("two")) as a:
        endpoints(a=a)

        async def run() -> ChatCompletion:
            client = AsyncClient("a")
            await client.chat.completions.create("hi")
            answer = await client.chat.completions.create("hi")
            assert isinstance(answer, ChatCompletion)
            return answer

        answer = asyncio.run(run())
        assert len(a.requests) == 3
    assert outcomes(answer) == [("a", "ok")]


LATE = 0.25
"""Seconds of the time limits here: long for a server on loopback, short for a test."""


def test_the_total_timeout_holds_for_all_attempts_together(endpoints: Endpoints) -> None:
    with Server([HANG]) as a, Server(stream("Hello")) as b:
        endpoints(a=a, b=b)
        with pytest.raises(APITimeoutError, match=r"within 0\.25 s \(timeout\)") as caught:
            ask(timeout=LATE)
        assert (len(a.requests), len(b.requests)) == (1, 0)
        a.wait_closed()
    assert outcomes(caught.value) == [("a", "APITimeoutError")]


def test_the_total_timeout_is_for_the_whole_answer(endpoints: Endpoints) -> None:
    slow: list[Any] = [framed(event(chunk("x"))), 0.02] * 200
    with Server([SSE_HEAD, *slow, HANG]) as a, Server(stream("Hello")) as b:
        endpoints(a=a, b=b)
        text, error = streamed(timeout=LATE)
        assert type(error) is APITimeoutError
        assert error.partial == text
        assert 1 < len(text) < 100
        assert not b.requests
        a.wait_closed()


def test_the_total_timeout_cuts_the_pause_before_a_second_try(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fallback, "BACKOFF", (60.0, 60.0))
    with Server(no(503)) as a:
        endpoints(a=a)
        began = time.monotonic()
        with pytest.raises(APIError):
            ask("a", timeout=LATE)
        assert time.monotonic() - began < 5


def test_no_first_token_in_time_is_a_reason_to_ask_another(
    write_config: Callable[[str], Path],
) -> None:
    pings: list[Any] = [framed(b": ping\n\n"), framed(b"\n"), 0.02] * 300
    scripts: list[list[Any]] = [[HANG], [SSE_HEAD, HANG], [SSE_HEAD, *pings, HANG]]
    for script in scripts:
        with Server(script) as a, Server(stream("Hello")) as b:
            (config.user_dir() / "g4f-health.json").unlink(missing_ok=True)
            write_config(
                f"providers:\n  a: {{base_url: '{a.url}', timeout: {LATE}}}\n"
                f"  b: {{base_url: '{b.url}'}}\n"
            )
            answer = ask()
            assert (len(a.requests), len(b.requests)) == (1, 1)
            a.wait_closed()
        assert outcomes(answer) == [("a", "APITimeoutError"), ("b", "ok")]
        assert answer.receipt is not None
        message = answer.receipt.attempts[0].message
        assert message is not None
        assert message.startswith("a sent no first token for 0.25 s. Try again;")
        assert answer.receipt.attempts[0].seconds >= LATE * 0.9


@pytest.mark.parametrize(
    "rest",
    [
        [HANG],
        [*[framed(b": ping\n\n"), framed(b"\n"), 0.02] * 300, HANG],
        [*[step for byte in event(chunk("lo" * 500)) for step in (framed(bytes([byte])), 0.02)], HANG],
    ],
    ids=["silence", "comments", "a byte at a time"],
)  # fmt: skip
def test_silence_after_the_first_word_ends_the_answer(
    rest: list[Any], write_config: Callable[[str], Path]
) -> None:
    with Server([SSE_HEAD, framed(event(chunk("Hel"))), *rest]) as a, Server(stream("b")) as b:
        write_config(
            f"providers:\n  a: {{base_url: '{a.url}', timeout: {LATE}}}\n"
            f"  b: {{base_url: '{b.url}'}}\n"
        )
        text, error = streamed()
        assert type(error) is APITimeoutError
        assert (text, error.partial) == ("Hel", "Hel")
        assert error.message.startswith("a fell silent for 0.25 s. Try again;")
        assert not b.requests
        a.wait_closed()


def test_words_that_keep_coming_are_not_silence(write_config: Callable[[str], Path]) -> None:
    slow: list[Any] = [step for _ in range(10) for step in (framed(event(chunk("x"))), LATE / 4)]
    with Server([SSE_HEAD, *slow, framed(event(chunk(finish="stop"))), END]) as a:
        write_config(f"providers:\n  a: {{base_url: '{a.url}', timeout: {LATE}}}\n")
        assert streamed("a") == ("x" * 10, None)


def test_a_slow_reader_is_not_the_providers_silence(write_config: Callable[[str], Path]) -> None:
    with Server(stream("Hel", "lo")) as a:
        write_config(f"providers:\n  a: {{base_url: '{a.url}', timeout: {LATE}}}\n")

        async def run() -> str:
            text = ""
            async for one in AsyncClient("a").chat.completions.stream("hi"):
                await asyncio.sleep(LATE * 1.4)
                text += "".join(choice.delta.content or "" for choice in one.choices)
            return text

        assert asyncio.run(run()) == "Hello"


def test_the_usual_limits() -> None:
    assert (fallback.TRIES_PER_PROVIDER, fallback.TRIES_PER_CALL) == (2, 5)
    assert fallback.FIRST_TOKEN == 120


@pytest.mark.parametrize(
    "script",
    [[HANG], [SSE_HEAD, HANG], [SSE_HEAD, framed(event(chunk("Hel"))), HANG]],
    ids=["no head", "no word", "after a word"],
)
def test_cancelling_closes_the_connection_and_asks_nobody_else(
    script: Script, endpoints: Endpoints
) -> None:
    with Server(script) as a, Server(stream("Hello")) as b:
        endpoints(a=a, b=b)

        async def ask_whole() -> None:
            await AsyncClient("a,b").chat.completions.create("hi", stream=False)

        async def run() -> None:
            task = asyncio.create_task(ask_whole())
            await asyncio.to_thread(a.wait_requests)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()
            await asyncio.to_thread(a.wait_closed)

        asyncio.run(run())
        assert (len(a.requests), len(b.requests)) == (1, 0)


def test_a_callers_own_timeout_is_a_cancellation(endpoints: Endpoints) -> None:
    with Server([HANG]) as a, Server(stream("Hello")) as b:
        endpoints(a=a, b=b)

        async def run() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(LATE):
                    await AsyncClient("a,b").chat.completions.create("hi")
            await asyncio.to_thread(a.wait_closed)

        asyncio.run(run())
        assert not b.requests


def test_leaving_a_stream_closes_the_connection(endpoints: Endpoints) -> None:
    with Server([SSE_HEAD, framed(event(chunk("Hel"))), HANG]) as a:
        endpoints(a=a)

        async def run() -> None:
            async with await AsyncClient("a").chat.completions.stream("hi") as chunks:
                async for _ in chunks:
                    break
            await asyncio.to_thread(a.wait_closed)

        asyncio.run(run())


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch) -> Callable[[Server], None]:
    """The built-in openai, at one of our servers: a provider whose exactness is not the user's word."""

    def point(server: Server) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")

    return point


@pytest.mark.parametrize(
    ("model", "exact"),
    [("gpt-4o-2024-11-20", True), ("gpt-4o", True), ("gpt-4o-mini", False), ("gpt-6", False)],
)
def test_exactness_is_what_the_answer_calls_itself(
    model: str, exact: bool, openai: Callable[[Server], None]
) -> None:
    with Server(whole("Hello", model=model)) as server:
        openai(server)
        answer = ask("openai")
    assert answer.receipt is not None
    assert (answer.receipt.exact, answer.receipt.model) == (exact, model)


@pytest.mark.parametrize("how", ["exact", "substitutes: false"])
def test_another_model_is_refused_where_only_the_exact_one_will_do(
    how: str, openai: Callable[[Server], None], endpoints: Endpoints
) -> None:
    params = {"exact": True} if how == "exact" else {}
    extra = how if ":" in how else ""
    with Server(stream("wrong", model="gpt-6")) as a, Server(stream("right")) as b:
        openai(a)
        endpoints(extra, b=b)
        text, error = streamed("openai", **params)
        assert type(error) is InvalidResponseError
        assert not text
        assert "gpt-6" in str(error)
        assert len(a.requests) == 1
        answer = ask("openai,b", **params)
        assert text_of(answer) == "right"
    assert outcomes(answer) == [("openai", "InvalidResponseError"), ("b", "ok")]


def test_an_answer_that_names_no_model_is_believed(openai: Callable[[Server], None]) -> None:
    value = completion("Hello")
    del value["model"]
    with Server(http(200, value)) as server:
        openai(server)
        answer = ask("openai", exact=True)
    assert answer.receipt is not None
    assert (answer.receipt.exact, answer.receipt.model) == (True, "gpt-4o")


def test_the_users_word_outranks_what_the_answer_calls_itself(
    write_config: Callable[[str], Path],
) -> None:
    with Server(whole("Hello", model="deployment-7")) as a:
        write_config(
            f"providers:\n  a:\n    base_url: {a.url}\n"
            "    models: {gpt-4o: {id: my-deployment, exact: true}}\n"
        )
        answer = ask("a", exact=True)
        assert a.requests[0].json["model"] == "my-deployment"
    assert answer.receipt is not None
    assert (answer.receipt.exact, answer.receipt.model) == (True, "deployment-7")


def test_a_model_name_is_made_safe_in_the_receipt(endpoints: Endpoints) -> None:
    with Server(whole("Hello", model="gpt\x1b[2J" + "x" * 900)) as a:
        endpoints(a=a)
        answer = ask("a")
    assert answer.receipt is not None
    assert "\x1b" not in (answer.receipt.model or "")
    assert len(answer.receipt.model or "") < 100


def test_every_chunk_carries_the_receipt(endpoints: Endpoints) -> None:
    with Server(no(503)) as a, Server(stream("Hel", "lo")) as b:
        endpoints(a=a, b=b)

        async def run() -> list[Any]:
            found = []
            async for one in AsyncClient("a,b").chat.completions.stream("hi"):
                assert one.receipt.provider == "b"
                assert one.receipt.attempts[0].provider == "a"
                found.append(one.receipt)
            return found

        receipts = asyncio.run(run())
    assert len({id(receipt) for receipt in receipts}) == 1
    assert [one.outcome for one in receipts[0].attempts] == ["InternalServerError", "ok"]
    assert json.dumps(receipts[0].to_dict())


def test_nobody_to_ask_is_told_apart(write_config: Callable[[str], Path]) -> None:
    write_config("providers:\n  a: {base_url: 'http://127.0.0.1:9/v1', models: {gpt-4: x}}\n")
    with pytest.raises(
        NoProviderError, match=r"a: g4f\.yaml does not say which of its models stands for gpt-4o"
    ):
        ask("a")


REFUSED = http(
    400,
    {
        "error": {
            "message": "Unsupported parameter: 'seed'",
            "type": "invalid_request_error",
            "param": "seed",
            "code": "unsupported_parameter",
        }
    },
)


def test_a_parameter_that_is_refused_is_left_out_once(endpoints: Endpoints) -> None:
    with Server(REFUSED, whole("Hello")) as a:
        endpoints(a=a)
        answer = ask("a", seed=1, top_p=0.5)
    assert [request.json.get("seed") for request in a.requests] == [1, None]
    assert a.requests[1].json["top_p"] == 0.5
    assert answer.receipt is not None
    assert answer.receipt.omitted == ("seed",)
    assert outcomes(answer) == [("a", "BadRequestError"), ("a", "ok")]


def test_a_parameter_is_left_out_no_second_time(endpoints: Endpoints) -> None:
    with Server(REFUSED) as a, Server(whole("never")) as b:
        endpoints(a=a, b=b)
        with pytest.raises(BadRequestError, match="Unsupported parameter"):
            ask(seed=1)
    assert (len(a.requests), len(b.requests)) == (2, 0)


def test_a_parameter_that_was_not_sent_is_no_reason_to_ask_again(endpoints: Endpoints) -> None:
    with Server(REFUSED) as a:
        endpoints(a=a)
        with pytest.raises(BadRequestError):
            ask("a", top_p=0.5)
    assert len(a.requests) == 1
