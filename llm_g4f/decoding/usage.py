"""Token counts, in the forms in which providers write them."""

from __future__ import annotations

import math
from typing import Any

from ..json_shape import fields
from ..types import JSON, Usage

_TOTAL = "total_tokens"

_NAMES = {
    # OpenAI's Responses API and Anthropic, passed on by gateways.
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
}


def integer(value: Any) -> int | None:
    """A count: 0 or more, also as a float or as text of digits; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 16:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if 0 <= value < 1 << 53 else None


def usage_of(value: Any) -> Usage | None:
    """The usage in an object; None if it counts neither side, or only one without the sum."""
    if not isinstance(value, dict):
        return None
    given: JSON = {}
    for name, item in value.items():
        known = str(_NAMES.get(name, name))
        # Gateways that write both forms leave one of them at 0.
        if item or (item is not None and known not in given):
            given[known] = item
    prompt, completion = (
        integer(given.get("prompt_tokens")),
        integer(given.get("completion_tokens")),
    )
    total = integer(given.get(_TOTAL))
    if total is not None and prompt is None and completion is not None:
        prompt = max(0, total - completion)
    elif total is not None and completion is None and prompt is not None:
        completion = max(0, total - prompt)
    if prompt is None or completion is None:
        return None
    extra = _numbers(given)
    for name in ("prompt_tokens", "completion_tokens", _TOTAL):
        extra.pop(name, None)
    details = {name: _numbers(item) for name, item in _plain(given) if isinstance(item, dict)}
    of_prompt = details.pop("prompt_tokens_details", None)
    of_completion = details.pop("completion_tokens_details", None)
    extra.update((name, item) for name, item in details.items() if item)
    return Usage(
        prompt,
        completion,
        prompt + completion if total is None else total,
        fields(of_prompt),
        fields(of_completion),
        extra,
    )


def find_usage(data: JSON) -> Any:
    """The usage object of a chunk, wherever it stands: at the top, in Groq's `x_groq`, or in a choice
    (Moonshot); None if there is none."""
    if usage := data.get("usage"):
        return usage
    groq = data.get("x_groq")
    if isinstance(groq, dict) and groq.get("usage"):
        return groq["usage"]
    choices = data.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("usage"):
            return choice["usage"]
    return None


def _plain(value: JSON) -> list[tuple[str, Any]]:
    """The first of an object's items that have names as a field has."""
    items = [item for item in value.items() if len(item[0]) <= 64 and item[0].isidentifier()]
    return items[:50]


def _numbers(value: JSON) -> JSON:
    """The numbers in an object, by name: of what a server may say besides, they are harmless."""
    return {
        name: number
        for name, number in _plain(value)
        if isinstance(number, (int, float)) and -math.inf < number < math.inf
    }
