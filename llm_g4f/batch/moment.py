"""Where providers come from, as it is at one moment."""

from __future__ import annotations

from msgspec import field

from ..providers.base import Provider, Unable
from ..providers.endpoint import Endpoint
from ..routing.registry import Source
from ..types import Secret

__all__ = ["Moment"]


class Moment(Source, frozen=True):
    """A source that looks for each key once, for many requests within a second or so: to look again for
    each of them takes longer than everything else here."""

    providers: dict[tuple[str, str, Secret | None, str | None, bool], Provider | Unable] = field(
        default_factory=dict
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
    ) -> Provider | Unable:
        asked = (name, model, key, upstream, named)
        found = self.providers.get(asked)
        if found is None:
            found = super().provider(name, model, key=key, upstream=upstream, named=named)
            if isinstance(found, (Endpoint, Unable)):
                self.providers[asked] = found
        return found
