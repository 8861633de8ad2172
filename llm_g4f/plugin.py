"""The entry point for llm: its hooks. They import nothing heavy and use no network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import llm
from llm.plugins import pm

from .providers import hookspecs

if TYPE_CHECKING:
    from .providers.base import Provider

pm.add_hookspecs(hookspecs)

__all__ = ["register_commands", "register_g4f_providers", "register_models"]


@llm.hookimpl(trylast=True)  # after llm's own models, which ours replace
def register_models(register: Any, model_aliases: Any) -> None:
    """Llm's hook: add our models to its list."""
    from .adapter.registration import register_all

    register_all(register, model_aliases)


@llm.hookimpl
def register_commands(cli: Any) -> None:
    """Llm's hook: add `llm g4f`."""
    from .cli import g4f

    cli.add_command(g4f)


@llm.hookimpl
def register_g4f_providers(register: Any) -> None:
    """Our own hook: register the providers `llm:MODEL_ID`."""
    register(LLMModels())


class LLMModels:
    """Any other llm model as a provider named `llm:` plus its id."""

    name = "llm:"

    def member(self, id: str) -> Provider:
        """The provider `llm:id`, where `id` may be an alias. Raises `ConfigError`, `NoProviderError`."""
        from .adapter.llm_models import member

        return member(self.name + id)
