"""The contents of g4f.yaml, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

Names = str | Iterable[str] | None
_EMPTY: Mapping[str, Any] = MappingProxyType({})


# Named tuples: defining one takes a fifth of a data class's time, and llm imports this module at
# every start if g4f.yaml exists.


class ModelEntry(NamedTuple):
    """The upstream model that serves a requested model. `exact` None: decided by comparing the ids."""

    id: str
    exact: bool | None = None


class Budget(NamedTuple):
    """`budget:`, the most that answers may cost in US dollars: on a day and in a calendar month, both in
    UTC. None: not set. `line` is its line in the file."""

    day: float | None = None
    month: float | None = None
    line: int = 0


ALL_PROVIDERS = ""
"""The key of the budget that all providers share."""


class ProviderConfig(NamedTuple):
    """One entry of `providers:`, `line` being its line in the file. None: not set. `context` is in
    tokens, `timeout` in seconds."""

    name: str
    line: int = 0
    enabled: bool | None = None
    base_url: str | None = None
    key: str | None = None
    key_env: str | None = None
    models: Mapping[str, ModelEntry] = _EMPTY
    vision: bool | None = None
    audio: bool | None = None
    supports_tools: bool | None = None
    supports_schema: bool | None = None
    context: int | None = None
    headers: Mapping[str, str] = _EMPTY
    extra_body: Mapping[str, Any] = _EMPTY
    quirks: tuple[str, ...] = ()
    timeout: float | None = None
    plain_http: bool = False
    ca_file: str | None = None
    budget: Budget | None = None


class LocalConfig(NamedTuple):
    """`local:`, the models that run on this machine. None: not set. `model` is the name of the one
    that answers. `keep_alive`: seconds for which it stays loaded, 0 for as long as the command,
    negative for ever."""

    model: str | None = None
    keep_alive: float | None = None


class CacheConfig(NamedTuple):
    """`cache:`, answers that are given again, for `ttl` seconds."""

    ttl: float = 86_400.0


class Config(NamedTuple):
    """g4f.yaml, or the defaults if the file does not exist. `route_lines`: each route's line in it.
    `budgets`: by the provider, or `ALL_PROVIDERS`. `order` of equally exact candidates: "price",
    "latency" or None."""

    path: Path
    takeover: bool = True
    substitutes: bool = True
    notice: bool = True
    local: LocalConfig = LocalConfig()
    budgets: Mapping[str, Budget] = _EMPTY
    order: str | None = None
    cache: CacheConfig | None = None
    providers: Mapping[str, ProviderConfig] = _EMPTY
    routes: Mapping[str, tuple[str, ...]] = _EMPTY
    route_lines: Mapping[str, int] = _EMPTY

    def models(self) -> list[str]:
        """The requested models that the file names, in `routes:` and in `models:` of providers."""
        served = [name for provider in self.providers.values() for name in provider.models]
        routed = [name for name in self.routes if not is_pattern(name)]
        return list(dict.fromkeys([*routed, *served]))

    def route_key(self, names: Iterable[str]) -> str | None:
        """The key of the route for a model with these names, its own first: for each name that name,
        else the first pattern for it. None without a route."""
        patterns = [key for key in self.routes if is_pattern(key)]
        for name in names:
            if name in self.routes:
                return name
            for pattern in patterns:
                if fnmatchcase(name, pattern):
                    return pattern
        return None


def is_pattern(name: str) -> bool:
    """Whether a key of `routes:` stands for several models."""
    return any(character in name for character in "*?[")


def provider_names(provider: Names) -> tuple[str, ...]:
    """The names in `provider`, in order: one name, several separated by spaces or commas, or an
    iterable of these. () stands for the default route, as "any" does.

    >>> provider_names("openai, groq")
    ('openai', 'groq')
    """
    if provider is None:
        return ()
    parts = [provider] if isinstance(provider, str) else list(provider)
    names = [name for part in parts for name in str(part).replace(",", " ").split()]
    return () if names == ["any"] else tuple(dict.fromkeys(names))
