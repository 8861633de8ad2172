"""llm_g4f/config/files.py: files are replaced in one step, and damaged ones set aside."""

from __future__ import annotations

import logging
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from llm_g4f.batch.append_file import AppendFile
from llm_g4f.config.files import atomic_write, set_aside
from tests.support.commands import g4f

posix = pytest.mark.skipif(os.name != "posix", reason="permissions and limits of POSIX")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "state.json"


@contextmanager
def no_room(size: int) -> Iterator[None]:
    """Limit the size of every file that this process writes to `size` bytes."""
    assert sys.platform != "win32"
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@posix
def test_a_new_file_is_for_its_owner_alone(path: Path) -> None:
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600


@posix
def test_a_power_loss_leaves_the_configuration(
    user_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(fd: int) -> None:
        fsync(fd)
        events.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")

    def replaced(self: Path, target: Path) -> Path:
        events.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    assert g4f("enable", "ovh").exit_code == 0
    assert "ovh" in (user_path / "g4f.yaml").read_text()
    assert events == ["file", "replace", "folder"]


def test_the_permissions_are_those_asked_for(path: Path) -> None:
    path.write_bytes(b"old")
    atomic_write(path, b"new", 0o640)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640


@posix
def test_a_full_disk_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    path.write_bytes(b"old")
    with no_room(10), pytest.raises(OSError, match="File too large"):
        atomic_write(path, b"new" * 10)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    path.write_bytes(b"old")
    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def replaced_by_a_batch(path: Path) -> None:
    with closing(AppendFile(path)) as file:
        file.replace(lambda new: None)


@pytest.mark.parametrize("replace", [partial(atomic_write, data=b"new"), replaced_by_a_batch])
def test_a_signal_right_after_the_new_file_is_there_leaves_nothing_else(
    replace: Callable[[Path], None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = os.open

    def interrupted(name: str, flags: int, *arguments: Any, **keywords: Any) -> int:
        fd = open_file(name, flags, *arguments, **keywords)
        if flags & os.O_EXCL:
            os.close(fd)
            raise KeyboardInterrupt
        return fd

    path.write_bytes(b"old")
    monkeypatch.setattr(os, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replace(path)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_damaged_file_is_renamed_with_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(b"{")
    set_aside(path, "invalid content")
    damaged = path.with_name("state.json.damaged")
    assert list(path.parent.iterdir()) == [damaged]
    words = f"{path} is damaged (invalid content): moved to state.json.damaged."
    assert caplog.record_tuples == [("llm_g4f", logging.WARNING, words)]
    with pytest.raises(FileNotFoundError):
        set_aside(path, "it is gone")
