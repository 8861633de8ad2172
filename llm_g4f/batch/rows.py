"""Turn a batch row into a chat request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import BadRequestError
from ..request import PARAMETERS, ChatRequest
from ..settings import DEFAULT_MODEL, Settings
from ..types import JSON

ROUTING = frozenset({"provider", "exact", "timeout", "extra_body", "headers"})
"""Keys of a row that are for the route and not for the model."""

TEXTS = frozenset({"provider"}) | {name for name, kind in PARAMETERS.items() if kind == "text"}
"""Keys of a row whose value is text, or may be."""

ROW_PARAMETERS = ROUTING | PARAMETERS.keys() - {"stream_options"}
"""The parameters that a row may have. Its answer is never streamed."""

_NOT_FOR_A_ROW = frozenset({"api_key", "base_url", "http_client", "proxies"})
"""Arguments of a client. As a parameter, a key would be sent to whichever provider answers."""

_SYSTEM_ROLES = ("system", "developer")


def row_to_request(
    row: Mapping[str, Any], defaults: Mapping[str, Any], settings: Settings
) -> ChatRequest:
    """The chat request of a row: {"prompt": …} or {"messages": […]}, with "system", "model" and any
    of `ROW_PARAMETERS`. `defaults` apply where the row has no value. Raises `G4FError`."""
    given = {name: value for name, value in row.items() if value is not None}
    messages = _messages(given, defaults.get("system"))
    params = {**defaults, **given}
    for name in ("id", "prompt", "messages", "system", "stream", "stream_options"):
        params.pop(name, None)
    if client_arguments := sorted(_NOT_FOR_A_ROW.intersection(given)):
        raise invalid_row(f"{client_arguments[0]} can only be set for the whole run")
    if params.get("n", 1) != 1:
        raise invalid_row("n must be 1: a row has one answer")
    return settings.request(
        messages,
        model=_pop_typed(params, "model", str, "a name") or DEFAULT_MODEL,
        provider=_pop_typed(params, "provider", (str, list, tuple), "a name or a list of names"),
        stream=False,
        exact=bool(_pop_typed(params, "exact", bool, "true or false")),
        timeout=_pop_timeout(params),
        extra_body=_pop_typed(params, "extra_body", Mapping, "an object"),
        headers=_pop_typed(params, "headers", Mapping, "an object"),
        params=params,
    )


def invalid_row(reason: str) -> BadRequestError:
    """The error for a row that is invalid itself, for whichever provider."""
    return BadRequestError(f"Invalid row: {reason}.")


def _pop_typed(params: JSON, name: str, kind: type | tuple[type, ...], expected: str) -> Any:
    value = params.pop(name, None)
    if value is not None and not isinstance(value, kind):
        raise invalid_row(f"{name} must be {expected}")
    return value


def _pop_timeout(params: JSON) -> float | None:
    value = _pop_typed(params, "timeout", (int, float), "a number of seconds")
    if value is not None and not 0 < value < float("inf"):
        raise invalid_row("timeout must be a number of seconds above 0")
    return value  # type: ignore[no-any-return]


def _messages(row: JSON, default_system: str | None) -> list[JSON]:
    prompt, messages, system = row.get("prompt"), row.get("messages"), row.get("system")
    if system is not None and not isinstance(system, str):
        raise invalid_row("system must be text")
    if (prompt is None) == (messages is None):
        count = "both prompt and messages" if prompt is not None else "neither prompt nor messages"
        raise invalid_row(f"it has {count}")
    if prompt is not None:
        if not isinstance(prompt, str) or not prompt.strip():
            raise invalid_row("prompt must be text, and not blank")
        messages = [{"role": "user", "content": prompt}]
    if not isinstance(messages, list) or not all(
        isinstance(message, Mapping) for message in messages
    ):
        raise invalid_row("messages must be a list of objects")
    if not messages:
        raise invalid_row("messages is empty")
    if any(message.get("role") in _SYSTEM_ROLES for message in messages):
        if system is not None:
            raise invalid_row("it has system, and a system message in messages")
        return list(messages)
    system = default_system if system is None else system
    return [*([{"role": "system", "content": system}] if system else []), *messages]
