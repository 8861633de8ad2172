"""The arguments of a client and of `create`: taken, or refused in words."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionMessage as OpenAIMessage
from openai.types.chat import ChatCompletionUserMessageParam
from pydantic import BaseModel

from llm_g4f import AsyncClient, Client, errors
from llm_g4f.arguments import _ELSEWHERE, misspelt
from llm_g4f.openai import NOT_GIVEN, Timeout, omit
from llm_g4f.request import PARAMETERS
from tests.support.server import (
    CLOSE,
    HANG,
    SSE_HEAD,
    Script,
    Server,
    chunk,
    event,
    framed,
    http,
    whole,
)

HI = [{"role": "user", "content": "hi"}]


def sent(*messages: Any, **options: Any) -> Any:
    """The body of a request with these messages."""
    with Server(whole()) as server:
        Client(base_url=server.url).chat.completions.create(messages or HI, **options)
        return server.requests[0].json


def refused(**options: Any) -> str:
    """What is said about an argument; nothing is sent."""
    with Server(whole()) as server:
        client = Client(base_url=server.url)
        with pytest.raises(TypeError) as caught:
            client.chat.completions.create(**{"messages": HI, **options})
        assert server.requests == []
    assert isinstance(caught.value, errors.G4FError)
    return str(caught.value)


# Messages.


class Turn(BaseModel):
    role: str
    content: str
    name: str | None = None


USER: ChatCompletionUserMessageParam = {"role": "user", "content": "hi"}
THEIRS = OpenAIMessage.model_validate(
    {
        "role": "assistant",
        "content": None,
        "annotations": [],
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ],
    }
)


def test_messages_of_every_kind_are_taken() -> None:
    messages = sent(USER, THEIRS, Turn(role="user", content="x"))["messages"]
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert messages == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "user", "content": "x"},
    ]


def test_an_answer_is_sent_again_without_what_is_for_its_reader() -> None:
    message: dict[str, Any] = {
        "annotations": [{"type": "url_citation"}],
        "reasoning": "Hm",
        "reasoning_details": [{"type": "reasoning.text", "text": "Hm"}],
        "audio": {"id": "audio_1", "data": "AAAA", "transcript": "Hello"},
    }
    with Server(whole(**message)) as server:
        client = Client(base_url=server.url)
        answer = client.chat.completions.create(HI).choices[0].message
        client.chat.completions.create([*HI, answer, *HI])
        again = server.requests[1].json["messages"][1]
    assert again == {
        "role": "assistant",
        "content": "Hello",
        "reasoning_details": message["reasoning_details"],
        "audio": {"id": "audio_1"},
    }


@pytest.mark.parametrize("messages", [5, {"role": "user"}, [5], ["hi"], [Turn], None])
def test_other_messages_are_refused(messages: Any) -> None:
    assert "messages must be a text, or a list of" in refused(messages=messages)


# Headers and queries.


def test_headers_of_a_call_replace_those_of_the_client() -> None:
    with Server(whole(), models=http(200, {"data": []})) as server:
        client = Client(
            base_url=server.url, default_headers={"X-A": "1", "x-b": "2"}, default_query={"a": 1}
        )
        client.chat.completions.create(
            HI, headers={"X-C": "3"}, extra_headers={"X-B": "4"}, extra_query={"b": [2, 3]}
        )
        client.models.list()
    (request,), (listing,) = server.requests, server.looks
    assert [request.headers[name] for name in ("x-a", "x-b", "x-c")] == ["1", "4", "3"]
    assert request.path == "/v1/chat/completions?a=1&b=2&b=3"
    assert request.json == {"model": "gpt-4o", "messages": HI, "stream": False}
    assert listing.headers["x-a"] == "1"


@pytest.mark.parametrize("where", ["default_headers", "extra_headers"])
def test_a_secret_header_needs_one_provider_wherever_it_is_given(where: str) -> None:
    secret = {"Authorization": "Bearer sk-canary"}
    default = {where: secret} if where == "default_headers" else {}
    extra: Any = {} if default else {where: secret}
    with pytest.raises(errors.NoProviderError, match="Authorization") as caught:
        Client(**default).chat.completions.create("hi", **extra)  # type: ignore[arg-type]
    assert "sk-canary" not in str(caught.value)
    with Server(whole()) as server:
        client = Client(base_url=server.url, **default)  # type: ignore[arg-type]
        client.chat.completions.create("hi", **extra)
        assert server.requests[0].headers["authorization"] == "Bearer sk-canary"


@pytest.mark.parametrize("where", ["default_query", "extra_query"])
def test_a_secret_in_a_query_needs_one_provider(where: str) -> None:
    secret: Any = {where: {"api_key": "sk-canary"}}
    default, extra = (secret, {}) if where == "default_query" else ({}, secret)
    create = Client(**default).chat.completions.create
    with pytest.raises(errors.NoProviderError, match="api_key in extra_query") as caught:
        create("hi", **extra)
    assert "sk-canary" not in str(caught.value)


def test_a_bad_extra_header_is_not_shown() -> None:
    with Server(whole()) as server:
        with pytest.raises(errors.BadRequestError) as caught:
            Client(base_url=server.url).chat.completions.create(
                "hi", extra_headers={"X-A": "sk-canary\n"}
            )
        assert server.requests == []
    assert "sk-canary" not in str(caught.value)


def test_organization_and_project_go_to_openai_alone(
    monkeypatch: pytest.MonkeyPatch, write_config: Any
) -> None:
    with Server(http(500)) as ours, Server(whole()) as mine:
        write_config(f"providers: {{mine: {{base_url: '{mine.url}'}}}}")
        monkeypatch.setenv("OPENAI_BASE_URL", ours.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
        client = Client("openai,mine", organization="org-1", project="proj_1")
        client.chat.completions.create("hi")
        headers = ours.requests[0].headers
        assert (headers["openai-organization"], headers["openai-project"]) == ("org-1", "proj_1")
        assert "openai-organization" not in mine.requests[0].headers
        client.chat.completions.create("hi", provider="mine")
        assert mine.requests[1].headers["openai-project"] == "proj_1"


# Retries and time limits.


@pytest.mark.parametrize(("retries", "requests"), [(0, 1), (1, 2), (2, 2), (None, 2)])
def test_max_retries(retries: int | None, requests: int) -> None:
    for where in ("client", "call"):
        with Server(http(503, headers=[("Retry-After", "0")])) as server:
            client: Any = Client(
                base_url=server.url, max_retries=retries if where == "client" else None
            )
            with pytest.raises(errors.InternalServerError):
                client.chat.completions.create(
                    "hi", **({"max_retries": retries} if where == "call" else {})
                )
            assert len(server.requests) == requests


def test_without_retries_a_refused_parameter_is_still_left_out() -> None:
    error = {"message": "Unsupported parameter: 'seed'", "param": "seed"}
    error["code"] = "unsupported_parameter"
    with Server(http(400, {"error": error}), whole()) as server:
        client = Client(base_url=server.url, max_retries=0)
        assert client.chat.completions.create("hi", seed=1).receipt.omitted == ("seed",)


@pytest.mark.parametrize(("retries", "requests"), [(0, 2), (None, 3)])
@pytest.mark.usefixtures("transport")
def test_without_retries_nothing_is_sent_again_once_it_was_written(
    retries: int | None, requests: int
) -> None:
    with Server(whole(), [CLOSE], whole()) as server:
        client = Client(base_url=server.url, max_retries=retries)
        client.chat.completions.create("hi")
        if retries == 0:
            with pytest.raises(errors.APIConnectionError, match="kept from an earlier request"):
                client.chat.completions.create("hi")
        else:
            client.chat.completions.create("hi")
        assert len(server.requests) == requests


@pytest.mark.usefixtures("transport")
def test_without_retries_a_kept_connection_found_closed_is_still_replaced() -> None:
    with Server([*whole(), CLOSE], whole("again")) as server:
        client = Client(base_url=server.url, max_retries=0)
        client.chat.completions.create("hi")
        server.wait_closed()
        answer = client.chat.completions.create("hi")
    assert answer.choices[0].message.content == "again"
    assert [one.outcome for one in answer.receipt.attempts] == ["ok"]


def test_without_retries_another_provider_is_asked(endpoints: Any) -> None:
    with Server(http(500)) as first, Server(whole()) as second:
        endpoints(first=first, second=second)
        answer = Client(max_retries=0).chat.completions.create("hi")
        assert [one.provider for one in answer.receipt.attempts] == ["first", "second"]


@pytest.mark.parametrize("kind", [httpx.Timeout, httpx2.Timeout, openai.Timeout, Timeout])
@pytest.mark.parametrize("script", ["first", "next"])
def test_read_is_the_time_to_the_first_content_and_to_each_next(kind: Any, script: str) -> None:
    begun: Script = [SSE_HEAD, framed(event(chunk("Hel"))), HANG]
    with Server(begun if script == "next" else [HANG]) as server:
        client = Client(base_url=server.url, timeout=kind(30, read=0.2), max_retries=0)
        with pytest.raises(errors.APITimeoutError, match=r"for 0\.2 s"):
            for _ in client.chat.completions.create("hi", stream=True):
                pass


def test_connect_is_the_time_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    from llm_g4f.http import pool

    given: list[Any] = []
    send = pool.ConnectionPool.send

    async def noted(self: Any, request: Any, connect_timeout: Any = None) -> Any:
        given.append(connect_timeout)
        return await send(self, request, connect_timeout)

    monkeypatch.setattr(pool.ConnectionPool, "send", noted)
    with Server(whole()) as server:
        create = Client(base_url=server.url).chat.completions.create
        create("hi", timeout=httpx.Timeout(None, connect=0.7))
        create("hi", timeout=httpx.Timeout(None))
        create("hi", timeout=9)
    assert given == [0.7, 5.0, 5.0]


@pytest.mark.parametrize("timeout", ["5", 0, -1, True, float("inf"), (1, 2), httpx.Timeout(0)])
def test_other_timeouts_are_refused(timeout: Any) -> None:
    assert "must be a number of seconds" in refused(timeout=timeout)
    with pytest.raises(TypeError, match="must be a number of seconds"):
        Client(timeout=timeout)


# Absent arguments.


@pytest.mark.parametrize("absent", [NOT_GIVEN, omit, openai.NOT_GIVEN, openai.omit, None])
def test_absent_arguments_are_as_if_left_out(absent: Any) -> None:
    names = (
        *("provider", "exact", "timeout", "extra_body", "headers", "extra_headers"),
        *("extra_query", "max_retries", "temperature", "tools", "stop", "image", "model", "stream"),
    )
    assert sent(**dict.fromkeys(names, absent)) == {
        "model": "gpt-4o",
        "messages": HI,
        "stream": False,
    }
    client_names = (
        *("provider", "api_key", "base_url", "proxies", "timeout", "http_client", "max_retries"),
        *("organization", "project", "default_headers", "default_query"),
    )
    client: Any = Client(**dict.fromkeys(client_names, absent))
    assert (client.base_url, client.max_retries) == (None, None)


# Arguments of the wrong kind.


class OpenaiChat:
    """A class as g4f has them."""


class Groq:
    """A class as g4f has them, of a provider that is here too."""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"provider": OpenaiChat}, "provider=OpenaiChat is a class, and there is no provider of"),
        ({"provider": [OpenaiChat]}, "azure"),
        ({"provider": 5}, "provider must be a name or a list of names, not 5"),
        ({"exact": "yes"}, "exact must be True or False"),
        ({"headers": ["a"]}, "headers must be an object"),
        ({"extra_headers": "sk-canary"}, "extra_headers must be an object"),
        ({"extra_query": 5}, "extra_query must be an object"),
        ({"extra_body": "x"}, "extra_body must be an object"),
        ({"max_retries": -1}, "max_retries must be a whole number from 0"),
        ({"max_retries": True}, "max_retries must be a whole number from 0"),
        ({"model": 5}, "model must be the name of a model"),
        ({"image": b"\x89PNG"}, "image_url"),
        ({"images": [b"\x89PNG"]}, "image_url"),
        ({"web_search": True}, "not offered here"),
        ({"response_format": Turn}, r"only chat.completions.parse"),
        ({"temperatur": 1}, "did you mean temperature?"),
        ({"provider": {"order": ["a"]}}, "goes into extra_body"),
        ({"response_format": int}, "response_format cannot be written as JSON: "),
        ({"temperature": {1}}, "temperature cannot be written as JSON: "),
        ({"extra_body": {"mine": object()}}, "mine cannot be written as JSON: "),
        ({"messages": [{"role": "user", "content": object()}]}, "messages cannot be written"),
        (
            {"stop": (text for text in "ab")},
            "A parameter cannot be sent: cannot pickle 'generator'",
        ),
    ],
)
def test_an_argument_of_the_wrong_kind_is_a_type_error(options: Any, words: str) -> None:
    said = refused(**options)
    assert words in said
    assert "sk-canary" not in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"provider": OpenaiChat}, "is a class"),
        ({"api_key": 5}, "api_key must be text"),
        ({"base_url": 5}, "base_url must be text"),
        ({"proxies": 5}, "proxies must be a URL"),
        ({"proxies": {"https": 5}}, "proxies must be a URL"),
        ({"proxies": {5: "http://p:1"}}, "proxies must be a URL"),
        ({"http_client": httpx.Client()}, "must be an httpx.AsyncClient or an httpx2.AsyncClient"),
        ({"default_headers": "x"}, "default_headers must be an object"),
        ({"default_query": 5}, "default_query must be an object"),
        ({"organization": 5}, "organization must be text"),
        ({"max_retries": "2"}, "max_retries must be a whole number"),
    ],
)
def test_an_argument_of_a_client_of_the_wrong_kind_is_a_type_error(
    options: Any, words: str
) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(TypeError, match=words):
            kind(**options)


def test_a_class_of_g4f_stands_for_the_provider_of_its_name() -> None:
    with pytest.raises(errors.NoProviderError, match=r"groq: no key"):
        Client(Groq).chat.completions.create("hi")  # type: ignore[arg-type]


def test_a_model_of_g4f_stands_for_its_name() -> None:
    class Model:
        name = "gpt-4o-mini"

    assert sent(model=Model())["model"] == "gpt-4o-mini"


# Unknown parameters.


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("temperatur", "temperature"),
        ("temprature", "temperature"),
        ("tempperature", "temperature"),
        ("tempearture", "temperature"),
        ("max_token", "max_tokens"),
        ("max_tokenss", "max_tokens"),
        ("respone_format", "response_format"),
        ("tool_choise", None),
        ("see", None),
        ("tols", None),
        ("temperature_2", None),
        ("my_own", None),
    ],
)
def test_an_obvious_slip_names_what_was_meant(name: str, meant: str | None) -> None:
    assert misspelt(name) == meant
    if meant is None:
        assert sent(**{name: 1})[name] == 1


@pytest.mark.parametrize("name", sorted(_ELSEWHERE))
def test_a_parameter_of_another_server_is_no_slip(name: str) -> None:
    assert name not in PARAMETERS
    assert misspelt(name) is None


def test_extra_body_is_not_looked_at() -> None:
    assert sent(extra_body={"temperatur": 1, "image": None})["temperatur"] == 1


# http_client


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_a_client_of_either_library_is_used(library: Any) -> None:
    async def main(url: str) -> None:
        async with library.AsyncClient(headers={"X-Mine": "yes"}) as own:
            create = AsyncClient(base_url=url, http_client=own).chat.completions.create
            assert (await create("hi"))._request_id == "req_1"
            with pytest.raises(errors.APIConnectionError):
                await AsyncClient(
                    base_url="http://127.0.0.1:1", http_client=own
                ).chat.completions.create("hi", timeout=3)

    answer = whole()
    with Server([answer[0].replace(b"\r\n", b"\r\nx-request-id: req_1\r\n", 1)]) as server:  # type: ignore[union-attr]
        asyncio.run(main(server.url))
        assert server.requests[0].headers["x-mine"] == "yes"
