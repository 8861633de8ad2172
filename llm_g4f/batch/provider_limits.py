"""The limits of the providers in one batch run: who may ask whom, and when.

A request waits for leave to ask one of the candidates that are as good as the first. The first in
order is preferred while it has room, so load is shared only by what is too much for it. A limit
that passes soon is waited out; nothing worse is asked in its place.
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections import deque
from collections.abc import Sequence

from ..errors import APIError, APIStatusError, APITimeoutError, InternalServerError, RateLimitError
from ..routing.cooldowns import LONGEST, STEP, Health, cooldown_of
from ..routing.route import Candidate, equally_exact
from .adaptive_rate import AdaptiveRate


class ProviderLimit:
    """What is known of one health key in this run. Times are the loop's."""

    def __init__(self, key: str, most: int, now: float, cooldown: float) -> None:
        self.key = key
        self.pace = AdaptiveRate(most, now)
        self.failures = 0
        self.down_until = -math.inf
        self.shut_until = -math.inf
        self.shut_by: APIError | None = None
        self.noted: float | None = -math.inf
        if cooldown > LONGEST:
            self.shut_until = now + cooldown
        else:
            self.pace.pause(now + cooldown)


_Group = tuple[ProviderLimit, ...]
_Waiter = asyncio.Future["tuple[ProviderLimit, float] | None"]


class Permit:
    """Leave to ask `candidate` now. It ends with `answered`, `failed` or, whatever came of it,
    `close`; what comes after the first of them does nothing."""

    def __init__(
        self,
        limits: BatchAdmission,
        candidate: Candidate,
        lane: ProviderLimit,
        began: float,
        health: Health,
    ) -> None:
        self.candidate = candidate
        self._limits = limits
        self._lane = lane
        self._began = began
        self._health = health
        self._open = True

    def answered(self) -> None:
        """The answer is complete."""
        lane = self._lane
        lane.pace.answered(self._began)
        if lane.noted is not None and self._began >= lane.noted:
            lane.noted, lane.failures, lane.down_until = None, 0, -math.inf
            self._health.recovered(lane.key)
        self._end()

    def failed(self, error: APIError) -> bool:
        """Whether the failure is a limit that passes soon: then the request may wait for another slot.

        The state file learns of what outlasts the moment, once for all requests that meet it:
        another process gains nothing from a pause of seconds, and to write holds up the loop.
        """
        now, lane = self._limits.now(), self._lane
        cooldown = cooldown_of(error, lane.failures + 1)
        limit = isinstance(error, RateLimitError) or (
            isinstance(error, InternalServerError) and error.retry_after is not None
        )
        if limit and cooldown <= LONGEST:
            wait = error.retry_after if isinstance(error, APIStatusError) else None
            news = lane.pace.rate_limited(self._began, now, wait)
            if news and lane.pace.paused_for(now) >= STEP:
                self._note(error, now)
            self._end()
            return True
        if isinstance(error, APITimeoutError):
            lane.pace.timed_out(self._began, now)
        else:
            lane.pace.ended()
        if cooldown > LONGEST:
            if now >= lane.shut_until:
                self._note(error, now)
            lane.shut_until, lane.shut_by = now + cooldown, copy.copy(error)
            self._limits.look_again(lane)
        elif cooldown and now >= lane.down_until:
            lane.failures += 1
            lane.down_until = now + cooldown
            self._note(error, now)
            self._limits.look_again(lane)
        self._end()
        return False

    def close(self) -> None:
        """Nobody waits for the answer any more."""
        if self._open:
            self._lane.pace.ended()
            self._end()

    def _note(self, error: APIError, now: float) -> None:
        self._lane.noted = now
        self._health.failed(self._lane.key, error)

    def _end(self) -> None:
        self._open = False
        self._limits.dispatch()


class BatchAdmission:
    """What all requests of one run share: at most `most` at once to each provider, in one event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lanes: dict[str, ProviderLimit] = {}
        self._queues: dict[_Group, deque[_Waiter]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """The time of the loop, in seconds."""
        return asyncio.get_running_loop().time()

    async def admit(
        self,
        candidates: Sequence[Candidate],
        health: Health,
        deadline: float | None,
        *,
        ahead: bool,
    ) -> Permit:
        """Wait for leave to ask one of those that are as good as the best of `candidates` (not empty).

        `deadline` is a time of the loop; `ahead`: before all that wait already. Raises
        `APITimeoutError` when it cannot be kept, and the error that shut all of them for long.
        """
        while True:
            best = equally_exact(self._in_order(candidates, health))
            of = {self._lane(one, health): one for one in reversed(best)}
            group = tuple(reversed(of))
            turn = await self._turn(group, deadline, ahead)
            if turn is not None:
                lane, began = turn
                return Permit(self, of[lane], lane, began, health)
            if deadline is not None and self.now() >= deadline:
                raise _too_late(best)

    def _lane(self, candidate: Candidate, health: Health) -> ProviderLimit:
        key = candidate.health_key
        lane = self._lanes.get(key)
        if lane is None:
            # llama.cpp in this process has one slot: a second request would only wait in it.
            most = 1 if candidate.provider.kind == "embedded" else self._most
            lane = self._lanes[key] = ProviderLimit(key, most, self.now(), health.cooldown(key))
        return lane

    def _in_order(self, candidates: Sequence[Candidate], health: Health) -> list[Candidate]:
        """Those that failed of late last, and without those that are shut for long. Raises the error
        that shut them, if they all are."""
        now = self.now()
        found = [(self._lane(one, health), one) for one in candidates]
        left = [(lane, one) for lane, one in found if lane.shut_until <= now]
        if not left:
            for lane, _ in found:
                if lane.shut_by is not None:
                    raise copy.copy(lane.shut_by)
            # It is the file that says so: to ask is the only way to learn why.
            left = found
        ready = [one for lane, one in left if lane.down_until <= now]
        return ready + [one for lane, one in left if lane.down_until > now]

    async def _turn(
        self, group: _Group, deadline: float | None, ahead: bool
    ) -> tuple[ProviderLimit, float] | None:
        """The lane of `group` in which a request begins now, and its time. None: look again."""
        loop = asyncio.get_running_loop()
        queue = self._queues.get(group)
        if queue is None:
            now = loop.time()
            lane, _ = _free(group, now)
            if lane is not None:
                lane.pace.begin(now)
                return lane, now
            queue = self._queues[group] = deque()
        turn: _Waiter = loop.create_future()
        (queue.appendleft if ahead else queue.append)(turn)
        self.dispatch()
        expiry = None if deadline is None else loop.call_at(deadline, _look_again, turn)
        given = None
        try:
            given = await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and (lost := turn.result()) is not None:
                lost[0].pace.ended()
            raise
        finally:
            if expiry is not None:
                expiry.cancel()
            if given is None:
                self._leave(group, turn)
        return given

    def _leave(self, group: _Group, turn: _Waiter) -> None:
        """Wait no longer; others may have had to wait behind this one."""
        queue = self._queues.get(group, deque())
        if turn in queue:
            queue.remove(turn)
        self.dispatch()

    def look_again(self, lane: ProviderLimit) -> None:
        """Let those who wait for `lane` choose anew."""
        for group in [group for group in self._queues if lane in group]:
            for turn in self._queues.pop(group):
                _look_again(turn)

    def dispatch(self) -> None:
        """Give what room there is to those who wait, and come back when time makes more."""
        now = self.now()
        soonest = math.inf
        for group, queue in list(self._queues.items()):
            while queue:
                if queue[0].done():
                    queue.popleft()
                    continue
                lane, wait = _free(group, now)
                if lane is None:
                    soonest = min(soonest, wait)
                    break
                lane.pace.begin(now)
                queue.popleft().set_result((lane, now))
            else:
                del self._queues[group]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if soonest < math.inf:
            self._timer = asyncio.get_running_loop().call_at(now + soonest, self.dispatch)


def _free(group: _Group, now: float) -> tuple[ProviderLimit | None, float]:
    """The first lane that has room; else None, and the seconds until time makes some."""
    soonest = math.inf
    for lane in group:
        wait = lane.pace.delay(now)
        if wait == 0:
            return lane, 0.0
        soonest = min(soonest, math.inf if wait is None else wait)
    return None, soonest


def _look_again(turn: _Waiter) -> None:
    if not turn.done():
        turn.set_result(None)


def _too_late(best: Sequence[Candidate]) -> APITimeoutError:
    names = " and ".join(dict.fromkeys(one.provider.name for one in best))
    return APITimeoutError(
        f"The request was not sent within its time (timeout): {names} had no room for it yet. Raise"
        " timeout, or lower the concurrency.",
        provider=best[0].provider.name,
        model=best[0].serving.model,
    )
