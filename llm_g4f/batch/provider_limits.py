"""The limits of the providers in one batch run, shared by its requests: an `Admission`.

A request waits for a permit for one of the candidates that are as good as the first. The first in
order is preferred while it has room, so only the load beyond that is shared. A limit that passes
soon is waited out: no worse candidate is asked in its place.
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections import deque
from collections.abc import Sequence

from ..errors import APIError, APIStatusError, APITimeoutError, InternalServerError, RateLimitError
from ..local.runtime import PARALLEL
from ..routing.cooldowns import Cooldowns
from ..routing.policy import COOLDOWN_STEP, LONGEST_COOLDOWN, cooldown_of
from ..routing.route import Candidate, equally_exact
from .adaptive_rate import AdaptiveRate

_NEVER_FITS = (413,)
"""Statuses of a limit that one request alone is beyond: to wait for it is no use (Groq, GitHub)."""


class ProviderLimit:
    """The state of one cooldown key in this run. Times are those of the loop.

    After `cooldown_until` the provider goes first again, after `closed_until` it is asked again at
    all; `closed_by` is the error that closed it. `noted` is the last write to the state file.
    """

    def __init__(self, key: str, concurrency: int, now: float, cooldown: float) -> None:
        self.key = key
        self.rate = AdaptiveRate(concurrency, now)
        self.failures = 0
        self.cooldown_until = -math.inf
        self.closed_until = -math.inf
        self.closed_by: APIError | None = None
        self.noted: float | None = -math.inf
        if cooldown > LONGEST_COOLDOWN:
            self.closed_until = now + cooldown
        else:
            self.rate.pause(now + cooldown)


_Group = tuple[ProviderLimit, ...]
_Waiter = asyncio.Future["tuple[ProviderLimit, float] | None"]


class BatchPermit:
    """A `Permit` under the limit of its provider."""

    def __init__(
        self,
        admission: BatchAdmission,
        candidate: Candidate,
        limit: ProviderLimit,
        began: float,
        cooldowns: Cooldowns,
    ) -> None:
        self.candidate = candidate
        self._admission = admission
        self._limit = limit
        self._began = began
        self._cooldowns = cooldowns
        self._open = True

    def succeeded(self) -> None:
        """The answer is complete: the provider is no longer in cooldown."""
        limit = self._limit
        limit.rate.answered(self._began)
        if limit.noted is not None and self._began >= limit.noted:
            limit.noted, limit.failures, limit.cooldown_until = None, 0, -math.inf
            self._cooldowns.recovered(limit.key)
        self._end()

    def failed(self, error: APIError) -> bool:
        """Whether the failure is a limit that passes soon: the request may wait for another permit.

        The state file gets what lasts, once for all requests that meet it: another process gains
        nothing from a pause of seconds, and writing holds up the loop.
        """
        now, limit = self._admission.now(), self._limit
        cooldown = cooldown_of(error, limit.failures + 1)
        limited = (isinstance(error, RateLimitError) and error.status_code not in _NEVER_FITS) or (
            isinstance(error, InternalServerError) and error.retry_after is not None
        )
        if limited and cooldown <= LONGEST_COOLDOWN:
            wait = error.retry_after if isinstance(error, APIStatusError) else None
            news = limit.rate.rate_limited(self._began, now, wait)
            if news and limit.rate.paused_for(now) >= COOLDOWN_STEP:
                self._note(error, now)
            self._end()
            return True
        if isinstance(error, APITimeoutError):
            limit.rate.timed_out(self._began, now)
        else:
            limit.rate.ended()
        if cooldown > LONGEST_COOLDOWN:
            if now >= limit.closed_until:
                self._note(error, now)
            limit.closed_until, limit.closed_by = now + cooldown, copy.copy(error)
            self._admission.reconsider(limit)
        elif cooldown and now >= limit.cooldown_until:
            limit.failures += 1
            limit.cooldown_until = now + cooldown
            self._note(error, now)
            self._admission.reconsider(limit)
        self._end()
        return False

    def release(self) -> None:
        """The attempt is over. Frees its place unless `succeeded` or `failed` has done so."""
        if self._open:
            self._limit.rate.ended()
            self._end()

    def _note(self, error: APIError, now: float) -> None:
        self._limit.noted = now
        self._cooldowns.failed(self._limit.key, error, self.candidate.longest_cooldown)

    def _end(self) -> None:
        self._open = False
        self._admission.dispatch()


class BatchAdmission:
    """The limits that all requests of one run share: at most `concurrency` at once to each provider,
    in one event loop."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._by_key: dict[str, ProviderLimit] = {}
        self._queues: dict[_Group, deque[_Waiter]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """The time of the loop, in seconds."""
        return asyncio.get_running_loop().time()

    def in_order(self, candidates: Sequence[Candidate], cooldowns: Cooldowns) -> list[Candidate]:  # noqa: ARG002 (the protocol's)
        """The candidates as they are: each permit chooses anew."""
        return list(candidates)

    async def acquire(
        self,
        candidates: Sequence[Candidate],
        cooldowns: Cooldowns,
        deadline: float | None,
        *,
        requeued: bool,
    ) -> BatchPermit:
        """Wait for a permit for one of the candidates as good as the best of `candidates`.

        Raises `APITimeoutError` when the deadline cannot be kept, and the error that closed all
        candidates for long.
        """
        while True:
            best = equally_exact(self._usable(candidates, cooldowns))
            by_limit = {
                self._limit(candidate, cooldowns): candidate for candidate in reversed(best)
            }
            group = tuple(reversed(by_limit))
            given = await self._wait(group, deadline, requeued)
            if given is not None:
                limit, began = given
                return BatchPermit(self, by_limit[limit], limit, began, cooldowns)
            if deadline is not None and self.now() >= deadline:
                raise _too_late(best)

    def _limit(self, candidate: Candidate, cooldowns: Cooldowns) -> ProviderLimit:
        key = candidate.cooldown_key
        limit = self._by_key.get(key)
        if limit is None:
            # Its process answers two requests at a time: a third one would only wait there.
            most = PARALLEL if candidate.provider.kind == "embedded" else self._concurrency
            concurrency = min(most, self._concurrency)
            limit = self._by_key[key] = ProviderLimit(
                key, concurrency, self.now(), cooldowns.cooldown(key)
            )
        return limit

    def _usable(self, candidates: Sequence[Candidate], cooldowns: Cooldowns) -> list[Candidate]:
        """The candidates that are not closed, those in cooldown last. Raises the error that closed
        them, if they all are."""
        now = self.now()
        limited = [(self._limit(candidate, cooldowns), candidate) for candidate in candidates]
        usable = [pair for pair in limited if pair[0].closed_until <= now]
        if not usable:
            for limit, _ in limited:
                if limit.closed_by is not None:
                    raise copy.copy(limit.closed_by)
            # Closed by the state file: asking is the only way to learn why.
            usable = limited
        ready = [candidate for limit, candidate in usable if limit.cooldown_until <= now]
        return ready + [candidate for limit, candidate in usable if limit.cooldown_until > now]

    async def _wait(
        self, group: _Group, deadline: float | None, requeued: bool
    ) -> tuple[ProviderLimit, float] | None:
        """The limit of `group` under which a request begins now, and its time. None: choose anew."""
        loop = asyncio.get_running_loop()
        queue = self._queues.get(group)
        if queue is None:
            now = loop.time()
            limit, _ = _free(group, now)
            if limit is not None:
                limit.rate.begin(now)
                return limit, now
            queue = self._queues[group] = deque()
        waiter: _Waiter = loop.create_future()
        (queue.appendleft if requeued else queue.append)(waiter)
        self.dispatch()
        expiry = None if deadline is None else loop.call_at(deadline, _reconsider, waiter)
        given = None
        try:
            given = await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and (lost := waiter.result()) is not None:
                lost[0].rate.ended()
            raise
        finally:
            if expiry is not None:
                expiry.cancel()
            if given is None:
                self._leave(group, waiter)
        return given

    def _leave(self, group: _Group, waiter: _Waiter) -> None:
        """Leave the queue; others may wait behind this one."""
        queue = self._queues.get(group, deque())
        if waiter in queue:
            queue.remove(waiter)
        self.dispatch()

    def reconsider(self, limit: ProviderLimit) -> None:
        """Let the requests that wait for `limit` choose anew."""
        for group in [group for group in self._queues if limit in group]:
            for waiter in self._queues.pop(group):
                _reconsider(waiter)

    def dispatch(self) -> None:
        """Give the room there is to the waiting requests, and come back when time makes more."""
        now = self.now()
        soonest = math.inf
        for group, queue in list(self._queues.items()):
            while queue:
                if queue[0].done():
                    queue.popleft()
                    continue
                limit, wait = _free(group, now)
                if limit is None:
                    soonest = min(soonest, wait)
                    break
                limit.rate.begin(now)
                queue.popleft().set_result((limit, now))
            else:
                del self._queues[group]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if soonest < math.inf:
            self._timer = asyncio.get_running_loop().call_at(now + soonest, self.dispatch)


def _free(group: _Group, now: float) -> tuple[ProviderLimit | None, float]:
    """The first limit with room; else None, and the seconds until time makes some."""
    soonest = math.inf
    for limit in group:
        wait = limit.rate.delay(now)
        if wait == 0:
            return limit, 0.0
        soonest = min(soonest, math.inf if wait is None else wait)
    return None, soonest


def _reconsider(waiter: _Waiter) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _too_late(best: Sequence[Candidate]) -> APITimeoutError:
    names = " and ".join(dict.fromkeys(candidate.provider.name for candidate in best))
    return APITimeoutError(
        f"The request was not sent within its time (timeout): {names} had no room for it yet. Raise"
        " timeout, or lower the concurrency.",
        provider=best[0].provider.name,
        model=best[0].served.model,
    )
