"""OpenAI's Batch API: files, batches of them, results in files.

The `openai` package, which llm brings, does the talking, over a client of ours: its own follows
redirects, and would carry all prompts along.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

from ...decoding.error_context import ErrorContext
from ...decoding.error_messages import http_error
from ...http.httpx_transport import network_error
from ...http.types import NetworkError
from ...providers.endpoint import Endpoint
from ..batch_parts import Part
from .base import MARK, PAGE, URL, Batch, BatchError, BatchService

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class OpenAIService(BatchService):
    """OpenAI's, and groq's."""

    def __init__(self, endpoint: Endpoint, context: ErrorContext) -> None:
        import openai

        super().__init__(endpoint, context)
        # Any: openai's types name httpx2, and it takes either.
        http: Any = {"http_client": self.http, "timeout": self.timeout}
        self.client: AsyncOpenAI = openai.AsyncOpenAI(
            api_key=endpoint.key.reveal() if endpoint.key else "",
            base_url=endpoint.base_url,
            default_headers=self.headers,
            max_retries=0,
            **http,
        )
        # Those of the environment, which would go to other providers than OpenAI too.
        self.client.organization = self.client.project = None

    @staticmethod
    def line(custom_id: str, body: bytes) -> bytes:
        head = json.dumps({"custom_id": custom_id, "method": "POST", "url": URL})
        return head[:-1].encode() + b', "body": ' + body + b"}\n"

    async def send(self, file: IO[bytes], part: Part, on_create: Callable[[], None]) -> Batch:
        with self.errors():
            uploaded = await self.client.files.create(
                file=(f"llm-g4f-{part.id}.jsonl", file, "application/jsonl"), purpose="batch"
            )
            id = self._checked(uploaded).id
        on_create()
        return await self.create(id, part)

    async def create(self, file: str, part: Part) -> Batch:
        """Make a batch of an uploaded file."""
        with self.errors():
            return self._batch(
                await self.client.batches.create(
                    input_file_id=file,
                    endpoint=URL,
                    completion_window="24h",
                    metadata={MARK: part.id},
                )
            )

    async def retrieve(self, id: str) -> Batch:
        with self.errors():
            return self._batch(await self.client.batches.retrieve(id))

    async def download(self, batch: Batch, file: IO[bytes]) -> None:
        for id in batch.files:
            with self.errors():
                request = self.client.files.with_streaming_response.content(id)
                async with request as response:
                    async for block in response.iter_bytes(1 << 16):
                        file.write(block)
            file.write(b"\n")

    async def page(self, cursor: Any) -> tuple[list[Batch], Any]:
        after: Any = {} if cursor is None else {"after": cursor}
        with self.errors():
            page = await self.client.batches.list(limit=PAGE, **after)
            found = [self._batch(each) for each in self._checked(page, "data").data]
            return found, found[-1].id if found and page.has_more else None

    async def close(self) -> None:
        await self.client.close()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        import openai

        with super().errors():
            try:
                yield
            except openai.APIStatusError as error:
                response = error.response
                status, headers = response.status_code, dict(response.headers)
                raise http_error(self.context, status, headers, response.content) from None
            except openai.APIConnectionError as error:
                cause = error.__cause__ or error
                failure = network_error(cause) or NetworkError(str(cause))
                raise self.no_response(failure, cause) from None
            except openai.OpenAIError:
                raise self.no_api() from None

    def _batch(self, batch: Any) -> Batch:
        self._checked(batch)
        self._checked(batch, "status")
        errors = getattr(batch.errors, "data", None) or ()
        completed, failed, total = (
            getattr(batch.request_counts, name, None) or 0
            for name in ("completed", "failed", "total")
        )
        return Batch(
            id=str(batch.id),
            status=str(batch.status),
            mark=batch.metadata.get(MARK) if isinstance(batch.metadata, dict) else None,
            done=completed + failed,
            total=total,
            files=tuple(filter(None, (batch.output_file_id, batch.error_file_id))),
            errors=tuple(BatchError(each.message or "", each.code, each.line) for each in errors),
        )

    def _checked(self, parsed: Any, name: str = "id") -> Any:
        """What openai made of an answer, which may be anything: it has the field `name`, at least."""
        if getattr(parsed, name, None) is None:
            raise self.no_api()
        return parsed
