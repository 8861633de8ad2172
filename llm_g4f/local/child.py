"""The process of a local model: llama.cpp's server, and the programs that use it.

A script of its own, since nothing of this package is imported here: only the standard library and
xllamacpp. `local.server` starts it and writes its parameters to stdin. Facts about xllamacpp
2026.10: the constructor of its server loads the model, listens, and returns; its sockets are not
removed; a load failure is a bare RuntimeError, and a damaged file may abort the process.

Every program that uses the model keeps one connection to the control socket open, so that its end,
however it ends, is seen here. Without any, the process ends after `keep_alive` seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import socket
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

CANNOT_LOAD = 70
"""The exit code for a file that llama.cpp refuses; the log has the reason."""

LOG_SIZE = 1 << 20
"""Bytes that any file written here may have: the log has no other bound."""

_TICK = 1.0
"""Seconds between two looks at the clock and at the model's file."""

_GRACE = 10.0
"""Seconds for the program that started this process to connect."""

_PROMPT = 0.2
"""Seconds in which a server answers that has nothing else to do."""

_BUSY = re.compile(r"^llamacpp:requests_(?:processing|deferred) ([\d.]+)", re.MULTILINE)


def identity(path: str | int) -> list[int]:
    """What tells a file from every other one, and from itself before a change. Raises OSError."""
    found = os.stat(path)  # noqa: PTH116 (a descriptor, too)
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def move_open(file: IO[bytes], target: Path) -> list[int]:
    """Rename an open file to `target`. Returns the identity of that very file, whatever lies there by
    now. Raises OSError."""
    if sys.platform == "win32":
        # An open file cannot be renamed there.
        file.close()
        Path(file.name).replace(target)
        return identity(str(target))
    Path(file.name).replace(target)
    return identity(file.fileno())


def main() -> None:
    """Load the model, serve, and end when nothing needs it any more."""
    given = json.loads(sys.stdin.buffer.read())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.umask(0o077)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (LOG_SIZE, LOG_SIZE))
    sys.path.append(given["library"])
    control = _Control(given)
    try:
        control.load()
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(CANNOT_LOAD)
    control.run()


def _load(given: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = given["load"]
    params.model_alias = {given["model"]}
    params.mmproj.path = given["vision"] or ""
    params.n_ctx = given["context"]
    has_gpu = any(device["name"] != "CPU" for device in xllamacpp.get_device_info())
    params.n_batch = params.n_ubatch = 512 if has_gpu else given["batch"]
    # Without one, it would read the file's header twice for nothing.
    params.fit_params = has_gpu
    params.n_parallel = given["parallel"]
    # Else each slot has its part of the context only.
    params.kv_unified = True
    params.cache_ram_mib = given["cache"]
    params.use_jinja = True
    params.warmup = params.ui = False
    params.verbosity = 1
    params.endpoint_slots = params.endpoint_metrics = params.endpoint_props = True
    params.cpuparams.n_threads = given["threads"]
    params.cpuparams_batch.n_threads = given["reading_threads"]
    # By default every web page may use the server.
    params.cors_origins, params.cors_credentials = "", False
    if given["socket"] is not None:
        params.hostnames = [given["socket"]]
    else:
        params.hostnames, params.port = ["127.0.0.1"], given["port"]
        params.api_keys = [given["key"]]
    server = xllamacpp.Server(params)
    # This waits until the server's own loop runs.
    server.handle_metrics()
    return server


class _Control:
    """The control socket: a line of JSON asks, a line of JSON answers.

    {"do": "hold", "keep_alive": seconds} counts until the connection ends; "status" tells about the
    process; "stop" ends it. Over TCP each needs the "key". Questions are answered once the model is
    loaded: until then the process's interpreter is blocked.
    """

    _server: Any = None

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
        self._key: str | None = given["key"]
        self._keep_alive: float = given["keep_alive"]
        self._began = self._last_used = time.monotonic()
        self._holders: set[socket.socket] = set()
        self._held = False
        self._worker = ThreadPoolExecutor(1)
        self._asked: Future[str] | None = None
        self._clients: dict[socket.socket, bytes] = {}
        self._selector = selectors.DefaultSelector()
        self._door = self._listen()
        self._selector.register(self._door, selectors.EVENT_READ)

    def _listen(self) -> socket.socket:
        path = self._given["control"]
        if path is None:
            return socket.create_server(("127.0.0.1", 0))
        door = socket.socket(socket.AF_UNIX)
        door.bind(path)
        door.listen(128)
        return door

    def load(self) -> None:
        """Load the model. Raises RuntimeError."""
        self._write_state()
        self._server = _load(self._given)
        self._last_used = time.monotonic()

    def run(self) -> None:
        """Answer until nothing needs the model any more."""
        import signal

        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda *_: self._end())
        self._write_state()
        while True:
            for key, _ in self._selector.select(self._wait()):
                if key.fileobj is self._door:
                    self._accept()
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._read(key.fileobj)
            if self._is_over():
                self._end()

    def _wait(self) -> float:
        left = self._last_used + max(self._keep_alive, 0.0) - time.monotonic()
        return _TICK if self._holders or left <= 0 else min(_TICK, left)

    def _address(self) -> str | int:
        """Where the model listens: a socket's path, or a port, which is 0 until it is loaded."""
        path: str | None = self._given["socket"]
        if path is not None or self._server is None:
            return path or 0
        return int(self._server.listening_address.rpartition(":")[2])

    def _write_state(self) -> None:
        """Say that this process is there, where it listens, and whether the model is loaded."""
        given = self._given
        state = {
            **{name: given[name] for name in ("model", "path", "context", "key")},
            "pid": os.getpid(),
            "address": self._address(),
            "control": given["control"] or self._door.getsockname()[1],
            "loading": self._server is None,
        }
        target = Path(given["state"])
        temporary = target.with_suffix(f".{os.getpid()}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(state, file)
        temporary.replace(target)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._door.accept()
            client.setblocking(False)
            self._clients[client] = b""
            self._selector.register(client, selectors.EVENT_READ)

    def _read(self, client: socket.socket) -> None:
        try:
            data = client.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        line, newline, rest = (self._clients[client] + data).partition(b"\n")
        if not data or len(line) > 4096:
            self._drop(client)
        elif newline:
            self._clients[client] = rest
            self._answer(client, line)
        else:
            self._clients[client] = line

    def _answer(self, client: socket.socket, line: bytes) -> None:
        try:
            asked = json.loads(line)
            allowed = self._key is None or asked["key"] == self._key
            do = asked["do"] if allowed else ""
            keep_alive = float(asked["keep_alive"]) if do == "hold" else 0.0
        except (ValueError, LookupError, TypeError):
            do = ""
        if do == "hold":
            self._holders.add(client)
            self._held, self._keep_alive = True, keep_alive
            self._say(client, {"address": self._address()})
        elif do == "status":
            self._say(client, self._status())
        elif do == "stop":
            self._end()
        else:
            self._drop(client)

    def _say(self, client: socket.socket, answer: dict[str, Any]) -> None:
        try:
            client.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        del self._clients[client]
        if client in self._holders:
            self._holders.discard(client)
            self._last_used = time.monotonic()
        client.close()

    def _status(self) -> dict[str, Any]:
        now = time.monotonic()
        idle = 0.0 if self._holders or self._is_busy() else now - self._last_used
        return {
            "busy": self._is_busy(),
            "users": len(self._holders),
            "idle": round(idle, 1),
            "keep_alive": self._keep_alive,
            "memory": _memory(),
            "up": round(now - self._began),
        }

    def _is_busy(self) -> bool:
        """Whether a request is read, answered or waits. The server tells between two batches only: no
        word from it says enough."""
        if self._asked is None:
            self._asked = self._worker.submit(self._server.handle_metrics)
        try:
            counts = _BUSY.findall(self._asked.result(_PROMPT))
        except TimeoutError:
            return True
        self._asked = None
        return any(float(count) for count in counts)

    def _has_changed(self) -> bool:
        """Whether the model's file is another one by now."""
        try:
            return bool(identity(self._given["path"]) != self._given["identity"])
        except OSError:
            return True

    def _is_over(self) -> bool:
        if self._has_changed():
            return not self._is_busy()
        if self._holders or self._keep_alive < 0:
            return False
        wait = self._keep_alive if self._held else max(self._keep_alive, _GRACE)
        return time.monotonic() - self._last_used >= wait and not self._is_busy()

    def _end(self) -> None:
        """Remove what tells of this process, and end at once: freeing the server may wait for ever."""
        given, state = self._given, Path(self._given["state"])
        with contextlib.suppress(OSError, ValueError):
            if json.loads(state.read_text(encoding="utf-8"))["pid"] == os.getpid():
                state.unlink()
        for path in (given["socket"], given["control"], given["log"]):
            if path is not None:
                Path(path).unlink(missing_ok=True)
        os._exit(0)


def _memory() -> int:
    """Bytes of memory that this process has; the most it ever had where that is all that is known."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


if __name__ == "__main__":
    main()
