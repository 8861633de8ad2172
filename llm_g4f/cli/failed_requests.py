"""The requests that failed entirely, for `llm g4f stats`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec import Struct, field

from .log_stats import Failure
from .stored_receipt import FIRST, LAST, MOST


class FailedRequests(Struct):
    """How many requests failed, when (Unix times), and their attempts, most frequent first."""

    count: int = 0
    first: float = 0.0
    last: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON; times are in UTC."""
        return {
            "count": self.count,
            "first_utc": _iso(self.first) if self.count else None,
            "last_utc": _iso(self.last) if self.count else None,
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def __str__(self) -> str:
        requests = "1 request" if self.count == 1 else f"{self.count:,} requests"
        return f"{requests} failed without an answer, the last at {_iso(self.last)[:16]} (UTC)."


def read(since: datetime | None, model: str | None) -> FailedRequests:
    """The failed requests since a time, for `model` or asked of it."""
    from ..routing.failure_log import FailureLog

    begin = max(since or FIRST, FIRST).timestamp()
    found = FailedRequests()
    failures: dict[tuple[Any, ...], Failure] = {}
    for request in FailureLog().read():
        asked = {request.requested_model, *(each.model for each in request.attempts)}
        if not begin <= request.at < LAST.timestamp() or (model is not None and model not in asked):
            continue
        found.count += 1
        found.first = min(found.first or request.at, request.at)
        found.last = max(found.last, request.at)
        for attempt in request.attempts:
            if not 0 <= attempt.seconds <= MOST:
                continue
            key = (attempt.provider, attempt.model, attempt.outcome, attempt.status)
            failure = failures.setdefault(key, Failure(*key))
            failure.count += 1
            failure.seconds += attempt.seconds
    found.failures = sorted(failures.values(), key=lambda each: (-each.count, each.provider))
    return found


def _iso(time: float) -> str:
    return datetime.fromtimestamp(int(time), UTC).isoformat()
