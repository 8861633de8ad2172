"""Where providers deviate from OpenAI's chat/completions: one named function for each deviation.

A quirk changes a request's body in place and returns the parameters that it had to leave out:
those the person is told of. What it can translate it translates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache

from ..request import SAMPLING, json_schema_of
from ..types import JSON
from .strict_schema import strict_form

Quirk = Callable[[JSON], tuple[str, ...]]


def _without(body: JSON, *names: str) -> tuple[str, ...]:
    return tuple(name for name in names if body.pop(name, None) is not None)


def max_tokens(body: JSON) -> tuple[str, ...]:
    """The limit is called max_tokens, its older name."""
    if (limit := body.pop("max_completion_tokens", None)) is not None:
        body["max_tokens"] = limit
    return ()


def max_completion_tokens(body: JSON) -> tuple[str, ...]:
    """The limit is called max_completion_tokens: OpenAI's reasoning models refuse the older name."""
    if (limit := body.pop("max_tokens", None)) is not None:
        body.setdefault("max_completion_tokens", limit)
    return ()


def always_max_tokens(body: JSON) -> tuple[str, ...]:
    """Without a limit the answer ends after 256 tokens (Cloudflare)."""
    if body.get("max_tokens") is None:
        body["max_tokens"] = 4_096
    return ()


def system_role(body: JSON) -> tuple[str, ...]:
    """Instructions have the role "system"; "developer" is not known."""
    body["messages"] = [
        message | {"role": "system"} if message.get("role") == "developer" else message
        for message in body["messages"]
    ]
    return ()


def no_store(body: JSON) -> tuple[str, ...]:
    """`store` is refused."""
    return _without(body, "store")


def no_logprobs(body: JSON) -> tuple[str, ...]:
    """No log probabilities."""
    return _without(body, "logprobs", "top_logprobs")


def no_logit_bias(body: JSON) -> tuple[str, ...]:
    """`logit_bias` is refused."""
    return _without(body, "logit_bias")


def no_temperature(body: JSON) -> tuple[str, ...]:
    """`temperature` is refused."""
    return _without(body, "temperature")


def no_reasoning_effort(body: JSON) -> tuple[str, ...]:
    """`reasoning_effort` is refused: the model does not reason."""
    return _without(body, "reasoning_effort")


def no_names(body: JSON) -> tuple[str, ...]:
    """Messages must not have a `name`."""
    named = any("name" in message for message in body["messages"])
    if named:
        body["messages"] = [
            {key: value for key, value in message.items() if key != "name"}
            for message in body["messages"]
        ]
    return ("messages.name",) if named else ()


def one_choice(body: JSON) -> tuple[str, ...]:
    """One answer to a request: `n` is refused, or must be 1."""
    return ("n",) if body.pop("n", 1) != 1 else ()


def no_parallel_tools(body: JSON) -> tuple[str, ...]:
    """Tools only one at a time."""
    if not body.get("tools"):
        return ()
    wanted = body.get("parallel_tool_calls")
    body["parallel_tool_calls"] = False
    return ("parallel_tool_calls",) if wanted else ()


def tool_choice_text(body: JSON) -> tuple[str, ...]:
    """`tool_choice` must be a word: to name one function is to offer that one alone."""
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
    """`stream_options` is refused; usage comes with the last chunk anyway."""
    body.pop("stream_options", None)
    return ()


def random_seed(body: JSON) -> tuple[str, ...]:
    """`seed` is called random_seed (Mistral)."""
    if (seed := body.pop("seed", None)) is not None:
        body["random_seed"] = seed
    return ()


def short_tool_ids(body: JSON) -> tuple[str, ...]:
    """Ids of tool calls are exactly nine letters or digits (Mistral)."""
    return _with_tool_ids(body, _nine)


def forty_tool_ids(body: JSON) -> tuple[str, ...]:
    """Ids of tool calls, which another provider may have given, have 40 characters at most
    (OpenAI)."""
    return _with_tool_ids(body, _forty)


def _with_tool_ids(body: JSON, mend: Callable[[str], str]) -> tuple[str, ...]:
    messages = []
    for message in body["messages"]:
        message = dict(message)
        if (id := message.get("tool_call_id")) is not None:
            message["tool_call_id"] = mend(str(id))
        if message.get("tool_calls"):
            message["tool_calls"] = [
                call | {"id": mend(str(call.get("id")))} for call in message["tool_calls"]
            ]
        messages.append(message)
    body["messages"] = messages
    return ()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _nine(id: str) -> str:
    return id if len(id) == 9 and id.isascii() and id.isalnum() else _digest(id)[:9]


def _forty(id: str) -> str:
    return id if len(id) <= 40 else f"call_{_digest(id)[:32]}"


_MISTRAL = frozenset(
    [
        "model",
        "messages",
        "stream",
        "temperature",
        "top_p",
        "max_tokens",
        "stop",
        "random_seed",
        "response_format",
        "tools",
        "tool_choice",
        "presence_penalty",
        "frequency_penalty",
        "n",
        "prediction",
        "parallel_tool_calls",
    ]
)


def strict_fields(body: JSON) -> tuple[str, ...]:
    """Unknown fields are refused (Mistral)."""
    return _without(body, *(name for name in list(body) if name not in _MISTRAL))


def no_extra_content(body: JSON) -> tuple[str, ...]:
    """Tool calls go without `extra_content`, which is for the provider it came from (Gemini)."""
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
    """Answers are held to a schema token by token (`strict`), if it says only what strict schemas can
    say and the request leaves it open."""
    given = json_schema_of(body)
    if given is not None and "strict" not in given:
        schema = strict_form(given.get("schema"))
        if schema is not None:
            strict = given | {"schema": schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": strict}
    return ()


def stand_in(body: JSON) -> tuple[str, ...]:
    """A reasoning model in gpt-4o's place answers at once, and so takes tools and sampling
    parameters on chat/completions too, unless the person wants it to reason (OpenAI)."""
    max_completion_tokens(body)
    if body.get("reasoning_effort") is None:
        body["reasoning_effort"] = "none"
    if body["reasoning_effort"] == "none":
        return ()
    return _without(body, *SAMPLING)


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
        no_temperature,
        no_reasoning_effort,
        no_names,
        one_choice,
        no_parallel_tools,
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
"""By the names that `quirks:` in g4f.yaml takes. They run in this order."""


def apply(names: tuple[str, ...], body: JSON) -> tuple[str, ...]:
    """Apply the named quirks to `body`, in place; the parameters left out."""
    omitted: tuple[str, ...] = ()
    for quirk in _in_order(names):
        omitted += quirk(body)
    return omitted


@lru_cache(maxsize=256)
def _in_order(names: tuple[str, ...]) -> tuple[Quirk, ...]:
    return tuple(quirk for name, quirk in QUIRKS.items() if name in names)
