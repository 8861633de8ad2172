"""A server in a process of its own, which spoils a part of the answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import random
from collections import Counter
from multiprocessing.connection import Connection

from tests.support.server import END, SSE_HEAD, chunk, event, framed, http

KEY = "sk-load-Q7mZ2xV9rT4kB8wN"
"""What requests have to bring; without it their answer is 401."""

WORDS = [f"word{number} " for number in range(20)]
ANSWER = "".join(WORDS)

PIECES = [framed(event(chunk(word))) for word in WORDS]
LAST = [framed(event(chunk(finish="stop"))), framed(event("[DONE]")), END]
GOOD = [SSE_HEAD, *PIECES, *LAST]


def _whole(status: int, body: str) -> bytes:
    (data,) = http(status, body, kind="text/plain")
    assert isinstance(data, bytes)
    return data


UNAUTHORIZED = _whole(401, "no key")

FAULTS: dict[str, list[bytes]] = {
    "reset before": [],
    "reset within": [SSE_HEAD, *PIECES[:5]],
    "429": [_whole(429, '{"error": {"message": "slow down"}}')],
    "500": [_whole(500, "boom")],
    "truncated": [SSE_HEAD, *PIECES[:5], END],
    "stall before": [SSE_HEAD],
    "stall within": [SSE_HEAD, *PIECES[:5]],
    "garbage": [SSE_HEAD, framed(b"data: {{{ garbage\n\n"), END],
    "garbage within": [SSE_HEAD, *PIECES[:5], framed(b"data: \xff\xfe\x00\n\n"), END],
    "HTML": [_whole(200, "<html>gateway</html>")],
    "no HTTP": [b"SSH-2.0-OpenSSH_9.9\r\n\r\n"],
}


class _Service:
    """Answers requests; `share` of them with a fault, which `faults` counts. `pause` are the seconds
    between the pieces of a good answer."""

    def __init__(self, share: float, pause: float) -> None:
        self.faults: Counter[str] = Counter()
        self._share = share
        self._pause = pause
        self._chance = random.Random(4711)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection is kept."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
        if f"bearer {KEY}\r\n".lower().encode() not in head.lower():
            writer.write(UNAUTHORIZED)
            return True
        if self._chance.random() >= self._share:
            for piece in GOOD:
                writer.write(piece)
                await asyncio.sleep(self._pause)
            await writer.drain()
            return True
        fault = self._chance.choice(list(FAULTS))
        self.faults[fault] += 1
        for piece in FAULTS[fault]:
            writer.write(piece)
        await writer.drain()
        if fault.startswith("stall"):
            # The client gives up and closes.
            await reader.read(1)
            return False
        if fault.startswith("reset"):
            writer.transport.abort()
            return False
        return fault != "no HTTP"


def _serve(pipe: Connection, share: float, pause: float) -> None:
    """The server's process: sends its port, and the faults when something comes through the pipe."""

    async def main() -> None:
        service = _Service(share, pause)
        server = await asyncio.start_server(service.accept, "127.0.0.1", 0, backlog=2_000)
        pipe.send(server.sockets[0].getsockname()[1])
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(pipe.fileno(), ended.set)
        await ended.wait()
        pipe.send(service.faults)
        server.close()

    # A client that has gone is no news here.
    logging.disable()
    with contextlib.suppress(BrokenPipeError):
        asyncio.run(main())


class FaultyServer:
    """The server, while the block lasts: `url` is its base URL, `faults` what it did, at the end."""

    def __init__(self, share: float, pause: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, share, pause), daemon=True)
        self._process.start()
        theirs.close()
        self.url = ""
        self.faults: Counter[str] = Counter()

    def __enter__(self) -> FaultyServer:
        self.url = f"http://127.0.0.1:{self._pipe.recv()}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send("end")
        self.faults = self._pipe.recv()
        self._pipe.close()
        self._process.join(5)
        self._process.terminate()
        self._process.join()
        self._process.close()
