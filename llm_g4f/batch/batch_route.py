"""Where a row goes with the Batch API, and what the budget says to it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from ..errors import BadRequestError, NoProviderError
from ..providers.catalogue import PROVIDERS, BatchAPI
from ..request import ChatRequest
from ..routing.no_provider import no_provider_error
from ..routing.registry import Registry
from ..routing.route import Candidate, resolve_route


async def batch_candidate(request: ChatRequest, registry: Registry) -> tuple[Candidate, BatchAPI]:
    """The first candidate whose provider has a Batch API, among those within budget. Raises `APIError`
    for a request that no batch takes, and `NoProviderError`."""
    if request.headers:
        raise BadRequestError("headers cannot be sent in a batch: leave them out.")
    route = await resolve_route(request, registry)
    if registry.config.budgets:
        from ..routing.budget import without_spent

        route = await asyncio.to_thread(without_spent, route, registry)
    if not route.candidates:
        raise no_provider_error(request, route.left_out, registry)
    for candidate in route.candidates:
        spec = PROVIDERS.get(candidate.provider.name)
        if spec is not None and spec.batch is not None:
            return candidate, spec.batch
    found = ", ".join(candidate.provider.name for candidate in route.candidates)
    having = ", ".join(spec.name for spec in PROVIDERS.values() if spec.batch is not None)
    raise NoProviderError(
        f"No provider of {request.model} with a Batch API: {found} would answer, and it is"
        f" {having} that have one. Leave out --engine openai-batch, or set a key of theirs.",
        model=request.model,
    )


async def note_prices(
    provider: str, prices: Mapping[str, Sequence[float | None]], registry: Registry
) -> list[str]:
    """Note what the answers of a batch have cost, by their model, where a budget is set. Returns the
    warnings."""
    if not registry.config.budgets:
        return []
    from ..routing.budget import note

    noted = [
        await asyncio.to_thread(note, registry, provider, model, *each)
        for model, each in prices.items()
    ]
    return [warning for warning in noted if warning is not None]
