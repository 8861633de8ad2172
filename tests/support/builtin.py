"""Llm's own gpt-4o, for comparison."""

from __future__ import annotations

from typing import Any

from llm.default_plugins.openai_models import AsyncChat, Chat

REGISTERED: dict[str, Any] = {
    "vision": True,
    "service_tier": True,
    "supports_schema": True,
    "supports_tools": True,
}
"""The arguments with which llm registers its gpt-4o."""


def builtin(url: str, *, asynchronous: bool = False) -> Any:
    """Llm's own gpt-4o, asking `url`."""
    face: Any = AsyncChat if asynchronous else Chat
    model = face("gpt-4o", api_base=url, **REGISTERED)
    model.needs_key = None
    return model
