"""When to try again, by the headers of a response."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import format_datetime, formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_g4f.decoding.retry_after import delay_in, retry_after

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
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1790003600000"}, 3600.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1790003600"}, 3600.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "30"}, 30.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1780000000"}, 0.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9999999999999"}, None),
        ({"x-ratelimit-remaining": "9", "x-ratelimit-reset": "1790003600"}, None),
        # Of a limit that is not used up, the reset says nothing.
        ({"x-ratelimit-remaining-requests": "9", "x-ratelimit-reset-requests": "17"}, None),
        ({"x-ratelimit-reset-requests": "17"}, None),
        ({"retry-after": "7", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "60"}, 7.0),
    ],
)  # fmt: skip
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == (seconds if seconds is None else pytest.approx(seconds))


INVALID = [
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
INVALID += [
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
INVALID += [formatdate(NOW + YEAR + 60, usegmt=True), "Mon, 99 Sep 2026 14:13:50 GMT", "GMT", "\0"]


@pytest.mark.parametrize("value", INVALID, ids=lambda value: ascii(value[:32]))
def test_an_invalid_delay_is_ignored(value: str) -> None:
    assert retry_after({"retry-after": value}, NOW) is None
    assert retry_after({"retry-after-ms": value}, NOW) is None
    for kind in ("requests", "tokens"):
        headers = {f"x-ratelimit-remaining-{kind}": "0", f"x-ratelimit-reset-{kind}": value}
        assert retry_after(headers, NOW) is None


@pytest.mark.parametrize("value", ["400d", "999999999d", "999999999h999999999d", "-1s", "1w", "s"])
def test_an_invalid_reset_is_ignored(value: str) -> None:
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": value}
    assert retry_after(headers, NOW) is None


def test_a_date_is_compared_with_the_clock() -> None:
    at = format_datetime(datetime.fromtimestamp(time.time() + 60, UTC), usegmt=True)
    seconds = retry_after({"retry-after": at})
    assert seconds is not None
    assert 50 < seconds <= 60


digits = st.text('0123456789.:-+ ,;()GMTSunJandhms"\\<>@', max_size=30)


@given(digits | st.text(max_size=20))
def test_no_header_raises_an_error(value: str) -> None:
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": value}
    for form in ({"retry-after": value}, {"retry-after-ms": value}, headers):
        seconds = retry_after(form, NOW)
        assert seconds is None or 0 <= seconds <= YEAR


ABSURD: list[Any] = ["soon", None, True, -1, 1e300, "2999-01-01", "9" * 13, {}]


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        ({}, None),
        ({"retryDelay": "34s"}, 34.0),
        ({"retry_after": 7}, 7.0),
        ({"retry_after_seconds": "7.5"}, 7.5),
        ({"resets_in_seconds": 90}, 90.0),
        ({"resets_at": 1_790_003_600}, 3_600.0),
        ({"resets_at": 1_790_003_600_000}, 3_600.0),
        ({"resets_at": "2026-09-21T15:13:20Z"}, 3_600.0),
        ({"resets_at": "2026-09-21T15:13:20"}, 3_600.0),
        ({"resets_at": "2026-09-21T17:13:20+02:00"}, 3_600.0),
        ({"resets_at": "2026-01-01T00:00:00Z"}, 0.0),
        ({"reset_at": "2026-09-21T15:13:20Z"}, 3_600.0),
        ({"headers": {"Retry-After": "7"}}, 7.0),
        ({"headers": {"X-RateLimit-Remaining": 0, "X-RateLimit-Reset": 1_790_003_600_000}}, 3_600.0),
        ({"headers": {"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "1790003600000"}}, None),
        ({"headers": ["Retry-After"]}, None),
        *(({name: value}, None) for name in ("resets_at", "retry_after") for value in ABSURD),
    ],
)  # fmt: skip
def test_the_delay_in_a_body(error: dict[str, Any], seconds: float | None) -> None:
    assert delay_in([{"x": 1}, error], NOW) == seconds
