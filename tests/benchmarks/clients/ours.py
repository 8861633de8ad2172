"""llm_g4f's AsyncClient with a base_url, and its Client for streams without `await`."""

from __future__ import annotations

from llm_g4f.client import AsyncClient

from . import MODEL, Texts, messages


class Peer:
    def __init__(self, url: str | None) -> None:
        self._url = url
        self._completions = AsyncClient(base_url=url).chat.completions

    async def whole(self, prompt: str) -> str:
        answer = await self._completions.create(messages(prompt), MODEL)
        return str(answer.choices[0].message.content)

    async def stream(self, prompt: str, texts: Texts) -> None:
        async for chunk in self._completions.create(messages(prompt), MODEL, stream=True):
            if chunk.choices and (text := chunk.choices[0].delta.content):
                texts.add(text)

    def stream_sync(self, prompt: str, texts: Texts) -> None:
        from llm_g4f.client import Client

        for chunk in Client(base_url=self._url).chat.completions.stream(messages(prompt), MODEL):
            if chunk.choices and (text := chunk.choices[0].delta.content):
                texts.add(text)
