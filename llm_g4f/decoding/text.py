"""JSON and text out of bytes that may be anything."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json

_SPLIT = frozenset(
    (
        *("content", "text", "reasoning", "reasoning_content", "thinking", "summary"),
        *("arguments", "refusal"),
    )
)
"""Fields whose text a stream may split anywhere, also inside a surrogate pair."""


def parse_json(data: bytes, *, halves: bool = False) -> Any:
    """JSON from `data`; ValueError for anything else, however it is wrong.

    Bytes that are not UTF-8 count as U+FFFD, and so do lone surrogate escapes. `halves` keeps half
    a pair at the edge of a text that the next chunk may complete: `joined` puts them together.
    """
    try:
        return from_json(data)
    except ValueError:
        try:
            return _mended(json.loads(data.decode("utf-8", "replace")), halves)
        except RecursionError:
            raise ValueError("nested too deeply") from None


def _mended(value: Any, halves: bool, name: str = "") -> Any:
    if isinstance(value, str):
        if halves and name in _SPLIT:
            first = value[:1] if _is_low(value[:1]) else ""
            last = value[-1:] if _is_high(value[-1:]) else ""
            return first + whole(value[len(first) : len(value) - len(last)]) + last
        return whole(value)
    if isinstance(value, list):
        return [_mended(item, halves, name) for item in value]
    if isinstance(value, dict):
        return {whole(key): _mended(item, halves, key) for key, item in value.items()}
    return value


def _is_high(character: str) -> bool:
    return "\ud800" <= character <= "\udbff"


def _is_low(character: str) -> bool:
    return "\udc00" <= character <= "\udfff"


def joined(held: str, text: str) -> tuple[str, str]:
    """`text` behind the half of a pair that was `held`, and the half to hold at its own end."""
    text = held + text
    if text and _is_high(text[-1]):
        return whole(text[:-1]), text[-1]
    return whole(text), ""


def whole(text: str) -> str:
    """`text` with surrogate pairs joined and lone surrogates as U+FFFD: llm cannot log those."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def text_of(value: Any) -> str | None:
    """The text in a content: a string, one part or a list of parts; None if there is none."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list):
        parts = [
            part if isinstance(part, str) else part.get("text")
            for part in value
            if isinstance(part, (str, dict))
        ]
        return "".join(part for part in parts if isinstance(part, str)) or None
    return None


def thinking_of(value: Any) -> str | None:
    """The reasoning inside a list content: parts of type "thinking" (Mistral's form)."""
    if not isinstance(value, list):
        return None
    found = [
        text_of(part.get("thinking"))
        for part in value
        if isinstance(part, dict) and part.get("type") == "thinking"
    ]
    return "".join(text for text in found if text) or None


def details_of(value: Any) -> str | None:
    """The text in `reasoning_details`: parts with `text` or `summary` (OpenRouter's form)."""
    if not isinstance(value, list):
        return None
    found = [part.get("text") or part.get("summary") for part in value if isinstance(part, dict)]
    return "".join(text for text in found if isinstance(text, str)) or None
