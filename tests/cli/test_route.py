"""`llm g4f route`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import llm
import pytest
from click.testing import Result

from llm_g4f.providers.catalogue import PROVIDERS
from tests.support.commands import Run, failed, g4f, ok
from tests.support.server import Server, stream

ANSWERED = "gpt-4o is answered by"

OPENAI_LEFT_OUT = (
    '-  openai: no key: set it with "llm keys set openai" or the environment variable'
    " OPENAI_API_KEY"
)


EMBEDDED_LEFT_OUT = "-  embedded: it answers only while no other provider takes part"


def told(result: Result) -> list[str]:
    """`ok`, without the lines of built-in providers other than openai, which are not set up."""
    rest = [f"-  {name}: " for name in PROVIDERS if name != "openai"]
    return [line for line in ok(result) if not line.startswith(tuple(rest))]


def test_route_shows_candidates_and_reasons(endpoints: Callable[..., Path]) -> None:
    with Server(stream("never")) as server:
        endpoints(mybox=server)
        lines = told(g4f("route", "gpt-4o"))
    assert lines == [
        "1. mybox: gpt-4o, exact",
        OPENAI_LEFT_OUT,
        f"{len(PROVIDERS)} others: --all",
        f"{ANSWERED} gpt-4o (mybox): the model itself.",
    ]
    assert server.requests == []


def test_route_of_all(endpoints: Callable[..., Path]) -> None:
    with Server(stream("never")) as server:
        endpoints(mybox=server)
        lines = ok(g4f("route", "gpt-4o", "--all"))
    assert lines[0] == "1. mybox: gpt-4o, exact"
    assert {line[3:].split(":")[0] for line in lines[1:-1]} == {*PROVIDERS, "embedded"}
    assert lines[-2:] == [EMBEDDED_LEFT_OUT, f"{ANSWERED} gpt-4o (mybox): the model itself."]


@pytest.mark.parametrize("name", ["gpt-4o", "4o", "g4f/gpt-4o", "mine"])
def test_route_accepts_llms_names(endpoints: Callable[..., Path], name: str) -> None:
    llm.set_alias("mine", "gpt-4o")
    with Server(stream("never")) as server:
        endpoints("routes: {gpt-4o: [mybox]}", mybox=server)
        assert ok(g4f("route", name))[0] == "1. mybox: gpt-4o, exact"
        assert json.loads(g4f("route", name, "--json").stdout)["model"] == "gpt-4o"


def test_route_of_another_plugins_model(endpoints: Callable[..., Path]) -> None:
    with Server(stream("never")) as server:
        endpoints("routes: {echo: [mybox]}", mybox=server)
        assert ok(g4f("route", "echo"))[0] == "1. mybox: echo, exact"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gpt-40", "Unknown model 'gpt-40'. Did you mean gpt-4o? Models: gpt-4o, "),
        ("gpt-4o-min", "Did you mean gpt-4o-mini?"),
        ("min", "Did you mean mine?"),
        ("echo", "Unknown model 'echo'. Models: "),
        ("box2/llama", "or PROVIDER/ID."),
    ],
)
def test_route_of_an_unknown_model(
    write_config: Callable[[str], Path], name: str, words: str
) -> None:
    write_config("providers: {box: {base_url: 'http://127.0.0.1:1/v1', models: {mine: m}}}")
    assert words in failed(g4f("route", name))


@pytest.mark.parametrize("name", ["gpt-4o-2024-08-06", "openai/gpt-4o", "mine", "box/llama"])
def test_route_of_a_model_that_may_be_asked_for(
    write_config: Callable[[str], Path], name: str
) -> None:
    write_config("providers: {box: {base_url: 'http://127.0.0.1:1/v1', models: {mine: m}}}")
    assert g4f("route", name).exit_code == 0


def test_route_in_order_with_substitutes(
    write_config: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    write_config(
        "providers:\n"
        "  a: {base_url: 'http://127.0.0.1:1/v1', models: {gpt-4o: llama}}\n"
        "  b: {base_url: 'http://127.0.0.1:1/v1', models: {gpt-4o-mini: m}}\n"
        "  c: {base_url: 'http://127.0.0.1:1/v1', enabled: false}\n"
        "routes:\n"
        "  gpt-4o: [c, b, openai, a, a/qwen]\n"
    )
    result = g4f("route", "gpt-4o")
    assert ok(result) == [
        "1. openai: gpt-4o, exact",
        "2. a: llama, a substitute",
        "3. a: qwen, a substitute",
        '-  c: disabled in g4f.yaml: "llm g4f enable c"',
        "-  b: g4f.yaml does not say which of its models stands for gpt-4o",
        f"{ANSWERED} gpt-4o (openai): the model itself.",
    ]
    assert "canary" not in result.output


def test_route_as_json(endpoints: Callable[..., Path]) -> None:
    with Server(stream("never")) as server:
        endpoints(mybox=server)
        result = g4f("route", "gpt-4o", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    found["left_out"] = [
        one for one in found["left_out"] if one["provider"] in ("openai", "embedded")
    ]
    assert found == {
        "model": "gpt-4o",
        "candidates": [{"provider": "mybox", "model": "gpt-4o", "exact": True}],
        "left_out": [
            {
                "provider": "openai",
                "reason": OPENAI_LEFT_OUT.removeprefix("-  openai: "),
            },
            {
                "provider": "embedded",
                "reason": EMBEDDED_LEFT_OUT.removeprefix("-  embedded: "),
            },
        ],
    }


def test_route_with_the_embedded_model(real_weights: Path) -> None:
    assert told(g4f("route", "gpt-4o")) == [
        "1. embedded: smollm2-135m-instruct, a substitute",
        OPENAI_LEFT_OUT,
        f"{len(PROVIDERS) - 1} others: --all",
        f"{ANSWERED} smollm2-135m-instruct (embedded): a substitute.",
    ]


def test_route_without_candidates(write_config: Callable[[str], Path]) -> None:
    write_config("providers: {embedded: {enabled: false}}")
    assert told(g4f("route", "gpt-4o")) == [
        OPENAI_LEFT_OUT,
        '-  embedded: disabled in g4f.yaml: "llm g4f enable embedded"',
        f"{len(PROVIDERS) - 1} others: --all",
        "No provider available for gpt-4o.",
        (
            'Three ways out: a key ("llm keys set openai"), an endpoint of your own ("providers:" in'
            ' g4f.yaml), or the small model on this machine ("llm g4f enable embedded").'
        ),
    ]


def test_route_under_substitutes_false(write_config: Callable[[str], Path]) -> None:
    write_config("substitutes: false")
    lines = told(g4f("route", "gpt-4o"))
    assert lines[1].startswith("-  embedded: smollm2-135m-instruct is a substitute")
    assert lines[-2] == "No provider available for gpt-4o."
    assert "the small model" not in lines[-1]


def test_route_with_an_unknown_provider(write_config: Callable[[str], Path]) -> None:
    write_config("routes: {gpt-4o: [nobody]}")
    assert "nobody" in failed(g4f("route", "gpt-4o"))


ROUTES: dict[str, tuple[dict[str, str], list[str]]] = {
    "no key": ({}, ["1. embedded: smollm2-135m-instruct, a substitute"]),
    "one": ({"OPENAI_API_KEY": "x"}, ["1. openai: gpt-4o, exact"]),
    "all": (
        {
            name: "x"
            for row in PROVIDERS.values()
            for name in (*row.env_vars[:1], *row.url_env_vars)
        },
        [
            "1. openai: gpt-4o, exact",
            "2. openrouter: openai/gpt-4o, exact",
            "3. vercel: openai/gpt-4o, exact",
        ],
    ),
    "only substitutes": (
        {"GROQ_API_KEY": "x", "GEMINI_API_KEY": "x"},
        [
            "1. groq: openai/gpt-oss-120b, a substitute",
            "2. gemini: gemini-3.8-flash, a substitute",
        ],
    ),
}


@pytest.mark.parametrize("case", ROUTES)
def test_route_by_the_keys_of_the_environment(run_llm: Run, case: str) -> None:
    env, expected = ROUTES[case]
    *found, answer = run_llm("g4f", "route", "gpt-4o", "--all", env=env).stdout.splitlines()
    assert answer.startswith(ANSWERED)
    numbered = [line for line in found if not line.startswith("- ")]
    assert numbered == expected
    left_out = {line[2:].split(":")[0].strip() for line in found if line.startswith("- ")}
    assert len(left_out) + len(expected) == len(PROVIDERS) + 1
    data = json.loads(run_llm("g4f", "route", "gpt-4o", "--json", env=env).stdout)
    assert len(data["candidates"]) == len(expected)
