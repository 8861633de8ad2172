"""An error response becomes an error of ours with a message that says what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from llm_g4f.decoding.error_context import ErrorContext
from llm_g4f.decoding.error_messages import error_in_body, http_error
from llm_g4f.errors import APIStatusError, InternalServerError

CONTEXT = ErrorContext("a", "m", "https://a.example", 'set it with "llm keys set a"')


def body(message: str = "No.") -> bytes:
    return json.dumps({"error": {"message": message, "code": "c"}}).encode()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            302,
            r"^a redirects to https://b\.example/v1 \(HTTP 302\)\. Redirects are not followed.*base_url",
        ),
        (400, r'^a rejected the request \(HTTP 400\): "No\."'),
        (401, r'^a rejected the key \(HTTP 401\): "No\."\. Set it with "llm keys set a"\.$'),
        (402, r'^a requires payment \(HTTP 402\): "No\.".*credit'),
        (403, r'^a does not allow this request \(HTTP 403\): "No\."'),
        (404, r'^a has no m at https://a\.example \(HTTP 404\): "No\.".*"llm g4f models a"'),
        (408, r'^a timed out \(HTTP 408\): "No\."'),
        (413, r'^The request of 1,234,567 bytes is too large for a \(HTTP 413\): "No\."'),
        (422, r'^a rejected the request \(HTTP 422\): "No\."'),
        (429, r'^a limits requests now \(HTTP 429\): "No\."\. Try again in 8 s\.$'),
        (500, r'^a failed \(HTTP 500\): "No\."'),
        (529, r'^a failed \(HTTP 529\): "No\."'),
    ],
)
def test_the_message_of_each_status_says_what_to_do(status: int, words: str) -> None:
    headers = {"location": "https://b.example/v1", "retry-after": "7.5", "x-request-id": "req_1"}
    error = http_error(CONTEXT, status, headers, body(), 1_234_567)
    with pytest.raises(type(error), match=words):
        raise error
    assert (error.provider, error.model) == ("a", "m")
    if isinstance(error, APIStatusError):
        assert (error.status_code, error.code) == (status, "c")
        assert (error.request_id, error.retry_after) == ("req_1", 7.5)


OWN = ErrorContext(
    *("a", "m", "https://a.example", "", None, "https://a.example/v1"),
    "llm keys set a, then key: a in g4f.yaml",
)

FRAMEWORKS = {
    "FastAPI": (404, b'{"detail":"Not Found"}'),
    "FastAPI, for GET": (405, b'{"detail":"Method Not Allowed"}'),
    "Flask": (404, b"<!doctype html>\n<title>404 Not Found</title>"),
    "Express": (404, b"<pre>Cannot POST /chat/completions</pre>"),
    "Go": (404, b"404 page not found\n"),
    "Spring": (404, b'{"status":404,"error":"Not Found","path":"/chat/completions"}'),
    "aiohttp": (404, b"404: Not Found"),
    "nothing": (404, b""),
    "llama.cpp": (
        404,
        b'{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}',
    ),
    "OpenAI": (404, b'{"error":{"message":"Invalid URL (POST /chat/completions)"}}'),
    "Groq": (404, b'{"error":{"message":"Unknown request URL: POST /x","code":"unknown_url"}}'),
}


@pytest.mark.parametrize(("status", "answer"), FRAMEWORKS.values(), ids=FRAMEWORKS)
def test_an_address_without_an_api(status: int, answer: bytes) -> None:
    error = http_error(OWN, status, {}, answer)
    begin = (
        "Nothing at https://a.example/v1 speaks the API; check the host and the port in base_url."
    )
    assert error.message.startswith(f"{begin} a answered (HTTP {status})")
    assert isinstance(error, APIStatusError)
    assert error.reason in ("wrong_address", "unexpected_status")


def test_an_address_without_its_path() -> None:
    error = http_error(replace(OWN, base_url="https://a.example"), 404, {}, b"404 page not found")
    assert error.message.startswith(
        "Nothing at https://a.example speaks the API; base_url usually ends in /v1. a answered"
    )


def test_lm_studios_error_under_200_for_another_path() -> None:
    error = error_in_body(OWN, {"error": "Unexpected endpoint or method. (POST /chat/completions)"})
    assert error.message.startswith("Nothing at https://a.example/v1 speaks the API;")


def test_a_pasted_url_of_chat_completions() -> None:
    pasted = replace(OWN, base_url="https://a.example/v1/chat/completions")
    assert "and never in /chat/completions" in http_error(pasted, 404, {}, b"").message


@pytest.mark.parametrize("answer", [b"model 'm' not found", b'{"error":{"message":"No."}}'])
def test_an_api_without_the_model(answer: bytes) -> None:
    assert http_error(OWN, 404, {}, answer).message.startswith("a has no m at https://a.example")


@pytest.mark.parametrize(
    ("status", "answer"), [(401, b""), (400, b'{"error":{"message":"Invalid API key"}}')]
)
def test_a_missing_key_is_not_a_rejected_one(status: int, answer: bytes) -> None:
    message = http_error(OWN, status, {}, answer).message
    assert message.startswith(
        f"a wants a key: llm keys set a, then key: a in g4f.yaml (HTTP {status})"
    )


@pytest.mark.parametrize(
    "page",
    [
        "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>",
        "Client sent an HTTP request to an HTTPS server.\n",
        "<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
    ],
)
def test_a_server_that_expects_tls_is_said_to(page: str) -> None:
    error = http_error(CONTEXT, 400, {}, page.encode())
    assert str(error) == "a speaks TLS at https://a.example: base_url must begin with https://."
    assert error.reason == "tls"


def test_a_429_without_a_delay_says_later() -> None:
    assert str(http_error(CONTEXT, 429, {}, b"")).endswith("Try again later.")


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
def test_an_error_body_of_any_form_is_quoted_or_left_out(body: bytes, said: str) -> None:
    assert str(http_error(CONTEXT, 500, {}, body)) == f"a failed (HTTP 500){said}. Try again later."


def test_a_huge_body_with_escapes_is_cut_and_cleaned() -> None:
    error = http_error(CONTEXT, 400, {}, body("\x1b[2J\x9b31m\u202e" * 200_000))
    assert len(str(error)) < 400
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in str(error))
    error = http_error(
        CONTEXT, 400, {"x-request-id": "\x1b" * 900}, json.dumps({"code": "\x1b" * 900}).encode()
    )
    assert isinstance(error, APIStatusError)
    assert "\x1b" not in f"{error.code}{error.request_id}"
    assert len(f"{error.code}") <= 80


@pytest.mark.parametrize("depth", [50, *range(100, 1000, 50), 2_000, 9_000, 100_000])
@pytest.mark.parametrize("unit", [("[", "]"), ('{"message":', "}"), ('{"message":[', "]}")])
def test_a_deeply_nested_error_body_is_an_error(unit: tuple[str, str], depth: int) -> None:
    text = unit[0] * depth + '"x"' + unit[1] * depth
    assert isinstance(http_error(CONTEXT, 500, {}, text.encode()), InternalServerError)


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
def test_any_body_gives_an_error_that_can_be_encoded(value: Any, status: int) -> None:
    data = json.dumps(value).encode()
    for error in (http_error(CONTEXT, status, {}, data), error_in_body(CONTEXT, json.loads(data))):
        str(error).encode()
        if isinstance(error, APIStatusError):
            f"{error.code}".encode()


@pytest.mark.parametrize(
    ("data", "status"),
    [({"error": {"message": "No.", "code": 429}}, 429), ({"error": "No."}, 500), ("No.", 500)],
)
def test_an_error_under_200_has_the_status_of_its_code(data: Any, status: int) -> None:
    error = error_in_body(CONTEXT, data)
    assert isinstance(error, APIStatusError)
    assert error.status_code == status
    assert "No." in str(error)
