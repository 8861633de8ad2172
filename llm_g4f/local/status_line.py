"""One line on a terminal's stderr that says what a local model does before its first word."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections.abc import Iterator

DELAY = 1.0
"""Seconds of work before the line appears: what is quicker needs none."""

_hidden = 0
_current: StatusLine | None = None


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Show no line within: something else draws on the terminal."""
    global _hidden
    _hidden += 1
    try:
        yield
    finally:
        _hidden -= 1


class StatusLine:
    """The line of one request. Nothing is shown without a terminal, and one line at a time."""

    def __init__(self) -> None:
        self._text = ""
        self._width = 0
        self._timer: asyncio.TimerHandle | None = None

    def say(self, text: str) -> None:
        """Show `text` in place of what was there, at first after `DELAY`."""
        self._text = text
        if self._width:
            self._draw()
        elif self._timer is None and _is_terminal():
            self._timer = asyncio.get_running_loop().call_later(DELAY, self._draw)

    def erase(self) -> None:
        """Remove the line; nothing of it stays."""
        global _current
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._width:
            _write(f"\r{' ' * self._width}\r")
            self._width = 0
        if _current is self:
            _current = None

    def _draw(self) -> None:
        global _current
        if _hidden or _current not in (None, self):
            return
        _current = self
        text = self._text[: max(1, shutil.get_terminal_size().columns - 1)]
        _write(f"\r{text.ljust(self._width)}")
        self._width = len(text)


def _is_terminal() -> bool:
    try:
        return not _hidden and sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # it is closed
        return False


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
