"""Read the input of `llm g4f batch`: a file of rows, or standard input."""

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
"""Bytes per read."""

_HEAD_BLOCKS = 16
"""Blocks to read for the first line, by which the format is detected."""


class BatchInput:
    """A file of rows, or standard input. `size` is the size of the file in bytes, None for a pipe.

    Raises a click error if it cannot be read, or if it is the file of results.
    """

    def __init__(self, source: str, target: Path) -> None:
        self._name = source
        try:
            # Unbuffered: a thread that waits for a pipe holds no lock.
            self._file = io.FileIO(0 if source == "-" else source, closefd=source != "-")
        except OSError as error:
            raise click.ClickException(f"{source} cannot be read: {error.strerror}.") from None
        status = os.fstat(self._file.fileno())
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else None
        try:
            same = os.path.samestat(status, target.stat())
        except OSError:
            same = False  # OUT is missing, or opening it will report the error.
        if same:
            self._file.close()
            raise click.ClickException(
                f"{source} is both IN and OUT: name another file for the results."
            )
        self._head: list[bytes] = []

    def __enter__(self) -> BatchInput:
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
        """The `given` format, else the detected one. Raises a click error for a binary file."""
        from ..batch.readers import detect

        if given is not None:
            return given
        while (block := self._read()) and b"\n" not in block and len(self._head) < _HEAD_BLOCKS:
            self._head.append(block)
        self._head.append(block)
        head = b"".join(self._head)
        if b"\0" in head:
            raise click.ClickException(f"{self._name} is not UTF-8 text: save it as UTF-8.")
        return detect("" if self._name == "-" else self._name, head)

    def rows(self, format: Format) -> Iterator[Row]:
        """The rows, read as they are needed."""
        from ..batch.readers import read

        return read(self._blocks(), format)
