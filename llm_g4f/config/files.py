"""Files in llm's user directory: their paths, and safe ways to replace and to set them aside.

The environment says where the directory is; it is compared as a whole, since every request asks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

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
    with temporary_file(path) as (temporary, file):
        with file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    if sync:
        sync_folder(path.parent)


@contextlib.contextmanager
def temporary_file(path: Path, suffix: str = "") -> Iterator[tuple[Path, BinaryIO]]:
    """The path of a new file for its owner alone, to replace `path`, and the file, open for writing. An
    error, or a signal at any time, removes it."""
    # A signal can come between the creation of a file and the first step after it: the name is known
    # before.
    temporary = path.with_name(f".{path.name}-{os.urandom(4).hex()}{suffix}")
    try:
        with open(temporary, "xb", opener=partial(os.open, mode=0o600)) as file:
            yield temporary, file
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
