"""Every command of `llm g4f` that asks a server ends, whatever the server does."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_g4f import Client
from llm_g4f.cli import check, shutdown_dates, waiting
from llm_g4f.errors import APITimeoutError
from llm_g4f.routing import discovery, nearby
from tests.support.commands import g4f
from tests.support.server import HANG, Endless, Script, Server, http

Write = Callable[[str], Path]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"

SERVERS: dict[str, Script] = {
    "says nothing": [HANG],
    "trickles": [HEAD, Endless(b" ", 0.05)],
    "lists without end": [HEAD, b'{"data": [', Endless(b'{"id": "gpt-4o"},' * 1_000)],
}

COMMANDS = (
    (),
    ("models",),
    ("models", "box"),
    ("check",),
    ("check", "box"),
    ("route", "gpt-4o"),
    ("add", "other", "URL"),
    ("setup",),
)


@pytest.fixture(autouse=True)
def _short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (check, shutdown_dates):
        monkeypatch.setattr(module, "SECONDS", 0.1)
    monkeypatch.setattr(discovery, "LIST", 0.1)
    monkeypatch.setattr(discovery, "LOOK", 0.05)


@pytest.fixture(params=SERVERS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The base URL of a server that never answers in full."""
    script = SERVERS[request.param]
    with Server(script, models=script) as server:
        yield server.url


@pytest.fixture
def slow_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Names of hosts that are looked up until the test ends."""
    resolve, over = socket.getaddrinfo, threading.Event()

    def resolved(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "slow.invalid" and not kwargs.get("flags"):
            over.wait(30)
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    yield
    over.set()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_ends_whatever_the_server_does(
    command: tuple[str, ...], url: str, write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearby, "addresses", lambda: {"ollama": url})
    ends_soon(command, url, write_config)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.usefixtures("slow_names")
def test_a_command_ends_whatever_the_resolver_does(
    command: tuple[str, ...], write_config: Write
) -> None:
    ends_soon(command, "https://slow.invalid/v1", write_config)


def ends_soon(command: tuple[str, ...], url: str, write_config: Write) -> None:
    write_config(
        f"providers:\n  box: {{base_url: '{url}'}}\n"
        f"  openai: {{base_url: '{url}', key_env: BOX, enabled: false}}\n"
    )
    began = time.monotonic()
    done = g4f(*(url if word == "URL" else word for word in command))
    assert time.monotonic() - began < 3
    assert done.exit_code in (0, 1)
    assert "Traceback" not in done.output


def test_each_provider_has_its_own_time(write_config: Write) -> None:
    """One that hangs neither hides the lists of the others, nor adds its time to theirs."""
    with (
        Server(models=[HANG]) as hung,
        Server(models=http(200, {"data": [{"id": "gpt-4o"}]})) as good,
    ):
        urls = {"a": hung.url, "b": hung.url, "c": good.url, "d": hung.url}
        lines = [f"  {name}: {{base_url: '{url}'}}" for name, url in urls.items()]
        write_config("\n".join(["providers:", *lines]))
        began = time.monotonic()
        done = g4f("models")
        assert time.monotonic() - began < 1
        assert [str(model) for model in Client().models.list()] == ["c/gpt-4o"]
    assert (done.exit_code, done.stdout) == (1, "c/gpt-4o\n")
    words = f"{hung.url} does not answer within 0.1 s. Try again, or check the address."
    assert done.stderr.splitlines() == [f"{name}: {words}" for name in "abd"]


def test_a_command_as_a_whole_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Providers of other packages may wait where none of ours does."""
    monkeypatch.setattr(waiting, "SECONDS", 0.1)

    with pytest.raises(APITimeoutError, match=r"No answer within 0\.1 s.*llm g4f check NAME"):
        waiting.wait_for(lambda: asyncio.sleep(30))


def test_json_stays_json_where_a_provider_hangs(write_config: Write) -> None:
    with Server(models=[HANG]) as hung:
        write_config(f"providers: {{box: {{base_url: '{hung.url}'}}}}")
        done = g4f("models", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (1, {})
