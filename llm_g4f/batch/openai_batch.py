"""The engine for those who can wait: the rows go to a provider as files of its Batch API.

Where a row goes, how its request is made and how its answer is read is the same as without a batch: the
body that an endpoint would send goes into the file, and the response in the file is read as its answer.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar
from uuid import uuid4

from msgspec import Struct, field

from ..errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    G4FError,
    InternalServerError,
    NoProviderError,
    NotFoundError,
    RateLimitError,
    StreamError,
)
from ..providers.base import Ineligible
from ..providers.catalogue import PROVIDERS, BatchAPI
from ..providers.endpoint import Endpoint
from ..request import ChatRequest
from ..routing.route import Candidate
from ..safe_text import clean, without_name
from ..settings import DEFAULT_MODEL, Settings
from ..types import JSON
from .batch_file import missing_line, parsed, read_answer, request_body
from .batch_parts import Part, Parts, digest_of
from .batch_route import batch_candidate, note_prices
from .engine import Results, RowProcessor
from .job import Job
from .results import Result
from .rows import invalid_row, row_to_request
from .services import SERVICES, Batch, BatchService

_FIRST_PAUSE, _GROWTH, _LONGEST_PAUSE = 0.2, 1.1, 60.0
"""Seconds between two looks at a batch: they grow, to a minute after ten."""

_PASSING = (APIConnectionError, InternalServerError, RateLimitError, StreamError)
"""Errors of a look that the next one may not have."""

T = TypeVar("T")


class _Stopped(Exception):
    """`stop` was called."""


class _Spool(Struct):
    """A part in the making: its file, and the size of it in bytes."""

    part: Part
    limits: BatchAPI
    file: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    size: int = 0


class _BatchEngine:
    """One run, as an `Engine`."""

    def __init__(
        self,
        rows: AsyncIterator[Mapping[str, Any]],
        settings: Settings,
        defaults: JSON,
        job: Job,
        target: Path,
        wait: bool,
        on_notice: Callable[[str], None],
    ) -> None:
        self._rows = rows
        self._settings = settings
        self._defaults = defaults
        self._job = job
        self._target = target
        self._wait = wait
        self._on_notice = on_notice
        self._processor = RowProcessor(settings, defaults, None, on_notice)
        self._services: dict[str, BatchService] = {}
        self._spools: dict[Any, _Spool] = {}
        self._statuses: dict[str, str] = {}
        self._stopped = False
        self._call: asyncio.Future[Any] | None = None

    def stop(self) -> None:
        """Take no more rows, and wait no longer. What was sent goes on at its provider."""
        self._stopped = True
        if self._call is not None:
            self._call.cancel()

    async def _unless_stopped(self, work: Awaitable[T]) -> T:
        """The result of `work`. Raises `_Stopped` if `stop` comes first."""
        self._call = call = asyncio.ensure_future(work)
        if self._stopped:
            call.cancel()
        try:
            return await call
        except asyncio.CancelledError:
            if self._stopped:
                raise _Stopped from None
            raise
        finally:
            self._call = None

    async def results(self) -> AsyncGenerator[Result, None]:
        """The results, batch by batch. Raises `G4FError`."""
        with closing(Parts(self._target)) as self._parts:
            try:
                await self._adopt()
                async for result in self._send_rows():
                    yield result
                async for result in self._fetch_all():
                    yield result
            except _Stopped:
                for part in self._parts.open.values():
                    if part.batch is not None:
                        self._on_notice(f"{part.batch} goes on at {part.provider}.")
            finally:
                for spool in self._spools.values():
                    spool.file.close()
                for service in self._services.values():
                    await service.close()

    async def _adopt(self) -> None:
        """Find the batches of parts that an earlier run asked for and did not note; give up the parts
        that have none."""
        unknown: dict[str, list[Part]] = {}
        for part in list(self._parts.open.values()):
            if part.creating is None:
                self._parts.drop(part)
            elif part.batch is None:
                unknown.setdefault(part.provider, []).append(part)
        noted = {part.batch for part in self._parts.open.values() if part.batch is not None}
        for parts in unknown.values():
            self._on_notice(f"Looking for a batch at {parts[0].provider} that was not noted.")
            search = self._service(parts[0]).find(parts, noted)
            found = await self._unless_stopped(search)
            for part in parts:
                if part.id in found:
                    self._parts.note_batch(part, found[part.id])
                else:
                    self._parts.drop(part)

    async def _send_rows(self) -> AsyncGenerator[Result, None]:
        """Send the rows that wait for no batch yet. The results are of those that cannot be sent."""
        while (row := await self._unless_stopped(anext(self._rows, None))) is not None:
            digest = digest_of(row, self._defaults)
            if self._parts.claim(digest, row):
                continue
            request = None
            try:
                request = row_to_request(row, self._defaults, self._settings)
                candidate, limits = await batch_candidate(request, self._settings.registry())
                body = await request_body(candidate, request)
                line = SERVICES[limits.form].line(digest, body)
                if len(line) > limits.bytes:
                    raise invalid_row(f"it is longer than a batch may be ({limits.bytes:,} bytes)")
            except G4FError as error:
                yield Result(id=row["id"], request=request, error=error)
                continue
            spool = await self._spool(candidate, limits, request, len(line))
            spool.file.write(line)
            spool.size += len(line)
            spool.part.rows.append(digest)
            self._parts.add(spool.part.id, digest, row)
        for key in list(self._spools):
            await self._send(self._spools.pop(key))

    async def _spool(
        self, candidate: Candidate, limits: BatchAPI, request: ChatRequest, size: int
    ) -> _Spool:
        """The part that takes a row of so many bytes. A file has one model only (OpenAI's guide)."""
        key = (candidate.provider.name, request.model, candidate.served)
        spool = self._spools.get(key)
        if spool is not None and (
            len(spool.part.rows) >= limits.rows or spool.size + size > limits.bytes
        ):
            await self._send(self._spools.pop(key))
            spool = None
        if spool is None:
            part = Part(uuid4().hex, key[0], request.model, candidate.served, [])
            spool = self._spools[key] = _Spool(part, limits)
        return spool

    async def _send(self, spool: _Spool) -> None:
        """Upload a part and make a batch of it. Each step is noted first: a run that is ended in between
        leaves what the next one finds."""
        part = spool.part
        self._parts.note(part)
        service = self._service(part)
        try:
            with spool.file as file:
                file.seek(0)
                sending = service.send(
                    file, part, lambda: self._parts.note_creating(part, time.time())
                )
                batch = await self._unless_stopped(sending)
        except APIError as error:
            if part.creating is None:
                raise
            if isinstance(error, APIStatusError) and not isinstance(error, InternalServerError):
                self._parts.drop(part)
            else:
                error.hint = (
                    "If the batch was made all the same, the next run of this command finds it."
                )
            raise
        self._parts.note_batch(part, batch.id)
        self._on_notice(
            f"{batch.id} at {part.provider} ({part.served.model}), rows: {len(part.rows):,}. It stays"
            " there if this command ends: run it again to fetch the answers."
        )

    async def _fetch_all(self) -> AsyncGenerator[Result, None]:
        """The results of all batches that rows of this run wait for."""
        pause = _FIRST_PAUSE
        while parts := self._parts.waiting():
            for part in parts:
                with tempfile.TemporaryFile() as file:
                    batch = await self._look(part, file)
                    if batch is not None:
                        async for result in self._take(part, batch, file):
                            yield result
            if not self._wait:
                return
            await self._unless_stopped(asyncio.sleep(pause))
            pause = min(pause * _GROWTH, _LONGEST_PAUSE)

    async def _look(self, part: Part, file: IO[bytes]) -> Batch | None:
        """A batch that has ended, with its results in `file`; None if it has not."""
        service = self._service(part)
        try:
            batch = await self._unless_stopped(service.retrieve(part.batch or ""))
            self._tell(
                part, batch.status, f"{batch.status}, {batch.done:,} of {batch.total:,} done"
            )
            if not batch.has_ended:
                return None
            await self._unless_stopped(service.download(batch, file))
        except _PASSING as error:
            if not self._wait:
                raise
            self._tell(part, error.message, without_name(error.message, part.provider))
            return None
        except NotFoundError as error:
            raise NotFoundError(
                f"{part.provider} does not have {part.batch}, or no longer its results"
                f' ("{clean(error.detail)}"). Is it of another key? To send its rows again, and those'
                f" of all batches in it, delete {self._parts.path}.",
                provider=part.provider,
                status_code=404,
            ) from None
        return batch

    def _tell(self, part: Part, status: str, words: str) -> None:
        """Say how a batch stands, if that has changed."""
        if self._statuses.get(part.id) != status:
            self._statuses[part.id] = status
            self._on_notice(f"{part.batch} at {part.provider}: {words}")

    async def _take(
        self, part: Part, batch: Batch, file: IO[bytes]
    ) -> AsyncGenerator[Result, None]:
        """The results in the file of a batch that has ended, and an error for each row without one.
        The part ends when they are on the disk."""
        endpoint = self._endpoint(part)
        prices = defaultdict[str, list[float | None]](list)

        async def ask(row: Mapping[str, Any], line: JSON) -> Result:
            answer = partial(read_answer, endpoint, part, batch, line)
            result = await self._processor.ask(row, 0, answer)
            if result.completion is not None:
                prices[result.completion.model].append(result.price_usd)
            return result

        file.seek(0)
        for text in file:
            if (line := parsed(text)) is not None:
                row = self._parts.take(part, str(line.get("custom_id")))
                if row is not None:
                    yield await ask(row, line)
        for place, row in self._parts.take_rest(part):
            yield await ask(row, missing_line(batch, place))
        for warning in await note_prices(part.provider, prices, self._settings.registry()):
            self._on_notice(warning)
        self._job.sync()
        self._parts.end(part, keep=not self._job.selection.is_complete)

    def _endpoint(self, part: Part) -> Endpoint:
        """The provider of a part, with its key."""
        settings = self._settings
        name = settings.providers[0].partition("/")[0] if settings.providers else ""
        key = settings.key if name == part.provider else None
        found = settings.registry().provider(part.provider, part.asked, key=key, named=True)
        if isinstance(found, Ineligible):
            raise NoProviderError(
                f"Rows wait in a batch at {part.provider}, which cannot be asked: {found.reason}.",
                provider=part.provider,
            )
        assert isinstance(found, Endpoint)
        return found

    def _service(self, part: Part) -> BatchService:
        service = self._services.get(part.provider)
        if service is None:
            endpoint = self._endpoint(part)
            limits = PROVIDERS[part.provider].batch
            assert limits is not None
            service = SERVICES[limits.form](endpoint, endpoint.context(""))
            self._services[part.provider] = service
        return service


def run(
    rows: AsyncIterator[Mapping[str, Any]],
    *,
    job: Job,
    target: Path,
    wait: bool,
    on_notice: Callable[[str], None],
    model: str = DEFAULT_MODEL,
    **defaults: Any,
) -> Results:
    """Answer the rows of `job`, which writes to `target`, with batches at their providers. With `wait`
    False, only what is there already is fetched."""
    # The provider's matter.
    defaults.pop("concurrency", None)
    settings = Settings(
        defaults.pop("provider", None), defaults.pop("api_key", None), None, None, None, None
    )
    defaults = {"model": model, **defaults}
    return Results(_BatchEngine(rows, settings, defaults, job, target, wait, on_notice))
