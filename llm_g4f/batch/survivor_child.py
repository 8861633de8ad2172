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


def _uses(pid: str, folder: str) -> bool:
    """Whether a process names `folder` in its command line, or has a file in it open: Ray's change
    their command lines once they have opened their logs."""
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            if folder in file.read():
                return True
        names = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208
    except OSError:
        return False
    for name in names:
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{name}").startswith(folder):  # noqa: PTH115
                return True
    return False


def _users(folder: str, others: set[int]) -> list[int]:
    """The processes that use `folder`, without `others`; none where there is no /proc."""
    pids = os.listdir("/proc") if os.path.isdir("/proc") else []  # noqa: PTH112, PTH208
    return [
        int(pid) for pid in pids if pid.isdigit() and int(pid) not in others and _uses(pid, folder)
    ]


def _clean_up(folder: str, program: int) -> None:
    for _ in range(_ATTEMPTS):
        users = _users(folder, {os.getpid(), program})
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
