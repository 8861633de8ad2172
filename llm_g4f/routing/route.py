"""Who may answer a request, in which order, and why nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from msgspec import Struct

from ..decoding.text import text_of
from ..errors import NoProviderError
from ..providers.base import Ineligible, Provider, Serving
from ..providers.catalogue import PROVIDERS
from ..request import ChatRequest
from .cooldowns import key_of
from .registry import Registry, successor

WAYS_OUT = (
    'Three ways out: a key ("llm keys set openai"), an endpoint of your own ("providers:" in'
    " g4f.yaml), or the small model on this machine (llm install 'llm-g4f[local]')."
)


class Candidate(Struct, frozen=True):
    """A provider that can take the request, and what it would answer with. `successor_model`: what takes that
    one's place, should the provider say that it is gone."""

    provider: Provider
    serving: Serving
    successor_model: Serving | None = None

    @property
    def health_key(self) -> str:
        """What a limit that this one meets holds for."""
        return key_of(self.provider.name, self.serving.model, self.provider.scope)


class Route(Struct, frozen=True):
    """The candidates in their order, and (provider, reason) for each one left out. `needs_consent` are
    those of them that have a key and lack only consent."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[tuple[str, str], ...]
    needs_consent: tuple[str, ...] = ()


class _Entry(Struct, frozen=True):
    """A provider to consider; `upstream` from provider/upstream-id. What follows a family's colon
    is the name of one of its members, slashes and all."""

    name: str
    upstream: str | None = None

    @classmethod
    def of(cls, text: str) -> _Entry:
        name, _, upstream = text.partition("/")
        return cls(text) if ":" in name else cls(name, upstream or None)


def _named(request: ChatRequest, registry: Registry) -> tuple[str, ...]:
    """The entries that the user named for this request, in order; empty for the usual route."""
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


def _tier(candidate: Candidate, own: bool) -> int:
    """The place of a candidate in the usual route: lower answers first."""
    if own:
        return 0
    if candidate.provider.kind == "keyed":
        if candidate.serving.exact:
            return 1
        return 2 if candidate.serving.successor else 4
    return {"local": 3, "anonymous": 5, "embedded": 6}[candidate.provider.kind]


def equally_exact(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that are as good an answer as the first of `candidates`, in their order: whoever has the
    model itself; or its successor; or the same substitute from the same kind of provider."""
    wanted = _likeness(candidates[0])
    return [one for one in candidates if _likeness(one) == wanted]


def _likeness(candidate: Candidate) -> tuple[str, ...]:
    serving = candidate.serving
    if serving.exact:
        return ("exact",)
    model = serving.model.rsplit("/", 1)[-1].lower()
    # Who agreed to a public endpoint behind an own server did not agree to both alike.
    return ("successor",) if serving.successor else (candidate.provider.kind, model)


class _RouteResolver:
    def __init__(self, request: ChatRequest, registry: Registry) -> None:
        self._request = request
        self._registry = registry
        self.left_out: list[tuple[str, str]] = []
        self.needs_consent: list[str] = []

    async def candidate(self, entry: _Entry, *, named: bool) -> Candidate | None:
        """The candidate of an entry; None, and a reason noted, if it cannot be one."""
        request, registry = self._request, self._registry
        provider = registry.provider(
            entry.name, request.model, key=request.key, upstream=entry.upstream, named=named
        )
        serving = provider if isinstance(provider, Ineligible) else await provider.serves(request)
        if isinstance(provider, Ineligible) or isinstance(serving, Ineligible):
            assert isinstance(serving, Ineligible)
            self.leave_out(entry, serving.reason)
            return None
        successor_model = None
        if serving.exact and (row := PROVIDERS.get(entry.name)) and row.successors:
            successor_model = successor(row, request.model).serving()
        if request.exact or not registry.config.substitutes:
            if not serving.exact:
                kind = "successor" if serving.successor else "substitute"
                self.leave_out(
                    entry, f"{serving.model} is a {kind}, and only {request.model} will do"
                )
                return None
            successor_model = None
        return Candidate(provider, serving, successor_model)

    def leave_out(self, entry: _Entry, reason: str) -> None:
        name = f"{entry.name}/{entry.upstream}" if entry.upstream else entry.name
        self.left_out.append((name, reason))

    def is_configured(self, name: str) -> bool:
        """Whether g4f.yaml makes a provider take part, be its key there or not: whom the user
        configured, others must not stand in for silently."""
        settings = self._registry.settings(name)
        if settings is None or settings.enabled is False:
            return False
        row = PROVIDERS.get(name)
        return row is None or row.key_is_consent or settings.enabled is True

    async def default_route(self) -> list[Candidate]:
        """The usual route: whoever takes part, best first."""
        registry = self._registry
        own = set(registry.own())
        found: list[tuple[int, Candidate]] = []
        waiting: list[_Entry] = []
        taking_part = False
        for name in registry.names():
            entry = _Entry(name)
            row = PROVIDERS.get(name)
            if name == "embedded":
                continue
            taking_part |= self.is_configured(name)
            if (
                row
                and row.kind == "keyed"
                and not row.key_is_consent
                and not self.is_configured(name)
            ):
                waiting.append(entry)
                continue
            candidate = await self.candidate(entry, named=False)
            if (
                candidate is not None
                and row is None
                and _tier(candidate, name in own) == 4
                and not self.is_configured(name)
            ):
                # A substitute of another package: its being installed is no consent either.
                waiting.append(entry)
                continue
            if candidate is not None:
                taking_part = True
                found.append((_tier(candidate, name in own), candidate))
        for entry in waiting:
            # A key set for something else is no consent to receive a conversation after
            # somebody's failure; where it is all there is, it is.
            settings = registry.settings(entry.name)
            if taking_part and not (settings and settings.enabled is False):
                reason = f'asked only if enabled: "llm g4f enable {entry.name}"'
                if registry.has_key(entry.name):
                    reason = f"has a key, and is {reason}"
                    self.needs_consent.append(entry.name)
                self.leave_out(entry, reason)
                continue
            candidate = await self.candidate(entry, named=False)
            if candidate is not None:
                found.append((_tier(candidate, own=False), candidate))
        if taking_part or found:
            if (settings := registry.settings("embedded")) is None or settings.enabled is not False:
                self.leave_out(_Entry("embedded"), "it answers only while nobody else takes part")
        elif (candidate := await self.candidate(_Entry("embedded"), named=False)) is not None:
            found.append((_tier(candidate, own=False), candidate))
        return [candidate for _, candidate in sorted(found, key=lambda one: one[0])]


async def taking_part(request: ChatRequest, registry: Registry) -> list[Provider]:
    """The providers of a route, and those that are named and have no offer for its model.
    Raises `NoProviderError` if a named one cannot be asked at all."""
    if not request.providers:
        return [
            candidate.provider for candidate in (await resolve_route(request, registry)).candidates
        ]
    found = []
    for text in request.providers:
        entry = _Entry.of(text)
        provider = registry.provider(entry.name, request.model, key=request.key, named=True)
        if isinstance(provider, Ineligible):
            raise no_provider_error(request, [(entry.name, provider.reason)], registry)
        found.append(provider)
    return found


async def resolve_route(request: ChatRequest, registry: Registry) -> Route:
    """The route of `request`. Raises `ConfigError`, and `NoProviderError` for names nobody has."""
    known = registry.names()
    for name in registry.config.providers:
        if name not in known:
            registry.provider(name, request.model)  # says what is missing
    planner = _RouteResolver(request, registry)
    named = _named(request, registry)
    for name in {_Entry.of(text).name for text in named} - set(known):
        # Looking it up may load llm's plugins: a second, in which the loop has other things to do.
        await asyncio.to_thread(registry.is_member, name)
    if named:
        candidates = [
            candidate
            for text in named
            if (candidate := await planner.candidate(_Entry.of(text), named=True)) is not None
        ]
    else:
        candidates = await planner.default_route()
    fitting = _that_fit(request, candidates, planner)
    return Route(tuple(fitting), tuple(planner.left_out), tuple(planner.needs_consent))


def _that_fit(
    request: ChatRequest, candidates: list[Candidate], planner: _RouteResolver
) -> list[Candidate]:
    """Those whose context window may hold the request; if none does, all: their own error says
    more than ours could."""
    size = sum(len(text_of(message.get("content")) or "") for message in request.messages)
    # No tokenizer is at hand. Eight characters to a token is more than any text has, so
    # nobody is left out who could have answered.
    least = size // 8
    fitting = [one for one in candidates if least <= (one.serving.context or least)]
    if not fitting:
        return candidates
    for one in candidates:
        if one not in fitting:
            planner.leave_out(
                _Entry(one.provider.name),
                f"the prompt is longer than its context of {one.serving.context:,} tokens",
            )
    return fitting


def no_provider_error(
    request: ChatRequest, left_out: Iterable[tuple[str, str]], registry: Registry
) -> NoProviderError:
    """The error for a route without candidates."""
    mine = {"openai", *registry.config.providers, *request.providers}
    reasons, others = [], 0
    for name, reason in left_out:
        # Two dozen times "no key" would bury the line that matters.
        if name in PROVIDERS and name not in mine and _is_untouched(reason):
            others += 1
        else:
            reasons.append(f"  {name}: {reason}")
    if others:
        reasons.append(
            f'  {others} others have no key or are not enabled: "llm g4f route {request.model}"'
        )
    # Who named the provider knows what to do about its reason.
    key_hint = [] if _named(request, registry) else [WAYS_OUT]
    return NoProviderError(
        "\n".join([f"Nobody can answer for {request.model} now:", *reasons, *key_hint]),
        model=request.model,
    )


def _is_untouched(reason: str) -> bool:
    return reason.startswith(("no key", "not enabled", "asked only if", "the environment variable"))
