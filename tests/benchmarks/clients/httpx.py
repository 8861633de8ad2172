"""httpx alone."""

from __future__ import annotations

import httpx

from . import MODEL, Texts, messages
from .sse import Events


class Peer:
    def __init__(self, url: str) -> None:
        self._url = f"{url}/chat/completions"
        limits = httpx.Limits(max_connections=None)
        self._client = httpx.AsyncClient(timeout=60, limits=limits)

    async def whole(self, prompt: str) -> str:
        body = {"model": MODEL, "messages": messages(prompt)}
        response = await self._client.post(self._url, json=body)
        return str(response.json()["choices"][0]["message"]["content"])

    async def stream(self, prompt: str, texts: Texts) -> None:
        events = Events(texts)
        body = {"model": MODEL, "messages": messages(prompt), "stream": True}
        async with self._client.stream("POST", self._url, json=body) as response:
            async for data in response.aiter_bytes():
                events.feed(data)
