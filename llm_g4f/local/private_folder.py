"""The folder of the running models: their sockets, logs and what tells of them.

Only this user may enter it: who can connect to a socket in it can use the model.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

LONGEST = 60
"""Bytes of the folder's path: that of a socket in it may have about 100."""


class FolderError(Exception):
    """No place for the folder. The message says why and what to do."""


def private_folder() -> Path:
    """The folder, made where it is missing. Raises `FolderError`."""
    problems = []
    for path in _places():
        problem = _problem_of(path)
        if problem is None:
            return path
        problems.append(f"{path}: {problem}")
    raise FolderError(
        f"The local model has no private folder ({'; '.join(problems)})."
        " Set XDG_RUNTIME_DIR to a folder that only you can enter."
    )


def _places() -> list[Path]:
    if os.name == "nt":
        return [Path(tempfile.gettempdir(), "llm-g4f")]
    name = f"llm-g4f-{os.getuid()}"
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    places = [Path(given, "llm-g4f")] if os.path.isabs(given) else []  # noqa: PTH117
    places += [Path(tempfile.gettempdir(), name), Path("/tmp", name)]  # noqa: S108
    short = [path for path in places if len(os.fsencode(path)) <= LONGEST]
    return list(dict.fromkeys(short))


def _problem_of(path: Path) -> str | None:
    """Why the folder cannot be used, in words; None for a folder that is there and ours alone."""
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        # Links are not followed: they could lead to a folder that others may enter.
        found = path.lstat()
    except OSError as error:
        return error.strerror or type(error).__name__
    if not stat.S_ISDIR(found.st_mode):
        return "it is not a folder"
    if os.name == "nt":
        return None
    if found.st_uid != os.getuid():
        return "it belongs to another user"
    if stat.S_IMODE(found.st_mode) & 0o077:
        return "others may enter it (chmod 700 makes it private)"
    return None
