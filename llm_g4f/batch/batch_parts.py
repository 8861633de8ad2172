"""The parts of a run that are batches at a provider, in a file beside the results: OUT.batches.

JSON Lines that are only appended to: a part with its rows, then the moment before its batch is asked
for, then the batch, then the rows that are left after its results were taken. Each is on the disk before
what follows it is done. A row is known by a digest of
all that it asks, so one that has changed is another row. No prompt, answer or key is in the file.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..errors import LedgerError
from ..providers.base import ServedModel
from .append_file import AppendFile


class Part(Struct, omit_defaults=True):
    """Rows that go to a provider as one batch. `id` is ours, and in the batch's metadata; `batch` is
    the provider's, None until it is known, and `creating` the Unix time at which it was asked for, None
    until then. `asked` is the model that the rows asked for, `rows` are
    their digests in the order of the file, and `left` those whose results were not taken yet, None: all.
    """

    id: str
    provider: str
    asked: str
    served: ServedModel
    rows: list[str]
    creating: float | None = None
    batch: str | None = None
    left: list[str] | None = None


class _Line(Struct, omit_defaults=True):
    """A line of the file: a new part; or for the part `id` one of these."""

    part: Part | None = None
    id: str | None = None
    creating: float | None = None
    batch: str | None = None
    left: list[str] | None = None


_decode = msgspec.json.Decoder(_Line).decode


def digest_of(row: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """What a row is known by: all that it asks, with its id."""
    text = json.dumps([row, defaults], sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:32]


class Parts:
    """The open parts, and the rows of this run that wait for one. On disk, since there may be millions
    of rows. Raises `LedgerError`."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.batches")
        self._rows = sqlite3.connect("", isolation_level=None)
        self._rows.executescript(
            "pragma journal_mode=off; pragma synchronous=off; pragma temp_store=file;"
            "create table rows (digest text primary key, part text, row text) without rowid;"
            "create index parts on rows (part);"
            "begin"
        )
        self._file = AppendFile(self.path)
        self.open: dict[str, Part] = {}
        self._loaded = False
        try:
            self._load()
            self._loaded = True
        except BaseException:
            self.close()
            raise

    def _load(self) -> None:
        end = 0
        with self._file.open() as file:
            for number, text in enumerate(file, 1):
                if not text.endswith(b"\n"):
                    # A power loss: what was behind it was not done.
                    break
                try:
                    self._take(_decode(text))
                except (msgspec.MsgspecError, KeyError):
                    raise LedgerError(
                        f"{self.path}, line {number}: not a list of batches. Without it, rows that"
                        " wait in a batch would be sent again; if there are none, delete the file."
                    ) from None
                end += len(text)
        if end != self._file.size:
            self._file.truncate(end)
        for part in self.open.values():
            for digest in part.rows if part.left is None else part.left:
                self.add(part.id, digest)

    def _take(self, line: _Line) -> None:
        if line.part is not None:
            self.open[line.part.id] = line.part
        elif line.creating is not None:
            self.open[line.id or ""].creating = line.creating
        elif line.batch is not None:
            self.open[line.id or ""].batch = line.batch
        elif line.left:
            self.open[line.id or ""].left = line.left
        else:
            del self.open[line.id or ""]

    def _note(self, line: _Line) -> None:
        self._file.append(msgspec.json.encode(line) + b"\n")
        self._file.sync()
        self._take(line)

    def note(self, part: Part) -> None:
        """A new part, of which nothing has been sent yet."""
        self._note(_Line(part=part))

    def note_creating(self, part: Part, time: float) -> None:
        """From now on the provider may have a batch for a part."""
        self._note(_Line(id=part.id, creating=time))

    def note_batch(self, part: Part, batch: str) -> None:
        """The provider has a batch for a part."""
        self._note(_Line(id=part.id, batch=batch))

    def end(self, part: Part, *, keep: bool) -> None:
        """The results of a part were taken. With `keep`, it stays open for rows that did not wait."""
        left = self._rows.execute("select digest from rows where part=?", (part.id,))
        self._note(_Line(id=part.id, left=[digest for (digest,) in left] if keep else []))

    def drop(self, part: Part) -> None:
        """A part that was never sent: its rows are free."""
        self._note(_Line(id=part.id, left=[]))
        self._rows.execute("delete from rows where part=?", (part.id,))

    def add(self, part_id: str, digest: str, row: Mapping[str, Any] | None = None) -> None:
        """A row of a part; without `row` it is not known yet whether it is to be asked."""
        text = None if row is None else json.dumps(row)
        self._rows.execute("insert or replace into rows values (?, ?, ?)", (digest, part_id, text))

    def claim(self, digest: str, row: Mapping[str, Any]) -> bool:
        """Whether a row that is to be asked is in an open part, for which it waits then."""
        text = json.dumps(row)
        found = self._rows.execute("update rows set row=? where digest=?", (text, digest))
        return found.rowcount > 0

    def take(self, part: Part, digest: str) -> Mapping[str, Any] | None:
        """The row that waits for a result of a part; None if none does. It waits no more then."""
        found = self._rows.execute(
            "delete from rows where digest=? and part=? and row is not null returning row",
            (digest, part.id),
        ).fetchone()
        return json.loads(found[0]) if found else None

    def waiting(self) -> list[Part]:
        """The parts that rows of this run wait for."""
        found = self._rows.execute("select distinct part from rows where row is not null")
        return [self.open[id] for (id,) in found if id in self.open]

    def take_rest(self, part: Part) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """The rows that still wait for a result of a part, each with its place in it."""
        for place, digest in enumerate(part.rows):
            if (row := self.take(part, digest)) is not None:
                yield place, row

    def close(self) -> None:
        """Close the file; without an open part it is removed."""
        self._rows.close()
        self._file.close()
        if self._loaded and not self.open:
            with contextlib.suppress(OSError):
                self.path.unlink()
