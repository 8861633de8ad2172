"""Decides when a request may be sent, and to which candidate.

Two ways to decide: by cooldowns alone (`CooldownOrder`, for single requests), or by the limits
that the requests of a batch share (`batch.provider_limits`). The fallback asks for a permit
before each attempt, and tells it how the attempt ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..errors import APIError
from .cooldowns import Cooldowns
from .policy import LONGEST_COOLDOWN
from .route import Candidate


class Permit(Protocol):
    """A permit to send one request to `candidate`. It ends with `succeeded`, `failed` or, however
    the attempt ends, `release`; after the first of them the others do nothing."""

    @property
    def candidate(self) -> Candidate: ...

    def succeeded(self) -> None:
        """The answer is complete."""
        ...

    def failed(self, error: APIError) -> bool:
        """Whether the failure is a limit that passes soon: the request may wait for another permit."""
        ...

    def release(self) -> None:
        """The attempt is over, with or without success."""
        ...


class Admission(Protocol):
    """Decides about the order of candidates and the time to ask them."""

    def in_order(self, candidates: Sequence[Candidate], cooldowns: Cooldowns) -> list[Candidate]:
        """The candidates in the order in which they are to be tried."""
        ...

    async def acquire(
        self,
        candidates: Sequence[Candidate],
        cooldowns: Cooldowns,
        deadline: float | None,
        *,
        requeued: bool,
    ) -> Permit:
        """Wait for a permit for one of `candidates` (not empty). `deadline` is a time of the loop;
        `requeued`: a limit sent the request back, so it goes before the others. Raises `APIError`."""
        ...


class CooldownPermit:
    """A permit without limits, which notes in the state file how the attempt ended."""

    __slots__ = ("_cooldowns", "candidate")

    def __init__(self, candidate: Candidate, cooldowns: Cooldowns) -> None:
        self.candidate = candidate
        self._cooldowns = cooldowns

    def succeeded(self) -> None:
        self._cooldowns.recovered(self.candidate.cooldown_key)

    def failed(self, error: APIError) -> bool:
        candidate = self.candidate
        self._cooldowns.failed(candidate.cooldown_key, error, candidate.longest_cooldown)
        return False

    def release(self) -> None:
        pass


class CooldownOrder:
    """Candidates in cooldown go last, and those with a long cooldown not at all, unless no other is
    left. Every candidate may be asked at once."""

    def in_order(self, candidates: Sequence[Candidate], cooldowns: Cooldowns) -> list[Candidate]:
        if len(candidates) <= 1:
            return list(candidates)
        waits = [(cooldowns.cooldown(each.cooldown_key), each) for each in candidates]
        ready = [candidate for wait, candidate in waits if not wait]
        soon = [candidate for wait, candidate in waits if 0 < wait <= LONGEST_COOLDOWN]
        return ready + soon or list(candidates)

    async def acquire(
        self,
        candidates: Sequence[Candidate],
        cooldowns: Cooldowns,
        deadline: float | None,  # noqa: ARG002 (the protocol's)
        *,
        requeued: bool,  # noqa: ARG002
    ) -> Permit:
        return CooldownPermit(candidates[0], cooldowns)
