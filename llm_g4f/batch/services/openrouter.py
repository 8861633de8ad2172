"""OpenRouter's Batch API: the requests in one body, the results in the batch, no metadata. Source:
openrouter 1.3 (batch.py, components/batchsubmitbody.py and batchobject.py); openrouter.ai/docs,
"Batch API" and "Batch API Quickstart".
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import IO, Any, Final

import msgspec
from msgspec import Raw, Struct

from ...types import JSON
from ..batch_parts import Part
from ..rows import invalid_row
from .base import PAGE, URL, Batch, BatchError, BatchService

_BATCHES: Final = "/batches"

_SKEW = 60.0
"""Seconds by which the clocks here and there may differ, when a batch is found again by its time."""


class _Counts(Struct):
    completed: int = 0
    failed: int = 0
    total: int = 0


class _Error(Struct):
    message: str


class _Batch(Struct):
    id: str
    status: str
    model: str = ""
    created_at: float = 0.0
    request_counts: _Counts = msgspec.field(default_factory=_Counts)
    results: list[Raw] | None = None
    error: _Error | None = None

    def batch(self) -> Batch:
        counts = self.request_counts
        return Batch(
            id=self.id,
            status=self.status,
            made=(self.model, self.created_at),
            done=counts.completed + counts.failed,
            total=counts.total,
            results=tuple(
                msgspec.json.format(bytes(each), indent=-1) for each in self.results or ()
            ),
            errors=() if self.error is None else (BatchError(self.error.message),),
        )


class _Page(Struct):
    data: list[_Batch]
    has_more: bool = False


class OpenRouterService(BatchService):
    """OpenRouter's."""

    @staticmethod
    def line(custom_id: str, body: bytes) -> bytes:
        parsed: JSON = json.loads(body)
        # That of the batch holds for each row.
        del parsed["model"]
        if any(not _is_taken(part) for part in _parts(parsed)):
            # The whole batch would fail.
            raise invalid_row("openrouter's batches take text, and images by their URL, only")
        return json.dumps({"custom_id": custom_id, "body": parsed}).encode() + b"\n"

    async def send(self, file: IO[bytes], part: Part, on_create: Callable[[], None]) -> Batch:
        # In this order: it is read as a stream ("Submit a batch").
        head = {"endpoint": URL, "model": _variant(part.served.model), "completion_window": "24h"}
        before, after = json.dumps(head)[:-1].encode() + b', "requests": [', b"]}"
        size = file.seek(0, 2)
        file.seek(0)

        async def content() -> AsyncIterator[bytes]:
            # Only now there is a connection.
            on_create()
            yield before
            for number, line in enumerate(file):
                yield b"," * (number > 0) + line.removesuffix(b"\n")
            yield after

        # A comma between two lines, where a line break ended each.
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(before) + size - 1 + len(after)),
        }
        made = await self.ask("POST", _BATCHES, _Batch, content=content(), headers=headers)
        return made.batch()

    async def retrieve(self, id: str) -> Batch:
        return (await self.ask("GET", f"{_BATCHES}/{id}", _Batch)).batch()

    async def download(self, batch: Batch, file: IO[bytes]) -> None:
        file.writelines(result + b"\n" for result in batch.results)

    async def page(self, cursor: Any) -> tuple[list[Batch], Any]:
        after = {} if cursor is None else {"after": cursor}
        page = await self.ask("GET", _BATCHES, _Page, params={"limit": PAGE, **after})
        found = [each.batch() for each in page.data]
        return found, found[-1].id if found and page.has_more else None

    def is_of(self, batch: Batch, part: Part) -> bool:
        """A batch has no metadata: its model, its time and its size tell. The rows of one that was not
        ours have no results in it, and are asked again."""
        assert batch.made is not None
        model, created = batch.made
        return (
            model in (part.served.model, _variant(part.served.model))
            and created > (part.creating or 0.0) - _SKEW
            and batch.total in (0, len(part.rows))
        )


def _variant(model: str) -> str:
    """The model's variant for batches. Source: "Model Variants"."""
    return model if ":" in model else f"{model}:batch"


def _parts(body: JSON) -> Iterator[Any]:
    for message in body["messages"]:
        content = message.get("content")
        if isinstance(content, list):
            yield from content


def _is_taken(part: JSON) -> bool:
    """Source: "Limitations" of the quickstart."""
    if part.get("type") == "image_url":
        return not str(part["image_url"]["url"]).startswith("data:")
    return part.get("type") in ("text", "refusal")
