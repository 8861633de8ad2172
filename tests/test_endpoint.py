"""One OpenAI-compatible server, through real sockets: whatever it answers."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import time
import tracemalloc
from contextlib import aclosing
from typing import Any

import pytest
from msgspec.structs import replace

from llm_g4f.accumulator import Accumulator
from llm_g4f.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ContextLengthError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    TruncatedStreamError,
    UnprocessableEntityError,
)
from llm_g4f.providers.base import Ineligible, Serving
from llm_g4f.providers.capabilities import Capabilities
from llm_g4f.providers.catalogue import Offer
from llm_g4f.providers.endpoint import Endpoint, is_same_model
from llm_g4f.request import ChatRequest, Secret
from llm_g4f.types import ChatCompletion
from llm_g4f.version import __version__

from .server import (
    CLOSE,
    END,
    HANG,
    RESET,
    SSE_HEAD,
    USAGE,
    Script,
    Server,
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
    fields.setdefault("offers", (Offer("gpt-4o", True),))
    return Endpoint(name="a", base_url=server.url, **fields)


def request(**fields: Any) -> ChatRequest:
    params: dict[str, Any] = {"messages": MESSAGES, "model": "gpt-4o", "stream": True}
    return ChatRequest(**(params | fields))


async def answer(place: Endpoint, asked: ChatRequest, partial: list[str]) -> ChatCompletion:
    serving = await place.serves(asked)
    assert isinstance(serving, Serving)
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


def text_of(made: ChatCompletion) -> str | None:
    return made.choices[0].message.content


HELLO = [chunk("Hel"), chunk("lo"), chunk(finish="stop")]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    "script",
    [stream("Hel", "lo"), whole("Hello")],
    ids=["streamed", "whole"],
)
def test_an_answer_is_taken_in_the_form_it_comes(script: Script, streamed: bool) -> None:
    with Server(script) as server:
        made = ask(server, request(stream=streamed))
    assert text_of(made) == "Hello"
    assert made.choices[0].finish_reason == "stop"
    assert made.usage is not None
    assert made.usage.to_dict() == USAGE
    assert (made.provider, made.model, made.id) == ("a", "gpt-4o-2024-11-20", "chatcmpl-1")


GOOD = b"".join(map(event, [*HELLO, chunk(usage=USAGE), "[DONE]"]))
WHOLE = json.dumps(completion("Hello")).encode()


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/html", "", "nonsense"])
@pytest.mark.parametrize("body", [GOOD, WHOLE], ids=["stream", "whole"])
def test_the_content_type_is_a_hint_at_best(kind: str, body: bytes) -> None:
    with Server(http(200, body, kind=kind)) as server:
        assert text_of(ask(server)) == "Hello"


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\n\n", b" \r\n"])
@pytest.mark.parametrize("body", [GOOD, WHOLE], ids=["stream", "whole"])
def test_marks_and_blank_lines_before_the_answer_are_read_over(mark: bytes, body: bytes) -> None:
    if mark == b" \r\n" and body is GOOD:
        body = b"\n" + body
    with Server([SSE_HEAD, *map(framed, split(mark + body, 1)), END]) as server:
        assert text_of(ask(server)) == "Hello"


@pytest.mark.parametrize(
    ("body", "line"),
    [(GOOD, b"\n"), (GOOD, b"\r\n"), (WHOLE, b"\n")],
    ids=["lf", "crlf", "whole"],
)
def test_answers_split_at_every_byte(body: bytes, line: bytes) -> None:
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


def test_a_head_split_at_every_byte() -> None:
    script: list[Any] = []
    for byte in split(SSE_HEAD, 1):
        script += [byte, 0.0005]
    with Server([*script, framed(GOOD), END]) as server:
        assert text_of(ask(server)) == "Hello"


def test_a_stream_without_done_is_complete_where_it_finished() -> None:
    with Server(events(*HELLO)) as server:
        assert text_of(ask(server)) == "Hello"


def test_a_stream_that_forgets_the_last_blank_line_is_complete() -> None:
    for body in (GOOD.removesuffix(b"\n\n"), b"".join(map(event, HELLO)).removesuffix(b"\n\n")):
        with Server([SSE_HEAD, framed(body), END]) as server:
            assert text_of(ask(server)) == "Hello"


def test_done_alone_ends_a_stream_without_finish_reason() -> None:
    with Server(events(chunk("Hello"), "[DONE]")) as server:
        assert text_of(ask(server)) == "Hello"


def test_what_comes_after_done_is_ignored() -> None:
    tail = [chunk(" world"), {"error": {"message": "no"}}, "{"]
    with Server(events(*HELLO, "[DONE]", *tail)) as server:
        assert text_of(ask(server)) == "Hello"


def test_usage_after_the_finish_is_waited_for() -> None:
    script: list[Any] = [
        SSE_HEAD,
        *(framed(event(one)) for one in HELLO),
        0.05,
        framed(event(chunk(usage=USAGE))),
        END,
    ]
    with Server(script) as server:
        assert ask(server).usage is not None


@pytest.mark.parametrize("tail", [[], [chunk(usage=USAGE)], ["[DONE]"]], ids=str)
def test_a_connection_left_open_after_the_finish_is_closed_by_us(
    tail: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_g4f.decoding.response._AFTER_FINISH", 0.05)
    monkeypatch.setattr("llm_g4f.decoding.response._DRAIN", 0.05)
    script: list[Any] = [SSE_HEAD, *(framed(event(one)) for one in [*HELLO, *tail]), HANG]
    with Server(script) as server:

        async def run() -> str | None:
            made = await asyncio.wait_for(answer(endpoint(server), request(), []), 5)
            await asyncio.to_thread(server.wait_closed)
            return text_of(made)

        assert asyncio.run(run()) == "Hello"


def test_comments_after_the_finish_do_not_keep_the_answer_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("llm_g4f.decoding.response._AFTER_FINISH", 0.1)
    pings: list[Any] = [framed(b": ping\n\n"), 0.02] * 500
    script = [SSE_HEAD, *(framed(event(one)) for one in HELLO), *pings, HANG]
    with Server(script) as server:

        async def run() -> str | None:
            return text_of(await asyncio.wait_for(answer(endpoint(server), request(), []), 2))

        assert asyncio.run(run()) == "Hello"


def test_a_cut_after_the_finish_is_no_failure() -> None:
    for end in (CLOSE, RESET):
        with Server([SSE_HEAD, *(framed(event(one)) for one in HELLO), 0.02, end]) as server:
            assert text_of(ask(server)) == "Hello"


def test_comments_ids_and_other_events_are_read_over() -> None:
    body = b": OPENROUTER PROCESSING\n\nid: 1\nretry: 5\n\nevent: message\n" + GOOD
    with Server([SSE_HEAD, framed(body), END]) as server:
        assert text_of(ask(server)) == "Hello"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (http(200, "<html><body>Log in</body></html>", kind="text/html"), "an HTML page"),
        (http(200, "\n<!DOCTYPE html>", kind="application/json"), "an HTML page"),
        (http(200, ""), "an empty body"),
        (http(200, " \r\n\n"), "an empty body"),
        (http(204, ""), "an empty body"),
        ([SSE_HEAD, END], "an empty body"),
        (http(200, "{"), "not JSON"),
        (http(200, '{"choices": [}'), "not JSON"),
        (http(200, {"hello": "world"}), "no completion"),
        (http(200, [1]), "no completion"),
        (http(200, "upstream connect error", kind="text/plain"), "a"),
        (http(200, "ok"), "a"),
        (http(200, "null"), "a"),
        (http(200, "true"), "a"),
        (http(200, "12"), "a"),
        (http(200, '"Hello"'), "a"),
        (events("{"), "not JSON"),
        (events("Hello"), "not JSON"),
        (events(["x"]), "no completion"),
        (events({"hello": "world"}), "no completion"),
    ],
)
def test_what_is_no_completion_is_an_invalid_response(script: Script, words: str) -> None:
    for streamed in (True, False):
        error, partial = failing(script, request(stream=streamed))
        assert type(error) is InvalidResponseError
        assert words in str(error)
        assert "<" not in str(error)
        assert not partial


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([*events(chunk("Hel"))[:-1], CLOSE], "broke off"),
        ([*events(chunk("Hel"))[:-1], 0.02, RESET], "broke off"),
        (events(chunk("Hel")), "ended before it was finished"),
        ([SSE_HEAD, framed(event(chunk("Hel"))), framed(event(chunk("lo"))[:40]), END], "ended"),
        ([b"HTTP/1.1 200 OK\r\n\r\n" + event(chunk("Hel")), CLOSE], "ended before"),
        ([SSE_HEAD, framed(event(chunk("Hel"))), b"zz\r\n", HANG], "broke off"),
        ([SSE_HEAD, framed(event(chunk("Hel"))), b"ff\r\ndata", 0.02, CLOSE], "broke off"),
    ],
)
def test_an_answer_that_breaks_off_is_truncated(script: Script, words: str) -> None:
    error, partial = failing(script)
    assert type(error) is TruncatedStreamError
    assert words in str(error)
    assert partial == "Hel"


def test_a_whole_answer_that_breaks_off_is_truncated() -> None:
    (good,) = whole("Hello")
    assert isinstance(good, bytes)
    error, partial = failing([good[:-20], CLOSE])
    assert type(error) is TruncatedStreamError
    assert not partial


ERRORS = [
    ({"error": {"message": "Overloaded.", "code": 529}}, InternalServerError),
    ({"error": {"message": "Overloaded."}}, InternalServerError),
    ({"error": "Overloaded."}, InternalServerError),
    ({"error": {"message": "Overloaded.", "code": 429}}, RateLimitError),
    ({"object": "error", "message": "Overloaded.", "code": 429}, RateLimitError),
    ([{"error": {"message": "Overloaded.", "code": 503}}], InternalServerError),
    (chunk("x") | {"error": {"message": "Overloaded.", "code": 502}}, InternalServerError),
]


@pytest.mark.parametrize(("data", "kind"), ERRORS)
@pytest.mark.parametrize("before", [[], HELLO[:1]], ids=["at once", "after text"])
def test_an_error_object_in_a_stream(data: Any, kind: type[APIError], before: list[Any]) -> None:
    error, partial = failing(events(*before, data, chunk("more"), "[DONE]"))
    assert type(error) is kind
    assert "Overloaded." in str(error)
    assert partial == ("Hel" if before else "")


@pytest.mark.parametrize(("data", "kind"), ERRORS)
def test_an_error_object_under_200(data: Any, kind: type[APIError]) -> None:
    error, _ = failing(http(200, data), request(stream=False))
    assert type(error) is kind
    assert "Overloaded." in str(error)


@pytest.mark.parametrize("data", ['{"message": "Overloaded."}', "Overloaded.", '"Overloaded."'])
def test_an_error_event(data: str) -> None:
    script = [SSE_HEAD, framed(b"event: error\ndata: " + data.encode() + b"\n\n"), END]
    error, _ = failing(script)
    assert type(error) is InternalServerError
    assert "Overloaded." in str(error)


@pytest.mark.parametrize("nothing", [None, "", {}, False])
def test_an_error_that_is_none_is_none(nothing: Any) -> None:
    with Server(events(*({**one, "error": nothing} for one in HELLO))) as server:
        assert text_of(ask(server)) == "Hello"


@pytest.mark.parametrize("stream", [True, False])
def test_a_piece_beyond_the_cap_is_refused(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm_g4f.decoding.response.MAX_EVENT", 2**20)
    monkeypatch.setattr("llm_g4f.decoding.sse.Decoder.__init__.__defaults__", (2**20,))
    piece = framed(b"x" * 2**18)
    first = b'data: {"choices": "' if stream else b'{"choices": "'
    error, _ = failing([SSE_HEAD, framed(first), *[piece] * 5, HANG])
    assert type(error) is InvalidResponseError
    assert "more than 1 MiB" in str(error)


def test_blank_lines_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm_g4f.decoding.response.MAX_EVENT", 2**16)
    blank = framed(b"\n" * 2**14)
    error, _ = failing([SSE_HEAD, *[blank] * 8, framed(GOOD), END])
    assert type(error) is InvalidResponseError


@pytest.mark.parametrize("body", [GOOD, WHOLE], ids=["stream", "whole"])
def test_a_compressed_answer_is_unpacked(body: bytes) -> None:
    with Server(http(200, gzip.compress(body), [("Content-Encoding", "gzip")])) as server:
        assert text_of(ask(server)) == "Hello"


def test_a_broken_compressed_answer_is_truncated() -> None:
    error, _ = failing(http(200, "not gzip", [("Content-Encoding", "gzip")]))
    assert type(error) is TruncatedStreamError


def test_a_compressed_answer_that_unpacks_to_gigabytes_is_refused(
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


STATUSES = [
    (301, APIStatusError),
    (302, APIStatusError),
    (303, APIStatusError),
    (307, APIStatusError),
    (308, APIStatusError),
    (400, BadRequestError),
    (401, AuthenticationError),
    (402, APIStatusError),
    (403, PermissionDeniedError),
    (404, NotFoundError),
    (408, APITimeoutError),
    (409, ConflictError),
    (413, BadRequestError),
    (422, UnprocessableEntityError),
    (429, RateLimitError),
    (500, InternalServerError),
    (503, InternalServerError),
    (529, InternalServerError),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_each_status_is_its_error(status: int, kind: type[APIError]) -> None:
    body = {"error": {"message": "No.", "code": "c"}}
    headers = [("Retry-After", "7"), ("x-request-id", "req_1"), ("Location", "http://b.invalid/")]
    error, _ = failing(http(status, body, headers))
    assert type(error) is kind
    assert error.model == "gpt-4o"
    assert f"HTTP {status}" in str(error)
    if isinstance(error, APIStatusError):
        assert (error.status_code, error.retry_after) == (status, 7.0)
        assert (error.code, error.request_id) == ("c", "req_1")
    if status >= 400:
        assert "No." in str(error)


def test_413_names_the_size_that_was_sent() -> None:
    with Server(http(413, {})) as server:
        with pytest.raises(BadRequestError) as caught:
            ask(server)
        assert f"{len(server.requests[0].body)} bytes" in str(caught.value)


def test_a_context_that_is_too_small_is_told_apart() -> None:
    body = {"error": {"message": "Too long.", "code": "context_length_exceeded"}}
    assert type(failing(http(400, body))[0]) is ContextLengthError


@pytest.mark.parametrize("status", [400, 401, 429, 503])
@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_a_status_counts_although_its_body_breaks_off(status: int, end: Any) -> None:
    head = f"HTTP/1.1 {status} X\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\n".encode()
    error, _ = failing([head + b'{"error": ', 0.02, end])
    assert isinstance(error, APIStatusError)
    assert (error.status_code, error.retry_after) == (status, 7.0)


def test_an_error_body_without_end_is_cut() -> None:
    piece = framed(b"x" * 2**15)
    script: list[Any] = [SSE_HEAD.replace(b"200", b"500"), *[piece] * 4, HANG]
    error, _ = failing(script)
    assert type(error) is InternalServerError
    assert len(str(error)) < 500


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("whose", ["another server", "the same server"])
def test_redirects_are_never_followed(status: int, whose: str) -> None:
    with Server(stream("stolen")) as sink:
        target = f"{sink.url}/chat/completions" if whose == "another server" else "/v2/chat"
        with Server(http(status, "", [("Location", target)]), stream("stolen")) as server:
            with pytest.raises(APIStatusError, match="not followed") as caught:
                ask(server)
            assert len(server.requests) == 1
        assert sink.connections == 0
    assert caught.value.status_code == status
    assert target in str(caught.value)


def test_what_is_sent() -> None:
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


def test_the_key_is_in_authorization_alone() -> None:
    with Server(stream("Hello")) as server:
        ask(server)
        (one,) = server.requests
    elsewhere = [value for name, value in one.fields if name != "authorization"]
    assert KEY not in f"{one.path} {elsewhere} {one.body!r}"


def test_without_a_key_nothing_authorizes() -> None:
    with Server(stream("Hello")) as server:
        ask(server, key=None)
    assert "authorization" not in server.requests[0].headers


def test_no_cookie_is_kept() -> None:
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
def test_headers_replace_ours_whatever_their_case(name: str) -> None:
    for ours, theirs in (({name: "blue"}, {}), ({}, {name: "blue"}), ({name: "red"}, {name.upper(): "blue"})):  # fmt: skip
        with Server(stream("Hello")) as server:
            ask(server, request(headers=theirs), headers=ours)
        sent = [value for field, value in server.requests[0].fields if field == name.lower()]
        assert sent == ["blue"]


@pytest.mark.parametrize("name", ["Authorization", "authorization"])
def test_no_header_stands_beside_the_key(name: str) -> None:
    with Server(stream("Hello")) as server:
        ask(server, request(headers={name: "Bearer other"}))
    sent = [value for field, value in server.requests[0].fields if field == "authorization"]
    assert sent == [f"Bearer {KEY}"]


def test_a_header_may_be_the_authorization_where_there_is_no_key() -> None:
    with Server(stream("Hello")) as server:
        ask(server, request(headers={"Authorization": "Basic x"}), key=None)
    assert server.requests[0].headers["authorization"] == "Basic x"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "é", "a\0b", 7, None])
def test_a_header_that_cannot_be_sent_is_an_error_of_ours(value: Any) -> None:
    with Server(stream("Hello")) as server:
        with pytest.raises(APIError) as caught:
            ask(server, request(headers={"X-A": value}))
        assert not server.requests
    assert KEY not in str(caught.value)


def test_extra_body_is_sent_besides_and_the_callers_wins() -> None:
    with Server(stream("Hello")) as server:
        ask(
            server,
            request(params={"seed": 1}, extra_body={"b": 2, "seed": 3}),
            extra_body={"a": 1, "b": 1},
        )
    sent = server.requests[0].json
    assert {name: sent[name] for name in ("a", "b", "seed")} == {"a": 1, "b": 2, "seed": 3}


def test_stream_options_of_the_caller_stay() -> None:
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
def test_prompts_arrive_and_lone_surrogates_as_replacement_characters(
    text: str, arrives: str
) -> None:
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
def test_what_is_no_json_is_refused_before_anything_is_sent(value: Any) -> None:
    with Server(stream("Hello")) as server:
        for fields in ({"params": {"x": value}}, {"extra_body": {"x": value}}):
            with pytest.raises(BadRequestError, match="cannot be written as JSON") as caught:
                ask(server, request(**fields))
            assert caught.value.provider == "a"
        assert not server.connections


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 422, 429, 500])
@pytest.mark.parametrize("before", [0, 250, 275, 285])
def test_a_key_that_is_echoed_is_not_told(status: int, before: int) -> None:
    """Also where the text is cut in the middle of it."""
    said = f"{'x' * before} {KEY} was refused"
    error, _ = failing(http(status, {"error": {"message": said}}))
    assert "xxx" in str(error) or not before
    assert KEY[:10] not in f"{error!s} {error!r} {error.args} {vars(error)}"


def test_a_key_that_is_echoed_stands_in_no_attribute() -> None:
    body = {"error": {"message": "No.", "code": KEY}}
    error, _ = failing(http(400, body, [("x-request-id", KEY)]))
    assert KEY not in f"{error!r} {error.args} {vars(error)}"


@pytest.mark.parametrize("before", [0, 80, 90])
def test_a_key_that_a_redirect_echoes_is_not_told(before: int) -> None:
    target = f"http://b.invalid/{'x' * before}?key={KEY}"
    error, _ = failing(http(302, "", [("Location", target)]))
    assert KEY[:10] not in f"{error!s} {error!r} {vars(error)}"


@pytest.mark.parametrize("script", [
    http(302, "", [("Location", f"http://b.invalid/?key={KEY}")]),
    events({"error": {"message": f"bad key {KEY}"}}),
    http(200, {"error": f"bad key {KEY}"}),
])  # fmt: skip
def test_a_key_in_other_failures_is_not_told(script: Script) -> None:
    error, _ = failing(script)
    assert KEY not in f"{error!s} {error!r} {vars(error)}"
    assert "…" in str(error)


@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_a_stale_connection_gets_one_free_retry(end: Any) -> None:
    with Server(whole("one"), [end], whole("two")) as server:

        async def run() -> list[str | None]:
            place = endpoint(server)
            return [text_of(await answer(place, request(), [])) for _ in range(2)]

        assert asyncio.run(run()) == ["one", "two"]
    assert [one.connection for one in server.requests] == [1, 1, 2]
    assert server.requests[1].body == server.requests[2].body


def test_a_stale_connection_gets_no_second_free_retry() -> None:
    with Server(whole("one"), [RESET], [RESET], whole("two")) as server:

        async def run() -> None:
            place = endpoint(server)
            await answer(place, request(), [])
            with pytest.raises(APIConnectionError):
                await answer(place, request(), [])

        asyncio.run(run())
    assert len(server.requests) == 3


@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_a_new_connection_that_fails_gets_no_free_retry(end: Any) -> None:
    error, _ = failing([end])
    assert type(error) is APIConnectionError


def test_connections_are_used_again() -> None:
    with Server(stream("Hello")) as server:

        async def run() -> None:
            for _ in range(3):
                await answer(endpoint(server), request(), [])

        asyncio.run(run())
        assert server.connections == 1


def test_giving_up_closes_the_connection() -> None:
    with Server([SSE_HEAD, framed(event(chunk("Hel"))), HANG]) as server:

        async def run() -> None:
            place = endpoint(server)
            chunks = place.stream(request(), Serving("gpt-4o", True))
            assert (await anext(chunks)).choices[0].delta.content == "Hel"
            await chunks.aclose()
            await asyncio.to_thread(server.wait_closed)

        asyncio.run(run())


def arrived(server: Server) -> None:
    limit = time.monotonic() + 5
    while not server.requests:
        assert time.monotonic() < limit
        time.sleep(0.005)


@pytest.mark.parametrize("script", [[HANG], [SSE_HEAD, HANG]], ids=["before", "behind the head"])
def test_cancelling_closes_the_connection(script: Script) -> None:
    with Server(script) as server:

        async def run() -> None:
            task = asyncio.create_task(answer(endpoint(server), request(), []))
            await asyncio.to_thread(arrived, server)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(server.wait_closed)

        asyncio.run(run())


def test_several_choices_are_read_where_they_were_asked_for() -> None:
    value = completion("0")
    value["choices"].append({**value["choices"][0], "index": 1})
    with Server(http(200, value)) as server:
        assert len(ask(server, request(params={"n": 2}, stream=False)).choices) == 2
        assert len(ask(server, request(stream=False)).choices) == 1


def test_models_are_listed() -> None:
    for body in ({"data": [{"id": "x"}, {"id": "y"}]}, [{"id": "x"}, {"id": "y"}]):
        with Server(http(200, body)) as server:
            assert asyncio.run(endpoint(server).models()) == ["x", "y"]
            (one,) = server.requests
        assert (one.method, one.path, one.body) == ("GET", "/v1/models", b"")
        assert one.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("body", ["", "{", "null", "7", {}, {"data": 7}, [7], [{}], {"data": None}])
def test_a_list_of_models_that_is_none_is_an_invalid_response(body: Any) -> None:
    with Server(http(200, body)) as server:
        with pytest.raises(InvalidResponseError, match="does not list models"):
            asyncio.run(endpoint(server).models())


def test_failures_of_the_list_are_errors_of_ours() -> None:
    with Server(http(401, {"error": f"bad {KEY}"})) as server:
        with pytest.raises(AuthenticationError) as caught:
            asyncio.run(endpoint(server).models())
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "requested", "same"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("GPT-4o", "gpt-4o", True),
        ("gpt-4o-2024-11-20", "gpt-4o", True),
        ("openai/gpt-4o", "gpt-4o", True),
        ("openai/gpt-4o-2024-11-20", "gpt-4o", True),
        ("gpt-4-0613", "gpt-4", True),
        ("gpt-4o-20241120", "gpt-4o", True),
        ("gpt-4o-mini", "gpt-4o", False),
        ("gpt-4o-mini-2024-07-18", "gpt-4o", False),
        ("chatgpt-4o-latest", "gpt-4o", False),
        ("gpt-4o-latest", "gpt-4o", False),
        ("gpt-4o2024", "gpt-4o", False),
        ("gpt-4o-7", "gpt-4o", False),
        ("gpt-4.1", "gpt-4", False),
        ("gpt-4", "gpt-4o", False),
        ("", "gpt-4o", False),
        ("gpt-4o/llama", "gpt-4o", False),
    ],
)
def test_which_names_are_the_same_model(name: str, requested: str, same: bool) -> None:
    assert is_same_model(name, requested) is same


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
def test_a_need_that_is_not_met_is_the_reason(need: str) -> None:
    place = Endpoint(name="a", base_url="http://127.0.0.1:9/v1", offers=(Offer("gpt-4o", True),))
    asked = request(**NEEDS[need])
    assert isinstance(asyncio.run(place.serves(asked)), Serving)
    for unmet in NEEDS:
        able = replace(Capabilities(images=True, files=True, audio=True), **{unmet: False})
        limited = replace(place, offers=(Offer("gpt-4o", True, able),))
        answer = asyncio.run(limited.serves(asked))
        if unmet == need == "schema":
            assert answer == Serving("gpt-4o", True, schema_in_prompt=True)
        else:
            assert isinstance(answer, Ineligible if unmet == need else Serving)


def test_the_first_offer_that_can_take_the_request() -> None:
    text, sight = Capabilities(tools=False, context=8192), Capabilities(images=True, tools=False)
    place = Endpoint(
        name="a",
        base_url="http://127.0.0.1:9/v1",
        offers=(Offer("small", True, text, verify=True), Offer("seeing", False, sight)),
        no_model_reason="it has nothing",
    )

    def serves(place: Endpoint, **fields: Any) -> Serving | Ineligible:
        return asyncio.run(place.serves(request(**fields)))

    assert serves(place) == Serving("small", True, True, context=8192)
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    looks = [{"role": "user", "content": [image]}]
    assert serves(place, messages=looks) == Serving("seeing", False)
    assert serves(place, params={"tools": [{}]}) == Ineligible("small calls no tools")
    knowing = replace(
        place, offers=(Offer("small", True, Capabilities(schema=False)), *place.offers[1:])
    )
    assert serves(knowing, params=SCHEMA) == Serving("seeing", False)
    assert serves(replace(place, offers=())) == Ineligible("it has nothing")
