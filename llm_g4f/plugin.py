"""The front door for llm: its hooks. They import nothing heavy and touch no network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import llm
from llm.plugins import pm

from . import hooks

if TYPE_CHECKING:
    from .providers.base import Provider

pm.add_hookspecs(hooks)

__all__ = ["register_commands", "register_g4f_providers", "register_models"]


@llm.hookimpl(trylast=True)  # after llm's own models, whose places ours take
def register_models(register: Any, model_aliases: Any) -> None:
    from .takeover import register_all

    register_all(register, model_aliases)


@llm.hookimpl
def register_commands(cli: Any) -> None:
    from .commands import g4f

    cli.add_command(g4f)


@llm.hookimpl
def register_g4f_providers(register: Any) -> None:
    register(LLMModels())


class LLMModels:
    """Every model that llm has, but ours, as a family of providers: `llm:` and the model's id."""

    name = "llm:"

    def member(self, id: str) -> Provider:
        """The provider `llm:id`; an alias will do. Raises `ConfigError`, `NoProviderError`."""
        from .llm_model import member

        return member(self.name + id)
