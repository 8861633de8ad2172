"""The providers that `llm g4f check` and `llm g4f models` ask: those that take part or were set up."""

from __future__ import annotations

from typing import NamedTuple

from ..providers.base import Ineligible, Provider
from ..providers.catalogue import PROVIDERS
from ..request import ChatRequest
from ..routing.registry import Registry
from ..routing.route import resolve_route, taking_part


class InUse(NamedTuple):
    """A provider, the model to ask it for, and why it cannot be asked for that; "" if it can.
    `provider` is None where it cannot be asked for anything."""

    name: str
    model: str
    provider: Provider | None
    problem: str = ""


async def in_use(names: tuple[str, ...], registry: Registry) -> list[InUse]:
    """The providers `names`; without any, those that take part for gpt-4o and those that were enabled
    or named in g4f.yaml. Raises `NoProviderError` for an unknown or ineligible one of `names`."""
    if names:
        return [one for name in names for one in await _named(name, registry)]
    route = await resolve_route(ChatRequest(model="gpt-4o", messages=[]), registry)
    found = [InUse(one.provider.name, "gpt-4o", one.provider) for one in route.candidates]
    for entry, ineligible in route.left_out:
        name = entry.split("/")[0]
        spec = PROVIDERS.get(name)
        lacks_key = ineligible.code == "invalid_key" and spec is not None and spec.key_is_consent
        if not (lacks_key or _was_set_up(name, registry)):
            continue
        if ineligible.code == "no_model" and _model_of(name, registry) != "gpt-4o":
            # It serves other models, as g4f.yaml says.
            found += await _named(name, registry)
        elif ineligible.code != "not_needed":
            provider = registry.provider(name, "gpt-4o", named=True)
            usable = None if isinstance(provider, Ineligible) else provider
            found.append(InUse(name, "gpt-4o", usable, ineligible.reason))
    return found


async def _named(name: str, registry: Registry) -> list[InUse]:
    model = _model_of(name, registry)
    request = ChatRequest(model=model, messages=[], providers=(name,))
    return [InUse(name, model, one) for one in await taking_part(request, registry)]


def _was_set_up(name: str, registry: Registry) -> bool:
    settings = registry.settings(name)
    named = any(entry.split("/")[0] == name for entry in registry.config.routes.get("gpt-4o", ()))
    if settings is None or settings.enabled is False:
        return named and settings is None
    return named or settings.enabled is True or name in registry.own()


def _model_of(name: str, registry: Registry) -> str:
    """The model to ask a provider for: gpt-4o, unless g4f.yaml names only others for it."""
    settings = registry.settings(name)
    models = settings.models if settings is not None and name in registry.own() else {}
    return "gpt-4o" if not models or "gpt-4o" in models else next(iter(models))
