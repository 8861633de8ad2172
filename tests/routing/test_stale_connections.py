"""A kept connection that is closed once the request was written: the same provider once more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from llm_g4f.client import AsyncClient, Client
from llm_g4f.errors import APIConnectionError, G4FError, InternalServerError
from llm_g4f.routing import policy
from llm_g4f.types import ChatCompletion
from tests.support.answers import outcomes, text_of
from tests.support.server import CLOSE, RESET, Script, Server, Step, http, stream, whole

pytestmark = pytest.mark.usefixtures("transport")

Endpoints = Callable[..., Path]

STALE = ("a", "APIConnectionError")
OK = ("a", "ok")
BUSY = http(503, headers=[("Retry-After", "0")])


def second_answer(provider: str, **params: Any) -> ChatCompletion | G4FError:
    """The result of a request behind another to the same provider."""

    async def run() -> ChatCompletion | G4FError:
        client = AsyncClient(provider)
        await client.chat.completions.create("hi", provider="a")
        try:
            made: Any = client.chat.completions.create("hi", **params)
            if params.get("stream"):
                made = (await made).get_final_completion()
            answer: ChatCompletion = await made
            return answer
        except G4FError as error:
            return error

    return asyncio.run(run())


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_the_same_provider_is_asked_again_at_once_and_without_notice(
    end: Step,
    streamed: bool,
    endpoints: Endpoints,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policy, "BACKOFF", (60.0, 60.0))
    with Server(whole(), [end], stream("again")) as a, Server(whole("from b")) as b:
        endpoints(a=a, b=b)
        answer = second_answer("a,b", stream=streamed)
        assert isinstance(answer, ChatCompletion)
        assert (text_of(answer), outcomes(answer)) == ("again", [STALE, OK])
        assert [one.connection for one in a.requests] == [1, 1, 2]
        assert b.requests == []
    assert answer.receipt is not None
    failed = answer.receipt.attempts[0]
    assert failed.words == "a kept connection was closed"
    assert "kept from an earlier request" in (failed.message or "")
    assert caplog.messages == []
    assert not policy.cooldown_of(APIConnectionError("", reason="stale_connection"), 1)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_synchronous_client_asks_again(streamed: bool, endpoints: Endpoints) -> None:
    with Server(whole(), [CLOSE], stream("again")) as a:
        endpoints(a=a)
        client: Any = Client("a")
        client.chat.completions.create("hi")
        answer = client.chat.completions.create("hi", stream=streamed)
        if streamed:
            answer = answer.get_final_completion()
    assert (text_of(answer), outcomes(answer)) == ("again", [STALE, OK])


@pytest.mark.usefixtures("short_pauses")
def test_the_provider_still_has_its_two_tries_and_its_own_error_is_raised(
    endpoints: Endpoints,
) -> None:
    with Server(whole(), [CLOSE], BUSY, whole("late")) as a:
        endpoints(a=a)
        answer = second_answer("a")
        assert isinstance(answer, ChatCompletion)
        assert outcomes(answer) == [STALE, ("a", "InternalServerError"), OK]
    with Server(whole(), [CLOSE], BUSY) as a:
        endpoints(a=a)
        error = second_answer("a")
        assert isinstance(error, InternalServerError)
        assert outcomes(error) == [STALE, *[("a", "InternalServerError")] * 2]


@pytest.mark.usefixtures("short_pauses")
def test_a_stale_connection_at_the_second_try_is_replaced_too(endpoints: Endpoints) -> None:
    """The first one leaves a connection that is kept."""
    with Server(whole(), BUSY, [CLOSE], whole("late")) as a:
        endpoints(a=a)
        answer = second_answer("a")
        assert isinstance(answer, ChatCompletion)
        assert outcomes(answer) == [("a", "InternalServerError"), STALE, OK]


@pytest.mark.usefixtures("short_pauses")
def test_it_counts_against_the_tries_of_the_call(endpoints: Endpoints) -> None:
    with Server(whole(), [CLOSE], BUSY) as a, Server(BUSY) as b, Server(BUSY) as c:
        with Server(whole("too late")) as d:
            endpoints(a=a, b=b, c=c, d=d)
            answer = second_answer("a,b,c,d")
            assert isinstance(answer, ChatCompletion)
            assert [name for name, _ in outcomes(answer)] == ["a", "a", "b", "c", "d"]
        with Server(BUSY) as d, Server(whole("too late")) as e:
            endpoints(a=a, b=b, c=c, d=d, e=e)
            a.requests.clear()
            error = second_answer("a,b,c,d,e")
            assert isinstance(error, InternalServerError)
            assert [name for name, _ in outcomes(error)] == ["a", "a", "b", "c", "d"]
            assert e.requests == []


def test_a_provider_that_closes_every_connection_is_asked_again_at_once_only_once(
    endpoints: Endpoints,
) -> None:
    """Its second request goes over a new connection, or at httpx over another one that was kept."""

    async def run() -> ChatCompletion:
        client = AsyncClient("a,b")
        await asyncio.gather(*(client.chat.completions.create("hi", provider="a") for _ in "123"))
        made = await client.chat.completions.create("hi")
        assert isinstance(made, ChatCompletion)
        return made

    slow: Script = [0.1, *whole()]
    with Server(slow, slow, slow, [CLOSE]) as a, Server(whole("from b")) as b:
        endpoints(a=a, b=b)
        answer = asyncio.run(run())
    assert outcomes(answer) == [STALE, STALE, ("b", "ok")]


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_it_holds_for_a_client_of_the_callers(library: Any) -> None:
    async def run() -> Any:
        async with library.AsyncClient() as http:
            client = AsyncClient(base_url=server.url, http_client=http)
            await client.chat.completions.create("hi")
            return await client.chat.completions.create("hi")

    with Server(whole(), [CLOSE], whole("again")) as server:
        answer = asyncio.run(run())
    assert outcomes(answer) == [("custom", "APIConnectionError"), ("custom", "ok")]
    assert answer.receipt.attempts[0].words == "a kept connection was closed"


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_a_transport_that_tells_nothing_of_its_connections_has_none_that_are_stale(
    library: Any,
) -> None:
    def broken(request: Any) -> Any:
        raise library.ReadError("reset")

    async def run() -> None:
        async with library.AsyncClient(transport=library.MockTransport(broken)) as http:
            client = AsyncClient(base_url="http://127.0.0.1:9/v1", http_client=http, max_retries=0)
            await client.chat.completions.create("hi")

    with pytest.raises(APIConnectionError) as caught:
        asyncio.run(run())
    assert caught.value.reason == "connection"
