from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import llm
import pydantic
import pytest

from llm_g4f.adapter.options import Options
from tests.support.builtin import builtin
from tests.support.commands import Run
from tests.support.server import HANG, Server, stream

OWN = {"provider", "exact", "cache", "timeout", "reasoning_effort"}


BUILTIN: Any = builtin("http://127.0.0.1:1/v1").Options


def plain(options: Any) -> dict[str, Any]:
    return {
        name: value.value if isinstance(value, Enum) else value
        for name, value in options
        if value is not None
    }


def test_options_are_llms_own_and_ours() -> None:
    assert set(Options.model_fields) == set(BUILTIN.model_fields) | OWN
    for name, field in Options.model_fields.items():
        assert field.default is None
        assert field.description, name


# As the command line gives them, as llm reads them back from its files, and as Python has them.
VALID: list[tuple[str, Any]] = [
    ("temperature", "0.5"),
    ("temperature", 0),
    ("temperature", 2),
    ("max_tokens", "10"),
    ("top_p", "1"),
    ("top_p", 0),
    ("frequency_penalty", "-2"),
    ("frequency_penalty", 2),
    ("presence_penalty", -2),
    ("presence_penalty", "2"),
    ("stop", "END"),
    ("logit_bias", '{"1712": -100, "892": "100"}'),
    ("logit_bias", {1712: -100}),
    ("logit_bias", {"1712": -100}),
    ("logit_bias", None),
    ("seed", "42"),
    ("json_object", "1"),
    ("json_object", "false"),
    ("image_detail", "low"),
    ("image_detail", "high"),
    ("image_detail", "auto"),
    ("service_tier", "flex"),
]


@pytest.mark.parametrize(("name", "value"), VALID)
def test_values_that_llms_options_accept_are_accepted(name: str, value: Any) -> None:
    assert plain(Options(**{name: value})) == plain(BUILTIN(**{name: value}))


INVALID: list[tuple[str, Any]] = [
    ("temperature", "2.1"),
    ("temperature", -0.1),
    ("temperature", "hot"),
    ("max_tokens", "many"),
    ("max_tokens", 1.5),
    ("top_p", 1.1),
    ("top_p", -1),
    ("frequency_penalty", 2.1),
    ("frequency_penalty", -2.1),
    ("presence_penalty", 3),
    ("presence_penalty", -3),
    ("stop", 5),
    ("logit_bias", "{"),
    ("logit_bias", '{"a": 1}'),
    ("logit_bias", {"1712": 101}),
    ("logit_bias", {1712: -101}),
    ("seed", "x"),
    ("json_object", "perhaps"),
    ("image_detail", "original"),
    ("service_tier", 5),
    ("nosuch", 1),
]


@pytest.mark.parametrize(("name", "value"), INVALID)
def test_values_that_llms_options_reject_are_rejected(name: str, value: Any) -> None:
    with pytest.raises(pydantic.ValidationError):
        BUILTIN(**{name: value})
    with pytest.raises(pydantic.ValidationError) as caught:
        Options(**{name: value})
    assert caught.value.errors()[0]["loc"][0] == name


def test_options_without_values_equal_validated_ones() -> None:
    none, checked = Options(), Options.model_validate({})
    assert none == checked
    assert (dict(none), none.model_fields_set) == (dict(checked), set())
    assert none.model_dump() == checked.model_dump()


@pytest.mark.parametrize("value", ["[1]", "5", '"a"', '{"1": null}', '{"1": [2]}'])
def test_an_invalid_logit_bias_is_explained(value: str) -> None:
    with pytest.raises(pydantic.ValidationError, match="logit_bias must map token ids to numbers"):
        Options(logit_bias=value)


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("provider", "mybox, openai", "mybox, openai"),
        ("exact", "1", True),
        ("exact", "0", False),
        ("timeout", "2.5", 2.5),
        ("stop", ["a", "b"], ["a", "b"]),
    ],
)
def test_our_own_options(name: str, value: Any, read: Any) -> None:
    assert getattr(Options(**{name: value}), name) == read


@pytest.mark.parametrize("value", ["none", "minimal", "low", "medium", "high", "xhigh", "max"])
def test_reasoning_effort_is_sent_to_an_endpoint(
    endpoints: Callable[..., Path], value: str
) -> None:
    with Server(stream("Hello")) as server:
        endpoints(mybox=server)
        llm.get_model("gpt-4o").prompt("hi", reasoning_effort=value).text()
    assert server.requests[0].json["reasoning_effort"] == value


def test_reasoning_effort_is_left_out_for_a_model_without_reasoning(
    monkeypatch: pytest.MonkeyPatch, run_llm: Run
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with Server(stream("Hello")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        done = run_llm("-m", "gpt-4o", "-o", "reasoning_effort", "high", "hi")
    assert (done.returncode, done.stdout) == (0, "Hello\n")
    assert "reasoning_effort" not in server.requests[0].json
    assert done.stderr == (
        "gpt-4o answered by gpt-4o-2024-11-20 (openai): without reasoning_effort, which it does"
        " not take.\n"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reasoning_effort", "hard"),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", "soon"),
        ("exact", "maybe"),
    ],
)
def test_our_own_options_are_validated(name: str, value: Any) -> None:
    with pytest.raises(pydantic.ValidationError):
        Options(**{name: value})


def test_routing_options_are_not_sent(endpoints: Callable[..., Path]) -> None:
    with Server(stream("Hello")) as server:
        endpoints(mybox=server)
        model = llm.get_model("gpt-4o")
        model.prompt("hi", provider="mybox", exact=True, timeout=30, json_object=False).text()
    assert server.requests[0].json == {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_the_option_provider_selects_providers(endpoints: Callable[..., Path]) -> None:
    with Server(stream("one")) as one, Server(stream("two")) as two:
        endpoints(one=one, two=two)
        model = llm.get_model("gpt-4o")
        assert model.prompt("hi").text() == "one"
        assert model.prompt("hi", provider="two").text() == "two"
        assert model.prompt("hi", provider="two,one").text() == "two"
        assert model.prompt("hi", provider="any").text() == "one"


def test_the_option_exact_excludes_substitutes(write_config: Callable[[str], Path]) -> None:
    with Server(stream("Hello", model="llama")) as server:
        write_config(
            f"providers:\n  mybox: {{base_url: '{server.url}', models: {{gpt-4o: llama}}}}\n"
        )
        model = llm.get_model("gpt-4o")
        with pytest.raises(llm.ModelError, match="llama is a substitute"):
            model.prompt("hi", exact=True).text()
        assert server.requests == []
        assert model.prompt("hi").text() == "Hello"


def test_the_option_timeout_limits_the_whole_answer(endpoints: Callable[..., Path]) -> None:
    with Server([HANG]) as server:
        endpoints(mybox=server)
        with pytest.raises(llm.ModelError, match=r"not complete within 0\.2 s"):
            llm.get_model("gpt-4o").prompt("hi", timeout=0.2).text()


def test_stored_options_are_used_on_the_command_line(
    endpoints: Callable[..., Path], run_llm: Run
) -> None:
    with Server(stream("one")) as one, Server(stream("two")) as two:
        endpoints(one=one, two=two)
        for name, value in [("temperature", "0.5"), ("provider", "two"), ("logit_bias", '{"1":2}')]:
            assert run_llm("models", "options", "set", "gpt-4o", name, value).returncode == 0
        done = run_llm("-m", "4o", "hi")
        assert (done.returncode, done.stdout, done.stderr) == (0, "two\n", "")
        done = run_llm("-m", "4o", "hi", "-o", "temperature", "1")
    assert done.returncode == 0
    stored, given = (request.json for request in two.requests)
    assert (stored["temperature"], stored["logit_bias"]) == (0.5, {"1": 2})
    assert given["temperature"] == 1
    assert one.requests == []
