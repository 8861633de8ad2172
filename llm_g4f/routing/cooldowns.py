"""What is remembered of providers beyond the process: a command-line run lives for one prompt.

The state is a small JSON file in llm's user directory:

    {"cooldowns": {"groq/openai/gpt-oss-120b": {"until": 1795000000.0, "failures": 2}},
     "gone_models": {"openai https://api.openai.com/v1 5f1c… gpt-4o": 1795000000.0},
     "listings": {"http://127.0.0.1:8080/v1 -": {"models": ["qwen3"], "until": 1795000000.0}},
     "salt": "…"}

Times are Unix times. A key is only there as a hash under the file's own salt; "-" stands for no
key. It is read before a route is chosen and written when a provider fails, recovers or lists its
models. An unreadable or unwritable file never stops or delays an answer.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from ..config.files import atomic_write, set_aside, user_file
from ..errors import APIError
from ..request import Secret
from .health_state import GONE_FOR, Listing, State, as_json, parse
from .policy import LONGEST_COOLDOWN, cooldown_of

_LOCK_WAIT = 1.0
"""Seconds to wait, in a thread, for another process that writes; then the change is dropped."""

_MAX_SIZE = 4 * 1024 * 1024
"""Bytes of the file: a larger one is not ours."""


def key_of(provider: str, model: str, scope: str) -> str:
    """The scope of a rate limit: the provider's key, or one model of it."""
    return f"{provider}/{model}" if scope == "model" else provider


class Gone(Struct, frozen=True):
    """A model that a provider no longer has for one key, until a Unix time."""

    provider: str
    model: str
    until: float


_NOTHING = State()

Change = Callable[[State], None]


class Cooldowns:
    """The state file. `now` gives the Unix time."""

    def __init__(self, path: Path | None = None, now: Callable[[], float] = time.time) -> None:
        self._file = str(path) if path else user_file("g4f-health.json")
        self.now = now
        self._seen: tuple[int, int, int] | None = None
        self._state = State()
        self._waiting: list[Change] = []
        self._guard = threading.Lock()

    def cooldown(self, key: str) -> float:
        """Seconds until `key` may be asked again as usual; 0 if it may now."""
        until, _ = self._read().cooldowns.get(key, (0.0, 0))
        return max(0.0, until - self.now())

    def cooldowns(self) -> dict[str, float]:
        """The keys in cooldown, with the seconds left."""
        now = self.now()
        return {
            key: until - now for key, (until, _) in self._read().cooldowns.items() if until > now
        }

    def failed(self, key: str, error: APIError, longest: float = LONGEST_COOLDOWN) -> None:
        """Note a failure, if it calls for a cooldown; one that grows ends at `longest` seconds."""
        if cooldown_of(error, 1) <= 0:
            return

        def change(state: State) -> None:
            until, failures = state.cooldowns.get(key, (0.0, 0))
            failures += 1
            until = max(until, self.now() + cooldown_of(error, failures, longest))
            state.cooldowns[key] = (until, failures)

        self._change(change)

    def rest(self, key: str, seconds: float) -> None:
        """Let `key` go last for some seconds."""
        until = self.now() + seconds

        def change(state: State) -> None:
            before, failures = state.cooldowns.get(key, (0.0, 0))
            state.cooldowns[key] = (max(before, until), failures)

        self._change(change)

    def recovered(self, key: str) -> None:
        """Note that `key` has answered. Writes nothing if it had not failed."""
        if key in self._read().cooldowns:
            self._change(lambda state: _drop(state.cooldowns, key))

    def gone(self) -> list[Gone]:
        """The models that their providers no longer have."""
        now, found = self.now(), []
        for entry, until in self._read().gone.items():
            provider, _, _, model = entry.split(" ", 3)
            if until > now:
                found.append(Gone(provider, model, until))
        return found

    def gone_until(self, provider: str, base_url: str, key: Secret | None, model: str) -> float:
        """The Unix time until which `provider` does not have `model` for this key; 0 if it may."""
        state = self._read()
        if not state.gone:
            return 0.0
        until = state.gone.get(f"{provider} {state.place(base_url, key)} {model}", 0.0)
        return until if until > self.now() else 0.0

    def note_gone(self, provider: str, base_url: str, key: Secret | None, model: str) -> None:
        """Note that `provider` has said to this key that it has `model` no more."""
        until = self.now() + GONE_FOR

        def change(state: State) -> None:
            state.gone[f"{provider} {state.place(base_url, key)} {model}"] = until

        self._change(change)

    def listing(self, base_url: str, key: Secret | None) -> Listing | None:
        """The models that an endpoint listed, perhaps some time ago."""
        state = self._read()
        return state.listings.get(state.place(base_url, key)) if state.listings else None

    def note_listing(self, base_url: str, key: Secret | None, listing: Listing) -> None:
        """Note the models that an endpoint has listed."""

        def change(state: State) -> None:
            state.listings[state.place(base_url, key)] = listing

        self._change(change)

    def facts(self) -> str:
        """What is remembered of models, to compare: a lineup depends on it."""
        return self._read().facts

    def next_end(self) -> float:
        """The Unix time at which the next model that was gone may be back; infinite if none is."""
        if not (gone := self._read().gone):
            return float("inf")
        now = self.now()
        return min((end for end in gone.values() if end > now), default=float("inf"))

    def reset(self, provider: str | None = None) -> list[str]:
        """Forget the cooldowns and gone models of a provider, or of all; returns what was forgotten.
        Listings are forgotten as well: what is wrong in one is not known by the provider's name."""
        forgotten: list[str] = []

        def change(state: State) -> None:
            now = self.now()
            for key, (until, _) in list(state.cooldowns.items()):
                if provider in (None, key, key.split("/", 1)[0]):
                    del state.cooldowns[key]
                    forgotten.extend([f"the cooldown of {key}"] if until > now else [])
            for entry, until in list(state.gone.items()):
                name, _, _, model = entry.split(" ", 3)
                if provider in (None, name):
                    del state.gone[entry]
                    forgotten.extend([f"that {name} has no {model}"] if until > now else [])
            state.listings.clear()

        if Path(self._file).exists() and not self._try(change, _LOCK_WAIT):
            raise OSError(f"{self._file} is locked by another process.")
        return forgotten

    @property
    def _path(self) -> Path:
        return Path(self._file)

    def _read(self) -> State:
        """The state; read again only when the file has changed, since every request asks for it."""
        try:
            found = os.stat(self._file)  # noqa: PTH116 (a Path takes longer than the question)
        except OSError:
            return _NOTHING
        seen = (found.st_mtime_ns, found.st_size, found.st_ino)
        if seen != self._seen:
            self._state = self._load()
            self._seen = seen
        return self._state

    def _load(self) -> State:
        try:
            # To read a pipe would wait for ever.
            found = self._path.is_file()
            large = found and self._path.stat().st_size > _MAX_SIZE
            text = self._path.read_text(encoding="utf-8") if found and not large else "{}"
        except (OSError, UnicodeDecodeError):
            return State()
        if large:
            return self._set_aside("too large")
        try:
            return parse(json.loads(text), self.now())
        except (
            ValueError,
            TypeError,
            AttributeError,
            LookupError,
            ArithmeticError,
            RecursionError,
        ):
            return self._set_aside("invalid content")

    def _set_aside(self, reason: str) -> State:
        with suppress(OSError):
            set_aside(self._path, reason)
        return State()

    def _change(self, change: Change) -> None:
        """Change the state in the file. Where another process writes to it, a thread waits for that:
        the event loop never does."""
        with self._guard:
            if self._waiting:
                self._waiting.append(change)
                return
            if self._try(change, 0.0):
                return
            self._waiting.append(change)
        # Not a daemon: the end of the process waits until it is written.
        threading.Thread(target=self._write_waiting, name="g4f-health").start()

    def _write_waiting(self) -> None:
        def take() -> list[Change]:
            with self._guard:
                waiting, self._waiting = self._waiting, []
                return waiting

        taken = False

        def changes(state: State) -> None:
            nonlocal taken
            taken = True
            for change in take():
                change(state)

        self._try(changes, _LOCK_WAIT)
        # Where the file cannot be locked or written they are dropped; what came since has a thread of
        # its own.
        if not taken:
            take()

    def _try(self, change: Change, seconds: float) -> bool:
        """Read the state, change it and write it back in one step; False while it is locked."""
        import secrets

        import filelock

        lock = filelock.FileLock(
            f"{self._path}.lock", timeout=seconds, poll_interval=0.01, mode=0o600
        )
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock.acquire()
        except filelock.Timeout:
            return False
        except (OSError, NotImplementedError):
            return True
        try:
            state = self._load() if self._path.exists() else State()
            state.salt = state.salt or secrets.token_hex(16)
            change(state)
            with suppress(OSError):
                atomic_write(self._path, as_json(state, self.now()))
        finally:
            lock.release()
        return True


def _drop(entries: dict[str, Any], key: str) -> None:
    entries.pop(key, None)
