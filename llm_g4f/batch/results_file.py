"""The file of results: JSON Lines that only grow, and from which a later run goes on.

Each result is one write behind the last one. So whatever ends a run leaves whole lines and at most
one torn one, which the next run takes away. A failure that a later line of the same id makes
up for is taken out by writing the file anew beside it and renaming: there is always one whole file.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ..decoding.text import whole
from ..errors import LedgerError
from ..types import JSON
from .results import Id


class State(IntEnum):
    """What the file says of an id. UNASKABLE: the row itself is at fault, and is not asked."""

    MISSING = 0
    INVALID = 1
    FAILED = 2
    ANSWERED = 3


class _Error(Struct):
    line: int | UnsetType = UNSET


class _Head(Struct):
    """What has to be known of a line."""

    id: Id
    error: _Error | UnsetType = UNSET
    text: msgspec.Raw | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.error is UNSET and self.text is UNSET:
            raise ValueError("neither an answer nor an error")

    @property
    def state(self) -> State:
        if self.error is UNSET:
            return State.ANSWERED
        return State.FAILED if self.error.line is UNSET else State.INVALID


_head = msgspec.json.Decoder(_Head)
_BEGIN = b'{"id":'


def _key(id: Id) -> str:
    """Text that differs where ids differ: 1 is not "1"."""
    return f"={id}" if isinstance(id, str) else str(id)


class IdIndex:
    """The ids of a file of results and of the rows seen, on disk: there may be millions of them."""

    def __init__(self) -> None:
        # SQLite's private database: in memory while it is small, else in a file that nobody sees.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            "pragma journal_mode=off; pragma synchronous=off; pragma temp_store=file;"
            "create table ids (id text primary key, state int not null default 0,"
            " at int, line int) without rowid;"
            "begin"
        )
        self.stale = False
        """Whether some id has more than one line."""

    def close(self) -> None:
        self._database.close()

    def add(self, id: Id, state: State, at: int) -> None:
        """Note the line of a result that begins at byte `at`. An answer is not undone by a failure."""
        key = _key(id)
        before = self._database.execute("select at from ids where id=?", (key,)).fetchone()
        self.stale |= before is not None and before[0] is not None
        self._database.execute(
            "insert into ids (id, state, at) values (?, ?, ?) on conflict do update"
            " set at=iif(state > 2 and excluded.state < 3, at, excluded.at),"
            " state=iif(state > 2, state, excluded.state)",
            (key, state, at),
        )

    def state(self, id: Id) -> State:
        """What the file says of `id`."""
        found = self._database.execute("select state from ids where id=?", (_key(id),)).fetchone()
        return State(found[0]) if found else State.MISSING

    def place(self, id: Id) -> int | None:
        """Where the line that counts for `id` begins."""
        found = self._database.execute("select at from ids where id=?", (_key(id),)).fetchone()
        return found[0] if found else None

    def line(self, id: Id) -> int | None:
        """The line of the row with `id`, if it was seen."""
        found = self._database.execute("select line from ids where id=?", (_key(id),)).fetchone()
        return found[0] if found else None

    def see(self, id: Id, line: int) -> int | None:
        """Note the line of a row; the one where its id was seen before, if it was."""
        earlier = self.line(id)
        if earlier is None:
            self._database.execute(
                "insert into ids (id, line) values (?, ?) on conflict do update set line=excluded.line",
                (_key(id), line),
            )
        return earlier

    def forget(self, id: Id) -> None:
        """The line of `id` stands for nothing any more."""
        self.stale = True
        self._database.execute("delete from ids where id=?", (_key(id),))

    def has(self, state: State) -> bool:
        """Whether any id is in `state`."""
        found = self._database.execute("select 1 from ids where state=? limit 1", (int(state),))
        return found.fetchone() is not None


def scan(file: BinaryIO, path: Path, survey: IdIndex) -> tuple[int, bool]:
    """Note every result of a file. The bytes up to the end of its last whole result, and whether a
    line's end stands there.

    Raises `LedgerError` for a line that is no result: such a file is not ours to write to.
    """
    end, line = 0, b"\n"
    # What is no file of results may be one endless line.
    lines = file if file.read(1) in (b"", b"{") else [b""]
    file.seek(0)
    for number, line in enumerate(lines, 1):
        try:
            head = _head.decode(line)
        except msgspec.MsgspecError as error:
            torn = not isinstance(error, msgspec.ValidationError)
            if torn and line and not line.endswith(b"\n") and line.startswith(_BEGIN[: len(line)]):
                return end, True
            raise LedgerError(
                f"{path}, line {number}: this is no result of a batch, so the file is left as it is."
                " Name another file for the results."
            ) from None
        survey.add(head.id, head.state, end)
        end += len(line)
    return end, line.endswith(b"\n")


class ResultsFile:
    """The file of results at `path`, open for one run; its ids are in `survey`.

    Raises `LedgerError`, also where another run has the file.
    """

    def __init__(self, path: Path) -> None:
        self._shown = path
        # A link stays one when the file behind it is replaced.
        self._path = Path(os.path.realpath(path))
        self._temporary = self._path.with_name(f".{self._path.name}.new")
        self.survey = IdIndex()
        self._file = -1
        self._end = 0
        with contextlib.ExitStack() as stack:
            stack.callback(self.survey.close)
            with self._said():
                self._lock(stack)
                stack.callback(self._close)
                self._open()
                if self.survey.stale:
                    self._renew()
            self._held = stack.pop_all()

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LedgerError(f"{self._shown} cannot be written: {error.strerror}.") from None

    def _lock(self, stack: contextlib.ExitStack) -> None:
        import filelock

        # The lock would make folders, and lie beside a device.
        if self._path.exists() and not self._path.is_file():
            raise LedgerError(f"{self._shown} is no file: results are appended to a file.")
        self._path.parent.stat()
        path = self._path.with_name(f".{self._path.name}.lock")
        lock = filelock.FileLock(path, timeout=0.1, thread_local=False)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise LedgerError(
                f"{self._shown} is being written by another run. Wait for it, or name another file."
            ) from None
        stack.callback(lock.release)
        # While it is held: whoever waits for it sees that this is the file's lock no more.
        stack.enter_context(contextlib.suppress(OSError))
        stack.callback(path.unlink, missing_ok=True)

    def _open(self) -> None:
        self._temporary.unlink(missing_ok=True)
        self._file = self._opened()
        with self._path.open("rb") as file:
            self._end, ended = scan(file, self._shown, self.survey)
        if self._end != os.fstat(self._file).st_size:
            os.ftruncate(self._file, self._end)
        if not ended:
            self._end += os.write(self._file, b"\n")

    def _opened(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        return os.open(self._path, flags, 0o666)

    def is_current(self, result: JSON) -> bool:
        """Whether this very result is what counts for its id."""
        place = self.survey.place(result["id"])
        if place is None:
            return False
        line = _encoded(result) + b"\n"
        with self._said(), self._path.open("rb") as file:
            file.seek(place)
            return file.read(len(line)) == line

    def append(self, result: JSON) -> None:
        """Write a result, in one piece. Raises `LedgerError`, and nothing is written then."""
        line = _encoded(result) + b"\n"
        with self._said():
            written = os.write(self._file, line)
            if written != len(line):
                os.ftruncate(self._file, self._end)
                raise LedgerError(f"{self._shown} cannot be written: the disk is full.")
        self.survey.add(result["id"], _head.decode(line).state, self._end)
        self._end += len(line)

    def compact(self) -> None:
        """Take out what later lines have made up for."""
        if self.survey.stale:
            with self._said():
                self._renew()

    def _renew(self) -> None:
        try:
            with self._path.open("rb") as old, self._temporary.open("wb") as new:
                at = 0
                for line in old:
                    head = _head.decode(line)
                    if head.state is State.ANSWERED or self.survey.place(head.id) == at:
                        new.write(line)
                    at += len(line)
                new.flush()
                os.fsync(new.fileno())
                end = new.tell()
            shutil.copymode(self._path, self._temporary)
            self._close()  # Windows replaces no file that is open.
            try:
                self._temporary.replace(self._path)
                self._end = end
            finally:
                self._file = self._opened()
        except BaseException:
            self._temporary.unlink(missing_ok=True)
            raise
        self.survey.stale = False

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def close(self) -> None:
        """Let another run have the file."""
        self._held.close()


def _encoded(result: JSON) -> bytes:
    """JSON in UTF-8, and U+FFFD for what that cannot say."""
    try:
        return msgspec.json.encode(result)
    except UnicodeEncodeError:
        return whole(json.dumps(result, ensure_ascii=False)).encode()
