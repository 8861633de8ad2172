"""openai's AsyncOpenAI."""

from __future__ import annotations

from typing import Any

from openai import AsyncOpenAI

from . import MODEL, Texts, messages


class Peer:
    def __init__(self, url: str) -> None:
        self._create: Any = AsyncOpenAI(base_url=url, api_key="bench").chat.completions.create

    async def whole(self, prompt: str) -> str:
        answer = await self._create(model=MODEL, messages=messages(prompt))
        return str(answer.choices[0].message.content)

    async def stream(self, prompt: str, texts: Texts) -> None:
        chunks = await self._create(model=MODEL, messages=messages(prompt), stream=True)
        async for chunk in chunks:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                texts.add(text)
