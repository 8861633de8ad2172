"""The few facts in a model file's header that decide how much memory its context takes.

Source: ggml's docs/gguf.md. The tokens of the vocabulary come last and are not read.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, Any

from msgspec import Struct

_FORMATS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9

_LONGEST_TEXT, _LONGEST_ARRAY, _MOST_FACTS = 1 << 20, 4_096, 4_096


class Header(Struct, frozen=True):
    """`context` is what the model was trained for, in tokens; `bytes_per_token` is what the cache of
    one token takes with 16 bits a number."""

    context: int
    bytes_per_token: int


def read_header(path: Path) -> Header | None:
    """The facts about a model file; None if they are missing or cannot be read."""
    try:
        with path.open("rb") as file:
            facts = _facts(file)
        name = facts["general.architecture"]
        layers = facts[f"{name}.block_count"]
        heads = facts[f"{name}.attention.head_count"]
        heads = max(heads) if isinstance(heads, list) else heads
        size = facts[f"{name}.embedding_length"] // heads
        keys = facts.get(f"{name}.attention.key_length", size)
        values = facts.get(f"{name}.attention.value_length", size)
        shared = facts.get(f"{name}.attention.head_count_kv", heads)
        total = sum(shared) if isinstance(shared, list) else shared * layers
        header = Header(int(facts[f"{name}.context_length"]), int(2 * total * (keys + values)))
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError, struct.error):
        return None
    return header if header.context > 0 and header.bytes_per_token > 0 else None


def _facts(file: IO[bytes]) -> dict[str, Any]:
    """The key-value pairs in front of the vocabulary. Raises ValueError and struct.error."""
    if file.read(4) != b"GGUF":
        raise ValueError("not a GGUF file")
    _, _, count = struct.unpack("<IQQ", file.read(20))
    facts: dict[str, Any] = {}
    for _ in range(min(count, _MOST_FACTS)):
        name = _text(file)
        if name.startswith("tokenizer."):
            break
        (kind,) = struct.unpack("<I", file.read(4))
        facts[name] = _value(file, kind)
    return facts


def _value(file: IO[bytes], kind: int) -> Any:
    if kind == _STRING:
        return _text(file)
    if kind == _ARRAY:
        inner, length = struct.unpack("<IQ", file.read(12))
        if length > _LONGEST_ARRAY or inner == _ARRAY:
            raise ValueError("an array of a vocabulary, or of arrays")
        return [_value(file, inner) for _ in range(length)]
    if kind not in _FORMATS:
        raise ValueError("unknown type of a value")
    layout = f"<{_FORMATS[kind]}"
    (value,) = struct.unpack(layout, file.read(struct.calcsize(layout)))
    return value


def _text(file: IO[bytes]) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > _LONGEST_TEXT:
        raise ValueError("a text that is too long")
    return file.read(length).decode("utf-8", "replace")
