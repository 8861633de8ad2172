"""A file that one run appends to: locked, brought to the disk soon, and replaced in one step."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..config.files import sync_folder, temporary_file
from ..errors import LedgerError

SYNC_SECONDS = 0.2
"""Seconds between two times that what was appended is brought to the disk: what a power loss may cost."""

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)


class AppendFile:
    """The file at `path`, made if it is missing, and locked for one run.

    The lock is one of the file itself: it holds for every name of the file, and needs no file beside it.

    Every method raises `LedgerError` where the file cannot be used, also if another program moves,
    removes or changes it meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self._name = path
        # A symbolic link must stay one when its target is replaced.
        self._place = os.path.realpath(path)
        self._path = Path(self._place)
        with self._errors():
            # Opening a device may have effects.
            if self._path.exists() and not self._path.is_file():
                raise LedgerError(f"{path} is not a regular file, which the results need.")
            self._fd = self._open()
            try:
                self._remove_leftovers()
                sync_folder(self._path.parent)
                self.size = os.fstat(self._fd).st_size
            except BaseException:
                os.close(self._fd)
                raise
        self._syncer = _Syncer(lambda: os.fsync(self._fd))

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn OSError into `LedgerError`."""
        try:
            yield
        except OSError as error:
            raise LedgerError(f"{self._name} cannot be written: {error.strerror}.") from None

    def _open(self) -> int:
        """Open the file and lock it."""
        while True:
            fd = os.open(self._path, _FLAGS, 0o666)
            try:
                if not _lock(fd):
                    raise LedgerError(
                        f"{self._name} is being written by another run. Wait for it, or name another"
                        " file."
                    )
                if self._is_in_place(os.fstat(fd)):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            # The run that had the lock has replaced the file meanwhile.
            os.close(fd)

    def _is_in_place(self, opened: os.stat_result) -> bool:
        try:
            return os.path.samestat(os.stat(self._place), opened)  # noqa: PTH116 (for every result)
        except FileNotFoundError:
            return False

    def check(self) -> None:
        """Raise `LedgerError` if the file is no longer the one that was opened, as it was written."""
        with self._errors():
            opened = os.fstat(self._fd)
            if opened.st_size == self.size and self._is_in_place(opened):
                return
        raise LedgerError(
            f"{self._name} was moved, removed or changed by another program during the run, which"
            " therefore ended. If you have the file, put it back. Run the same command to resume."
        )

    def sync(self) -> None:
        """Bring what was appended to the disk. Raises `LedgerError` if it cannot be."""
        with self._errors():
            self._syncer.sync()

    @property
    def has_other_names(self) -> bool:
        """Whether there is a hard link to the file: if it is replaced, the other name has the old one."""
        return os.fstat(self._fd).st_nlink > 1

    def open(self) -> BinaryIO:
        """The file, for reading."""
        with self._errors():
            return self._path.open("rb")

    def append(self, line: bytes) -> None:
        """Append in one write. Where that raises `LedgerError`, nothing was written."""
        self.check()
        with self._errors():
            self._syncer.raise_error()
            written = os.write(self._fd, line)
            if written != len(line):
                os.ftruncate(self._fd, self.size)
                raise LedgerError(f"{self._name} cannot be written: the disk is full.")
        self.size += len(line)
        self._syncer.wake()

    def truncate(self, size: int) -> None:
        """Remove what is beyond `size` bytes."""
        with self._errors():
            os.ftruncate(self._fd, size)
        self.size = size

    def replace(self, write: Callable[[BinaryIO], None]) -> None:
        """Replace the file by what `write` writes. There is always one complete file."""
        with self._errors():
            with temporary_file(self._path, _SUFFIX) as (temporary, file):
                with file:
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
                    size = file.tell()
                shutil.copymode(self._path, temporary)
                self.check()
                with self._syncer.paused():
                    self._put_in_place(temporary)
            self.size = size
            sync_folder(self._path.parent)

    def _put_in_place(self, temporary: Path) -> None:
        if sys.platform == "win32":
            # An open file cannot be replaced there.
            os.close(self._fd)
            try:
                temporary.replace(self._path)
            finally:
                self._fd = self._open()
            return
        fd = os.open(temporary, _FLAGS)
        try:
            # Before it is in place, so that no other run can have it in between.
            _lock(fd)
            temporary.replace(self._path)
            fd, self._fd = self._fd, fd
        finally:
            os.close(fd)

    def _remove_leftovers(self) -> None:
        """Remove what a run left that was killed while it replaced the file. While this one has the
        lock, no other run can be at it."""
        name = re.compile(re.escape(f".{self._path.name}-") + "[a-z0-9_]{8}" + re.escape(_SUFFIX))
        with contextlib.suppress(OSError), os.scandir(self._path.parent) as entries:
            for entry in entries:
                if name.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    Path(entry).unlink()

    def close(self) -> None:
        """Close and unlock the file."""
        self._syncer.close()
        with contextlib.suppress(OSError):
            self._syncer.sync()
        os.close(self._fd)


_SUFFIX = ".g4f-new"


class _Syncer:
    """Calls `sync` in a thread, since that takes milliseconds, while there is something to bring to the
    disk."""

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._thread: threading.Thread | None = None
        self._written = threading.Event()
        self._closed = threading.Event()
        self._guard = threading.Lock()
        self._error: OSError | None = None

    def wake(self) -> None:
        """There is something to bring to the disk."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="g4f-sync", daemon=True)
            self._thread.start()
        self._written.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._written.wait()
            self._written.clear()
            try:
                self.sync()
            except OSError as error:
                self._error = error
                return
            self._closed.wait(SYNC_SECONDS)

    def sync(self) -> None:
        """Bring it to the disk now. Raises OSError, also for an earlier failure."""
        self.raise_error()
        with self._guard:
            try:
                self._sync()
            except OSError as error:
                # Some file systems cannot do this.
                if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                    raise

    def raise_error(self) -> None:
        """Raise the error of the thread, if it had one: what is written may be lost."""
        if self._error is not None:
            raise self._error

    def paused(self) -> threading.Lock:
        """While it is held, `sync` is not called."""
        return self._guard

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._written.set()
        if self._thread is not None:
            self._thread.join()


if sys.platform == "win32":
    import msvcrt

    _LOCKED_BYTE = 1 << 62
    """Beyond every content, since others cannot read what is locked."""

    def _lock(fd: int) -> bool:
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def _lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
