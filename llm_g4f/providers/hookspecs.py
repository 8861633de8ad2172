"""The hook that this package adds to llm's: other packages register providers through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from .base import Family, Provider

hookspec = pluggy.HookspecMarker("llm")


@hookspec
def register_g4f_providers(register: Callable[[Provider | Family], None]) -> None:
    """Register providers: call `register(provider)` for each, an object with the shape of
    `llm_g4f.providers.base.Provider`, or of `Family` for many that are made when they are named.
    A name that is taken already keeps its first owner.
    """
