"""Ours does what llm's own gpt-4o does: each scenario is played with both, asking twin servers.

The requests are equal, and so is everything llm then tells and logs of the answers, but for the
differences that tests/support/parity.py lists and for what ours tells besides.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llm
import pytest
import trustme
from pydantic import BaseModel

from tests.support.builtin import builtin
from tests.support.media import GIF, JPEG, PDF, PNG, WEBP
from tests.support.parity import as_ours_tells, comparable, shared_json
from tests.support.scenarios import (
    JSON,
    Reply,
    Scenario,
    Session,
    now,
    play,
    text_reply,
    tool_reply,
)
from tests.support.server import USAGE, Script, Server, call, chunk, completion, events, http


@pytest.fixture(autouse=True)
def _few_authorities(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Skip the system's authorities, which openai reads for every request: nothing is encrypted here."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def prompt(*args: Any, **kwargs: Any) -> Scenario:
    async def scenario(session: Session) -> None:
        await session.prompt(*args, **kwargs)

    return scenario


def talk(*turns: JSON) -> Scenario:
    """A conversation."""

    async def scenario(session: Session) -> None:
        thread = session.model.conversation()
        for turn in turns:
            await session.prompt(on=thread, **turn)

    return scenario


def images(*contents: bytes, **kwargs: Any) -> Scenario:
    attachments = [llm.Attachment(content=content) for content in contents]
    return prompt("describe", attachments=attachments, **kwargs)


async def image_by_path(session: Session) -> None:
    path = llm.user_dir() / "a.png"
    path.write_bytes(PNG)
    await session.prompt("describe", attachments=[llm.Attachment(path=str(path))])


async def replies(session: Session) -> None:
    response = await session.prompt("one", system="Be brief.")
    response = await session.reply(response, "two")
    await session.reply(
        response, messages=[llm.user("three"), llm.assistant("3"), llm.user("four")]
    )


async def restored(session: Session) -> None:
    """A response that went through JSON goes on."""
    response = await session.prompt("one", seed=1)
    saved = json.dumps(response.to_dict())
    again = type(response).from_dict(json.loads(saved), model=session.model)
    await session.reply(again, "two", options={"seed": 2})


def weather(city: str) -> str:
    """The weather in a city."""
    return f"{city}: rain"


async def slow_weather(city: str) -> str:
    """The weather in a city, slowly."""
    return f"{city}: sun"


def facts() -> dict[str, Any]:
    """Some facts."""
    return {"köln": [1, None, True]}


def plain(city):  # type: ignore[no-untyped-def]
    return 5


def broken(city: str) -> str:
    """Always fails."""
    raise ValueError(f"no weather in {city}")


def photo(city: str) -> llm.ToolOutput:
    """A photo of a city."""
    return llm.ToolOutput(output=city, attachments=[llm.Attachment(content=PNG)])


def who(city: str, llm_tool_call: llm.ToolCall) -> str:
    """Which call this is."""
    return f"{city} {llm_tool_call.tool_call_id}"


class Till(llm.Toolbox):
    """A toolbox with a state, that gets a tool when it is prepared."""

    def __init__(self, cash: int) -> None:
        self._cash = cash

    def put(self, coins: int) -> int:
        """Put coins in."""
        self._cash += coins
        return self._cash

    def prepare(self) -> None:
        self._cash += 100

    async def prepare_async(self) -> None:
        self._cash += 100


def chain(*tools: Any, **kwargs: Any) -> Scenario:
    async def scenario(session: Session) -> str:
        return await session.chain("weather?", tools=list(tools), **kwargs)

    return scenario


async def toolbox(session: Session) -> str:
    return await session.chain("put", tools=[Till(5)])


async def approved(session: Session) -> Any:
    """One call is cancelled, and all are heard of."""
    heard: list[Any] = []

    def before(tool: llm.Tool | None, made: llm.ToolCall) -> None:
        heard.append([tool and tool.name, made.arguments])
        if made.arguments == {"city": "Rome"}:
            raise llm.CancelToolCall("not there")

    def after(tool: llm.Tool, made: llm.ToolCall, result: llm.ToolResult) -> None:
        heard.append([tool.name, made.tool_call_id, result.output])

    await session.chain("weather?", tools=[weather], before_call=before, after_call=after)
    return heard


async def limited(session: Session) -> str:
    thread = session.model.conversation(chain_limit=2)
    with pytest.raises(ValueError, match="Chain limit of 2 exceeded") as caught:
        await session.chain("weather?", tools=[weather], on=thread)
    return str(caught.value)


async def paused(session: Session) -> str:
    """A chain that a tool paused is resumed from its history."""

    def ask(city: str) -> str:
        """Ask somebody."""
        raise llm.PauseChain

    thread = session.model.conversation()
    with pytest.raises(llm.PauseChain):
        await session.chain("weather?", tools=[ask], on=thread)
    (response,) = thread.responses
    history = [*response.prompt.messages, *await now(response.messages())]
    answer = llm.Tool.function(weather, name="ask", description="Ask somebody.")
    return await session.chain(messages=history, tools=[answer])


async def tools_in_a_conversation(session: Session) -> None:
    thread = session.model.conversation()
    await session.chain("weather?", tools=[weather], system="S", on=thread)
    await session.prompt("thanks", on=thread)


async def tools_by_hand(session: Session) -> None:
    thread = session.model.conversation()
    response = await session.prompt("weather?", tools=[weather], on=thread)
    results = await now(response.execute_tool_calls())
    await session.prompt(tool_results=results, tools=[weather], on=thread)


async def tools_in_a_reply(session: Session) -> None:
    response = await session.prompt("weather?", tools=[weather])
    await session.reply(response, "and then?")


async def images_kept(session: Session) -> None:
    thread = session.model.conversation()
    url = llm.Attachment(url="https://example.com/a.png", type="image/png")
    pdf = llm.Attachment(content=PDF)
    await session.prompt("one", on=thread, attachments=[llm.Attachment(content=PNG), url])
    await session.prompt("two", on=thread, attachments=[pdf], image_detail="high")
    await session.prompt("three", on=thread)


class Dog(BaseModel):
    name: str
    age: int
    friends: list[str] = []


FREE = {"type": "object", "properties": {"name": {"type": "string"}}}
DOG = '{"name": "Rex", "age": 3}'

EVERY: dict[str, Any] = {
    "temperature": 0.5,
    "max_tokens": 10,
    "top_p": 0.9,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.2,
    "stop": "END",
    "logit_bias": '{"1712": -100}',
    "seed": 42,
    "json_object": True,
    "image_detail": "low",
    "service_tier": "flex",
}

PARIS = call("weather", '{"city": "Paris"}', "call_a")
ROME = call("weather", '{"city": "Rome"}', "call_b", 1)
OSLO = call("weather", '{"city": "Oslo"}', "call_c")
HELLO = text_reply("Hel", "lo")
ROUND = (tool_reply(PARIS, ROME), HELLO)


def for_paris(name: str) -> JSON:
    return call(name, '{"city": "Paris"}', "call_a")


@dataclass(frozen=True)
class Case:
    scenario: Scenario
    replies: tuple[Reply, ...] = (HELLO,)
    count: int = 1
    differs: tuple[str, ...] = ()
    keeps_schema: bool = False
    """Ours holds later answers to the schema of the first prompt; llm's own forgets it."""


DETAILS = {
    **USAGE,
    "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "accepted_prediction_tokens": 1},
}
REASONED = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 5}}

CASES: dict[str, Case] = {
    "plain": Case(prompt("hi")),
    "not ASCII": Case(prompt("Grüße 🌍 \u2028"), (text_reply("Grüße", " 🌍"),)),
    "system": Case(prompt("hi", system="Be brief.")),
    "fragments": Case(
        prompt("hi", fragments=["one", "two"], system="S", system_fragments=["three"])
    ),
    "messages": Case(
        prompt(messages=[llm.system("S"), llm.user("one"), llm.assistant("two"), llm.user("three")])
    ),
    "system repeated": Case(
        prompt(
            messages=[
                message
                for text in ("A", "A", "B", "A")
                for message in (llm.system(text), llm.user("u"))
            ]
        )
    ),
    "messages and a prompt": Case(prompt("two", messages=[llm.user("one"), llm.assistant("1")])),
    "conversation": Case(
        talk(
            {"prompt": "one", "system": "Be brief."},
            {"prompt": "two", "system": "Be brief."},
            {"prompt": "three", "system": "Be long."},
            {"prompt": "four", "fragments": ["f"], "temperature": 0},
            {"prompt": "five"},
        ),
        count=5,
    ),
    "replies": Case(replies, count=3),
    "restored": Case(restored, count=2),
    **{f"option {name}": Case(prompt("JSON", **{name: value})) for name, value in EVERY.items()},
    "every option": Case(prompt("JSON", attachments=[llm.Attachment(content=PNG)], **EVERY)),
    "option off": Case(prompt("hi", json_object=False, temperature=0)),
    "logit_bias by token": Case(prompt("hi", logit_bias={1712: -100})),
    "options in a chain": Case(chain(weather, options=EVERY), ROUND, 2, ("no content",)),
    "schema": Case(prompt("a dog", schema=FREE), (text_reply(DOG),)),
    "schema of pydantic": Case(prompt("a dog", schema=Dog), (text_reply(DOG),)),
    "schema in short": Case(
        prompt("a dog", schema=llm.schema_dsl("name: its name, age int")), (text_reply(DOG),)
    ),
    "schema of many": Case(
        prompt("dogs", schema=llm.schema_dsl("name, age int, good bool", multi=True)),
        (text_reply('{"items": [{"name": "Rex", "age": 3, "good": true}]}'),),
    ),
    "schema over json_object": Case(
        prompt("a dog", schema=FREE, json_object=True), (text_reply(DOG),)
    ),
    "schema, then words": Case(
        talk({"prompt": "a dog", "schema": FREE}, {"prompt": "and?"}), (text_reply(DOG), HELLO), 2
    ),
    "schema and tools": Case(
        chain(weather, schema=FREE),
        (tool_reply(PARIS), text_reply(DOG)),
        2,
        ("no content",),
        keeps_schema=True,
    ),
    "png": Case(images(PNG)),
    "jpeg": Case(images(JPEG)),
    "webp": Case(images(WEBP)),
    "gif": Case(images(GIF)),
    "pdf": Case(images(PDF)),
    "several at once": Case(images(PNG, PDF, JPEG, PNG)),
    "image by path": Case(image_by_path),
    "image by url": Case(
        prompt("hi", attachments=[llm.Attachment(url="https://example.com/a", type="image/gif")])
    ),
    "image in detail": Case(images(PNG, image_detail="low")),
    "image alone": Case(prompt("", attachments=[llm.Attachment(content=PNG)])),
    "images kept": Case(images_kept, count=3),
    "tools": Case(chain(weather), ROUND, 2, ("no content",)),
    "tools in rounds": Case(
        chain(weather, slow_weather),
        (tool_reply(PARIS), tool_reply(OSLO, ROME), tool_reply(for_paris("slow_weather")), HELLO),
        4,
        ("no content",),
    ),
    "tools with a system prompt": Case(
        chain(weather, system="S", system_fragments=["T"]), ROUND, 2, ("no content",)
    ),
    "no tool is called": Case(chain(weather)),
    "asynchronous tools": Case(
        chain(slow_weather),
        (
            tool_reply(for_paris("slow_weather"), call("slow_weather", '{"city": "Rome"}', "b", 1)),
            HELLO,
        ),
        2,
        ("no content",),
    ),
    "tool with facts": Case(
        chain(facts),
        (tool_reply(call("facts", "{}", "call_a")), HELLO),
        2,
        ("no content",),
    ),
    "tool without arguments": Case(
        chain(facts),
        (tool_reply(call("facts", "", "call_a")), HELLO),
        2,
        ("no content", "no empty arguments"),
    ),
    "tool without words or types": Case(
        chain(plain), (tool_reply(for_paris("plain")), HELLO), 2, ("no content",)
    ),
    "tool that fails": Case(
        chain(broken), (tool_reply(for_paris("broken")), HELLO), 2, ("no content",)
    ),
    "tool that is not there": Case(
        chain(weather), (tool_reply(for_paris("nosuch")), HELLO), 2, ("no content",)
    ),
    "tool with a photo": Case(
        chain(photo), (tool_reply(for_paris("photo")), HELLO), 2, ("no content",)
    ),
    "tool that knows its call": Case(
        chain(who), (tool_reply(for_paris("who")), HELLO), 2, ("no content",)
    ),
    "toolbox": Case(
        toolbox,
        (
            tool_reply(call("Till_put", '{"coins": 2}', "call_a")),
            tool_reply(call("Till_put", '{"coins": 3}', "call_b")),
            HELLO,
        ),
        3,
        ("no content",),
    ),
    "approval": Case(approved, ROUND, 2, ("no content",)),
    "chain limit": Case(limited, (tool_reply(PARIS), tool_reply(ROME)), 2, ("no content",)),
    "pause": Case(paused, (tool_reply(for_paris("ask")), HELLO), 2, ("no content",)),
    "tools in a conversation": Case(tools_in_a_conversation, ROUND, 3, ("no content",)),
    "tools by hand": Case(tools_by_hand, ROUND, 2, ("no content",)),
    "tools in a reply": Case(tools_in_a_reply, ROUND, 2, ("no content",)),
    "words and tools": Case(
        chain(weather), (tool_reply(PARIS, pieces=("Let me ", "see.")), HELLO), 2, ("words first",)
    ),
    "usage in detail": Case(prompt("hi"), (text_reply("Hello", usage=DETAILS),)),
    "usage with more": Case(prompt("hi"), (text_reply("Hello", usage={**USAGE, "cost": 0.5}),)),
    "withheld reasoning": Case(prompt("hi"), (text_reply("Hello", usage=REASONED),)),
    "hidden reasoning": Case(
        prompt("hi", hide_reasoning=True), (text_reply("Hello", usage=REASONED),)
    ),
    "reasoning": Case(
        talk({"prompt": "one"}, {"prompt": "two"}),
        (text_reply("Hello", deltas={"reasoning_content": "Hm."}),),
        2,
        ("reasoning",),
    ),
    "refusal": Case(prompt("hi"), (text_reply(deltas={"refusal": "I can't."}),), 1, ("refusal",)),
    "cut at its limit": Case(prompt("hi"), (text_reply("Hel", finish="length"),)),
    "filtered": Case(prompt("hi"), (text_reply("Hel", finish="content_filter"),)),
    "fingerprint and tier": Case(
        prompt("hi", service_tier="flex"),
        (text_reply("Hello", extra={"system_fingerprint": "fp_1", "service_tier": "flex"}),),
    ),
}

FACES = {"sync": False, "async": True}


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_requests_answers_and_logs_equal_those_of_llms_gpt_4o(
    case: Case, streamed: bool, endpoints: Callable[..., Path]
) -> None:
    scripts = [reply.script(streamed=streamed) for reply in case.replies]
    bodies, told = {}, {}
    for name, asynchronous in FACES.items():
        with Server(*scripts) as theirs, Server(*scripts) as ours:
            endpoints(mybox=ours)
            get: Any = llm.get_async_model if asynchronous else llm.get_model
            own = builtin(theirs.url, asynchronous=asynchronous)
            came, answers = play(case.scenario, get("gpt-4o"), streamed=streamed)
            came_of_own, own_answers = play(case.scenario, own, streamed=streamed)
        assert came == came_of_own
        assert len(ours.requests) == case.count
        for request, other in zip(ours.requests, theirs.requests, strict=True):
            kept = {"response_format"} if case.keeps_schema else set()
            first = theirs.requests[0].json
            assert request.json == other.json | {name: first[name] for name in kept}
            assert (request.method, request.path) == (other.method, other.path)
        expected = as_ours_tells(own_answers, case.differs, streamed=streamed)
        for mine, theirs_told in zip(answers, expected, strict=True):
            receipt = mine["json"]["g4f"]
            assert mine["resolved"] == f"{receipt['provider']}/{receipt['model']}"
            assert mine["log"]["resolved_model"] == mine["resolved"]
            assert mine["log"]["response_json"] == mine["json"]
            assert shared_json(mine["json"], theirs_told["json"]) == theirs_told["json"]
            assert comparable(mine) == comparable(theirs_told)
        bodies[name] = [request.json for request in ours.requests]
        told[name] = [
            comparable(answer) | {"json": shared_json(answer["json"], {})} for answer in answers
        ]
    assert bodies["sync"] == bodies["async"]
    assert told["sync"] == told["async"]


LATE = {"index": 0, "delta": {"content": "lo"}, "finish_reason": "stop"}

BREAKS: dict[str, tuple[Script, bool, type[Exception]]] = {
    "no usage, whole": (http(200, completion("Hello") | {"usage": None}), False, AttributeError),
    "null choices": (
        events(
            chunk("Hel"), {**chunk(), "choices": None}, {**chunk(), "choices": [LATE]}, "[DONE]"
        ),
        True,
        TypeError,
    ),
    "null delta": (
        events(
            chunk("Hello"),
            {**chunk(), "choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]},
            "[DONE]",
        ),
        True,
        AttributeError,
    ),
}


@pytest.mark.parametrize(("script", "streamed", "error"), BREAKS.values(), ids=BREAKS)
def test_streams_that_break_llms_gpt_4o_are_read(
    script: Script, streamed: bool, error: type[Exception], endpoints: Callable[..., Path]
) -> None:
    with Server(script) as server:
        endpoints(mybox=server)
        with pytest.raises(error):
            builtin(server.url).prompt("hi", stream=streamed).text()
        assert llm.get_model("gpt-4o").prompt("hi", stream=streamed).text() == "Hello"


REFUSED: dict[str, JSON] = {
    "unknown option": {"nosuch": 1},
    "option out of range": {"temperature": 3},
    "attachment of another kind": {"attachments": [llm.Attachment(content=b"x", type="text/csv")]},
    "tool of a provider": {"tools": [llm.ServerSideTool({"type": "web_search"})]},
}


@pytest.mark.parametrize("how", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("asynchronous", FACES.values(), ids=FACES)
def test_input_that_llms_gpt_4o_rejects_is_rejected(asynchronous: bool, how: JSON) -> None:
    get: Any = llm.get_async_model if asynchronous else llm.get_model
    own = builtin("http://127.0.0.1:1/v1", asynchronous=asynchronous)
    refusals = []
    for model in (own, get("gpt-4o")):
        with pytest.raises(ValueError, match=r".") as caught:
            model.prompt("hi", **how)
        refusals.append((type(caught.value), str(caught.value).split(", only")[0]))
    assert refusals[0] == refusals[1]
