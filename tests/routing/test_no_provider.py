"""The error for a route without candidates: the reasons that matter, and the ways out that exist."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_g4f import Client
from llm_g4f.errors import NoProviderError
from llm_g4f.local import runtime
from tests.support.server import Server, http

Write = Callable[[str], Path]

IMAGE = [
    {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
    }
]
BOX = "providers: {box: {base_url: 'http://127.0.0.1:1/v1', models: {gpt-4o-mini: small}}}"
OPENAI = 'a key ("llm keys set openai")'
OWN = 'an endpoint of your own ("providers:" in g4f.yaml)'
LINE = 'the line "gpt-4o: small" under models: of box in g4f.yaml'
NO_EMBEDDED = "providers: {embedded: {enabled: false}}"


def said(messages: Any = "hi", **arguments: Any) -> str:
    with pytest.raises(NoProviderError) as caught:
        Client().chat.completions.create(messages, **arguments)
    return str(caught.value)


def test_an_enabled_provider_without_its_key(write_config: Write) -> None:
    write_config("providers: {groq: {enabled: true}}")
    assert said().splitlines() == [
        "No provider available for gpt-4o:",
        (
            '  openai: no key: set it with "llm keys set openai" or the environment variable'
            " OPENAI_API_KEY"
        ),
        '  groq: no key: set it with "llm keys set groq" or the environment variable GROQ_API_KEY',
        '  24 others have no key or are not enabled: "llm g4f route gpt-4o --all"',
        (
            f"Three ways out: {OPENAI}, {OWN}, or the small model on this machine in place of groq"
            ' ("llm g4f disable groq").'
        ),
    ]


@pytest.mark.parametrize(
    ("config", "arguments", "ways"),
    [
        (NO_EMBEDDED, {"model": "gpt-oss-20b"}, ['a key ("llm keys set openrouter")', OWN]),
        (NO_EMBEDDED, {"model": "mine"}, [OWN, 'this machine ("llm g4f enable embedded")']),
        (NO_EMBEDDED, {"messages": IMAGE}, [OPENAI, OWN]),
        (NO_EMBEDDED, {"n": 2}, [OPENAI, OWN]),
        ("", {"exact": True}, [OPENAI, OWN]),
        (BOX, {}, [LINE, OPENAI, OWN]),
        (BOX, {"provider": "box"}, [LINE]),
    ],
)
def test_the_ways_out_are_those_that_exist(
    write_config: Write, config: str, arguments: dict[str, Any], ways: list[str]
) -> None:
    write_config(config)
    last = said(**arguments).splitlines()[-1]
    for way in ways:
        assert way in last
    for way in {OPENAI, OWN, LINE, "llm install"} - set(ways):
        assert way not in last


def test_the_line_that_is_lacking_has_a_model_that_the_endpoint_lists(write_config: Write) -> None:
    with Server(models=http(200, {"data": [{"id": "llama3"}, {"id": "phi4"}]})) as server:
        write_config(f"providers: {{box: {{base_url: '{server.url}'}}}}")
        with pytest.raises(NoProviderError, match='the line "gpt-4o: llama3" under models: of box'):
            Client().chat.completions.create("hi")


def test_the_runtime_is_no_way_out_where_it_is_installed(
    write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = "the small model on this machine (llm install 'llm-g4f[local]')"
    write_config(NO_EMBEDDED)
    assert install not in said()
    monkeypatch.setattr(runtime, "is_installed", lambda: False)
    assert install in said()


def test_a_key_that_is_there_is_no_way_out(write_config: Write, user_path: Path) -> None:
    (user_path / "keys.json").write_text(json.dumps({"openai": "sk-test"}))
    write_config("providers: {openai: {enabled: false}, embedded: {enabled: false}}")
    assert OPENAI not in said()
