"""The lower bound: an asyncio Protocol on a socket that relies on the server's exact bytes.

It yields one text at a time, as any client does, but does not parse the JSON of a stream.
"""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

from . import MODEL, Texts, messages

_CONTENT = b'"content":"'


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.texts = Texts()
        self.done: asyncio.Future[None]
        self.rest = b""
        self.whole = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, request: bytes, texts: Texts, *, whole: bool) -> asyncio.Future[None]:
        self.texts, self.rest, self.whole = texts, b"", whole
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.done

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        if self.whole:
            self._body(data)
            return
        end = data.rfind(b"\n\n") + 2
        self.rest = data[end:]
        for event in data[:end].split(b"\n\n"):
            start = event.find(_CONTENT) + len(_CONTENT)
            if start >= len(_CONTENT) and (text := event[start : event.index(b'"', start)]):
                self.texts.add(text.decode())
        if self.rest.endswith(b"\r\n0\r\n\r\n"):
            self.done.set_result(None)

    def _body(self, data: bytes) -> None:
        self.rest = data
        head, blank_line, body = data.partition(b"\r\n\r\n")
        length = head.partition(b"content-length: ")[2].split(b"\r\n")[0]
        if not blank_line or len(body) < int(length):
            return
        self.texts.add(json.loads(body)["choices"][0]["message"]["content"])
        self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("closed"))


class Peer:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._head = f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        self._free: list[_Connection] = []

    async def _ask(self, prompt: str, texts: Texts, *, whole: bool) -> None:
        body = json.dumps({"model": MODEL, "messages": messages(prompt), "stream": not whole})
        head = f"{self._head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        if self._free:
            connection = self._free.pop()
        else:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(_Connection, self._host, self._port)
        await connection.ask((head + body).encode(), texts, whole=whole)
        self._free.append(connection)

    async def whole(self, prompt: str) -> str:
        texts = Texts()
        await self._ask(prompt, texts, whole=True)
        return texts[0]

    async def stream(self, prompt: str, texts: Texts) -> None:
        await self._ask(prompt, texts, whole=False)
