from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import llm
import pytest
from llm.parts import ReasoningPart

from llm_g4f.adapter.models import G4F, AsyncG4F
from tests.support.prompts import Ask, ask_sync
from tests.support.server import (
    CLOSE,
    HANG,
    RESET,
    SSE_HEAD,
    USAGE,
    Script,
    Server,
    call,
    calls,
    chunk,
    completion,
    event,
    events,
    framed,
    http,
    stream,
    whole,
)


@pytest.fixture
def serve(endpoints: Callable[..., Path]) -> Iterator[Callable[..., Server]]:
    """Start a server with these scripts as the provider mybox."""
    started: list[Server] = []

    def start(*scripts: Script) -> Server:
        server = Server(*scripts)
        server.__enter__()
        started.append(server)
        endpoints(mybox=server)
        return server

    yield start
    for server in started:
        server.__exit__()


def test_a_streamed_answer(ask: Ask, serve: Callable[..., Server]) -> None:
    server = serve(stream("Hel", "lo"))
    answer = ask()
    assert answer.text == "Hello"
    assert answer.pieces == ["Hel", "lo"]
    assert server.requests[0].json["stream"] is True
    assert (answer.usage.input, answer.usage.output) == (7, 2)
    assert answer.resolved == "mybox/gpt-4o-2024-11-20"


def test_an_answer_that_is_not_streamed(ask: Ask, serve: Callable[..., Server]) -> None:
    server = serve(whole("Hello"))
    answer = ask(stream=False)
    assert answer.text == "Hello"
    assert server.requests[0].json["stream"] is False
    assert (answer.usage.input, answer.usage.output) == (7, 2)
    assert answer.resolved == "mybox/gpt-4o-2024-11-20"


@pytest.mark.parametrize("streamed", [True, False])
def test_the_receipt_is_in_the_json(ask: Ask, serve: Callable[..., Server], streamed: bool) -> None:
    serve(stream("Hello") if streamed else whole("Hello"))
    answer = ask(stream=streamed)
    assert json.loads(json.dumps(answer.json)) == answer.json
    assert {name: answer.json[name] for name in ("id", "object", "model", "content")} == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o-2024-11-20",
        "content": "Hello",
    }
    assert answer.json["finish_reason"] == "stop"
    assert answer.json["usage"] == USAGE
    receipt = answer.receipt
    assert (receipt["requested_model"], receipt["provider"]) == ("gpt-4o", "mybox")
    assert (receipt["model"], receipt["exact"]) == ("gpt-4o-2024-11-20", True)
    assert [(one["provider"], one["outcome"]) for one in receipt["attempts"]] == [("mybox", "ok")]
    assert 0 <= receipt["ttft"] <= receipt["seconds"]


def test_missing_usage_stays_none(ask: Ask, serve: Callable[..., Server]) -> None:
    serve(events(chunk("Hello"), chunk(finish="stop"), "[DONE]"))
    answer = ask()
    assert answer.text == "Hello"
    assert (answer.usage.input, answer.usage.output) == (None, None)
    assert answer.json["usage"] is None


def test_usage_details_are_simplified(ask: Ask, serve: Callable[..., Server]) -> None:
    usage = {
        **USAGE,
        "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    serve(events(chunk("Hello"), chunk(finish="stop"), chunk(usage=usage), "[DONE]"))
    assert ask().usage.details == {"prompt_tokens_details": {"cached_tokens": 3}}


SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def test_a_schema(ask: Ask, serve: Callable[..., Server]) -> None:
    server = serve(stream('{"name": ', '"Rex"}'))
    assert json.loads(ask("invent a dog", schema=SCHEMA).text) == {"name": "Rex"}
    form = server.requests[0].json["response_format"]
    assert form == {"type": "json_schema", "json_schema": {"name": "output", "schema": SCHEMA}}


def weather(city: str) -> str:
    """The weather of a city."""
    return f"{city}: rain"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_schema_holds_after_rounds_of_tools(
    asynchronous: bool, serve: Callable[..., Server]
) -> None:
    rounds = [calls(call("weather", f'{{"city": "{city}"}}', city)) for city in ("Rome", "Oslo")]
    server = serve(*rounds, stream("```json\n", '{"name": ', '"Rex"}\n```'), stream("Rex"))

    async def ask(**options: Any) -> str:
        if not asynchronous:
            return llm.get_model("gpt-4o").chain("a dog", tools=[weather], **options).text()
        chain = llm.get_async_model("gpt-4o").chain("a dog", tools=[weather], **options)
        text: str = await chain.text()
        return text

    assert asyncio.run(ask(schema=SCHEMA)) == '{"name": "Rex"}'
    for request in server.requests:
        assert request.json["response_format"]["json_schema"]["schema"] == SCHEMA
    server.scripts = (rounds[0], stream("Rex"))
    server.requests.clear()
    with pytest.raises(llm.ModelError, match="does not fit"):
        asyncio.run(ask(schema=SCHEMA))
    server.requests.clear()
    assert asyncio.run(ask()) == "Rex"
    assert all("response_format" not in request.json for request in server.requests)


def test_a_schema_ends_with_its_prompt(serve: Callable[..., Server]) -> None:
    server = serve(calls(call("weather", "{}", "a")), whole('{"name": "Rex"}'), whole("Hello"))
    thread = llm.get_model("gpt-4o").conversation()
    asked = thread.prompt("a dog", tools=[weather], schema=SCHEMA)
    [made] = asked.tool_calls()
    result = llm.ToolResult(name="weather", output="rain", tool_call_id=made.tool_call_id)
    thread.prompt(tool_results=[result], stream=False).text()
    assert thread.prompt("and?", stream=False).text() == "Hello"
    assert ["response_format" in request.json for request in server.requests] == [True, True, False]


def test_reasoning_events_and_parts(ask: Ask, serve: Callable[..., Server]) -> None:
    serve(
        events(
            chunk(reasoning="Let me "),
            chunk(reasoning_content="think."),
            chunk("42"),
            chunk(finish="stop"),
            "[DONE]",
        )
    )
    answer = ask()
    assert answer.text == "42"
    reasoning = [event.chunk for event in answer.events if event.type == "reasoning"]
    assert reasoning == ["Let me ", "think."]
    assert [(type(part).__name__, part.text) for part in answer.parts] == [
        ("ReasoningPart", "Let me think."),
        ("TextPart", "42"),
    ]


def test_hidden_reasoning_is_still_logged(ask: Ask, serve: Callable[..., Server]) -> None:
    serve(events(chunk(reasoning="hm"), chunk("42"), chunk(finish="stop"), "[DONE]"))
    answer = ask(hide_reasoning=True)
    assert [part.text for part in answer.parts] == ["hm", "42"]


def test_withheld_reasoning_is_a_redacted_part(ask: Ask, serve: Callable[..., Server]) -> None:
    usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 5}}
    serve(events(chunk("42"), chunk(finish="stop"), chunk(usage=usage), "[DONE]"))
    first = ask().parts[0]
    assert isinstance(first, ReasoningPart)
    assert (first.redacted, first.text) == (True, "")


def test_a_refusal_is_text(ask: Ask, serve: Callable[..., Server]) -> None:
    serve(events(chunk(refusal="I can't."), chunk(finish="stop"), "[DONE]"))
    assert ask().text == "I can't."


def test_tool_calls(ask: Ask, serve: Callable[..., Server]) -> None:
    pieces = [
        call("add", "", "call_a"),
        {"index": 0, "function": {"arguments": '{"a": 1,'}},
        {"index": 0, "function": {"arguments": ' "b": 2}'}},
        call("now", "", "call_b", 1),
    ]
    serve(calls(*pieces))
    answer = ask(tools=[llm.Tool(name="add"), llm.Tool(name="now")])
    assert [(one.tool_call_id, one.name, one.arguments) for one in answer.calls] == [
        ("call_a", "add", {"a": 1, "b": 2}),
        ("call_b", "now", {}),
    ]
    parts = [(part.tool_call_id, part.name, part.arguments) for part in answer.parts]
    assert parts == [("call_a", "add", {"a": 1, "b": 2}), ("call_b", "now", {})]


@pytest.mark.parametrize("arguments", ["", " ", "null", "{}"])
def test_a_call_without_arguments(ask: Ask, serve: Callable[..., Server], arguments: str) -> None:
    serve(calls(call("now", arguments, "call_a")))
    (made,) = ask(tools=[llm.Tool(name="now")]).calls
    assert made.arguments == {}


ADDING = (
    calls(call("add", '{"a": 1, "b": 2}', "call_a"), call("add", '{"a": 3, "b": 4}', "call_b", 1)),
    stream("3 and 7"),
)


def results(server: Server) -> list[tuple[str, str]]:
    return [
        (message["tool_call_id"], message["content"])
        for message in server.requests[-1].json["messages"]
        if message["role"] == "tool"
    ]


def test_a_chain_of_parallel_calls(serve: Callable[..., Server]) -> None:
    server = serve(*ADDING)

    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    chain = llm.get_model("gpt-4o").chain("add", tools=[add])
    assert chain.text() == "3 and 7"
    assert results(server) == [("call_a", "3"), ("call_b", "7")]
    (tool,) = server.requests[0].json["tools"]
    assert tool["function"]["name"] == "add"
    assert tool["function"]["parameters"]["properties"].keys() == {"a", "b"}


def test_a_chain_of_asynchronous_tools_runs_them_together(serve: Callable[..., Server]) -> None:
    server = serve(*ADDING)
    met = asyncio.Barrier(2)

    async def add(a: int, b: int) -> int:
        """Add."""
        async with asyncio.timeout(5):
            await met.wait()
        return a + b

    async def main() -> str:
        return await llm.get_async_model("gpt-4o").chain("add", tools=[add]).text()

    assert asyncio.run(main()) == "3 and 7"
    assert results(server) == [("call_a", "3"), ("call_b", "7")]


def test_a_tool_error_is_sent_to_the_model(serve: Callable[..., Server]) -> None:
    server = serve(calls(call("broken", "{}", "call_a")), stream("Sorry."))

    def broken() -> str:
        """Always fails."""
        raise ValueError("no luck")

    assert llm.get_model("gpt-4o").chain("go", tools=[broken]).text() == "Sorry."
    assert "no luck" in results(server)[0][1]


@pytest.mark.parametrize("arguments", ["[1, 2]", '"x"', "5", '{"a": '])
def test_invalid_tool_arguments_do_not_run_the_tool(
    ask: Ask, serve: Callable[..., Server], arguments: str
) -> None:
    serve(calls(call("add", arguments, "call_a")))
    with pytest.raises(llm.ModelError, match="add"):
        ask(tools=[llm.Tool(name="add", implementation=lambda: pytest.fail("it ran"))])


def test_a_key_is_sent_to_its_provider(
    ask: Ask, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(stream("Hello"))
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    ask(key="sk-prompt")
    ask(key="sk-other", provider="mybox")
    assert [request.headers["authorization"] for request in server.requests] == [
        "Bearer sk-prompt",
        "Bearer sk-other",
    ]


def test_a_key_without_a_provider_is_for_openai_only(
    ask: Ask, endpoints: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(stream("mine")) as mine, Server(stream("openai")) as openai:
        endpoints(mybox=mine)
        monkeypatch.setenv("OPENAI_BASE_URL", openai.url)
        assert ask().text == "mine"
        assert ask(key="sk-1").text == "openai"
        assert len(mine.requests) == 1
        assert "authorization" not in mine.requests[0].headers


def test_key_names_a_stored_key(ask: Ask, serve: Callable[..., Server], user_path: Path) -> None:
    server = serve(stream("Hello"))
    (user_path / "keys.json").write_text(json.dumps({"work": "sk-stored"}))
    ask(key="work", provider="mybox")
    assert server.requests[0].headers["authorization"] == "Bearer sk-stored"


def test_model_key_names_a_stored_key(serve: Callable[..., Server], user_path: Path) -> None:
    server = serve(stream("Hello"))
    (user_path / "keys.json").write_text(json.dumps({"work": "sk-stored"}))
    model = G4F("gpt-4o", "gpt-4o")
    model.key = "work"
    model.prompt("hi", provider="mybox").text()
    assert server.requests[0].headers["authorization"] == "Bearer sk-stored"


@pytest.mark.parametrize("face", [G4F, AsyncG4F])
def test_model_key_is_used_unless_the_prompt_has_one(
    face: type[G4F | AsyncG4F], serve: Callable[..., Server]
) -> None:
    server = serve(stream("Hello"))
    model = face("gpt-4o", "gpt-4o")
    model.key = "sk-model"
    if isinstance(model, G4F):
        model.prompt("hi", provider="mybox").text()
        model.prompt("hi", provider="mybox", key="sk-prompt").text()
    else:

        async def main() -> None:
            await model.prompt("hi", provider="mybox").text()
            await model.prompt("hi", provider="mybox", key="sk-prompt").text()

        asyncio.run(main())
    assert [request.headers["authorization"] for request in server.requests] == [
        "Bearer sk-model",
        "Bearer sk-prompt",
    ]


# Keys as other plugins and hosts pass them: llm-cmd, llm-cmd-comp and llm-git-commit set model.key,
# datasette-llm passes key= to prompt.


def use(model: Any, how: str, **kwargs: Any) -> str:
    """The text of a prompt to a model, after the code with which llm-cmd passes `kwargs["key"]`."""
    key = kwargs.pop("key", None)
    if how == "model.key" and model.needs_key:
        model.key = llm.get_key(key, model.needs_key, model.key_env_var)
    elif how == "model.get_key":
        model.key = key
        kwargs["key"] = model.get_key()
    elif how == "host" and model.needs_key is not None:
        kwargs["key"] = {"OPENAI_API_KEY": key}[f"{model.needs_key.upper()}_API_KEY"]
    if isinstance(model, G4F):
        return model.prompt("hi", **kwargs).text()

    async def text() -> str:
        return str(await model.prompt("hi", **kwargs).text())

    return asyncio.run(text())


@pytest.fixture
def with_fallback(
    write_config: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Server, Server], None]:
    """The built-in openai at the first server, and behind it mybox at the second."""

    def write(openai: Server, mybox: Server) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", openai.url)
        write_config(
            f"providers: {{mybox: {{base_url: '{mybox.url}'}}}}\nroutes: {{gpt-4o: [openai, mybox]}}"
        )

    return write


@pytest.mark.parametrize("how", ["model.key", "model.get_key", "host"])
@pytest.mark.parametrize("face", [G4F, AsyncG4F])
def test_a_key_that_another_plugin_was_given_is_for_openai_alone(
    face: Any,
    how: str,
    with_fallback: Callable[[Server, Server], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    with Server(stream("Hello"), http(401, {"error": "no"})) as openai, Server() as mybox:
        with_fallback(openai, mybox)
        assert use(face("gpt-4o", "gpt-4o"), how, key="sk-given") == "Hello"
        with pytest.raises(llm.ModelError, match="openai"):
            use(face("gpt-4o", "gpt-4o"), how, key="sk-given")
        sent = [request.headers["authorization"] for request in openai.requests]
        assert sent == ["Bearer sk-given"] * 2
        assert mybox.requests == []


@pytest.mark.parametrize("place", ["environment", "keys.json", "name in keys.json"])
@pytest.mark.parametrize("face", [G4F, AsyncG4F])
def test_a_key_that_another_plugin_has_found_leaves_the_fallback(
    face: Any,
    place: str,
    with_fallback: Callable[[Server, Server], None],
    user_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if place == "environment":
        monkeypatch.setenv("OPENAI_API_KEY", " sk-found ")
    else:
        (user_path / "keys.json").write_text(json.dumps({"openai": "sk-found"}))
    with Server(http(401, {"error": "no"})) as openai, Server(stream("Hello")) as mybox:
        with_fallback(openai, mybox)
        model = face("gpt-4o", "gpt-4o")
        model.key = "openai" if place == "name in keys.json" else None
        how = "as it is" if model.key else "model.key"
        assert use(model, how) == "Hello"
        assert openai.requests[0].headers["authorization"] == "Bearer sk-found"
        # Nor is it sent to another provider.
        assert use(model, how, provider="mybox") == "Hello"
        assert all("authorization" not in request.headers for request in mybox.requests)


def test_a_plugin_that_finds_no_key_leaves_the_route(
    with_fallback: Callable[[Server, Server], None],
) -> None:
    with Server() as openai, Server(stream("Hello")) as mybox:
        with_fallback(openai, mybox)
        assert use(G4F("gpt-4o", "gpt-4o"), "model.key") == "Hello"


def test_models_that_openai_does_not_serve_need_no_key() -> None:
    for face in (G4F, AsyncG4F):
        model = face("g4f/gpt-oss-20b", "gpt-oss-20b")
        assert (model.needs_key, model.key_env_var) == (None, None)
        for requested in ("gpt-4o", "gpt-4o-2024-08-06"):
            assert face(f"g4f/{requested}", requested).needs_key == "openai"


def test_a_key_for_several_providers_is_an_error(ask: Ask, endpoints: Callable[..., Path]) -> None:
    with Server(stream("a")) as a, Server(stream("b")) as b:
        endpoints(a=a, b=b)
        with pytest.raises(llm.ModelError, match="A key belongs to one provider"):
            ask(key="sk-1", provider="a,b")
        assert a.requests == b.requests == []


@pytest.mark.parametrize("stored", [None, "{broken", "[]"])
def test_get_key_never_raises(user_path: Path, stored: str | None) -> None:
    if stored is not None:
        path = user_path / "keys.json"
        path.write_text(stored)
        os.utime(path, (0, 0))
    for model in (llm.get_model("gpt-4o"), llm.get_async_model("gpt-4o")):
        assert model.needs_key == "openai"
        assert model.get_key() is None
        model.key = "sk-2"
        assert model.get_key() == "sk-2"
        assert model.get_key("sk-1") == "sk-1"


@pytest.mark.parametrize("key", ["sk-ca\nnary", "sk-cänary", "sk canary", "\x00canary", "  "])
def test_an_invalid_key_is_an_error_that_does_not_show_it(
    ask: Ask, serve: Callable[..., Server], key: str
) -> None:
    server = serve(stream("never"))
    with pytest.raises(llm.ModelError, match="--key") as caught:
        ask(key=key, provider="mybox")
    assert "nary" not in str(caught.value)
    assert server.requests == []


def test_sync_and_async_models_in_one_loop(serve: Callable[..., Server]) -> None:
    serve(stream("Hello"))

    async def cell() -> list[str]:
        text = await llm.get_async_model("gpt-4o").prompt("hi").text()
        return [text, llm.get_model("gpt-4o").prompt("hi").text()]

    assert asyncio.run(cell()) == ["Hello", "Hello"]


def test_prompts_from_many_threads(serve: Callable[..., Server]) -> None:
    server = serve(stream("Hello"))
    start = threading.Barrier(8)

    def prompt(number: int) -> str:
        start.wait()
        return ask_sync(f"{number}").text

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(prompt, range(8))) == ["Hello"] * 8
    asked = sorted(request.json["messages"][0]["content"] for request in server.requests)
    assert asked == [str(number) for number in range(8)]


def test_many_prompts_at_once_in_one_loop(serve: Callable[..., Server]) -> None:
    serve(stream("Hello"))

    async def main() -> list[str]:
        model = llm.get_async_model("gpt-4o")
        return await asyncio.gather(*(model.prompt("hi").text() for _ in range(8)))

    assert asyncio.run(main()) == ["Hello"] * 8


def test_a_dropped_sync_answer_closes_its_connection(serve: Callable[..., Server]) -> None:
    server = serve([SSE_HEAD, framed(event(chunk("Hel"))), HANG])
    response = iter(llm.get_model("gpt-4o").prompt("hi"))
    assert next(response) == "Hel"
    del response
    server.wait_closed()


def test_a_dropped_async_answer_closes_its_connection(serve: Callable[..., Server]) -> None:
    server = serve([SSE_HEAD, framed(event(chunk("Hel"))), HANG])

    async def main() -> None:
        response = llm.get_async_model("gpt-4o").prompt("hi")
        async for text in response:
            assert text == "Hel"
            break
        del response
        gc.collect()
        await asyncio.to_thread(server.wait_closed)

    asyncio.run(main())


HTML = http(200, "<html>login</html>", kind="text/html")

FAILURES: dict[str, tuple[Script, str]] = {
    "refused key": (
        http(401, {"error": {"message": "Incorrect API key"}}),
        r"mybox wants a key: llm keys set mybox, then key: mybox in g4f.yaml \(HTTP 401\)",
    ),
    "HTML": (HTML, "an HTML page in place of a completion"),
    "empty answer": (events("[DONE]"), "empty answer"),
    "error in the stream": (events({"error": {"message": "boom"}}), "boom"),
}


@pytest.mark.parametrize(("script", "words"), FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("streamed", [True, False])
def test_failures_are_model_errors(
    ask: Ask,
    serve: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
    script: Script,
    words: str,
    streamed: bool,
) -> None:
    monkeypatch.setattr("llm_g4f.routing.policy.BACKOFF", (0.0, 0.0))
    serve(script)
    with pytest.raises(llm.ModelError, match=words):
        ask(stream=streamed)


def test_the_error_lists_every_attempt(ask: Ask, endpoints: Callable[..., Path]) -> None:
    with Server(HTML) as a, Server(http(404, {"error": {"message": "gone"}})) as b:
        endpoints(a=a, b=b)
        with pytest.raises(llm.ModelError) as caught:
            ask()
    lines = str(caught.value).splitlines()
    assert "HTML page" in lines[0]
    assert lines[1] == "Tried:"
    assert lines[2].startswith("  a gpt-4o (")
    assert lines[2].endswith(" s): an HTML page")
    assert " s): has no gpt-4o at http" in lines[3]


@pytest.mark.parametrize("end", [RESET, CLOSE])
def test_an_answer_that_breaks_off_gives_its_text_and_a_model_error(
    serve: Callable[..., Server], end: Any
) -> None:
    server = serve([SSE_HEAD, framed(event(chunk("Hel"))), 0.05, end])
    words = iter(llm.get_model("gpt-4o").prompt("hi"))
    assert next(words) == "Hel"
    with pytest.raises(llm.ModelError, match="broke off"):
        next(words)
    assert len(server.requests) == 1


def test_an_unknown_provider_is_a_model_error(ask: Ask, serve: Callable[..., Server]) -> None:
    serve(stream("never"))
    with pytest.raises(
        llm.ModelError, match=r"Unknown provider 'nobody'\. Known providers: .*mybox.*openai"
    ):
        ask(provider="nobody")


def talk(prompts: list[dict[str, Any]], *, face: str) -> list[str]:
    """A conversation, one prompt after the other."""
    if face == "sync":
        thread = llm.get_model("gpt-4o").conversation()
        return [thread.prompt("hi", **options).text() for options in prompts]

    async def talked() -> list[str]:
        thread = llm.get_async_model("gpt-4o").conversation()
        return [await thread.prompt("hi", **options).text() for options in prompts]

    return asyncio.run(talked())


@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_conversation_keeps_its_provider(endpoints: Callable[..., Path], face: str) -> None:
    with (
        Server(stream("one")) as one,
        Server(stream("two")) as two,
        Server(stream("three")) as three,
    ):
        endpoints(one=one, two=two, three=three)
        prompts: list[dict[str, Any]] = [
            {},
            {"provider": "two"},
            {},
            {},
            {"provider": "three, two"},
            {},
            {"provider": "any"},
            {},
        ]
        answers = talk(prompts, face=face)
    assert answers == ["one", "two", "two", "two", "three", "three", "one", "one"]


@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_conversation_keeps_exact(write_config: Callable[[str], Path], face: str) -> None:
    with Server(stream("sub", model="llama")) as sub, Server(stream("exact")) as exact:
        write_config(
            "providers:\n"
            f"  sub: {{base_url: '{sub.url}', models: {{gpt-4o: llama}}}}\n"
            f"  real: {{base_url: '{exact.url}'}}\n"
        )
        prompts: list[dict[str, Any]] = [{}, {"exact": True}, {}, {}, {"exact": False}, {}]
        answers = talk(prompts, face=face)
    assert answers == ["sub", "exact", "exact", "exact", "sub", "sub"]


def test_a_chain_of_tools_keeps_its_provider(endpoints: Callable[..., Path]) -> None:
    with Server(stream("never")) as one, Server(*ADDING) as two:
        endpoints(one=one, two=two)

        def add(a: int, b: int) -> int:
            """Add."""
            return a + b

        thread = llm.get_model("gpt-4o").conversation(tools=[add])
        assert thread.chain("add", options={"provider": "two"}).text() == "3 and 7"
        assert thread.prompt("again").text() == "3 and 7"
        assert one.requests == []


@pytest.mark.parametrize(
    ("reason", "words"),
    [("length", "cut at its token limit"), ("content_filter", "content filter cut")],
)
def test_a_cut_answer_warns(
    ask: Ask,
    serve: Callable[..., Server],
    caplog: pytest.LogCaptureFixture,
    reason: str,
    words: str,
) -> None:
    serve(events(chunk("Hel"), chunk(finish=reason), "[DONE]"))
    answer = ask()
    assert answer.text == "Hel"
    assert answer.json["finish_reason"] == reason
    assert len(caplog.messages) == 1
    assert words in caplog.messages[0]


def test_a_complete_answer_does_not_warn(
    ask: Ask, serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    serve(http(200, completion("Hello")))
    assert ask().text == "Hello"
    assert caplog.messages == []


def test_the_embedded_model_through_llm(ask: Ask, real_weights: Path) -> None:
    answer = ask("Say hello.", max_tokens=8, temperature=0)
    assert re.search(r"\w", answer.text)
    assert answer.resolved == "embedded/smollm2-135m-instruct"
    assert answer.usage.output is not None
    assert 0 < answer.usage.output <= 8
    assert str(real_weights) not in json.dumps(answer.json)
