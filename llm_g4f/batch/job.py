"""One batch run between two files: choose the rows to ask, and write their results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from hashlib import sha256

from msgspec import Struct

from ..errors import BadRequestError
from ..types import JSON
from .engine import id_of
from .readers import Row
from .results import Id, Result
from .results_file import IdIndex, ResultsFile, RowState
from .rows import invalid_row

_ROWS_WITHOUT_YIELD = 500
"""Rows that may be skipped before other tasks of the event loop get a turn."""


class Progress(Struct):
    """The counts of a run so far. `answered_before` are the rows that had an answer in the file, and
    `left_out` those that `retry_failed` excludes; `bytes_read` are those of the first `rows_read`
    rows of the input. `changed` are rows without an id that are not those that were answered: they
    are asked again. `cost` is the price of the answers in US dollars, of which `unpriced` are without
    one."""

    answered: int = 0
    failed: int = 0
    answered_before: int = 0
    changed: int = 0
    left_out: int = 0
    tokens: int = 0
    cost: float = 0.0
    unpriced: int = 0
    rows_read: int = 0
    bytes_read: int = 0

    @property
    def bytes_done(self) -> int:
        """The bytes of the input that are done: an estimate, since some rows are in progress."""
        rows_done = self.answered + self.failed + self.answered_before + self.left_out
        return self.bytes_read * rows_done // max(self.rows_read, 1)


class DuplicateId(Struct, frozen=True):
    """An id that two rows have, and their lines."""

    id: Id
    lines: tuple[int, int]


class Selection:
    """Chooses the rows to ask.

    `prepare` turns a row into the one to ask. Invalid rows, also those for which it raises
    `BadRequestError`, go to `refuse` with their id and line. At most `limit` rows are chosen, and none
    once the answers have cost `max_cost` US dollars; with `retry_failed` only those that have failed in
    the results file.

    Stops at the first id that occurs twice, which is `duplicate` then.
    """

    def __init__(
        self,
        index: IdIndex,
        progress: Progress,
        *,
        prepare: Callable[[JSON], JSON],
        refuse: Callable[[Id, int, BadRequestError], None],
        limit: int | None = None,
        retry_failed: bool = False,
        max_cost: float | None = None,
    ) -> None:
        self._index = index
        self._progress = progress
        self._prepare = prepare
        self._refuse = refuse
        self._remaining = limit
        self._retry_failed = retry_failed
        self.max_cost = max_cost
        self._has_invalid = index.has(RowState.INVALID)
        self.duplicate: DuplicateId | None = None

    async def choose(self, rows: Iterable[Row] | AsyncIterable[Row]) -> AsyncGenerator[JSON, None]:
        """Choose from `rows` those to ask."""
        if isinstance(rows, AsyncIterable):
            async for row in rows:
                if (chosen := self._choose(row)) is not None:
                    yield chosen
                if await self._has_ended():
                    return
            return
        skipped = 0
        for row in rows:
            skipped += 1
            if (chosen := self._choose(row)) is not None:
                skipped = 0
                yield chosen
            if await self._has_ended():
                return
            if skipped == _ROWS_WITHOUT_YIELD:
                skipped = 0
                await asyncio.sleep(0)

    @property
    def is_complete(self) -> bool:
        """Whether every row without an answer is chosen, in the rows read so far."""
        is_limited = self._remaining is not None or self.max_cost is not None
        return self.duplicate is None and not is_limited and not self._retry_failed

    @property
    def is_spent(self) -> bool:
        """Whether the answers have cost as much as they may."""
        return self.max_cost is not None and self._progress.cost >= self.max_cost

    async def _has_ended(self) -> bool:
        if self.max_cost is not None:
            # The answers that are ready count first.
            await asyncio.sleep(0)
        return self.duplicate is not None or self._remaining == 0 or self.is_spent

    def _choose(self, row: Row) -> JSON | None:
        self._progress.bytes_read = row.end
        self._progress.rows_read += 1
        id, error = self._identify(row)
        digest = _digest(row)
        earlier = self._index.add_row(id, row.line, digest)
        if earlier is not None:
            self.duplicate = DuplicateId(id, (earlier, row.line))
            return None
        state = self._index.state(id)
        if state is RowState.ANSWERED:
            if digest is None or self._index.digest(id) in (None, digest):
                self._progress.answered_before += 1
                return None
            self._progress.changed += 1
        if self._retry_failed and state is RowState.MISSING:
            self._progress.left_out += 1
            return None
        try:
            if error is not None:
                raise error
            chosen = {**self._prepare(row.data or {}), "id": id}
        except BadRequestError as invalid:
            self._progress.failed += 1
            self._refuse(id, row.line, invalid)
            return None
        if self._remaining is not None:
            self._remaining -= 1
        return chosen

    def _identify(self, row: Row) -> tuple[Id, BadRequestError | None]:
        """The id of a row. For an invalid one, its place in the file, and the error."""
        # Elements of an array may share a line.
        place = f"line {row.line}" if row.own_line else f"row {row.number}"
        if row.data is None:
            return place, invalid_row(row.error or "")
        try:
            id = id_of(row.data, row.number)
        except BadRequestError as error:
            return place, error
        if self._has_invalid and self._index.state(place) is RowState.INVALID:
            self._index.forget(place)
        return id, None


def _digest(row: Row) -> str | None:
    """What tells a row without an id from another in its place; None for any other row."""
    if row.data is None or row.data.get("id") is not None:
        return None
    text = json.dumps(row.data, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:16]


class Job:
    """One batch run between two files: `selection` chooses the rows to ask, and `write` takes the
    results.

    `log` is called with every answer that was written, `report` with the `progress` after each result.
    """

    def __init__(
        self,
        results_file: ResultsFile,
        *,
        prepare: Callable[[JSON], JSON],
        limit: int | None = None,
        retry_failed: bool = False,
        max_cost: float | None = None,
        log: Callable[[Result], None] | None = None,
        report: Callable[[Progress], None] | None = None,
    ) -> None:
        self._results_file = results_file
        self._log = log
        self._report = report
        self.progress = Progress()
        self.selection = Selection(
            results_file.index,
            self.progress,
            prepare=prepare,
            refuse=self._refuse,
            limit=limit,
            retry_failed=retry_failed,
            max_cost=max_cost,
        )

    def _refuse(self, id: Id, line: int, error: BadRequestError) -> None:
        self._append(Result(id=id, error=error), line)

    def write(self, result: Result) -> None:
        """Add a result to the file, to the logs and to the progress."""
        progress = self.progress
        self._append(result, self._results_file.index.line(result.id))
        if result.error is not None:
            progress.failed += 1
        else:
            progress.answered += 1
            progress.tokens += result.usage.total_tokens if result.usage else 0
            progress.cost += result.price_usd or 0.0
            progress.unpriced += result.price_usd is None
            if self._log is not None:
                self._log(result)
        if self._report is not None:
            self._report(progress)

    def sync(self) -> None:
        """Bring all results to the disk. Raises `LedgerError`."""
        self._results_file.sync()

    def _append(self, result: Result, line: int | None) -> None:
        data = result.to_dict()
        if (digest := self._results_file.index.row_digest(result.id)) is not None:
            data["digest"] = digest
        if result.error is not None and result.request is None:
            # The row is invalid: its line is where to look. A second run does not write it again.
            data["error"]["line"] = line
            if self._results_file.is_current(data):
                return
        self._results_file.append(data)
