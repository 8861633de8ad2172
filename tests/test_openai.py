"""OpenAI's names, and what openai's client has that a chat program uses."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import llm_g4f.openai as ours
from llm_g4f import AsyncClient, Client
from llm_g4f.stream import AsyncStream, Stream
from tests.support.commands import run_python
from tests.support.server import (
    END,
    SSE_HEAD,
    Script,
    Server,
    chunk,
    event,
    framed,
    http,
    stream,
    whole,
)

HI = [{"role": "user", "content": "hi"}]
HEADED = http(200, {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}, [
    ("X-Request-ID", "req_1"), ("X-RateLimit-Remaining-Requests", "41"),
])  # fmt: skip


def test_the_names_of_openai_mean_what_they_mean_there() -> None:
    import openai as theirs

    for name in ours.__all__:
        assert hasattr(theirs, name), name
    for name, kind in vars(ours).items():
        their = getattr(theirs, name, None)
        if their is not None and isinstance(kind, type) and issubclass(kind, Exception):
            assert issubclass(kind, ours.OpenAIError)
            assert issubclass(their, theirs.OpenAIError)
    assert (ours.OpenAI, ours.AsyncOpenAI) == (Client, AsyncClient)
    assert not ours.NOT_GIVEN
    assert not ours.omit
    assert (repr(ours.NOT_GIVEN), repr(ours.omit)) == ("NotGiven", "Omit")


def test_what_the_module_does_not_have_is_named() -> None:
    with pytest.raises(AttributeError, match=r"no chat: make a client: OpenAI\(\)\.chat\."):
        getattr(ours, "chat")  # noqa: B009 (mypy knows that it is missing)
    with pytest.raises(AttributeError, match=r"no AzureOpenAI: use the package openai\."):
        getattr(ours, "AzureOpenAI")  # noqa: B009
    with pytest.raises(ImportError, match="AzureOpenAI"):
        exec("from llm_g4f.openai import AzureOpenAI")


def test_the_module_imports_nothing_heavy() -> None:
    heavy = ["llm", "httpx", "openai", "pydantic", "httpx2"]
    done = run_python(
        f"import sys, llm_g4f.openai; print([name for name in {heavy!r} if name in sys.modules])"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


# Errors.


def test_an_error_has_what_openais_has() -> None:
    body = {"error": {"message": "No such model sk-canary-0123456789", "type": "invalid_request_error",
                      "code": "model_not_found", "param": "model"}}  # fmt: skip
    with Server(http(404, body, [("X-Request-Id", "req_2")])) as server:
        client = ours.OpenAI(base_url=server.url, api_key="sk-canary-0123456789")
        with pytest.raises(ours.NotFoundError) as caught:
            client.chat.completions.create(model="x", messages=HI)
    error = caught.value
    assert error.body == {**body["error"], "message": "No such model …"}
    assert (error.type, error.code, error.param) == (
        "invalid_request_error",
        "model_not_found",
        "model",
    )
    assert error.response is not None
    assert error.response.status_code == error.status_code == 404
    assert error.response.headers["x-request-ID"] == error.request_id == "req_2"
    assert "X-REQUEST-ID" in error.response.headers
    assert error.response.headers.get("nothing") is None
    for other in (copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert vars(other) == vars(error)


@pytest.mark.parametrize(
    ("sent", "body"), [(b"<html>no</html>", "<html>no</html>"), (b"", None), (b"[1]", [1])]
)
def test_the_body_of_another_error_is_its_text_or_json(sent: bytes, body: Any) -> None:
    with Server(http(500, sent)) as server:
        with pytest.raises(ours.InternalServerError) as caught:
            ours.OpenAI(base_url=server.url, max_retries=0).chat.completions.create(HI)
    assert (caught.value.body, caught.value.type) == (body, None)


def test_an_error_without_a_response_has_the_same_attributes() -> None:
    with pytest.raises(ours.APIConnectionError) as caught:
        ours.OpenAI(base_url="http://127.0.0.1:1", max_retries=0).chat.completions.create(HI)
    error = caught.value
    assert (error.body, error.type, error.code, error.param) == (None, None, None, None)
    assert error.response is None


ERROR = {"message": "Overloaded sk-canary-0123456789", "type": "server_error", "code": "busy",
         "param": "model"}  # fmt: skip
SHOWN = {**ERROR, "message": "Overloaded …"}
STREAM_HEAD = SSE_HEAD.replace(b"\r\n\r\n", b"\r\nX-Request-Id: req_3\r\n\r\n")


def broken(*events: Any) -> Script:
    return [STREAM_HEAD, *(framed(event(one)) for one in events), END]


@pytest.mark.parametrize(
    ("script", "kind", "status"),
    [
        (broken({"error": ERROR}), ours.APIError, 200),
        (broken(chunk("Hel"), {"error": ERROR}), ours.APIError, 200),
        (http(200, {"error": ERROR}, [("X-Request-Id", "req_3")]), ours.APIError, 200),
        (http(408, {"error": ERROR}, [("X-Request-Id", "req_3")]), ours.APITimeoutError, 408),
    ],
    ids=["before the text", "in the text", "whole", "408"],
)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_every_error_of_a_provider_has_what_it_sent(
    script: Script, kind: type[ours.APIError], status: int, asynchronous: bool
) -> None:
    async def ask(url: str) -> None:
        client = AsyncClient(base_url=url, api_key="sk-canary-0123456789", max_retries=0)
        async for _ in client.chat.completions.create(HI, stream=True):
            pass

    def ask_sync(url: str) -> None:
        client = Client(base_url=url, api_key="sk-canary-0123456789", max_retries=0)
        list(client.chat.completions.create(HI, stream=True))

    with Server(script) as server:
        with pytest.raises(kind) as caught:
            asyncio.run(ask(server.url)) if asynchronous else ask_sync(server.url)
    error = caught.value
    assert error.body == SHOWN
    assert (error.type, error.code, error.param) == ("server_error", "busy", "model")
    assert error.response is not None
    assert error.response.status_code == status
    assert error.response.headers["X-Request-Id"] == "req_3"
    for other in (copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert vars(other) == vars(error)


# Clients.


def test_both_clients_close() -> None:
    async def main() -> None:
        client = AsyncClient()
        await client.close()
        await client.aclose()

    asyncio.run(main())
    Client().close()


def test_with_options_changes_a_copy() -> None:
    with Server(whole()) as server:
        client = Client(
            base_url=server.url, api_key="sk-1", timeout=5, default_headers={"X-A": "1"}
        )
        other = client.with_options(timeout=7, max_retries=0, default_headers={"X-B": "2"})
        assert (client.timeout, client.max_retries) == (5, None)
        assert (other.timeout, other.max_retries, other.base_url) == (7, 0, server.url)
        assert isinstance(other, Client)
        other.chat.completions.create("hi")
        headers = server.requests[0].headers
        assert [headers[name] for name in ("x-a", "x-b", "authorization")] == [
            "1",
            "2",
            "Bearer sk-1",
        ]
        assert "sk-1" not in repr(vars(client))
        third = client.copy(base_url=server.url + "/x", api_key="sk-2")
        third.chat.completions.create("hi")
        assert server.requests[1].headers["authorization"] == "Bearer sk-2"
        assert server.requests[1].path == "/v1/x/chat/completions"
    with pytest.raises(TypeError, match="nonsense"):
        client.with_options(nonsense=1)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("images", "openai's own client"),
        ("embeddings", '"llm embed"'),
        ("responses", "chat.completions.create"),
        ("audio", "chat.completions.create"),
        ("files", "openai's own client"),
        ("with_raw_response", r"chat\.completions\.with_raw_response"),
    ],
)
def test_what_is_not_here_says_what_has_it(kind: Any, name: str, use: str) -> None:
    with pytest.raises(AttributeError, match=f"no {name}: use {use}"):
        getattr(kind(), name)
    assert not hasattr(kind(), name)
    with pytest.raises(AttributeError, match="has no nonsense"):
        _ = kind().nonsense


# with_raw_response


def test_a_raw_response_has_the_headers_and_the_answer() -> None:
    async def main(url: str) -> Any:
        return await AsyncClient(base_url=url).chat.completions.with_raw_response.create(HI)

    with Server(HEADED) as server:
        raw = Client(base_url=server.url).chat.completions.with_raw_response.create("hi", "gpt-4o")
        for response in (raw, asyncio.run(main(server.url))):
            assert response.status_code == 200
            assert response.headers["X-Ratelimit-Remaining-Requests"] == "41"
            assert response.request_id == "req_1"
            completion = response.parse()
            assert completion.choices[0].message.content == "Hello"
            assert completion._request_id == "req_1"
            assert completion.receipt.to_dict()["request_id"] == "req_1"


def test_a_raw_response_of_a_stream_is_parsed_to_the_stream() -> None:
    async def main(url: str) -> None:
        raw = await AsyncClient(base_url=url).chat.completions.with_raw_response.create(
            HI, stream=True
        )
        assert isinstance(raw.parse(), AsyncStream)
        assert raw.parse().response.headers == raw.headers
        assert len([chunk async for chunk in raw.parse()]) == 4

    with Server(stream("Hel", "lo")) as server:
        asyncio.run(main(server.url))
        raw = Client(base_url=server.url).chat.completions.with_raw_response.create(HI, stream=True)
        assert isinstance(raw.parse(), Stream)
        assert raw.headers["content-type"] == "text/event-stream"
        assert raw.parse().response.status_code == 200
        assert raw.request_id is None
        assert len(list(raw.parse())) == 4


# Notices.


def test_a_program_is_told_once_who_answers(
    write_config: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    with Server(whole(model="llama")) as server:
        write_config(
            f"providers: {{mine: {{base_url: '{server.url}', models: {{gpt-4o: llama,"
            " gpt-4o-mini: llama}}}"
        )
        for _ in range(5):
            Client().chat.completions.create("hi")
        assert len(caplog.records) == 1
        Client().chat.completions.create("hi", "gpt-4o-mini")
        assert len(caplog.records) == 2
        receipt = Client().chat.completions.create("hi").receipt
    assert not receipt.exact
    assert len(caplog.records) == 2
