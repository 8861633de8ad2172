"""A forked program is what a started one is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import Run
from tests.support.forked import AVAILABLE, Forks
from tests.support.server import Server, http, stream

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="there are no forks here")

SHOW = """
import os, sys, threading
names = ("llm", "llm_g4f", "httpx")
loaded = sorted(name for name in sys.modules if name.split(".")[0] in names)
print(loaded, os.getcwd(), threading.active_count(), os.path.samefile(sys.path[0] or ".", "."), sys.argv, os.environ["A"])
print(sorted(os.listdir("/proc/self/fd")), end="")
sys.exit(3)
"""


@pytest.mark.parametrize(
    "args",
    [
        ("-m", "gpt-4o", "hi", "-u"),
        ("-m", "gpt-4o", "hi", "-o", "provider", "nobody"),
        ("-m", "gpt-4o", "hi", "--nonsense"),
        ("chat", "-m", "gpt-4o"),
    ],
)
def test_a_forked_command_behaves_as_a_started_one(
    args: tuple[str, ...], run_llm: Run, endpoints: Callable[..., Path], user_path: Path
) -> None:
    said, asked = [], []
    for fork in (True, False):
        with Server(stream("Hel", "lo")) as server, Server(http(503)) as failing:
            endpoints(failing=failing, good=server)
            # Another variable of the interpreter's needs another interpreter.
            env = {} if fork else {"PYTHONNOUSERSITE": "1"}
            done = run_llm(*args, input="one\nexit\n", env=env)
        (user_path / "g4f-health.json").unlink(missing_ok=True)
        said.append((done.returncode, done.stdout, done.stderr))
        asked.append([one.json for one in server.requests])
    assert said[0] == said[1]
    assert asked[0] == asked[1]


def test_a_program_begins_as_a_started_one_does(forks: Forks, tmp_path: Path) -> None:
    environment = {**os.environ, "A": "b", "PYTHONUTF8": "1"}
    forked = forks.start(SHOW, ["x"], environment, cwd=tmp_path).communicate(30)
    started = subprocess.run(
        [sys.executable, "-c", SHOW, "x"],
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=environment,
        cwd=tmp_path,
    )
    assert forked == (started.stdout, started.stderr)


def test_a_program_ends_as_a_started_one_does(forks: Forks) -> None:
    environment = dict(os.environ)
    program = "import atexit, sys; atexit.register(print, 'bye'); sys.exit('no')"
    process = forks.start(program, [], environment)
    assert process.communicate(30) == (b"bye\n", b"no\n")
    assert process.returncode == 1
    process = forks.start("import time; time.sleep(300)", [], environment)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(30) == (b"", b"")
    assert process.returncode == -signal.SIGTERM
