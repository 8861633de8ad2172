"""Bounds for chunks that are held back: before the first content, or under a schema."""

from __future__ import annotations

from ..types import Chunks

MAX_CHUNKS_BEFORE_CONTENT = 32_768
"""Servers send a few, or one for each thousand tokens of the prompt (llama.cpp)."""

MAX_SIZE_BEFORE_CONTENT = 8 * 1024 * 1024
"""Of those chunks, as `size_of` has it."""

MAX_SIZE_OF_ANSWER = 64 * 1024 * 1024
"""Of an answer that is held back until it is whole, as `size_of` has it: 300,000 tokens at least."""


def size_of(chunks: Chunks) -> int:
    """The size of chunks in bytes, about: `repr` is quick, and shows all that a choice has."""
    return len(repr([chunk.choices for chunk in chunks]))
