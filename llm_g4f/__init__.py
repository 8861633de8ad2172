"""gpt-4o and its relatives for llm, and an async client that works without llm.

    from llm_g4f import AsyncClient, Client, errors

These names are imported on first use, since llm imports this package at every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .version import __version__

__all__ = ["AsyncClient", "Client", "__version__", "errors"]

if TYPE_CHECKING:
    from . import errors
    from .client import AsyncClient, Client


def __getattr__(name: str) -> Any:
    if name in ("AsyncClient", "Client"):
        from . import client

        return getattr(client, name)
    if name == "errors":
        from importlib import import_module

        return import_module(".errors", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
