"""HTTP/1.1 over sockets: framing, faults, connections that are kept, and what is sent."""

from __future__ import annotations

import asyncio
import gc
import select
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_g4f.http import pool as module
from llm_g4f.http import tcp
from llm_g4f.http.pool import ConnectionPool
from llm_g4f.http.types import (
    ConnectionBroken,
    ConnectTimeout,
    NetworkError,
    NotHTTP,
    Request,
    Response,
    StaleConnection,
    Unsendable,
    parse_url,
)
from tests.support.server import (
    CLOSE,
    END,
    HANG,
    RESET,
    Endless,
    Script,
    Server,
    Step,
    framed,
    full_queue,
    http,
    split,
)
from tests.support.tls import client_tls, server_tls

pytestmark = pytest.mark.usefixtures("event_loops")

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"


def to(url: str, tls: ssl.SSLContext | None = None) -> Any:
    """A way to the origin of `url`, closed at the end of its `async with`."""
    return aclosing(ConnectionPool(parse_url(url), tls))


def request(
    url: str,
    body: bytes = b"{}",
    headers: dict[str, str] | None = None,
    method: str = "POST",
) -> Request:
    return Request(method, parse_url(url), headers or {}, body)


async def read(response: Response) -> bytes:
    try:
        return b"".join([data async for data in response])
    finally:
        await response.aclose()


async def ask(pool: ConnectionPool, url: str, *args: Any, **fields: Any) -> tuple[int, bytes]:
    response = await pool.send(request(url, *args, **fields))
    return response.status, await read(response)


def asked(server: Server, times: int = 1, tls: ssl.SSLContext | None = None) -> list[bytes]:
    """The bodies of so many answers, one after the other."""

    async def run() -> list[bytes]:
        async with to(server.url, tls) as pool:
            return [(await ask(pool, server.url))[1] for _ in range(times)]

    return asyncio.run(run())


def failing(server: Server, tls: ssl.SSLContext | None = None) -> NetworkError:
    with pytest.raises(NetworkError) as caught:
        asked(server, tls=tls)
    return caught.value


@asynccontextmanager
async def serving(
    handler: Handler, host: str = "127.0.0.1", port: int | None = 0
) -> AsyncIterator[str]:
    """A server in the same loop: what it writes has arrived after a turn of it."""
    tasks: list[asyncio.Task[None] | None] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(accept, host, port)
    async with server:
        yield f"http://{host}:{server.sockets[0].getsockname()[1]}/v1"
    await asyncio.gather(*filter(None, tasks))


async def one_request(reader: asyncio.StreamReader) -> bytes:
    """One request of ours, whose body is {}."""
    return await reader.readuntil(b"\r\n\r\n{}")


# Responses in pieces.


def chunks(body: bytes, size: int, extension: bytes, trailers: bytes) -> bytes:
    data = b"".join(
        f"{len(piece):X}".encode() + extension + b"\r\n" + piece + b"\r\n"
        for piece in split(body, size)
    )
    return data + b"0" + extension + b"\r\n" + trailers + b"\r\n"


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, bytes, bool]:
    """A response, its body, and whether another may follow it."""
    body = draw(st.binary(max_size=60))
    interim = draw(
        st.sampled_from(
            [
                b"",
                b"HTTP/1.1 100 Continue\r\n\r\n",
                b"HTTP/1.1 103 Early Hints\r\nX-Head: no\r\n\r\n",
            ]
        )
    )
    head = interim + OK + b"X-Head: a b\r\n"
    form = draw(st.sampled_from(["length", "chunked", "close"]))
    if form == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body, body, True
    if form == "close":
        return head + b"\r\n" + body, body, False
    extension = draw(st.sampled_from([b"", b";a", b';a=b;c="d e"']))
    trailers = draw(st.sampled_from([b"", b"X-Head: no\r\n", b"A: 1\r\nB: 2\r\n"]))
    data = chunks(body, draw(st.integers(1, 60)), extension, trailers)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + data, body, True


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


def exchanged(made: tuple[bytes, bytes, bool], pieces: list[bytes]) -> None:
    data, body, more = made
    assert b"".join(pieces) == data
    connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await one_request(reader)
            for piece in pieces:
                writer.write(piece)
                for _ in range(3):
                    await asyncio.sleep(0)
            if not more:
                return

    async def run() -> None:
        async with serving(answer) as url, to(url) as pool:
            for _ in range(2):
                response = await pool.send(request(url))
                assert response.status == 200
                assert response.headers["x-head"] == "a b"
                assert await read(response) == body

    asyncio.run(run())
    assert connections == (1 if more else 2)


@settings(deadline=None, max_examples=150)
@given(responses(), st.lists(st.integers(0, 200), max_size=6))
def test_any_split_gives_the_same_response(
    made: tuple[bytes, bytes, bool], cuts: list[int]
) -> None:
    exchanged(made, in_pieces(made[0], cuts))


@settings(deadline=None, max_examples=50)
@given(responses())
def test_a_response_may_come_byte_by_byte(made: tuple[bytes, bytes, bool]) -> None:
    exchanged(made, list(split(made[0], 1)))


LONG = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    + CHUNKED.replace(b"\r\n\r\n", b"\r\nX-Head: a b\r\n\r\n")
    + chunks(b"hello world", 4, b";a=b", b"A: 1\r\n")
)


@pytest.mark.parametrize("at", range(1, len(LONG)))
def test_a_response_may_be_cut_at_each_byte(at: int) -> None:
    exchanged((LONG, b"hello world", True), [LONG[:at], LONG[at:]])


def test_buffered_data_is_one_piece() -> None:
    with Server([CHUNKED, framed(b"x" * 100) * 1000, END]) as server:

        async def run() -> list[int]:
            async with to(server.url) as pool:
                response = await pool.send(request(server.url))
                sizes = [len(data) async for data in response]
                await response.aclose()
                return sizes

        sizes = asyncio.run(run())
    assert sum(sizes) == 100_000
    assert len(sizes) < 50


def test_a_slow_reader_slows_the_server() -> None:
    total, sent = 64 * 2**20, 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await one_request(reader)
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % total)
        piece = bytes(2**16)
        while sent < total:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
        await reader.read(1)

    async def run() -> None:
        async with serving(answer) as url, to(url) as pool:
            response = await pool.send(request(url))
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.05)
            # What is more lies in the kernel.
            assert sent < total / 2
            assert len(await read(response)) == total

    asyncio.run(run())


# Responses that are none.

MALFORMED = {
    "garbage": b"SSH-2.0-OpenSSH_9.2\r\n",
    "version": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status": b"HTTP/1.1 99 X\r\nContent-Length: 0\r\n\r\n",
    "status 0": b"HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n",
    "length and chunked": OK
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "chunked and length": OK
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "a list of lengths": OK + b"Content-Length: 5, 6\r\n\r\nhello",
    "a length twice, and invalid": OK + b"Content-Length: 0x5\r\n" * 2 + b"\r\nhello",
    "a length twice, and chunked": OK
    + b"Transfer-Encoding: chunked\r\n"
    + b"Content-Length: 5\r\n" * 2
    + b"\r\n5\r\nhello\r\n0\r\n\r\n",
    "length +5": OK + b"Content-Length: +5\r\n\r\nhello",
    "length -5": OK + b"Content-Length: -5\r\n\r\nhello",
    "no length": OK + b"Content-Length: \r\n\r\nhello",
    "length overflow": OK + b"Content-Length: 99999999999999999999\r\n\r\nhello",
    "compressed coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "other coding": OK + b"Transfer-Encoding: identity\r\n\r\nhello",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n",
    "chunk overflow": CHUNKED + b"FFFFFFFFFFFFFFFFF\r\nhello",
    "chunk -5": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "chunk 0x5": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "chunk with two sizes": CHUNKED + b"5 5\r\nhello\r\n0\r\n\r\n",
    "chunk without size": CHUNKED + b"\r\nhello\r\n0\r\n\r\n",
    "chunk longer than said": CHUNKED + b"5\r\nhello!\r\n0\r\n\r\n",
    "length in trailers": CHUNKED + b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
    "line feeds": HELLO.replace(b"\r\n", b"\n"),
    "space before colon": OK + b"Content-Length : 5\r\n\r\nhello",
    "folded": OK + b"X: a\r\n b\r\nContent-Length: 5\r\n\r\nhello",
    "control character": OK + b"X: a\0b\r\nContent-Length: 5\r\n\r\nhello",
    "switched protocols": b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello",
    "unasked 101": b"HTTP/1.1 101 X\r\n\r\n" + HELLO,
    "long head": OK + b"X: y\r\n" * 11_000 + b"Content-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_response_is_an_error_and_closes_its_connection(data: bytes) -> None:
    with Server([data, HANG]) as server:
        error = failing(server)
        assert type(error) is NotHTTP
        assert "malformed" in str(error)
        assert error.is_http == data.startswith(b"HTTP/")
        assert len(server.requests) == 1
        server.wait_closed()


@pytest.mark.parametrize("second", [b"6", b"51", b"5, 6"])
def test_lengths_that_differ_are_shown(second: bytes) -> None:
    with Server(
        [OK + b"Content-Length: 5\r\nContent-Length: ", second, b"\r\n\r\n", HANG]
    ) as server:
        last = second.removeprefix(b"5,").strip().decode()
        assert str(failing(server)) == (
            f"malformed: different values of Content-Length (5 and {last})"
        )


TWICE = b"Content-Length: 5\r\n"

TOLERATED = {
    "a length twice": OK + TWICE + b"X: y\r\n" + TWICE.lower() + b"\r\nhello",
    "a length thrice": OK + TWICE * 3 + b"\r\nhello",
    "a list of a length": OK + b"Content-Length: 5,5 , 5\r\n\r\nhello",
    "a length twice after an interim response": b"HTTP/1.1 103 X\r\nLink: a\r\n\r\n"
    + OK
    + TWICE * 2
    + b"\r\nhello",
    "blanks after chunk sizes": CHUNKED + b"5  \r\nhello\r\n0 \t \r\n\r\n",
}


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("data", TOLERATED.values(), ids=TOLERATED)
def test_framing_that_h11_accepts_is_accepted_however_it_is_split(data: bytes, size: int) -> None:
    with Server([step for piece in split(data, size) for step in (piece, 0.0)]) as server:

        async def run() -> None:
            async with to(server.url) as wire:
                for _ in range(2):
                    assert await ask(wire, server.url) == (200, b"hello")

        asyncio.run(run())
        assert server.connections == 1


def test_a_length_that_is_repeated_without_end_is_an_error() -> None:
    with Server([OK, Endless(TWICE * 500)]) as server:
        assert type(failing(server)) is NotHTTP
        server.wait_closed()


ENDLESS = {
    "a status line": (OK[:-2], b"x" * 2**14),
    "a header": (OK + b"X: ", b"x" * 2**14),
    "headers": (OK, b"X: y\r\n" * 2**11),
    "interim responses": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2**9),
    "a chunk extension": (CHUNKED + b"5;", b"x" * 2**14),
    "a chunk size of noughts": (CHUNKED, b"0" * 2**14),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n" * 2**11),
}


@pytest.mark.parametrize("begin, more", ENDLESS.values(), ids=ENDLESS)  # noqa: PT006
def test_endless_framing_is_an_error(begin: bytes, more: bytes) -> None:
    with Server([begin, *[more] * 100, HANG]) as server:
        assert type(failing(server)) is NotHTTP
        server.wait_closed()


TRUNCATED: dict[str, list[Step]] = {
    "nothing": [],
    "half a status line": [OK[:5]],
    "half a head": [OK + b"Content-Le"],
    "a head alone": [CHUNKED],
    "an interim response alone": [b"HTTP/1.1 100 Continue\r\n\r\n"],
    "less than the length": [OK + b"Content-Length: 9\r\n\r\nhello"],
    "half a chunk": [CHUNKED + b"9\r\nhello"],
    "no last chunk": [CHUNKED + framed(b"hello")],
    "half the last chunk": [CHUNKED + framed(b"hello") + END[:-2]],
    "an absurd length": [OK + b"Content-Length: 9223372036854775807\r\n\r\nhello"],
    "an absurd chunk": [CHUNKED + b"FFFFFFFFFFFFFFF\r\nhello"],
}


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("end", [CLOSE, RESET])
@pytest.mark.parametrize("steps", TRUNCATED.values(), ids=TRUNCATED)
def test_a_truncated_response_is_an_error(
    steps: list[Step], end: Any, secure: bool, authority: trustme.CA
) -> None:
    tls = (server_tls(authority), client_tls(authority)) if secure else (None, None)
    with Server([*steps, 0.005, end], tls=tls[0]) as server:
        assert isinstance(failing(server, tls[1]), ConnectionBroken)
        assert len(server.requests) == 1


@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_data_before_a_break_is_given_first(end: Any) -> None:
    with Server([CHUNKED + framed(b"hello"), 0.02, end]) as server:

        async def run() -> None:
            async with to(server.url) as pool:
                response = await pool.send(request(server.url))
                pieces = aiter(response)
                assert await anext(pieces) == b"hello"
                with pytest.raises(NetworkError):
                    await anext(pieces)
                await response.aclose()

        asyncio.run(run())


def test_a_body_may_end_with_its_connection() -> None:
    for version in (b"HTTP/1.0", b"HTTP/1.1"):
        with Server([version + b" 200 OK\r\n\r\nhel", 0.01, b"lo", CLOSE]) as server:
            assert asked(server) == [b"hello"]


def test_over_tls_a_body_ends_with_a_close_notify(
    authority: trustme.CA,
) -> None:
    trust = client_tls(authority)
    with Server([OK + b"\r\nhello", CLOSE], tls=server_tls(authority)) as server:
        assert asked(server, tls=trust) == [b"hello"]
    with Server([OK + b"\r\nhello", 0.01, RESET], tls=server_tls(authority)) as server:
        assert isinstance(failing(server, trust), NetworkError)


@pytest.mark.parametrize("whole", [True, False])
def test_a_server_may_close_its_half(whole: bool) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one_request(reader)
        writer.write(HELLO if whole else HELLO[:-1])
        writer.write_eof()
        await reader.read()

    async def run() -> None:
        async with serving(answer) as url, to(url) as pool:
            for _ in range(2):
                if whole:
                    assert await ask(pool, url) == (200, b"hello")
                else:
                    with pytest.raises(ConnectionBroken):
                        await ask(pool, url)

    asyncio.run(run())


def test_a_server_that_closes_its_half_and_stops_reading_is_an_error() -> None:
    given_up = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write_eof()
        await given_up.wait()

    async def run() -> None:
        async with serving(answer) as url, to(url) as pool:
            with pytest.raises(ConnectionBroken):
                await asyncio.wait_for(ask(pool, url, bytes(2**24)), 5)
            given_up.set()

    asyncio.run(run())


# Connections that are kept.


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    "data",
    [
        HELLO,
        CHUNKED + framed(b"hello") + END,
        b"HTTP/1.1 204 X\r\n\r\n",
        b"HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_connection_is_reused(data: bytes, secure: bool, authority: trustme.CA) -> None:
    tls = (server_tls(authority), client_tls(authority)) if secure else (None, None)
    with Server([data], tls=tls[0]) as server:
        asked(server, 3, tls[1])
        assert server.connections == 1


@pytest.mark.parametrize(
    "data",
    [
        HELLO.replace(b"\r\n", b"\r\nConnection: close\r\n", 1),
        HELLO.replace(b"1.1", b"1.0"),
        HELLO + b"X",
        HELLO + HELLO,
        b"HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\nhello",
        CHUNKED + framed(b"hello") + END + b"HTTP/1.1 200 OK\r\n",
    ],
)
def test_a_connection_is_not_reused(data: bytes) -> None:
    with Server([data]) as server:
        assert asked(server, 2) == [b"" if b"204" in data else b"hello"] * 2
        assert [one.connection for one in server.requests] == [1, 2]
        server.wait_closed(2)


@pytest.mark.parametrize("late", [HELLO, b"X", b"\r\n", CLOSE, RESET])
def test_a_kept_connection_with_unexpected_data_is_closed(
    late: Step, caplog: pytest.LogCaptureFixture
) -> None:
    with Server([HELLO, 0.02, late, HANG], [HELLO]) as server:

        async def run() -> None:
            async with to(server.url) as pool:
                assert await ask(pool, server.url) == (200, b"hello")
                await asyncio.to_thread(server.wait_closed)
                await asyncio.sleep(0)
                assert await ask(pool, server.url) == (200, b"hello")

        asyncio.run(run())
        assert [one.connection for one in server.requests] == [1, 2]
    assert not caplog.records


def test_a_connection_is_not_reused_before_its_request_is_sent() -> None:
    connections, more = 0, asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections == 2:
            more.set()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HELLO)
        await more.wait()
        await reader.read()

    async def run() -> None:
        async with serving(answer) as url, to(url) as pool:
            assert await ask(pool, url, bytes(2**24)) == (200, b"hello")
            assert await asyncio.wait_for(ask(pool, url), 5) == (200, b"hello")

    asyncio.run(run())
    assert connections == 2


def test_a_kept_connection_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP_ALIVE", 0.05)
    with Server([HELLO]) as server:

        async def run() -> None:
            async with to(server.url) as pool:
                for pause in (0.0, 0.1, 0.0):
                    await ask(pool, server.url)
                    await asyncio.sleep(pause)

        asyncio.run(run())
        assert [one.connection for one in server.requests] == [1, 1, 2]


def test_the_number_of_kept_connections_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IDLE", 2)
    with Server([0.05, HELLO]) as server:

        async def run() -> None:
            async with to(server.url) as pool:
                await asyncio.gather(*(ask(pool, server.url) for _ in range(5)))
                await asyncio.to_thread(server.wait_closed, 3)
                await asyncio.gather(*(ask(pool, server.url) for _ in range(2)))

        asyncio.run(run())
        assert server.connections == 5


def test_an_unread_response_closes_its_connection_if_it_is_incomplete() -> None:
    with Server([HELLO], [OK + b"Content-Length: 9\r\n\r\nhello", HANG], [HELLO]) as server:

        async def run() -> None:
            async with to(server.url) as pool:
                for _ in range(2):
                    response = await pool.send(request(server.url))
                    await response.aclose()
                    await response.aclose()
                await asyncio.to_thread(server.wait_closed)
                assert await ask(pool, server.url) == (200, b"hello")

        asyncio.run(run())
        assert [one.connection for one in server.requests] == [1, 1, 2]


@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_a_stale_connection_is_told_apart_and_the_next_request_takes_a_new_one(end: Any) -> None:
    with Server([0.05, HELLO], [0.05, HELLO], [end], [HELLO], [end]) as server:

        async def run() -> None:
            async with to(server.url) as pool:
                await asyncio.gather(ask(pool, server.url), ask(pool, server.url))
                with pytest.raises(StaleConnection):
                    await ask(pool, server.url)
                assert await ask(pool, server.url) == (200, b"hello")
                with pytest.raises(StaleConnection):
                    await ask(pool, server.url)
                # A new connection is not stale.
                with pytest.raises(ConnectionBroken) as caught:
                    await ask(pool, server.url)
                assert not isinstance(caught.value, StaleConnection)

        asyncio.run(run())
        assert [one.connection for one in server.requests[3:]] == [3, 3, 4]


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"X\r\n"])
def test_a_partly_answered_request_is_not_sent_again(begun: bytes) -> None:
    with Server([HELLO], [begun, 0.01, CLOSE], [HELLO]) as server:
        with pytest.raises(NetworkError) as caught:
            asked(server, 2)
        assert not isinstance(caught.value, StaleConnection)
        assert len(server.requests) == 2


# So many at once, cancellation, the end.


def test_requests_wait_in_order_for_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IN_USE", 2)
    with Server([0.01, HELLO]) as server:

        async def run() -> None:
            async with to(server.url) as pool:
                await asyncio.gather(*(ask(pool, server.url, b"%d" % n) for n in range(8)))

        asyncio.run(run())
        assert server.connections == 2
        order = [int(one.body) for one in server.requests]
        assert all(abs(place - number) <= 1 for place, number in enumerate(order))


@pytest.mark.parametrize("where", ["for a connection", "for the head", "for the body"])
def test_cancelling_closes_the_connection_and_frees_its_place(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_IN_USE", 1)
    first: Script = [HANG] if where == "for the head" else [CHUNKED + framed(b"x"), HANG]
    with Server(first, [HELLO]) as server:

        async def run() -> None:
            headed = asyncio.Event()

            async def take() -> None:
                response = await pool.send(request(server.url))
                headed.set()
                await read(response)

            async with to(server.url) as pool:
                task = asyncio.create_task(take())
                await asyncio.to_thread(server.wait_requests)
                if where == "for a connection":
                    waiting = asyncio.create_task(take())
                    await asyncio.sleep(0)
                    waiting.cancel()
                    await asyncio.wait([waiting])
                    assert waiting.cancelled()
                elif where == "for the body":
                    await headed.wait()
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled()
                await asyncio.to_thread(server.wait_closed)
                assert await asyncio.wait_for(ask(pool, server.url), 5) == (200, b"hello")

        asyncio.run(run())
        assert len(server.requests) == 2


def test_cancelling_while_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IN_USE", 1)

    async def run() -> None:
        with full_queue() as url:
            async with to(url) as pool:
                for _ in range(2):
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(ask(pool, url), 0.05)

    asyncio.run(run())


def test_a_connect_timeout() -> None:
    async def run() -> None:
        with full_queue() as url:
            async with to(url) as pool:
                with pytest.raises(ConnectTimeout):
                    await pool.send(request(url), 0.05)

    asyncio.run(run())


def test_a_tls_handshake_timeout(authority: trustme.CA) -> None:
    async def run() -> None:
        left = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            left.set()

        async with serving(silent) as plain:
            url = plain.replace("http:", "https:")
            async with to(url, client_tls(authority)) as pool:
                with pytest.raises(ConnectTimeout):
                    await pool.send(request(url), 0.05)
                # Soon after that the connection is given up too.
                await asyncio.wait_for(left.wait(), 10)

    asyncio.run(run())


def test_closing_ends_kept_and_active_connections() -> None:
    with Server([HELLO], [CHUNKED + framed(b"x"), HANG]) as server:

        async def run() -> None:
            pool = ConnectionPool(parse_url(server.url))
            kept = await pool.send(request(server.url))
            response = await pool.send(request(server.url))
            await read(kept)
            await pool.aclose()
            await asyncio.to_thread(server.wait_closed, 2)
            with pytest.raises(NetworkError):
                await read(response)

        asyncio.run(run())


def test_the_loop_may_end_right_after_closing() -> None:
    with Server([HELLO]) as server:

        async def use() -> None:
            async with to(server.url) as pool:
                await ask(pool, server.url)

        loop = asyncio.new_event_loop()
        loop.run_until_complete(use())
        loop.close()
        # An open socket would be reported as it is collected.
        gc.collect()
        server.wait_closed()


# Connecting.


def test_a_refused_connection() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(NetworkError) as caught:
            asyncio.run(ask(ConnectionPool(parse_url(url)), url))
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_an_unresolvable_name() -> None:
    url = "http://nowhere.invalid"
    with pytest.raises(NetworkError) as caught:
        asyncio.run(ask(ConnectionPool(parse_url(url)), url))
    assert isinstance(caught.value.__cause__, socket.gaierror)


def named(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """The name two.test has these addresses."""
    resolve = socket.getaddrinfo

    def resolved(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "two.test":
            return resolve(host, port, *args, **kwargs)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


def test_the_next_address_is_tried_after_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, "127.0.0.2", "127.0.0.1")
    with Server([HELLO]) as server:
        url = f"http://two.test:{server.port}"

        async def run() -> None:
            async with to(url) as pool:
                assert await ask(pool, url) == (200, b"hello")

        asyncio.run(run())
        assert server.requests[0].headers["host"] == f"two.test:{server.port}"


def test_all_addresses_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, "127.0.0.2", "127.0.0.3")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://two.test:{taken.getsockname()[1]}"
        with pytest.raises(NetworkError) as caught:
            asyncio.run(ask(ConnectionPool(parse_url(url)), url))
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_the_next_address_is_tried_beside_a_silent_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named(monkeypatch, "127.0.0.1", "127.0.0.2")
    monkeypatch.setattr(tcp, "ADDRESS_DELAY", 0.02)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one_request(reader)
        writer.write(HELLO)
        await reader.read()

    async def run() -> None:
        with full_queue() as silent:
            port = parse_url(silent).port
            url = f"http://two.test:{port}"
            async with serving(answer, "127.0.0.2", port), to(url) as pool:
                assert await asyncio.wait_for(ask(pool, url), 5) == (200, b"hello")

    asyncio.run(run())


def test_a_certificate_is_checked(authority: trustme.CA) -> None:
    with Server([HELLO], tls=server_tls(authority)) as server:
        for trust in (ssl.create_default_context(), client_tls(trustme.CA())):
            error = failing(server, trust)
            assert type(error) is NetworkError
            assert isinstance(error.__cause__, ssl.SSLCertVerificationError)
        assert not server.requests
        assert asked(server, tls=client_tls(authority)) == [b"hello"]


# What is sent.


def test_request_line_headers_and_body() -> None:
    with Server([HELLO]) as server:

        async def run() -> None:
            async with to(server.url) as pool:
                await ask(pool, f"{server.url}/ä b?q=1", headers={"X-A": "1\t2"})
                await ask(pool, server.url, b"", method="GET")

        asyncio.run(run())
        post, get = server.requests
    assert (post.method, post.path, post.body) == ("POST", "/v1/%C3%A4%20b?q=1", b"{}")
    assert post.fields == [
        ("host", f"127.0.0.1:{server.port}"),
        ("x-a", "1\t2"),
        ("content-length", "2"),
    ]
    assert (get.method, get.path, get.body) == ("GET", "/v1", b"")


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("size", [2**16, 2**16 + 1, 2**24])
def test_a_large_body_is_sent(size: int, secure: bool, authority: trustme.CA) -> None:
    tls = (server_tls(authority), client_tls(authority)) if secure else (None, None)
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with Server([HELLO], tls=tls[0]) as server:

        async def run() -> None:
            async with to(server.url, tls[1]) as pool:
                assert await ask(pool, server.url, body) == (200, b"hello")

        asyncio.run(run())
        assert server.requests[0].body == body


@pytest.mark.parametrize(
    "fields",
    [
        {"headers": {"X-A": "secret\r\nX-B: 1"}},
        {"headers": {"X-A": "secret\nX-B: 1"}},
        {"headers": {"X-A": "secret\0"}},
        {"headers": {"X-A": "secret\x7f"}},
        {"headers": {"X secret": "1"}},
        {"headers": {"secret:": "1"}},
        {"headers": {"": "secret"}},
        {"headers": {"x-a": "1\r\nx-b: secret"}},
        {"headers": {"x-a: secret\r\nx-b": "1"}},
        {"headers": {"content-length": "7"}},
        {"headers": {"transfer-encoding": "chunked"}},
        {"method": "HEAD"},
        {"method": "CONNECT"},
        {"method": "GET / HTTP/1.1\r\nX:"},
    ],
    ids=str,
)
def test_an_invalid_request_is_an_error_that_does_not_show_it(fields: dict[str, Any]) -> None:
    with Server([HELLO]) as server:

        async def run() -> None:
            async with to(server.url) as pool:
                with pytest.raises(Unsendable) as caught:
                    await ask(pool, server.url, **fields)
                assert "secret" not in repr(caught.value)
                assert await ask(pool, server.url) == (200, b"hello")

        asyncio.run(run())
        assert len(server.requests) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "https://127.0.0.1/", "http://localhost/"])
def test_a_request_for_another_origin_is_an_error(url: str) -> None:
    pool = ConnectionPool(parse_url("http://127.0.0.1/v1"))
    with pytest.raises(Unsendable):
        asyncio.run(ask(pool, url))


def test_unread_bytes_after_an_answer_are_not_the_next_one() -> None:
    behind = HELLO.replace(b"hello", b"wrong")
    with Server([HELLO, 0.05, behind], http(200, "right")) as server:

        async def run() -> bytes:
            async with to(server.url) as pool:
                assert (await ask(pool, server.url))[1] == b"hello"
                ((_, kept),) = pool._idle
                # Nothing is awaited until the bytes are there, so that the loop has not seen them.
                assert select.select([kept._transport.get_extra_info("socket")], [], [], 5)[0]
                return (await ask(pool, server.url))[1]

        assert asyncio.run(run()) == b"right"
