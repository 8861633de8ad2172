"""Threads pass between llm's own gpt-4o and ours, with all that is in them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import llm
import pytest
import sqlite_utils
from llm.cli import load_conversation
from llm.migrations import migrate

from tests.support.builtin import builtin
from tests.support.commands import Run, closing_databases
from tests.support.media import PNG
from tests.support.scenarios import JSON, Scenario, Session, play, text_reply, tool_reply
from tests.support.server import USAGE, Server, call, stream

FUNCTIONS = '''
def weather(city: str) -> str:
    """The weather in a city."""
    return city + ": rain"
'''

COUNTED = {
    **USAGE,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
"""A usage that llm's own gpt-4o logs in a short form."""

ROUND = (
    tool_reply(
        call("weather", '{"city": "Köln"}', "call_a"), call("llm_version", "{}", "call_b", 1)
    ),
    text_reply("Rain, with ", "llm.", usage=COUNTED),
    text_reply('{"name": "Rex"}', deltas={"reasoning_content": "A dog."}, usage=COUNTED),
    text_reply("Goodbye", usage=COUNTED),
)
SCRIPTS = [reply.script(streamed=True) for reply in ROUND]

GONE = {"LLM_LOAD_PLUGINS": ""}
"""Our plugin is not installed: llm loads no entry point, and its own models as always."""

HERE: dict[str, str] = {}

BEGUN: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "by llm's own": (GONE, ()),
    "by ours": (HERE, ("-o", "provider", "openai", "-o", "exact", "1", "-o", "timeout", "60")),
}


@pytest.mark.parametrize(("environment", "options"), BEGUN.values(), ids=BEGUN)
def test_a_conversation_continues_with_either_model(
    environment: dict[str, str],
    options: tuple[str, ...],
    tmp_path: Path,
    user_path: Path,
    write_config: Callable[[str], Path],
    run_llm: Run,
) -> None:
    write_config("providers:\n  openai: {models: {gpt-4o: gpt-4o}}\n")
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "tools.py").write_text(FUNCTIONS, encoding="utf-8")
    tools = ("-T", "llm_version", "--functions", str(tmp_path / "tools.py"))
    usual = ("-o", "image_detail", "low", "-o", "seed", "1", "-s", "Be brief.")
    key = {"OPENAI_API_KEY": "sk-1"}
    with Server(*SCRIPTS) as server:
        begin = {**key, **environment, "OPENAI_BASE_URL": server.url}
        image = ("-a", str(tmp_path / "a.png"))
        for arguments in (
            ("-m", "gpt-4o", "weather?", *image, *tools, *usual, *options),
            ("-c", "now a dog", "--schema", "name, age int"),
        ):
            done = run_llm(*arguments, env=begin)
            assert done.returncode == 0, done.stderr
    begun = [request.json for request in server.requests]
    assert len(begun) == 3

    def go_on(name: str, installed: dict[str, str]) -> tuple[list[JSON], list[JSON], list[str]]:
        home = tmp_path / name
        shutil.copytree(user_path, home)
        with Server(stream("Hel", "lo")) as server:
            env = {
                **key,
                **installed,
                "OPENAI_BASE_URL": server.url,
                "LLM_USER_PATH": str(home),
            }
            said = [
                run_llm("-c", "and?", env=env),
                run_llm("chat", "-c", env=env, input="more\nexit\n"),
            ]
            rows = json.loads(run_llm("logs", "--json", "-n", "0", env=env).stdout)
        assert [(one.returncode, one.stderr) for one in said] == [(0, "")] * 2
        return [one.json for one in server.requests], rows, [one.stdout for one in said]

    with ThreadPoolExecutor(2) as pool:
        ours, theirs = pool.map(go_on, ("ours", "theirs"), (HERE, GONE))
    assert ours[0] == theirs[0]
    assert ours[2] == theirs[2]
    first, second = (body["messages"] for body in ours[0])
    # What was sent is sent again, word for word.
    assert first[: len(begun[-1]["messages"])] == begun[-1]["messages"]
    assert [message["role"] for message in second] == [
        *("system", "user", "assistant", "tool", "tool", "assistant"),
        *("user", "assistant", "user", "assistant", "user"),
    ]
    _, asked, called, rain, *_ = second
    assert asked["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert [made["id"] for made in called["tool_calls"]] == ["call_a", "call_b"]
    assert rain == {"role": "tool", "tool_call_id": "call_a", "content": "Köln: rain"}
    assert [tool["function"]["name"] for tool in ours[0][0]["tools"]] == ["llm_version"]
    for _, rows, _ in (ours, theirs):
        assert [row["model"] for row in rows] == ["gpt-4o"] * 5
        assert all(row["response_json"]["usage"]["total_tokens"] == 9 for row in rows)
    # What was logged of the beginning reads the same with and without us.
    kept_by_ours, kept_by_theirs = (
        [row["response_json"] for row in rows[:3]] for _, rows, _ in (ours, theirs)
    )
    assert kept_by_ours == kept_by_theirs


OLD = "01k0000000000000000000000"
"""The beginning of a row's id."""


def a_thread_of_an_older_llm(path: Path) -> None:
    """Two turns as they were logged before llm 0.36: in the table `responses`, with options."""
    database: Any = sqlite_utils.Database(path)
    migrate(database)
    database["conversations"].insert({"id": f"{OLD}0", "name": "old", "model": "gpt-4o"})
    options = {"temperature": 0.5, "image_detail": "low", "logit_bias": {"1712": -100}}
    for number, text in enumerate(("one", "two"), 1):
        database["responses"].insert(
            {
                "id": f"{OLD}{number}",
                "model": "gpt-4o",
                "prompt": text,
                "system": "Be brief.",
                "options_json": json.dumps(options),
                "response": text.upper(),
                "response_json": json.dumps({"content": text.upper(), "role": "assistant"}),
                "conversation_id": f"{OLD}0",
                "duration_ms": 1,
                "datetime_utc": f"2025-01-01T00:00:0{number}",
            }
        )
    calls = {"response_id": f"{OLD}1", "name": "weather", "tool_call_id": "call_a"}
    database["tool_calls"].insert({**calls, "arguments": '{"city": "Rome"}'})
    database["tool_results"].insert({**calls, "response_id": f"{OLD}2", "output": "sun"})
    attachment = {"id": "a" * 64, "type": "image/png", "content": PNG}
    database["attachments"].insert(attachment)
    linked = {"response_id": f"{OLD}1", "attachment_id": "a" * 64, "order": 0}
    database["prompt_attachments"].insert(linked)
    database.close()


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_conversation_of_an_older_llm_continues(
    asynchronous: bool, user_path: Path, endpoints: Callable[..., Path]
) -> None:
    a_thread_of_an_older_llm(user_path / "logs.db")

    async def scenario(session: Session) -> None:
        with closing_databases():
            thread: Any = load_conversation(None, async_=asynchronous)
        thread.model = session.model
        await session.prompt("three", on=thread)

    bodies = both(scenario, asynchronous, endpoints)
    assert [message["role"] for message in bodies[0]["messages"]] == [
        *("system", "user", "assistant", "tool", "user", "assistant", "user"),
    ]


def both(scenario: Scenario, asynchronous: bool, endpoints: Callable[..., Path]) -> list[JSON]:
    """The requests of a scenario, which are the same with llm's own gpt-4o."""
    script = text_reply("Hello").script(streamed=True)
    with Server(script) as theirs, Server(script) as ours:
        endpoints(mybox=ours)
        get: Any = llm.get_async_model if asynchronous else llm.get_model
        play(scenario, get("gpt-4o"))
        play(scenario, builtin(theirs.url, asynchronous=asynchronous))
    bodies = [request.json for request in ours.requests]
    assert bodies == [request.json for request in theirs.requests]
    return bodies


def weather(city: str) -> str:
    """The weather in a city."""
    return f"{city}: rain"


IDS = {
    "40 characters": "call_" + "x" * 35,
    "odd characters": "functions.weather:0|ä/=+",
    "Mistral's nine": "aB3dE5gH7",
    "a number": "0",
}


@pytest.mark.parametrize("id", IDS.values(), ids=IDS)
def test_tool_calls_of_one_provider_continue_with_another(
    id: str, write_config: Callable[[str], Path]
) -> None:
    asked = tool_reply(
        call("weather", '{"city": "Rome"}', id),
        call("weather", '{"city": "Oslo"}', id[::-1] + "b", 1),
    ).script(streamed=True)
    with (
        Server(asked, stream("Rain.")) as one,
        Server(stream("Hello")) as two,
        Server(stream("Hello")) as nine,
        Server(stream("Hello")) as theirs,
    ):
        write_config(
            f"providers:\n  one: {{base_url: '{one.url}'}}\n  two: {{base_url: '{two.url}'}}\n"
            f"  nine: {{base_url: '{nine.url}', quirks: [short_tool_ids]}}\n"
        )
        thread = llm.get_model("gpt-4o").conversation()
        thread.chain("weather?", tools=[weather], options={"provider": "one"}).text()
        saved = thread.prompt("thanks").to_dict()
        for name in ("two", "nine"):
            response = llm.Response.from_dict(saved)
            response.reply("and?", options={"provider": name}).text()
        llm.Response.from_dict(saved, model=builtin(theirs.url)).reply("and?").text()
    assert two.requests[0].json == theirs.requests[0].json

    def ids(server: Server) -> tuple[list[str], list[str]]:
        messages = server.requests[-1].json["messages"]
        made = [made["id"] for message in messages for made in message.get("tool_calls", ())]
        return made, [message["tool_call_id"] for message in messages if message["role"] == "tool"]

    assert ids(two) == ids(one) == ([id, id[::-1] + "b"],) * 2
    made, answered = ids(nine)
    assert made == answered
    assert len(set(made)) == 2
    assert all(len(short) == 9 and short.isalnum() for short in made)
