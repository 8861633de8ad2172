"""Files in llm's user directory: their paths, and safe ways to replace and to set them aside.

The environment says where the directory is; it is compared as a whole, since every request asks.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

_environ: Any = getattr(os.environ, "_data", os.environ)
"""The mapping behind os.environ: comparing it as a whole takes as long as one lookup."""


def environment() -> Any:
    """A copy of the environment, for `environment_is`."""
    return dict(_environ)


def environment_is(before: Any) -> bool:
    """Whether the environment is still the copy `before`."""
    return bool(_environ == before)


_known: tuple[Any, str] = (None, "")
"""An environment, and the user directory in it."""


def user_dir() -> Path:
    """Llm's user directory: LLM_USER_PATH, else click's application directory, as in llm itself."""
    return Path(_user_dir())


def _user_dir() -> str:
    chosen = os.environ.get("LLM_USER_PATH")
    if chosen:
        return chosen
    import click

    return click.get_app_dir("io.datasette.llm")


def user_file(name: str) -> str:
    """The path of a file in llm's user directory; a str, since a Path is slow to make and every
    request needs two."""
    global _known
    environment, directory = _known
    if environment != _environ:
        directory = _user_dir()
        _known = dict(_environ), directory
    return f"{directory}{os.sep}{name}"


def config_path() -> Path:
    """The path of g4f.yaml, whether the file exists or not."""
    return Path(user_file("g4f.yaml"))


def atomic_write(path: Path, data: bytes, mode: int = 0o600, *, sync: bool = False) -> None:
    """Replace the file `path` with one that has `data` and the permissions `mode`.

    A reader, and a crash at any time, finds the old content or the new one; with `sync`, which takes
    some milliseconds, after a power loss too. Raises OSError, and leaves the old file then.
    """
    import tempfile

    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Bring the names of the files in a folder to the disk, where the system can do that."""
    # A folder may be writable, but not readable; on Windows none can be opened.
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def set_aside(path: Path, reason: str) -> None:
    """Rename a damaged file to NAME.damaged, and log a warning with the `reason`. Raises OSError."""
    import logging

    target = path.with_name(f"{path.name}.damaged")
    path.replace(target)
    logging.getLogger("llm_g4f").warning(
        "%s is damaged (%s): moved to %s.", path, reason, target.name
    )
