"""Each deviation, by the bytes that arrive at the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import llm
import pytest

from llm_g4f import AsyncClient, Client
from llm_g4f.errors import ConfigError
from llm_g4f.providers.quirks import QUIRKS, apply
from tests.support.server import Server, chunk, events, stream, whole

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("add", "sub")
]
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "call_abcdef123", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "call_abcdef123", "content": "3"}
USER = {"role": "user", "content": "hi"}
LOOSE = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
STRICT = {**LOOSE, "additionalProperties": False}


def form(schema: dict[str, Any]) -> dict[str, Any]:
    asked: dict[str, Any] = {"name": "x", "schema": schema}
    if schema is STRICT:
        asked["strict"] = True
    return {"type": "json_schema", "json_schema": asked}


def sent(
    write_config: Callable[[str], object], quirk: str, messages: Any = "hi", **params: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body that arrives under `quirk`, and what the receipt says was left out."""
    with Server(stream("ok") if params.get("stream") else whole("ok")) as server:
        write_config(
            f"providers: {{box: {{base_url: '{server.url}', quirks: [{quirk}],"
            " supports_schema: true}}"
        )

        async def ask() -> Any:
            create = AsyncClient().chat.completions.create
            if params.get("stream"):
                return [chunk async for chunk in create(messages, **params)][-1]
            return await create(messages, **params)

        answer = asyncio.run(ask())
        body: dict[str, Any] = server.requests[0].json
    return body, answer.receipt.omitted


CASES: list[tuple[str, dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    ("max_tokens", {"max_completion_tokens": 5}, {"max_tokens": 5}, ()),
    ("max_completion_tokens", {"max_tokens": 5}, {"max_completion_tokens": 5}, ()),
    ("always_max_tokens", {}, {"max_tokens": 4096}, ()),
    ("always_max_tokens", {"max_tokens": 7}, {"max_tokens": 7}, ()),
    ("no_store", {"store": True}, {}, ("store",)),
    ("no_logprobs", {"logprobs": True, "top_logprobs": 2}, {}, ("logprobs", "top_logprobs")),
    ("no_logit_bias", {"logit_bias": {"1": 2}}, {}, ("logit_bias",)),
    ("no_user", {"user": "ann"}, {}, ("user",)),
    ("no_tool_choice", {"tools": TOOLS, "tool_choice": "auto"}, {"tools": TOOLS}, ()),
    ("no_tool_choice", {"tools": TOOLS, "tool_choice": "none"}, {}, ()),
    (
        "no_tool_choice",
        {"tools": TOOLS, "tool_choice": "required"},
        {"tools": TOOLS},
        ("tool_choice",),
    ),
    ("no_temperature", {"temperature": 0.5}, {}, ("temperature",)),
    ("no_reasoning_effort", {"reasoning_effort": "low"}, {}, ("reasoning_effort",)),
    ("one_choice", {"n": 2}, {}, ("n",)),
    ("one_choice", {"n": 1}, {}, ()),
    ("random_seed", {"seed": 3}, {"random_seed": 3}, ()),
    ("strict_fields", {"store": True, "top_p": 0.5}, {"top_p": 0.5}, ("store",)),
    ("no_parallel_tools", {"tools": TOOLS}, {"tools": TOOLS, "parallel_tool_calls": False}, ()),
    (
        "no_parallel_tools",
        {"tools": TOOLS, "parallel_tool_calls": True},
        {"tools": TOOLS, "parallel_tool_calls": False},
        ("parallel_tool_calls",),
    ),
    (
        "tool_choice_text",
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "sub"}}},
        {"tools": TOOLS[1:], "tool_choice": "required"},
        (),
    ),
    ("strict_schema", {"response_format": form(LOOSE)}, {"response_format": form(STRICT)}, ()),
    *(
        ("strict_schema", {"response_format": left}, {"response_format": left}, ())
        for left in (
            form(LOOSE) | {"json_schema": {"name": "x", "schema": LOOSE, "strict": False}},
            form({**LOOSE, "required": []}),
            {"type": "json_object"},
        )
    ),
    (
        "stand_in",
        {"temperature": 0.5, "max_tokens": 9},
        {"temperature": 0.5, "max_completion_tokens": 9, "reasoning_effort": "none"},
        (),
    ),
    (
        "stand_in",
        {"temperature": 0.5, "reasoning_effort": "low"},
        {"reasoning_effort": "low"},
        ("temperature",),
    ),
]


@pytest.mark.parametrize(("quirk", "params", "arrives", "omitted"), CASES)
def test_quirks_of_parameters(
    write_config: Callable[[str], object],
    quirk: str,
    params: dict[str, Any],
    arrives: dict[str, Any],
    omitted: tuple[str, ...],
) -> None:
    body, left_out = sent(write_config, quirk, **params)
    assert body == {"model": "gpt-4o", "messages": [USER], "stream": False, **arrives}
    assert left_out == omitted


def test_system_role(write_config: Callable[[str], object]) -> None:
    messages = [{"role": "developer", "content": "be brief"}, USER]
    body, _ = sent(write_config, "system_role", messages)
    assert body["messages"] == [{"role": "system", "content": "be brief"}, USER]
    assert messages[0]["role"] == "developer"


def test_no_names(write_config: Callable[[str], object]) -> None:
    body, left_out = sent(write_config, "no_names", [USER | {"name": "ann"}])
    assert body["messages"] == [USER]
    assert left_out == ("messages.name",)


def test_no_stream_options(write_config: Callable[[str], object]) -> None:
    body, left_out = sent(write_config, "no_stream_options", stream=True)
    assert body == {"model": "gpt-4o", "messages": [USER], "stream": True}
    assert left_out == ()


def test_short_tool_ids(write_config: Callable[[str], object]) -> None:
    body, _ = sent(write_config, "short_tool_ids", [USER, CALL, RESULT], tools=TOOLS)
    id = body["messages"][1]["tool_calls"][0]["id"]
    assert len(id) == 9
    assert id.isalnum()
    assert body["messages"][2]["tool_call_id"] == id


def test_a_valid_short_tool_id_is_kept(write_config: Callable[[str], object]) -> None:
    result = RESULT | {"tool_call_id": "abcdef123"}
    body, _ = sent(write_config, "short_tool_ids", [USER, result])
    assert body["messages"][1]["tool_call_id"] == "abcdef123"


def test_long_tool_ids_are_shortened_consistently(write_config: Callable[[str], object]) -> None:
    long = json.dumps([CALL, RESULT]).replace("call_abcdef123", "x" * 41)
    made, answered = json.loads(long)
    body, _ = sent(write_config, "forty_tool_ids", [USER, made, answered], tools=TOOLS)
    id = body["messages"][1]["tool_calls"][0]["id"]
    assert len(id) <= 40
    assert body["messages"][2]["tool_call_id"] == id


def test_a_tool_id_of_forty_characters_is_kept(write_config: Callable[[str], object]) -> None:
    result = RESULT | {"tool_call_id": "x" * 40}
    body, _ = sent(write_config, "forty_tool_ids", [USER, result])
    assert body["messages"][1]["tool_call_id"] == "x" * 40


SIGNED = {"google": {"thought_signature": "c2ln"}}


@pytest.mark.parametrize(
    ("provider", "arrives"), [("gemini", True), ("groq", False), ("box", False)]
)
def test_thought_signatures_are_sent_only_to_gemini(
    write_config: Callable[[str], object],
    monkeypatch: pytest.MonkeyPatch,
    provider: str,
    arrives: bool,
) -> None:
    monkeypatch.setenv("KEY", "sk-test")
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "add", "arguments": "{}"},
        "extra_content": SIGNED,
    }
    with Server(whole(None, tool_calls=[call]), whole("3")) as server:
        write_config(
            f"providers: {{{provider}: {{enabled: true, base_url: '{server.url}', key_env: KEY}}}}"
        )
        create = Client(provider).chat.completions.create
        first = create("add", tools=TOOLS).to_dict()["choices"][0]["message"]
        assert first["tool_calls"][0]["extra_content"] == SIGNED
        create([USER, first, RESULT | {"tool_call_id": "call_1"}], tools=TOOLS)
    sent_call = server.requests[1].json["messages"][1]["tool_calls"][0]
    assert sent_call == (
        call if arrives else {k: v for k, v in call.items() if k != "extra_content"}
    )


def test_thought_signatures_are_kept_in_llms_conversation(
    write_config: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "sk-test")

    def add() -> str:
        return "3"

    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "add", "arguments": "{}"},
        "extra_content": SIGNED,
    }
    calls = events(chunk(role="assistant", tool_calls=[{"index": 0, **call}]), chunk(finish="stop"))
    with Server(calls, stream("3")) as server:
        write_config(
            f"providers: {{gemini: {{enabled: true, base_url: '{server.url}', key_env: KEY}}}}"
        )
        model = llm.get_model("gpt-4o")
        assert model.chain("add", tools=[add], options={"provider": "gemini"}).text() == "3"
    assert server.requests[1].json["messages"][1]["tool_calls"] == [call]


def test_every_quirk_has_a_case() -> None:
    by_function = {
        *("system_role", "no_names", "no_stream_options", "short_tool_ids"),
        *("forty_tool_ids", "no_extra_content"),
    }
    assert {case[0] for case in CASES} | by_function == set(QUIRKS)


def test_of_two_contrary_quirks_the_one_named_last_counts() -> None:
    for names, expected in (
        (("max_tokens", "max_completion_tokens"), "max_completion_tokens"),
        (("max_completion_tokens", "max_tokens"), "max_tokens"),
    ):
        for given in names:
            body = {given: 5}
            assert apply(names, body) == ()
            assert body == {expected: 5}


def test_an_unknown_quirk_is_an_error(write_config: Callable[[str], object]) -> None:
    write_config("providers:\n  box: {base_url: 'http://127.0.0.1:1', quirks: [nope]}")
    with pytest.raises(ConfigError, match=r"line 2: unknown quirk 'nope' of box; known quirks: "):
        Client().chat.completions.create("hi")


def test_parameters_left_out_are_announced(
    write_config: Callable[[str], object], caplog: pytest.LogCaptureFixture
) -> None:
    sent(write_config, "no_temperature", temperature=0.5)
    assert caplog.messages == [
        "gpt-4o answered by gpt-4o-2024-11-20 (box): without temperature, which it does not take."
    ]
