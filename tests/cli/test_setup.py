"""`llm g4f setup`, and what `llm g4f route` says of servers that run here."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_g4f import Client, config
from llm_g4f.errors import NoProviderError
from llm_g4f.local import runtime
from llm_g4f.providers.catalogue import PROVIDERS
from llm_g4f.routing import nearby
from llm_g4f.sync import loop_thread
from tests.support.commands import g4f, ok
from tests.support.forked import Forks
from tests.support.server import HANG, Script, Server, http, stream, whole
from tests.support.terminal import on_terminal

Write = Callable[[str], Path]
QWEN = "Ollama is running here with qwen3:8b: llm g4f enable ollama"


def listing(*ids: str) -> Script:
    return http(200, {"data": [{"id": id} for id in ids]})


def at_ollamas_port(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearby, "addresses", lambda: {"ollama": server.url})


def test_without_a_terminal_it_prints_what_it_found_and_the_commands(
    monkeypatch: pytest.MonkeyPatch, user_path: Path
) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "gsk-canary")
    with Server(models=listing("qwen3:8b")) as server:
        at_ollamas_port(server, monkeypatch)
        lines = ok(g4f("setup"))
    assert lines[:2] == ["Keys: groq.", f"Servers on this machine: Ollama ({server.url})."]
    commands = [line for line in lines if line.startswith("llm ")]
    assert commands[:3] == ["llm keys set openai", "llm g4f enable groq", "llm g4f enable ollama"]
    assert commands[3].startswith("llm g4f local install ")
    assert commands[4:] == [f"llm g4f enable {name}" for name in ("ovh", "kilo", "llm7")]
    assert (
        "  Ollama, which runs here: qwen3:8b, a substitute. Prompts stay on this machine." in lines
    )
    said = "\n".join(lines)
    assert "Prompts go to api.kilo.ai. They may be used for training." in said
    assert "2 requests a minute for each model" in said
    assert "canary" not in said
    assert [look.headers.get("authorization") for look in server.looks] == [None]
    assert server.requests == []
    assert list(user_path.iterdir()) == []


def test_route_names_a_server_while_nothing_is_configured(
    monkeypatch: pytest.MonkeyPatch, write_config: Write
) -> None:
    with Server(models=listing("qwen3:8b")) as server:
        at_ollamas_port(server, monkeypatch)
        assert QWEN in ok(g4f("route", "gpt-4o"))
        write_config("providers: {groq: {enabled: true}}")
        assert QWEN not in g4f("route", "gpt-4o").stdout
        assert len(server.looks) == 1


def test_llamacpps_app_has_a_port_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    local = {name: spec.base_url for name, spec in PROVIDERS.items() if spec.kind == "local"}
    assert local["llamacpp-app"] == "http://localhost:9931/v1"
    assert set(nearby.TITLES) == set(local)
    with Server(models=listing("qwen3")) as server:
        monkeypatch.setattr(nearby, "addresses", lambda: {"llamacpp-app": server.url})
        line = "llama.cpp's app is running here with qwen3: llm g4f enable llamacpp-app"
        assert line in ok(g4f("route", "gpt-4o"))


def test_a_choice_of_models_comes_with_its_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(models=listing("a", "b")) as server:
        at_ollamas_port(server, monkeypatch)
        line = "Ollama is running here with a, b: llm g4f enable ollama --model gpt-4o=a"
        assert line in ok(g4f("route", "gpt-4o"))
    assert ok(g4f("enable", "ollama", "--model", "gpt-4o=a")) == ["ollama is enabled."]
    assert config.load().providers["ollama"].models["gpt-4o"].id == "a"


def test_a_prompt_never_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "is_installed", lambda: False)
    with Server(models=listing("qwen3:8b")) as server:
        at_ollamas_port(server, monkeypatch)
        with pytest.raises(NoProviderError):
            Client().chat.completions.create("hi", exact=True)
    assert server.connections == 0


@pytest.mark.parametrize("script", [[HANG], listing(), http(200, "<html>", kind="text/html")])
def test_what_is_no_server_of_models_is_not_named(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(models=script) as server:
        monkeypatch.setattr(nearby, "addresses", lambda: dict.fromkeys(nearby.TITLES, server.url))
        began = time.monotonic()
        assert loop_thread().run(nearby.servers_here) == []
        assert time.monotonic() - began < 5 * nearby.SECONDS


PRELUDE = """
from msgspec.structs import replace
from llm_g4f.providers.catalogue import PROVIDERS
from llm_g4f.routing import nearby
PROVIDERS["ollama"] = replace(PROVIDERS["ollama"], base_url="{url}")
nearby.addresses = lambda: {{"ollama": "{url}"}}
"""


@pytest.mark.parametrize("columns", [80, 40])
def test_the_first_hour_on_a_terminal(columns: int, forks: Forks | None) -> None:
    with Server(stream("hello", model="qwen3:8b"), models=listing("qwen3:8b")) as server:
        prelude = PRELUDE.format(url=server.url)
        shown = on_terminal(
            *(forks, ["g4f", "setup"]),
            columns=columns,
            prelude=prelude,
            typed=[("Number (0: nothing changes) [0]: ", "2\n")],
        )
    assert shown.code == 0, shown.text
    assert config.load().providers["ollama"].enabled is True
    text = " ".join(shown.text.split())
    assert (
        "2. Ollama, which runs here: qwen3:8b, a substitute. Prompts stay on this machine." in text
    )
    assert "ollama is enabled. llm g4f route gpt-4o 1. ollama: qwen3:8b, a substitute" in text
    assert "gpt-4o is answered by qwen3:8b (ollama): a substitute." in text
    assert 'llm -m gpt-4o "Answer with the word hello." hello (qwen3:8b at ollama, 0.' in text
    urls = ("http", "oai.endpoints")
    long = [line for line in shown.lines if len(line) > columns]
    assert [line for line in long if not any(url in line for url in urls)] == []
    assert len(server.requests) == 1


def test_a_key_is_typed_unseen_and_stored_as_llm_does(forks: Forks | None, user_path: Path) -> None:
    with Server(stream("hello"), models=listing("qwen3:8b")) as server:
        shown = on_terminal(
            *(forks, ["g4f", "setup"]),
            env={"OPENAI_BASE_URL": server.url},
            prelude=PRELUDE.format(url=server.url),
            typed=[("changes) [0]: ", "1\n"), ("Key (not shown): ", "sk-canary-4711\n")],
        )
    assert shown.code == 0, shown.text
    assert "canary" not in shown.raw
    assert "sk-canary-4711" in (user_path / "keys.json").read_text()
    assert server.requests[0].headers["authorization"] == "Bearer sk-canary-4711"
    assert "gpt-4o is answered by gpt-4o (openai): the model itself." in shown.text


@pytest.mark.parametrize("columns", [80, 40])
def test_the_commands_fit_the_screen(
    columns: int, forks: Forks | None, write_config: Write
) -> None:
    write_config(
        "providers:\n  box: {base_url: 'http://127.0.0.1:1/v1', models: {gpt-4o: llama}}\n"
        "  groq: {enabled: true}\n"
    )
    for command in (["g4f"], ["g4f", "route", "gpt-4o"], ["g4f", "check"]):
        shown = on_terminal(forks, command, columns=columns)
        # A URL is not broken.
        long = [line for line in shown.lines if len(line) > columns and "http" not in line]
        assert long == []
        assert len(shown.lines) <= 24
        assert "\x1b[2K" not in shown.raw
    assert shown.code == 1


@pytest.mark.parametrize("columns", [80, 40])
def test_no_line_of_the_first_hour_is_longer_than_the_screen(
    columns: int, forks: Forks | None, write_config: Write, tmp_path: Path
) -> None:
    rows = tmp_path / "in.txt"
    rows.write_text("".join(f"Prompt {number}\n" for number in range(6)))
    with Server([0.12, *whole("Hello", model="qwen3")], models=listing("qwen3")) as server:
        write_config(f"providers: {{box: {{base_url: '{server.url}'}}}}")
        asked = on_terminal(forks, ["-m", "gpt-4o", "hi"], columns=columns)
        batch = ["g4f", "batch", str(rows), str(tmp_path / "out"), "-m", "gpt-4o"]
        answered = on_terminal(forks, [*batch, "--concurrency", "1"], columns=columns)
        for command in (
            ["g4f", "providers"],
            ["g4f", "stats"],
            ["g4f", "local"],
            ["g4f", "enable", "kilo"],
        ):
            shown = on_terminal(forks, command, columns=columns)
            assert shown.code == 0, shown.text
            # A path or a URL is not broken.
            assert [line for line in shown.lines if len(line) > columns and "/" not in line] == []
    # A notice is a sentence, which the terminal wraps.
    assert asked.lines[1:] == ["Hello"]
    # A bar that is longer than its line would not be overwritten by the next one.
    bars = re.findall(r"  \[[#-]*\][^\r\n\x1b]*", answered.text)
    assert len(bars) > 4
    assert [bar for bar in bars if len(bar.rstrip()) > columns] == []
    assert "6 done, 0 failed" in bars[-1]
    assert answered.raw.count("\n") == 3
