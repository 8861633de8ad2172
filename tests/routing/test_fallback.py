"""The loop over a route: who is asked, how often, and what the caller gets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_g4f.client import AsyncClient
from llm_g4f.errors import (
    APIError,
    APITimeoutError,
    InternalServerError,
    InvalidResponseError,
    RateLimitError,
    StreamError,
)
from llm_g4f.routing import policy
from llm_g4f.types import ChatCompletion
from tests.support.answers import outcomes, streamed, text_of
from tests.support.server import (
    CLOSE,
    END,
    HANG,
    SSE_HEAD,
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

pytestmark = pytest.mark.usefixtures("short_pauses")

Endpoints = Callable[..., Path]


def ask(provider: str | None = "a,b", **params: Any) -> ChatCompletion:
    async def run() -> ChatCompletion:
        answer = await AsyncClient(provider).chat.completions.create("hi", **params)
        assert isinstance(answer, ChatCompletion)
        return answer

    return asyncio.run(run())


def no(status: int, message: str = "No.", **error: Any) -> Script:
    """A refusal; with 429 the server says when to come back."""
    wait = [("Retry-After", "7")] if status == 429 else []
    return http(status, {"error": {"message": message, **error}}, wait)


def test_the_first_candidate_answers(endpoints: Endpoints) -> None:
    # After some milliseconds, in which the receipt's times are given.
    with Server([0.01, *whole("from a")]) as a, Server(whole("from b")) as b:
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
    assert 0.009 < answer.receipt.ttft <= answer.receipt.seconds


def test_the_next_candidate_answers_after_a_failure(endpoints: Endpoints) -> None:
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


def test_a_second_try_of_the_only_provider_may_answer(endpoints: Endpoints) -> None:
    with Server(no(503), stream("Hello")) as a:
        endpoints(a=a)
        answer = ask("a")
        assert len(a.requests) == 2
    assert text_of(answer) == "Hello"
    assert outcomes(answer) == [("a", "InternalServerError"), ("a", "ok")]


def too_long() -> Script:
    return no(400, "This model's maximum context length is 8 tokens.", code="context_length_exceeded")  # fmt: skip


def sized(write_config: Callable[[str], Path], *servers: tuple[Server, int | None]) -> None:
    lines = ["providers:"]
    for name, (server, context) in zip("abcd", servers, strict=False):
        size = f", context: {context}" if context else ""
        lines.append(f"  {name}: {{base_url: '{server.url}'{size}}}")
    write_config("\n".join(lines))


def test_a_prompt_beyond_the_window_is_sent_only_to_a_larger_or_unknown_one(
    write_config: Callable[[str], Path],
) -> None:
    with (
        Server(too_long()) as a,
        Server(stream("b")) as b,
        Server(stream("c")) as c,
        Server(stream("d")) as d,
    ):
        sized(write_config, (a, 8000), (b, 8000), (c, 16_000), (d, None))
        answer = ask("a,b,c,d")
        assert text_of(answer) == "c"
        assert outcomes(answer) == [("a", "ContextLengthError"), ("c", "ok")]
        answer = ask("a,b,d,c")
        assert text_of(answer) == "d"
        assert outcomes(answer) == [("a", "ContextLengthError"), ("d", "ok")]
        assert [len(one.requests) for one in (a, b, c, d)] == [2, 0, 1, 1]


def test_chunks_of_a_failed_candidate_are_not_passed_on(endpoints: Endpoints) -> None:
    one = chunk("", role="assistant") | {"id": "from-a", "system_fingerprint": "from-a"}
    with Server(events(one, one)) as a, Server(stream("from b")) as b:
        endpoints(a=a, b=b)
        answer = ask()
    assert "from-a" not in answer.model_dump_json()
    assert text_of(answer) == "from b"


def test_the_first_error_is_raised_and_lists_all_attempts(endpoints: Endpoints) -> None:
    shut = Server([CLOSE], models=[CLOSE])
    with Server(no(429, "A.")) as a, Server(no(404, "B.")) as b, shut as c:
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
    assert said[0].startswith("a limits requests now")
    assert said[1] == "Tried:"
    assert [line.split()[0] for line in said[2:]] == ["a", "b", "c", "c"]
    assert '"B."' in said[3]
    assert caught.value.provider == "a"
    assert caught.value.receipt is not None
    assert caught.value.receipt.provider is None
    assert caught.value.receipt.seconds is not None


def test_a_call_makes_at_most_five_requests(endpoints: Endpoints) -> None:
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


LATE = 0.25
"""Seconds of the time limits here: long for a server on loopback, short for a test."""


def test_the_total_timeout_ends_a_slow_stream(endpoints: Endpoints) -> None:
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
    monkeypatch.setattr(policy, "BACKOFF", (60.0, 60.0))
    with Server(no(503)) as a:
        endpoints(a=a)
        began = time.monotonic()
        with pytest.raises(APIError):
            ask("a", timeout=LATE)
        assert time.monotonic() - began < 5


def test_a_slow_reader_does_not_count_as_silence(write_config: Callable[[str], Path]) -> None:
    with Server(stream("Hel", "lo")) as a:
        write_config(f"providers:\n  a: {{base_url: '{a.url}', timeout: {LATE}}}\n")

        async def run() -> str:
            text = ""
            async for one in AsyncClient("a").chat.completions.stream("hi"):
                await asyncio.sleep(LATE * 1.4)
                text += "".join(choice.delta.content or "" for choice in one.choices)
            return text

        assert asyncio.run(run()) == "Hello"


def test_default_limits() -> None:
    assert (policy.TRIES_PER_PROVIDER, policy.TRIES_PER_CALL) == (2, 5)
    assert policy.IDLE_TIMEOUT == 120


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch) -> Callable[[Server], None]:
    """The built-in openai at one of our servers: the catalogue claims that it is exact, not the user."""

    def point(server: Server) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")

    return point


@pytest.mark.parametrize(
    ("model", "exact"),
    [("gpt-4o-2024-11-20", True), ("gpt-4o", True), ("gpt-4o-mini", False), ("gpt-6", False)],
)
def test_a_built_in_provider_is_exact_if_its_answer_names_the_model(
    model: str, exact: bool, openai: Callable[[Server], None]
) -> None:
    with Server(whole("Hello", model=model)) as server:
        openai(server)
        answer = ask("openai")
    assert answer.receipt is not None
    assert (answer.receipt.exact, answer.receipt.model) == (exact, model)


@pytest.mark.parametrize("how", ["exact", "substitutes: false"])
def test_an_answer_by_another_model_is_an_error_under_exact(
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


def test_an_answer_without_a_model_counts_as_exact(openai: Callable[[Server], None]) -> None:
    value = completion("Hello")
    del value["model"]
    with Server(http(200, value)) as server:
        openai(server)
        answer = ask("openai", exact=True)
    assert answer.receipt is not None
    assert (answer.receipt.exact, answer.receipt.model) == (True, "gpt-4o")


def test_exact_in_the_configuration_wins_over_the_answers_model(
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


def test_a_model_name_is_cleaned_in_the_receipt(endpoints: Endpoints) -> None:
    with Server(whole("Hello", model="gpt\x1b[2J" + "x" * 900)) as a:
        endpoints(a=a)
        answer = ask("a")
    assert answer.receipt is not None
    assert "\x1b" not in (answer.receipt.model or "")
    assert len(answer.receipt.model or "") <= 200


def test_every_chunk_has_the_receipt(endpoints: Endpoints) -> None:
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


def test_a_refused_parameter_is_left_out_and_the_others_are_kept(endpoints: Endpoints) -> None:
    with Server(REFUSED, whole("Hello")) as a:
        endpoints(a=a)
        answer = ask("a", seed=1, top_p=0.5)
    assert [request.json.get("seed") for request in a.requests] == [1, None]
    assert a.requests[1].json["top_p"] == 0.5
    assert answer.receipt is not None
    assert answer.receipt.omitted == ("seed",)
    assert outcomes(answer) == [("a", "BadRequestError"), ("a", "ok")]


def together(*items: Any) -> Script:
    """A stream whose events all come in one piece."""
    return [SSE_HEAD, framed(b"".join(map(event, items))), END]


WITH_ITS_ERROR = {
    "an error": together(chunk("Hel", model="x"), {"error": {"message": "boom", "code": 500}}),
    "a finish": together(chunk("Hel", model="x"), chunk(finish="error", model="x")),
    "no JSON": together(chunk("Hel", model="x"), "<html>"),
    "a cut": [SSE_HEAD, framed(event(chunk("Hel", model="x")) + b"event: error\ndata: boom\n\n")],
}


@pytest.mark.parametrize("script", WITH_ITS_ERROR.values(), ids=WITH_ITS_ERROR)
def test_what_comes_with_its_own_error_is_no_answer(
    script: Script, endpoints: Endpoints, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(script) as a, Server(stream("good")) as b:
        endpoints(a=a, b=b)
        text, error = streamed("a,b")
        assert (text, error) == ("good", None)
        assert [line.split(":")[0] for line in caplog.messages] == [
            "gpt-4o answered by gpt-4o-2024-11-20 (b)"
        ]
        caplog.clear()
        text, error = streamed("a", max_retries=0)
        assert text == ""
        assert isinstance(error, StreamError)
        assert error.partial == "Hel"
        assert caplog.messages == []
