"""Providers that other packages register through llm's plugin manager."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple, cast

from ..providers.base import Family, Provider
from ..providers.catalogue import PROVIDERS


class PluginProviders(NamedTuple):
    """The providers that other packages registered, by name. A family's name ends in a colon."""

    providers: dict[str, Provider]
    families: dict[str, Family]


def family_of(name: str) -> str:
    """The name of the family that a provider called `name` would belong to."""
    return name.partition(":")[0] + ":"


def loaded_plugins() -> Any:
    """The plugins that llm has loaded, for comparison; None before it has loaded them."""
    plugins = sys.modules.get("llm.plugins")
    if plugins is None or not plugins.pm.has_plugin("llm.default_plugins.openai_models"):
        return None
    return plugins.pm.get_plugins()


def plugin_providers(wanted: str | None = None) -> PluginProviders:
    """The providers of other packages.

    The hook is called where llm's plugins are loaded anyway; loading them takes half a second,
    which only a name that is found nowhere else (`wanted`) is worth.
    """
    found = PluginProviders({}, {})
    if wanted is None and loaded_plugins() is None:
        return found
    from llm.plugins import load_plugins, pm

    def register(provider: Provider | Family) -> None:
        if provider.name.endswith(":"):
            found.families.setdefault(provider.name, cast("Family", provider))
        elif provider.name not in PROVIDERS and provider.name != "embedded":
            found.providers.setdefault(provider.name, cast("Provider", provider))

    load_plugins()
    if hasattr(pm.hook, "register_g4f_providers"):
        pm.hook.register_g4f_providers(register=register)
    return found
