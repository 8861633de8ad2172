"""The requests that failed entirely, in a small file beside g4f-health.json: llm logs only answers.

One line of JSON for each in g4f-failures.jsonl, without prompts and without the providers' words.
Nothing here delays or fails a request: a line is appended without a lock, and a file that cannot be
written is left alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from ..config.files import atomic_write, user_file
from ..receipt import Receipt

MAX_SIZE = 256 * 1024
"""Bytes of the file, from which on only its last half is kept."""

_LONGEST = 200
"""Characters of a name in it."""


class FailedAttempt(Struct):
    """One attempt of a failed request: `outcome` is the error's class name, `seconds` its duration."""

    provider: str
    model: str
    outcome: str
    status: int | None = None
    seconds: float = 0.0


class FailedRequest(Struct):
    """A request without an answer, at a Unix time."""

    at: float
    requested_model: str
    attempts: list[FailedAttempt]


class FailureLog:
    """The file. `now` gives the Unix time."""

    def __init__(self, path: Path | None = None, now: Callable[[], float] = time.time) -> None:
        self._file = str(path) if path else user_file("g4f-failures.jsonl")
        self._now = now

    def note(self, receipt: Receipt) -> None:
        """Note a request that failed."""
        attempts = [
            {
                "provider": attempt.provider[:_LONGEST],
                "model": attempt.model[:_LONGEST],
                "outcome": attempt.outcome[:_LONGEST],
                "status": attempt.status,
                "seconds": attempt.seconds,
            }
            for attempt in receipt.attempts
        ]
        model = receipt.requested_model[:_LONGEST]
        line = {"at": round(self._now(), 3), "requested_model": model, "attempts": attempts}
        # A pipe in its place would wait for ever, a link would lead elsewhere.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
            flags |= getattr(os, name, 0)
        with suppress(OSError, UnicodeEncodeError):
            descriptor = os.open(self._file, flags, 0o600)
            try:
                os.write(descriptor, json.dumps(line).encode() + b"\n")
                size = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
            if size > MAX_SIZE:
                self._shorten()

    def read(self) -> Iterator[FailedRequest]:
        """The requests that are noted, the oldest first. Lines that are damaged are passed over."""
        decode = msgspec.json.Decoder(FailedRequest).decode
        for line in self._tail(2 * MAX_SIZE).splitlines():
            with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                yield decode(line)

    def _shorten(self) -> None:
        # What another process appends meanwhile is lost: it is not worth a lock.
        tail = self._tail(MAX_SIZE // 2)
        atomic_write(Path(self._file), tail.partition(b"\n")[2])

    def _tail(self, size: int) -> bytes:
        path = Path(self._file)
        with suppress(OSError):
            if path.is_file():
                with path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - size))
                    return file.read(size)
        return b""
