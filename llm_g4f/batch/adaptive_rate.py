"""Learn how many requests a provider accepts: at once, and per second.

Learns from answers and rate limits only, with a clock given from outside. The model is a token
bucket: a request takes a token, tokens come back at a rate, and the bucket holds some of them (a
burst). Only a rate limit says something certain: the bucket is empty. So the requests accepted
between two rate limits are a lower bound of the rate.
"""

from __future__ import annotations

import math

FIRST_WINDOW = 4
"""Requests at once at first. A full window that is answered doubles it, until the first rate limit."""

WINDOW_STEP = 1 / 8
"""The share of itself by which the window grows after that, for each window that is answered; at least
one request. Growing by one would take minutes to reach hundreds where answers take seconds."""

FIRST_PAUSE = 1.0
"""Seconds to wait after a rate limit that names no time. Doubles while nothing is answered."""

MAX_PAUSE = 120.0

MIN_COST = 10
"""A rate limit costs at least as much as so many requests, however short its pause: as many may have
been rejected."""

RECOVERY_PAUSES = 40
"""Pauses until the rate is back at what was accepted before the rate limit: so pauses take at most
2.5 % of the time."""

FIRST_RECOVERY_PAUSES = 6
"""The same after the first rate limit, before which little is known of the rate."""

MIN_SHARE = 0.7
"""The share of itself to which the rate falls at a rate limit right after a pause. It falls further
only if the requests accepted prove less."""

MIN_RISE = 0.02
"""The share of itself by which the rate rises until it has recovered, at least: a limit may have been
raised."""

TIMER_LAG = 0.05
"""Seconds by which a timer may be late without a loss of rate."""

_MAX_MARKS = 32
_INSTANT = 1e-3


class AdaptiveRate:
    """The window and the rate of one provider. Times are in seconds on a monotonic clock.

    Call `begin` for a request when `delay` is 0, and exactly one of `answered`, `rate_limited`,
    `timed_out` and `ended` at its end. `began` is the time given to `begin`.
    """

    def __init__(self, max_window: int, now: float) -> None:
        self._max_window = max_window
        self._in_flight = 0
        self._window = float(min(FIRST_WINDOW, max_window))
        self._min_window = 1.0
        # None until the first rate limit or time-out.
        self._step: float | None = None
        self._shrunk_at = self._full_at = -math.inf

        self._paused_until = -math.inf
        self._emptied_at: float | None = None
        self._limits_in_a_row = 0

        self._rate: float | None = None
        self._base_rate = 0.0
        self._rise = 0.0
        self._recovery_seconds = 1.0
        self._used_seconds = 0.0
        self._tokens = 0.0
        self._capacity = 1.0
        self._filled_at = now

        self._last_emptied_at: float | None = None
        self._first_began: float | None = None
        self._taken = 0
        self._last_pause = 0.0
        self._marks: list[tuple[float, int]] = []
        self._spans: list[tuple[int, float]] = []

    @property
    def window(self) -> int:
        """The most requests that may be in flight now."""
        return int(self._window)

    @property
    def in_flight(self) -> int:
        """The number of requests in flight."""
        return self._in_flight

    def pause(self, until: float) -> None:
        """Allow no request before `until`."""
        self._paused_until = max(self._paused_until, until)

    def paused_for(self, now: float) -> float:
        """Seconds until the pause after a rate limit ends; 0 if there is none."""
        return max(0.0, self._paused_until - now)

    def delay(self, now: float) -> float | None:
        """Seconds until a request may begin; 0 if it may now, None if the window is full."""
        if self._in_flight >= self.window:
            return None
        if now < self._paused_until:
            return self._paused_until - now
        if self._emptied_at is not None:
            self._learn(self._emptied_at)
            self._emptied_at = None
        if self._rate is None:
            return 0.0
        capacity = max(self._capacity, self._rate * TIMER_LAG)
        self._tokens = min(capacity, self._tokens + self._rate * (now - self._filled_at))
        self._filled_at = now
        # A sum of fractions may miss 1 by a rounding error.
        return 0.0 if self._tokens > 1 - 1e-6 else (1 - self._tokens) / self._rate

    def begin(self, now: float) -> None:
        """Count a request that begins now."""
        if self._first_began is None:
            self._first_began = now
        self._mark(now)
        if self._rate is not None:
            self._tokens -= 1
            # The time of one request at this rate: an unused rate does not rise.
            self._used_seconds += 1 / self._rate
            self._rate = self._base_rate + self._rise * (
                2 ** (self._used_seconds / self._recovery_seconds) - 1
            )
        self._taken += 1
        self._in_flight += 1
        if self._in_flight >= self.window:
            self._full_at = now

    def _mark(self, now: float) -> None:
        """Record the requests taken until now: often before the first rate limit, then once a pause."""
        if self._rate is None:
            if not self._marks or self._taken >= 1.25 * self._marks[-1][1]:
                self._marks.append((now, self._taken))
        elif not self._marks or now - self._marks[-1][0] >= self._last_pause:
            self._marks.append((now, self._taken))
            del self._marks[:-_MAX_MARKS]

    def ended(self) -> None:
        """Count a request that ended with neither an answer nor a rate limit: nothing is learnt."""
        self._in_flight -= 1

    def answered(self, began: float) -> None:
        """Count a request that was answered."""
        self._in_flight -= 1
        if began >= self._paused_until:
            self._limits_in_a_row = 0
        # A window that was not full since then has not been tested.
        if began > self._shrunk_at and began <= self._full_at:
            grown = 1.0 if self._step is None else self._step / self._window
            self._window = min(float(self._max_window), self._window + grown)

    def timed_out(self, began: float, now: float) -> None:
        """Count a request that timed out. Halves the window, once for all that began before now."""
        self._in_flight -= 1
        if began > self._shrunk_at:
            self._shrink(now)
            self._window = self._min_window

    def _shrink(self, now: float) -> None:
        self._shrunk_at = now
        self._min_window = max(1.0, self._window / 2)
        self._step = max(1.0, self._window * WINDOW_STEP)

    def rate_limited(self, began: float, now: float, wait: float | None) -> bool:
        """Count a request that met a rate limit, and pause: for `wait` seconds, if the provider says so.
        Returns False for one that was in flight at an earlier rate limit.

        The window falls to what the provider accepts at this moment, the requests in flight that are
        not rate-limited too; at most by half.
        """
        self._in_flight -= 1
        if began < self._paused_until:
            if self._emptied_at is not None:
                self._taken -= 1
                self._window = max(self._min_window, self._window - 1)
                self.pause(now + (wait or 0.0))
            return False
        self._taken -= 1
        self._shrink(now)
        self._window = max(self._min_window, min(self._window, float(self._in_flight)))
        if wait is None:
            wait = min(MAX_PAUSE, FIRST_PAUSE * 2**self._limits_in_a_row)
        self._limits_in_a_row += 1
        self._emptied_at = now
        self._paused_until = now + max(wait, _INSTANT)
        return True

    def _learn(self, emptied: float) -> None:
        """Set the rate after the pause of the rate limit at `emptied`."""
        self._last_pause = self._paused_until - emptied
        taken = max(1, self._taken)
        active = max(
            _INSTANT, emptied - (emptied if self._first_began is None else self._first_began)
        )
        spans = [
            (taken - before, emptied - at) for at, before in self._marks if emptied - at >= _INSTANT
        ]
        if self._rate is None or self._last_emptied_at is None:
            top, base, burst = self._first_estimate(taken, active, spans)
        else:
            since = emptied - self._last_emptied_at
            top, base, burst = self._next_estimate(self._rate, taken, active, since, spans)
        self._rate = self._base_rate = max(base, 1 / MAX_PAUSE)
        self._rise = max(top - self._base_rate, MIN_RISE * self._base_rate)
        self._used_seconds = 0.0
        # Half of it: too large a burst costs a pause, too small a one almost nothing.
        self._capacity = max(1.0, burst / 2)
        self._tokens = min(self._capacity, max(1.0, self._base_rate * self._last_pause))
        self._filled_at = self._paused_until
        self._last_emptied_at = emptied
        self._first_began, self._taken = None, 0
        self._marks = []

    def _first_estimate(
        self, taken: int, active: float, spans: list[tuple[int, float]]
    ) -> tuple[float, float, float]:
        """The highest rate seen, the rate to resume with, and the burst, after the first rate limit:
        `taken` requests in `active` seconds."""
        self._spans = spans or [(taken, active)]
        top = max(
            count / time
            for count, time in [(taken, active), *spans]
            if time >= min(self._last_pause, active / 4)
        )
        cost = max(self._last_pause, MIN_COST / top)
        self._recovery_seconds = FIRST_RECOVERY_PAUSES * cost
        # This contains a burst of unknown size: the sooner the rate limit, the less it says.
        return top, top * math.sqrt(active / (active + cost)), 0.0

    def _next_estimate(
        self, rate: float, taken: int, active: float, since: float, spans: list[tuple[int, float]]
    ) -> tuple[float, float, float]:
        """The same after a later one, `since` seconds after the last."""
        cost = max(self._last_pause, MIN_COST / rate)
        self._recovery_seconds = RECOVERY_PAUSES * cost
        # The sooner after the pause, the more this rate was too high.
        share = max(MIN_SHARE, math.sqrt(active / (active + cost)))
        # The bucket was empty at both ends of this time.
        proven = (taken - 1) / since
        base = max(proven, min(self._proven(proven, spans), rate * share))
        # So few requests prove nothing.
        if taken < MIN_COST:
            base = max(base, self._base_rate / 2)
        burst = self._burst(rate)
        # The limit has changed, or the bucket was not full at the beginning.
        if taken < burst:
            self._spans = [(taken, active)]
        return min(rate, taken / active), base, burst

    def _burst(self, rate: float) -> float:
        """The size of the bucket if tokens come back at `rate`: the requests taken before the first
        rate limit beyond those. Too large if `rate` is too low."""
        return max(0.0, *(count - rate * time for count, time in self._spans))

    def _proven(self, rate: float, spans: list[tuple[int, float]]) -> float:
        """A lower bound of the provider's rate: in each of `spans`, up to a rate limit, it accepted at
        most a burst and what came back. `rate` is a lower bound too."""
        for _ in range(2):
            burst = self._burst(rate)
            rate = max(rate, *((count - burst) / time for count, time in spans), 0.0)
        return rate
