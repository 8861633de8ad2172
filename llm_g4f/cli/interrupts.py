"""What may end or disturb a long command from outside: signals, and a terminal or pipe that goes away."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

_STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Stopped(KeyboardInterrupt):
    """A signal asked to stop. `number` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def raise_stopped(number: int) -> None:
    """Raise `Stopped`: a handler for `on_stop`."""
    raise Stopped(number)


@contextlib.contextmanager
def on_stop(handle: Callable[[int], None]) -> Iterator[None]:
    """Call `handle` with the number of a signal that asks to stop: Ctrl-C, SIGTERM, SIGHUP. A signal
    that is ignored stays ignored, as under nohup."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
    handled = {number: old for number, old in previous.items() if old not in (None, signal.SIG_IGN)}
    try:
        for number in handled:
            signal.signal(number, lambda number, _: handle(number))
        yield
    finally:
        for number, old in handled.items():
            signal.signal(number, old)


class _Lasting(io.FileIO):
    """A file that takes everything: what can no longer be written is lost."""

    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError):
            return super().write(data)
        return len(data)


def outlive_stderr() -> None:
    """Let this process go on where stderr is closed, or its terminal or pipe goes away meanwhile."""
    if os.name == "nt" or sys.stderr is not sys.__stderr__:
        # A program or a test has put its own in place.
        return
    _fill_standard_streams()
    encoding = sys.stderr.encoding if sys.stderr is not None else "utf-8"
    # A descriptor of its own, since 2 leads nowhere while Ray starts.
    file = io.BufferedWriter(_Lasting(os.dup(2), "w", closefd=False))
    sys.stderr = io.TextIOWrapper(file, encoding, "backslashreplace", line_buffering=True)


def _fill_standard_streams() -> None:
    """Open what is closed of stdin, stdout and stderr. Otherwise the next file that is opened is one of
    them, and others write into it."""
    while (descriptor := os.open(os.devnull, os.O_WRONLY)) <= 2:
        pass
    os.close(descriptor)
