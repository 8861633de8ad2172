"""litellm's acompletion."""

from __future__ import annotations

from typing import Any

import litellm

from . import MODEL, Texts, messages


class Peer:
    def __init__(self, url: str) -> None:
        self._settings: dict[str, Any] = {
            "model": f"openai/{MODEL}",
            "api_base": url,
            "api_key": "bench",
        }

    async def whole(self, prompt: str) -> str:
        answer = await litellm.acompletion(messages=messages(prompt), **self._settings)
        return str(answer.choices[0].message.content)

    async def stream(self, prompt: str, texts: Texts) -> None:
        chunks = await litellm.acompletion(messages=messages(prompt), stream=True, **self._settings)
        async for chunk in chunks:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                texts.add(text)
