"""OpenAI's Batch API at one provider: files, batches, results. Errors are ours.

The `openai` package, which llm brings, does the talking, over a client of ours: its own follows
redirects, and would carry all prompts along.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Iterator
from typing import IO, TYPE_CHECKING, Any, Final

from msgspec import Struct

from ..decoding.connection_errors import body_error, connection_error
from ..decoding.error_context import ErrorContext
from ..decoding.error_messages import http_error, no_api_at
from ..errors import InvalidResponseError
from ..http.connect import CONNECT_TIMEOUT, httpx_client
from ..http.httpx_transport import network_error
from ..http.types import NetworkError, parse_url
from ..providers.endpoint import Endpoint
from ..version import __version__

if TYPE_CHECKING:
    from openai import AsyncOpenAI

URL: Final = "/v1/chat/completions"

_MARK = "llm_g4f"
"""The key in a batch's metadata that has the id of our part."""

_TIMEOUT = 600.0
"""Seconds without a byte, at most; openai's own."""

_PAGE = 100
"""Batches on one page of a listing: the most that OpenAI sends."""

_SETTLED, _LOOK_AGAIN = 30.0, 2.0
"""Seconds after which a batch that was asked for is on the list, if it was made; and between two looks
at the list."""

_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
"""Source: `Batch.status` of openai 3.57."""


class BatchError(Struct, frozen=True):
    """What is wrong with a batch, or with one line of its file (from 1)."""

    message: str
    code: str | None = None
    line: int | None = None


class Batch(Struct, frozen=True):
    """A batch as it stands. `mark` is the id of our part. `files` are its results; there may be some
    whatever its status."""

    id: str
    status: str
    mark: str | None
    done: int
    total: int
    files: tuple[str, ...]
    errors: tuple[BatchError, ...]

    @property
    def has_ended(self) -> bool:
        return self.status in _ENDED


class BatchService:
    """Raises `APIError`. Nothing is tried twice: what has an effect must not have it again, and who
    waits looks again anyway."""

    def __init__(self, endpoint: Endpoint, context: ErrorContext) -> None:
        import httpx
        import openai

        self._context = context
        try:
            # Any: openai's types name httpx2, and it takes either.
            http_client: Any = httpx_client(endpoint.network, parse_url(endpoint.base_url))
        except (NetworkError, ValueError) as error:
            raise connection_error(context, error) from None
        timeout: Any = httpx.Timeout(_TIMEOUT, connect=CONNECT_TIMEOUT)
        self._client: AsyncOpenAI = openai.AsyncOpenAI(
            api_key=endpoint.key.reveal() if endpoint.key else "",
            base_url=endpoint.base_url,
            default_headers={"User-Agent": f"llm-g4f/{__version__}", **endpoint.headers},
            timeout=timeout,
            max_retries=0,
            http_client=http_client,
        )
        # Those of the environment, which would go to other providers than OpenAI too.
        self._client.organization = self._client.project = None

    async def upload(self, file: IO[bytes], mark: str) -> str:
        """The id of the uploaded file."""
        with self._errors():
            uploaded = await self._client.files.create(
                file=(f"llm-g4f-{mark}.jsonl", file, "application/jsonl"), purpose="batch"
            )
            return str(self._checked(uploaded).id)

    async def create(self, file: str, mark: str) -> Batch:
        """Make a batch of an uploaded file."""
        with self._errors():
            return self._batch(
                await self._client.batches.create(
                    input_file_id=file,
                    endpoint=URL,
                    completion_window="24h",
                    metadata={_MARK: mark},
                )
            )

    async def _batches(self) -> AsyncIterator[Batch]:
        """All batches, page by page."""
        seen: set[str] = set()
        after: dict[str, Any] = {}
        while True:
            with self._errors():
                page = await self._client.batches.list(limit=_PAGE, **after)
                batches = [self._batch(each) for each in self._checked(page, "data").data]
            new = [batch for batch in batches if batch.id not in seen]
            for batch in new:
                yield batch
            # Groq has one page, and does not say so.
            if not new or not page.has_more:
                return
            seen |= {batch.id for batch in new}
            after = {"after": batches[-1].id}

    async def find(self, marks: Collection[str], asked: float) -> dict[str, str]:
        """The ids of the batches with these marks, the last of which was asked for at a Unix time. It
        may still be in the making."""
        patience = min(_SETTLED, asked + _SETTLED - time.time())
        deadline = time.monotonic() + patience
        while True:
            found = {}
            async for batch in self._batches():
                if batch.mark in marks:
                    found[batch.mark or ""] = batch.id
                if len(found) == len(marks):
                    return found
            if time.monotonic() >= deadline:
                return found
            await asyncio.sleep(_LOOK_AGAIN)

    async def retrieve(self, id: str) -> Batch:
        """The batch as it stands now."""
        with self._errors():
            return self._batch(await self._client.batches.retrieve(id))

    async def download(self, batch: Batch, file: IO[bytes]) -> None:
        """Append the results of a batch, as lines of JSON."""
        for id in batch.files:
            with self._errors():
                request = self._client.files.with_streaming_response.content(id)
                async with request as response:
                    async for block in response.iter_bytes(1 << 16):
                        file.write(block)
            file.write(b"\n")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        import openai

        try:
            yield
        except openai.APIStatusError as error:
            response = error.response
            status, headers, body = response.status_code, dict(response.headers), response.content
            raise http_error(self._context, status, headers, body, 0) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            failure = network_error(cause) or NetworkError(str(cause))
            failure.__cause__ = error.__cause__
            raise connection_error(self._context, failure) from None
        except (openai.OpenAIError, ValueError):
            raise self._no_api() from None
        except Exception as error:
            # openai's package reads the body of a response without errors of its own.
            if (broken := network_error(error)) is None:
                raise
            raise body_error(self._context, broken) from None

    def _batch(self, batch: Any) -> Batch:
        self._checked(batch)
        self._checked(batch, "status")
        errors = getattr(batch.errors, "data", None) or ()
        completed, failed, total = (
            getattr(batch.request_counts, name, None) or 0
            for name in ("completed", "failed", "total")
        )
        mark = batch.metadata.get(_MARK) if isinstance(batch.metadata, dict) else None
        return Batch(
            str(batch.id),
            str(batch.status),
            mark,
            *(completed + failed, total),
            tuple(filter(None, (batch.output_file_id, batch.error_file_id))),
            tuple(BatchError(each.message or "", each.code, each.line) for each in errors),
        )

    def _checked(self, parsed: Any, name: str = "id") -> Any:
        """What openai made of an answer, which may be anything: it has the field `name`, at least."""
        if getattr(parsed, name, None) is None:
            raise self._no_api()
        return parsed

    def _no_api(self) -> InvalidResponseError:
        provider = self._context.provider
        return InvalidResponseError(
            f"{no_api_at(self._context)} {provider} sent something else than its Batch API does.",
            provider=provider,
        )
