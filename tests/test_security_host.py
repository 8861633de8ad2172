"""A Host header beside a key is refused: behind one address, it decides which server gets the key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_g4f.client import Client
from llm_g4f.errors import BadRequestError, ConfigError
from tests.support.commands import Run
from tests.support.server import Server, stream, whole

KEY = "sk-canary"

REFUSED = "he header Host is refused"


@pytest.mark.parametrize("name", ["Host", "host", "HOST", "hOsT"])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.usefixtures("transport")
def test_of_a_call(name: str, streamed: bool) -> None:
    with Server(whole("Hello")) as server:
        keyed = Client(base_url=server.url, api_key=KEY).chat.completions
        for headers in ({name: "other.example"}, {"X-A": "b", name: "127.0.0.1"}):
            with pytest.raises(BadRequestError, match=REFUSED) as caught:
                keyed.create("hi", headers=headers, stream=streamed)
            assert KEY not in str(caught.value)
        assert not server.requests


@pytest.mark.parametrize("name", ["Host", "HOST"])
def test_of_a_call_with_a_key_in_its_headers(name: str) -> None:
    with Server(whole("Hello")) as server:
        unkeyed = Client(base_url=server.url).chat.completions
        with pytest.raises(BadRequestError, match=REFUSED):
            unkeyed.create("hi", headers={"authorization": f"Bearer {KEY}", name: "other.example"})
        assert not server.requests
        unkeyed.create("hi", headers={name: "other.example"})
    assert [value for field, value in server.requests[0].fields if field == "host"] == [
        "other.example"
    ]


@pytest.mark.parametrize("name", ["Host", "HOST"])
@pytest.mark.parametrize("provider", ["mine", "openai", "azure", "ollama"])
def test_of_the_configuration(
    name: str,
    provider: str,
    write_config: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    run_llm: Run,
) -> None:
    monkeypatch.setenv("OWN", KEY)
    with Server(stream("Hello")) as server:
        path = write_config(
            f"providers:\n  {provider}:\n    base_url: '{server.url}'\n    enabled: true\n"
            f"    key_env: OWN\n    models: {{gpt-4o: x}}\n    headers: {{{name}: other.example}}\n"
        )
        with pytest.raises(ConfigError) as caught:
            Client(provider).chat.completions.create("hi")
        assert caught.value.message.startswith(f"{path}, line 2: t{REFUSED}")
        if name == "Host":
            done = run_llm("-m", "gpt-4o", "-o", "provider", provider, "hi")
            assert (done.returncode, done.stdout) == (1, "")
            assert f"{path}, line 2: t{REFUSED}" in done.stderr
        assert not server.requests


def test_of_the_configuration_beside_a_usual_key(
    write_config: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(whole("Hello")) as server:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        write_config("providers: {openai: {headers: {host: other.example}}}")
        with pytest.raises(ConfigError, match=REFUSED):
            Client().chat.completions.create("hi")
        assert not server.requests


def test_of_the_configuration_without_a_key(write_config: Callable[[str], Path]) -> None:
    with Server(whole("Hello")) as server:
        write_config(f"providers: {{a: {{base_url: '{server.url}', headers: {{Host: b}}}}}}")
        Client("a").chat.completions.create("hi")
    assert server.requests[0].headers["host"] == "b"


def test_of_a_row_of_a_batch(
    write_config: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    run_llm: Run,
) -> None:
    monkeypatch.setenv("OWN", KEY)
    rows: list[dict[str, Any]] = [{"prompt": "a", "headers": {"HOST": "b"}}, {"prompt": "c"}]
    source, results = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(json.dumps(row) for row in rows))
    with Server(whole("Hello")) as server:
        write_config(f"providers: {{mine: {{base_url: '{server.url}', key_env: OWN}}}}")
        run_llm("g4f", "batch", str(source), str(results), "-m", "gpt-4o")
    assert [request.json["messages"][0]["content"] for request in server.requests] == ["c"]
    failed = [line for line in results.read_text().splitlines() if REFUSED in line]
    assert len(failed) == 1
