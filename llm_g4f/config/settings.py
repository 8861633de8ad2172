"""What g4f.yaml says, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

Names = str | Iterable[str] | None
_NONE: Mapping[str, Any] = MappingProxyType({})


# Named tuples, since they are made in a fifth of a data class's time: llm imports this module
# at every start if there is a g4f.yaml.


class ModelEntry(NamedTuple):
    """What a provider serves a requested model with. `exact` None: judged by the id."""

    id: str
    exact: bool | None = None


class ProviderConfig(NamedTuple):
    """One entry of `providers:`. None where the user said nothing."""

    name: str
    line: int = 0
    enabled: bool | None = None
    base_url: str | None = None
    key: str | None = None
    key_env: str | None = None
    models: Mapping[str, ModelEntry] = _NONE
    vision: bool | None = None
    audio: bool | None = None
    supports_tools: bool | None = None
    supports_schema: bool | None = None
    context: int | None = None
    headers: Mapping[str, str] = _NONE
    extra_body: Mapping[str, Any] = _NONE
    quirks: tuple[str, ...] = ()
    timeout: float | None = None
    plain_http: bool = False
    ca_file: str | None = None


class Config(NamedTuple):
    """g4f.yaml; without the file, its defaults."""

    path: Path
    takeover: bool = True
    substitutes: bool = True
    notice: bool = True
    providers: Mapping[str, ProviderConfig] = _NONE
    routes: Mapping[str, tuple[str, ...]] = _NONE
    route_lines: Mapping[str, int] = _NONE

    def models(self) -> list[str]:
        """The requested models that the file names, in routes and in what providers serve."""
        served = [name for provider in self.providers.values() for name in provider.models]
        return list(dict.fromkeys([*self.routes, *served]))


def provider_names(provider: Names) -> tuple[str, ...]:
    """A name, names separated by spaces or commas, or a list of them, as names in their order.

    "any" stands for the usual route.
    """
    if provider is None:
        return ()
    parts = [provider] if isinstance(provider, str) else list(provider)
    names = [name for part in parts for name in str(part).replace(",", " ").split()]
    return () if names == ["any"] else tuple(dict.fromkeys(names))
