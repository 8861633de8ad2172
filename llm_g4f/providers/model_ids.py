"""The models this package stands for. A module of its own, since llm needs it at every start."""

from __future__ import annotations

from collections.abc import Mapping

MODELS: Mapping[str, tuple[str, ...]] = {
    "gpt-4o": ("4o",),
    "gpt-4o-mini": ("4o-mini",),
    "gpt-4.1": ("4.1",),
    "gpt-4.1-mini": ("4.1-mini",),
    "gpt-4.1-nano": ("4.1-nano",),
    "gpt-4": ("4", "gpt4"),
    "gpt-4-turbo": ("gpt-4-turbo-preview", "4-turbo", "4t"),
    "gpt-3.5-turbo": ("3.5", "chatgpt"),
}
"""The models that llm's own plugin has too, each with its aliases there."""

OPEN_MODELS = ("gpt-oss-120b", "gpt-oss-20b")
"""OpenAI's open-weight models, which many providers serve."""
