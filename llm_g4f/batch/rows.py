"""A row as a chat request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import BadRequestError
from ..request import PARAMETERS, ChatRequest
from ..settings import DEFAULT_MODEL, Settings
from ..types import JSON

ROUTING = frozenset({"provider", "exact", "timeout", "extra_body", "headers"})
"""What a row may say that is for the route and not for the model."""

TEXTS = frozenset({"provider"}) | {name for name, kind in PARAMETERS.items() if kind == "text"}
"""What a row may say that is text, or may be."""

ROW_PARAMETERS = ROUTING | PARAMETERS.keys() - {"stream_options"}
"""The parameters that a row may have: its answer is not streamed."""

_NEVER = frozenset({"api_key", "base_url", "http_client", "proxies"})
"""Arguments of a client: as a parameter, a key would go to whoever is asked."""

_INSTRUCTIONS = ("system", "developer")


def to_request(
    row: Mapping[str, Any], defaults: Mapping[str, Any], settings: Settings
) -> ChatRequest:
    """The request of a row: {"prompt": …} or {"messages": […]}, "system", "model" and parameters.
    `defaults` are for what it does not say. Raises `G4FError`."""
    said = {name: value for name, value in row.items() if value is not None}
    messages = _messages(said, defaults.get("system"))
    asked = {**defaults, **said}
    for name in ("id", "prompt", "messages", "system"):
        asked.pop(name, None)
    # An answer that nobody watches need not come in pieces.
    for name in ("stream", "stream_options"):
        asked.pop(name, None)
    if named := sorted(_NEVER.intersection(said)):
        raise invalid_row(f"{named[0]} is for a whole run, and not for one row")
    if asked.get("n", 1) != 1:
        raise invalid_row("n has to be 1: a row has one answer")
    return settings.request(
        messages,
        model=_typed(asked, "model", str, "a name") or DEFAULT_MODEL,
        provider=_typed(asked, "provider", (str, list, tuple), "a name, or names"),
        stream=False,
        exact=bool(_typed(asked, "exact", bool, "true or false")),
        timeout=_seconds(asked),
        extra_body=_typed(asked, "extra_body", Mapping, "an object"),
        headers=_typed(asked, "headers", Mapping, "an object"),
        params=asked,
    )


def invalid_row(words: str) -> BadRequestError:
    """The error for a row that is itself at fault."""
    return BadRequestError(f"The row cannot be asked: {words}.")


def _typed(asked: JSON, name: str, kind: type | tuple[type, ...], words: str) -> Any:
    value = asked.pop(name, None)
    if value is not None and not isinstance(value, kind):
        raise invalid_row(f"{name} has to be {words}")
    return value


def _seconds(asked: JSON) -> float | None:
    value = _typed(asked, "timeout", (int, float), "a number of seconds")
    if value is not None and not 0 < value < float("inf"):
        raise invalid_row("timeout has to be a number of seconds above 0")
    return value  # type: ignore[no-any-return]


def _messages(row: JSON, system: str | None) -> list[JSON]:
    prompt, messages, own = row.get("prompt"), row.get("messages"), row.get("system")
    if own is not None and not isinstance(own, str):
        raise invalid_row("system has to be text")
    if (prompt is None) == (messages is None):
        both = "both prompt and messages" if prompt is not None else "neither prompt nor messages"
        raise invalid_row(f"it has {both}")
    if prompt is not None:
        if not isinstance(prompt, str) or not prompt.strip():
            raise invalid_row("prompt has to be text, and not blank")
        messages = [{"role": "user", "content": prompt}]
    if not isinstance(messages, list) or not all(isinstance(one, Mapping) for one in messages):
        raise invalid_row("messages has to be a list of objects")
    if not messages:
        raise invalid_row("messages is empty")
    if any(message.get("role") in _INSTRUCTIONS for message in messages):
        if own is not None:
            raise invalid_row("it has system, and messages that have their own")
        return list(messages)
    system = system if own is None else own
    return [*([{"role": "system", "content": system}] if system else []), *messages]
