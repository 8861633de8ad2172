"""The content of g4f-health.json: its form as JSON, its limits, and what of it holds for one key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from msgspec import Struct, field

from ..request import Secret

GONE_FOR = 86_400.0
"""Seconds for which a model that its provider no longer has is not asked for by the same key."""

LISTED_FOR = 300.0
"""Seconds for which the models of an endpoint are remembered."""

_YEAR = 366 * 86_400
"""Seconds: a cooldown beyond that is ignored."""

_MAX_ENTRIES = 512
"""Cooldowns, and models that are gone, that are kept: the last to end."""

_MAX_LISTINGS = 16
_MAX_MODELS = 1_000
"""Listings that are kept, and models of each: gateways have some hundreds."""


class Listing(Struct, frozen=True):
    """The ids at an endpoint's /models, None if it has no list, and the Unix time until which that
    holds. `failed` says why it did not answer; the models are those of before."""

    models: tuple[str, ...] | None
    until: float
    failed: str = ""


class State(Struct):
    cooldowns: dict[str, tuple[float, int]] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=dict)
    listings: dict[str, Listing] = field(default_factory=dict)
    salt: str = ""
    facts: str = ""

    def place(self, base_url: str, key: Secret | None) -> str:
        """An endpoint as one key sees it."""
        if key is None:
            return f"{base_url} -"
        secret, salt = (text.encode("utf-8", "replace") for text in (key.reveal(), self.salt))
        return f"{base_url} {hashlib.blake2b(secret, digest_size=8, key=salt[:64]).hexdigest()}"


def _last(entries: dict[str, Any], end: Callable[[Any], float], now: float, most: int) -> Any:
    """The entries that end last. A day after its end, each is history."""
    kept = [(key, value) for key, value in entries.items() if end(value) > now - 86_400]
    kept.sort(key=lambda item: end(item[1]))
    return dict(kept[-most:])


def as_json(state: State, now: float) -> bytes:
    cooldowns = _last(state.cooldowns, lambda entry: float(entry[0]), now, _MAX_ENTRIES)
    listings = _last(state.listings, lambda listing: float(listing.until), now, _MAX_LISTINGS)
    data: dict[str, Any] = {
        "cooldowns": {
            key: {"until": until, "failures": failures}
            for key, (until, failures) in cooldowns.items()
        },
        "gone_models": _last(state.gone, float, now + 86_400, _MAX_ENTRIES),
        "listings": {
            place: {
                "models": None if listing.models is None else listing.models[:_MAX_MODELS],
                "until": listing.until,
                "failed": listing.failed,
            }
            for place, listing in listings.items()
        },
        "salt": state.salt,
    }
    return json.dumps(data, indent=1).encode()


def parse(data: Any, now: float) -> State:
    """The state in the file's JSON. "gone", which older versions wrote for every key and address, is
    dropped."""
    state = State(salt=str(data.get("salt", ""))[:64])
    for key, entry in data.get("cooldowns", {}).items():
        until, failures = float(entry["until"]), int(entry["failures"])
        # A clock that was set back, or a typing error: no cooldown lasts for years.
        if 0 <= until <= now + _YEAR:
            state.cooldowns[str(key)] = (until, min(failures, 1_000))
    for key, end in data.get("gone_models", {}).items():
        if key.count(" ") >= 3 and now < float(end) <= now + GONE_FOR:
            state.gone[key] = float(end)
    for place, entry in data.get("listings", {}).items():
        models, until = entry["models"], float(entry["until"])
        if 0 <= until <= now + LISTED_FOR:
            known = None if models is None else tuple(map(str, models))
            state.listings[place] = Listing(known, until, str(entry.get("failed", ""))[:300])
    listed = {place: listing.models for place, listing in state.listings.items()}
    state.facts = json.dumps([state.gone, listed]) if state.gone or listed else ""
    return state
