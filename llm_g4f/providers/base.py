"""The interface of a provider, as far as routing needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace

from ..accumulator import Accumulator
from ..errors import APIError, StreamError
from ..http.types import Response
from ..request import ChatRequest
from ..types import ChatCompletionChunk, Chunks
from .capabilities import Capabilities

__all__ = [
    "Family",
    "Ineligible",
    "Kind",
    "OpenStream",
    "Provider",
    "Scope",
    "ServedModel",
    "Serving",
    "Unable",
    "open_stream",
]

Kind = Literal["keyed", "local", "anonymous", "embedded"]
Scope = Literal["key", "model"]

Code = Literal[
    "disabled",
    "not_enabled",
    "needs_consent",
    "no_key",
    "invalid_key",
    "env_var_missing",
    "no_model",
    "retired",
    "unreachable",
    "incapable",
    "not_exact",
    "context",
    "not_needed",
    "over_budget",
    "spend_unknown",
    "",
]
"""The reason for which a provider is ineligible, as a code; "" where another package gives only
words."""


class ServedModel(Struct, frozen=True):
    """A model at a provider, with which it would answer a request.

    `exact`: it is the requested model itself. `verify`: `exact` is a belief of the catalogue and
    not the user's word, so the model that the answer names is compared. `omitted` are parameters
    that the provider does not take. `context` is its window in tokens, None if unknown. `quirks`
    are applied to the request besides the provider's own. `successor`: its maker put it in the
    requested model's place. `refused`: parameters to leave out, since it rejected them.
    `schema_in_prompt`: it has no schemas; the router puts the schema into the prompt.
    `enforces_schema`: its answers fit the schema of the request, token by token; those of others
    are held back until they are whole, and checked. `capabilities`: None if unknown, and then nothing is held against it.
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
    enforces_schema: bool = False
    capabilities: Capabilities | None = None


class Ineligible(Struct, frozen=True):
    """The reason for which a provider cannot take a request: words that end a sentence "NAME: …", and
    a code."""

    reason: str
    code: Code = ""


Serving = ServedModel
"""The name under which other packages know `ServedModel`."""

Unable = Ineligible
"""The name under which other packages know `Ineligible`."""


class Provider(Protocol):
    """A place that answers. A provider that reads several chunks at once may have
    `async open(request, served) -> OpenStream` too."""

    @property
    def name(self) -> str:
        """The name in routes, receipts and g4f.yaml."""
        ...

    @property
    def kind(self) -> Kind:
        """The kind, which decides about consent and about the place in the default route."""
        ...

    @property
    def scope(self) -> Scope:
        """The scope of a rate limit: the key, or one model."""
        ...

    async def serves(self, request: ChatRequest) -> ServedModel | Ineligible:
        """The model that would answer `request`, or the reason why there is none. Sends no prompt."""
        ...

    def stream(
        self, request: ChatRequest, serving: ServedModel
    ) -> AsyncIterator[ChatCompletionChunk]:
        """The provider's chunks as they come; one chunk if the answer comes whole. Raises `APIError`.
        Closing it (`aclose`, if it has one) ends the request."""
        ...

    async def models(self) -> list[str]:
        """The model ids that the provider lists. Raises `APIError`."""
        ...


class Family(Protocol):
    """Providers that are made when they are named: `name` ends in a colon, and the rest of the
    provider's name is `id`. `member` raises `NoProviderError` for one that does not exist."""

    @property
    def name(self) -> str: ...

    def member(self, id: str) -> Provider: ...


class ChunkStream(Protocol):
    """An async iterator of `Chunks` that raises `APIError`. `aclose` ends the request."""

    async def __anext__(self) -> Chunks: ...

    async def aclose(self) -> None: ...


class OpenStream(Struct, frozen=True):
    """A request on its way: its chunks, and the parameters that were left out of it. `size` is that of
    its body in bytes, 0 if it is unknown. `request_id` is the provider's name for it. `completion`
    accumulates the chunks where they are read; without it, `open_stream` does."""

    chunks: ChunkStream
    omitted: tuple[str, ...] = ()
    size: int = 0
    response: Response | None = None
    request_id: str | None = None
    completion: Accumulator | None = None


async def open_stream(provider: Provider, request: ChatRequest, served: ServedModel) -> OpenStream:
    """The provider's answer, with its `completion`. Raises `APIError`."""
    opener: Callable[..., Awaitable[OpenStream]] | None = getattr(provider, "open", None)
    if opener is not None:
        opened = await opener(request, served)
    else:
        opened = OpenStream(_OneByOne(provider.stream(request, served)), served.omitted)
    if opened.completion is None:
        stream = _Accumulated(opened.chunks, provider.name, served.model)
        opened = replace(opened, chunks=stream, completion=stream.completion)
    return opened


class _OneByOne:
    """A stream of single chunks as a `ChunkStream`."""

    def __init__(self, chunks: AsyncIterator[ChatCompletionChunk]) -> None:
        self._chunks = chunks
        self._begun = False

    async def __anext__(self) -> Chunks:
        self._begun = True
        return [await self._chunks.__anext__()]

    async def aclose(self) -> None:
        close = getattr(self._chunks, "aclose", None)
        if not self._begun or close is None:
            return
        try:
            await close()
        except RuntimeError as error:
            # The event loop closes all generators at its end, perhaps this one at this moment.
            if "already running" not in str(error):
                raise


class _Accumulated:
    """The `ChunkStream` of a provider that does not accumulate its chunks. A finish_reason "error"
    ends it with a `StreamError`."""

    def __init__(self, chunks: ChunkStream, provider: str, model: str) -> None:
        self._chunks = chunks
        self._provider, self._model = provider, model
        self._broken: StreamError | None = None
        self.completion = Accumulator()

    async def __anext__(self) -> Chunks:
        if self._broken is not None:
            raise self._broken
        chunks = await self._chunks.__anext__()
        for place, chunk in enumerate(chunks):
            if any(choice.finish_reason == "error" for choice in chunk.choices):
                self._broken = self._error()
                if not place:
                    raise self._broken
                return chunks[:place]
            self.completion.add(chunk)
        return chunks

    @property
    def failure(self) -> APIError | None:
        """The error behind the chunks that were read."""
        return self._broken or getattr(self._chunks, "failure", None)

    @property
    def warnings(self) -> tuple[str, ...]:
        return getattr(self._chunks, "warnings", ())

    async def aclose(self) -> None:
        await self._chunks.aclose()

    def _error(self) -> StreamError:
        return StreamError(
            f"{self._provider} broke off its answer with an error. Ask again, or ask another provider.",
            provider=self._provider,
            model=self._model,
        )
