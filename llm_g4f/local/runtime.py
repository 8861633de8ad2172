"""What runs a local model: llama.cpp, through xllamacpp."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .files import ModelFile

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


def try_out(file: ModelFile) -> None:
    """Load a model to check that it is one, and let it go. Raises `WeightsError`."""
    import asyncio

    from . import control
    from .errors import WeightsError
    from .server import server_for

    if not is_installed():
        raise WeightsError(f"The model cannot be tried: {NOT_INSTALLED}")
    running = asyncio.run(server_for(file, 0))
    control.release()
    control.stop(running)
