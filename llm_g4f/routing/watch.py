"""The time limits of an attempt."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from ..event_loops import EXTENSION, LATE, OtherLoopError

_AGES = 1e9
"""Seconds that nothing takes."""


class Watch:
    """Cancels waits that bring no content for too long. One timer for an attempt, set anew only when
    it fires: a stream has thousands of waits.

    `limit` is in seconds without content; `deadline`, a time of the loop, is for all waits, and
    `began` is when the watch did. The time between the waits is the caller's, and does not count. A
    `patient` wait has the deadline only.
    """

    def __init__(self, limit: float, deadline: float | None) -> None:
        self.limit = limit
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self.began = self._since = self._loop.time()
        self._silence = 0.0
        self._patient = False
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._extended = float("-inf")
        self.expired: Literal["idle", "total"] | None = None
        self._timer: asyncio.TimerHandle | None = self._loop.call_at(self._due(), self._fire)

    def _due(self) -> float:
        idle = self._since + (_AGES if self._patient else self.limit)
        return idle if self._deadline is None else min(idle, self._deadline)

    def _fire(self) -> None:
        self._timer = None
        if self._task is None:
            # The caller has the last chunk; meanwhile the provider cannot be late.
            return
        due = self._due()
        late = self._loop.time() - due
        if late < 0:
            # A wait that is not patient may follow one that is.
            soon = min(due, self._loop.time() + self.limit)
            self._timer = self._loop.call_at(soon, self._fire)
            return
        if late > LATE and due - self._extended > EXTENSION:
            # What has come meanwhile counts first, but not again and again.
            self._extended = due
            self._timer = self._loop.call_later(EXTENSION, self._fire)
            return
        total = self._deadline is not None and due == self._deadline
        self.expired = "total" if total else "idle"
        self._cancelling = self._task.cancelling()
        self._task.cancel()

    def begin(self, *, anew: bool = True, patient: bool = False) -> None:
        """A wait of the current task begins; not `anew`: it continues the one before.
        Raises `OtherLoopError`."""
        self._patient = patient
        self._task = asyncio.current_task(self._loop)
        if self._task is None:
            raise OtherLoopError
        if anew:
            self._since = self._loop.time() - self._silence
            self._silence = 0.0
        if self._timer is None:
            self._timer = self._loop.call_at(self._due(), self._fire)

    def end(self) -> None:
        """The wait has ended."""
        self._task = None

    def heard(self) -> None:
        """Content has come during a wait."""
        self._since = self._loop.time()

    def heard_nothing(self) -> None:
        """The wait that has just ended brought no content: the next one continues it."""
        self._silence = self._loop.time() - self._since

    def has_cancelled(self) -> bool:
        """Whether the cancellation that ended the wait came from this watch alone."""
        task = asyncio.current_task()
        return bool(self.expired and task and task.uncancel() <= self._cancelling)

    def stop(self) -> None:
        """End the watch: it cancels nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
