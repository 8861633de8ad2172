"""Read rows from a file: JSON Lines, a JSON array, CSV, TSV, or one prompt per line.

A file is read as its rows are needed, and only the current row is in memory. For any bytes, a row
is an object or the reason why it is invalid; nothing but OSError is raised.
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

from ..safe_text import clean
from ..types import JSON
from ..worker_thread import WorkerThread
from .rows import unwrapped

Format = Literal["json", "csv", "tsv", "nl", "lines"]
"""The name `nl` (newline-delimited JSON) is llm's."""

FORMATS: tuple[Format, ...] = get_args(Format)

MAX_ROW_SIZE = 32 << 20
"""The most bytes a row may have. Beyond that, the format of the file was probably mistaken."""

_READ_AHEAD = 64
"""Rows that `read_in_thread` reads before they are needed."""

_BLANK = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"

_FORMAT_OF_SUFFIX: dict[str, Format] = {
    ".jsonl": "nl",
    ".ndjson": "nl",
    ".nl": "nl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "lines",
}


class Row(Struct, frozen=True):
    """One row: either `data` or `error`, the reason why it is invalid, is set.

    `number` counts from 1: lines for JSON Lines and plain lines, else rows. `line` is where the row
    begins in the file, and `end` the number of bytes up to its end. `own_line`: no other row can
    begin in its line.
    """

    number: int
    line: int
    end: int
    data: JSON | None = None
    error: str | None = None
    own_line: bool = True


def detect(name: str, head: bytes) -> Format:
    """The format of a file, by the suffix of its name, else by its first bytes."""
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    if suffix in _FORMAT_OF_SUFFIX:
        return _FORMAT_OF_SUFFIX[suffix]
    first = head.removeprefix(_BOM).lstrip(_BLANK)
    if first.startswith(b"{"):
        return "nl"
    if suffix == ".json" or re.match(rb"\[\s*(\{|\]|$)", first):
        return "json"
    titles = first.split(b"\n", 1)[0].decode("utf-8", "replace")
    for format, separator in (("csv", ","), ("tsv", "\t")):
        cells = {cell.strip().strip('"') for cell in titles.split(separator)}
        if len(cells) > 1 and cells & {"prompt", "messages"}:
            return cast("Format", format)
    return "csv" if titles.strip().strip('"') == "prompt" else "lines"


def read(blocks: Iterable[bytes], format: Format) -> Iterator[Row]:
    """The rows in `blocks`, the consecutive parts of a file."""
    blocks = _without_bom(blocks)
    if format == "json":
        return _JsonArray(blocks).rows()
    lines = _Lines(blocks, keep_return=format in ("csv", "tsv"))
    if format == "nl":
        return _json_rows(lines)
    if format == "lines":
        return _plain_rows(lines)
    return _table_rows(lines, "," if format == "csv" else "\t")


def _without_bom(blocks: Iterable[bytes]) -> Iterator[bytes]:
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
    """The same rows, read in a thread, since reading a pipe may block."""
    free = threading.Semaphore(_READ_AHEAD)

    def work(put: Callable[[Row], bool]) -> None:
        for row in rows:
            free.acquire()
            if put(row):
                return

    read_ahead = WorkerThread(work, daemon=True).items()
    try:
        async for row in read_ahead:
            free.release()
            yield row
    finally:
        free.release()
        await read_ahead.aclose()


class _Lines:
    """The lines of a file, without their ends; None for a line that is too long. `number` and `end`
    are those of the last line. With `keep_return`, the return before a line end stays: inside a cell of a
    table it is a part of the text."""

    def __init__(self, blocks: Iterable[bytes], *, keep_return: bool = False) -> None:
        self._blocks = blocks
        self._keep_return = keep_return
        self.number = 0
        self.end = 0

    def __iter__(self) -> Iterator[bytes | None]:
        parts: list[bytes] = []
        size = 0
        for block in self._blocks:
            *ends, rest = block.split(b"\n")
            for end in ends:
                parts.append(end)
                yield self._line(parts, size + len(end) + 1)
                parts, size = [], 0
            size += len(rest)
            if size <= MAX_ROW_SIZE:
                parts.append(rest)
            else:
                parts.clear()
        if size:
            yield self._line(parts, size)

    def _line(self, parts: list[bytes], size: int) -> bytes | None:
        self.number += 1
        self.end += size
        if size > MAX_ROW_SIZE:
            return None
        line = b"".join(parts)
        return line if self._keep_return else line.removesuffix(b"\r")


_TOO_LONG = f"it is longer than {MAX_ROW_SIZE >> 20} MiB"
_NOT_UTF8 = "it is not UTF-8 text"
_NOT_AN_ARRAY = "the file is not a JSON array"
_AFTER_THE_ARRAY = "unexpected data after the array"


def _parse_object(text: bytes) -> JSON | str:
    """The row in `text`, or the reason why there is none."""
    try:
        data = json.loads(text.decode())
    except UnicodeDecodeError:
        return _NOT_UTF8
    except RecursionError:
        return "it is nested too deeply"
    except ValueError as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        return f"it is not JSON ({clean(reason, 80)})"
    if not isinstance(data, dict):
        return "it is JSON, but not an object"
    row = unwrapped(data)
    return row if isinstance(row, str) else dict(row)


def _json_rows(lines: _Lines) -> Iterator[Row]:
    for line in lines:
        if line is not None and not line.strip():
            continue
        content = _TOO_LONG if line is None else _parse_object(line)
        yield _row(lines.number, lines.number, lines.end, content)


def _plain_rows(lines: _Lines) -> Iterator[Row]:
    for line in lines:
        if line is not None and not line.strip():
            continue
        content: JSON | str = _TOO_LONG
        if line is not None:
            try:
                content = {"prompt": line.decode()}
            except UnicodeDecodeError:
                content = _NOT_UTF8
        yield _row(lines.number, lines.number, lines.end, content)


def _row(number: int, line: int, end: int, content: JSON | str, *, own_line: bool = True) -> Row:
    """The row with `content`: its data, or the reason why it is invalid."""
    if isinstance(content, str):
        return Row(number, line, end, error=content, own_line=own_line)
    return Row(number, line, end, content, own_line=own_line)


_SYNTAX = re.compile(rb'["\\\[\]{},\n]')


class _JsonArray:
    """Splits a JSON array into its elements without parsing them: an invalid one affects no other."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = blocks
        self._parts: list[bytes] = []
        self._size = 0
        self._line = self._first_line = 1
        self._end = 0

    def rows(self) -> Iterator[Row]:
        """The elements as rows."""
        for number, (line, element) in enumerate(self._elements(), 1):
            content = element if isinstance(element, str) else _parse_object(element)
            yield _row(number, line, self._end, content, own_line=False)

    def _add(self, part: bytes) -> None:
        """Add a part to the current element."""
        self._size += len(part)
        if self._size <= MAX_ROW_SIZE:
            self._parts.append(part)

    def _take(self) -> tuple[int, bytes | str]:
        """End the current element: the line where it begins, and its text or why it is invalid."""
        text, size = b"".join(self._parts), self._size
        blank = text[: len(text) - len(text.lstrip(_BLANK))]
        line = self._first_line + blank.count(b"\n")
        self._parts, self._size, self._first_line = [], 0, self._line
        return line, _TOO_LONG if size > MAX_ROW_SIZE else text.strip(_BLANK)

    def _elements(self) -> Iterator[tuple[int, bytes | str]]:
        depth, quoted, escaped, past, closed = 0, False, -1, 0, False
        for block in self._blocks:
            begin = 0
            for match in _SYNTAX.finditer(block):
                at, char = match.start(), match[0]
                if char == b"\n":
                    self._line += 1
                elif past + at == escaped:
                    continue
                elif quoted:
                    escaped = past + at + 1 if char == b"\\" else -1
                    quoted = char != b'"'
                elif char == b'"':
                    quoted = True
                elif char in b"[{":
                    depth += 1
                    if depth == 1:
                        self._add(block[begin:at])
                        line, head = self._take()
                        if char == b"{" or head or closed:
                            yield line, _AFTER_THE_ARRAY if closed else _NOT_AN_ARRAY
                            return
                        begin = at + 1
                elif char == b",":
                    if depth == 1:
                        self._add(block[begin:at])
                        begin = at + 1
                        self._end = past + begin
                        yield self._take()
                else:
                    depth -= 1
                    if depth <= 0:
                        closed = depth == 0
                        self._add(block[begin:at])
                        begin = at + 1
                        self._end = past + begin
                        line, last = self._take()
                        # Empty in an empty array, and after a trailing comma.
                        if last:
                            yield line, last
                        if depth < 0:
                            yield line, _NOT_AN_ARRAY
                            return
            self._add(block[begin:])
            past += len(block)
        self._end = past
        line, rest = self._take()
        if depth > 0:
            yield line, "the file ends inside the array"
        elif rest:
            yield line, _AFTER_THE_ARRAY if closed else _NOT_AN_ARRAY


def _table_rows(lines: _Lines, separator: str) -> Iterator[Row]:
    too_long = False

    def texts() -> Iterator[str]:
        nonlocal too_long
        for line in lines:
            if line is None:
                too_long = True
            yield (line or b"").decode("utf-8", "surrogateescape") + "\n"

    csv.field_size_limit(MAX_ROW_SIZE)
    reader = csv.reader(texts(), delimiter=separator, strict=True)
    titles: list[str] | None = None
    number = 0
    while True:
        too_long, line = False, reader.line_num + 1
        content: JSON | str
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = str(error).replace("unexpected end of data", "a quote is never closed")
            content = f"it is not CSV ({reason})".replace("\t", r"\t")
        else:
            if not too_long and not any(cells):
                continue
            if titles is None:
                titles = [cell.strip() for cell in cells]
                named = [title for title in titles if title]
                if len(set(named)) == len(named):
                    continue
                number += 1
                yield _row(number, line, lines.end, "two columns have the same name")
                return
            content = _TOO_LONG if too_long else _record(titles, cells)
        number += 1
        yield _row(number, line, lines.end, content)


def _record(titles: list[str], cells: list[str]) -> JSON | str:
    """The row with `cells`, or the reason why it is invalid. An empty cell is None."""
    if len(cells) > len(titles):
        return f"it has {len(cells)} cells for {len(titles)} columns"
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return _NOT_UTF8
    return {title: cell or None for title, cell in zip_longest(titles, cells) if title}
