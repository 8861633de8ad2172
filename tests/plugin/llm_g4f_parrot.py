"""A provider that says what it was told: the smallest package that adds one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import llm

from llm_g4f.providers.base import Serving, Unable
from llm_g4f.types import ChatCompletionChunk, ChatRequest, ChoiceDelta, ChunkChoice


class Parrot:
    name = "parrot"
    kind = "local"
    scope = "key"

    async def serves(self, request: ChatRequest) -> Serving | Unable:
        if request.params.get("tools"):
            return Unable("a parrot calls no tools")
        return Serving("polly", exact=False)

    async def models(self) -> list[str]:
        return ["polly"]

    async def stream(
        self, request: ChatRequest, serving: Serving
    ) -> AsyncIterator[ChatCompletionChunk]:
        for word in str(request.messages[-1]["content"]).split():
            choice = ChunkChoice(0, ChoiceDelta(content=f"{word} "))
            yield ChatCompletionChunk("parrot-1", 0, serving.model, [choice])
        yield ChatCompletionChunk(
            "parrot-1", 0, serving.model, [ChunkChoice(0, ChoiceDelta(), "stop")]
        )


@llm.hookimpl
def register_g4f_providers(register: Callable[[Any], None]) -> None:
    register(Parrot())
