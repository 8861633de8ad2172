"""The engine of this machine: some workers over the rows, on one event loop."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import G4FError
from ..request import ChatRequest, Secret
from ..routing.fallback import Fallback
from ..routing.notices import announce, check_has_words, notice_of
from ..routing.prices import has_table, price
from ..routing.registry import Registry
from ..settings import DEFAULT_MODEL, Proxies, Settings
from ..types import ChatCompletion
from .provider_limits import BatchAdmission
from .results import Id, Result
from .rows import invalid_row, row_to_request

if TYPE_CHECKING:
    import httpx

Rows = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]

CONCURRENCY = 16
"""Rows that are asked at once, unless somebody says otherwise."""

NOTICES = 100
"""Different notices that are told: those behind them say nothing new."""


class RowProcessor:
    """Asks one row after the other of the same providers."""

    def __init__(
        self,
        settings: Settings,
        defaults: Mapping[str, Any],
        admission: BatchAdmission,
        on_notice: Callable[[str], None],
    ) -> None:
        self._admission = admission
        self._settings = settings
        self._defaults = defaults
        self._prices_loaded = False
        self._on_notice = on_notice
        self._told: set[str] = set()

    async def ask(self, row: Mapping[str, Any], number: int) -> Result:
        """The result of a row; every `G4FError` is in it."""
        id: Id = number
        request = None
        try:
            id = id_of(row, number)
            request = row_to_request(row, self._defaults, self._settings)
            registry = self._settings.registry()
            await self._load_prices()
            completion = await self._answer(request, registry)
        except G4FError as error:
            return Result(id=id, request=request, error=error)
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
        fallback = Fallback(request, registry, self._admission)
        await fallback.open()
        while await fallback.next():
            pass
        completion = fallback.completion()
        check_has_words(completion)
        self._announce(completion, registry)
        return completion

    def _announce(self, completion: ChatCompletion, registry: Registry) -> None:
        notice = notice_of(completion.receipt) if completion.receipt else None
        if (
            notice
            and registry.config.notice
            and notice not in self._told
            and len(self._told) < NOTICES
        ):
            self._told.add(notice)
            self._on_notice(notice)


def _price(completion: ChatCompletion, registry: Registry) -> float | None:
    if completion.receipt is None or completion.usage is None:
        return None
    return price(completion.receipt, completion.usage, completion.service_tier, registry)


def id_of(row: Mapping[str, Any], number: int) -> Id:
    """The id of a row, its number if it has none. Raises `BadRequestError` for a list and the like."""
    if not isinstance(row, Mapping):
        raise invalid_row("it is not an object")
    id = row.get("id")
    if id is None:
        return number
    if isinstance(id, bool) or not isinstance(id, (str, int)) or not _is_writable(id):
        raise invalid_row("id must be text or a whole number")
    return id


def _is_writable(id: Id) -> bool:
    """Whether a file can say it: surrogates are no text, and integers beyond 64 bits nobody reads."""
    if isinstance(id, str):
        return not re.search("[\ud800-\udfff]", id)
    return -(1 << 63) <= id < 1 << 63


class _LocalEngine:
    """The workers of one run, and what they have ready."""

    def __init__(self, rows: Rows, asker: RowProcessor, concurrency: int) -> None:
        self._next = aiter(rows) if isinstance(rows, AsyncIterable) else iter(rows)
        self._asker = asker
        self._concurrency = concurrency
        self._taken = 0
        self._taking = asyncio.Lock()
        self._ready: deque[Result] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
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
                self._room.set()
                self._news.clear()
                if self._workers:
                    await self._news.wait()
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
        self._news.set()
        if not worker.cancelled() and (error := worker.exception()) is not None:
            assert isinstance(error, Exception)
            self._failure = self._failure or error
            self._ended = True

    async def _work(self) -> None:
        while (taken := await self._take()) is not None:
            result = await self._asker.ask(*taken)
            self._ready.append(result)
            self._news.set()
            while len(self._ready) > self._concurrency:
                self._room.clear()
                await self._room.wait()

    async def _take(self) -> tuple[Mapping[str, Any], int] | None:
        """The next row and its number; None behind the last one."""
        try:
            if self._ended:
                return None
            if isinstance(self._next, Iterator):
                row = next(self._next)
            else:
                async with self._taking:
                    if self._ended:
                        return None
                    row = await anext(self._next)
        except (StopIteration, StopAsyncIteration):
            self._ended = True
            return None
        self._taken += 1
        return row, self._taken


class Engine(Protocol):
    """Whoever does the work of a run."""

    def results(self) -> AsyncGenerator[Result, None]:
        """The results, in order of completion."""
        ...

    def stop(self) -> object:
        """Take no more rows, and give up the requests under way."""
        ...


class Results:
    """The results of the rows in order of completion: an async iterator.

    Rows are taken as they are needed. `stop` gives up what is under way: what has been answered
    still comes. After `aclose` nothing is left behind.
    """

    def __init__(self, crew: Engine) -> None:
        self._crew = crew
        self._results = crew.results()

    def __aiter__(self) -> Results:
        return self

    async def __anext__(self) -> Result:
        return await anext(self._results)

    def stop(self) -> None:
        """Take no more rows, and give up the requests under way."""
        self._crew.stop()

    async def aclose(self) -> None:
        """End here: requests under way are given up, and their connections closed."""
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
    """Ask for many completions, at most `concurrency` at once; call it where an event loop runs. How many
    a provider is sent at once, and how fast, follows what it takes.

    Each row is {"prompt": "…"} or {"messages": […]}, and may have an "id" (else it is the row's
    number, from 1), "system", "model" and every parameter of `create`. `defaults` are for what a
    row does not say: system, temperature, provider, exact, timeout (seconds), … `api_key`,
    `base_url`, `proxies` and `http_client` are those of `AsyncClient`. `on_notice` is called with the
    notice of an answer by another model or provider, once for each different notice.

    What goes wrong with a row is its result's `error`. What iterating over `rows` raises is
    raised behind the results that were under way. Raises `llm_g4f.errors.NoProviderError` for
    arguments that contradict each other, and ValueError for a concurrency below 1.
    """
    if concurrency < 1:
        raise ValueError("concurrency must be 1 or more")
    # Who was named for all rows is whom api_key is for.
    named = defaults.pop("provider", None)
    settings = Settings(named, api_key, base_url, proxies, None, http_client)
    asker = RowProcessor(
        settings, {"model": model, **defaults}, BatchAdmission(concurrency), on_notice
    )
    return Results(_LocalEngine(rows, asker, concurrency))
