"""The results file: JSON Lines that are only appended to, and from which a later run resumes.

Each result is one write at the end. So an interrupted run leaves complete lines and at most one
incomplete line, which the next run removes, like the zeros that a power loss leaves. Lines that a
later line of the same id replaces are removed by replacing the file: there is always a complete one.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from enum import IntEnum
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ..decoding.text import whole
from ..errors import LedgerError
from ..types import JSON
from .append_file import AppendFile
from .results import Id


class RowState(IntEnum):
    """The state of an id in the results file. INVALID: its row is invalid, so no provider was asked."""

    MISSING = 0
    INVALID = 1
    FAILED = 2
    ANSWERED = 3


class _Error(Struct):
    # Errors of invalid rows have it.
    line: int | UnsetType = UNSET


class _ResultHeader(Struct):
    """The part of a line that tells the state of its id."""

    id: Id
    error: _Error | UnsetType = UNSET
    text: msgspec.Raw | UnsetType = UNSET
    # Of the row, where the id is only its number.
    digest: str | None = None

    def __post_init__(self) -> None:
        if self.error is UNSET and self.text is UNSET:
            raise ValueError("neither an answer nor an error")

    @property
    def state(self) -> RowState:
        if self.error is UNSET:
            return RowState.ANSWERED
        return RowState.FAILED if self.error.line is UNSET else RowState.INVALID


_header = msgspec.json.Decoder(_ResultHeader)
_LINE_START = b'{"id":'


def _key(id: Id) -> str:
    """The id as text; 1 and "1" differ."""
    return f"={id}" if isinstance(id, str) else str(id)


class IdIndex:
    """The ids in a results file and in the rows read, on disk, since there may be millions of them.

    `stale`: some id has more than one line in the file.
    """

    def __init__(self) -> None:
        # A private database of SQLite: in memory while it is small, else in an unnamed file.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            "pragma journal_mode=off; pragma synchronous=off; pragma temp_store=file;"
            "create table ids (id text primary key, state int not null default 0,"
            " offset int, line int, digest text, row_digest text) without rowid;"
            "begin"
        )
        self.stale = False

    def close(self) -> None:
        """Delete the index."""
        self._database.close()

    def add_result(self, id: Id, state: RowState, offset: int, digest: str | None = None) -> None:
        """Add the result whose line begins at byte `offset`. A failure does not replace an answer."""
        self.stale |= self.offset(id) is not None
        self._database.execute(
            "insert into ids (id, state, offset, digest) values (?, ?, ?, ?) on conflict do update"
            " set offset=iif(state > 2 and excluded.state < 3, offset, excluded.offset),"
            " digest=iif(state > 2 and excluded.state < 3, digest, excluded.digest),"
            " state=iif(state > 2, state, excluded.state)",
            (_key(id), state, offset, digest),
        )

    def add_row(self, id: Id, line: int, digest: str | None = None) -> int | None:
        """Add the row at `line`. Returns the line of an earlier row with this id, if there is one."""
        earlier = self.line(id)
        if earlier is None:
            self._database.execute(
                "insert into ids (id, line, row_digest) values (?, ?, ?) on conflict do update"
                " set line=excluded.line, row_digest=excluded.row_digest",
                (_key(id), line, digest),
            )
        return earlier

    def state(self, id: Id) -> RowState:
        """The state of `id` in the file."""
        return RowState(self._value("state", id) or RowState.MISSING)

    def offset(self, id: Id) -> int | None:
        """The byte where the current line of `id` begins in the file."""
        offset: int | None = self._value("offset", id)
        return offset

    def line(self, id: Id) -> int | None:
        """The line of the row with `id`, if it has been read."""
        line: int | None = self._value("line", id)
        return line

    def digest(self, id: Id) -> str | None:
        """The digest in the current line of `id`; None without one."""
        digest: str | None = self._value("digest", id)
        return digest

    def row_digest(self, id: Id) -> str | None:
        """The digest of the row with `id`, if it has been read."""
        digest: str | None = self._value("row_digest", id)
        return digest

    def _value(self, column: str, id: Id) -> Any:
        row = self._database.execute(
            f"select {column} from ids where id=?",  # noqa: S608 (the columns above)
            (_key(id),),
        ).fetchone()
        return row[0] if row else None

    def forget(self, id: Id) -> None:
        """Remove `id`: its line is out of date."""
        self.stale = True
        self._database.execute("delete from ids where id=?", (_key(id),))

    def move(self, id: Id, offset: int) -> None:
        """The current line of `id` now begins at byte `offset`."""
        self._database.execute("update ids set offset=? where id=?", (offset, _key(id)))

    def has(self, state: RowState) -> bool:
        """Whether any id is in `state`."""
        rows = self._database.execute("select 1 from ids where state=? limit 1", (int(state),))
        return rows.fetchone() is not None


def scan(file: BinaryIO, path: Path, index: IdIndex) -> tuple[int, bool]:
    """Add every result in `file` to `index`. Returns the bytes up to the end of the last complete
    result, and whether a line end follows it. `path` is only named in errors.

    Raises `LedgerError` for a line that is not a result: the file is not one of ours.
    """
    end, line = 0, b"\n"
    # A file of another kind may be one endless line.
    lines = file if file.read(1) in (b"", b"{") else [b""]
    file.seek(0)
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            # Left by a power loss in place of what was not on the disk yet.
            line = line.rstrip(b"\0")
        try:
            header = _decode(line)
        except msgspec.MsgspecError as error:
            if isinstance(error, msgspec.ValidationError) or not _is_cut(line, number):
                raise LedgerError(
                    f"{path}, line {number}: not a result of a batch, so the file is left unchanged."
                    " Name another file for the results."
                ) from None
            if not line.endswith(b"\n"):
                return end, True
            index.stale = True
        else:
            index.add_result(header.id, header.state, end, header.digest)
        end += len(line)
    return end, line.endswith(b"\n")


def _decode(line: bytes) -> _ResultHeader:
    # The decoder skips texts unread. JSON has no zeros, and is UTF-8.
    if b"\0" in line:
        raise msgspec.DecodeError
    try:
        line.decode()
        return _header.decode(line)
    except UnicodeDecodeError:
        raise msgspec.DecodeError from None
    except RecursionError:
        # Nothing of ours is nested deeply.
        raise msgspec.ValidationError from None


def _is_cut(line: bytes, number: int) -> bool:
    """Whether a crash may have made the invalid line out of a result: the end is missing, or zeros are
    in place of a part. The first line of a file with zeros may be another kind of file."""
    before, zeros, _ = line.partition(b"\0")
    ours = _LINE_START.startswith(before) or before.startswith(_LINE_START)
    return ours and (number > 1 if zeros or not line else not line.endswith(b"\n"))


class ResultsFile:
    """The results file at `path`, locked and open for one run. `index` has its ids.

    Raises `LedgerError`, also if another run has the file open.
    """

    def __init__(self, path: Path) -> None:
        self.index = IdIndex()
        with contextlib.ExitStack() as stack:
            stack.callback(self.index.close)
            self._file = AppendFile(path)
            stack.callback(self._file.close)
            with self._file.open() as file:
                end, has_line_end = scan(file, path, self.index)
            if end != self._file.size:
                self._file.truncate(end)
            if not has_line_end:
                self._file.append(b"\n")
            self.compact()
            self._resources = stack.pop_all()

    def is_current(self, result: JSON) -> bool:
        """Whether the current line of the result's id is this result."""
        offset = self.index.offset(result["id"])
        if offset is None:
            return False
        line = _encode(result) + b"\n"
        with self._file.open() as file:
            file.seek(offset)
            return file.read(len(line)) == line

    def append(self, result: JSON) -> None:
        """Append a result in one write. Raises `LedgerError`, and writes nothing then."""
        line = _encode(result) + b"\n"
        offset = self._file.size
        self._file.append(line)
        header = _header.decode(line)
        self.index.add_result(header.id, header.state, offset, header.digest)

    def sync(self) -> None:
        """Bring all results to the disk. Raises `LedgerError`."""
        self._file.sync()

    def finish(self, *, compact: bool) -> None:
        """Check that all results are in the file and on the disk; with `compact`, remove lines too."""
        if compact:
            self.compact()
        self._file.check()
        self._file.sync()

    def compact(self) -> None:
        """Remove the lines that later ones have replaced. A file with several names (hard links) keeps
        them, and stays one file."""
        if self.index.stale and not self._file.has_other_names:
            self._file.replace(self._write_current)
            self.index.stale = False

    def _write_current(self, new: BinaryIO) -> None:
        with self._file.open() as old:
            offset = 0
            for line in old:
                with contextlib.suppress(msgspec.MsgspecError):
                    header = _decode(line)
                    # An answer goes only for a new one to a row that has changed.
                    kept = header.state is RowState.ANSWERED and header.digest is None
                    if current := self.index.offset(header.id) == offset:
                        self.index.move(header.id, new.tell())
                    if kept or current:
                        new.write(line)
                offset += len(line)

    def close(self) -> None:
        """Close and unlock the file."""
        self._resources.close()


def _encode(result: JSON) -> bytes:
    """The result as JSON in UTF-8, with U+FFFD for lone surrogates."""
    try:
        return msgspec.json.encode(result)
    except UnicodeEncodeError:
        return whole(json.dumps(result, ensure_ascii=False)).encode()
