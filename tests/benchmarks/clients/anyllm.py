"""any-llm's acompletion, on its provider for OpenAI."""

from __future__ import annotations

from any_llm import AnyLLM

from . import MODEL, Texts, messages


class Peer:
    def __init__(self, url: str) -> None:
        self._llm = AnyLLM.create("openai", api_key="bench", api_base=url)

    async def whole(self, prompt: str) -> str:
        answer = await self._llm.acompletion(MODEL, messages(prompt))
        return str(answer.choices[0].message.content)

    async def stream(self, prompt: str, texts: Texts) -> None:
        async for chunk in await self._llm.acompletion(MODEL, messages(prompt), stream=True):
            if chunk.choices and (text := chunk.choices[0].delta.content):
                texts.add(text)
