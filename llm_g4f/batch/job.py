"""From a file of rows to the file of results: which rows are asked, and what is written of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable

from msgspec import Struct

from ..errors import BadRequestError
from ..types import JSON
from .engine import id_of
from .readers import Row
from .results import Id, Result
from .results_file import IdIndex, ResultsFile, State

_PAUSE = 500
"""Rows that may be passed over at a stretch: then the loop sees to its other business."""


class Progress(Struct):
    """How far a run is. `read` are the bytes of the rows' file that were needed so far, for `taken` rows;
    `already` had an answer, `left` were not to be asked this time."""

    answered: int = 0
    failed: int = 0
    already: int = 0
    left: int = 0
    tokens: int = 0
    taken: int = 0
    read: int = 0

    @property
    def behind(self) -> int:
        """About the bytes of the file that are done with: some rows are under way."""
        done = self.answered + self.failed + self.already + self.left
        return self.read * done // max(self.taken, 1)


class DuplicateId(Struct, frozen=True):
    """An id that two rows have, and their lines."""

    id: Id
    lines: tuple[int, int]


class Selection:
    """Which rows are to be asked.

    `prepare` makes of a row what is asked; a `BadRequestError` of its own, as whatever else is
    wrong with the row itself, goes to `refuse` with the row's id and line. At most `limit` rows are
    chosen; with `retry_failed` only those that the file of results has as failed.
    """

    def __init__(
        self,
        survey: IdIndex,
        tally: Progress,
        *,
        prepare: Callable[[JSON], JSON],
        refuse: Callable[[Id, int, BadRequestError], None],
        limit: int | None = None,
        retry_failed: bool = False,
    ) -> None:
        self._survey = survey
        self._tally = tally
        self._prepare = prepare
        self._refuse = refuse
        self._room = limit
        self._retry_failed = retry_failed
        self._mended = survey.has(State.INVALID)
        self.twice: DuplicateId | None = None

    async def of(self, rows: Iterable[Row] | AsyncIterable[Row]) -> AsyncGenerator[JSON, None]:
        """Those of `rows` that are to be asked, up to the first id that occurs twice."""
        if isinstance(rows, AsyncIterable):
            async for row in rows:
                if (chosen := self._choose(row)) is not None:
                    yield chosen
                if self._ended:
                    return
            return
        passed = 0
        for row in rows:
            passed += 1
            if (chosen := self._choose(row)) is not None:
                passed = 0
                yield chosen
            if self._ended:
                return
            if passed == _PAUSE:
                passed = 0
                await asyncio.sleep(0)

    @property
    def _ended(self) -> bool:
        return self.twice is not None or self._room == 0

    def _choose(self, row: Row) -> JSON | None:
        self._tally.read = row.end
        self._tally.taken += 1
        # Elements of an array may share a line.
        unread = f"line {row.line}" if row.alone else f"row {row.number}"
        data = row.data
        id: Id = unread
        wrong: BadRequestError | None = None
        if data is None:
            wrong = _wrong(row.wrong or "")
        else:
            try:
                id = id_of(data, row.number)
            except BadRequestError as error:
                wrong = error
            else:
                if self._mended and self._survey.state(unread) is State.INVALID:
                    self._survey.forget(unread)
        earlier = self._survey.see(id, row.line)
        if earlier is not None:
            self.twice = DuplicateId(id, (earlier, row.line))
            return None
        state = self._survey.state(id)
        if state is State.ANSWERED:
            self._tally.already += 1
            return None
        if self._retry_failed and state is State.MISSING:
            self._tally.left += 1
            return None
        try:
            if wrong is not None:
                raise wrong
            chosen = {**self._prepare(data or {}), "id": id}
        except BadRequestError as error:
            self._tally.failed += 1
            self._refuse(id, row.line, error)
            return None
        if self._room is not None:
            self._room -= 1
        return chosen


def _wrong(words: str) -> BadRequestError:
    return BadRequestError(f"The row cannot be read: {words}.")


class Job:
    """One run between two files: `selection` says which rows to ask, `write` takes what becomes of them.

    `log` is told every answer that was written, `report` that the tally has changed.
    """

    def __init__(
        self,
        ledger: ResultsFile,
        *,
        prepare: Callable[[JSON], JSON],
        limit: int | None = None,
        retry_failed: bool = False,
        log: Callable[[Result], None] | None = None,
        report: Callable[[Progress], None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._log = log
        self._report = report
        self.tally = Progress()
        self.selection = Selection(
            ledger.survey,
            self.tally,
            prepare=prepare,
            refuse=self._refuse,
            limit=limit,
            retry_failed=retry_failed,
        )

    def _refuse(self, id: Id, line: int, error: BadRequestError) -> None:
        self._append(Result(id=id, error=error), line)

    def write(self, result: Result) -> None:
        """Write a result to the file, the logs and the tally."""
        tally = self.tally
        self._append(result, self._ledger.survey.line(result.id))
        if result.error is not None:
            tally.failed += 1
        else:
            tally.answered += 1
            tally.tokens += result.usage.total_tokens if result.usage else 0
            if self._log is not None:
                self._log(result)
        if self._report is not None:
            self._report(tally)

    def _append(self, result: Result, line: int | None) -> None:
        data = result.to_dict()
        if result.error is not None and result.request is None:
            # The row is at fault: this is where to look. Once is enough.
            data["error"]["line"] = line
            if self._ledger.is_current(data):
                return
        self._ledger.append(data)
