"""What servers and networks say when they fail, as errors a person can act on."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime, formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from llm_g4f.client import AsyncClient
from llm_g4f.decoding.error_bodies import detail_of
from llm_g4f.decoding.error_context import ErrorContext
from llm_g4f.decoding.error_messages import http_error, stream_failure
from llm_g4f.decoding.retry_after import retry_after
from llm_g4f.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    G4FError,
    InternalServerError,
    RateLimitError,
)
from llm_g4f.http.connect import Network
from tests.support.server import Server, http, stream
from tests.support.tls import server_tls

PLACE = ErrorContext("a", "m", "https://a.example", 'set it with "llm keys set a"')


@pytest.mark.parametrize(
    ("body", "text", "code", "status"),
    [
        ({"error": {"message": "No.", "code": "bad", "type": "t"}}, "No.", "bad", None),
        ({"error": {"message": "No.", "code": None, "type": "t"}}, "No.", "t", None),
        ({"error": {"message": "No.", "code": 429}}, "No.", "429", 429),
        ({"error": {"message": "No.", "code": "503"}}, "No.", "503", 503),
        ({"error": {"message": "No.", "code": 1234}}, "No.", "1234", None),
        ({"error": {"message": "No.", "code": True}}, "No.", None, None),
        ({"error": "No."}, "No.", None, None),
        ({"error": "No.", "code": "bad"}, "No.", "bad", None),
        ({"message": "No.", "code": 404, "object": "error"}, "No.", "404", 404),
        ([{"error": {"message": "No.", "status": "UNAVAILABLE", "code": 503}}], "No.", "503", 503),
        ({"error": {"message": "No.", "status": "UNAVAILABLE"}}, "No.", "UNAVAILABLE", None),
        ({"title": "Gone", "detail": "No.", "status": 410}, "No.", "410", 410),
        ({"title": "Gone", "status": 410}, "Gone", "410", 410),
        ({"detail": [{"loc": ["body"], "msg": "one"}, {"msg": "two"}]}, "one; two", None, None),
        ({"detail": "No."}, "No.", None, None),
        ({"message": {"detail": [{"msg": "No."}]}, "type": "t"}, "No.", "t", None),
        ("No.", "No.", None, None),
        ({}, "", None, None),
        ([], "", None, None),
        (None, "", None, None),
        (7, "", None, None),
        ({"error": None}, "", None, None),
        ({"error": []}, "", None, None),
        ({"error": {"message": None}}, "", None, None),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_the_words_of_an_error_body(
    body: Any, text: str, code: str | None, status: int | None
) -> None:
    detail = detail_of(body)
    assert (detail.text, detail.code, detail.status) == (text, code, status)


def gemini(delay: Any) -> dict[str, Any]:
    kind = "type.googleapis.com/google.rpc.RetryInfo"
    details = ["x", {"@type": "Help"}, {"@type": kind, "retryDelay": delay}]
    return {"error": {"code": 429, "message": "No.", "details": details}}


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        ("34s", 34.0),
        ("0.5s", 0.5),
        ("34.074824224s", 34.074824224),
        *((refused, None) for refused in ("-3s", "nans", "infs", 34, None, "", "٣s", "1e3s")),
    ],
)
def test_geminis_retry_delay(delay: Any, seconds: float | None) -> None:
    assert detail_of(gemini(delay)).delay == seconds
    error = http_error(PLACE, 429, {"retry-after": "7"}, json.dumps([gemini(delay)]).encode())
    assert isinstance(error, RateLimitError)
    assert error.retry_after == (7.0 if seconds is None else seconds)


NOW = 1_790_000_000.0
YEAR = 366 * 86400


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "31536000"}, 31_536_000.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(NOW - 30, usegmt=True)}, 0.0),
        ({"retry-after": "Mon, 21 Sep 2026 14:13:50 GMT"}, 30.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "17"}, 17.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "7.66s"}, 7.66),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "2m59.56s"}, 179.56),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1d2h"}, 93_600.0),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            360.0,
        ),
        # Of a limit that is not used up, the reset says nothing.
        ({"x-ratelimit-remaining-requests": "9", "x-ratelimit-reset-requests": "17"}, None),
        ({"x-ratelimit-reset-requests": "17"}, None),
        ({"retry-after": "7", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "60"}, 7.0),
    ],
)  # fmt: skip
def test_when_to_come_back(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == (seconds if seconds is None else pytest.approx(seconds))


REFUSED = [
    "",
    " ",
    "soon",
    "nan",
    "NaN",
    "inf",
    "Infinity",
    "-1",
    "+1",
    "1e3",
    "1_000",
    "0x10",
    "1,5",
]
REFUSED += [
    "٣",
    "\uff11\uff12",
    "²",
    "99999999999",
    str(YEAR + 1),
    "9" * 5_000,
    "1.2.3",
    ".",
    "1.",
    "7 s",
]
REFUSED += [formatdate(NOW + YEAR + 60, usegmt=True), "Mon, 99 Sep 2026 14:13:50 GMT", "GMT", "\0"]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: ascii(value[:32]))
def test_absurd_delays_count_as_not_said(value: str) -> None:
    assert retry_after({"retry-after": value}, NOW) is None
    assert retry_after({"retry-after-ms": value}, NOW) is None
    for kind in ("requests", "tokens"):
        headers = {f"x-ratelimit-remaining-{kind}": "0", f"x-ratelimit-reset-{kind}": value}
        assert retry_after(headers, NOW) is None


@pytest.mark.parametrize("value", ["400d", "999999999d", "999999999h999999999d", "-1s", "1w", "s"])
def test_absurd_resets_count_as_not_said(value: str) -> None:
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": value}
    assert retry_after(headers, NOW) is None


def test_a_date_is_compared_with_this_clock() -> None:
    at = format_datetime(datetime.fromtimestamp(time.time() + 60, UTC), usegmt=True)
    seconds = retry_after({"retry-after": at})
    assert seconds is not None
    assert 50 < seconds <= 60


digits = st.text('0123456789.:-+ ,;()GMTSunJandhms"\\<>@', max_size=30)


@given(digits | st.text(max_size=20))
def test_no_header_makes_retry_after_fail(value: str) -> None:
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": value}
    for form in ({"retry-after": value}, {"retry-after-ms": value}, headers):
        seconds = retry_after(form, NOW)
        assert seconds is None or 0 <= seconds <= YEAR


def body(message: str = "No.") -> bytes:
    return json.dumps({"error": {"message": message, "code": "c"}}).encode()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            302,
            r"^a redirects to https://b\.example/v1 \(HTTP 302\), which is not followed.*base_url",
        ),
        (400, r'^a rejected the request \(HTTP 400\): "No\."'),
        (401, r'^a refused the key \(HTTP 401\): "No\."\. set it with "llm keys set a"$'),
        (402, r'^a wants payment \(HTTP 402\): "No\.".*credit'),
        (403, r'^a does not allow this request \(HTTP 403\): "No\."'),
        (404, r'^a has no m at https://a\.example \(HTTP 404\): "No\.".*"llm g4f models a"'),
        (408, r'^a timed out \(HTTP 408\): "No\."'),
        (413, r'^a finds the request of 1,234,567 bytes too large \(HTTP 413\): "No\."'),
        (422, r'^a rejected the request \(HTTP 422\): "No\."'),
        (429, r'^a takes no more requests for now \(HTTP 429\): "No\."\. Try again in 8 s\.$'),
        (500, r'^a failed \(HTTP 500\): "No\."'),
        (529, r'^a failed \(HTTP 529\): "No\."'),
    ],
)
def test_each_failure_says_what_to_do(status: int, words: str) -> None:
    headers = {"location": "https://b.example/v1", "retry-after": "7.5", "x-request-id": "req_1"}
    error = http_error(PLACE, status, headers, body(), 1_234_567)
    with pytest.raises(type(error), match=words):
        raise error
    assert (error.provider, error.model) == ("a", "m")
    if isinstance(error, APIStatusError):
        assert (error.status_code, error.code) == (status, "c")
        assert (error.request_id, error.retry_after) == ("req_1", 7.5)


def test_without_a_delay_429_says_later() -> None:
    assert str(http_error(PLACE, 429, {}, b"")).endswith("Try again later.")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", ""),
        (b"upstream is down", ': "upstream is down"'),
        (b"<html><body>502</body></html>", ""),
        (b"\n <!DOCTYPE html>", ""),
        (b"{}", ""),
        (b"null", ""),
        (b"\xff\xfe", ': "\ufffd\ufffd"'),
        (b'{"error": {"message": "cut', ': "{"error": {"message": "cut"'),
        (b'"No."', ': "No."'),
    ],
)
def test_an_error_body_of_any_kind(body: bytes, said: str) -> None:
    assert str(http_error(PLACE, 500, {}, body)) == f"a failed (HTTP 500){said}. Try again later."


def test_a_body_of_a_megabyte_with_escapes_is_told_in_300_characters() -> None:
    error = http_error(PLACE, 400, {}, body("\x1b[2J\x9b31m\u202e" * 200_000))
    assert len(str(error)) < 400
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in str(error))
    error = http_error(
        PLACE, 400, {"x-request-id": "\x1b" * 900}, json.dumps({"code": "\x1b" * 900}).encode()
    )
    assert isinstance(error, APIStatusError)
    assert "\x1b" not in f"{error.code}{error.request_id}"
    assert len(f"{error.code}") <= 80


@pytest.mark.parametrize("depth", [50, *range(100, 1000, 50), 2_000, 9_000, 100_000])
@pytest.mark.parametrize("unit", [("[", "]"), ('{"message":', "}"), ('{"message":[', "]}")])
def test_deep_error_bodies_are_errors_of_ours(unit: tuple[str, str], depth: int) -> None:
    text = unit[0] * depth + '"x"' + unit[1] * depth
    assert isinstance(http_error(PLACE, 500, {}, text.encode()), InternalServerError)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "message",
                    "detail",
                    "title",
                    "code",
                    "type",
                    "status",
                    "details",
                    "retryDelay",
                    "msg",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
)


@given(values | st.fixed_dictionaries({"error": values}), st.integers(300, 599))
def test_any_body_makes_an_error_that_can_be_written(value: Any, status: int) -> None:
    data = json.dumps(value).encode()
    for error in (http_error(PLACE, status, {}, data), stream_failure(PLACE, json.loads(data))):
        str(error).encode()
        if isinstance(error, APIStatusError):
            f"{error.code}".encode()


@pytest.mark.parametrize(
    ("data", "status"),
    [({"error": {"message": "No.", "code": 429}}, 429), ({"error": "No."}, 500), ("No.", 500)],
)
def test_an_error_under_200_has_the_status_it_names(data: Any, status: int) -> None:
    error = stream_failure(PLACE, data)
    assert isinstance(error, APIStatusError)
    assert error.status_code == status
    assert "No." in str(error)


def failure(base_url: str, **settings: Any) -> G4FError:
    async def ask() -> None:
        client = AsyncClient(base_url=base_url, **settings)
        await client.chat.completions.create("hi")

    with pytest.raises(G4FError) as caught:
        asyncio.run(ask())
    return caught.value


@contextmanager
def no_server() -> Iterator[str]:
    """A port that is taken and does not listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_a_refused_connection() -> None:
    with no_server() as place:
        error = failure(f"http://{place}/v1")
    assert type(error) is APIConnectionError
    assert f"custom (http://{place}) refuses connections" in str(error)
    assert not error.final


def test_a_name_that_does_not_resolve() -> None:
    error = failure("https://nowhere.invalid/v1")
    assert type(error) is APIConnectionError
    assert "custom (https://nowhere.invalid): the host name cannot be resolved" in str(error)
    assert not error.final


def test_a_connection_that_is_not_accepted_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm_g4f.http.connect.CONNECT_TIMEOUT", 0.05)
    with socket.socket() as full:
        # A queue that is full: the kernel lets further connections wait.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(8)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        error = failure(f"http://127.0.0.1:{address[1]}/v1")
        for one in waiting:
            one.close()
    assert type(error) is APITimeoutError
    assert "did not accept a connection in time" in str(error)


def test_a_connection_that_is_reset() -> None:
    from tests.support.server import RESET

    with Server([RESET]) as server:
        error = failure(server.url)
    assert type(error) is APIConnectionError
    assert "without a response" in str(error)


def test_an_unknown_authority_is_never_accepted(authority: trustme.CA) -> None:
    with Server(stream("Hello"), tls=server_tls(authority)) as server:
        error = failure(server.url)
        assert not server.requests
    assert type(error) is APIConnectionError
    assert f"custom ({server.origin}): no trustworthy TLS connection" in str(error)
    assert "ca_file" in str(error)
    assert error.final


def test_a_certificate_for_another_host_is_never_accepted(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with Server(stream("Hello"), tls=server_tls(authority, "other.example")) as server:
        error = failure(server.url)
        assert not server.requests
    assert type(error) is APIConnectionError
    assert "no trustworthy TLS connection" in str(error)
    assert error.final


def test_tls_to_a_server_without_it_names_the_host() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        origin = f"https://127.0.0.1:{plain.getsockname()[1]}"

        def answer() -> None:
            connection, _ = plain.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(1000)

        thread = threading.Thread(target=answer)
        thread.start()
        error = failure(f"{origin}/v1")
        thread.join()
    assert type(error) is APIConnectionError
    assert f"custom ({origin}): no trustworthy TLS connection" in str(error)
    assert error.final


@pytest.mark.parametrize("origin", ["https://127.0.0.1:9/v1", "http://127.0.0.1:9/v1"])
def test_a_proxy_that_refuses_is_named(origin: str) -> None:
    with Server(http(407)) as proxy:
        error = failure(origin, proxies=proxy.origin)
        assert len(proxy.requests) == 1
    assert isinstance(error, APIConnectionError)
    assert "proxy" in str(error).lower()
    assert error.final


@pytest.mark.parametrize("origin", ["https://127.0.0.1:9/v1", "http://127.0.0.1:9/v1"])
def test_a_proxy_that_cannot_be_reached_is_named(origin: str) -> None:
    with no_server() as place:
        error = failure(origin, proxies=f"http://{place}")
    assert isinstance(error, APIConnectionError)
    assert "proxy" in str(error).lower()
    assert error.final


def test_a_ca_file_that_is_gone_is_named(write_config: Any, tmp_path: Path) -> None:
    path = tmp_path / "gone.pem"
    path.write_text("")
    write_config(f"providers:\n  a: {{base_url: 'https://127.0.0.1:9/v1', ca_file: '{path}'}}\n")

    async def ask() -> None:
        client = AsyncClient("a")
        path.unlink()
        await client.chat.completions.create("hi")

    with pytest.raises(G4FError) as caught:
        asyncio.run(ask())
    assert str(path) in str(caught.value)


def test_networks_are_told_apart() -> None:
    assert Network() == Network()
    assert Network(ca_file="a") != Network()
