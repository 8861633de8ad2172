"""What llm's logs have of an answer: its receipt as it is stored, and what in it is believed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import Meta, Struct, field

JSON = dict[str, Any]

MOST = 1e9
"""The largest time in seconds, price and count of tokens in one answer that is believed, so that no sum
or mean is infinite. A row with anything else was not written by llm, and is ignored."""

FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Between these a request may have been: a chart needs some room before and after."""

_Amount = Annotated[float, Meta(ge=0, le=MOST)]
_Count = Annotated[int, Meta(ge=0, le=int(MOST))]


class Reference(Struct, gc=False):
    """The fields that differ from the referenced object."""

    u: StoredReceipt | None = None


class StoredReceipt(Struct, gc=False):
    """A receipt or an attempt as llm stores it: complete, or as a reference (`$`) to an object in the
    message plus the fields that differ (condense-json's merge)."""

    reference: Reference | str | None = field(default=None, name="$")
    requested_model: str | None = None
    provider: str | JSON | None = None
    model: str | JSON | None = None
    exact: bool | None = None
    successor: bool | None = None
    attempts: list[StoredReceipt] = field(default_factory=list)
    ttft: _Amount | None = None
    seconds: _Amount | None = None
    outcome: str | None = None
    status: int | None = None
    cached: JSON | None = None


class Payload(Struct, gc=False):
    g4f: StoredReceipt | None = None
    model: str | JSON | None = None


class Reasoned(Struct, gc=False):
    reasoning_tokens: _Count = 0


class Details(Struct, gc=False):
    price_usd: _Amount | None = None
    completion_tokens_details: Reasoned | None = None


def moment(text: bytes) -> datetime:
    """The time of a request. Raises ValueError."""
    found = datetime.fromisoformat(text.decode())
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    if not FIRST <= found < LAST:
        raise ValueError
    return found


def is_count(value: Any) -> bool:
    """Whether `value` is a number of tokens that is believed."""
    return isinstance(value, int) and 0 <= value <= MOST
