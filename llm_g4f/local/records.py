"""What is remembered about model files: models.json in the folder of the plugin's own files.

Losing it costs one more hash per file, and "remove" leaves what it no longer knows to be ours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct, field

from ..config.files import atomic_write, user_dir

Identity = tuple[int, ...]


class Reference(Struct, frozen=True):
    """Where the file of a hf: reference is, and its hash."""

    path: str
    sha256: str


class Records(Struct):
    """`checked`: the identity of the file that had a hash, by the hash. `fetched`: paths of what this
    plugin fetched, by the model's name. `references`: by the hf: reference."""

    checked: dict[str, Identity] = field(default_factory=dict)
    fetched: dict[str, list[str]] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)


def folder() -> Path:
    """The directory of the plugin's own model files, in llm's user directory."""
    return user_dir() / "g4f"


def load() -> Records:
    """What is remembered; nothing if the file is missing or invalid."""
    try:
        return msgspec.json.decode((folder() / "models.json").read_bytes(), type=Records)
    except (OSError, msgspec.DecodeError):
        return Records()


@contextlib.contextmanager
def changing() -> Iterator[Records]:
    """The records, to be changed while other processes wait. Where they cannot be written, the change
    is lost."""
    import filelock

    with contextlib.ExitStack() as stack:
        with contextlib.suppress(filelock.Timeout, OSError, NotImplementedError):
            stack.enter_context(filelock.FileLock(folder() / ".models.lock", timeout=2, mode=0o600))
        records = load()
        yield records
        with contextlib.suppress(OSError):
            atomic_write(
                folder() / "models.json", msgspec.json.format(msgspec.json.encode(records))
            )


def remember_check(sha256: str, identity: Identity) -> None:
    """Remember that the file with this identity has this hash, if the folder is there."""
    if folder().is_dir():
        with changing() as records:
            records.checked[sha256] = identity


def remember_fetched(name: str, *paths: Path | str) -> None:
    """Remember that these files were fetched by this plugin."""
    with changing() as records:
        records.fetched[name] = sorted({*records.fetched.get(name, ()), *map(str, paths)})
