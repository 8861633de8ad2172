"""Mistral's Batch API: OpenAI's files, and jobs of its own. Source: mistralai 3.7 (client/jobs.py,
models/batchjob.py); docs.mistral.ai, "Batch Processing".
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct, field

from ..batch_parts import Part
from .base import MARK, PAGE, URL, Batch, BatchError
from .openai import OpenAIService

_JOBS: Final = "/batch/jobs"

_STATUSES = {"SUCCESS": "completed", "TIMEOUT_EXCEEDED": "expired"}
"""Those that differ from OpenAI's by more than their case."""


class _Error(Struct):
    message: str


class _Job(Struct):
    id: str
    status: str
    metadata: dict[str, Any] | None = None
    total_requests: int = 0
    completed_requests: int = 0
    output_file: str | None = None
    error_file: str | None = None
    errors: list[_Error] = field(default_factory=list)

    def batch(self) -> Batch:
        return Batch(
            id=self.id,
            status=_STATUSES.get(self.status, self.status.lower()),
            mark=(self.metadata or {}).get(MARK),
            done=self.completed_requests,
            total=self.total_requests,
            files=tuple(filter(None, (self.output_file, self.error_file))),
            errors=tuple(BatchError(error.message) for error in self.errors),
        )


class _Jobs(Struct):
    data: list[_Job] = field(default_factory=list)


class MistralService(OpenAIService):
    """Mistral's."""

    @staticmethod
    def line(custom_id: str, body: bytes) -> bytes:
        return b'{"custom_id": "%b", "body": %b}\n' % (custom_id.encode(), body)

    async def create(self, file: str, part: Part) -> Batch:
        job = {
            "input_files": [file],
            "endpoint": URL,
            "model": part.served.model,
            "metadata": {MARK: part.id},
            "timeout_hours": 24,
        }
        return (await self.ask("POST", _JOBS, _Job, json=job)).batch()

    async def retrieve(self, id: str) -> Batch:
        return (await self.ask("GET", f"{_JOBS}/{id}", _Job)).batch()

    async def page(self, cursor: Any) -> tuple[list[Batch], Any]:
        number = cursor or 0
        params = {"page": number, "page_size": PAGE}
        jobs = (await self.ask("GET", _JOBS, _Jobs, params=params)).data
        return [job.batch() for job in jobs], number + 1 if len(jobs) == PAGE else None
