"""The candidates for one request, in order, and why no other provider.

A lineup says who takes part; what a single request needs besides (images, tools, room in the
context window) is looked at here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from ..decoding.text import text_of
from ..providers.base import Ineligible, Provider, ServedModel
from ..providers.catalogue import PROVIDERS
from ..providers.endpoint import Endpoint
from ..providers.model_ids import is_same_model, names_of
from ..receipt import kind_of_answer
from ..request import ChatRequest
from .cooldowns import key_of
from .endpoints import successor_of
from .lineup import Entry, LeftOut, Participant, is_exact_only, lineup_of
from .no_provider import no_provider_error
from .policy import LOCAL_COOLDOWN, LONGEST_COOLDOWN
from .registry import Registry


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

    @property
    def longest_cooldown(self) -> float:
        """Seconds of a cooldown that grows, at most."""
        local = getattr(self.provider, "is_local", False)
        return LOCAL_COOLDOWN if local else LONGEST_COOLDOWN


class Route(Struct, frozen=True):
    """The candidates in their order, and each provider left out with its reason. `needs_consent`
    are those of them that have a key and lack only consent."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[tuple[str, Ineligible], ...]
    needs_consent: tuple[str, ...] = ()


async def resolve_route(request: ChatRequest, registry: Registry) -> Route:
    """The route of `request`. Raises `ConfigError`, and `NoProviderError` for unknown names."""
    lineup = await lineup_of(request, registry)
    exact_only = is_exact_only(request, registry)
    ranked: list[tuple[int, Candidate]] = []
    unfit: LeftOut = {}
    for position, participant in lineup.participants.items():
        candidate = await _candidate(participant, request, exact_only)
        if isinstance(candidate, Ineligible):
            unfit[position] = (str(participant.entry), candidate)
        else:
            rank = 0 if lineup.named else _rank(candidate, participant.own, request.model)
            ranked += ((rank, candidate),)
    if lineup.last_resort is not None and not ranked:
        candidate = await _candidate(lineup.last_resort, request, exact_only)
        if isinstance(candidate, Ineligible):
            unfit[_LAST] = (str(lineup.last_resort.entry), candidate)
        else:
            ranked += ((0, candidate),)
    candidates = [candidate for _, candidate in ranked]
    if len(ranked) > 1:
        candidates = [candidate for _, candidate in sorted(ranked, key=lambda pair: pair[0])]
    left_out = list(lineup.left_out.values())
    if unfit:
        left_out = [reason for _, reason in sorted((lineup.left_out | unfit).items())]
    # An order of the user's own stands.
    if registry.config.order and not lineup.named:
        from .order import in_order

        candidates = await in_order(candidates, registry)
    candidates = _with_room(request, candidates, left_out)
    return Route(tuple(candidates), tuple(left_out), lineup.needs_consent)


_LAST = 1 << 30


async def _candidate(
    participant: Participant, request: ChatRequest, exact_only: bool
) -> Candidate | Ineligible:
    provider = participant.provider
    served = await provider.serves(request)
    if isinstance(served, Ineligible):
        return served
    if exact_only:
        if served.exact:
            return Candidate(provider, served)
        kind = kind_of_answer(exact=False, successor=served.successor)
        return Ineligible(
            f"{served.model} is {kind}, and only {request.model} is allowed", "not_exact"
        )
    spec = PROVIDERS.get(participant.entry.name)
    if served.exact and spec is not None and spec.successors:
        return Candidate(provider, served, successor_of(spec, request.model))
    return Candidate(provider, served)


def _rank(candidate: Candidate, own: bool, requested: str) -> int:
    """The place of a candidate in the default route: lower answers first. The model itself comes
    first, then another snapshot of it, then its successor."""
    if own:
        return 0
    if candidate.provider.kind == "keyed":
        served = candidate.served
        if served.exact:
            return 1
        if served.successor:
            return 3
        return 2 if is_same_model(served.model, names_of(requested)[-1]) else 5
    return {"local": 4, "anonymous": 6, "embedded": 7}[candidate.provider.kind]


def equally_exact(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates as good as the first one, in their order: all with the model itself; or with its
    successor; or with the same substitute from the same kind of provider."""
    first = likeness(candidates[0])
    return [candidate for candidate in candidates if likeness(candidate) == first]


def likeness(candidate: Candidate) -> tuple[str, ...]:
    """What equally exact candidates have in common."""
    served = candidate.served
    if served.exact:
        return ("exact",)
    model = served.model.rsplit("/", 1)[-1].lower()
    # Consent to a public endpoint behind an own server is no consent to both alike.
    return ("successor",) if served.successor else (candidate.provider.kind, model)


async def taking_part(request: ChatRequest, registry: Registry) -> list[Provider]:
    """The providers of a route, and those that are named and have no offer for its model.
    Raises `NoProviderError` if a named one is ineligible."""
    if not request.providers:
        candidates = [each.provider for each in (await resolve_route(request, registry)).candidates]
        lineup = await lineup_of(request, registry)
        # Of several models none may stand for the requested one: what they are is the question here.
        undecided = [one.provider for one in lineup.participants.values() if _is_undecided(one)]
        return candidates + [provider for provider in undecided if provider not in candidates]
    providers = []
    for text in request.providers:
        entry = Entry.parse(text)
        provider = registry.provider(entry.name, request.model, key=request.key, named=True)
        if isinstance(provider, Ineligible):
            raise no_provider_error(request, [(entry.name, provider)], registry)
        providers.append(provider)
    return providers


def _is_undecided(participant: Participant) -> bool:
    provider = participant.provider
    return (
        isinstance(provider, Endpoint)
        and provider.discover_models
        and not provider.served
        and provider.no_model_reason.code == "no_model"
    )


def _with_room(
    request: ChatRequest, candidates: list[Candidate], left_out: list[tuple[str, Ineligible]]
) -> list[Candidate]:
    """The candidates whose context window may hold the request; if none does, all: their own error
    says more than ours could."""
    if len(candidates) == 1:
        return candidates
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


def larger_than(candidate: Candidate, others: Iterable[Candidate]) -> list[Candidate]:
    """The others that may hold what `candidate` does not: with a larger or an unknown window."""
    window = candidate.served.context or 0
    return [
        other for other in others if other.served.context is None or other.served.context > window
    ]
