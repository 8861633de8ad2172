"""`llm` on a pseudo-terminal: what a person sees, and types."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from typing import NamedTuple

from tests.support.forked import LLM, Fork, Forks

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Shown(NamedTuple):
    """The exit code of a command, and all that it wrote to the terminal, with its styles."""

    code: int
    raw: str

    @property
    def text(self) -> str:
        """What it wrote, without styles."""
        return _STYLE.sub("", self.raw)

    @property
    def lines(self) -> list[str]:
        """The lines as a person sees them: what a carriage return has overwritten is gone."""
        return [line.rsplit("\r", 1)[-1].rstrip() for line in self.text.splitlines()]


def on_terminal(
    forks: Forks | None,
    args: Sequence[str],
    *,
    columns: int = 80,
    rows: int = 24,
    typed: Sequence[tuple[str, str]] = (),
    env: dict[str, str] | None = None,
    prelude: str = "",
    seconds: float = 60.0,
) -> Shown:
    """Run `llm` with `args` on a terminal of `columns` and `rows`, after the Python code `prelude`.
    `typed`: after the first text has been shown, the second is typed. Raises AssertionError after
    `seconds`."""
    leader, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    hidden = ("COLUMNS", "LINES", "NO_COLOR")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PYTHONUTF8": "1", "TERM": "xterm", **(env or {})}
    with os.fdopen(terminal, "wb", buffering=0) as file:
        process = _start(forks, f"{prelude}\n{LLM}", args, environment, file)
    try:
        shown = _converse(leader, list(typed), time.monotonic() + seconds)
        code = process.wait(10)
    finally:
        process.kill()
        process.wait()
        os.close(leader)
    return Shown(code, shown.replace("\r\n", "\n"))


def _start(
    forks: Forks | None,
    program: str,
    args: Sequence[str],
    environment: dict[str, str],
    file: object,
) -> Fork | subprocess.Popen[bytes]:
    files = (file, file, file)
    if forks is not None and forks.suit(environment):
        return forks.start(program, args, environment, files)  # type: ignore[arg-type]
    command = [sys.executable, "-c", program, *args]
    return subprocess.Popen(command, stdin=file, stdout=file, stderr=file, env=environment)  # type: ignore[call-overload,no-any-return]


def _converse(leader: int, typed: list[tuple[str, str]], end: float) -> str:
    shown, seen = "", 0
    while True:
        ready, _, _ = select.select([leader], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"nothing more came after: {shown[-2_000:]}"
        try:
            data = os.read(leader, 65_536)
        except OSError:  # EIO: the other end is closed
            return shown
        if not data:
            return shown
        shown += data.decode("utf-8", "replace")
        while typed and typed[0][0] in shown[seen:]:
            awaited, answer = typed.pop(0)
            seen = shown.index(awaited, seen) + len(awaited)
            os.write(leader, answer.encode())
