"""The models this package stands for. A module of its own, since llm needs it at every start."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["MODELS"]

MODELS: Mapping[str, tuple[str, ...]] = {"gpt-4o": ("4o",), "gpt-4o-mini": ("4o-mini",)}
"""Each with the aliases that llm gives it."""
