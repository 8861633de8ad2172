"""Edit g4f.yaml and keep the user's comments and order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import Any

from .. import config
from ..config.files import atomic_write
from ..errors import ConfigError
from ..safe_text import clean

LOCK_SECONDS = 10.0
"""Seconds to wait for another command that edits the file."""


@contextmanager
def editing(section: str = "providers") -> Iterator[Any]:
    """Edit a section of g4f.yaml as a mapping. The file is replaced in one step at the end, and
    locked until then: of two commands at once, both count.

    Raises `ConfigError` if the file is invalid, before or after the edit, and leaves it as it is.
    """
    path = config.config_path()
    with ExitStack() as stack:
        _lock(path, stack)
        yield from _edit(path, section)


def _lock(path: Path, stack: ExitStack) -> None:
    import filelock

    lock_path = path.with_name(f".{path.name}.lock")
    lock = filelock.FileLock(lock_path, timeout=LOCK_SECONDS, thread_local=False)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise ConfigError(
            f"{path} is being changed by another command. Run this one again when it has ended."
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
    stack.callback(lock.release)
    stack.callback(_unlink, lock_path)


def _unlink(path: Path) -> None:
    # While the lock is held: a command that waits for it sees that it is no longer valid.
    with suppress(OSError):
        path.unlink()


def _edit(path: Path, section: str) -> Iterator[Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

    # Only the user knows what an invalid file was meant to say.
    config.load()
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4_096
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    with _errors(path):
        document = yaml.load(text)
    was_empty = not document
    if was_empty:
        document = CommentedMap()
    if document.get(section) is None:
        document[section] = CommentedMap()
    yield document[section]
    if not document[section]:
        del document[section]
    out = StringIO()
    if was_empty or not document:
        # ruamel.yaml keeps comments beside values only.
        lines = text.splitlines()
        out.writelines(f"{line}\n" for line in lines if line.lstrip()[:1] in ("", "#"))
    if document:
        with _errors(path):
            yaml.dump(document, out)
    config.parse(out.getvalue(), path)
    _write(path, out.getvalue())


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Turn what ruamel.yaml raises into `ConfigError`: it reads YAML 1.2, where PyYAML reads 1.1, and what
    one of them takes may be invalid for the other."""
    from ruamel.yaml.error import YAMLError

    try:
        yield
    except (YAMLError, *_RAISED) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        problem = clean(str(getattr(error, "problem", None) or error), 100)
        raise ConfigError(
            f"{where}: a command cannot edit this ({problem}). Edit the file yourself."
        ) from None


_RAISED = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError),
    *(TypeError, ValueError),
)
"""Raised by ruamel.yaml for a text that does not fit its tag, besides errors of its own."""


def _write(path: Path, text: str) -> None:
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        # A link to a file among others, as of a collection of settings, stays one.
        atomic_write(Path(os.path.realpath(path)), text.encode(), mode, sync=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
