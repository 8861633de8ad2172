"""The hook through which other packages register providers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from .base import Family, Provider

hookspec = pluggy.HookspecMarker("llm")


@hookspec
def register_g4f_providers(register: Callable[[Provider | Family], None]) -> None:
    """Call `register` with each provider: an object that implements `Provider` of
    `llm_g4f.providers.base`, or `Family` for providers that are created when they are named. If a
    name is registered twice, the first provider keeps it.
    """
