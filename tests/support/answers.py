"""The result of a call of `AsyncClient`."""

from __future__ import annotations

import asyncio
from typing import Any

from llm_g4f.client import AsyncClient
from llm_g4f.errors import G4FError
from llm_g4f.types import ChatCompletion


def streamed(provider: str | None = "a,b", **params: Any) -> tuple[str, G4FError | None]:
    """The text that a stream gave, and the error it ended in."""

    async def run() -> tuple[str, G4FError | None]:
        text = ""
        try:
            async for one in AsyncClient(provider).chat.completions.stream("hi", **params):
                for choice in one.choices:
                    text += choice.delta.content or ""
        except G4FError as error:
            return text, error
        return text, None

    return asyncio.run(run())


def text_of(made: ChatCompletion) -> str | None:
    return made.choices[0].message.content


def outcomes(answer: ChatCompletion | G4FError | None) -> list[tuple[str, str]]:
    assert answer is not None
    assert answer.receipt is not None
    return [(one.provider, one.outcome) for one in answer.receipt.attempts]
