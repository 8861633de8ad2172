"""The providers that take part for a model: the part of a route that is the same for every request.

It is worked out once for each registry, model and day. Consent decides here: a key, g4f.yaml, or
a name in the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from ..errors import NoProviderError
from ..providers.base import Ineligible, Provider
from ..providers.catalogue import PROVIDERS
from ..providers.endpoint import Endpoint
from ..request import ChatRequest
from .endpoints import is_allowed
from .registry import Registry

MAX_LINEUPS = 256


class Entry(Struct, frozen=True):
    """A provider to consider; `upstream` from provider/upstream-id. The part behind a family's colon
    names one of its members, slashes included."""

    name: str
    upstream: str | None = None

    @classmethod
    def parse(cls, text: str) -> Entry:
        """The entry in `text`: provider, provider/upstream-id, or family:member."""
        name, _, upstream = text.partition("/")
        return cls(text) if ":" in name else cls(name, upstream or None)

    def __str__(self) -> str:
        return f"{self.name}/{self.upstream}" if self.upstream else self.name


class Participant(Struct, frozen=True):
    """A provider at its place in the order. `own`: it is the user's own."""

    entry: Entry
    provider: Provider
    own: bool = False


LeftOut = dict[int, tuple[str, Ineligible]]
"""Providers that are left out, each with its reason, by the position in the order."""


class Lineup(Struct, frozen=True):
    """The providers that take part and those left out, each by the position in the order.

    `named`: the user named them for this request, so their order stands. `last_resort` answers
    only if no other candidate takes part. `needs_consent` have a key and lack only consent. `until`
    is the Unix time at which it has to be worked out anew.
    """

    participants: dict[int, Participant]
    left_out: LeftOut
    named: bool = False
    last_resort: Participant | None = None
    needs_consent: tuple[str, ...] = ()
    until: float | None = None

    @classmethod
    def of(
        cls,
        order: Sequence[tuple[Entry, Provider | Ineligible, bool]],
        *,
        named: bool = False,
        last_resort: Participant | None = None,
        needs_consent: tuple[str, ...] = (),
    ) -> Lineup:
        """The lineup of providers and reasons in their order."""
        participants: dict[int, Participant] = {}
        left_out: LeftOut = {}
        for position, (entry, provider, own) in enumerate(order):
            if isinstance(provider, Ineligible):
                left_out[position] = (str(entry), provider)
            else:
                participants[position] = Participant(entry, provider, own)
        return cls(participants, left_out, named, last_resort, needs_consent)

    def is_constant(self) -> bool:
        """Whether it stays so; providers of other packages may change at any time."""
        return all(
            isinstance(participant.provider, Endpoint) for participant in self.participants.values()
        )


def named_entries(request: ChatRequest, registry: Registry) -> tuple[str, ...]:
    """The entries that the user named for this request, in order; empty for the default route."""
    if request.key is not None:
        if len(request.providers) > 1:
            raise NoProviderError(
                f"A key belongs to one provider, and {len(request.providers)} are named"
                f" ({', '.join(request.providers)}): name the one it is for."
            )
        return request.providers or ("openai",)
    if request.providers:
        return request.providers
    if registry.custom:
        return ("custom",)
    routes = registry.config.routes
    if not routes:
        return ()
    key = request.model if request.model in routes else registry.route_key(request.model)
    return routes[key] if key else ()


def is_exact_only(request: ChatRequest, registry: Registry) -> bool:
    """Whether only the requested model itself may answer."""
    return request.exact or not registry.config.substitutes


async def lineup_of(request: ChatRequest, registry: Registry) -> Lineup:
    """The lineup for a request, worked out anew only if what it depends on has changed. Raises
    `ConfigError` and `NoProviderError`."""
    named = named_entries(request, registry)
    inputs = (
        request.model,
        named,
        request.key,
        request.exact,
        registry.today(),
    )
    cooldowns = registry.cooldowns
    lineup: Lineup | None = registry.lineups.get((*inputs, cooldowns.facts()))
    if lineup is None or (lineup.until is not None and lineup.until <= cooldowns.now()):
        lineup = await _discovered(await _new_lineup(request, registry, named), request, registry)
        if lineup.is_constant():
            # Models and providers may be a caller's input, of any number.
            if len(registry.lineups) >= MAX_LINEUPS:
                registry.lineups.clear()
            registry.lineups[*inputs, cooldowns.facts()] = lineup
    return lineup


async def _discovered(lineup: Lineup, request: ChatRequest, registry: Registry) -> Lineup:
    """The lineup with what its endpoints list, where g4f.yaml does not say what they have."""
    unknown = {
        position: participant.provider
        for position, participant in lineup.participants.items()
        if isinstance(participant.provider, Endpoint)
        and participant.provider.discover_models
        and not participant.provider.served
    }
    until = registry.cooldowns.next_end()
    if unknown:
        from .discovery import discovered

        found = await asyncio.gather(
            *(discovered(endpoint, request.model, registry) for endpoint in unknown.values())
        )
        for position, (endpoint, end) in zip(unknown, found, strict=True):
            participant = lineup.participants[position]
            lineup.participants[position] = replace(participant, provider=endpoint)
            until = min(until, end)
    return lineup if until == float("inf") else replace(lineup, until=until)


async def _new_lineup(request: ChatRequest, registry: Registry, named: tuple[str, ...]) -> Lineup:
    known = registry.names()
    for name in registry.config.providers:
        if name not in known:
            registry.provider(name, request.model)  # raises the error for a missing base_url
    if not named:
        return await _DefaultRoute(request, registry).lineup()
    exact = is_exact_only(request, registry)
    entries = [Entry.parse(text) for text in named]
    for name in {entry.name for entry in entries} - set(known):
        # Looking it up may load llm's plugins: a second, in which the loop has other things to do.
        await asyncio.to_thread(registry.is_member, name)
    order = []
    for entry in entries:
        provider = registry.provider(
            entry.name,
            request.model,
            key=request.key,
            upstream=entry.upstream,
            named=True,
            exact=exact,
        )
        order.append((entry, provider, False))
    return Lineup.of(order, named=True)


class _DefaultRoute:
    """The providers that take part without being named, and why the others do not."""

    def __init__(self, request: ChatRequest, registry: Registry) -> None:
        self._request = request
        self._registry = registry
        self._exact_only = is_exact_only(request, registry)
        self._order: list[tuple[Entry, Provider | Ineligible, bool]] = []
        self._waiting: list[Entry] = []
        self._needs_consent: list[str] = []
        self._taking_part = False
        # Who takes part does not depend on what a single request needs besides.
        self._plain = ChatRequest(model=request.model, messages=[], key=request.key)

    async def lineup(self) -> Lineup:
        registry = self._registry
        own = set(registry.own())
        for name in registry.names():
            if name != "embedded":
                await self._consider(name, name in own)
        taking_part = self._taking_part
        for entry in self._waiting:
            provider = self._substitute(entry, taking_part)
            self._order.append((entry, provider, False))
            self._taking_part |= await self._takes_part(provider)
        return self._with_embedded()

    def _provider(self, name: str) -> Provider | Ineligible:
        return self._registry.provider(name, self._request.model, exact=self._exact_only)

    async def _consider(self, name: str, own: bool) -> None:
        spec, entry = PROVIDERS.get(name), Entry(name)
        configured = self._is_configured(name)
        self._taking_part |= configured
        if spec and spec.kind == "keyed" and not spec.key_is_consent and not configured:
            self._waiting.append(entry)
            return
        provider = self._provider(name)
        from_plugin = spec is None and not own
        if from_plugin and not configured and await self._is_plugin_substitute(provider):
            # Being installed is no consent for a substitute of another package either.
            self._waiting.append(entry)
            return
        self._order.append((entry, provider, own))
        self._taking_part |= await self._takes_part(provider)

    def _with_embedded(self) -> Lineup:
        settings = self._registry.settings("embedded")
        entry, last_resort = Entry("embedded"), None
        if not self._taking_part:
            provider = self._provider("embedded")
            if isinstance(provider, Ineligible):
                self._order.append((entry, provider, False))
            else:
                last_resort = Participant(entry, provider)
        elif settings is None or settings.enabled is not False:
            reason = Ineligible("it answers only while no other provider takes part", "not_needed")
            self._order.append((entry, reason, False))
        return Lineup.of(
            self._order, last_resort=last_resort, needs_consent=tuple(self._needs_consent)
        )

    def _substitute(self, entry: Entry, taking_part: bool) -> Provider | Ineligible:
        """A substitute with a key: a key set for something else is no consent to receive a
        conversation after another provider's failure; where it is the only one, it is."""
        registry = self._registry
        settings = registry.settings(entry.name)
        if not taking_part or (settings and settings.enabled is False):
            return self._provider(entry.name)
        key = registry.key(entry.name)
        if isinstance(key, Ineligible) and key.code == "invalid_key":
            return key
        reason = f'asked only if enabled: "llm g4f enable {entry.name}"'
        if registry.has_key(entry.name):
            reason = f"has a key, and is {reason}"
            self._needs_consent.append(entry.name)
        return Ineligible(reason, "needs_consent")

    def _is_configured(self, name: str) -> bool:
        """Whether g4f.yaml makes a provider take part, with its key or without: others must not
        stand in silently for a provider that the user configured."""
        settings = self._registry.settings(name)
        if settings is None or settings.enabled is False:
            return False
        spec = PROVIDERS.get(name)
        if spec is not None and spec.kind in ("local", "anonymous"):
            return is_allowed(spec, settings)
        return spec is None or spec.key_is_consent or settings.enabled is True

    async def _takes_part(self, provider: Provider | Ineligible) -> bool:
        """Whether a provider has an offer for the model, whatever this request needs besides."""
        if isinstance(provider, Ineligible):
            # A key that was pasted badly is a key: what it was set for is not asked elsewhere.
            return provider.code == "invalid_key"
        if isinstance(provider, Endpoint):
            return any(model.exact or not self._exact_only for model in provider.served)
        return not isinstance(await provider.serves(self._plain), Ineligible)

    async def _is_plugin_substitute(self, provider: Provider | Ineligible) -> bool:
        if isinstance(provider, Ineligible) or provider.kind != "keyed":
            return False
        served = await provider.serves(self._plain)
        return not isinstance(served, Ineligible) and not (served.exact or served.successor)
