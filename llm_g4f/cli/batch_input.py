"""The input of `llm g4f batch`: a file of rows, or standard input."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..batch.readers import Format, Row


_BLOCK = 1 << 16


class _Input:
    """The file of rows, or standard input; `size` is that of a file in bytes, None for a pipe."""

    def __init__(self, source: str, target: Path) -> None:
        self._name = source
        try:
            # Unbuffered: no lock is held where a thread waits for a pipe.
            self._file = io.FileIO(0 if source == "-" else source, closefd=source != "-")
        except OSError as error:
            raise click.ClickException(f"{source} cannot be read: {error.strerror}.") from None
        found = os.fstat(self._file.fileno())
        self.size = found.st_size if stat.S_ISREG(found.st_mode) else None
        try:
            same = os.path.samestat(found, target.stat())
        except OSError:
            same = False  # What is wrong with OUT is said where it is opened.
        if same:
            self._file.close()
            raise click.ClickException(
                f"{source} is IN and OUT: the answers need a file of their own."
            )
        self._head: list[bytes] = []

    def __enter__(self) -> _Input:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _blocks(self) -> Iterator[bytes]:
        while self._head:
            yield self._head.pop(0)
        while block := self._read():
            yield block

    def _read(self) -> bytes:
        try:
            return self._file.read(_BLOCK) or b""
        except OSError as error:
            raise click.ClickException(f"{self._name} cannot be read: {error.strerror}.") from None

    def format(self, given: Format | None) -> Format:
        """The format of the rows: what the user says, else what they look like."""
        from ..batch.readers import detect

        if given is not None:
            return given
        while (block := self._read()) and b"\n" not in block and len(self._head) < 16:
            self._head.append(block)
        self._head.append(block)
        head = b"".join(self._head)
        if b"\0" in head:
            raise click.ClickException(
                f"{self._name} is no text in UTF-8: save it as that, and try again."
            )
        return detect("" if self._name == "-" else self._name, head)

    def rows(self, format: Format) -> Iterator[Row]:
        """What it has, read as it is needed."""
        from ..batch.readers import read

        return read(self._blocks(), format)
