"""When a server wants to be asked again."""

from __future__ import annotations

import datetime as dt
import math
import re
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

_LONGEST = 366 * 86_400
"""Seconds: no wish for a later time is believed."""

_MILLISECONDS = 1e11
"""Unix times above this are in milliseconds: in seconds it is the year 5138."""


def _seconds(text: str) -> float | None:
    """A duration a server may ask for: 0 to a year, ASCII digits, nothing clever."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return None
    value = float(text)
    return value if value <= _LONGEST else None


_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _reset(text: str) -> float | None:
    """The duration forms of x-ratelimit-reset-*: "17", "7.66s", "2m59.56s", "120ms"."""
    plain = _seconds(text)
    if plain is not None:
        return plain
    if not re.fullmatch(r"([0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h|d))+", text):
        return None
    parts = re.findall(r"([0-9.]+)(ms|s|m|h|d)", text)
    value = sum(float(number) * _UNIT[unit] for number, unit in parts)
    return value if value <= _LONGEST else None


def _until(at: float, now: float | None) -> float | None:
    """Seconds until the Unix time `at`, 0 if it is over; None for an absurd one."""
    seconds = at - (time.time() if now is None else now)
    return max(0.0, seconds) if seconds <= _LONGEST else None


def _until_time(value: Any, now: float | None) -> float | None:
    """Seconds until a time in a body: a Unix time in seconds or milliseconds, or ISO 8601."""
    text = str(value).strip()
    try:
        if re.fullmatch(r"[0-9]{10,13}(\.[0-9]{1,9})?", text):
            at = float(text)
            return _until(at / 1000 if at > _MILLISECONDS else at, now)
        moment = dt.datetime.fromisoformat(text)
        return _until((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp(), now)
    except (ValueError, OverflowError):
        return None


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds until the server wants to be asked again, from its headers; None if it does not say.

    `retry-after-ms`, `Retry-After` as seconds or as an HTTP date, `x-ratelimit-reset-*` of
    the limits that are used up, or `x-ratelimit-reset` as a Unix time (OpenRouter). NaN, infinity,
    negatives, non-ASCII digits and absurd values count as not said. `now` is the Unix time.
    """
    if (value := headers.get("retry-after-ms")) is not None:
        seconds = _seconds(value.strip())
        if seconds is not None:
            return seconds / 1000
    if (value := headers.get("retry-after")) is not None:
        seconds = _seconds(value.strip())
        if seconds is not None:
            return seconds
        if value.isascii():
            try:
                at = parsedate_to_datetime(value).timestamp()
            except (ValueError, TypeError, OverflowError):
                at = math.nan
            if (until := _until(at, now)) is not None:
                return until
    waits = [
        wait
        for kind in ("-requests", "-tokens", "")
        if headers.get(f"x-ratelimit-remaining{kind}", "").strip() == "0"
        and (wait := _reset_in(headers.get(f"x-ratelimit-reset{kind}", "").strip(), now))
        is not None
    ]
    return max(waits, default=None)


def _reset_in(text: str, now: float | None) -> float | None:
    wait = _reset(text)
    return _until_time(text, now) if wait is None else wait


_DELAYS = ("retry_after", "retry_after_seconds", "resets_in_seconds")
_TIMES = ("resets_at", "reset_at")


def delay_in(errors: Iterable[Mapping[str, Any]], now: float | None = None) -> float | None:
    """Seconds until the server wants to be asked again, from the objects of an error body; None if
    they do not say.

    `retryDelay` (Gemini), `retry_after_seconds`, `resets_at` and `headers` (OpenRouter).
    """
    return next((wait for one in errors if (wait := _delay_in(one, now)) is not None), None)


def _delay_in(error: Mapping[str, Any], now: float | None) -> float | None:
    delay, headers = error.get("retryDelay"), error.get("headers")
    waits = [
        _seconds(delay.removesuffix("s")) if isinstance(delay, str) else None,
        *(_seconds(str(error.get(name)).strip()) for name in _DELAYS),
        *(_until_time(error.get(name), now) for name in _TIMES),
    ]
    if isinstance(headers, dict):
        waits.append(retry_after({str(name).lower(): str(headers[name]) for name in headers}, now))
    return next((wait for wait in waits if wait is not None), None)
