"""What the router needs of a provider, and nothing more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal, Protocol

from msgspec import Struct

from ..types import ChatCompletionChunk, ChatRequest

__all__ = ["Family", "Kind", "Provider", "Scope", "Serving", "Unable"]

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


class Unable(Struct, frozen=True):
    """Why a provider cannot take a request, in words that end a sentence "NAME: …"."""

    reason: str


class Provider(Protocol):
    """A place that answers.

    `scope` says what a rate limit holds for: the key, or one model. `stream` yields the
    provider's chunks as they come (one chunk where the answer came whole) and raises
    `APIError`; closing it (`aclose`, if it has one) ends the request.
    """

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    @property
    def scope(self) -> Scope: ...

    async def serves(self, request: ChatRequest) -> Serving | Unable: ...

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
