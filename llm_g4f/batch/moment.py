"""Where providers come from, as it is at one moment."""

from __future__ import annotations

from msgspec import field

from ..providers.base import Ineligible, Provider
from ..providers.endpoint import Endpoint
from ..request import Secret
from ..routing.registry import Registry


class CachedRegistry(Registry, frozen=True):
    """A source that looks for each key once, for many requests within a second or so: to look again for
    each of them takes longer than everything else here."""

    providers: dict[tuple[str, str, Secret | None, str | None, bool], Provider | Ineligible] = (
        field(default_factory=dict)
    )
    keys: dict[str, bool | None] = field(default_factory=dict)

    def has_key(self, name: str) -> bool | None:
        if name not in self.keys:
            self.keys[name] = super().has_key(name)
        return self.keys[name]

    def provider(
        self,
        name: str,
        model: str,
        *,
        key: Secret | None = None,
        upstream: str | None = None,
        named: bool = False,
    ) -> Provider | Ineligible:
        asked = (name, model, key, upstream, named)
        found = self.providers.get(asked)
        if found is None:
            found = super().provider(name, model, key=key, upstream=upstream, named=named)
            if isinstance(found, (Endpoint, Ineligible)):
                self.providers[asked] = found
        return found
