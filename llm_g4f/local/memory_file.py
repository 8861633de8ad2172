"""What is remembered about model files: models.json in the folder of the plugin's own files.

Losing it costs one more hash per file, and "remove" leaves what it no longer knows to be ours.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
from msgspec import Struct, field

from ..config.files import atomic_write, user_dir


class Reference(Struct, frozen=True):
    """Where the file of a hf: reference is, and its hash."""

    path: str
    sha256: str


class Memory(Struct):
    """`checked`: the identity of the file that had a hash, by the hash. `fetched`: paths of the files
    that this plugin fetched, by the model's name. `references`: by the hf: reference."""

    checked: dict[str, tuple[int, ...]] = field(default_factory=dict)
    fetched: dict[str, list[str]] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)


def _path() -> Path:
    return user_dir() / "g4f" / "models.json"


def load() -> Memory:
    """What is remembered; nothing if the file is missing or invalid."""
    try:
        return msgspec.json.decode(_path().read_bytes(), type=Memory)
    except (OSError, msgspec.DecodeError):
        return Memory()


def save(memory: Memory) -> None:
    """Raises OSError."""
    atomic_write(_path(), msgspec.json.format(msgspec.json.encode(memory)))


def remember_check(sha256: str, identity: tuple[int, ...]) -> None:
    """Remember that the file with this identity has this hash, if the folder is there."""
    memory = load()
    memory.checked[sha256] = identity
    with contextlib.suppress(OSError):
        save(memory)
