"""What the Batch APIs of all providers have in common: how a batch is shown, how its provider is asked,
how one is found again. Errors are ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from typing import IO, Any, Final, TypeVar

import msgspec
from msgspec import Struct

from ...decoding.connection_errors import body_error, connection_error
from ...decoding.error_context import ErrorContext
from ...decoding.error_messages import http_error, no_api_at
from ...errors import APIConnectionError, InvalidResponseError
from ...http.connect import CONNECT_TIMEOUT, httpx_client
from ...http.httpx_transport import network_error
from ...http.types import NetworkError, parse_url
from ...providers.endpoint import Endpoint
from ...version import __version__
from ..batch_parts import Part

URL: Final = "/v1/chat/completions"

MARK: Final = "llm_g4f"
"""The key in a batch's metadata that has the id of our part."""

PAGE: Final = 100
"""Batches on one page of a listing: the most that any of the providers sends."""

_TIMEOUT = 600.0
"""Seconds without a byte, at most; that of the openai package."""

_SETTLED, _LOOK_AGAIN = 30.0, 2.0
"""Seconds after which a batch that was asked for is on the list, if it was made; and between two looks
at the list."""

_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
"""Source: `Batch.status` of openai 3.57."""

T = TypeVar("T")


class BatchError(Struct, frozen=True):
    """What is wrong with a batch, or with one line of its file (from 1)."""

    message: str
    code: str | None = None
    line: int | None = None


class Batch(Struct, frozen=True, kw_only=True):
    """A batch as it stands: `status` in OpenAI's words, `done` of `total` rows. `mark` is the id of our
    part, where the provider keeps one, else `made` is its model and its Unix time. Its results are in
    `files` of the provider or in `results`, lines of JSON; there may be some whatever its status."""

    id: str
    status: str
    mark: str | None = None
    made: tuple[str, float] | None = None
    done: int = 0
    total: int = 0
    files: tuple[str, ...] = ()
    results: tuple[bytes, ...] = ()
    errors: tuple[BatchError, ...] = ()

    @property
    def has_ended(self) -> bool:
        return self.status in _ENDED


class BatchService(ABC):
    """The Batch API of one provider. Raises `APIError`. Nothing is tried twice: what has an effect must
    not have it again, and who waits looks again anyway."""

    def __init__(self, endpoint: Endpoint, context: ErrorContext) -> None:
        import httpx

        self.context = context
        self.endpoint = endpoint
        self.headers = {"User-Agent": f"llm-g4f/{__version__}", **endpoint.headers}
        self.timeout = httpx.Timeout(_TIMEOUT, connect=CONNECT_TIMEOUT)
        try:
            self.http = httpx_client(endpoint.network, parse_url(endpoint.base_url))
        except (NetworkError, ValueError) as error:
            raise connection_error(context, error) from None

    @staticmethod
    @abstractmethod
    def line(custom_id: str, body: bytes) -> bytes:
        """The line of a row, which `send` takes: its id, and the body of its request in JSON. Raises
        `BadRequestError` for what no batch of this provider takes."""

    @abstractmethod
    async def send(self, file: IO[bytes], part: Part, on_create: Callable[[], None]) -> Batch:
        """Make a batch of the lines of a part. `on_create` is called right before the provider may have
        one."""

    @abstractmethod
    async def retrieve(self, id: str) -> Batch:
        """The batch as it stands now."""

    @abstractmethod
    async def download(self, batch: Batch, file: IO[bytes]) -> None:
        """Append the results of a batch that has ended, as lines of JSON."""

    @abstractmethod
    async def page(self, cursor: Any) -> tuple[list[Batch], Any]:
        """A page of the list of batches, and the cursor of the next one. None is the cursor of the first,
        and behind the last."""

    async def batches(self) -> AsyncIterator[Batch]:
        """All batches of this key."""
        seen: set[str] = set()
        cursor = None
        while True:
            page, cursor = await self.page(cursor)
            new = [batch for batch in page if batch.id not in seen]
            for batch in new:
                yield batch
            # Groq has one page, and does not say so.
            if not new or cursor is None:
                return
            seen |= {batch.id for batch in new}

    def is_of(self, batch: Batch, part: Part) -> bool:
        """Whether a batch is that of a part."""
        return batch.mark == part.id

    async def find(self, parts: Collection[Part], noted: Collection[str]) -> dict[str, str]:
        """The ids of the batches of these parts, by the id of the part. The last may still be in the
        making. `noted` are those of other parts."""
        patience = _SETTLED + max(part.creating or 0.0 for part in parts) - time.time()
        deadline = time.monotonic() + min(_SETTLED, patience)
        while True:
            found: dict[str, str] = {}
            async for batch in self.batches():
                if batch.id in noted or batch.id in found.values():
                    continue
                for part in parts:
                    if part.id not in found and self.is_of(batch, part):
                        found[part.id] = batch.id
                        break
                if len(found) == len(parts):
                    return found
            if time.monotonic() >= deadline:
                return found
            await asyncio.sleep(_LOOK_AGAIN)

    async def ask(self, method: str, path: str, kind: type[T], **request: Any) -> T:
        """What the provider answers, as `kind`. `request` is as in `httpx.AsyncClient.build_request`."""
        key = self.endpoint.key.reveal() if self.endpoint.key else ""
        headers = {"Authorization": f"Bearer {key}", **self.headers, **request.pop("headers", {})}
        with self.errors():
            made = self.http.build_request(
                *(method, self.endpoint.base_url + path),
                **{"headers": headers, "timeout": self.timeout, **request},
            )
            try:
                response = await self.http.send(made, stream=True)
            except Exception as error:
                if (failure := network_error(error)) is None:
                    raise
                raise self.no_response(failure, error) from None
            try:
                body = await response.aread()
            finally:
                await response.aclose()
            if not response.is_success:
                raise http_error(self.context, response.status_code, dict(response.headers), body)
            return msgspec.json.decode(body, type=kind)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the errors of a request into ours."""
        try:
            yield
        except (msgspec.MsgspecError, ValueError):
            raise self.no_api() from None
        except Exception as error:
            if (broken := network_error(error)) is None:
                raise
            raise body_error(self.context, broken) from None

    def no_response(self, failure: NetworkError, cause: BaseException) -> APIConnectionError:
        """The error for a request that got no response."""
        failure.__cause__ = cause
        return connection_error(self.context, failure)

    def no_api(self) -> InvalidResponseError:
        """The error for an answer that is not of a Batch API."""
        provider = self.context.provider
        return InvalidResponseError(
            f"{no_api_at(self.context)} {provider} sent something else than its Batch API does.",
            provider=provider,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self.http.aclose()
