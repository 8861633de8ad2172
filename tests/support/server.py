"""A server on loopback that replays bytes exactly: any answer, any split, any fault.

    with Server(stream("Hel", "lo")) as server:
        ...  # server.url is a base URL, server.requests what arrived

A script is a sequence of steps for one request: bytes are sent, a number is a pause in
seconds, `Endless` bytes are sent until the client goes away, `RESET` aborts the connection, `CLOSE`
closes it, `HALF` closes the server's half and waits as `HANG` does: until the client goes away.
Behind the last step the connection is kept for the next request. The scripts are used one a
request, the last one again and again.

The router looks at the /models of an own endpoint. `models` is the script for that, by default a 404,
and such a request goes to `looks`, not to `requests`; with `models=None` it takes its turn with the
others.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tests.support.loops import new_asyncio_loop
from tests.support.waiting import wait_until


class End(Enum):
    RESET = "reset"
    CLOSE = "close"
    HALF = "half close"
    HANG = "hang"


RESET, CLOSE, HALF, HANG = End.RESET, End.CLOSE, End.HALF, End.HANG


@dataclass(frozen=True)
class Endless:
    """`data` again and again, with `pause` seconds behind each."""

    data: bytes
    pause: float = 0.0


Step = bytes | float | Endless | End
Script = Sequence[Step]


@dataclass
class Request:
    """A request as it arrived; header names are in lower case. `fields` are all header lines."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    fields: list[tuple[str, str]] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    scripts: tuple[Script, ...]
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    looks: list[Request] = field(default_factory=list)
    connections: int = 0
    closed: int = 0
    hanging: int = 0
    port: int = 0
    unix_socket: str | None = None

    def __init__(
        self,
        *scripts: Script,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        models: Script | None = (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",),
        unix_socket: str | None = None,
    ) -> None:
        self.scripts = scripts
        self.models = models
        self.unix_socket = unix_socket
        self.tls = tls
        self.requests = []
        self.looks = []
        self.connections = self.closed = self.hanging = 0
        self.port = port
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def origin(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    def __enter__(self) -> Server:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=new_asyncio_loop) as runner:
            runner.run(self._serve())

    def wait_requests(self, count: int = 1, seconds: float = 5.0) -> None:
        """Wait until `count` requests have arrived. Raises AssertionError if they do not."""
        wait_until(lambda: len(self.requests) >= count, seconds)

    def wait_closed(self, count: int = 1, seconds: float = 5.0) -> None:
        """Wait until `count` connections have ended. Raises AssertionError if they do not."""
        wait_until(lambda: self.closed >= count, seconds)

    def _note_closed(self) -> None:
        self.closed += 1

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()
        writers: list[asyncio.StreamWriter] = []

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            writers.append(writer)
            self.connections += 1
            number = self.connections
            try:
                while await self._exchange(reader, writer, number):
                    pass
            except (
                ConnectionError,
                asyncio.IncompleteReadError,
                ssl.SSLError,
                asyncio.CancelledError,
            ):
                pass
            finally:
                tasks.discard(task)
                writer.close()
                # Behind what closes the socket.
                asyncio.get_running_loop().call_soon(self._note_closed)

        if self.unix_socket is not None:
            server = await asyncio.start_unix_server(accept, self.unix_socket)
        else:
            server = await asyncio.start_server(accept, "127.0.0.1", self.port, ssl=self.tls)
            self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        # A connection that is made takes some turns of the loop to reach its task; before that,
        # it would stay open.
        for _ in range(10):
            await asyncio.sleep(0)
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            # TLS says goodbye first, for which there is no time.
            writer.transport.abort()
        for _ in range(10):
            await asyncio.sleep(0)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> bool:
        begin = await reader.readexactly(1)
        if begin == b"\x16":
            # A client that begins with TLS is told in plain text, as real servers do.
            writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            return False
        head = (begin + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        method, path, _ = first.split(" ")
        pairs = (line.split(":", 1) for line in lines)
        fields = [(name.strip().lower(), value.strip()) for name, value in pairs]
        headers = dict(fields)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        request = Request(method, path, headers, body, number, fields)
        if self.models is not None and (method, path.partition("?")[0][-7:]) == ("GET", "/models"):
            script = self.models
            self.looks.append(request)
        else:
            script = self.scripts[min(len(self.requests), len(self.scripts) - 1)]
            self.requests.append(request)
        for step in script:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, Endless):
                while True:
                    writer.write(step.data)
                    await writer.drain()
                    await asyncio.sleep(step.pause)
            elif step is RESET:
                writer.transport.abort()
                return False
            elif step is CLOSE:
                return False
            elif step in (HALF, HANG):
                if step is HALF:
                    writer.write_eof()
                self.hanging += 1
                # Nothing more is expected: this ends when the client closes.
                await reader.read(1)
                return False
            else:
                assert isinstance(step, (int, float))
                await asyncio.sleep(step)
        return True


def http(
    status: int = 200,
    body: bytes | str | dict[str, Any] | list[Any] = b"",
    headers: Iterable[tuple[str, str]] = (),
    kind: str = "application/json",
) -> Script:
    """A whole response with a Content-Length; dicts and lists are sent as JSON."""
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    fields = [("Content-Type", kind), ("Content-Length", str(len(body))), *headers]
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields)
    return [head.encode() + b"\r\n" + body]


SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def framed(data: bytes) -> bytes:
    """`data` as one HTTP chunk."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


END = b"0\r\n\r\n"
"""The end of a chunked body."""


def chunk(
    content: str | None = None,
    *,
    finish: str | None = None,
    model: str = "gpt-4o-2024-11-20",
    usage: dict[str, Any] | None = None,
    **delta: Any,
) -> dict[str, Any]:
    """One chat.completion.chunk in OpenAI's form; `delta` are more fields of the delta."""
    if content is not None:
        delta["content"] = content
    data: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    if usage is not None:
        data |= {"usage": usage, "choices": []}
    return data


def event(data: Any) -> bytes:
    """`data` as one server-sent event; str as it is, everything else as JSON."""
    text = data if isinstance(data, str) else json.dumps(data)
    return f"data: {text}\n\n".encode()


USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def events(*items: Any) -> Script:
    """A chunked response of server-sent events, one HTTP chunk each, ended properly."""
    return [SSE_HEAD, *(framed(event(item)) for item in items), END]


def stream(*texts: str, model: str = "gpt-4o-2024-11-20") -> Script:
    """A good streamed answer, as OpenAI sends it."""
    return events(
        chunk("", role="assistant", model=model),
        *(chunk(text, model=model) for text in texts),
        chunk(finish="stop", model=model),
        chunk(usage=USAGE, model=model),
        "[DONE]",
    )


def completion(
    text: str | None = "Hello", *, model: str = "gpt-4o-2024-11-20", **message: Any
) -> dict[str, Any]:
    """A whole chat.completion in OpenAI's form."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, **message},
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }


def whole(text: str | None = "Hello", **extra: Any) -> Script:
    """A good answer that is not streamed."""
    return http(200, completion(text, **extra))


def call(name: str, arguments: str, id: str, index: int = 0) -> dict[str, Any]:
    """A tool call in a delta, in one piece."""
    function = {"name": name, "arguments": arguments}
    return {"index": index, "id": id, "type": "function", "function": function}


def calls(*made: dict[str, Any]) -> Script:
    """A streamed answer that calls tools."""
    return events(
        chunk(role="assistant", content=None),
        *(chunk(tool_calls=[one]) for one in made),
        chunk(finish="tool_calls"),
        chunk(usage=USAGE),
        "[DONE]",
    )


def split(data: bytes, size: int) -> Iterator[bytes]:
    """`data` in pieces of `size` bytes."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def drip(data: bytes, pause: float) -> Script:
    """`data` a byte at a time, each an HTTP chunk, with `pause` seconds behind it."""
    return [step for piece in split(data, 1) for step in (framed(piece), pause)]


@contextmanager
def full_queue() -> Iterator[str]:
    """The origin of an address that neither makes nor refuses connections: its queue is full."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(8)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}"
        for client in waiting:
            client.close()
