"""Processes of other programs: which there are, and how tests start commands that they end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.forked import LLM, Fork, Forks

UNTOUCHED = (
    "import signal; [signal.signal(s, signal.SIG_DFL) for s in (signal.SIGTERM, signal.SIGHUP)]"
)
"""The signals as a shell leaves them: where tests run in the background they may be ignored, and that
is inherited."""


def start_llm(
    forks: Forks | None,
    args: Sequence[str],
    *,
    prelude: str = "",
    env: dict[str, str] | None = None,
) -> Fork | subprocess.Popen[bytes]:
    """Start `llm` with pipes for stdout and stderr, after the Python code `prelude`."""
    program, environment = (
        f"{UNTOUCHED}\n{prelude}\n{LLM}",
        {**os.environ, "PYTHONUTF8": "1", **(env or {})},
    )
    if forks is not None and forks.suit(environment):
        return forks.start(program, args, environment)
    return subprocess.Popen(
        [sys.executable, "-c", program, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    done = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in done.stdout.split()]


def is_running(pid: int) -> bool:
    """Whether a process is there, and is no zombie: where process 1 does not wait for orphans, they
    stay as such."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
