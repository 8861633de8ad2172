"""Deviations of providers from OpenAI's chat completions: one named function for each.

A quirk changes the body of a request in place. It translates what it can, and returns the names of
the parameters that it removed, for the receipt and the notice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache

from ..request import SAMPLING, json_schema_of
from ..types import JSON
from .strict_schema import strict_form

Quirk = Callable[[JSON], tuple[str, ...]]


def _remove(body: JSON, *names: str) -> tuple[str, ...]:
    """Remove parameters. Returns those that had a value."""
    return tuple(name for name in names if body.pop(name, None) is not None)


def max_tokens(body: JSON) -> tuple[str, ...]:
    """Send the limit as `max_tokens`, its older name."""
    if (limit := body.pop("max_completion_tokens", None)) is not None:
        body["max_tokens"] = limit
    return ()


def max_completion_tokens(body: JSON) -> tuple[str, ...]:
    """Send the limit as `max_completion_tokens`, since OpenAI's reasoning models reject `max_tokens`."""
    if (limit := body.pop("max_tokens", None)) is not None:
        body.setdefault("max_completion_tokens", limit)
    return ()


def always_max_tokens(body: JSON) -> tuple[str, ...]:
    """Always send `max_tokens`, since an answer ends after 256 tokens otherwise (Cloudflare)."""
    if body.get("max_tokens") is None:
        body["max_tokens"] = 4_096
    return ()


def system_role(body: JSON) -> tuple[str, ...]:
    """Send the role `developer` as `system`."""
    body["messages"] = [
        message | {"role": "system"} if message.get("role") == "developer" else message
        for message in body["messages"]
    ]
    return ()


def no_store(body: JSON) -> tuple[str, ...]:
    """Remove `store`."""
    return _remove(body, "store")


def no_logprobs(body: JSON) -> tuple[str, ...]:
    """Remove `logprobs` and `top_logprobs`."""
    return _remove(body, "logprobs", "top_logprobs")


def no_user(body: JSON) -> tuple[str, ...]:
    """Remove `user`."""
    return _remove(body, "user")


def no_tool_choice(body: JSON) -> tuple[str, ...]:
    """Remove `tool_choice`: the model decides. With `none`, remove the tools as well."""
    choice = body.pop("tool_choice", None)
    if choice == "none":
        body.pop("tools", None)
    return () if choice in (None, "none", "auto") else ("tool_choice",)


def no_logit_bias(body: JSON) -> tuple[str, ...]:
    """Remove `logit_bias`."""
    return _remove(body, "logit_bias")


def no_temperature(body: JSON) -> tuple[str, ...]:
    """Remove `temperature`."""
    return _remove(body, "temperature")


def no_reasoning_effort(body: JSON) -> tuple[str, ...]:
    """Remove `reasoning_effort`: the model does not reason."""
    return _remove(body, "reasoning_effort")


def no_names(body: JSON) -> tuple[str, ...]:
    """Remove `name` from messages."""
    named = any("name" in message for message in body["messages"])
    if named:
        body["messages"] = [
            {key: value for key, value in message.items() if key != "name"}
            for message in body["messages"]
        ]
    return ("messages.name",) if named else ()


def one_choice(body: JSON) -> tuple[str, ...]:
    """Remove `n`: one answer per request."""
    return ("n",) if body.pop("n", 1) != 1 else ()


def no_parallel_tools(body: JSON) -> tuple[str, ...]:
    """Send `parallel_tool_calls: false` with tools: one call at a time."""
    if not body.get("tools"):
        return ()
    requested = body.get("parallel_tool_calls")
    body["parallel_tool_calls"] = False
    return ("parallel_tool_calls",) if requested else ()


def tool_choice_text(body: JSON) -> tuple[str, ...]:
    """Send `tool_choice` as text: for one function, send that tool alone, as `required`."""
    choice = body.get("tool_choice")
    if not isinstance(choice, dict):
        return ()
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    body["tools"] = [
        tool for tool in body.get("tools", ()) if tool.get("function", {}).get("name") == name
    ]
    body["tool_choice"] = "required"
    return ()


def no_stream_options(body: JSON) -> tuple[str, ...]:
    """Remove `stream_options`: the last chunk has the usage without it."""
    body.pop("stream_options", None)
    return ()


def random_seed(body: JSON) -> tuple[str, ...]:
    """Send `seed` as `random_seed` (Mistral)."""
    if (seed := body.pop("seed", None)) is not None:
        body["random_seed"] = seed
    return ()


def short_tool_ids(body: JSON) -> tuple[str, ...]:
    """Send ids of tool calls as exactly nine letters or digits (Mistral)."""
    return _map_tool_ids(body, _nine_characters)


def forty_tool_ids(body: JSON) -> tuple[str, ...]:
    """Shorten ids of tool calls to 40 characters; another provider may have given longer ones
    (OpenAI)."""
    return _map_tool_ids(body, _at_most_40_characters)


def _map_tool_ids(body: JSON, shorten: Callable[[str], str]) -> tuple[str, ...]:
    messages = []
    for message in body["messages"]:
        message = dict(message)
        if (id := message.get("tool_call_id")) is not None:
            message["tool_call_id"] = shorten(str(id))
        if message.get("tool_calls"):
            message["tool_calls"] = [
                call | {"id": shorten(str(call.get("id")))} for call in message["tool_calls"]
            ]
        messages.append(message)
    body["messages"] = messages
    return ()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _nine_characters(id: str) -> str:
    return id if len(id) == 9 and id.isascii() and id.isalnum() else _digest(id)[:9]


def _at_most_40_characters(id: str) -> str:
    return id if len(id) <= 40 else f"call_{_digest(id)[:32]}"


_MISTRAL_FIELDS = frozenset(
    {
        *("model", "messages", "stream", "temperature", "top_p", "max_tokens", "stop"),
        *("random_seed", "response_format", "tools", "tool_choice", "presence_penalty"),
        *("frequency_penalty", "n", "prediction", "parallel_tool_calls"),
    }
)
"""Source: Mistral's API reference, "Chat Completion". It rejects a request with any other field."""


def strict_fields(body: JSON) -> tuple[str, ...]:
    """Remove all fields that Mistral does not know."""
    return _remove(body, *(name for name in list(body) if name not in _MISTRAL_FIELDS))


def no_extra_content(body: JSON) -> tuple[str, ...]:
    """Remove `extra_content` from tool calls: it is for the provider that sent it (Gemini)."""
    body["messages"] = [
        message
        | {
            "tool_calls": [
                {name: value for name, value in call.items() if name != "extra_content"}
                for call in message["tool_calls"]
            ]
        }
        if message.get("tool_calls")
        else message
        for message in body["messages"]
    ]
    return ()


def strict_schema(body: JSON) -> tuple[str, ...]:
    """Send a schema as `strict`, which constrains the answer token by token, if it has a strict form
    and the request does not set `strict`."""
    json_schema = json_schema_of(body)
    if json_schema is not None and "strict" not in json_schema:
        schema = strict_form(json_schema.get("schema"))
        if schema is not None:
            strict = json_schema | {"schema": schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": strict}
    return ()


def stand_in(body: JSON) -> tuple[str, ...]:
    """Send `reasoning_effort: none` to a reasoning model in gpt-4o's place, unless the request sets it.
    With any other effort it rejects sampling parameters, which are removed then (OpenAI)."""
    max_completion_tokens(body)
    if body.get("reasoning_effort") is None:
        body["reasoning_effort"] = "none"
    if body["reasoning_effort"] == "none":
        return ()
    return _remove(body, *SAMPLING)


QUIRKS: Mapping[str, Quirk] = {
    quirk.__name__: quirk
    for quirk in (
        max_tokens,
        max_completion_tokens,
        always_max_tokens,
        system_role,
        no_store,
        no_logprobs,
        no_logit_bias,
        no_user,
        no_temperature,
        no_reasoning_effort,
        no_names,
        one_choice,
        no_parallel_tools,
        no_tool_choice,
        tool_choice_text,
        no_stream_options,
        random_seed,
        short_tool_ids,
        forty_tool_ids,
        strict_fields,
        no_extra_content,
        strict_schema,
        stand_in,
    )
}
"""By their names in `quirks:` of g4f.yaml. They are applied in this order."""


def apply(names: tuple[str, ...], body: JSON) -> tuple[str, ...]:
    """Apply the named quirks to `body`, in place. Returns the parameters that were removed."""
    omitted: tuple[str, ...] = ()
    for quirk in _in_order(names):
        omitted += quirk(body)
    return omitted


CONTRARY = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""Quirks that undo each other. The one that is named last counts: a server may ask for what its row
does not say."""


@lru_cache(maxsize=256)
def _in_order(names: tuple[str, ...]) -> tuple[Quirk, ...]:
    last = {name: place for place, name in enumerate(names)}
    return tuple(
        quirk
        for name, quirk in QUIRKS.items()
        if name in last and last[name] > last.get(CONTRARY.get(name, ""), -1)
    )
