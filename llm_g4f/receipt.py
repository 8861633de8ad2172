"""Who answered, and every attempt before that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from .types import JSON


class Attempt(Struct, frozen=True):
    """One request to one provider. `outcome` is "ok" or the error's class name; times are seconds."""

    provider: str
    model: str
    outcome: str
    status: int | None = None
    message: str | None = None
    seconds: float = 0.0
    retry_after: float | None = None

    def to_dict(self) -> JSON:
        return {name: getattr(self, name) for name in self.__struct_fields__}

    def __str__(self) -> str:
        outcome = self.outcome + (f" ({self.message})" if self.message else "")
        return f"{self.provider} {self.model}: {outcome}, {self.seconds:.1f} s"


class Receipt(Struct):
    """Who answered, and how it came to that.

    `exact` is False for a substitute and for a successor. `ttft` is the time to the first
    token and `seconds` the whole time, in seconds; `seconds` is None until the answer has
    ended. `successor`: a substitute that the model's own maker put in its place. `omitted` names the parameters that the provider does not take and was not sent.
    """

    requested_model: str
    provider: str | None = None
    model: str | None = None
    exact: bool = False
    attempts: tuple[Attempt, ...] = ()
    omitted: tuple[str, ...] = ()
    ttft: float | None = None
    seconds: float | None = None
    successor: bool = False

    def to_dict(self) -> JSON:
        return {
            "requested_model": self.requested_model,
            "provider": self.provider,
            "model": self.model,
            "exact": self.exact,
            "attempts": [attempt.to_dict() for attempt in self.attempts],
            "omitted": list(self.omitted),
            "successor": self.successor,
            "ttft": self.ttft,
            "seconds": self.seconds,
        }
