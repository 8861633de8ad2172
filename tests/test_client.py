"""`AsyncClient` and `Client`: the surface, and what goes over the wire."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import AsyncIterable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai.types.chat as openai_types
import pytest
from openai.types.chat import completion_create_params

import llm_g4f
from llm_g4f import AsyncClient, Client, errors
from llm_g4f.config.settings import provider_names
from llm_g4f.request import LEGACY_PARAMETERS
from llm_g4f.stream import AsyncStream, Stream
from llm_g4f.types import ChatCompletion, ChatCompletionChunk
from tests.support.commands import STRICT, run_python
from tests.support.server import (
    HANG,
    SSE_HEAD,
    Script,
    Server,
    chunk,
    completion,
    event,
    framed,
    http,
    stream,
    whole,
)

pytestmark = pytest.mark.usefixtures("event_loops")

Endpoints = Callable[..., Path]

HI = [{"role": "user", "content": "hi"}]


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def collect(chunks: AsyncIterable[ChatCompletionChunk]) -> list[ChatCompletionChunk]:
    return [chunk async for chunk in chunks]


@pytest.fixture
def answering() -> Any:
    """A server with one whole answer."""
    with Server(whole()) as server:
        yield server


@pytest.fixture
def streaming() -> Any:
    """A server with one streamed answer."""
    with Server(stream("Hel", "lo")) as server:
        yield server


# The surface.


def test_the_package_shows_its_public_names_only() -> None:
    namespace: dict[str, Any] = {}
    exec("from llm_g4f import *", namespace)
    assert sorted(namespace.keys() - {"__builtins__"}) == sorted(llm_g4f.__all__)
    assert dir(llm_g4f) == sorted(llm_g4f.__all__)
    public = {name for name in dir(AsyncClient()) if not name.startswith("_")}
    assert public == {
        *("aclose", "base_url", "beta", "chat", "close", "copy", "max_retries", "models"),
        *("timeout", "with_options"),
    }


def test_the_package_exports_the_clients_and_the_errors() -> None:
    assert llm_g4f.AsyncClient is llm_g4f.client.AsyncClient
    assert llm_g4f.Client is llm_g4f.client.Client
    assert llm_g4f.errors.G4FError is errors.G4FError
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = llm_g4f.nothing


def test_the_program_of_the_readme(endpoints: Endpoints, answering: Server) -> None:
    endpoints(mine=answering)

    async def main() -> None:
        client = AsyncClient()
        response = await client.chat.completions.create(
            model="gpt-4o",
            messages=[
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": "how does a court case get to the Supreme Court?"},
            ],
        )
        assert response.choices[0].message.content == "Hello"
        assert response.choices[0].message.role == "assistant"
        assert response.choices[0].finish_reason == "stop"
        assert (response.provider, response.model) == ("mine", "gpt-4o-2024-11-20")
        assert response.receipt.exact

    asyncio.run(main())
    [request] = answering.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.json == {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "how does a court case get to the Supreme Court?"},
        ],
        "stream": False,
    }


def test_both_calling_conventions_of_create(answering: Server) -> None:
    async def main() -> None:
        client = AsyncClient(base_url=answering.url)
        for answer in (
            await client.chat.completions.create(HI, "gpt-4o-mini"),
            await client.chat.completions.create(HI, model="gpt-4o-mini"),
            await client.chat.completions.create(model="gpt-4o-mini", messages=HI),
        ):
            assert isinstance(answer, ChatCompletion)

    asyncio.run(main())
    client = Client(base_url=answering.url)
    client.chat.completions.create(HI, "gpt-4o-mini")
    client.chat.completions.create(model="gpt-4o-mini", messages=HI)
    assert len(answering.requests) == 5
    assert all(
        request.json == {"model": "gpt-4o-mini", "messages": HI, "stream": False}
        for request in answering.requests
    )


def test_the_default_model_is_gpt_4o(answering: Server) -> None:
    assert Client(base_url=answering.url).chat.completions.create("hi").receipt
    assert answering.requests[0].json["model"] == "gpt-4o"
    assert answering.requests[0].json["messages"] == HI


def test_a_stream_is_iterated_directly_or_after_await(streaming: Server) -> None:
    async def main() -> None:
        completions = AsyncClient(base_url=streaming.url).chat.completions
        direct = await collect(completions.create("hi", stream=True))
        begun = await completions.create("hi", stream=True)
        assert isinstance(begun, AsyncStream)
        assert begun.receipt is not None
        assert begun.receipt.provider == "custom"
        assert begun.receipt.seconds is None
        awaited = await collect(begun)
        assert begun.usage is not None
        assert begun.receipt.seconds is not None
        same = await collect(completions.stream(HI, model="gpt-4o"))
        same_awaited = await collect(await completions.stream("hi", "gpt-4o"))
        for chunks in (direct, awaited, same, same_awaited):
            assert text_of(chunks) == "Hello"
            assert all(chunk.choices for chunk in chunks)
            assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
            assert {chunk.provider for chunk in chunks} == {"custom"}

    asyncio.run(main())
    assert all(
        request.json
        == {
            "model": "gpt-4o",
            "messages": HI,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        for request in streaming.requests
    )


def test_a_synchronous_stream(streaming: Server) -> None:
    completions = Client(base_url=streaming.url).chat.completions
    with completions.create("hi", stream=True) as begun:
        assert isinstance(begun, Stream)
        assert begun.receipt is not None
        assert text_of(list(begun)) == "Hello"
        assert begun.receipt.seconds is not None
    assert text_of(list(completions.stream(model="gpt-4o", messages=HI))) == "Hello"


def test_nothing_is_sent_before_create_is_awaited(answering: Server) -> None:
    async def main() -> None:
        AsyncClient(base_url=answering.url).chat.completions.create("hi")  # type: ignore[unused-coroutine]

    asyncio.run(main())
    assert answering.requests == []


def test_a_whole_answer_cannot_be_iterated(answering: Server) -> None:
    async def main() -> None:
        pending: Any = AsyncClient(base_url=answering.url).chat.completions.create("hi")
        async for _ in pending:
            pass

    with pytest.raises(TypeError, match="stream=True"):
        asyncio.run(main())


ENDLESS: Script = [
    SSE_HEAD,
    framed(event(chunk("", role="assistant"))),
    framed(event(chunk("Hel"))),
    framed(event(chunk("lo"))),
    HANG,
]


def test_a_failure_is_raised_at_await() -> None:
    async def main(url: str) -> None:
        with pytest.raises(errors.AuthenticationError):
            await AsyncClient(base_url=url).chat.completions.create("hi", stream=True)
        with pytest.raises(errors.AuthenticationError):
            async for _ in AsyncClient(base_url=url).chat.completions.create("hi", stream=True):
                pass

    with Server(http(401, {"error": {"message": "no"}})) as server:
        asyncio.run(main(server.url))
        with pytest.raises(errors.AuthenticationError):
            Client(base_url=server.url).chat.completions.create("hi", stream=True)
        with pytest.raises(errors.AuthenticationError) as caught:
            Client(base_url=server.url).chat.completions.create("hi")
    assert caught.value.provider == "custom"
    assert caught.value.receipt is not None
    assert [attempt.outcome for attempt in caught.value.receipt.attempts] == ["AuthenticationError"]


def test_the_clients_are_context_managers(answering: Server) -> None:
    async def main() -> None:
        async with AsyncClient(base_url=answering.url) as client:
            assert await client.chat.completions.create("hi")
        await client.aclose()

    asyncio.run(main())
    with Client(base_url=answering.url) as client:
        assert client.chat.completions.create("hi")
    client.close()


def test_the_answer_is_accepted_by_openais_types(streaming: Server) -> None:
    async def main() -> None:
        answer = await AsyncClient(base_url=streaming.url).chat.completions.create("hi")
        data = answer.to_dict()
        assert data == answer.model_dump() == json.loads(answer.model_dump_json())
        parsed = openai_types.ChatCompletion.model_validate(data)
        assert parsed.choices[0].message.content == "Hello"
        assert parsed.usage is not None
        assert parsed.usage.total_tokens == 9
        async for one in AsyncClient(base_url=streaming.url).chat.completions.stream("hi"):
            openai_types.ChatCompletionChunk.model_validate(one.to_dict())

    asyncio.run(main())


# Arguments.


def test_the_callers_objects_are_not_changed(answering: Server) -> None:
    given: dict[str, Any] = {
        "messages": [
            {"role": "system", "content": "x"},
            {"role": "user", "content": [{"type": "text", "text": "hi\ud800"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": "y"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": [1]}}}],
        "extra_body": {"a": {"b": [1]}},
        "headers": {"X-A": "b"},
        "provider": ["custom"],
    }
    before = copy.deepcopy(given)

    async def main() -> None:
        pending = AsyncClient(base_url=answering.url).chat.completions.create(**given)
        # What the caller does to its own lists between call and await is not sent.
        given["messages"][1]["content"][0]["text"] = "changed"
        given["tools"][0]["function"]["name"] = "changed"
        given["extra_body"]["a"]["b"].append(2)
        await pending
        given["messages"][1]["content"][0]["text"] = "hi\ud800"
        given["tools"][0]["function"]["name"] = "f"
        given["extra_body"]["a"]["b"].pop()

    asyncio.run(main())
    assert given == before
    Client(base_url=answering.url).chat.completions.create(**given)
    assert given == before
    for request in answering.requests:
        assert request.json["messages"][1]["content"][0]["text"] == "hi\ufffd"
        assert request.json["messages"][2:] == before["messages"][2:]
        assert request.json["tools"] == before["tools"]
        assert request.json["a"] == {"b": [1]}


@pytest.mark.parametrize("messages", ["", "  \n", []])
def test_an_empty_prompt_is_a_bad_request(answering: Server, messages: Any) -> None:
    with pytest.raises(errors.BadRequestError, match="The prompt is empty"):
        Client(base_url=answering.url).chat.completions.create(messages)
    assert answering.requests == []


def test_messages_may_be_any_iterable(answering: Server) -> None:
    Client(base_url=answering.url).chat.completions.create(iter(HI))
    assert answering.requests[0].json["messages"] == HI


PARAMETERS: dict[str, Any] = {
    "audio": {"voice": "alloy", "format": "wav"},
    "frequency_penalty": 0.5,
    "function_call": "auto",
    "functions": [{"name": "f"}],
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "max_completion_tokens": 7,
    "max_tokens": 8,
    "metadata": {"a": "b"},
    "modalities": ["text"],
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": -0.5,
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "seed": 0,
    "service_tier": "flex",
    "stop": ["a", "b"],
    "store": False,
    "stream_options": {"include_usage": False},
    "temperature": 0,
    "tool_choice": "none",
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "top_logprobs": 3,
    "top_p": 0.1,
}


@pytest.mark.parametrize(
    "name",
    sorted(
        completion_create_params.CompletionCreateParamsBase.__annotations__.keys()
        - {"messages", "model", *LEGACY_PARAMETERS}
    ),
)
def test_every_parameter_of_openai_is_sent_by_its_name(answering: Server, name: str) -> None:
    value = PARAMETERS.get(name, f"a {name}")
    Client(base_url=answering.url).chat.completions.create("hi", **{name: value})
    assert answering.requests[0].json == {
        "model": "gpt-4o",
        "messages": HI,
        "stream": False,
        name: value,
    }


NOTHING: dict[str, Any] = dict.fromkeys(PARAMETERS)


def test_parameters_that_are_none_are_not_sent(answering: Server) -> None:
    Client(base_url=answering.url).chat.completions.create("hi", **NOTHING)
    assert answering.requests[0].json == {"model": "gpt-4o", "messages": HI, "stream": False}


def test_all_choices_of_n_are_returned(answering: Server) -> None:
    answer = completion()
    answer["choices"].append({**answer["choices"][0], "index": 1})
    with Server(http(200, answer)) as server:
        got = Client(base_url=server.url).chat.completions.create("hi", n=2)
    assert [choice.message.content for choice in got.choices] == ["Hello", "Hello"]


def test_extra_body_is_sent(answering: Server) -> None:
    Client(base_url=answering.url).chat.completions.create(
        "hi", temperature=1, extra_body={"top_k": 5, "temperature": 0.5}
    )
    assert answering.requests[0].json["top_k"] == 5
    assert answering.requests[0].json["temperature"] == 0.5


def test_headers_are_sent(answering: Server) -> None:
    Client(base_url=answering.url).chat.completions.create("hi", headers={"X-Team": "blue"})
    headers = answering.requests[0].headers
    assert headers["x-team"] == "blue"
    assert headers["content-type"] == "application/json"
    assert "authorization" not in headers


@pytest.mark.parametrize("name", ["Authorization", "api-key", "X-Api-Key", "Cookie"])
def test_a_secret_header_needs_exactly_one_provider(
    endpoints: Endpoints, answering: Server, name: str
) -> None:
    endpoints(mine=answering)
    for provider in (None, "mine,openai"):
        with pytest.raises(errors.NoProviderError, match=name):
            Client(provider).chat.completions.create("hi", headers={name: "sk-canary"})
    assert answering.requests == []
    Client("mine").chat.completions.create("hi", headers={name: "sk-canary"})
    assert answering.requests[0].headers[name.lower()] == "sk-canary"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer sk-canary\nX: y"},
        {"Authorization": "Bearer sk-canaryü"},
        {"Authorization sk-canary": "x"},
        {"X-A": 5},
    ],
)
def test_an_invalid_header_is_an_error_that_does_not_show_it(
    answering: Server, headers: Any
) -> None:
    with pytest.raises(errors.G4FError) as caught:
        Client(base_url=answering.url).chat.completions.create("hi", headers=headers)
    assert "sk-canary" not in str(caught.value)
    assert answering.requests == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, ()),
        ("", ()),
        ("any", ()),
        ("a", ("a",)),
        ("a,b", ("a", "b")),
        ("a b", ("a", "b")),
        (" a ,, b\tc ", ("a", "b", "c")),
        (["a", "b"], ("a", "b")),
        (("a", "b,c"), ("a", "b", "c")),
        (["b", "a", "b"], ("b", "a")),
        (["any"], ()),
        ("openrouter/openai/gpt-4o", ("openrouter/openai/gpt-4o",)),
    ],
)
def test_provider_names(given: Any, expected: tuple[str, ...]) -> None:
    assert provider_names(given) == expected


@pytest.mark.parametrize("given", ["b,a", "b a", ["b", "a"], ("b", "a")])
@pytest.mark.parametrize("where", ["client", "call"])
def test_the_named_providers_are_asked_in_their_order(
    endpoints: Endpoints, given: Any, where: str
) -> None:
    with Server(whole()) as a, Server(http(429)) as b, Server(whole()) as c:
        endpoints(a=a, b=b, c=c)
        client = Client(given if where == "client" else "c")
        answer = client.chat.completions.create(
            "hi", **({"provider": given} if where == "call" else {})
        )
        assert answer.receipt is not None
        assert [one.provider for one in answer.receipt.attempts] == ["b", "a"]
        assert c.requests == []


def test_a_base_url_makes_a_provider_named_custom(
    monkeypatch: pytest.MonkeyPatch, user_path: Path, answering: Server
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    (user_path / "keys.json").write_text('{"openai": "sk-openai", "custom": "sk-openai"}')
    answer = Client(base_url=answering.url + "/").chat.completions.create("hi", "any-model")
    assert answer.provider == "custom"
    assert answering.requests[0].path == "/v1/chat/completions"
    assert "authorization" not in answering.requests[0].headers
    Client("custom", base_url=answering.url).chat.completions.create("hi")
    assert len(answering.requests) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base_url": "nonsense"}, "base_url: 'nonsense' must start with"),
        ({"base_url": "file:///etc/passwd"}, "base_url: "),
        ({"base_url": "https://u:sk-canary@x.example"}, "base_url: "),
        ({"base_url": "http://127.0.0.1", "provider": "openai"}, "named custom"),
        ({"api_key": "sk-canary", "provider": "a,b"}, r"2 are named \(a, b\)"),
        ({"api_key": "sk-canary x"}, "api_key is empty or contains"),
        ({"api_key": "sk-canary\n\nx"}, "api_key is empty or contains"),
        ({"api_key": " "}, "api_key is empty or contains"),
        ({"provider": "nobody"}, "Unknown provider 'nobody'"),
    ],
)
def test_contradicting_arguments_are_errors(options: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.NoProviderError, match=words) as caught:
        Client(**options).chat.completions.create("hi")
    assert "sk-canary" not in str(caught.value)


def test_an_api_key_goes_only_to_its_provider(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(whole()) as mine, Server(whole()) as other:
        endpoints(mine=mine, other=other)
        monkeypatch.setenv("OPENAI_BASE_URL", other.url)
        Client(api_key="sk-1").chat.completions.create("hi")
        assert other.requests[-1].headers["authorization"] == "Bearer sk-1"
        assert mine.requests == []
        Client("mine", api_key=" sk-2 ").chat.completions.create("hi")
        assert mine.requests[-1].headers["authorization"] == "Bearer sk-2"
        Client(base_url=mine.url, api_key="sk-3").chat.completions.create("hi")
        assert mine.requests[-1].headers["authorization"] == "Bearer sk-3"
        assert len(other.requests) == 1
        client = Client("mine", api_key="sk-canary")
        with pytest.raises(errors.NoProviderError, match="api_key is for mine") as caught:
            client.chat.completions.create("hi", provider="other")
        assert "sk-canary" not in str(caught.value)
        client.chat.completions.create("hi", provider="mine")
        assert len(other.requests) == 1


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("where", ["client", "call"])
def test_the_timeout_of_a_client_or_a_call(where: str, streamed: bool) -> None:
    with Server([HANG]) as server:
        client = Client(base_url=server.url, timeout=0.2 if where == "client" else 60)
        options: dict[str, Any] = {"stream": streamed}
        if where == "call":
            options["timeout"] = 0.2
        begun = time.monotonic()
        with pytest.raises(errors.APITimeoutError, match=r"within 0\.2 s"):
            client.chat.completions.create("hi", **options)
        assert 0.15 < time.monotonic() - begun < 3
        server.wait_closed()


def test_a_given_http_client_is_used_and_left_open(answering: Server) -> None:
    async def main() -> None:
        async with httpx.AsyncClient(headers={"X-Mine": "yes"}) as own:
            client = AsyncClient(base_url=answering.url, http_client=own)
            await client.chat.completions.create("hi")
            await client.aclose()
            assert not own.is_closed
            await client.chat.completions.create("hi")

    asyncio.run(main())
    assert [request.headers["x-mine"] for request in answering.requests] == ["yes", "yes"]
    assert {request.connection for request in answering.requests} == {1}


# models.list()


def test_models_list_has_the_models_of_every_candidate(endpoints: Endpoints) -> None:
    listed = {"data": [{"id": "gpt-4o"}, {"id": "llama"}]}
    other = {"data": [{"id": "x/y"}, {"id": "z"}]}
    with Server(models=http(200, listed)) as a, Server(models=http(200, other)) as b:
        endpoints(a=a, b=b)
        assert list(Client().models.list()) == ["a/gpt-4o", "a/llama", "b/x/y", "b/z"]

        async def main() -> None:
            assert await AsyncClient("b").models.list() == ["b/x/y", "b/z"]
            assert await AsyncClient(base_url=a.url).models.list() == [
                "custom/gpt-4o",
                "custom/llama",
            ]

        asyncio.run(main())
        assert {(request.method, request.path) for request in a.looks} == {("GET", "/v1/models")}
        assert a.requests == []


# Loops, threads, processes.


def test_one_client_serves_many_threads_and_reuses_connections(streaming: Server) -> None:
    client = Client(base_url=streaming.url)

    def ask(number: int) -> str | None:
        if number % 2:
            return text_of(list(client.chat.completions.stream(str(number))))
        return client.chat.completions.create(str(number)).choices[0].message.content

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(64))) == {"Hello"}
    assert sorted(int(one.json["messages"][0]["content"]) for one in streaming.requests) == list(
        range(64)
    )
    assert streaming.connections <= 8


def test_one_async_client_serves_many_tasks_and_many_loops(streaming: Server) -> None:
    client = AsyncClient(base_url=streaming.url)

    async def main() -> None:
        answers = await asyncio.gather(*(client.chat.completions.create("hi") for _ in range(20)))
        assert {answer.choices[0].message.content for answer in answers} == {"Hello"}

    for _ in range(3):
        asyncio.run(main())
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(asyncio.run, main()) for _ in range(4)]:
            done.result()
    assert len(streaming.requests) == 140


ASYNC_PROGRAM = """
import asyncio
from llm_g4f.client import AsyncClient

async def main():
    client = AsyncClient(base_url="{url}")
    answer = await client.chat.completions.create(model="gpt-4o", messages="hi")
    print(answer.choices[0].message.content)
    async for chunk in client.chat.completions.create("hi", stream=True):
        break
    begun = await client.chat.completions.create("hi", stream=True)
    await anext(begun)

asyncio.run(main())
"""

SYNC_PROGRAM = """
from llm_g4f import Client

client = Client(base_url="{url}")
print(client.chat.completions.create("hi").choices[0].message.content)
begun = client.chat.completions.create("hi", stream=True)
next(begun)
"""


@pytest.mark.parametrize("program", [ASYNC_PROGRAM, SYNC_PROGRAM])
def test_a_program_that_closes_nothing_exits_cleanly(program: str) -> None:
    with Server(whole(), ENDLESS) as server:
        # asyncio's warnings of slow turns are about the machine that runs this.
        program = "import logging; logging.getLogger('asyncio').setLevel(logging.ERROR)\n" + program
        done = run_python(program.format(url=server.url), *STRICT)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "Hello\n")


@pytest.mark.parametrize("module", ["llm_g4f", "llm_g4f.client", "llm_g4f.batch"])
def test_an_import_does_not_load_llm_or_httpx(module: str) -> None:
    heavy = ["llm", "httpx", "openai", "pydantic", "yaml", "click", "xllamacpp", "truststore"]
    done = run_python(
        f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
