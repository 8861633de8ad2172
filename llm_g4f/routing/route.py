"""Who may answer a request, in which order, and why no other provider.

A lineup is the part of a route that is the same for every request of a model: the providers that
take part, in order, and the reasons of the others. It is worked out once for each registry. What
a single request needs (images, tools, room in the context window) is looked at each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from msgspec import Struct

from ..decoding.text import text_of
from ..errors import NoProviderError
from ..providers.base import Ineligible, Provider, ServedModel
from ..providers.catalogue import PROVIDERS
from ..providers.endpoint import Endpoint
from ..request import ChatRequest
from .cooldowns import key_of
from .endpoints import successor_of
from .registry import Registry

WAYS_OUT = (
    'Three ways out: a key ("llm keys set openai"), an endpoint of your own ("providers:" in'
    " g4f.yaml), or the small model on this machine (llm install 'llm-g4f[local]')."
)


class Candidate(Struct, frozen=True):
    """A provider that can take the request, and what it would answer with. `successor` takes that
    one's place if the provider says that it is gone."""

    provider: Provider
    served: ServedModel
    successor: ServedModel | None = None

    @property
    def cooldown_key(self) -> str:
        """The scope of the provider's rate limits."""
        return key_of(self.provider.name, self.served.model, self.provider.scope)


class Route(Struct, frozen=True):
    """The candidates in their order, and each provider left out with its reason. `needs_consent`
    are those of them that have a key and lack only consent."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[tuple[str, Ineligible], ...]
    needs_consent: tuple[str, ...] = ()


class Entry(Struct, frozen=True):
    """A provider to consider; `upstream` from provider/upstream-id. The part behind a family's colon
    names one of its members, slashes included."""

    name: str
    upstream: str | None = None

    @classmethod
    def parse(cls, text: str) -> Entry:
        name, _, upstream = text.partition("/")
        return cls(text) if ":" in name else cls(name, upstream or None)

    def __str__(self) -> str:
        return f"{self.name}/{self.upstream}" if self.upstream else self.name


class Place(Struct, frozen=True):
    """A provider at its place in the order. `own`: it is the user's own."""

    entry: Entry
    provider: Provider
    own: bool = False


LeftOut = dict[int, tuple[str, Ineligible]]
"""Providers that are left out, each with its reason, by the position in the order."""


class Lineup(Struct, frozen=True):
    """The part of a route that is the same for every request: `places` of those that take part, and
    `left_out`, each by the position in the order. `named`: the user named them for this request,
    so their order stands. `fallback` answers only if no other candidate takes part."""

    places: dict[int, Place]
    left_out: LeftOut
    named: bool = False
    fallback: Place | None = None
    needs_consent: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        order: Sequence[tuple[Entry, Provider | Ineligible, bool]],
        *,
        named: bool = False,
        fallback: Place | None = None,
        needs_consent: tuple[str, ...] = (),
    ) -> Lineup:
        """The lineup of providers and reasons in their order."""
        places: dict[int, Place] = {}
        left_out: LeftOut = {}
        for position, (entry, provider, own) in enumerate(order):
            if isinstance(provider, Ineligible):
                left_out[position] = (str(entry), provider)
            else:
                places[position] = Place(entry, provider, own)
        return cls(places, left_out, named, fallback, needs_consent)

    def is_constant(self) -> bool:
        """Whether it stays so; providers of other packages may change at any time."""
        return all(isinstance(place.provider, Endpoint) for place in self.places.values())


async def resolve_route(request: ChatRequest, registry: Registry) -> Route:
    """The route of `request`. Raises `ConfigError`, and `NoProviderError` for unknown names."""
    lineup = await _lineup(request, registry)
    exact_only = request.exact or not registry.config.substitutes
    ranked: list[tuple[int, Candidate]] = []
    unfit: LeftOut = {}
    for position, place in lineup.places.items():
        candidate = await _candidate(place, request, exact_only)
        if isinstance(candidate, Ineligible):
            unfit[position] = (str(place.entry), candidate)
        else:
            ranked += ((0 if lineup.named else _rank(candidate, place.own), candidate),)
    if lineup.fallback is not None and not ranked:
        candidate = await _candidate(lineup.fallback, request, exact_only)
        if isinstance(candidate, Ineligible):
            unfit[_LAST] = (str(lineup.fallback.entry), candidate)
        else:
            ranked += ((0, candidate),)
    candidates = [candidate for _, candidate in ranked]
    if len(ranked) > 1:
        candidates = [candidate for _, candidate in sorted(ranked, key=lambda pair: pair[0])]
    left_out = list(lineup.left_out.values())
    if unfit:
        left_out = [reason for _, reason in sorted((lineup.left_out | unfit).items())]
    candidates = _with_room(request, candidates, left_out)
    return Route(tuple(candidates), tuple(left_out), lineup.needs_consent)


_LAST = 1 << 30


async def _candidate(
    place: Place, request: ChatRequest, exact_only: bool
) -> Candidate | Ineligible:
    provider = place.provider
    served = await provider.serves(request)
    if isinstance(served, Ineligible):
        return served
    if exact_only:
        if served.exact:
            return Candidate(provider, served)
        kind = "successor" if served.successor else "substitute"
        return Ineligible(
            f"{served.model} is a {kind}, and only {request.model} is allowed", "not_exact"
        )
    spec = PROVIDERS.get(place.entry.name)
    if served.exact and spec is not None and spec.successors:
        return Candidate(provider, served, successor_of(spec, request.model))
    return Candidate(provider, served)


def _rank(candidate: Candidate, own: bool) -> int:
    """The place of a candidate in the default route: lower answers first."""
    if own:
        return 0
    if candidate.provider.kind == "keyed":
        if candidate.served.exact:
            return 1
        return 2 if candidate.served.successor else 4
    return {"local": 3, "anonymous": 5, "embedded": 6}[candidate.provider.kind]


def equally_exact(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates as good as the first one, in their order: all with the model itself; or with its
    successor; or with the same substitute from the same kind of provider."""
    first = _likeness(candidates[0])
    return [candidate for candidate in candidates if _likeness(candidate) == first]


def _likeness(candidate: Candidate) -> tuple[str, ...]:
    served = candidate.served
    if served.exact:
        return ("exact",)
    model = served.model.rsplit("/", 1)[-1].lower()
    # Consent to a public endpoint behind an own server is no consent to both alike.
    return ("successor",) if served.successor else (candidate.provider.kind, model)


def _named(request: ChatRequest, registry: Registry) -> tuple[str, ...]:
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
    return registry.config.routes.get(request.model, ())


async def _lineup(request: ChatRequest, registry: Registry) -> Lineup:
    named = _named(request, registry)
    question = (
        request.model,
        named,
        request.key,
        request.exact,
        registry.today(),
        registry.cooldowns.gone(),
    )
    lineup: Lineup | None = registry.lineups.get(question)
    if lineup is None:
        lineup = await _new_lineup(request, registry, named)
        if lineup.is_constant():
            registry.lineups[question] = lineup
    return lineup


async def _new_lineup(request: ChatRequest, registry: Registry, named: tuple[str, ...]) -> Lineup:
    known = registry.names()
    for name in registry.config.providers:
        if name not in known:
            registry.provider(name, request.model)  # raises the error for a missing base_url
    if not named:
        return await _DefaultRoute(request, registry).lineup()
    entries = [Entry.parse(text) for text in named]
    for name in {entry.name for entry in entries} - set(known):
        # Looking it up may load llm's plugins: a second, in which the loop has other things to do.
        await asyncio.to_thread(registry.is_member, name)
    order = []
    for entry in entries:
        provider = registry.provider(
            entry.name, request.model, key=request.key, upstream=entry.upstream, named=True
        )
        order.append((entry, provider, False))
    return Lineup.of(order, named=True)


class _DefaultRoute:
    """The providers that take part without being named, and why the others do not."""

    def __init__(self, request: ChatRequest, registry: Registry) -> None:
        self._request = request
        self._registry = registry
        self._order: list[tuple[Entry, Provider | Ineligible, bool]] = []
        self._waiting: list[Entry] = []
        self._needs_consent: list[str] = []
        self._taking_part = False

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

    async def _consider(self, name: str, own: bool) -> None:
        registry, spec = self._registry, PROVIDERS.get(name)
        entry = Entry(name)
        configured = self._is_configured(name)
        self._taking_part |= configured
        if spec and spec.kind == "keyed" and not spec.key_is_consent and not configured:
            self._waiting.append(entry)
            return
        provider = registry.provider(name, self._request.model)
        from_plugin = spec is None and not own
        if from_plugin and not configured and await self._is_plugin_substitute(provider):
            # Being installed is no consent for a substitute of another package either.
            self._waiting.append(entry)
            return
        self._order.append((entry, provider, own))
        self._taking_part |= await self._takes_part(provider)

    def _with_embedded(self) -> Lineup:
        settings = self._registry.settings("embedded")
        entry, fallback = Entry("embedded"), None
        if not self._taking_part:
            provider = self._registry.provider("embedded", self._request.model)
            if isinstance(provider, Ineligible):
                self._order.append((entry, provider, False))
            else:
                fallback = Place(entry, provider)
        elif settings is None or settings.enabled is not False:
            reason = Ineligible("it answers only while no other provider takes part", "not_needed")
            self._order.append((entry, reason, False))
        return Lineup.of(self._order, fallback=fallback, needs_consent=tuple(self._needs_consent))

    def _substitute(self, entry: Entry, taking_part: bool) -> Provider | Ineligible:
        """A substitute with a key: a key set for something else is no consent to receive a
        conversation after another provider's failure; where it is the only one, it is."""
        registry = self._registry
        settings = registry.settings(entry.name)
        if not taking_part or (settings and settings.enabled is False):
            return registry.provider(entry.name, self._request.model)
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
        return spec is None or spec.key_is_consent or settings.enabled is True

    async def _takes_part(self, provider: Provider | Ineligible) -> bool:
        """Whether a provider has an offer for the model, whatever this request needs besides."""
        if isinstance(provider, Ineligible):
            return False
        exact_only = self._request.exact or not self._registry.config.substitutes
        if isinstance(provider, Endpoint):
            served = provider.served
            return any(model.exact or not exact_only for model in served)
        return not isinstance(await provider.serves(self._request), Ineligible)

    async def _is_plugin_substitute(self, provider: Provider | Ineligible) -> bool:
        if isinstance(provider, Ineligible) or provider.kind != "keyed":
            return False
        served = await provider.serves(self._request)
        return not isinstance(served, Ineligible) and not (served.exact or served.successor)


async def taking_part(request: ChatRequest, registry: Registry) -> list[Provider]:
    """The providers of a route, and those that are named and have no offer for its model.
    Raises `NoProviderError` if a named one is ineligible."""
    if not request.providers:
        route = await resolve_route(request, registry)
        return [candidate.provider for candidate in route.candidates]
    providers = []
    for text in request.providers:
        entry = Entry.parse(text)
        provider = registry.provider(entry.name, request.model, key=request.key, named=True)
        if isinstance(provider, Ineligible):
            raise no_provider_error(request, [(entry.name, provider)], registry)
        providers.append(provider)
    return providers


def _with_room(
    request: ChatRequest, candidates: list[Candidate], left_out: list[tuple[str, Ineligible]]
) -> list[Candidate]:
    """The candidates whose context window may hold the request; if none does, all: their own error
    says more than ours could."""
    # No tokenizer is at hand. Eight characters to a token is more than any text has, so every
    # candidate that could answer stays.
    size = 0
    for message in request.messages:
        content = message.get("content")
        size += len(content if isinstance(content, str) else text_of(content) or "")
    least = size // 8
    fitting = [one for one in candidates if least <= (one.served.context or least)]
    if not fitting:
        return candidates
    for candidate in candidates:
        if candidate not in fitting:
            window = f"its context of {candidate.served.context:,} tokens"
            reason = Ineligible(f"the prompt is longer than {window}", "context")
            left_out.append((candidate.provider.name, reason))
    return fitting


def no_provider_error(
    request: ChatRequest, left_out: Iterable[tuple[str, Ineligible]], registry: Registry
) -> NoProviderError:
    """The error for a route without candidates."""
    mine = {"openai", *registry.config.providers, *request.providers}
    reasons, others = [], 0
    for name, ineligible in left_out:
        # Two dozen times "no key" would bury the line that matters.
        if name in PROVIDERS and name not in mine and ineligible.code in _UNTOUCHED:
            others += 1
        else:
            reasons.append(f"  {name}: {ineligible.reason}")
    if others:
        reasons.append(
            f'  {others} others have no key or are not enabled: "llm g4f route {request.model}"'
        )
    # For a named provider its reason says what to do.
    advice = [] if _named(request, registry) else [WAYS_OUT]
    return NoProviderError(
        "\n".join([f"No provider available for {request.model}:", *reasons, *advice]),
        model=request.model,
    )


_UNTOUCHED = frozenset({"no_key", "not_enabled", "needs_consent", "env_var_missing"})
"""The reasons of providers that the user has not set up."""
