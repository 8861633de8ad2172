"""Cooldowns and gone models, kept beyond the process: a command-line run lives for one prompt.

The state is a small JSON file in llm's user directory:

    {"cooldowns": {"groq/openai/gpt-oss-120b": {"until": 1795000000.0, "failures": 2}},
     "gone": {"openai/gpt-4o": 1795000000.0}}

Times are Unix times. It is read before a route is chosen and written when a provider fails or
recovers; while all is well the file is missing. An unreadable or unwritable file never stops an
answer.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from ..config.files import atomic_write, set_aside, user_file
from ..errors import APIError
from .policy import cooldown_of

_YEAR = 366 * 86_400
"""Seconds: a cooldown beyond that is ignored."""

_LOCK_WAIT = 2.0
"""Seconds to wait for another process that writes; then the change of this one is dropped."""


def key_of(provider: str, model: str, scope: str) -> str:
    """The scope of a rate limit: the provider's key, or one model of it."""
    return f"{provider}/{model}" if scope == "model" else provider


class _State(Struct):
    cooldowns: dict[str, tuple[float, int]] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=dict)


class Cooldowns:
    """The state file. `now` gives the Unix time."""

    def __init__(self, path: Path | None = None, now: Callable[[], float] = time.time) -> None:
        self._file = str(path) if path else user_file("g4f-health.json")
        self._now = now
        self._seen: tuple[int, int, int] | None = None
        self._state = _State()

    def cooldown(self, key: str) -> float:
        """Seconds until `key` may be asked again as usual; 0 if it may now."""
        until, _ = self._read().cooldowns.get(key, (0.0, 0))
        return max(0.0, until - self._now())

    def cooldowns(self) -> dict[str, float]:
        """The keys in cooldown, with the seconds left."""
        now = self._now()
        return {
            key: until - now for key, (until, _) in self._read().cooldowns.items() if until > now
        }

    def is_gone(self, provider: str, model: str) -> bool:
        """Whether `provider` has said that it has `model` no more."""
        return f"{provider}/{model}" in self._read().gone

    def failed(self, key: str, error: APIError) -> None:
        """Note a failure, if it calls for a cooldown."""
        if cooldown_of(error, 1) <= 0:
            return
        with self._change() as state:
            until, failures = state.cooldowns.get(key, (0.0, 0))
            failures += 1
            until = max(until, self._now() + cooldown_of(error, failures))
            state.cooldowns[key] = (until, failures)

    def recovered(self, key: str) -> None:
        """Note that `key` has answered. Writes nothing if it had not failed."""
        if key in self._read().cooldowns:
            with self._change() as state:
                state.cooldowns.pop(key, None)

    def gone(self) -> frozenset[str]:
        """The models that their providers no longer have, as provider/model."""
        return frozenset(self._read().gone)

    def note_gone(self, provider: str, model: str) -> None:
        """Note that `provider` has said that it has `model` no more."""
        with self._change() as state:
            state.gone[f"{provider}/{model}"] = self._now()

    @property
    def _path(self) -> Path:
        return Path(self._file)

    def _read(self) -> _State:
        """The state; read again only when the file has changed, since every request asks for it."""
        try:
            found = os.stat(self._file)  # noqa: PTH116 (a Path takes longer than the question)
        except OSError:
            return _State()
        seen = (found.st_mtime_ns, found.st_size, found.st_ino)
        if seen != self._seen:
            self._state = self._load()
            self._seen = seen
        return self._state

    def _load(self) -> _State:
        try:
            # To read a pipe would wait for ever.
            text = self._path.read_text(encoding="utf-8") if self._path.is_file() else "{}"
        except (OSError, UnicodeDecodeError):
            return _State()
        try:
            return _parse(json.loads(text), self._now())
        except (
            ValueError,
            TypeError,
            AttributeError,
            LookupError,
            ArithmeticError,
            RecursionError,
        ):
            with suppress(OSError):
                set_aside(self._path, "invalid content")
            return _State()

    @contextmanager
    def _change(self) -> Iterator[_State]:
        """The state, to be changed; written back in one step while other processes wait."""
        import filelock

        lock = filelock.FileLock(f"{self._path}.lock", timeout=_LOCK_WAIT, mode=0o600)
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock.acquire()
        except (filelock.Timeout, OSError, NotImplementedError):
            yield _State()
            return
        try:
            state = self._load() if self._path.exists() else _State()
            yield state
            self._write(state)
        finally:
            lock.release()

    def _write(self, state: _State) -> None:
        now = self._now()
        data = {
            "cooldowns": {
                key: {"until": until, "failures": failures}
                for key, (until, failures) in state.cooldowns.items()
                # A day after its end a failure is history.
                if until > now - 86_400
            },
            "gone": state.gone,
        }
        with suppress(OSError):
            atomic_write(self._path, json.dumps(data, indent=1).encode())


def _parse(data: Any, now: float) -> _State:
    state = _State()
    for key, entry in data.get("cooldowns", {}).items():
        until, failures = float(entry["until"]), int(entry["failures"])
        # A clock that was set back, or a typing error: no cooldown lasts for years.
        if 0 <= until <= now + _YEAR:
            state.cooldowns[str(key)] = (until, min(failures, 1_000))
    for key, at in data.get("gone", {}).items():
        state.gone[str(key)] = float(at)
    return state
