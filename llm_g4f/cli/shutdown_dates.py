"""The days on which OpenAI ends models, as its /models says, against the catalogue's."""

from __future__ import annotations

import datetime as dt
from typing import Any

SECONDS = 10.0
"""Time limit for the list."""


async def differences(name: str, registry: Any) -> list[str]:
    """What the catalogue says otherwise of the models of provider `name`, a sentence for each; empty
    for a provider without dates, or one that does not list its models."""
    from ..errors import APIError
    from ..event_loops import within
    from ..providers.catalogue import CHECKED, PROVIDERS
    from ..providers.endpoint import Endpoint
    from ..providers.model_ids import listed, names_of

    spec = PROVIDERS.get(name)
    if spec is None or not spec.successors:
        return []
    endpoint = registry.provider(name, "gpt-4o", named=True)
    if not isinstance(endpoint, Endpoint):
        return []
    try:
        found = await within(SECONDS, endpoint.listing())
    except (APIError, TimeoutError):
        return []
    said = []
    for id, model in found:
        # Another server in its place may not know of dates.
        if names_of(id)[-1] not in spec.models or "shutdown_date" not in model:
            continue
        theirs, ours = _day(model["shutdown_date"]), listed(spec.retires, id)
        if ours != theirs:
            said.append(
                f"{name} says that {id} ends {_on(theirs)}; the catalogue (of {CHECKED}) has it end"
                f" {_on(ours)}. Update llm-g4f, or name {id} under models: of {name} in g4f.yaml."
            )
    return said


def _on(day: dt.date | None) -> str:
    return f"on {day}" if day else "on no known day"


def _day(value: Any) -> dt.date | None:
    """The day in a shutdown_date, which is in ISO 8601 or null. Source: openai 3.54, types/model.py."""
    try:
        return dt.date.fromisoformat(str(value)[:10]) if value else None
    except ValueError:
        return None
