"""What answers have cost, in g4f-spend.json beside g4f-health.json; kept only where a budget is set.

    {"2026-11-26": {"openai": {"gpt-4o-2024-11-20": {"answers": 12, "unpriced": 0, "usd": 0.0421}}}}

By the day in UTC, the provider and the model, in US dollars. All processes of a user share it: each
change reads, adds and replaces the file under a lock. The functions here block; threads call them.
"""

from __future__ import annotations

import datetime as dt
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ..config.files import atomic_write, user_file

LOCK_WAIT = 2.0
"""Seconds to wait for another process that holds the file."""

_MAX_DAYS = 62
"""Days that are kept, the last ones: this month and the one before."""

_MAX_MODELS = 100
"""Models of a provider on one day that are told apart; a server may name any number."""

_OTHERS = "other models"
_LONGEST = 200
"""Characters of a name."""

_MAX_SIZE = 16 * 1024 * 1024
"""Bytes of the file: a larger one is not ours."""


class Spent(Struct):
    """What one model at a provider has cost on a day: `answers`, of which `unpriced` have no known
    price, and US dollars for the others."""

    answers: Annotated[int, Meta(ge=0)] = 0
    unpriced: Annotated[int, Meta(ge=0)] = 0
    usd: Annotated[float, Meta(ge=0)] = 0.0


class Row(Struct):
    """A line of the report: `day` in ISO 8601, in UTC."""

    day: str
    provider: str
    model: str
    answers: int
    unpriced: int
    usd: float


class SpendError(Exception):
    """What was spent is unknown: the words say why, and name the file."""


_Days = dict[str, dict[str, dict[str, Spent]]]


class Spending:
    """What was spent until one moment, on `today` and before."""

    def __init__(self, days: _Days, today: dt.date) -> None:
        self._days = days
        self.today = today

    def rows(self) -> list[Row]:
        """All that is known, the last day first."""
        return [
            Row(day, provider, model, spent.answers, spent.unpriced, round(spent.usd, 9))
            for day, providers in sorted(self._days.items(), reverse=True)
            for provider, models in sorted(providers.items())
            for model, spent in sorted(models.items())
        ]

    def total(self, period: str, provider: str | None = None) -> Spent:
        """What a provider, or all of them, have cost on this "day" or in this "month"."""
        today = self.today.isoformat()
        prefix = today if period == "day" else today[:7]
        found = [
            spent
            for day, providers in self._days.items()
            if day.startswith(prefix)
            for name, models in providers.items()
            if provider in (None, name)
            for spent in models.values()
        ]
        return Spent(
            sum(spent.answers for spent in found),
            sum(spent.unpriced for spent in found),
            sum(spent.usd for spent in found),
        )


class SpendFile:
    """The file. `now` gives the Unix time. Every method raises `SpendError`."""

    def __init__(self, path: Path | None = None, now: Callable[[], float] = time.time) -> None:
        self.path = path or Path(user_file("g4f-spend.json"))
        self._now = now

    def read(self) -> Spending:
        """What was spent, once no other process is about to add to it."""
        with self._locked():
            return Spending(self._load(), self._today())

    def add(self, provider: str, model: str, *prices: float | None) -> bool:
        """Add answers, each with its price in US dollars or None if that is unknown. Returns whether the
        first one without a price from this model on this day is among them."""
        with self._locked():
            days = self._load()
            models = days.setdefault(self._today().isoformat(), {}).setdefault(provider, {})
            name = model[:_LONGEST]
            name = name if name in models or len(models) < _MAX_MODELS else _OTHERS
            spent = models.setdefault(name, Spent())
            unpriced = prices.count(None)
            is_first = unpriced > spent.unpriced == 0
            spent.answers += len(prices)
            spent.unpriced += unpriced
            spent.usd += sum(price or 0.0 for price in prices)
            kept = dict(sorted(days.items())[-_MAX_DAYS:])
            try:
                atomic_write(self.path, msgspec.json.encode(kept))
            except OSError as error:
                raise self._error(f"cannot be written: {error.strerror}") from None
        return is_first

    def _today(self) -> dt.date:
        return dt.datetime.fromtimestamp(self._now(), dt.UTC).date()

    def _load(self) -> _Days:
        # A pipe in its place would wait for ever, a link would lead elsewhere.
        flags = os.O_RDONLY
        for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
            flags |= getattr(os, name, 0)
        try:
            with os.fdopen(os.open(self.path, flags), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise self._error("cannot be read: it is not a regular file")
                text = file.read(_MAX_SIZE + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._error(f"cannot be read: {error.strerror}") from None
        try:
            if len(text) > _MAX_SIZE:
                raise ValueError
            days = msgspec.json.decode(text, type=_Days)
            for day in days:
                dt.date.fromisoformat(day)
        except (ValueError, msgspec.MsgspecError, RecursionError):
            # In msgspec 0.20 its errors are no ValueError.
            raise self._error("cannot be read: its content is damaged") from None
        return days

    @contextmanager
    def _locked(self) -> Iterator[None]:
        import filelock

        lock = filelock.FileLock(
            f"{self.path}.lock", timeout=LOCK_WAIT, poll_interval=0.01, mode=0o600
        )
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock.acquire()
        except filelock.Timeout:
            raise self._error(f"is locked by another process for {LOCK_WAIT:g} s") from None
        except (OSError, NotImplementedError) as error:
            raise self._error(f"cannot be locked: {error}") from None
        try:
            yield
        finally:
            lock.release()

    def _error(self, what: str) -> SpendError:
        return SpendError(f"{self.path} {what}")
