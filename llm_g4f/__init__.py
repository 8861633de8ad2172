"""gpt-4o and its relatives for llm, and an async client of its own.

    from llm_g4f import AsyncClient, Client, errors

What is named here is imported when it is first used: importing the package itself costs
nothing worth measuring, since llm does so at every start.
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
