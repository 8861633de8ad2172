"""The process that says what to do when a run over Ray is killed, and cleans up after it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="/proc tells which processes are left"
)

RUN = """
import subprocess, sys
from llm_g4f.batch.survivor import Survivor
survivor = Survivor()
with open(survivor.folder + "/log", "w") as log:
    left = subprocess.Popen(["sleep", "60"], stdout=log, stderr=log)
print(survivor.folder, left.pid, flush=True)
sys.stdin.read()
survivor.close()
"""


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


@pytest.mark.parametrize("end", ["killed", "killed without stderr", "orderly"])
def test_nothing_is_left_of_a_run_and_a_killed_one_says_how_to_resume(end: str) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", RUN], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdout is not None
        folder, left = process.stdout.readline().split()
        assert os.stat(folder).st_mode & 0o077 == 0
        if end == "killed without stderr":
            assert process.stderr is not None
            process.stderr.close()
            process.stderr = None
        if end != "orderly":
            process.send_signal(signal.SIGKILL)
        _, stderr = process.communicate(timeout=20)
    if end == "killed":
        assert stderr.endswith("Run the same command to resume.\n")
    if end == "orderly":
        assert stderr == ""
    wait_until(lambda: not Path(folder).exists() and not is_running(int(left)))
