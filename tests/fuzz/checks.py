"""Checks that hold for every input, and the files of the person whom the inputs meet."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

from llm_g4f.config.files import user_file
from llm_g4f.errors import APIError, G4FError

KEY = "sk-fuzz-Q7mZ2xV9rT4kB8wN"
"""The key of the provider that is asked."""

_ENDS_LINES_OR_ACTS = {"Cc", "Cs", "Zl", "Zp"}
_REORDERS = {
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2066, 0x206A)),
    *"\u061c\u200e\u200f",
}


def assert_line(text: str) -> None:
    """Check that a text of ours is one line, which no terminal acts on and no reader reorders."""
    for char in set(text):
        bad = unicodedata.category(char) in _ENDS_LINES_OR_ACTS or char in _REORDERS
        assert not bad, f"{char!r} in {text!r}"


def assert_ours(error: G4FError, file: Path | None = None) -> None:
    """Check what an error shows: lines without the key, the file that it is about, and a receipt that
    can be written down."""
    assert error.message
    assert file is None or str(file) in error.message, error.message
    if isinstance(error, APIError):
        assert_line(error.message)
    for line in str(error).split("\n"):
        assert_line(line)
    assert KEY not in f"{error} {error!r}", str(error)
    if error.receipt is not None:
        as_json(error.receipt.to_dict())
        for attempt in error.receipt.attempts:
            assert_line(attempt.line())


def as_json(data: Any) -> str:
    """The data as JSON that every reader takes."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    text.encode()
    return text


def write_user_file(name: str, content: str) -> None:
    """Write a file of llm's user directory, unless it is there already."""
    path = Path(user_file(name))
    if not path.exists():
        path.write_text(content, encoding="utf-8")


def forget(*names: str) -> None:
    """Remove files of llm's user directory: an input must not depend on those before it."""
    for name in names:
        Path(user_file(name)).unlink(missing_ok=True)
