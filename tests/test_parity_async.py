"""The sync and the async model have the same attributes and behave alike."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import llm
import pytest
import sqlite_utils
from llm.cli import load_conversation
from pydantic import BaseModel

from llm_g4f.adapter.models import G4F, AsyncG4F
from tests.support.commands import closing_databases
from tests.support.scenarios import Session, now, play, text_reply, tool_reply
from tests.support.server import USAGE, Server, call


def model(kind: str) -> Any:
    return llm.get_model("gpt-4o") if kind == "sync" else llm.get_async_model("gpt-4o")


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def hello(endpoints: Callable[..., Path]) -> Iterator[Server]:
    with Server(text_reply("Hel", "lo").script(streamed=True)) as server:
        endpoints(mybox=server)
        yield server


def test_the_models_are_of_llms_classes() -> None:
    sync, asynchronous = model("sync"), model("async")
    assert isinstance(sync, llm.KeyModel)
    assert isinstance(asynchronous, llm.AsyncKeyModel)
    assert inspect.isgeneratorfunction(sync.execute)
    assert inspect.signature(sync.execute).parameters.keys() == (
        inspect.signature(asynchronous.execute).parameters.keys()
    )


def public(value: Any) -> set[str]:
    return {name for name in dir(value) if not name.startswith("_")}


@pytest.mark.parametrize("model_id", ["gpt-4o", "gpt-4o-mini"])
def test_sync_and_async_models_have_the_same_attributes(model_id: str) -> None:
    sync: Any = llm.get_model(model_id)
    asynchronous: Any = llm.get_async_model(model_id)
    assert public(sync) == public(asynchronous)
    for name in public(sync):
        value, other = getattr(sync, name), getattr(asynchronous, name)
        assert callable(value) == callable(other), name
        if not callable(value):
            assert value == other, name
    assert sync.Options is asynchronous.Options
    assert issubclass(sync.Options, BaseModel)
    assert str(sync) == str(asynchronous)
    assert (sync.needs_key, sync.key, sync.key_env_var) == ("openai", None, "OPENAI_API_KEY")


def test_the_models_have_all_attributes_of_llms_classes() -> None:
    assert public(llm.KeyModel) <= public(G4F)
    assert public(llm.AsyncKeyModel) <= public(AsyncG4F)


@pytest.mark.parametrize(
    ("own", "given", "found"),
    [(None, None, None), ("a", None, "a"), (None, "b", "b"), ("a", "b", "b")],
)
def test_get_key_of_both_models(own: str | None, given: str | None, found: str | None) -> None:
    for kind in (G4F, AsyncG4F):
        one = kind("gpt-4o", "gpt-4o")
        one.key = own
        assert one.get_key(given) == found


def test_an_unread_response(kind: str, hello: Server) -> None:
    response = model(kind).prompt("hi")
    assert "hi" in repr(response)
    if kind == "async":
        for unready in (response.to_dict, response.text_or_raise, response.tool_calls_or_raise):
            with pytest.raises(ValueError, match="not yet awaited"):
                unready()
    else:
        assert response.text_or_raise() == "Hello"
    assert len(hello.requests) == (kind == "sync")


def test_a_response_is_saved_and_restored(kind: str, hello: Server) -> None:
    async def scenario(session: Session) -> None:
        first = await session.prompt("one", temperature=0.5)
        second = await session.reply(first, "two")
        saved = json.loads(json.dumps(second.to_dict()))
        assert saved["model"] == "gpt-4o"
        assert saved["usage"] == {"input": 7, "output": 2, "details": {}}
        assert saved["datetime_utc"]
        restored = type(second).from_dict(saved)
        other = type(second).from_dict(saved, model=session.model)
        assert other.model is session.model
        assert type(restored.model) is type(session.model)
        assert restored.text_or_raise() == "Hello"
        assert await now(restored.messages()) == await now(second.messages())
        assert restored.prompt.messages == second.prompt.messages
        assert (await now(restored.usage())) == (await now(second.usage()))
        third = await session.reply(restored, "three")
        assert [message.role for message in third.prompt.messages] == ["user", "assistant"] * 2 + [
            "user"
        ]

    play(scenario, model(kind))
    assert [message["content"] for message in hello.requests[-1].json["messages"]] == [
        *("one", "Hello", "two", "Hello", "three"),
    ]


def test_a_thread_is_logged_and_loaded(kind: str, hello: Server, user_path: Path) -> None:
    async def scenario(session: Session) -> None:
        thread = session.model.conversation()
        await session.prompt("one", system="S", on=thread)
        session.log.conn.execute("vacuum into ?", [str(user_path / "logs.db")])

    async def again(session: Session) -> None:
        with closing_databases():
            loaded = load_conversation(
                None,
                async_=isinstance(session.model, AsyncG4F),
                database=str(user_path / "logs.db"),
            )
        assert loaded is not None
        assert type(loaded.model) is type(session.model)
        response = await session.prompt("two", on=loaded)
        assert [message.role for message in response.prompt.messages] == [
            *("system", "user", "assistant", "user"),
        ]
        (noted,) = response.prompt.messages[2].parts
        assert noted.provider_metadata["g4f"]["provider"] == "mybox"

    play(scenario, model(kind))
    play(again, model(kind))


def test_each_round_of_a_chain_has_the_whole_history(
    kind: str, endpoints: Callable[..., Path]
) -> None:
    async def double(x: int) -> int:
        """Double the number."""
        return 2 * x

    async def scenario(session: Session) -> list[list[str]]:
        chain = session.model.chain("double 5", tools=[double], system="S")
        assert await now(chain.text()) == "Ten"
        return [[message.role for message in one.prompt.messages] for one in chain._responses]

    script = (tool_reply(call("double", '{"x": 5}', "call_a")), text_reply("Ten"))
    with Server(*(reply.script(streamed=True) for reply in script)) as server:
        endpoints(mybox=server)
        roles, _ = play(scenario, model(kind))
    assert roles == [["system", "user"], ["system", "user", "assistant", "tool"]]


def test_on_done_callbacks_are_called(kind: str, hello: Server) -> None:
    async def scenario(session: Session) -> list[str]:
        heard: list[str] = []

        def done(response: Any) -> None:
            heard.append(response.text_or_raise())

        response = session.model.prompt("hi")
        await now(response.on_done(done))
        await now(response.text())
        await now(response.on_done(done))
        return heard

    heard, _ = play(scenario, model(kind))
    assert heard == ["Hello"] * 2


def test_to_sync_response_keeps_everything(
    endpoints: Callable[..., Path],
) -> None:
    usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 5}}
    reply = text_reply("Hello", usage=usage, deltas={"reasoning_content": "Hm."})

    async def main() -> tuple[Any, Any]:
        response = model("async").prompt("hi")
        return response, await response.to_sync_response()

    with Server(reply.script(streamed=True)) as server:
        endpoints(mybox=server)
        response, sync = asyncio.run(main())
    assert sync.text() == "Hello"
    assert list(sync.stream_events()) == response._stream_events
    assert [part.text for part in sync.messages()[0].parts] == ["Hm.", "Hello"]
    assert sync.json() == response.response_json
    assert sync.resolved_model == response.resolved_model == "mybox/gpt-4o-2024-11-20"
    assert sync.usage().details == {"completion_tokens_details": {"reasoning_tokens": 5}}
    with closing(sqlite_utils.Database(memory=True)) as log:
        sync.log_to_db(log)
        assert log["turns"].count == 1


DOG = llm.schema_dsl("name: its name, age int")


def test_the_embedded_model_sync_and_async(real_weights: Path) -> None:
    async def scenario(session: Session) -> None:
        schema = await session.prompt("Invent a dog.", schema=DOG, temperature=0, max_tokens=60)
        dog = json.loads(await now(schema.text()))
        assert dog.keys() == {"name", "age"}
        assert isinstance(dog["age"], int)

        async def story(**options: Any) -> str:
            return str(
                await now((await session.prompt("A story:", max_tokens=8, **options)).text())
            )

        warm = {"temperature": 1.5, "seed": 7}
        assert await story(**warm) == await story(**warm)
        cold = await story(temperature=0)
        word = cold.split()[2]
        assert await story(temperature=0, stop=word) == cold.split(word)[0]

        thread = session.model.conversation()
        await session.prompt("My name is Ada.", on=thread, max_tokens=8, temperature=0)
        second = await session.prompt("Who am I?", on=thread, max_tokens=8, temperature=0)
        assert [message.role for message in second.prompt.messages] == [
            *("user", "assistant", "user"),
        ]
        with pytest.raises(llm.ModelError, match="tools"):
            await session.prompt("hi", tools=[llm.Tool(name="now")])

    (_, sync), (_, asynchronous) = (
        play(scenario, model("sync"), streamed=True),
        play(scenario, model("async"), streamed=False),
    )
    assert [one["text"] for one in sync] == [one["text"] for one in asynchronous]
