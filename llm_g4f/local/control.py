"""Talk to the processes of local models: find them, use them, ask them, stop them.

A process has a file NAME.json in the private folder, which says where it listens, or that its model
is being loaded; one that was killed leaves it there. `local.child` has the other end.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

from msgspec import Struct, ValidationError, convert
from msgspec.structs import replace

_PATIENCE = 5.0
"""Seconds for a whole answer: the process may be in the middle of a batch, which takes one."""


class Running(Struct, frozen=True):
    """A process. `address` and `control` are the path of a Unix socket, or a port of 127.0.0.1, which
    requires the `key`, and is 0 while `loading`. `context` is in tokens."""

    pid: int
    model: str
    path: str
    context: int
    address: str | int
    control: str | int
    key: str | None
    name: str = ""
    loading: bool = False

    @property
    def base_url(self) -> str:
        """The URL under which its requests are sent, over its socket where it has one."""
        port = f"127.0.0.1:{self.address}" if isinstance(self.address, int) else "localhost"
        return f"http://{port}/v1"

    @property
    def unix_socket(self) -> str | None:
        return self.address if isinstance(self.address, str) else None


def state_of(folder: Path, name: str) -> Running | None:
    """What the file of process `name` says; None if there is none."""
    try:
        state = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        return convert({**state, "name": name}, Running)
    except (OSError, ValueError, ValidationError):
        return None


def all_states(folder: Path) -> list[Running]:
    """Every process that says it is there."""
    found = [state_of(folder, path.stem) for path in sorted(folder.glob("*.json"))]
    return [running for running in found if running is not None]


def _connected(running: Running, do: str, **fields: Any) -> socket.socket:
    """A connection on which a question was asked. Raises OSError where nothing listens."""
    control = running.control
    if isinstance(control, str):
        connection = socket.socket(socket.AF_UNIX)
    else:
        connection = socket.socket()
    try:
        connection.settimeout(_PATIENCE)
        connection.connect(control if isinstance(control, str) else ("127.0.0.1", control))
        question = {"do": do, "key": running.key, **fields}
        connection.sendall(json.dumps(question).encode() + b"\n")
    except BaseException:
        connection.close()
        raise
    return connection


def _parsed(line: bytes) -> dict[str, Any]:
    """An answer. Raises OSError for none."""
    try:
        answer: dict[str, Any] = json.loads(line)
    except ValueError:
        raise ConnectionResetError("the process ended") from None
    return answer


def ask(running: Running, do: str) -> dict[str, Any]:
    """The answer to one question. Raises OSError where nothing answers."""
    line, end = b"", time.monotonic() + _PATIENCE
    with _connected(running, do) as connection:
        while not line.endswith(b"\n"):
            # At a port of one that has ended, anything may answer, and never end a line.
            connection.settimeout(max(end - time.monotonic(), 0.001))
            data = connection.recv(4096)
            if not data:
                break
            line += data
    return _parsed(line)


_BUSY = {"busy": True, "users": 1, "idle": 0.0, "keep_alive": 0.0, "memory": 0, "up": 0}


def status(running: Running) -> dict[str, Any] | None:
    """What a process tells of itself: busy, users, idle (seconds), keep_alive, memory (bytes); None
    if it has ended."""
    try:
        if running.loading:
            _connected(running, "status").close()
            return _BUSY
        return ask(running, "status")
    except (ConnectionError, FileNotFoundError):
        return None
    except OSError:
        # It is stopped (SIGSTOP), or the machine is overloaded.
        return _BUSY


def stop(running: Running) -> bool:
    """End a process, whatever it does; whether there was one."""
    try:
        if running.loading:
            _connected(running, "stop").close()
            _kill(running, signal.SIGTERM)
        else:
            ask(running, "stop")
    except ConnectionResetError:
        pass
    except TimeoutError:
        # It hangs, or is stopped.
        _kill(running, getattr(signal, "SIGKILL", signal.SIGTERM))
    except OSError:
        return False
    return True


def _kill(running: Running, number: int) -> None:
    """Send a signal to a process that has its socket still, so that it is the one."""
    with contextlib.suppress(OSError):
        os.kill(running.pid, number)


def forget(folder: Path, running: Running) -> None:
    """Remove what a process left that was killed."""
    for path in (running.address, running.control, folder / f"{running.name}.json"):
        if not isinstance(path, int):
            with contextlib.suppress(OSError):
                Path(path).unlink()


class Hold:
    """A connection by which a process knows that this program uses it; it ends with the program."""

    def __init__(self, running: Running, connection: socket.socket) -> None:
        self.running = running
        self._connection = connection

    def is_open(self) -> bool:
        """Whether the process is still there, and takes requests: one that ends removes its socket
        a moment before it closes this connection."""
        socket_path = self.running.unix_socket
        if socket_path is not None and not Path(socket_path).exists():
            return False
        try:
            return bool(self._connection.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        self._connection.close()


_holds: dict[str, Hold] = {}
_lock = threading.Lock()


async def hold(running: Running, keep_alive: float) -> Hold | None:
    """Use a process until this program ends, or uses another one; waits while its model is loaded.
    None if it has ended. `keep_alive`: seconds for which it goes on then."""
    try:
        connection = _connected(running, "hold", keep_alive=keep_alive)
        answer = await _answered(connection, None if running.loading else _PATIENCE)
    except OSError:
        return None
    made = Hold(replace(running, loading=False, address=answer["address"]), connection)
    with _lock:
        before = _holds.pop(running.name, None)
        _holds[running.name] = made
    if before is not None:
        before.close()
    return made


async def _answered(connection: socket.socket, seconds: float | None) -> dict[str, Any]:
    """The answer on a connection, which is closed if there is none. Raises OSError."""
    try:
        connection.setblocking(False)
        async with asyncio.timeout(seconds):
            return _parsed(await asyncio.get_running_loop().sock_recv(connection, 4096))
    except BaseException:
        connection.close()
        raise


def held(name: str) -> Running | None:
    """The process `name`, if this program uses it and it is still there."""
    found = _holds.get(name)
    return found.running if found is not None and found.is_open() else None


@atexit.register
def release(*, but: str | None = None) -> None:
    """Use no process any more, `but` one."""
    with _lock:
        dropped = [_holds.pop(name) for name in list(_holds) if name != but]
    for one in dropped:
        one.close()
