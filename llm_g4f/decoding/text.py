"""JSON and text out of bytes that may be anything."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json


def parse_json(data: bytes) -> Any:
    """JSON from `data`; ValueError for anything else, however it is wrong."""
    try:
        return from_json(data)
    except ValueError:
        # Bytes that are not UTF-8 count as U+FFFD, and so do lone surrogate escapes: they are
        # written out, mended, and read again, wherever in the value they are.
        try:
            value = json.loads(data.decode("utf-8", "replace"))
            return json.loads(whole(json.dumps(value, ensure_ascii=False)))
        except RecursionError:
            raise ValueError("nested too deeply") from None


def whole(text: str) -> str:
    """`text` with surrogate pairs joined and lone surrogates as U+FFFD: llm cannot log those."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def text_of(value: Any) -> str | None:
    """The text in a content: a string, or a list of parts with text in them; None if there is none."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        parts = [
            part if isinstance(part, str) else part.get("text")
            for part in value
            if isinstance(part, (str, dict))
        ]
        return "".join(part for part in parts if isinstance(part, str)) or None
    return None


def _thinking_of(value: Any) -> str | None:
    """The reasoning inside a list content: parts of type "thinking" (Mistral's form)."""
    if not isinstance(value, list):
        return None
    found = [
        text_of(part.get("thinking"))
        for part in value
        if isinstance(part, dict) and part.get("type") == "thinking"
    ]
    return "".join(text for text in found if text) or None
