"""Run as a script: survive the program that started this, say that it ended, and clean up after it.

    survivor_child.py FOLDER PID MESSAGE

Reads stdin until the program PID has closed it. If nothing has been written to it, MESSAGE goes to
stderr. Then the processes end that use FOLDER, and FOLDER is removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time

_ATTEMPTS, _PAUSE = 50, 0.2
"""How often to look for processes, and the seconds in between: a process may start another meanwhile."""


def _detach() -> None:
    """Be no child of the program: Ray kills those."""
    if hasattr(os, "fork") and os.fork():
        os._exit(0)


def _command_line(pid: int) -> str:
    """The command line of a process; empty once it has ended."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", errors="replace") as file:  # noqa: PTH123
        return file.read()
    return ""


def _uses(pid: int, folder: str) -> bool:
    """Whether a process names `folder` in its command line, or has a file in it open: Ray's change
    their command lines once they have opened their logs."""
    if folder in _command_line(pid):
        return True
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{name}").startswith(folder):  # noqa: PTH115
                    return True
    return False


def _users(folder: str, others: set[int]) -> list[int]:
    """The processes that use `folder`, without `others`; none where there is no /proc."""
    names = os.listdir("/proc") if os.path.isdir("/proc") else []  # noqa: PTH112, PTH208
    pids = {int(name) for name in names if name.isdigit()} - others
    return [pid for pid in pids if _uses(pid, folder)]


def _clean_up(folder: str, program: int) -> None:
    others = {os.getpid(), program}
    while _users(folder, others) and _command_line(program):
        # Ray may still be ending them, and would abort the program if they were killed.
        time.sleep(_PAUSE)
    for _ in range(_ATTEMPTS):
        users = _users(folder, others)
        for pid in users:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
        if not users and not os.path.exists(folder):  # noqa: PTH110
            return
        time.sleep(_PAUSE)


if __name__ == "__main__":
    _detach()
    folder, program, message = sys.argv[1:]
    if not sys.stdin.read():
        # Stderr may have gone, too.
        with contextlib.suppress(OSError):
            os.write(2, f"{message}\n".encode())
    _clean_up(folder, int(program))
