"""aiohttp alone."""

from __future__ import annotations

import aiohttp

from . import MODEL, Texts, messages
from .sse import Events


class Peer:
    def __init__(self, url: str) -> None:
        self._url = f"{url}/chat/completions"
        self._cached: aiohttp.ClientSession | None = None

    @property
    def _session(self) -> aiohttp.ClientSession:
        # Only a running event loop can create one.
        if self._cached is None:
            self._cached = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self._cached

    async def whole(self, prompt: str) -> str:
        body = {"model": MODEL, "messages": messages(prompt)}
        async with self._session.post(self._url, json=body) as response:
            return str((await response.json())["choices"][0]["message"]["content"])

    async def stream(self, prompt: str, texts: Texts) -> None:
        events = Events(texts)
        body = {"model": MODEL, "messages": messages(prompt), "stream": True}
        async with self._session.post(self._url, json=body) as response:
            async for data in response.content.iter_any():
                events.feed(data)
