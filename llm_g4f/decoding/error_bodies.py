"""What the body of an error says, in whatever shape a provider gives it.

An object, a text, a list, a number or true under `error`, `message` alone (vLLM), a list of objects
(Gemini), `{title, detail}` (RFC 7807, NVIDIA), `detail` as a list (FastAPI) or an object
(DeepInfra), a `message` that is an object (Mistral) or a list (NestJS), a numeric `code`
(OpenRouter), `errors` (Cloudflare, TGI), `{code, message}` (SiliconFlow), `base_resp` (MiniMax),
and JSON as text inside any of them (OpenRouter's `metadata.raw`, proxies).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from ..types import JSON
from .retry_after import delay_in
from .text import parse_json

_DEPTH = 8
"""How deep objects may be nested in an error to be looked at."""

_MINIMAX = {1000: 500, 1001: 408, 1002: 429, 1004: 401, 1008: 402, 1039: 429, 2013: 400, 2049: 401}
"""HTTP statuses for `base_resp.status_code`. Source: MiniMax's API reference, "Error codes"."""

_STATUS_OF_TYPE = {
    # OpenAI's types and codes; those of Anthropic's API.
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "context_length_exceeded": 400,
    "overloaded_error": 529,
    # google.rpc.Code, as Google's API design guide maps it to HTTP.
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
}

_TEXTS = ("message", "msg", "detail", "errors", "base_resp", "status_msg", "error_msg", "title")
"""Where the words of an error stand; the first that has any counts."""

_TOLD = ("message", "msg", "error_msg")
"""Where they stand in an object that may be no error (the last one at Baidu)."""

_INNER = ("error", "errors", "message", "detail", "details", "metadata", "raw", "base_resp")
"""Where an error has further objects, as such or as JSON text."""

_CODES = ("code", "type", "status", "reason", "error_type", "limit_source")

_FINE = frozenset({"", "0", "200", "ok", "success", "none"})
"""Values of `code` where nothing is wrong, in lower case."""


class Detail(Struct, frozen=True):
    """What an error body says: the text, its code, the parameter it is about, its HTTP status if it
    names one, and the seconds after which to come back. `codes` are all codes in it."""

    text: str = ""
    code: str | None = None
    param: str | None = None
    status: int | None = None
    delay: float | None = None
    codes: frozenset[str] = frozenset()

    @property
    def meant_status(self) -> int | None:
        """The status that the error names, else the one that its code stands for."""
        meant = (_STATUS_OF_TYPE[code] for code in self.codes if code in _STATUS_OF_TYPE)
        return self.status or min(meant, default=None)


def error_in(parsed: Any) -> Any:
    """The error in JSON that came in place of a completion or a chunk, or beside one: an argument
    for `detail_of`. None if there is none."""
    if isinstance(parsed, list):
        parsed = parsed[0] if parsed else None
    if not isinstance(parsed, dict):
        return None
    error = parsed.get("error")
    if error and not (isinstance(error, dict) and not any(error.values())):
        return parsed
    if parsed.get("choices"):
        # Chunk after chunk comes here: nothing else is looked up in it.
        return None
    if parsed.get("object") == "error" or _minimax_code(parsed):
        return parsed
    if isinstance(parsed.get("choices"), list) or parsed.get("usage"):
        return None
    return parsed if parsed.get("errors") or parsed.get("detail") or _has_failed(parsed) else None


def _minimax_code(parsed: JSON) -> Any:
    response = parsed.get("base_resp")
    return response.get("status_code") if isinstance(response, dict) else None


def _has_failed(parsed: JSON) -> bool:
    """Whether an object with a `message` says that it is an error."""
    if not isinstance(next((parsed[name] for name in _TOLD if parsed.get(name)), None), str):
        return False
    if parsed.get("success") is False or parsed.get("type") == "error":
        return True
    code, status = parsed.get("code", parsed.get("error_code")), parsed.get("status")
    return _is_bad(code) or status in ("error", "failed") or _status(status) is not None


def _is_bad(code: Any) -> bool:
    if isinstance(code, str):
        return code.lower() not in _FINE
    return isinstance(code, int) and code not in (0, 200)


def detail_of(data: Any) -> Detail:
    """The words in the parsed JSON of an error, or of the error alone."""
    if isinstance(data, list):
        return detail_of(data[0]) if data else Detail()
    if not isinstance(data, dict):
        return Detail(_words(data))
    error = data.get("error")
    inner = error if isinstance(error, dict) else data
    objects = [inner, *_objects(data)]
    codes = [code for found in objects for name in _CODES if (code := _code(found.get(name)))]
    delay = delay_in(objects)
    if any(found.get("resets_at") for found in objects) and delay is not None:
        codes.append("resets_at")
    return Detail(
        _with_raw(_words(inner) or _words(data), inner),
        next((code for found in objects if (code := _own_code(found))), None),
        next((param for found in objects if (param := _parameter(found))), None),
        next((status for found in objects if (status := _status_in(found))), None),
        delay,
        frozenset(codes),
    )


def _objects(value: Any, depth: int = _DEPTH) -> Iterator[JSON]:
    """The objects in an error, from outside to inside."""
    value = _parsed(value)
    if depth and isinstance(value, list):
        for item in value[:5]:
            yield from _objects(item, depth - 1)
    elif depth and isinstance(value, dict):
        yield value
        for name in _INNER:
            yield from _objects(value.get(name), depth - 1)


def _parsed(value: Any) -> Any:
    """The JSON in a text that is JSON; any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return parse_json(value.encode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return value
    return value


def _words(value: Any) -> str:
    parsed = _parsed(value)
    if isinstance(parsed, list):
        return "; ".join(filter(None, map(_words, parsed[:3])))
    if isinstance(parsed, dict):
        text = next((text for name in _TEXTS if (text := _words(parsed.get(name)))), "")
        # Some put the reason here, and some the name of the status (NestJS).
        error = _words(parsed.get("error"))
        return ": ".join(dict.fromkeys(filter(None, (_place(parsed), error, text))))
    return value if isinstance(value, str) else ""


def _with_raw(text: str, error: JSON) -> str:
    """The text, with what the provider behind the provider said (OpenRouter)."""
    metadata = error.get("metadata")
    raw = _words(metadata.get("raw")) if isinstance(metadata, dict) else ""
    if not raw or raw in text or raw.lstrip().startswith("<"):
        return text
    return f"{text}: {raw}" if text else raw


def _place(error: JSON) -> str:
    """The field that FastAPI's error is about, without "body"; "" if it names none."""
    loc = error.get("loc")
    return ".".join(map(str, loc[1:])) if isinstance(loc, list) and loc[:1] == ["body"] else ""


def _code(value: Any) -> str | None:
    usable = isinstance(value, (str, int)) and not isinstance(value, bool)
    return str(value) if usable and value else None


def _own_code(error: JSON) -> str | None:
    return _code(error.get("code") or error.get("type") or error.get("status"))


def _parameter(error: JSON) -> str | None:
    """The parameter that an error is about: "store" for "body.store", "tools" for "tools[0].type"."""
    param = error.get("param") or _place(error)
    if not isinstance(param, str):
        return None
    found = re.match(r"(?:body\.)?([A-Za-z_]\w*)", param, re.ASCII)
    return found[1] if found and found[1] not in ("None", "null") else None


def _status_in(error: JSON) -> int | None:
    minimax = error.get("status_code")
    if isinstance(minimax, int) and minimax in _MINIMAX:
        return _MINIMAX[minimax]
    names = ("code", "status", "status_code", "statusCode")
    return next((status for name in names if (status := _status(error.get(name)))), None)


def _status(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[1-5][0-9][0-9]", value):
        value = int(value)
    return value if isinstance(value, int) and 300 <= value <= 599 else None
