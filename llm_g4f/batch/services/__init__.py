"""The Batch APIs of the providers: one interface, a module for each form."""

from __future__ import annotations

from typing import Final

from .base import URL, Batch, BatchError, BatchService
from .mistral import MistralService
from .openai import OpenAIService
from .openrouter import OpenRouterService

SERVICES: Final[dict[str, type[BatchService]]] = {
    "openai": OpenAIService,
    "mistral": MistralService,
    "openrouter": OpenRouterService,
}
"""By `catalogue.BatchAPI.form`."""

__all__ = ["SERVICES", "URL", "Batch", "BatchError", "BatchService"]
