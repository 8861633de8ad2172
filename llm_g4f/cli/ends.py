"""Cooldowns and gone models as the commands show them: each with its end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..providers.base import Provider
    from ..routing.registry import Registry
    from ..routing.route import Candidate


def until(end: float) -> str:
    """A Unix time as words: a minute in UTC, rounded up."""
    return datetime.fromtimestamp(-(-end // 60) * 60, UTC).strftime("%Y-%m-%d %H:%M UTC")


def iso(end: float) -> str:
    """A Unix time in ISO 8601, in UTC."""
    return datetime.fromtimestamp(round(end), UTC).isoformat()


def minute(end: str) -> str:
    """What `iso` has made of a Unix time, as `until` writes it."""
    return until(datetime.fromisoformat(end).timestamp())


def gone_until(provider: Provider, model: str, registry: Registry) -> float:
    """The Unix time until which `provider` does not have `model` for the key in use; 0 if it may."""
    from ..providers.endpoint import Endpoint

    if not isinstance(provider, Endpoint):
        return 0.0
    return registry.cooldowns.gone_until(provider.name, provider.base_url, provider.key, model)


def remarks(candidate: Candidate, model: str, registry: Registry) -> list[str]:
    """What to say of a candidate for `model` besides its name: its cooldown, and that it stands in for
    what is gone."""
    said = []
    gone = gone_until(candidate.provider, model, registry)
    if gone and candidate.served.successor:
        said.append(f"{model} is gone there for this key until {until(gone)}")
    left = registry.cooldowns.cooldown(candidate.cooldown_key)
    if left:
        said.append(f"in cooldown for {left:.0f} s, until {until(registry.cooldowns.now() + left)}")
    if said:
        said.append(f'"llm g4f reset {candidate.provider.name}" forgets that')
    return said


def as_json(candidate: Candidate, model: str, registry: Registry) -> dict[str, Any]:
    """The same as fields of a candidate in JSON; empty if there is nothing to say."""
    data: dict[str, Any] = {}
    gone = gone_until(candidate.provider, model, registry)
    if gone and candidate.served.successor:
        data["gone_until"] = iso(gone)
    if left := registry.cooldowns.cooldown(candidate.cooldown_key):
        data["cooldown_until"] = iso(registry.cooldowns.now() + left)
    return data
