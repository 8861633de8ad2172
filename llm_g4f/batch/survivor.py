"""A process that survives this one, for what this one cannot do where it is killed.

Ray ends the process of a run without a word, and without any cleaning up, where the head of the
cluster or Ray on this machine dies.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ..local.processes import environment_without_keys

_SCRIPT = str(Path(__file__).with_name("survivor_child.py"))

_MESSAGE = (
    "Error: The run was killed, or Ray has ended it because the head of the cluster or Ray on this"
    " machine has died. The results so far are kept. Run the same command to resume."
)


class Survivor:
    """Says what to do if this process ends before `close`. After either, `folder`, which is private to
    the user, is removed, and on Linux the processes end that use it."""

    def __init__(self) -> None:
        # The path of a socket must be short, and macOS has long ones for temporary files.
        parent = "/tmp" if os.name == "posix" else None  # noqa: S108
        self.folder = tempfile.mkdtemp(prefix="g4f-ray-", dir=parent)
        self._process = subprocess.Popen(
            [sys.executable, "-I", _SCRIPT, self.folder, str(os.getpid()), _MESSAGE],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=parent,
            env=environment_without_keys(),
            # Ctrl-C and the end of the terminal do not reach it.
            start_new_session=True,
        )
        if os.name == "posix":
            # It has detached itself.
            self._process.wait()

    def close(self) -> None:
        """This process goes on, or ends with a message of its own. Does not wait for the folder."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError), self._process.stdin as stdin:
            stdin.write(b"!")
