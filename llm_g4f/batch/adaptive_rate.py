"""What a provider takes: how many requests at once, and how many a second.

It is learnt from answers and refusals alone, and by a clock given from outside. A provider is
thought of as a bucket: a request takes a token out, tokens come back at a rate, and there is room
for some of them (a burst). Only a refusal tells something for certain: then the bucket is empty.
What was taken between two refusals therefore bounds the rate from below.
"""

from __future__ import annotations

import math

BEGIN = 4
"""Requests at once at first; a full window that is answered doubles it until the first refusal."""

STEP = 1 / 8
"""By how much of itself the window grows later, for each window that is answered, and at least by
one: one alone would take minutes to make a window of hundreds full again where answers take seconds."""

PAUSE = 1.0
"""Seconds to wait after a refusal that names no time; doubled while nothing is answered."""

LONGEST_PAUSE = 120.0

EVENT = 10
"""A refusal weighs at least as much as so many requests, however short its pause is: it may be
that many which are refused."""

PATIENCE = 40
"""Pauses until the pace is back at what was taken before the refusal: so they take at most 2.5 % of the
time."""

HASTE = 6
"""The same after the first refusal, before which little was known of the rate."""

MOST_LOST = 0.7
"""The share of itself to which the pace falls at a refusal right after a pause; to less only where
what was taken says so."""

LEAST_RISE = 0.02
"""By how much of itself the pace rises in that time at least: a limit may have been raised."""

LAG = 0.05
"""Seconds by which a timer may be late without a loss of pace."""

_MARKS = 32
_INSTANT = 1e-3


class AdaptiveRate:
    """The window and the rate of one provider. Times are in seconds on a clock that never goes back.

    A request is begun where `delay` is 0 and ends in exactly one of `answered`, `refused`,
    `timed_out` and `ended`, each with the time at which it was begun.
    """

    def __init__(self, most: int, now: float) -> None:
        self._most = most
        self._in_flight = 0
        self._window = float(min(BEGIN, most))
        self._least = 1.0
        self._step: float | None = None
        self._cut = self._full = -math.inf

        self._resume = -math.inf
        self._emptied: float | None = None
        self._refused_in_a_row = 0

        self._rate: float | None = None
        self._base = 0.0
        self._rise = 0.0
        self._horizon = 1.0
        self._used = 0.0
        self._tokens = 0.0
        self._room = 1.0
        self._filled = now

        self._last_emptied: float | None = None
        self._began: float | None = None
        self._taken = 0
        self._pause = 0.0
        self._marks: list[tuple[float, int]] = []
        self._spans: list[tuple[int, float]] = []

    @property
    def window(self) -> int:
        """How many requests may be in flight now."""
        return int(self._window)

    @property
    def in_flight(self) -> int:
        """How many requests are."""
        return self._in_flight

    def hold(self, until: float) -> None:
        """Begin nothing before `until`."""
        self._resume = max(self._resume, until)

    def held(self, now: float) -> float:
        """Seconds until the pause after a refusal is over; 0 if there is none."""
        return max(0.0, self._resume - now)

    def delay(self, now: float) -> float | None:
        """Seconds until a request may begin: 0 if it may now, None while only the end of another
        one can make room."""
        if self._in_flight >= self.window:
            return None
        if now < self._resume:
            return self._resume - now
        if self._emptied is not None:
            self._learn(self._emptied)
            self._emptied = None
        if self._rate is None:
            return 0.0
        room = max(self._room, self._rate * LAG)
        self._tokens = min(room, self._tokens + self._rate * (now - self._filled))
        self._filled = now
        # A sum of fractions of a token may miss the whole by a rounding error.
        return 0.0 if self._tokens > 1 - 1e-6 else (1 - self._tokens) / self._rate

    def begin(self, now: float) -> None:
        """Count a request that begins."""
        if self._began is None:
            self._began = now
        self._mark(now)
        if self._rate is not None:
            self._tokens -= 1
            # The time that the request takes at this pace: a pace that is not used does not rise.
            self._used += 1 / self._rate
            self._rate = self._base + self._rise * (2 ** (self._used / self._horizon) - 1)
        self._taken += 1
        self._in_flight += 1
        if self._in_flight >= self.window:
            self._full = now

    def _mark(self, now: float) -> None:
        """Remember how many were taken until now: dense where little is known, then one a pause."""
        if self._rate is None:
            if not self._marks or self._taken >= 1.25 * self._marks[-1][1]:
                self._marks.append((now, self._taken))
        elif not self._marks or now - self._marks[-1][0] >= self._pause:
            self._marks.append((now, self._taken))
            del self._marks[:-_MARKS]

    def ended(self) -> None:
        """Neither an answer nor a refusal: it tells nothing."""
        self._in_flight -= 1

    def answered(self, began: float) -> None:
        self._in_flight -= 1
        if began >= self._resume:
            self._refused_in_a_row = 0
        # A window that was never full in that time has not been tried.
        if began > self._cut and began <= self._full:
            grown = 1.0 if self._step is None else self._step / self._window
            self._window = min(float(self._most), self._window + grown)

    def timed_out(self, began: float, now: float) -> None:
        """Halve the window; once for all that were begun before."""
        self._in_flight -= 1
        if began > self._cut:
            self._cut_down(now)
            self._window = self._least

    def _cut_down(self, now: float) -> None:
        self._cut = now
        self._least = max(1.0, self._window / 2)
        self._step = max(1.0, self._window * STEP)

    def refused(self, began: float, now: float, wait: float | None) -> bool:
        """Wait `wait` seconds, if the provider says so. Whether this is news, and not one more of
        those that were on their way at an earlier refusal.

        The window falls to what the provider carries at this moment: those in flight that are not
        refused too; but at most by half.
        """
        self._in_flight -= 1
        if began < self._resume:
            if self._emptied is not None:
                self._taken -= 1
                self._window = max(self._least, self._window - 1)
                self.hold(now + (wait or 0.0))
            return False
        self._taken -= 1
        self._cut_down(now)
        self._window = max(self._least, min(self._window, float(self._in_flight)))
        if wait is None:
            wait = min(LONGEST_PAUSE, PAUSE * 2**self._refused_in_a_row)
        self._refused_in_a_row += 1
        self._emptied = now
        self._resume = now + max(wait, _INSTANT)
        return True

    def _learn(self, emptied: float) -> None:
        """Set the pace after the refusal at `emptied`, when its pause is over."""
        self._pause = self._resume - emptied
        taken = max(1, self._taken)
        active = max(_INSTANT, emptied - (emptied if self._began is None else self._began))
        spans = [
            (taken - before, emptied - at) for at, before in self._marks if emptied - at >= _INSTANT
        ]
        if self._rate is None or self._last_emptied is None:
            self._spans = spans or [(taken, active)]
            top = max(
                count / time
                for count, time in [(taken, active), *spans]
                if time >= min(self._pause, active / 4)
            )
            cost = max(self._pause, EVENT / top)
            # The burst is in it, of unknown size: the sooner the refusal, the less it says.
            base = top * math.sqrt(active / (active + cost))
            burst = 0.0
            self._horizon = HASTE * cost
        else:
            top = min(self._rate, taken / active)
            cost = max(self._pause, EVENT / self._rate)
            # The sooner after the pause, the further above the rate it was.
            share = max(MOST_LOST, math.sqrt(active / (active + cost)))
            # The bucket was empty at both ends of this time.
            sure = (taken - 1) / (emptied - self._last_emptied)
            base = max(sure, min(self._proven(sure, spans), self._rate * share))
            # So few prove nothing.
            if taken < EVENT:
                base = max(base, self._base / 2)
            burst = self._burst(self._rate)
            # The limit has changed, or the bucket was not full at the beginning.
            if taken < burst:
                self._spans = [(taken, active)]
            self._horizon = PATIENCE * cost
        self._rate = self._base = max(base, 1 / LONGEST_PAUSE)
        self._rise = max(top - self._base, LEAST_RISE * self._base)
        self._used = 0.0
        # Half of it: a burst that is too large costs a pause, one that is too small next to nothing.
        self._room = max(1.0, burst / 2)
        self._tokens = min(self._room, max(1.0, self._base * self._pause))
        self._filled = self._resume
        self._last_emptied = emptied
        self._began, self._taken = None, 0
        self._marks = []

    def _burst(self, rate: float) -> float:
        """The tokens there is room for, if they come back at `rate`: what was taken before the first
        refusal beyond that. More than there is for a rate that is too low."""
        return max(0.0, *(count - rate * time for count, time in self._spans))

    def _proven(self, sure: float, spans: list[tuple[int, float]]) -> float:
        """The rate that the provider has kept up at least: in each of `spans`, up to a refusal, it
        gave no more than a whole burst and what came back. `sure` is such a rate too."""
        for _ in range(2):
            burst = self._burst(sure)
            sure = max(sure, *((count - burst) / time for count, time in spans), 0.0)
        return sure
