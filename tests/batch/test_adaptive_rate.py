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
    """A simulated run: the seconds it took, the requests that met a rate limit, the most at once."""

    seconds: float = 0.0
    rate_limited: int = 0
    most: int = 0


def simulated(bucket: Bucket, told: str, takes: float, at_once: int, prompts: int) -> Run:
    """All prompts through one `AdaptiveRate` against `bucket`, which tells when to come back (in "whole"
    seconds, "exactly", "never") and takes so many seconds for an answer; the client 1 ms for a request."""
    run, rate = Run(), AdaptiveRate(at_once, 0.0)
    events: list[tuple[float, int, float | None, bool, float | None]] = []
    now = free = 0.0
    left, answered, number = prompts, 0, 0
    while answered < prompts:
        while left and now >= free and (wait := rate.delay(now)) == 0:
            rate.begin(now)
            left -= 1
            number += 1
            free = now + 1e-3
            run.most = max(run.most, rate.in_flight)
            wait = bucket.wait(now)
            ways = {"whole": math.ceil(wait), "exactly": wait, "never": None}
            # Neither too even nor left to luck.
            seconds = takes * (0.5 + number * 0.618 % 1)
            back = now + (min(takes, 1e-3) if wait else seconds)
            heapq.heappush(events, (back, number, now, not wait, ways[told]))
        wake = math.inf
        if left:
            wait = rate.delay(now)
            # A timer wakes at whole milliseconds.
            wake = math.inf if wait is None else math.ceil(max(free, now + wait) * 1e3) / 1e3
        if wake <= (events[0][0] if events else math.inf):
            assert wake < math.inf, "nothing is left that could happen"
            now = max(wake, now + 1e-6)
            continue
        now, _, began, good, told_wait = heapq.heappop(events)
        assert began is not None
        if good:
            rate.answered(began)
            answered += 1
        else:
            rate.rate_limited(began, now, told_wait)
            run.rate_limited += 1
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
    assert run.rate_limited < 0.02 * (prompts + run.rate_limited)
    assert run.most <= at_once


def test_without_rate_limits_all_requests_run_at_once() -> None:
    run = simulated(Bucket(math.inf, math.inf), "never", 1.0, 64, 2_000)
    assert (run.rate_limited, run.most) == (0, 64)
    assert run.seconds < 1.2 * 2_000 / 64


def full(rate: AdaptiveRate, now: float) -> int:
    """Begin as many requests as there is room for."""
    count = 0
    while rate.delay(now) == 0:
        rate.begin(now)
        count += 1
    return count


def test_the_window_doubles_until_the_first_failure_and_then_grows_linearly() -> None:
    rate = AdaptiveRate(40, 0.0)
    begun = []
    for now in range(5):
        begun.append(full(rate, now))
        for _ in range(begun[-1]):
            rate.answered(now)
    assert begun == [FIRST_WINDOW, 8, 16, 32, 40]
    full(rate, 5)
    rate.timed_out(5, 6)
    assert rate.window == 20
    for _ in range(39):
        rate.timed_out(5, 6)
    assert (rate.window, rate.in_flight) == (20, 0), "once for all that were on their way"
    assert full(rate, 7) == 20
    for _ in range(20):
        rate.answered(7)
    assert rate.window == 24


def test_a_rate_limit_shrinks_the_window_by_at_most_half() -> None:
    for rejected, window in ((1, 7), (3, 5), (4, 4), (8, 4)):
        rate = AdaptiveRate(8, 0.0)
        for _ in range(full(rate, 0.0)):
            rate.answered(0.0)
        assert full(rate, 1.0) == 8
        assert [rate.rate_limited(1.0, 2.0, 1.0) for _ in range(rejected)].count(True) == 1
        assert rate.window == window


def test_no_request_starts_before_retry_after() -> None:
    rate = AdaptiveRate(8, 0.0)
    full(rate, 0.0)
    rate.rate_limited(0.0, 1.0, 7.0)
    rate.rate_limited(0.0, 2.0, 9.0)
    rate.answered(0.0)
    assert [rate.delay(now) for now in (2.0, 10.5)] == [9.0, 0.5]
    assert rate.paused_for(3.0) == 8.0
    assert rate.delay(11.0) == 0


def test_a_pause_without_retry_after_doubles_until_an_answer() -> None:
    rate, now, pauses = AdaptiveRate(8, 0.0), 0.0, []
    for _ in range(9):
        rate.begin(now)
        rate.rate_limited(now, now, None)
        pauses.append(rate.paused_for(now))
        now += pauses[-1]
        assert rate.delay(now) == 0
    assert pauses == [1, 2, 4, 8, 16, 32, 64, MAX_PAUSE, MAX_PAUSE]
    rate.begin(now)
    rate.answered(now)
    now += 1.0
    rate.begin(now)
    rate.rate_limited(now, now, None)
    assert rate.paused_for(now) == 1


@settings(deadline=None)
@given(
    st.integers(1, 300),
    st.lists(
        st.tuples(
            st.sampled_from(["begin", "begin", "answered", "rate_limited", "timed_out", "ended"]),
            st.sampled_from([0.0, 0.0, 1e-4, 0.01, 1.0, 100.0]),
            st.sampled_from([None, 0.0, 0.002, 1.0, 60.0]),
        ),
        max_size=200,
    ),
)
def test_any_sequence_of_events_makes_room_again(
    most: int, steps: list[tuple[str, float, float | None]]
) -> None:
    rate, now = AdaptiveRate(most, 0.0), 0.0
    flying: list[float] = []
    for what, passes, wait in steps:
        now += passes
        if what == "begin":
            full_now = rate.delay(now)
            if full_now == 0:
                rate.begin(now)
                flying.append(now)
        elif flying:
            began = flying.pop(0)
            if what == "answered":
                rate.answered(began)
            elif what == "rate_limited":
                rate.rate_limited(began, now, wait)
            elif what == "timed_out":
                rate.timed_out(began, now)
            else:
                rate.ended()
        assert 1 <= rate.window <= most
        assert rate.in_flight == len(flying) <= most
    while flying:
        rate.answered(flying.pop())
    later = rate.delay(now)
    assert later is not None, "no request is in flight, and none may begin"
    assert later <= MAX_PAUSE
    now += later
    again = rate.delay(now)
    if again:
        # Requests that were held back begin after a while, even if slowly.
        assert again <= MAX_PAUSE
        now += again * 1.001
    assert rate.delay(now) == 0
