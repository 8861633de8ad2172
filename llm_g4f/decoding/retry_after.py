"""When a server wants to be asked again."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def _seconds(text: str) -> float | None:
    """A duration a server may ask for: 0 to a year, ASCII digits, nothing clever."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return None
    value = float(text)
    return value if value <= 366 * 86400 else None


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
    return value if value <= 366 * 86400 else None


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds until the server wants to be asked again, from its headers; None if it does not say.

    `retry-after-ms`, `Retry-After` as seconds or as an HTTP date, `x-ratelimit-reset-*` of
    the limits that are used up. NaN, infinity, negatives, non-ASCII digits and absurd values
    count as not said. `now` is the Unix time.
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
            until = at - (time.time() if now is None else now)
            if until <= 366 * 86400:
                return max(0.0, until)
    waits = [
        wait
        for kind in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{kind}", "").strip() == "0"
        and (wait := _reset(headers.get(f"x-ratelimit-reset-{kind}", "").strip())) is not None
    ]
    return max(waits, default=None)
