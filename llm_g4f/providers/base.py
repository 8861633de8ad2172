"""What the router needs of a provider, and nothing more."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Literal, Protocol

from msgspec import Struct

from ..asyncgen import ManagedAsyncGen
from ..request import ChatRequest
from ..types import ChatCompletionChunk, Chunks

__all__ = ["Family", "Ineligible", "Kind", "Provider", "Scope", "Serving", "batches"]

Kind = Literal["keyed", "local", "anonymous", "embedded"]
Scope = Literal["key", "model"]


class Serving(Struct, frozen=True):
    """What a provider would answer with.

    `exact`: it is the requested model itself. `verify`: that is our belief and not the user's
    word, so the model that the answer names is compared. `omitted` are parameters it does not
    take. `context` is its window in tokens, None if unknown. `quirks` are applied to the request
    besides the provider's own. `successor`: it is what its maker put in the model's place.
    `refused`: parameters to leave out, since it has refused them. `schema_in_prompt`: it knows no
    schemas; the router tells it in words, and checks.
    """

    model: str
    exact: bool
    verify: bool = False
    omitted: tuple[str, ...] = ()
    context: int | None = None
    quirks: tuple[str, ...] = ()
    successor: bool = False
    refused: tuple[str, ...] = ()
    schema_in_prompt: bool = False


class Ineligible(Struct, frozen=True):
    """Why a provider cannot take a request, in words that end a sentence "NAME: …"."""

    reason: str


Unable = Ineligible


class Provider(Protocol):
    """A place that answers.

    `scope` says what a rate limit holds for: the key, or one model. `stream` yields the
    provider's chunks as they come (one chunk where the answer came whole) and raises
    `APIError`; closing it (`aclose`, if it has one) ends the request. One that reads several at
    once may have `batches` too, which yields them so.
    """

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    @property
    def scope(self) -> Scope: ...

    async def serves(self, request: ChatRequest) -> Serving | Ineligible: ...

    def stream(
        self, request: ChatRequest, serving: Serving
    ) -> AsyncIterator[ChatCompletionChunk]: ...

    async def models(self) -> list[str]: ...


class Family(Protocol):
    """Providers that are made when they are named: `name` ends in a colon, and what follows it is
    `id`. `member` raises `NoProviderError` for one that does not exist."""

    @property
    def name(self) -> str: ...

    def member(self, id: str) -> Provider: ...


def batches(provider: Provider, request: ChatRequest, serving: Serving) -> AsyncIterator[Chunks]:
    """The provider's chunks, in batches. Raises `APIError`."""
    read: Callable[..., AsyncIterator[Chunks]] | None = getattr(provider, "batches", None)
    if read is not None:
        return read(request, serving)
    return _one_by_one(provider.stream(request, serving))


async def _one_by_one(stream: AsyncIterator[ChatCompletionChunk]) -> AsyncGenerator[Chunks, None]:
    chunks = ManagedAsyncGen(stream)
    try:
        async for chunk in chunks:
            yield [chunk]
    finally:
        await chunks.aclose()
