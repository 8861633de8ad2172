"""Turn a batch row into a chat request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import BadRequestError
from ..request import PARAMETERS, ROUTING_OPTIONS, ChatRequest
from ..safe_text import clean
from ..settings import DEFAULT_MODEL, Settings
from ..types import JSON

TEXTS = frozenset({"provider"}) | {name for name, kind in PARAMETERS.items() if kind == "text"}
"""Keys of a row whose value is text, or may be."""

ROW_PARAMETERS = ROUTING_OPTIONS.keys() | PARAMETERS.keys() - {"stream_options"}
"""The parameters that a row may have. Its answer is never streamed."""

_NOT_FOR_A_ROW = frozenset({"api_key", "base_url", "http_client", "proxies"})
"""Arguments of a client. As a parameter, a key would be sent to every provider of the route."""

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
    model = _pop_typed(params, "model", (str,), "a name") or DEFAULT_MODEL
    routing = {
        name: value
        for name, option in ROUTING_OPTIONS.items()
        if (value := _pop_typed(params, name, *option)) is not None
    }
    return settings.request(messages, model, False, routing, params)


_BATCH_URL = "/v1/chat/completions"


def unwrapped(row: Mapping[str, Any]) -> Mapping[str, Any] | str:
    """A row of OpenAI's batch files, {"custom_id", "method", "url", "body"}, as one of ours, or the
    reason why it is invalid. Any other row stays. Source: OpenAI's guide "Batch API"."""
    body = row.get("body")
    if not isinstance(body, Mapping) or "prompt" in row or "messages" in row:
        return row
    url = row.get("url", _BATCH_URL)
    if url != _BATCH_URL:
        return f"its url is {clean(str(url), 60)}, and only {_BATCH_URL} is supported"
    return {**body, "id": row.get("custom_id", row.get("id"))}


def invalid_row(reason: str) -> BadRequestError:
    """The error for a row that is invalid for every provider."""
    return BadRequestError(f"Invalid row: {reason}.")


def _pop_typed(params: JSON, name: str, types: tuple[type, ...], expected: str) -> Any:
    value = params.pop(name, None)
    if value is None or isinstance(value, bool):
        valid = value is None or bool in types
    else:
        valid = isinstance(value, types) and not (
            isinstance(value, (int, float)) and not 0 < value < float("inf")
        )
    if not valid:
        raise invalid_row(f"{name} must be {expected}")
    return value


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
