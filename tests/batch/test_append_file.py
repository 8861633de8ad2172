"""A file that one run appends to, beside other programs, links and crashes."""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pytest

from llm_g4f.batch.append_file import AppendFile
from llm_g4f.errors import LedgerError
from tests.support.commands import run_python
from tests.support.waiting import wait_until

posix = pytest.mark.skipif(os.name == "nt", reason="links, modes and signals are POSIX's")

LEFT = ".out-abcd_123.g4f-new"
"""What a run leaves that is killed while it replaces the file `out`."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "out").write_bytes(b"one\n")
    return folder / "out"


@contextmanager
def opened(path: Path) -> Iterator[AppendFile]:
    with closing(AppendFile(path)) as file:
        yield file


def two(new: BinaryIO) -> None:
    new.write(b"two\n")


def test_a_file_is_replaced_and_appended_to(path: Path) -> None:
    with opened(path) as file:
        file.append(b"more\n")
        file.replace(two)
        file.append(b"three\n")
        file.check()
        assert path.read_bytes() == b"two\nthree\n"
        assert file.size == 10
        with pytest.raises(LedgerError, match="out is being written by another run"):
            AppendFile(path)
    assert os.listdir(path.parent) == ["out"]


def removed(path: Path) -> None:
    path.unlink()


def folder_removed(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()


def rotated(path: Path) -> None:
    path.rename(path.with_name("out.1"))
    path.touch()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def extended(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"mine\n")


def made_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@posix
@pytest.mark.parametrize(
    "change", [removed, folder_removed, rotated, emptied, extended, made_a_folder]
)
def test_a_file_that_another_program_changes_is_an_error(
    change: Callable[[Path], None], path: Path
) -> None:
    with opened(path) as file:
        change(path)
        for use in (partial(file.append, b"more\n"), file.check, partial(file.replace, two)):
            with pytest.raises(LedgerError, match=r"(moved, removed or changed|No such file)"):
                use()
    if change is extended:
        assert path.read_bytes() == b"one\nmine\n"


@posix
def test_the_lock_holds_for_every_name_of_the_file(path: Path) -> None:
    other = path.with_name("other")
    other.hardlink_to(path)
    with opened(path) as file:
        assert file.has_other_names
        with pytest.raises(LedgerError, match="other is being written by another run"):
            AppendFile(other)


@posix
def test_the_new_file_is_private_and_follows_no_link(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_text("mine")
    path.chmod(0o640)
    for name in (".out.new", ".out.lock", LEFT):
        path.with_name(name).symlink_to(victim)
    before = set(os.listdir(path.parent))
    modes: dict[str, int] = {}

    def write(new: BinaryIO) -> None:
        for name in set(os.listdir(path.parent)) - before:
            modes[name] = stat.S_IMODE(path.with_name(name).stat().st_mode)
        two(new)

    with opened(path) as file:
        file.replace(write)
    assert list(modes.values()) == [0o600]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert victim.read_text() == "mine"
    assert set(os.listdir(path.parent)) == before


def test_a_failure_while_the_file_is_replaced_leaves_the_old_one(path: Path) -> None:
    def fails(new: BinaryIO) -> None:
        new.write(b"half a")
        raise OSError(errno.ENOSPC, "No space left on device")

    with opened(path) as file:
        with pytest.raises(LedgerError, match="out cannot be written: No space left"):
            file.replace(fails)
        file.append(b"more\n")
    assert path.read_bytes() == b"one\nmore\n"
    assert os.listdir(path.parent) == ["out"]


KILLED = """
import os, signal, sys
from pathlib import Path
from llm_g4f.batch.append_file import AppendFile

def write(new):
    new.write(b"half a")
    new.flush()
    os.kill(os.getpid(), signal.SIGKILL)

AppendFile(Path({path!r})).replace(write)
"""


@posix
def test_what_a_killed_run_leaves_is_removed(path: Path) -> None:
    assert run_python(KILLED.format(path=str(path))).returncode == -signal.SIGKILL
    assert len(os.listdir(path.parent)) == 2
    # The user's own files, and what belongs to the results file of another name.
    others = {".out.new", ".out.lock", ".out-abcd_123.new", f".out{LEFT[4:]}x", f"x{LEFT}"}
    for name in others:
        path.with_name(name).touch()
    with opened(path):
        assert path.read_bytes() == b"one\n"
    assert set(os.listdir(path.parent)) == {"out", *others}


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Of every fsync, the kind of file and its size then."""
    seen: list[tuple[str, int]] = []
    fsync = os.fsync

    def recorded(fd: int) -> None:
        fsync(fd)
        status = os.fstat(fd)
        is_folder = stat.S_ISDIR(status.st_mode)
        seen.append(("folder", 0) if is_folder else ("file", status.st_size))

    monkeypatch.setattr(os, "fsync", recorded)
    return seen


@posix
def test_what_was_appended_is_soon_on_the_disk(path: Path, synced: list[tuple[str, int]]) -> None:
    with opened(path) as file:
        assert synced == [("folder", 0)]
        for size in (9, 14):
            file.append(b"more\n")
            wait_until(partial(synced.__contains__, ("file", size)))
        file.replace(two)
        assert synced[-2:] == [("file", 4), ("folder", 0)]
        file.append(b"end\n")
        file.sync()
        assert ("file", 8) in synced[-2:]


def test_a_disk_that_cannot_keep_the_file_ends_the_run(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with opened(path) as file:
        monkeypatch.setattr(os, "fsync", broken)
        file.append(b"more\n")

        def fails() -> bool:
            try:
                file.append(b"more\n")
            except LedgerError as error:
                return "out cannot be written: Input/output error" in str(error)
            return False

        wait_until(fails)
        with pytest.raises(LedgerError, match="Input/output error"):
            file.sync()


def test_a_file_system_that_cannot_sync_is_used(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(fd: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", unsupported)
    with opened(path) as file:
        file.append(b"more\n")
        file.sync()
    assert path.read_bytes() == b"one\nmore\n"
