"""A registry of given providers."""

from __future__ import annotations

from collections.abc import Mapping

from llm_g4f.providers.base import Ineligible, Provider
from llm_g4f.request import Secret
from llm_g4f.routing.registry import Registry


class GivenProviders(Registry, frozen=True):
    """A registry that has these providers and no others."""

    given: Mapping[str, Provider] = {}

    def names(self) -> list[str]:
        return list(self.given)

    def provider(
        self,
        name: str,
        model: str,
        *,
        key: Secret | None = None,
        upstream: str | None = None,
        named: bool = False,
        exact: bool = False,
    ) -> Provider | Ineligible:
        return self.given[name]
