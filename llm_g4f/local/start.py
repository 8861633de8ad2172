"""Start the process of a local model: its parameters, its environment, and why it did not start."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..safe_text import clean
from .child import CANNOT_LOAD, identity
from .errors import WeightsError
from .files import ModelFile, loadable_path
from .gguf import read_header
from .machine import available_memory, load_average, physical_cores
from .runtime import PARALLEL, library

SMALL = 400_000_000
"""Bytes of a file up to which a second thread is not worth the waiting for each other when it writes.
Tokens/s of SmolLM2-135M on two cores with one thread and with two: 64 and 57 on an idle machine, 72 and
53 beside one busy process, 10 to 13 and 32 to 45 beside a dozen: there a second thread gets a second
share of the cores. Of Qwen2.5-Coder-1.5B: 10 and 15, and 8 and 8 beside one."""

DEFAULT_CONTEXT = 4_096
"""Tokens, for a file that does not say how many it was trained for."""

_CACHE = 256
"""MiB for the prompts of conversations that were asked in turn."""

_ALLOWED = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT", "LD_LIBRARY_PATH")
_ALLOWED_PREFIXES = ("LC_", "OMP_", "GGML_", "CUDA_", "HIP_", "VK_")


class ServerError(WeightsError):
    """The process of a model cannot start, or ended. The message says why and what to do."""


def uses_unix_sockets() -> bool:
    """Whether processes listen on Unix sockets, else on ports of 127.0.0.1 with a key."""
    return os.name != "nt" and hasattr(socket, "AF_UNIX")


class ChildProcess(subprocess.Popen[bytes]):
    """A process that may outlive this program: it is no oversight that nothing waits for it."""

    def __del__(self, *_: object) -> None:
        pass


started: dict[int, ChildProcess] = {}


def start(
    file: ModelFile, folder: Path, name: str, keep_alive: float, port: int | None = None
) -> ChildProcess:
    """Start the process of a model; it is ready when its file NAME.json is there. `port`: listen at
    this one of 127.0.0.1, 0 for any; None where Unix sockets do. Raises `ServerError`."""
    if not sys.executable:
        raise ServerError("The local model needs a Python of its own, and sys.executable is empty.")
    for pid in [pid for pid, process in started.items() if process.poll() is not None]:
        del started[pid]
    opened, log = file.open(), -1
    try:
        log = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        given = _parameters(file, folder, name, keep_alive, port)
        # Through the descriptor, where there is a way: it is the file that was checked.
        given["load"] = loadable_path(opened, file.path)
        process = ChildProcess(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("child.py"))],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=_environment(),
            start_new_session=True,
            pass_fds=(opened.fileno(),) if os.name != "nt" else (),
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as error:
        raise ServerError(f"The local model cannot start: {error.strerror}.") from None
    finally:
        opened.close()
        if log >= 0:
            os.close(log)
    started[process.pid] = process
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(json.dumps(given).encode())
    return process


def _parameters(
    file: ModelFile, folder: Path, name: str, keep_alive: float, port: int | None
) -> dict[str, Any]:
    size, cores, load = file.path.stat().st_size, physical_cores(), load_average()
    vision = vision_file(file.path)
    unix = port is None and uses_unix_sockets()
    place = str(folder / f"{name}-{secrets.token_hex(3)}")
    return {
        "library": str(library()),
        "path": str(file.path),
        "identity": identity(str(file.path)),
        # Other programs know a model by its name in the table.
        "model": file.row.name if port is not None and file.row else file.model,
        "vision": None if vision is None else str(vision),
        "log": str(folder / f"{name}.log"),
        "state": str(folder / f"{name}.json"),
        "socket": f"{place}.sock" if unix else None,
        "control": f"{place}.ctl" if unix else None,
        "port": port or 0,
        "key": None if unix else f"sk-{secrets.token_hex(24)}",
        "keep_alive": keep_alive,
        "context": context_for(file.path),
        "batch": batch_for(size, cores, load),
        "parallel": PARALLEL,
        "cache": _CACHE,
        "threads": writing_threads(size, cores, load),
        "reading_threads": cores,
    }


def context_for(path: Path) -> int:
    """Tokens of context: as many as the file was trained for, while they fit half of the memory that
    the weights leave."""
    header = read_header(path)
    if header is None:
        return DEFAULT_CONTEXT
    available = available_memory()
    if available is None:
        return min(header.context, DEFAULT_CONTEXT)
    left = max(0, available - path.stat().st_size) // 2
    fitting = left // header.bytes_per_token // 256 * 256
    return int(min(header.context, max(fitting, 2_048)))


def vision_file(path: Path) -> Path | None:
    """The file by which the model in `path` reads images: "mmproj" with its name beside it, or the
    only one beside a model that is alone in its folder, as in Hugging Face's cache."""
    for name in (f"mmproj-{path.name}", f"{path.stem}-mmproj.gguf", f"{path.stem}.mmproj.gguf"):
        if (path.parent / name).is_file():
            return path.parent / name
    # Looking through a folder of downloads would take longer than an answer from nearby.
    if path.parent.parent.name != "snapshots" or "mmproj" in path.name.lower():
        return None
    others = [other for other in path.parent.glob("*.gguf") if other.name != path.name]
    alone = len(others) == 1 and "mmproj" in others[0].name.lower()
    return others[0] if alone else None


def batch_for(size: int, cores: int, load: float) -> int:
    """Tokens of a prompt to read at a time: a second's work at most, since a request that was left ends
    after two batches; and as many as that allows, since each batch goes through the context once more.

    An estimate from the load average, since it is fixed before the model is loaded: measuring would mean
    to load it twice. On two idle cores SmolLM2-135M reads 200 tokens a second, Qwen2.5-Coder-1.5B 44;
    beside a dozen busy processes 40 and 4. Batches of 8 would cost a third of the speed.
    """
    tokens = 2.8e10 * cores * cores / (cores + load) / (size + 1.6e8)
    return max(16, min(128, int(tokens) // 8 * 8))


def writing_threads(size: int, cores: int, load: float) -> int:
    """Threads that write: see `SMALL`."""
    if size > SMALL:
        return cores
    return min(cores, 2) if load > 2 * cores else 1


def _environment() -> dict[str, str]:
    """The environment of the process: no keys, nothing of Python's."""
    names = [name for name in os.environ if name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES)]
    # Threads that wait by spinning are ten times slower beside busy processes; a damaged file would
    # run a debugger.
    usual = {"OMP_WAIT_POLICY": "passive", "GGML_NO_BACKTRACE": "1"}
    return usual | {name: os.environ[name] for name in names}


def failed_start(file: ModelFile, process: ChildProcess, folder: Path, name: str) -> ServerError:
    """The error for a process that ended before it was ready. Removes what it left."""
    said, log = "", folder / f"{name}.log"
    with contextlib.suppress(OSError):
        said = log.read_text(encoding="utf-8", errors="replace")
        for path in (log, folder / f"{name}.json", *folder.glob(f"{name}-*")):
            path.unlink(missing_ok=True)
    again = "" if file.chosen else ' "llm g4f local install --force" fetches it again.'
    code = process.returncode
    if code == CANNOT_LOAD:
        found = _CAUSE.search(said)
        why = clean(found[1], 200) if found else "no reason given"
        why = re.sub(r"/proc/self/fd/\d+", file.path.name, why)
        return ServerError(f"llama.cpp cannot load {file.path} ({why}).{again}")
    why = _SIGNALS.get(-code, "it may be damaged")
    return ServerError(
        f"The local model's process {ending(code)} while loading {file.path}: {why}.{again}"
    )


_SIGNALS = {
    signal.SIGTERM: "it was stopped",
    getattr(signal, "SIGHUP", 1): "it was stopped",
    getattr(signal, "SIGKILL", 9): "the memory may be too small",
}
"""What a signal from outside means."""

_CAUSE = re.compile(r" E (?:\w+ +)?\w+: +(.+)")
"""The first error in llama.cpp's log: what it raises names no cause."""


def ending(code: int) -> str:
    return f"ended (signal {-code})" if code < 0 else f"ended (exit code {code})"
