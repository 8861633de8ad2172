"""Answers as llm's events and logs: here the notice about who answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import llm
import pytest

from tests.support.server import Server, call, calls, stream


@pytest.fixture
def substitute(write_config: Callable[[str], Path]) -> Iterator[Server]:
    with Server(stream("Hello", model="llama")) as server:
        write_config(
            f"providers:\n  mybox: {{base_url: '{server.url}', models: {{gpt-4o: llama}}}}\n"
        )
        yield server


def notices(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "llm_g4f"]


NOTICE = 'gpt-4o answered by llama (mybox): a substitute. "llm g4f route gpt-4o" shows why.'


def test_the_notice_appears_once_in_a_conversation(
    substitute: Server, caplog: pytest.LogCaptureFixture
) -> None:
    thread = llm.get_model("gpt-4o").conversation()
    for text in ("one", "two", "three"):
        thread.prompt(text).text()
    assert notices(caplog) == [NOTICE]
    llm.get_model("gpt-4o").prompt("four").text()
    assert notices(caplog) == [NOTICE, NOTICE]


def weather(city: str) -> str:
    """The weather in a city."""
    return f"{city}: rain"


PARIS = call("weather", '{"city": "Paris"}', "call_a")
ROME = call("weather", '{"city": "Rome"}', "call_b", 1)
TOOLS = (calls(PARIS, ROME), stream("Hello"))


def test_the_notice_appears_once_in_a_chain_of_tools(
    write_config: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    with Server(*TOOLS) as server:
        write_config(f"providers:\n  mybox: {{base_url: '{server.url}', models: {{gpt-4o: m}}}}\n")
        assert llm.get_model("gpt-4o").chain("weather?", tools=[weather]).text() == "Hello"
    assert len(notices(caplog)) == 1


def test_the_notice_appears_again_when_it_changes(
    write_config: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    scripts = [stream("x", model=name) for name in ("llama", "llama", "qwen", "llama")]
    with Server(*scripts) as server:
        write_config(
            f"providers:\n  mybox: {{base_url: '{server.url}', models: {{gpt-4o: llama}}}}\n"
        )
        thread = llm.get_model("gpt-4o").conversation()
        for _ in scripts:
            thread.prompt("hi").text()
    assert notices(caplog) == [NOTICE, NOTICE.replace("llama", "qwen"), NOTICE]
