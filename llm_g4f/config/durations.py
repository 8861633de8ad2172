"""Times as people write them: 300, "5m", "1.5h", "7d"."""

from __future__ import annotations

import re
from typing import Any

_DURATION = re.compile(r"([+-]?\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def seconds_in(value: Any) -> float | None:
    """The seconds in a number of them, or in a text with a unit; None for anything else.

    >>> seconds_in("5m"), seconds_in(300), seconds_in("soon")
    (300.0, 300.0, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, (int, float)) and not abs(value) < 1e9:
        return None
    match = _DURATION.fullmatch(value.strip() if isinstance(value, str) else f"{value:f}")
    return float(match[1]) * _UNITS[match[2] or "s"] if match else None
