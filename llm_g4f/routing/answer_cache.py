"""Answers that are given again to the same request, in g4f-cache.db in llm's user directory.

The file is SQLite's, by Python's own sqlite3: a table with three columns needs no library, and the
usual ones store pickles (diskcache: CVE-2025-69872) or whole HTTP responses. It has hashes of the
requests and no prompts. Whatever is wrong with it, the answer comes: it is only not kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ..accumulator import as_chunk
from ..config.files import set_aside, user_file
from ..config.settings import CacheConfig
from ..errors import G4FError
from ..event_loops import running_loop
from ..receipt import Cached, Receipt
from ..types import ChatCompletion, ChatCompletionChunk, ChoiceDelta, ChunkChoice, Chunks
from .admission import CooldownOrder
from .attempt import Attempt
from .fallback import Fallback
from .lineup import named_entries
from .route import resolve_route

MAX_SIZE = 64_000_000
"""Bytes of the file in use, at which the oldest answers are deleted."""

MAX_ANSWER = 1_000_000
"""Bytes of an answer that is kept: speech and pictures have more."""

_BUSY = 0.5
"""Seconds to wait for another process that writes."""

_AHEAD = 60.0
"""Seconds that the time of an answer may be ahead: another process kept it while this one waited. One
that is further ahead is of a clock that was wrong."""

_TOOLS = ("tools", "functions", "web_search_options")
"""Parameters of a request whose answer depends on more than the request."""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_TABLES = """
create table if not exists answers (key blob primary key, at real, answer blob);
create index if not exists answers_at on answers (at);
create table if not exists asked (given int primary key, times int);
"""

_DELETE_OLDEST = """
delete from answers where rowid in
(select rowid from answers order by at limit (select count(*) / 4 + 1 from answers))
"""

_log = logging.getLogger("llm_g4f")

_lock = threading.Lock()
"""Of many threads that wait for SQLite, some would give up: its own waiting has no order."""

T = TypeVar("T")


class Kept(Struct, frozen=True):
    """An answer in the file. `asked_for` is the model that its provider was asked for."""

    completion: ChatCompletion
    asked_for: str


_decode = msgspec.json.Decoder(Kept, dec_hook=lambda kind, value: kind(value)).decode


class Counts(Struct, frozen=True):
    """What the file holds: `given` of the requests `asked` had a kept answer; `size` is in bytes."""

    answers: int
    size: int
    given: int
    asked: int


class AnswerFile:
    """The file. `now` gives the Unix time. Methods raise `sqlite3.Error` and OSError."""

    def __init__(self, path: Path | None = None, now: Callable[[], float] = time.time) -> None:
        self.path = path or Path(user_file("g4f-cache.db"))
        self._now = now

    def find(self, key: bytes, ttl: float) -> tuple[float, Kept] | None:
        """The answer to the request `key`, with its Unix time, if it is at most `ttl` seconds old."""
        now = self._now()
        with self._open() as database:
            found = database.execute(
                "select at, answer from answers where key = ? and at between ? and ?",
                (key, now - ttl, now),
            ).fetchone()
        # One that is damaged is asked again, and replaced.
        with contextlib.suppress(msgspec.MsgspecError, ValueError, TypeError, RecursionError):
            if found is not None and _is_whole((kept := _decode(found[1])).completion):
                return found[0], kept
        return None

    def count(self, given: bool) -> None:
        """Count a request, and whether a kept answer was given."""
        with self._open() as database:
            database.execute(
                "insert into asked values (?, 1) on conflict do update set times = times + 1",
                (given,),
            )

    def keep(self, key: bytes, kept: Kept, ttl: float) -> None:
        """Keep an answer, in place of those that are too old, and of the oldest where there are too
        many. Raises what msgspec raises for one that JSON cannot hold."""
        answer = msgspec.json.encode(kept)
        if len(answer) > MAX_ANSWER:
            return
        now = self._now()
        with self._open() as database:
            current = now - ttl, now + _AHEAD
            database.execute("delete from answers where at not between ? and ?", current)
            while _size(database) + len(answer) > MAX_SIZE:
                if not database.execute(_DELETE_OLDEST).rowcount:
                    return
            database.execute("insert or replace into answers values (?, ?, ?)", (key, now, answer))

    def counts(self) -> Counts:
        """What the file holds."""
        with self._open() as database:
            (answers,) = database.execute("select count(*) from answers").fetchone()
            times = dict(database.execute("select given, times from asked"))
            return Counts(answers, _size(database), times.get(1, 0), sum(times.values()))

    def clear(self) -> None:
        """Delete all answers, and the counts."""
        with self._open() as database:
            database.executescript("delete from answers; delete from asked; vacuum;")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection of one operation's own: threads and forks could not share it."""
        with _lock:
            self._make()
            try:
                connection = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None)
                with closing(connection) as database:
                    # What a power loss takes is asked again.
                    database.execute("pragma synchronous = off")
                    database.executescript(_TABLES)
                    yield database
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
                    set_aside(self.path, str(error))
                raise

    def _make(self) -> None:
        """Make the file where it is missing, for this user alone."""
        try:
            mode = self.path.lstat().st_mode
        except FileNotFoundError:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        else:
            if not stat.S_ISREG(mode):
                raise OSError(f"{self.path} is not a regular file")


def _size(database: sqlite3.Connection) -> int:
    """The bytes in use. A file does not shrink: what was deleted makes room for the next."""
    pages, unused, size = (
        database.execute(f"pragma {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - unused) * size)


class CachedFallback(Fallback):
    """One answer: one that was kept if there is one, else that of a candidate, which is kept.

    Kept and given are only exact answers, and those of the candidate that would be asked first now: an
    outage must not make a substitute answer for a week.
    """

    _file: AnswerFile | None = None
    _given: ChatCompletion | None = None

    @property
    def _ttl(self) -> float:
        return (self._registry.config.cache or CacheConfig()).ttl

    @cached_property
    def cache_key(self) -> bytes | None:
        """Raises `NoProviderError` for contradictory providers."""
        request = self._request
        given = (
            places.get(name) for places in (request.params, request.extra_body) for name in _TOOLS
        )
        if any(value is not None and value != [] for value in given):
            return None
        params = {name: request.params[name] for name in request.params if name != "stream_options"}
        place = (named_entries(request, self._registry), self._registry.custom)
        told = (dict(request.headers), dict(request.extra_body), dict(request.query or {}))
        asked = (request.model, request.messages, params, told, place, self._exact_only)
        try:
            return sha256(msgspec.json.encode(asked, order="deterministic")).digest()
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
            # What cannot be sent either.
            return None

    async def open(self) -> Chunks:
        self._loop = running_loop()
        if self.cache_key is not None:
            self._start = self._loop.time()
            self._file = AnswerFile()
            if (found := await self._find(self.cache_key)) is not None:
                return self._give(*found)
        return await super().open()

    async def _find(self, key: bytes) -> tuple[float, Kept] | None:
        """The kept answer that may be given now, with its time."""
        found = await self._in_thread(AnswerFile.find, key, self._ttl)
        if found is not None:
            _, kept = found
            if not await self._may_stand(kept.completion.receipt, kept.asked_for):
                found = None
        await self._in_thread(AnswerFile.count, found is not None)
        return found

    def _give(self, at: float, kept: Kept) -> Chunks:
        took = round(self._loop.time() - self._start, 3)
        original = kept.completion.receipt
        date = datetime.fromtimestamp(round(at), UTC).isoformat()
        cached = Cached(date, original.provider or "")
        self.receipt = replace(original, cached=cached, ttft=took, seconds=took)
        self._given = replace(kept.completion, receipt=self.receipt)
        self._over = True
        chunk = as_chunk(self._given)
        return _pieces(chunk) if self._request.stream else [chunk]

    def completion(self) -> ChatCompletion:
        return self._given or super().completion()

    async def _succeed(self, attempt: Attempt) -> None:
        await super()._succeed(attempt)
        completion, asked_for = attempt.completion.completion(), attempt.candidate.served.model
        if self.cache_key is None or not _is_whole(completion):
            return
        if await self._may_stand(self.receipt, asked_for):
            kept = Kept(replace(completion, usage=None), asked_for)
            await self._in_thread(AnswerFile.keep, self.cache_key, kept, self._ttl)

    async def _may_stand(self, receipt: Receipt, asked_for: str) -> bool:
        """Whether an answer is as good as one that is asked for now."""
        if receipt.exact:
            return True
        try:
            route = await resolve_route(self._request, self._registry)
        except G4FError:
            return False
        order = CooldownOrder().in_order(route.candidates, self._registry.cooldowns)
        first = [(one.provider.name, one.served.model) for one in order[:1]]
        return first == [(receipt.provider, asked_for)]

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T | None:
        """The result of `work` on the file; None where that fails, and from then on."""
        if self._file is None:
            return None
        try:
            return await asyncio.to_thread(work, self._file, *args)
        except Exception as error:  # noqa: BLE001 (an answer is worth more than its copy)
            self._file = None
            _log.debug("g4f-cache.db cannot be used: %s", error)
            return None


def _is_whole(completion: ChatCompletion) -> bool:
    """Whether an answer is complete text, neither cut nor filtered, nor a call of a tool."""
    if completion.receipt.warnings or not completion.choices:
        return False
    return all(
        choice.finish_reason == "stop"
        and (choice.message.content or "").strip()
        and not (choice.message.refusal or choice.message.tool_calls)
        for choice in completion.choices
    )


def _pieces(whole: ChatCompletionChunk) -> Chunks:
    """An answer as a stream: of each choice the reasoning, the words one by one, and the rest."""
    pieces: Chunks = []
    for choice in whole.choices:
        delta = choice.delta
        words = re.findall(r"\s*\S+\s*", delta.content or "")
        parts = [ChoiceDelta(delta.role, reasoning=delta.reasoning)]
        parts += [ChoiceDelta(content=word) for word in words]
        choices = [ChunkChoice(choice.index, part) for part in parts]
        choices.append(replace(choice, delta=ChoiceDelta(extra=delta.extra)))
        pieces += [replace(whole, choices=[piece]) for piece in choices]
    return pieces


def _after_fork() -> None:
    # A thread of the parent may have held it.
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
