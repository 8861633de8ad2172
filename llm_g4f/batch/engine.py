"""The engine for this machine: workers that answer rows, on one event loop."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import G4FError
from ..request import ChatRequest, Secret
from ..routing.answer import answer_to
from ..routing.notices import announce, check_has_words, notice_of
from ..routing.prices import has_table, price
from ..routing.registry import Registry
from ..settings import DEFAULT_MODEL, Proxies, Settings
from ..types import ChatCompletion
from .identical import Identical
from .provider_limits import BatchAdmission
from .results import Id, Result
from .rows import invalid_row, row_to_request, unwrapped

if TYPE_CHECKING:
    import httpx

Rows = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]

Answer = Callable[[ChatRequest, Registry], Awaitable[ChatCompletion]]
"""The answer to one row's request. Raises `G4FError`."""

CONCURRENCY = 16
"""Rows in progress at once, by default."""

NOTICES = 100
"""Different notices that are shown: further ones say nothing new."""


class RowProcessor:
    """Answers rows one by one, all under the same limits of the providers."""

    def __init__(
        self,
        settings: Settings,
        defaults: Mapping[str, Any],
        admission: BatchAdmission | None,
        on_notice: Callable[[str], None],
    ) -> None:
        self._admission = admission
        self._settings = settings
        self._defaults = defaults
        self._prices_loaded = False
        self._on_notice = on_notice
        self._shown: set[str] = set()
        self._identical = Identical()

    async def ask(
        self, row: Mapping[str, Any], number: int, answer: Answer | None = None
    ) -> Result:
        """The result of a row, of the route or of `answer`. A `G4FError` is its `error`."""
        id: Id = number
        request = None
        try:
            row = _unwrapped(row)
            id = id_of(row, number)
            request = row_to_request(row, self._defaults, self._settings)
            registry = self._settings.registry()
            await self._load_prices()
            completion = await (answer or self._answer)(request, registry)
            check_has_words(completion)
        except G4FError as error:
            return Result(id=id, request=request, error=error)
        self._announce(completion, registry)
        return Result(
            id=id,
            request=request,
            completion=completion,
            price_usd=_price(completion, registry),
        )

    async def _load_prices(self) -> None:
        if not self._prices_loaded:
            self._prices_loaded = True
            if has_table():
                # It takes a quarter of a second to load.
                await asyncio.to_thread(import_module, "genai_prices")

    async def _answer(self, request: ChatRequest, registry: Registry) -> ChatCompletion:
        fallback = answer_to(request, registry, self._admission)
        async with self._identical.turn(fallback.cache_key):
            await fallback.open()
            while await fallback.next():
                pass
        return fallback.completion()

    def _announce(self, completion: ChatCompletion, registry: Registry) -> None:
        receipt = completion.receipt
        if receipt is None or not registry.config.notice:
            return
        for notice in (notice_of(receipt), *receipt.warnings):
            if notice and notice not in self._shown and len(self._shown) < NOTICES:
                self._shown.add(notice)
                self._on_notice(notice)


def _price(completion: ChatCompletion, registry: Registry) -> float | None:
    if completion.receipt is None:
        return None
    return price(completion.receipt, completion.usage, completion.service_tier, registry)


def _unwrapped(row: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        return row  # `id_of` says what is wrong with it.
    found = unwrapped(row)
    if isinstance(found, str):
        raise invalid_row(found)
    return found


def id_of(row: Mapping[str, Any], number: int) -> Id:
    """The id of a row, or its number if the id is missing. Raises `BadRequestError` for an id that is
    neither text nor a whole number."""
    if not isinstance(row, Mapping):
        raise invalid_row("it is not an object")
    id = row.get("id")
    if id is None:
        return number
    if isinstance(id, bool) or not isinstance(id, (str, int)) or not _is_writable(id):
        raise invalid_row("id must be text or a whole number")
    return id


def _is_writable(id: Id) -> bool:
    """Whether the results file can hold an id. UTF-8 has no surrogates, and few readers of JSON take
    integers beyond 64 bits."""
    if isinstance(id, str):
        return not re.search("[\ud800-\udfff]", id)
    return -(1 << 63) <= id < 1 << 63


class _LocalEngine:
    """The workers of one run, and the results that are ready."""

    def __init__(self, rows: Rows, processor: RowProcessor, concurrency: int) -> None:
        self._next = aiter(rows) if isinstance(rows, AsyncIterable) else iter(rows)
        self._processor = processor
        self._concurrency = concurrency
        self._taken = 0
        self._reading = asyncio.Lock()
        self._ready: deque[Result] = deque()
        self._changed = asyncio.Event()
        self._has_space = asyncio.Event()
        self._workers: set[asyncio.Task[None]] = set()
        self._ended = False
        self._failure: Exception | None = None

    async def results(self) -> AsyncGenerator[Result, None]:
        try:
            for _ in range(0 if self._ended else self._concurrency):
                worker = asyncio.create_task(self._work())
                self._workers.add(worker)
                worker.add_done_callback(self._leave)
            while self._workers or self._ready:
                while self._ready:
                    yield self._ready.popleft()
                self._has_space.set()
                self._changed.clear()
                if self._workers:
                    await self._changed.wait()
            if self._failure is not None:
                raise self._failure
        finally:
            workers = self.stop()
            await asyncio.gather(*workers, return_exceptions=True)

    def stop(self) -> list[asyncio.Task[None]]:
        self._ended = True
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        return workers

    def _leave(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        self._changed.set()
        if not worker.cancelled() and (error := worker.exception()) is not None:
            assert isinstance(error, Exception)
            self._failure = self._failure or error
            self._ended = True

    async def _work(self) -> None:
        while (taken := await self._take()) is not None:
            result = await self._processor.ask(*taken)
            self._ready.append(result)
            self._changed.set()
            while len(self._ready) > self._concurrency:
                self._has_space.clear()
                await self._has_space.wait()

    async def _take(self) -> tuple[Mapping[str, Any], int] | None:
        """The next row and its number; None after the last one."""
        try:
            if self._ended:
                return None
            if isinstance(self._next, Iterator):
                row = next(self._next)
            else:
                async with self._reading:
                    if self._ended:
                        return None
                    row = await anext(self._next)
        except (StopIteration, StopAsyncIteration):
            self._ended = True
            return None
        self._taken += 1
        return row, self._taken


class Engine(Protocol):
    """Does the work of a run."""

    def results(self) -> AsyncGenerator[Result, None]:
        """The results, in order of completion."""
        ...

    def stop(self) -> object:
        """Take no more rows, and cancel the requests in progress."""
        ...


class Results:
    """The results of the rows in order of completion: an async iterator.

    Rows are read as they are needed. After `stop`, results that are ready still come. After
    `aclose`, nothing runs any more.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._results = engine.results()

    def __aiter__(self) -> Results:
        return self

    async def __anext__(self) -> Result:
        return await anext(self._results)

    def stop(self) -> None:
        """Take no more rows, and cancel the requests in progress."""
        self._engine.stop()

    async def aclose(self) -> None:
        """Cancel the requests in progress and close their connections."""
        await self._results.aclose()

    async def __aenter__(self) -> Results:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def run(
    rows: Rows,
    *,
    model: str = DEFAULT_MODEL,
    concurrency: int = CONCURRENCY,
    api_key: str | Secret | None = None,
    base_url: str | None = None,
    proxies: Proxies = None,
    http_client: httpx.AsyncClient | None = None,
    on_notice: Callable[[str], None] = announce,
    **defaults: Any,
) -> Results:
    """Answer many prompts, at most `concurrency` at once. Call it where an event loop runs. The number
    of requests in progress at a provider, and their rate, adapt to its limits.

    Each row is {"prompt": "…"} or {"messages": […]}, and may have an "id" (by default the row's
    number, from 1), "system", "model" and every parameter of `create`. `defaults` apply where a row
    has no value: system, temperature, provider, exact, timeout (seconds), … `api_key`, `base_url`,
    `proxies` and `http_client` are those of `AsyncClient`. `on_notice` is called with the notice of
    an answer by another model or provider, once for each different notice.

    An error of a row is the `error` of its result. An error of iterating over `rows` is raised after
    the results in progress. Raises `llm_g4f.errors.NoProviderError` for arguments that contradict
    each other, and ValueError for a concurrency below 1.
    """
    if concurrency < 1:
        raise ValueError("concurrency must be 1 or more")
    # api_key is for the provider that is named for all rows.
    named = defaults.pop("provider", None)
    settings = Settings(named, api_key, base_url, proxies, None, http_client)
    processor = RowProcessor(
        settings, {"model": model, **defaults}, BatchAdmission(concurrency), on_notice
    )
    return Results(_LocalEngine(rows, processor, concurrency))
