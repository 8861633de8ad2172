"""What the body of an error says, in whatever shape a provider gives it.

An object or a string under `error`, `message` alone (vLLM), a list of objects (Gemini),
`{title, detail}` (RFC 7807, NVIDIA), `detail` as a list (FastAPI), a `message` that is an
object (Mistral), a numeric `code` (OpenRouter).
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct

from .retry_after import _seconds


class Detail(Struct, frozen=True):
    """What an error body says: the text, its code, the parameter it is about, its HTTP status if it
    names one, and the seconds after which to come back."""

    text: str = ""
    code: str | None = None
    param: str | None = None
    status: int | None = None
    delay: float | None = None


def detail_of(data: Any) -> Detail:
    """The words in the parsed JSON of an error."""
    if isinstance(data, list):
        return detail_of(data[0]) if data else Detail()
    if isinstance(data, str):
        return Detail(data)
    if not isinstance(data, dict):
        return Detail()
    error = data.get("error", data)
    if isinstance(error, str):
        error = {"message": error, "code": data.get("code")}
    if not isinstance(error, dict):
        return Detail()
    code = error.get("code") or error.get("type") or error.get("status")
    return Detail(
        _words(error.get("message") or error.get("detail") or error.get("title")),
        str(code) if isinstance(code, (str, int)) and not isinstance(code, bool) else None,
        param if isinstance(param := error.get("param"), str) and param.isidentifier() else None,
        _status(error.get("code")) or _status(error.get("status")),
        _gemini_delay(error.get("details")),
    )


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, map(_words, value[:3])))
    if isinstance(value, dict):
        return _words(value.get("message") or value.get("msg") or value.get("detail"))
    return ""


def _status(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[1-5][0-9][0-9]", value):
        value = int(value)
    return value if isinstance(value, int) and 300 <= value <= 599 else None


def _gemini_delay(details: Any) -> float | None:
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(delay := detail.get("retryDelay"), str):
            return _seconds(delay.removesuffix("s"))
    return None
