"""Error bodies of all providers: message, code, status, delay."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_g4f.decoding.error_bodies import detail_of
from llm_g4f.decoding.error_context import ErrorContext
from llm_g4f.decoding.error_messages import http_error
from llm_g4f.errors import RateLimitError


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
def test_detail_of(body: Any, text: str, code: str | None, status: int | None) -> None:
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
    error = http_error(
        ErrorContext("a", "m", "https://a.example"),
        429,
        {"retry-after": "7"},
        json.dumps([gemini(delay)]).encode(),
    )
    assert isinstance(error, RateLimitError)
    assert error.retry_after == (7.0 if seconds is None else seconds)
