"""Find the process of a local model, or start it.

One lock in the private folder lets one process start at a time. A process is found by its name: a
hash of the file's identity, of the settings, and of the versions, so that a change of any of them
is another process, and the old one ends when it is idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..version import __version__
from . import control
from .child import identity
from .control import Running
from .errors import WeightsError
from .files import ModelFile
from .private_folder import FolderError, private_folder
from .runtime import NOT_INSTALLED, is_installed, library
from .start import (
    ChildProcess,
    ServerError,
    ending,
    failed_start,
    start,
    started,
    uses_unix_sockets,
    vision_file,
)

if TYPE_CHECKING:
    from filelock import FileLock

_POLL = 0.01


def name_of(file: ModelFile) -> str:
    """The name of the process of a model. Raises `WeightsError` for a missing file."""
    try:
        vision = vision_file(file.path)
        files = [identity(str(path)) for path in (file.path, vision) if path is not None]
    except (OSError, ValueError) as error:
        raise file.unusable(getattr(error, "strerror", None) or str(error)) from None
    versions = [__version__, *identity(str(library() / "xllamacpp" / "__init__.py"))]
    settings = [file.model, uses_unix_sockets()]
    return hashlib.sha256(json.dumps([files, versions, settings]).encode()).hexdigest()[:16]


async def server_for(file: ModelFile, keep_alive: float) -> Running:
    """The process of a model, which this program uses from now on. `keep_alive`: seconds for which
    it goes on after the last program; negative: for ever. Raises `WeightsError`."""
    name = name_of(file)
    running = control.held(name)
    if running is not None:
        return running
    # Its memory may be needed.
    control.release(but=name)
    folder = _folder()
    process: ChildProcess | None = None
    lock: FileLock | None = None
    try:
        while True:
            state = control.state_of(folder, name)
            if state is not None:
                hold = await control.hold(state, keep_alive)
                if hold is not None:
                    return hold.running
            if process is not None and process.poll() is not None:
                if process.returncode == 0 and name_of(file) != name:
                    # The file has changed meanwhile.
                    process, name = None, name_of(file)
                    continue
                raise failed_start(file, process, folder, name)
            lock = lock or _lock_in(folder)
            if process is None and _is_acquired(lock) and control.state_of(folder, name) == state:
                await asyncio.to_thread(_make_room, folder)
                process = await asyncio.to_thread(start, file, folder, name, keep_alive)
            await asyncio.sleep(_POLL)
    finally:
        if lock is not None:
            lock.release()


async def serve(file: ModelFile, port: int) -> tuple[Running, ChildProcess]:
    """A process of its own for other programs, which ends with this one; `port` 0: any. Raises
    `WeightsError`."""
    folder, name = _folder(), f"serve-{secrets.token_hex(4)}"
    process = await asyncio.to_thread(start, file, folder, name, 0, port)
    while process.poll() is None:
        running = control.state_of(folder, name)
        if running is not None and (hold := await control.hold(running, 0)) is not None:
            return hold.running, process
        await asyncio.sleep(_POLL)
    raise failed_start(file, process, folder, name)


def running_models() -> list[tuple[Running, dict[str, Any]]]:
    """Every process that answers, with what it tells of itself. Raises `ServerError`."""
    folder = _folder()
    found = [(running, control.status(running)) for running in control.all_states(folder)]
    return [(running, told) for running, told in found if told is not None]


def stop_all() -> list[Running]:
    """End every process. Raises `ServerError`."""
    control.release()
    folder = _folder()
    stopped = []
    for running in control.all_states(folder):
        if control.stop(running):
            stopped.append(running)
        control.forget(folder, running)
    return stopped


def ending_of(running: Running) -> str | None:
    """How a process ended that this program had, as the end of a sentence; None if it did not."""
    if control.held(running.name) == running:
        return None
    process = started.get(running.pid)
    with contextlib.suppress(subprocess.TimeoutExpired):
        # Its connections end a moment before it does.
        return "ended" if process is None else ending(process.wait(1.0))
    return None


def _folder() -> Path:
    try:
        return private_folder()
    except FolderError as error:
        raise ServerError(str(error)) from None


def _lock_in(folder: Path) -> FileLock:
    # Most prompts find their model loaded.
    from filelock import FileLock

    return FileLock(str(folder / "lock"), mode=0o600)


def _is_acquired(lock: FileLock) -> bool:
    from filelock import Timeout

    if lock.is_locked:
        return True
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except OSError as error:
        raise ServerError(f"{lock.lock_file} cannot be locked: {error.strerror}.") from None
    return True


def _make_room(folder: Path) -> None:
    """End the processes that nothing uses, and remove what killed ones left."""
    for running in control.all_states(folder):
        told = control.status(running)
        if told is None:
            control.forget(folder, running)
        elif not told["users"] and not told["busy"]:
            control.stop(running)


def try_out(file: ModelFile) -> None:
    """Load a model to check that it is one, and let it go. Raises `WeightsError`."""
    if not is_installed():
        raise WeightsError(f"The model cannot be tried: {NOT_INSTALLED}")
    running = asyncio.run(server_for(file, 0))
    control.release()
    control.stop(running)
