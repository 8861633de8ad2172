"""The same request once more, after a provider rejected a part of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_g4f.accumulator import Accumulator
from llm_g4f.client import AsyncClient
from llm_g4f.errors import (
    APIStatusError,
    BadRequestError,
    RateLimitError,
    UnprocessableEntityError,
)
from llm_g4f.routing.policy import TRIES_PER_CALL
from llm_g4f.types import ChatCompletion
from tests.support.answers import outcomes, text_of
from tests.support.commands import Run
from tests.support.server import Script, Server, http, stream, whole

Endpoints = Callable[..., Path]

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def ask(provider: str = "a", **params: Any) -> ChatCompletion:
    """The answer, also of a stream."""

    async def run() -> ChatCompletion:
        create = AsyncClient(provider).chat.completions.create
        if not params.get("stream"):
            whole: ChatCompletion = await create("hi", **params)
            return whole
        accumulator = Accumulator()
        async for chunk in await create("hi", **params):
            accumulator.add(chunk)
            receipt = chunk.receipt
        completion = accumulator.completion()
        completion.receipt = receipt
        return completion

    return asyncio.run(run())


def no(message: str = "No.", status: int = 400, **error: Any) -> Script:
    return http(status, {"error": {"message": message, **error}})


def mistral(*names: str) -> Script:
    """Mistral's 422 for fields that it does not know."""
    found = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
        for name in names
    ]
    return http(422, {"object": "error", "message": {"detail": found}})


REJECTED = {
    "Groq": no("property 'seed' is unsupported, did you mean 'stop'?", type="invalid_request_error"),
    "xAI": http(400, {"code": "Client specified an invalid argument", "error": "Argument not supported on this model: seed"}),
    "Mistral": mistral("seed"),
    "FastAPI": http(422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}),
    "serde": http(422, "unknown field `seed`, expected one of `model`, `messages`", kind="text/plain"),
    "OpenAI": no("Unsupported parameter: 'seed'", param="seed", code="unsupported_parameter"),
    "OpenRouter": no("Provider returned error", code=400, metadata={"raw": json.dumps({"error": {"message": "property 'seed' is unsupported"}})}),
    "under 200": http(200, {"error": {"message": "property 'seed' is unsupported", "code": 400}}),
}  # fmt: skip


@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("who", list(REJECTED))
def test_a_parameter_rejected_in_any_words_is_left_out_and_named(
    who: str, streaming: bool, endpoints: Endpoints, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(REJECTED[who], stream("Hello")) as a, Server(stream("b")) as b:
        endpoints(a=a, b=b)
        answer = ask("a,b", seed=1, top_p=0.5, stream=streaming)
        assert [request.json.get("seed") for request in a.requests] == [1, None]
        assert not b.requests
    assert a.requests[1].json["top_p"] == 0.5
    assert text_of(answer) == "Hello"
    assert answer.receipt is not None
    assert answer.receipt.omitted == ("seed",)
    assert caplog.messages == [
        "gpt-4o answered by gpt-4o-2024-11-20 (a): without seed, which it does not take."
    ]


def test_several_parameters_are_left_out_one_after_the_other(
    endpoints: Endpoints, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("user", "store", "seed", "temperature")
    assert len(names) == TRIES_PER_CALL - 1
    with Server(*map(mistral, names), whole("Hello")) as a:
        endpoints(a=a)
        answer = ask("a", user="u", store=True, seed=1, temperature=0.5, top_p=0.5)
        left = [set(request.json) & set(names) for request in a.requests]
    assert left == [set(names[place:]) for place in range(TRIES_PER_CALL)]
    assert answer.receipt is not None
    assert answer.receipt.omitted == names
    assert len(outcomes(answer)) == TRIES_PER_CALL
    assert "without user, store, seed, temperature, which it does not take" in caplog.text


def test_what_is_left_out_counts_against_the_tries_of_the_call(endpoints: Endpoints) -> None:
    names = ("user", "store", "seed", "temperature", "top_p")
    with Server(*map(mistral, names), whole("Hello")) as a:
        endpoints(a=a)
        with pytest.raises(UnprocessableEntityError, match="user: Extra inputs"):
            ask("a", user="u", store=True, seed=1, temperature=0.5, top_p=0.5)
        assert len(a.requests) == TRIES_PER_CALL


def test_a_provider_keeps_its_second_try_after_a_parameter_was_left_out(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_g4f.routing.policy.BACKOFF", (0.01, 0.02))
    with Server(mistral("seed"), no(status=503), mistral("user"), whole("Hello")) as a:
        endpoints(a=a)
        answer = ask("a", seed=1, user="u")
    assert [outcome for _, outcome in outcomes(answer)] == [
        "UnprocessableEntityError",
        "InternalServerError",
        "UnprocessableEntityError",
        "ok",
    ]


def test_a_parameter_is_left_out_at_the_provider_that_rejects_it_alone(
    endpoints: Endpoints,
) -> None:
    with Server(mistral("seed"), no(status=429)) as a, Server(whole("Hello")) as b:
        endpoints(a=a, b=b)
        answer = ask("a,b", seed=1)
        assert b.requests[0].json["seed"] == 1
    assert answer.receipt is not None
    assert (answer.provider, answer.receipt.omitted) == ("b", ())


def test_stream_options_of_ours_are_left_out_without_a_word(
    endpoints: Endpoints, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(mistral("stream_options"), stream("Hello")) as a:
        endpoints(a=a)
        answer = ask("a", stream=True)
        assert ["stream_options" in request.json for request in a.requests] == [True, False]
    assert text_of(answer) == "Hello"
    assert answer.receipt is not None
    assert answer.receipt.omitted == ()
    assert not caplog.messages


def test_stream_options_of_the_callers_are_named(endpoints: Endpoints) -> None:
    with Server(mistral("stream_options"), stream("Hello")) as a:
        endpoints(a=a)
        answer = ask("a", stream=True, stream_options={"include_usage": True})
    assert answer.receipt is not None
    assert answer.receipt.omitted == ("stream_options",)


KEPT: dict[str, Any] = {
    "tools": [TOOL],
    "tool_choice": "required",
    "n": 2,
    "stop": ["x"],
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "modalities": ["text"],
}


@pytest.mark.parametrize("name", list(KEPT))
def test_what_changes_the_answer_is_never_left_out(name: str, endpoints: Endpoints) -> None:
    params = {name: KEPT[name]} | ({"tools": [TOOL]} if name == "tool_choice" else {})
    said = no(f"property '{name}' is unsupported", param=name, code="unsupported_parameter")
    with Server(said) as a, Server(whole("Hello")) as b:
        endpoints(a=a, b=b)
        answer = ask("a,b", **params)
        assert len(a.requests) == 1
        assert b.requests[0].json[name] == KEPT[name]
        assert outcomes(answer) == [("a", "BadRequestError"), ("b", "ok")]
        with pytest.raises(BadRequestError, match=f"property '{name}' is unsupported"):
            ask("a", **params)
        assert len(a.requests) == 2


@pytest.mark.parametrize(
    "said",
    [
        no("'temperature' must be less than or equal to 2", param="temperature"),
        no("Expected a value <= 2, but got 9", param="temperature", code="decimal_above_max_value"),
        http(422, {"detail": [{"type": "less_than_equal", "loc": ["body", "temperature"], "msg": "Input should be less than or equal to 2"}]}),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_an_error(said: Script, endpoints: Endpoints) -> None:
    with Server(said) as a, Server(whole("Hello")) as b:
        endpoints(a=a, b=b)
        with pytest.raises(APIStatusError, match=r"2"):
            ask("a,b", temperature=9)
        assert (len(a.requests), len(b.requests)) == (1, 0)


MAX_TOKENS = no(
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use"
    " 'max_completion_tokens' instead.",
    param="max_tokens",
    code="unsupported_parameter",
)
MAX_COMPLETION_TOKENS = no(
    "property 'max_completion_tokens' is unsupported, did you mean 'max_tokens'?"
)


@pytest.mark.parametrize(
    ("quirks", "given", "said", "first", "second"),
    [
        ("", "max_tokens", MAX_TOKENS, "max_tokens", "max_completion_tokens"),
        ("", "max_completion_tokens", MAX_COMPLETION_TOKENS, "max_completion_tokens", "max_tokens"),
        ("max_tokens", "max_completion_tokens", MAX_TOKENS, "max_tokens", "max_completion_tokens"),
        ("max_completion_tokens", "max_tokens", MAX_COMPLETION_TOKENS, "max_completion_tokens", "max_tokens"),
    ],
)  # fmt: skip
def test_a_token_limit_gets_the_name_that_the_server_asks_for(
    quirks: str,
    given: str,
    said: Script,
    first: str,
    second: str,
    write_config: Callable[[str], Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Server(said, whole("Hello")) as a:
        write_config(f"providers:\n  a: {{base_url: '{a.url}', quirks: [{quirks}]}}\n")
        answer = ask("a", **{given: 5})
        sent = [
            {name: value for name, value in request.json.items() if value == 5}
            for request in a.requests
        ]
    assert sent == [{first: 5}, {second: 5}]
    assert answer.receipt is not None
    assert answer.receipt.omitted == ()
    assert not caplog.messages


def test_a_server_that_takes_neither_name_is_given_up(endpoints: Endpoints) -> None:
    with Server(MAX_TOKENS, MAX_COMPLETION_TOKENS) as a, Server(whole("Hello")) as b:
        endpoints(a=a, b=b)
        answer = ask("a,b", max_tokens=5)
        assert (len(a.requests), answer.provider) == (2, "b")


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "output", "schema": SCHEMA}}
NO_FORMAT = no("This response_format type is unavailable now", type="invalid_request_error")


@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "whole"])
def test_a_rejected_schema_goes_into_the_prompt_and_the_answer_is_checked(
    streaming: bool, endpoints: Endpoints
) -> None:
    with Server(NO_FORMAT, whole('{"a": 1}'), whole('{"a": "x"}')) as a, Server(NO_FORMAT) as b:
        endpoints(a=a, b=b)
        answer = ask("a,b", response_format=FORMAT, stream=streaming)
        assert text_of(answer) == '{"a": 1}'
        first, second = (request.json for request in a.requests)
        assert not b.requests
    assert first["response_format"] == FORMAT
    assert "response_format" not in second
    assert json.dumps(SCHEMA) in second["messages"][0]["content"]
    assert answer.receipt is not None
    assert answer.receipt.omitted == ()


def test_a_misfit_after_a_rejected_schema_is_the_next_providers_turn(endpoints: Endpoints) -> None:
    with Server(NO_FORMAT, whole('{"a": "x"}')) as a, Server(whole('{"a": 2}')) as b:
        endpoints(a=a, b=b)
        answer = ask("a,b", response_format=FORMAT)
    assert text_of(answer) == '{"a": 2}'
    assert [outcome for _, outcome in outcomes(answer)] == [
        "BadRequestError",
        "InvalidResponseError",
        "ok",
    ]


def test_a_rejected_json_object_is_the_next_providers_turn(endpoints: Endpoints) -> None:
    with Server(NO_FORMAT) as a, Server(whole("{}")) as b:
        endpoints(a=a, b=b)
        answer = ask("a,b", response_format={"type": "json_object"})
        assert b.requests[0].json["response_format"] == {"type": "json_object"}
        assert len(a.requests) == 1
    assert text_of(answer) == "{}"


def test_a_request_that_is_too_large_goes_to_a_larger_or_unknown_window(
    write_config: Callable[[str], Path],
) -> None:
    with Server(no(status=413)) as a, Server(whole("b")) as b, Server(whole("c")) as c:
        lines = [f"  a: {{base_url: '{a.url}', context: 8000}}"]
        lines += [f"  b: {{base_url: '{b.url}', context: 4000}}"]
        lines += [f"  c: {{base_url: '{c.url}'}}"]
        write_config("\n".join(["providers:", *lines]))
        answer = ask("a,b,c")
        assert (text_of(answer), len(b.requests)) == ("c", 0)
        with pytest.raises(BadRequestError, match=r"too large for a \(HTTP 413\)"):
            ask("a,b")


def test_a_limit_that_is_said_as_a_size_passes(endpoints: Endpoints) -> None:
    said = http(
        413,
        {"error": {"message": "Request too large: tokens per minute (TPM)", "type": "tokens", "code": "rate_limit_exceeded"}},
        [("Retry-After", "7")],
    )  # fmt: skip
    with Server(said) as a, Server(whole("Hello")) as b:
        endpoints(a=a, b=b)
        with pytest.raises(RateLimitError) as caught:
            ask("a")
        assert (caught.value.status_code, caught.value.retry_after) == (413, 7)
        assert text_of(ask("a,b")) == "Hello"


def test_a_dropped_tool_fails_the_command(endpoints: Endpoints, run_llm: Run) -> None:
    said = no("registry.ollama.ai/library/gemma3:latest does not support tools")
    with Server(said) as a:
        endpoints(a=a)
        done = run_llm("-m", "gpt-4o", "-o", "provider", "a", "-T", "llm_time", "hi")
        assert len(a.requests) == 1
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not support tools" in done.stderr


def test_what_was_left_out_is_said_at_the_command_line(endpoints: Endpoints, run_llm: Run) -> None:
    with Server(mistral("seed"), stream("Hello")) as a:
        endpoints(a=a)
        done = run_llm("-m", "gpt-4o", "-o", "provider", "a", "-o", "seed", "1", "hi")
    assert (done.returncode, done.stdout) == (0, "Hello\n")
    assert "without seed, which it does not take." in done.stderr
    assert "failed" not in done.stderr
