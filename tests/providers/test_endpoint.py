"""One OpenAI-compatible server, through real sockets: whatever it answers."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import tracemalloc
from contextlib import aclosing
from typing import Any

import pytest
from msgspec.structs import replace

from llm_g4f.accumulator import Accumulator
from llm_g4f.errors import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    InvalidResponseError,
    RateLimitError,
)
from llm_g4f.providers.base import Ineligible, ServedModel
from llm_g4f.providers.capabilities import Capabilities
from llm_g4f.providers.endpoint import Endpoint
from llm_g4f.request import ChatRequest, Secret
from llm_g4f.types import ChatCompletion
from llm_g4f.version import __version__
from tests.support.answers import text_of
from tests.support.server import (
    CLOSE,
    END,
    RESET,
    SSE_HEAD,
    USAGE,
    Script,
    Server,
    Step,
    chunk,
    completion,
    event,
    events,
    framed,
    http,
    split,
    stream,
    whole,
)

pytestmark = pytest.mark.usefixtures("transport")

KEY = "sk-canary-0123456789abcdef"
MESSAGES = [{"role": "user", "content": "hi"}]


def endpoint(server: Server, **fields: Any) -> Endpoint:
    fields.setdefault("key", Secret(KEY))
    fields.setdefault("served", (ServedModel("gpt-4o", True),))
    return Endpoint(name="a", base_url=server.url, **fields)


def request(**fields: Any) -> ChatRequest:
    params: dict[str, Any] = {"messages": MESSAGES, "model": "gpt-4o", "stream": True}
    return ChatRequest(**(params | fields))


async def answer(place: Endpoint, asked: ChatRequest, partial: list[str]) -> ChatCompletion:
    serving = await place.serves(asked)
    assert isinstance(serving, ServedModel)
    accumulator = Accumulator()
    async with aclosing(place.stream(asked, serving)) as chunks:
        async for one in chunks:
            accumulator.add(one)
            partial[:] = [accumulator.text]
    return accumulator.completion()


def ask(server: Server, asked: ChatRequest | None = None, **fields: Any) -> ChatCompletion:
    return asyncio.run(answer(endpoint(server, **fields), asked or request(), []))


def failing(
    script: Script, asked: ChatRequest | None = None, **fields: Any
) -> tuple[APIError, str]:
    """The error that an answer ends in, and the text before it."""
    partial = [""]
    with Server(script) as server:
        with pytest.raises(APIError) as caught:
            asyncio.run(answer(endpoint(server, **fields), asked or request(), partial))
        assert len(server.requests) == 1
    assert caught.value.provider == "a"
    assert KEY not in repr(caught.value)
    return caught.value, partial[0]


HELLO = [chunk("Hel"), chunk("lo"), chunk(finish="stop")]


GOOD = b"".join(map(event, [*HELLO, chunk(usage=USAGE), "[DONE]"]))
WHOLE = json.dumps(completion("Hello")).encode()


@pytest.fixture
def long_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the end of a body as long as it takes: on a busy machine it may come late, and a
    connection whose body was not read to its end is not used again."""
    monkeypatch.setattr("llm_g4f.decoding.response.DRAIN", 60.0)


@pytest.mark.usefixtures("long_drain")
@pytest.mark.parametrize(
    ("body", "line"),
    [(GOOD, b"\n"), (GOOD, b"\r\n"), (WHOLE, b"\n")],
    ids=["lf", "crlf", "whole"],
)
def test_an_answer_split_at_every_byte_is_the_same(body: bytes, line: bytes) -> None:
    body = body.replace(b"Hello", "Hell😀".encode()).replace(b'"lo"', '"l😀"'.encode())
    body = body.replace(b"\n", line)
    scripts = [
        [SSE_HEAD, *map(framed, split(body, 1)), END],
        *([SSE_HEAD, framed(body[:at]), framed(body[at:]), END] for at in range(1, len(body))),
    ]

    async def run() -> set[str | None]:
        place = endpoint(server)
        return {text_of(await answer(place, request(), [])) for _ in scripts}

    with Server(*scripts) as server:
        assert asyncio.run(run()) == {"Hell😀"}
        assert len(server.requests) == len(scripts)
        assert server.connections == 1


@pytest.mark.parametrize("body", ["ok", "null", "true", "12", '"Hello"', "[1]"])
def test_a_body_that_is_not_a_completion_is_an_invalid_response(body: str) -> None:
    for streamed in (True, False):
        error, partial = failing(http(200, body), request(stream=streamed))
        assert type(error) is InvalidResponseError
        assert not partial


@pytest.mark.parametrize("data", ["{", "Hello", ["x"], {"hello": "world"}], ids=str)
def test_an_event_that_is_not_a_chunk_is_an_invalid_response(data: Any) -> None:
    for streamed in (True, False):
        error, partial = failing(events(data), request(stream=streamed))
        assert type(error) is InvalidResponseError
        assert not partial


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"error": {"message": "Overloaded.", "code": 529}}, InternalServerError),
        ({"object": "error", "message": "Overloaded.", "code": 429}, RateLimitError),
        ([{"error": {"message": "Overloaded.", "code": 503}}], InternalServerError),
    ],
)
def test_an_error_object_is_recognised_in_each_form(data: Any, kind: type[APIError]) -> None:
    for script in (events(data, chunk("more"), "[DONE]"), http(200, data)):
        error, partial = failing(script)
        assert type(error) is kind
        assert "Overloaded." in str(error)
        assert not partial
    error, partial = failing(events(HELLO[0], data, chunk("more"), "[DONE]"))
    assert (type(error), partial) == (kind, "Hel")


@pytest.mark.parametrize("nothing", [None, "", {}, False])
def test_an_empty_error_field_is_ignored(nothing: Any) -> None:
    with Server(events(*({**one, "error": nothing} for one in HELLO))) as server:
        assert text_of(ask(server)) == "Hello"


def test_a_gzip_bomb_takes_little_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("llm_g4f.decoding.response.MAX_EVENT", 2**20)
    packed = gzip.compress(b"{" + b" " * 2**28)
    tracemalloc.start()
    try:
        error, _ = failing(http(200, packed, [("Content-Encoding", "gzip")]))
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
    assert type(error) is InvalidResponseError


def test_a_status_error_carries_model_code_and_request_id() -> None:
    body = {"error": {"message": "No.", "code": "c"}}
    error, _ = failing(http(500, body, [("x-request-id", "req_1")]))
    assert isinstance(error, InternalServerError)
    assert (error.model, error.code, error.request_id) == ("gpt-4o", "c", "req_1")
    assert "No." in str(error)


def test_method_path_headers_and_body_of_a_request() -> None:
    with Server(stream("Hello"), whole("Hello")) as server:
        ask(server, request(params={"temperature": 0.5, "seed": 7}))
        ask(server, request(stream=False))
    streamed, plain = server.requests
    assert (streamed.method, streamed.path) == ("POST", "/v1/chat/completions")
    assert streamed.json == {
        "model": "gpt-4o",
        "messages": MESSAGES,
        "temperature": 0.5,
        "seed": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert plain.json == {"model": "gpt-4o", "messages": MESSAGES, "stream": False}
    assert streamed.headers["accept"] == "text/event-stream"
    assert plain.headers["accept"] == "application/json"
    for one in server.requests:
        assert one.headers["content-type"] == "application/json"
        assert one.headers["accept-encoding"] == "identity"
        assert one.headers["user-agent"] == f"llm-g4f/{__version__}"
        assert one.headers["authorization"] == f"Bearer {KEY}"
        assert "cookie" not in one.headers
        names = [name for name, _ in one.fields]
        assert len(names) == len(set(names))


def test_the_key_is_only_in_the_authorization_header() -> None:
    with Server(stream("Hello")) as server:
        ask(server)
        (one,) = server.requests
    elsewhere = [value for name, value in one.fields if name != "authorization"]
    assert KEY not in f"{one.path} {elsewhere} {one.body!r}"


def test_without_a_key_there_is_no_authorization_header() -> None:
    with Server(stream("Hello")) as server:
        ask(server, key=None)
    assert "authorization" not in server.requests[0].headers


def test_cookies_are_not_kept() -> None:
    (good,) = whole("Hello")
    assert isinstance(good, bytes)
    script = [good.replace(b"\r\n", b"\r\nSet-Cookie: who=me; Path=/\r\n", 1)]
    with Server(script) as server:

        async def run() -> None:
            for _ in range(2):
                await answer(endpoint(server), request(), [])

        asyncio.run(run())
    assert len(server.requests) == 2
    assert "cookie" not in server.requests[1].headers


@pytest.mark.parametrize("name", ["X-Team", "x-team", "User-Agent", "user-agent", "ACCEPT"])
def test_custom_headers_replace_the_default_ones_in_any_case(name: str) -> None:
    for ours, theirs in (({name: "blue"}, {}), ({}, {name: "blue"}), ({name: "red"}, {name.upper(): "blue"})):  # fmt: skip
        with Server(stream("Hello")) as server:
            ask(server, request(headers=theirs), headers=ours)
        sent = [value for field, value in server.requests[0].fields if field == name.lower()]
        assert sent == ["blue"]


@pytest.mark.parametrize("name", ["Authorization", "authorization"])
def test_a_custom_authorization_header_does_not_replace_the_key(name: str) -> None:
    with Server(stream("Hello")) as server:
        ask(server, request(headers={name: "Bearer other"}))
    sent = [value for field, value in server.requests[0].fields if field == "authorization"]
    assert sent == [f"Bearer {KEY}"]


def test_without_a_key_a_custom_authorization_header_is_sent() -> None:
    with Server(stream("Hello")) as server:
        ask(server, request(headers={"Authorization": "Basic x"}), key=None)
    assert server.requests[0].headers["authorization"] == "Basic x"


def test_extra_body_of_the_request_wins_over_the_providers() -> None:
    with Server(stream("Hello")) as server:
        ask(
            server,
            request(params={"seed": 1}, extra_body={"b": 2, "seed": 3}),
            extra_body={"a": 1, "b": 1},
        )
    sent = server.requests[0].json
    assert {name: sent[name] for name in ("a", "b", "seed")} == {"a": 1, "b": 2, "seed": 3}


def test_stream_options_of_the_caller_are_kept() -> None:
    with Server(stream("Hello")) as server:
        ask(server, request(params={"stream_options": {"include_usage": False}}))
    assert server.requests[0].json["stream_options"] == {"include_usage": False}


@pytest.mark.parametrize(
    ("text", "arrives"),
    [
        ("é😀\u2028", "é😀\u2028"),
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "😀"),
        ("\udc80", "\ufffd"),
        ("a\0b", "a\0b"),
    ],
)
def test_lone_surrogates_in_a_prompt_become_replacement_characters(text: str, arrives: str) -> None:
    with Server(stream("Hello")) as server:
        ask(server, request(messages=[{"role": "user", "content": text}]))
    assert server.requests[0].json["messages"][0]["content"] == arrives


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, object(), {1, 2}, b"x", deep(100_000)], ids=type
)
def test_a_value_that_is_not_json_fails_before_anything_is_sent(value: Any) -> None:
    with Server(stream("Hello")) as server:
        for fields in ({"params": {"x": value}}, {"extra_body": {"x": value}}):
            with pytest.raises(BadRequestError, match="cannot be written as JSON") as caught:
                ask(server, request(**fields))
            assert caught.value.provider == "a"
        assert not server.connections


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 422, 429, 500])
@pytest.mark.parametrize("before", [0, 250, 275, 285])
def test_an_echoed_key_is_not_in_the_error_even_where_the_text_is_cut(
    status: int, before: int
) -> None:
    """Also where the text is cut in the middle of it."""
    said = f"{'x' * before} {KEY} was refused"
    error, _ = failing(http(status, {"error": {"message": said}}))
    assert "xxx" in str(error) or not before
    assert KEY[:10] not in f"{error!s} {error!r} {error.args} {vars(error)}"


def test_an_echoed_key_is_in_no_attribute_of_the_error() -> None:
    body = {"error": {"message": "No.", "code": KEY}}
    error, _ = failing(http(400, body, [("x-request-id", KEY)]))
    assert KEY not in f"{error!r} {error.args} {vars(error)}"


@pytest.mark.parametrize("before", [0, 80, 90])
def test_a_key_echoed_in_a_redirect_is_not_in_the_error(before: int) -> None:
    target = f"http://b.invalid/{'x' * before}?key={KEY}"
    error, _ = failing(http(302, "", [("Location", target)]))
    assert KEY[:10] not in f"{error!s} {error!r} {vars(error)}"


@pytest.mark.parametrize("script", [
    http(302, "", [("Location", f"http://b.invalid/?key={KEY}")]),
    events({"error": {"message": f"bad key {KEY}"}}),
    http(200, {"error": f"bad key {KEY}"}),
])  # fmt: skip
def test_a_key_echoed_in_another_failure_is_not_in_the_error(script: Script) -> None:
    error, _ = failing(script)
    assert KEY not in f"{error!s} {error!r} {vars(error)}"
    assert "…" in str(error)


@pytest.mark.parametrize("end", [RESET, CLOSE])
def test_a_request_over_a_stale_connection_is_not_sent_again(end: Step) -> None:
    with Server(whole("one"), [end], whole("two")) as server:

        async def run() -> APIError:
            place = endpoint(server)
            await answer(place, request(), [])
            with pytest.raises(APIConnectionError) as caught:
                await answer(place, request(), [])
            return caught.value

        error = asyncio.run(run())
        assert len(server.requests) == 2
    assert error.reason == "stale_connection"
    assert "closed a connection kept from an earlier request" in error.message


@pytest.mark.parametrize("end", [RESET, CLOSE])
def test_models_are_listed_over_a_new_connection_where_the_kept_one_is_stale(end: Step) -> None:
    with Server(whole("one"), [end], http(200, {"data": [{"id": "x"}]}), models=None) as server:

        async def run() -> list[str]:
            place = endpoint(server)
            await answer(place, request(), [])
            return await place.models()

        assert asyncio.run(run()) == ["x"]
        assert [one.connection for one in server.requests] == [1, 1, 2]


@pytest.mark.usefixtures("long_drain")
def test_connections_are_reused() -> None:
    with Server(stream("Hello")) as server:

        async def run() -> None:
            for _ in range(3):
                await answer(endpoint(server), request(), [])

        asyncio.run(run())
        assert server.connections == 1


def test_several_choices_are_read_if_requested() -> None:
    value = completion("0")
    value["choices"].append({**value["choices"][0], "index": 1})
    with Server(http(200, value)) as server:
        assert len(ask(server, request(params={"n": 2}, stream=False)).choices) == 2
        assert len(ask(server, request(stream=False)).choices) == 1


def test_models_are_listed() -> None:
    for body in ({"data": [{"id": "x"}, {"id": "y"}]}, [{"id": "x"}, {"id": "y"}]):
        with Server(models=http(200, body)) as server:
            assert asyncio.run(endpoint(server).models()) == ["x", "y"]
            (one,) = server.looks
        assert (one.method, one.path, one.body) == ("GET", "/v1/models", b"")
        assert one.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("body", ["", "{", "null", "7", {}, {"data": 7}, [7], [{}], {"data": None}])
def test_an_invalid_list_of_models_is_an_invalid_response(body: Any) -> None:
    with Server(models=http(200, body)) as server:
        with pytest.raises(InvalidResponseError, match="sent no list of models"):
            asyncio.run(endpoint(server).models())


def test_a_failed_list_of_models_is_an_api_error_without_the_key() -> None:
    with Server(models=http(401, {"error": f"bad {KEY}"})) as server:
        with pytest.raises(AuthenticationError) as caught:
            asyncio.run(endpoint(server).models())
    assert KEY not in str(caught.value)


def part(kind: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text"}, {"type": kind}]}]}


SCHEMA = {"response_format": {"type": "json_schema", "json_schema": {}}}
NEEDS: dict[str, dict[str, Any]] = {
    "images": part("image_url"),
    "audio": part("input_audio"),
    "files": part("file"),
    "tools": {"params": {"tools": [{"type": "function"}]}},
    "schema": {"params": SCHEMA},
}


@pytest.mark.parametrize("need", NEEDS)
def test_a_request_that_needs_a_missing_capability_is_ineligible(need: str) -> None:
    place = Endpoint(
        name="a", base_url="http://127.0.0.1:9/v1", served=(ServedModel("gpt-4o", True),)
    )
    asked = request(**NEEDS[need])
    assert isinstance(asyncio.run(place.serves(asked)), ServedModel)
    for unmet in NEEDS:
        able = replace(Capabilities(images=True, files=True, audio=True), **{unmet: False})
        limited = replace(place, served=(ServedModel("gpt-4o", True, capabilities=able),))
        answer = asyncio.run(limited.serves(asked))
        if unmet == need == "schema":
            assert answer == replace(limited.served[0], schema_in_prompt=True)
        else:
            assert isinstance(answer, Ineligible if unmet == need else ServedModel)


def test_serves_with_the_first_offer_that_can_take_the_request() -> None:
    text, sight = Capabilities(tools=False, context=8192), Capabilities(images=True, tools=False)
    place = Endpoint(
        name="a",
        base_url="http://127.0.0.1:9/v1",
        served=(
            ServedModel("small", True, capabilities=text, verify=True),
            ServedModel("seeing", False, capabilities=sight),
        ),
        no_model_reason=Ineligible("it has nothing", "no_model"),
    )

    def serves(place: Endpoint, **fields: Any) -> ServedModel | Ineligible:
        return asyncio.run(place.serves(request(**fields)))

    assert serves(place) is place.served[0]
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    looks = [{"role": "user", "content": [image]}]
    assert serves(place, messages=looks) is place.served[1]
    assert serves(place, params={"tools": [{}]}) == Ineligible(
        "small does not call tools", "incapable"
    )
    knowing = replace(
        place,
        served=(
            ServedModel("small", True, capabilities=Capabilities(schema=False)),
            *place.served[1:],
        ),
    )
    assert serves(knowing, params=SCHEMA) is knowing.served[1]
    assert serves(replace(place, served=())) == Ineligible("it has nothing", "no_model")
