"""Error bodies of all providers: message, code, status, delay."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from llm_g4f.decoding.error_bodies import detail_of, error_in
from llm_g4f.decoding.error_context import ErrorContext
from llm_g4f.decoding.error_messages import error_in_body, http_error
from llm_g4f.errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ContextLengthError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
)


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
        ({"success": False, "errors": [{"code": 10000, "message": "No."}]}, "No.", "10000", None),
        ({"errors": ["one", "two"]}, "one; two", None, None),
        ({"detail": {"error": "No."}}, "No.", None, None),
        ({"error": ["No."]}, "No.", None, None),
        ({"error": True, "message": "No."}, "No.", None, None),
        ({"error": 503, "message": "No."}, "No.", None, None),
        (
            {"message": ["No."], "error": "Bad Request", "statusCode": 400},
            "Bad Request: No.",
            None,
            400,
        ),
        ({"code": 20012, "message": "No.", "data": None}, "No.", "20012", None),
        ({"base_resp": {"status_code": 1008, "status_msg": "No."}}, "No.", None, 402),
        ({"code": 429, "message": "No.", "metadata": {"raw": "x"}}, "No.: x", "429", 429),
        ({"error": {"message": '{"error": {"message": "No.", "code": 404}}'}}, "No.", "404", 404),
        (
            {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "No."}]},
            "seed: No.",
            "extra_forbidden",
            None,
        ),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_detail_of(body: Any, text: str, code: str | None, status: int | None) -> None:
    detail = detail_of(body)
    assert (detail.text, detail.code, detail.status) == (text, code, status)


def openrouter(raw: Any, code: int = 400, **metadata: Any) -> dict[str, Any]:
    """An error of the provider behind OpenRouter, as OpenRouter wraps it."""
    metadata |= {"provider_name": "P", "raw": raw}
    return {"error": {"message": "Provider returned error", "code": code, "metadata": metadata}}


CONTEXT = ErrorContext("a", "m", "https://a.example")


@pytest.mark.parametrize(
    "raw",
    [
        "too long",
        json.dumps({"error": {"message": "too long", "code": "context_length_exceeded"}}),
        json.dumps([{"error": {"message": "too long", "code": 400}}]),
        json.dumps({"error": {"message": json.dumps({"detail": "too long"})}}),
    ],
)
def test_the_words_of_the_provider_behind_a_provider_are_shown(raw: str) -> None:
    assert detail_of(openrouter(raw)).text == "Provider returned error: too long"


def test_the_code_of_the_provider_behind_a_provider_is_judged() -> None:
    raw = json.dumps({"error": {"message": "No.", "code": "context_length_exceeded"}})
    for error in (
        http_error(CONTEXT, 400, {}, json.dumps(openrouter(raw)).encode()),
        error_in_body(CONTEXT, openrouter(raw)),
        error_in_body(CONTEXT, openrouter(raw)["error"]),
    ):
        assert isinstance(error, ContextLengthError)
        assert (error.status_code, error.code) == (400, "400")


@pytest.mark.parametrize("raw", ["<html>No.</html>", "", None, 7, "Provider returned error"])
def test_a_raw_text_that_says_nothing_is_left_out(raw: Any) -> None:
    assert detail_of(openrouter(raw)).text == "Provider returned error"


def test_a_body_of_unknown_form_is_quoted_whole() -> None:
    for error in (
        http_error(CONTEXT, 400, {}, b'{"fault": {"why": "No."}}'),
        error_in_body(CONTEXT, {"fault": {"why": "No."}}),
    ):
        assert '{"fault": {"why": "No."}}' in str(error)


@pytest.mark.parametrize(
    "parsed",
    [
        {"error": {"message": "No."}},
        {"error": "No."},
        {"error": ["No."]},
        {"error": 503, "message": "No."},
        {"error": True, "message": "No."},
        {"error": {"message": "No."}, "choices": [{"delta": {"content": "x"}}]},
        {"object": "error", "message": "No."},
        {"code": 40003, "message": "No.", "data": None},
        {"code": "Throttling", "msg": "No."},
        {"status": "449", "msg": "No.", "body": None},
        {"success": False, "message": "No."},
        {"type": "error", "message": "No."},
        {"detail": "No."},
        {"detail": {"error": "No."}},
        {"errors": [{"code": 7003, "message": "No."}], "success": False},
        {"errors": ["No."]},
        {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "No."}},
        {"choices": None, "code": 40003, "message": "No."},
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_an_error_under_200_is_found(parsed: dict[str, Any]) -> None:
    assert error_in(parsed) is parsed
    assert error_in([parsed]) is parsed
    assert "No." in str(error_in_body(CONTEXT, parsed))


CHOICES = [{"message": {"content": "x"}}]


@pytest.mark.parametrize(
    "parsed",
    [
        {},
        [],
        None,
        "No.",
        {"error": None, "choices": CHOICES},
        {"error": {}, "errors": [], "choices": CHOICES},
        {"code": 200, "message": "success", "choices": CHOICES},
        {"code": 5, "message": "x", "detail": "x", "choices": []},
        {"code": 5, "message": "x", "usage": {"prompt_tokens": 1}},
        {"base_resp": {"status_code": 0, "status_msg": ""}, "choices": CHOICES},
        {"code": 0, "message": "pong"},
        {"code": "ok", "msg": "pong"},
        {"type": "ping"},
        {"status": "in_progress", "message": "x"},
        {"message": {"role": "assistant", "content": "x"}, "code": 5},
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_what_is_no_error_under_200_is_none(parsed: Any) -> None:
    assert error_in(parsed) is None


@pytest.mark.parametrize(
    ("data", "status", "kind"),
    [
        ({"error": {"message": "No.", "type": "rate_limit_error"}}, 429, RateLimitError),
        ({"error": {"message": "No.", "type": "invalid_request_error"}}, 400, BadRequestError),
        ({"error": {"message": "No.", "status": "UNAVAILABLE"}}, 503, InternalServerError),
        ({"error": "This model's maximum context length is 8 tokens."}, 400, ContextLengthError),
        ({"base_resp": {"status_code": 1002, "status_msg": "No."}}, 429, RateLimitError),
        ({"base_resp": {"status_code": 2049, "status_msg": "No."}}, 401, AuthenticationError),
        ("The model `m` does not exist", 400, NotFoundError),
        (["No."], 500, InternalServerError),
        (True, 500, InternalServerError),
        (503, 500, InternalServerError),
        ({"code": 10**5000, "message": "No."}, 500, InternalServerError),
    ],
    ids=lambda value: str(value)[:40] if not isinstance(value, dict) else None,
)
def test_an_error_under_200_has_the_status_of_its_words(
    data: Any, status: int, kind: type[APIStatusError]
) -> None:
    error = error_in_body(CONTEXT, data)
    assert type(error) is kind
    assert error.status_code == status


@pytest.mark.parametrize(
    ("error", "param"),
    [
        ({"param": "seed"}, "seed"),
        ({"param": "body.store"}, "store"),
        ({"param": "tools[0].type"}, "tools"),
        ({"param": "response_format.json_schema"}, "response_format"),
        ({"param": None}, None),
        ({"param": "None"}, None),
        ({"param": "; rm"}, None),
        ({"param": 7}, None),
    ],
)
def test_the_parameter_of_an_error(error: dict[str, Any], param: str | None) -> None:
    assert detail_of({"error": {"message": "No.", **error}}).param == param


def test_a_parameter_in_the_words_goes_before_a_place_that_is_none() -> None:
    body = {"error": {"message": "property 'seed' is unsupported", "param": "input"}}
    error = http_error(CONTEXT, 400, {}, json.dumps(body).encode())
    assert isinstance(error, BadRequestError)
    assert (error.reason, error.param) == ("parameter_unsupported", "seed")


def test_a_parameter_that_is_only_mentioned_is_not_the_errors() -> None:
    body = {"error": {"message": "Tool choice is required, but the model called no tool."}}
    error = http_error(CONTEXT, 400, {}, json.dumps(body).encode())
    assert isinstance(error, BadRequestError)
    assert (error.reason, error.param) == ("invalid_request", None)


def test_a_limit_that_passes_has_the_time_in_its_body() -> None:
    at = dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)
    metadata = {"limit_source": "openrouter_guardrail_budget", "resets_at": at.isoformat()}
    body = {"error": {"message": "Budget limit exceeded", "code": 403, "metadata": metadata}}
    error = http_error(CONTEXT, 403, {}, json.dumps(body).encode())
    assert isinstance(error, RateLimitError)
    assert (error.status_code, error.reason) == (403, "rate_limited")
    assert error.retry_after == pytest.approx(7_200, abs=30)
    del metadata["resets_at"]
    error = http_error(CONTEXT, 403, {}, json.dumps(body).encode())
    assert isinstance(error, PermissionDeniedError)
    assert (error.reason, error.retry_after) == ("out_of_credit", None)


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
