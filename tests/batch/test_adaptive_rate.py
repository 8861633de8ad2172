"""The request rate of a batch follows a provider's limit. Time is simulated."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_g4f.batch.adaptive_rate import FIRST_WINDOW, MAX_PAUSE, AdaptiveRate
from tests.support.batch_limits import Bucket


@dataclass
class Run:
    """A simulated run: the seconds it took, how many requests were refused, how many at once at most."""

    seconds: float = 0.0
    refused: int = 0
    most: int = 0


def simulated(bucket: Bucket, told: str, takes: float, at_once: int, prompts: int) -> Run:
    """All prompts through one `AdaptiveRate` against `bucket`, which tells when to come back (in "whole"
    seconds, "exactly", "never") and takes so many seconds for an answer; the client 1 ms for a request."""
    run, pace = Run(), AdaptiveRate(at_once, 0.0)
    events: list[tuple[float, int, float | None, bool, float | None]] = []
    now = free = 0.0
    left, answered, number = prompts, 0, 0
    while answered < prompts:
        while left and now >= free and (wait := pace.delay(now)) == 0:
            pace.begin(now)
            left -= 1
            number += 1
            free = now + 1e-3
            run.most = max(run.most, pace.in_flight)
            refusal = bucket.wait(now)
            ways = {"whole": math.ceil(refusal), "exactly": refusal, "never": None}
            # Neither too even nor left to luck.
            seconds = takes * (0.5 + number * 0.618 % 1)
            back = now + (min(takes, 1e-3) if refusal else seconds)
            heapq.heappush(events, (back, number, now, not refusal, ways[told]))
        wake = math.inf
        if left:
            wait = pace.delay(now)
            # A timer wakes at whole milliseconds.
            wake = math.inf if wait is None else math.ceil(max(free, now + wait) * 1e3) / 1e3
        if wake <= (events[0][0] if events else math.inf):
            assert wake < math.inf, "nothing is left that could happen"
            now = max(wake, now + 1e-6)
            continue
        now, _, began, good, told_wait = heapq.heappop(events)
        assert began is not None
        if good:
            pace.answered(began)
            answered += 1
        else:
            pace.rate_limited(began, now, told_wait)
            run.refused += 1
            left += 1
    run.seconds = now
    return run


@pytest.mark.parametrize(
    ("rate", "burst", "told", "takes", "at_once", "ratio"),
    [
        (500, 100, "whole", 0.001, 64, 1.15),
        (500, 100, "whole", 0.1, 64, 1.15),
        (500, 100, "exactly", 0.001, 64, 1.05),
        (200, 20, "whole", 0.001, 64, 1.15),
        (200, 20, "exactly", 0.1, 64, 1.05),
        (200, 20, "never", 0.001, 64, 1.15),
        (100, 1000, "whole", 0.001, 64, 1.05),
        (100, 30, "whole", 1.0, 256, 1.15),
        (8, 500, "whole", 0.1, 64, 1.05),
        (1, 60, "exactly", 2.0, 16, 1.05),
    ],
)
def test_the_rate_converges_to_the_providers_limit(
    rate: float, burst: float, told: str, takes: float, at_once: int, ratio: float
) -> None:
    prompts = 10_000
    run = simulated(Bucket(rate, burst), told, takes, at_once, prompts)
    assert run.seconds <= ratio * (prompts - burst) / rate
    assert run.refused < 0.02 * (prompts + run.refused)
    assert run.most <= at_once


def test_without_rate_limits_all_requests_run_at_once() -> None:
    run = simulated(Bucket(math.inf, math.inf), "never", 1.0, 64, 2_000)
    assert (run.refused, run.most) == (0, 64)
    assert run.seconds < 1.2 * 2_000 / 64


def full(pace: AdaptiveRate, now: float) -> int:
    """Begin as many requests as there is room for."""
    count = 0
    while pace.delay(now) == 0:
        pace.begin(now)
        count += 1
    return count


def test_the_window_doubles_until_the_first_failure_and_then_grows_linearly() -> None:
    pace = AdaptiveRate(40, 0.0)
    begun = []
    for now in range(5):
        begun.append(full(pace, now))
        for _ in range(begun[-1]):
            pace.answered(now)
    assert begun == [FIRST_WINDOW, 8, 16, 32, 40]
    full(pace, 5)
    pace.timed_out(5, 6)
    assert pace.window == 20
    for _ in range(39):
        pace.timed_out(5, 6)
    assert (pace.window, pace.in_flight) == (20, 0), "once for all that were on their way"
    assert full(pace, 7) == 20
    for _ in range(20):
        pace.answered(7)
    assert pace.window == 24


def test_a_rate_limit_shrinks_the_window_by_at_most_half() -> None:
    for refused, window in ((1, 7), (3, 5), (4, 4), (8, 4)):
        pace = AdaptiveRate(8, 0.0)
        for _ in range(full(pace, 0.0)):
            pace.answered(0.0)
        assert full(pace, 1.0) == 8
        assert [pace.rate_limited(1.0, 2.0, 1.0) for _ in range(refused)].count(True) == 1
        assert pace.window == window


def test_no_request_starts_before_retry_after() -> None:
    pace = AdaptiveRate(8, 0.0)
    full(pace, 0.0)
    pace.rate_limited(0.0, 1.0, 7.0)
    pace.rate_limited(0.0, 2.0, 9.0)
    pace.answered(0.0)
    assert [pace.delay(now) for now in (2.0, 10.5)] == [9.0, 0.5]
    assert pace.paused_for(3.0) == 8.0
    assert pace.delay(11.0) == 0


def test_a_pause_without_retry_after_doubles_until_an_answer() -> None:
    pace, now, pauses = AdaptiveRate(8, 0.0), 0.0, []
    for _ in range(9):
        pace.begin(now)
        pace.rate_limited(now, now, None)
        pauses.append(pace.paused_for(now))
        now += pauses[-1]
        assert pace.delay(now) == 0
    assert pauses == [1, 2, 4, 8, 16, 32, 64, MAX_PAUSE, MAX_PAUSE]
    pace.begin(now)
    pace.answered(now)
    now += 1.0
    pace.begin(now)
    pace.rate_limited(now, now, None)
    assert pace.paused_for(now) == 1


@settings(deadline=None)
@given(
    st.integers(1, 300),
    st.lists(
        st.tuples(
            st.sampled_from(["begin", "begin", "answered", "refused", "timed_out", "ended"]),
            st.sampled_from([0.0, 0.0, 1e-4, 0.01, 1.0, 100.0]),
            st.sampled_from([None, 0.0, 0.002, 1.0, 60.0]),
        ),
        max_size=200,
    ),
)
def test_any_sequence_of_events_makes_room_again(
    most: int, steps: list[tuple[str, float, float | None]]
) -> None:
    pace, now = AdaptiveRate(most, 0.0), 0.0
    flying: list[float] = []
    for what, passes, wait in steps:
        now += passes
        if what == "begin":
            full_now = pace.delay(now)
            if full_now == 0:
                pace.begin(now)
                flying.append(now)
        elif flying:
            began = flying.pop(0)
            if what == "answered":
                pace.answered(began)
            elif what == "refused":
                pace.rate_limited(began, now, wait)
            elif what == "timed_out":
                pace.timed_out(began, now)
            else:
                pace.ended()
        assert 1 <= pace.window <= most
        assert pace.in_flight == len(flying) <= most
    while flying:
        pace.answered(flying.pop())
    later = pace.delay(now)
    assert later is not None, "nobody is there whose end could make room"
    assert later <= MAX_PAUSE
    now += later
    again = pace.delay(now)
    if again:
        # What was held back is let go at a pace, and be it a slow one.
        assert again <= MAX_PAUSE
        now += again * 1.001
    assert pace.delay(now) == 0
