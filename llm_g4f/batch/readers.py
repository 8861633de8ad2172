"""Rows out of a file: JSON Lines, a JSON array, CSV, TSV, or a prompt a line.

A file is read as its rows are needed, and no more of it is held than the row at hand. Whatever
bytes it has, each row comes as an object or as what is wrong with it; nothing is raised but OSError.
"""

from __future__ import annotations

import csv
import json
import re
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from itertools import zip_longest
from typing import Literal, cast, get_args

from msgspec import Struct

from ..errors import clean
from ..types import JSON
from ..worker_thread import Worker

Format = Literal["json", "csv", "tsv", "nl", "lines"]
"""`nl` is newline-delimited JSON, as llm calls it."""

FORMATS: tuple[Format, ...] = get_args(Format)

LARGEST = 32 << 20
"""Bytes of a row: beyond that a file is not what it is taken for."""

_AHEAD = 64
"""Rows that are read before they are needed, where reading may have to wait."""

_BLANK = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"

_ENDINGS: dict[str, Format] = {
    ".jsonl": "nl",
    ".ndjson": "nl",
    ".nl": "nl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "lines",
}


class Row(Struct, frozen=True):
    """One row: `data`, or what is `wrong` with it.

    `number` counts from 1 (the lines of JSON Lines and plain lines, else the rows); `line` is where
    it begins in the file, and `end` the bytes of the file up to its end.
    """

    number: int
    line: int
    end: int
    data: JSON | None = None
    wrong: str | None = None
    alone: bool = True
    """Whether no other row can begin in its line."""


def detect(name: str, head: bytes) -> Format:
    """The format of a file, by its name's ending, else by the first bytes of it."""
    ending = name[name.rfind(".") :].lower() if "." in name else ""
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    first = head.removeprefix(_BOM).lstrip(_BLANK)
    if first.startswith(b"{"):
        return "nl"
    if ending == ".json" or re.match(rb"\[\s*(\{|\]|$)", first):
        return "json"
    titles = first.split(b"\n", 1)[0].decode("utf-8", "replace")
    for format, separator in (("csv", ","), ("tsv", "\t")):
        cells = {cell.strip().strip('"') for cell in titles.split(separator)}
        if len(cells) > 1 and cells & {"prompt", "messages"}:
            return cast("Format", format)
    return "csv" if titles.strip().strip('"') == "prompt" else "lines"


def read(blocks: Iterable[bytes], format: Format) -> Iterator[Row]:
    """The rows in `blocks`, the pieces of a file in their order."""
    blocks = _without_mark(blocks)
    if format == "json":
        return _Array(blocks).rows()
    lines = _Lines(blocks)
    if format == "nl":
        return _json_rows(lines)
    if format == "lines":
        return _plain_rows(lines)
    # An empty cell is None.
    return _table_rows(lines, "," if format == "csv" else "\t")


def _without_mark(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The file without its byte order mark."""
    blocks, head = iter(blocks), b""
    for block in blocks:
        head += block
        if len(head) >= len(_BOM):
            yield head.removeprefix(_BOM)
            break
    else:
        yield head
    yield from blocks


async def read_in_thread(rows: Iterator[Row]) -> AsyncGenerator[Row, None]:
    """`rows`, read in a thread: a pipe may keep its reader waiting."""
    room = threading.Semaphore(_AHEAD)

    def work(put: Callable[[Row], bool]) -> None:
        for row in rows:
            room.acquire()
            if put(row):
                return

    read_ahead = Worker(work, daemon=True).items()
    try:
        async for row in read_ahead:
            room.release()
            yield row
    finally:
        room.release()
        await read_ahead.aclose()


class _Lines:
    """The lines of a file, without their ends; None for one that is too long."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = blocks
        self.number = 0
        self.end = 0

    def __iter__(self) -> Iterator[bytes | None]:
        kept: list[bytes] = []
        size = 0
        for block in self._blocks:
            *whole, rest = block.split(b"\n")
            for part in whole:
                kept.append(part)
                yield self._line(kept, size + len(part) + 1)
                kept, size = [], 0
            size += len(rest)
            if size <= LARGEST:
                kept.append(rest)
            else:
                kept.clear()
        if size:
            yield self._line(kept, size)

    def _line(self, parts: list[bytes], size: int) -> bytes | None:
        self.number += 1
        self.end += size
        if size > LARGEST:
            return None
        return b"".join(parts).removesuffix(b"\r")


_TOO_LONG = f"it is longer than {LARGEST >> 20} MiB"
_NO_TEXT = "it is not UTF-8 text"
_NO_ARRAY = "the file is no JSON array"
_BEHIND = "it stands behind the array"


def _object(text: bytes) -> JSON | str:
    """The object that `text` is, or what is wrong with it."""
    try:
        data = json.loads(text.decode())
    except UnicodeDecodeError:
        return _NO_TEXT
    except RecursionError:
        return "it is nested too deeply"
    except ValueError as error:
        said = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        return f"it is not JSON ({clean(said, 80)})"
    return data if isinstance(data, dict) else "it is JSON, but no object"


def _json_rows(lines: _Lines) -> Iterator[Row]:
    for line in lines:
        if line is not None and not line.strip():
            continue
        found = _TOO_LONG if line is None else _object(line)
        yield _row(lines.number, lines.number, lines.end, found)


def _plain_rows(lines: _Lines) -> Iterator[Row]:
    for line in lines:
        if line is not None and not line.strip():
            continue
        found: JSON | str = _TOO_LONG
        if line is not None:
            try:
                found = {"prompt": line.decode()}
            except UnicodeDecodeError:
                found = _NO_TEXT
        yield _row(lines.number, lines.number, lines.end, found)


def _row(number: int, line: int, end: int, found: JSON | str, *, alone: bool = True) -> Row:
    if isinstance(found, str):
        return Row(number, line, end, wrong=found, alone=alone)
    return Row(number, line, end, found, alone=alone)


_MARK = re.compile(rb'["\\\[\]{},\n]')


class _Array:
    """The elements of a JSON array, cut out one by one: a broken one spoils no other."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = blocks
        self._kept: list[bytes] = []
        self._size = 0
        self._line = self._begun = 1
        self._end = 0

    def rows(self) -> Iterator[Row]:
        """See `read`."""
        for number, (line, found) in enumerate(self._elements(), 1):
            element = found if isinstance(found, str) else _object(found)
            yield _row(number, line, self._end, element, alone=False)

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= LARGEST:
            self._kept.append(piece)

    def _cut(self) -> tuple[int, bytes | str]:
        """What is kept, as an element: the line where it begins, and its text."""
        text, size = b"".join(self._kept), self._size
        blank = text[: len(text) - len(text.lstrip(_BLANK))]
        line = self._begun + blank.count(b"\n")
        self._kept, self._size, self._begun = [], 0, self._line
        return line, _TOO_LONG if size > LARGEST else text.strip(_BLANK)

    def _elements(self) -> Iterator[tuple[int, bytes | str]]:
        depth, quoted, escaped, past, closed = 0, False, -1, 0, False
        for block in self._blocks:
            begin = 0
            for found in _MARK.finditer(block):
                at, mark = found.start(), found[0]
                if mark == b"\n":
                    self._line += 1
                elif past + at == escaped:
                    continue
                elif quoted:
                    escaped = past + at + 1 if mark == b"\\" else -1
                    quoted = mark != b'"'
                elif mark == b'"':
                    quoted = True
                elif mark in b"[{":
                    depth += 1
                    if depth == 1:
                        self._keep(block[begin:at])
                        line, head = self._cut()
                        if mark == b"{" or head or closed:
                            yield line, _BEHIND if closed else _NO_ARRAY
                            return
                        begin = at + 1
                elif mark == b",":
                    if depth == 1:
                        self._keep(block[begin:at])
                        begin = at + 1
                        self._end = past + begin
                        yield self._cut()
                else:
                    depth -= 1
                    if depth <= 0:
                        closed = depth == 0
                        self._keep(block[begin:at])
                        begin = at + 1
                        self._end = past + begin
                        line, last = self._cut()
                        # Nothing stands in an empty array, or behind a last comma.
                        if last:
                            yield line, last
                        if depth < 0:
                            yield line, _NO_ARRAY
                            return
            self._keep(block[begin:])
            past += len(block)
        self._end = past
        line, rest = self._cut()
        if depth > 0:
            yield line, "the file ends before the array does"
        elif rest:
            yield line, _BEHIND if closed else _NO_ARRAY


def _table_rows(lines: _Lines, separator: str) -> Iterator[Row]:
    broken = False

    def texts() -> Iterator[str]:
        nonlocal broken
        for line in lines:
            if line is None:
                broken = True
            yield (line or b"").decode("utf-8", "surrogateescape") + "\n"

    csv.field_size_limit(LARGEST)
    reader = csv.reader(texts(), delimiter=separator, strict=True)
    titles: list[str] | None = None
    number = 0
    while True:
        broken, begun = False, reader.line_num + 1
        found: JSON | str
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            ended = str(error) == "unexpected end of data"
            found = f"it is not CSV ({'a quote is never closed' if ended else error})"
        else:
            if not broken and not any(cells):
                continue
            if titles is None:
                titles = [cell.strip() for cell in cells]
                named = [title for title in titles if title]
                if len(set(named)) == len(named):
                    continue
                number += 1
                yield _row(number, begun, lines.end, "two columns have the same name")
                return
            found = _TOO_LONG if broken else _record(titles, cells)
        number += 1
        yield _row(number, begun, lines.end, found)


def _record(titles: list[str], cells: list[str]) -> JSON | str:
    if len(cells) > len(titles):
        return f"it has {len(cells)} cells, and there are {len(titles)} columns"
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return _NO_TEXT
    found = zip_longest(titles, cells)
    return {title: cell or None for title, cell in found if title}
