"""What a person reads where a server's HTTP is invalid, or none."""

from __future__ import annotations

import asyncio
import json

import pytest

from llm_g4f.client import AsyncClient, Client
from llm_g4f.errors import APIConnectionError, TruncatedStreamError
from tests.support.server import HANG, SSE_HEAD, Script, Server, chunk, completion, event, framed

pytestmark = pytest.mark.usefixtures("transport")

OK = b"HTTP/1.1 200 OK\r\n"


def refused(script: Script) -> APIConnectionError:
    with Server([*script, HANG]) as server, pytest.raises(APIConnectionError) as caught:
        Client(base_url=server.url).chat.completions.create("hi")
    return caught.value


FRAMINGS: dict[str, tuple[bytes, str]] = {
    "two lengths": (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "Content-Length"),
    "an invalid length": (OK + b"Content-Length: +5\r\n\r\nhello", "Content-Length"),
    "an invalid header": (OK + b"X : y\r\nContent-Length: 5\r\n\r\nhello", "header"),
    "another coding": (OK + b"Transfer-Encoding: gzip\r\n\r\nhello", "ncoding"),
}


@pytest.mark.parametrize(("data", "what"), FRAMINGS.values(), ids=FRAMINGS)
def test_a_refused_framing_says_what_is_wrong_and_nothing_of_tls(data: bytes, what: str) -> None:
    error = refused([data])
    assert error.reason == "connection"
    assert " sent an invalid HTTP response (" in error.message
    assert what in error.message
    assert "TLS" not in error.message
    assert "https" not in error.message


@pytest.mark.parametrize("data", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_what_is_no_http_may_be_tls(data: bytes) -> None:
    message = refused([data]).message
    assert " did not answer in HTTP: " in message
    assert "If it speaks TLS, base_url must begin with https://." in message


def test_an_invalid_framing_behind_the_first_word_says_what_is_wrong() -> None:
    bad: Script = [SSE_HEAD, framed(event(chunk("Hel"))), 0.05, b"zz\r\n", HANG]
    with Server(bad) as server:

        async def run() -> str:
            text = ""
            async for one in AsyncClient(base_url=server.url).chat.completions.stream("hi"):
                text += one.choices[0].delta.content or ""
            return text

        with pytest.raises(TruncatedStreamError) as caught:
            asyncio.run(run())
    assert caught.value.partial == "Hel"
    message = caught.value.message.lower()
    assert message.startswith("custom: the answer broke off: what follows is not valid http (")
    assert "chunk" in message


TOLERATED = {
    "a length twice": b"Content-Length: %(size)d\r\nContent-Length: %(size)d\r\n\r\n%(body)s",
    "a list of a length": b"Content-Length: %(size)d, %(size)d\r\n\r\n%(body)s",
    "padded chunk sizes": (
        b"Transfer-Encoding: chunked\r\n\r\n%(size)x  \r\n%(body)s\r\n0 \t\r\n\r\n"
    ),
}


@pytest.mark.parametrize("framing", TOLERATED.values(), ids=TOLERATED)
def test_framing_that_h11_accepts_is_an_answer(framing: bytes) -> None:
    body = json.dumps(completion("Hello")).encode()
    with Server([OK + framing % {b"size": len(body), b"body": body}]) as server:
        answer = Client(base_url=server.url).chat.completions.create("hi")
    assert answer.choices[0].message.content == "Hello"
