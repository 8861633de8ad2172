"""The error for a route without candidates: each provider's reason, and the ways out that exist here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import NoProviderError
from ..providers.base import Ineligible
from ..providers.catalogue import PROVIDERS
from ..providers.endpoint import Endpoint
from ..providers.model_ids import listed
from ..request import ChatRequest
from ..safe_text import clean
from .lineup import is_exact_only, named_entries
from .registry import Registry

_UNTOUCHED = frozenset({"no_key", "not_enabled", "needs_consent", "env_var_missing"})
"""The reasons of providers that the user has not set up."""

_COUNTS = ("No way", "One way", "Two ways", "Three ways", "Four ways", "Ways")


def of_interest(
    request: ChatRequest,
    left_out: Iterable[tuple[str, Ineligible]],
    registry: Registry,
    needs_consent: Iterable[str] = (),
) -> tuple[list[tuple[str, Ineligible]], int]:
    """The providers left out that the user named, set up or needs to know of, and the number of the
    others: two dozen times "no key" would bury the line that matters."""
    mine = {*registry.config.providers, *request.providers, *needs_consent}
    if (provider := _provider_with_key(request)) is not None:
        mine.add(provider)
    shown, others = [], 0
    for name, ineligible in left_out:
        built_in = name in PROVIDERS or name == "embedded"
        if built_in and name not in mine and ineligible.code in (*_UNTOUCHED, "not_needed"):
            others += 1
        else:
            shown.append((name, ineligible))
    return shown, others


def in_the_way(left_out: Iterable[tuple[str, Ineligible]], registry: Registry) -> list[str]:
    """The providers that were set up and cannot answer; the local model does not stand in for them."""
    configured = registry.config.providers
    return [
        name
        for name, ineligible in left_out
        if name != "embedded"
        and ineligible.code not in ("disabled", "not_enabled", "env_var_missing")
        and (name in configured or ineligible.code not in _UNTOUCHED)
    ]


def no_provider_error(
    request: ChatRequest, left_out: Iterable[tuple[str, Ineligible]], registry: Registry
) -> NoProviderError:
    """The error for a route without candidates."""
    left_out = list(left_out)
    # The ways out say more of the local model than that it was not needed.
    asked = [(name, reason) for name, reason in left_out if reason.code != "not_needed"]
    shown, others = of_interest(request, asked, registry)
    reasons = [f"  {name}: {ineligible.reason}" for name, ineligible in shown]
    if others:
        reasons.append(
            f'  {others} others have no key or are not enabled: "llm g4f route {request.model} --all"'
        )
    advice = ways_out(request, left_out, registry)
    return NoProviderError(
        "\n".join([f"No provider available for {request.model}:", *reasons, *advice]),
        model=request.model,
    )


def not_asked(needs_consent: Sequence[str], over_budget: Sequence[str] = ()) -> str:
    """The hint about providers that could have been asked besides those that failed."""
    hints = []
    if needs_consent:
        hints.append(
            f"Not asked, although a key is set: {', '.join(needs_consent)}. To allow it:"
            f' "llm g4f enable {needs_consent[0]}".'
        )
    if over_budget:
        hints.append(
            f"Not asked, because of the budget: {', '.join(over_budget)}. To see what was spent:"
            ' "llm g4f spend".'
        )
    return "\n".join(hints)


def ways_out(
    request: ChatRequest, left_out: Iterable[tuple[str, Ineligible]], registry: Registry
) -> list[str]:
    """A sentence with the ways to an answer that exist here; none where there is no way."""
    left_out = list(left_out)
    ways = [
        f'the line "{_line(name, request.model, registry)}" under models: of {name} in g4f.yaml'
        for name, ineligible in left_out
        if ineligible.code == "no_model" and name in registry.own()
    ]
    # For a named provider its reason says what to do.
    if not named_entries(request, registry):
        provider = _provider_with_key(request)
        if provider is not None and not registry.has_key(provider):
            ways.append(f'a key ("llm keys set {provider}")')
        ways.append('an endpoint of your own ("providers:" in g4f.yaml)')
        if (way := _way_to_local(request, left_out, registry)) is not None:
            ways.append(way)
    if not ways:
        return []
    *first, last = ways
    joined = f"{', '.join(first)}{',' if len(first) > 1 else ''} or {last}" if first else last
    return [f"{_COUNTS[min(len(ways), 5)]} out: {joined}."]


def _line(name: str, model: str, registry: Registry) -> str:
    settings, endpoint = registry.settings(name), registry.provider(name, model)
    ids = [entry.id for entry in settings.models.values()] if settings is not None else []
    if not ids and isinstance(endpoint, Endpoint):
        listing = registry.cooldowns.listing(endpoint.base_url, endpoint.key)
        ids = [clean(id, 60) for id in (listing and listing.models) or ()]
    return f"{model}: {ids[0] if ids else 'ID'}"


def _provider_with_key(request: ChatRequest) -> str | None:
    """The first provider that a key opens for the requested model itself."""
    for name, spec in PROVIDERS.items():
        is_open = spec.kind == "keyed" and not spec.url_env_vars
        if is_open and listed({key: True for key in spec.models if key != "*"}, request.model):
            return name
    return None


def _way_to_local(
    request: ChatRequest, left_out: list[tuple[str, Ineligible]], registry: Registry
) -> str | None:
    if is_exact_only(request, registry) or request.needs - {"schema"}:
        return None
    if request.params.get("n") not in (None, 1):
        return None
    from ..local.runtime import is_installed

    model = "the small model on this machine"
    if not is_installed():
        return f"{model} (llm install 'llm-g4f[local]')"
    reason = dict(left_out).get("embedded")
    if reason is not None and reason.code == "disabled":
        return f'{model} ("llm g4f enable embedded")'
    blocking = in_the_way(left_out, registry)
    if reason is not None and reason.code == "not_needed" and len(blocking) == 1:
        return f'{model} in place of {blocking[0]} ("llm g4f disable {blocking[0]}")'
    return None
