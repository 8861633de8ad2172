"""What runs a local model: llama.cpp, through xllamacpp."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

PARALLEL = 2
"""Requests at a time: two of them took 0.7 of the time that they took one after the other."""

NOT_INSTALLED = "it is not installed: llm install 'llm-g4f[local]'"


def is_installed() -> bool:
    """Whether xllamacpp is installed, without importing it."""
    return find_spec("xllamacpp") is not None


@cache
def library() -> Path:
    """The folder that holds xllamacpp. Raises OSError."""
    spec = find_spec("xllamacpp")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(2, "xllamacpp is not installed")
    return Path(spec.origin).parents[1]
