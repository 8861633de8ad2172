"""g4f's AsyncClient with a custom provider, since it ignores base_url."""

from __future__ import annotations

from g4f.client import AsyncClient
from g4f.client.factory import create_custom_provider

from . import MODEL, Texts, messages


class Peer:
    def __init__(self, url: str) -> None:
        provider = create_custom_provider(
            url, "bench", name="Bench", default_model=MODEL, models=[MODEL]
        )
        self._completions = AsyncClient(provider=provider).chat.completions

    async def whole(self, prompt: str) -> str:
        answer = await self._completions.create(messages(prompt), MODEL)
        return str(answer.choices[0].message.content)

    async def stream(self, prompt: str, texts: Texts) -> None:
        async for chunk in self._completions.stream(messages(prompt), MODEL):
            if chunk.choices and (text := chunk.choices[0].delta.content):
                texts.add(text)
