"""Python programs in processes forked from one that has imported what takes most of a start.

`llm` spends a second on packages that show nothing here: openai, pydantic and the like. They are
imported once. llm itself, its plugins and this package are imported in each process anew, and it ends
as every interpreter does.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

AVAILABLE = sys.platform == "linux"
"""Elsewhere there is no fork, or none that the system's libraries survive."""

LLM = "import runpy; runpy.run_module('llm', run_name='__main__', alter_sys=True)"
"""The program that `python -m llm` is."""

IMPORTED = (
    *("click", "click_default_group", "condense_json", "filelock", "msgspec", "openai"),
    *("puremagic", "pydantic", "sqlite_utils", "ulid", "yaml"),
)


def without_syncing() -> None:
    """Let no database wait for the disk from here on: a test need not survive a power cut."""
    connect = sqlite3.connect

    def opened(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        database: sqlite3.Connection = connect(*args, **kwargs)
        # The first query of the program tells what is wrong with the database.
        with suppress(sqlite3.Error, UnicodeDecodeError):
            database.execute("pragma synchronous = off")
        return database

    sqlite3.connect = opened  # type: ignore[assignment]


def _of_the_interpreter(environment: dict[str, str]) -> dict[str, str]:
    """The variables that Python reads when it starts."""
    return {name: value for name, value in environment.items() if name.startswith("PYTHON")}


class Fork:
    """A process, with the parts of `subprocess.Popen` that are used."""

    def __init__(
        self,
        control: socket.socket,
        stdout: IO[bytes] | None = None,
        stderr: IO[bytes] | None = None,
    ) -> None:
        self._control = control
        self.pid = self._number()
        self.returncode: int | None = None
        self.stdout, self.stderr = stdout, stderr

    def _number(self) -> int:
        (number,) = struct.unpack("i", self._control.recv(4))
        return int(number)

    def send_signal(self, sign: int) -> None:
        if self.returncode is None:
            # As subprocess.Popen: it may have ended, and nobody has asked yet.
            with suppress(ProcessLookupError):
                os.kill(self.pid, sign)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._control.settimeout(timeout)
            try:
                self.returncode = self._number()
            except TimeoutError:
                raise subprocess.TimeoutExpired("a fork", timeout or 0) from None
            self._control.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Its output when it ends, which has to fit into its pipes."""
        assert self.stdout is not None
        assert self.stderr is not None
        self.wait(timeout)
        with self.stdout, self.stderr:
            return self.stdout.read(), self.stderr.read()


class Forks:
    """A process that forks itself on demand. Many threads may use it at once."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._interpreter = _of_the_interpreter(environment)
        self._door, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=theirs.fileno(),
                cwd=Path(__file__).parents[2],
                env=environment,
            )

    def close(self) -> None:
        self._door.close()
        self._process.wait()

    def suit(self, environment: dict[str, str]) -> bool:
        """Whether the interpreter would be another with this environment."""
        return _of_the_interpreter(environment) == self._interpreter

    def start(
        self,
        program: str,
        args: Sequence[str],
        environment: dict[str, str],
        files: Sequence[IO[Any]] = (),
        cwd: Path | None = None,
        umask: int = -1,
    ) -> Fork:
        """Run a program's text, with `files` for stdin, stdout and stderr, else pipes for the last two."""
        ours, theirs = socket.socketpair()
        pipes: list[IO[bytes]] = []
        with ExitStack() as stack:
            given: list[IO[Any] | socket.socket] = [*files, stack.enter_context(theirs)]
            if not files:
                for _ in range(2):
                    read, write = os.pipe()
                    pipes.append(os.fdopen(read, "rb"))
                    given.insert(-1, stack.enter_context(os.fdopen(write, "wb")))
                given.insert(0, stack.enter_context(Path(os.devnull).open("rb")))
            socket.send_fds(self._door, [b"!"], [one.fileno() for one in given])
        request = [program, list(args), environment, str(cwd or Path.cwd()), umask]
        ours.sendall(json.dumps(request).encode() + b"\n")
        return Fork(ours, *pipes)


def _serve() -> None:
    """Fork for each request at the door, which is stdin, until it is closed."""
    for name in IMPORTED:
        importlib.import_module(name)
    without_syncing()
    gc.freeze()
    with socket.socket(fileno=os.dup(0)) as door:
        while True:
            _, files, *_ = socket.recv_fds(door, 1, 4)
            if not files:
                return
            if not os.fork():
                break
            for one in files:
                os.close(one)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    with socket.socket(fileno=files.pop()) as control:
        with control.makefile(encoding="utf-8") as lines:
            request = json.loads(lines.readline())
        if child := os.fork():
            for number in (0, *files):
                os.close(number)
            control.sendall(struct.pack("i", child))
            _, status = os.waitpid(child, 0)
            control.sendall(struct.pack("i", os.waitstatus_to_exitcode(status)))
            os._exit(0)
    for number, one in enumerate(files):
        os.dup2(one, number)
        os.close(one)
    _run(*request)


def _run(
    program: str, args: list[str], environment: dict[str, str], folder: str, umask: int
) -> None:
    if umask >= 0:
        os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[0] = folder
    sys.argv = ["-c", *args]
    exec(program, {"__name__": "__main__"})


if __name__ == "__main__":
    _serve()
