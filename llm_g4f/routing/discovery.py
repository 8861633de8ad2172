"""The models of an endpoint that nobody has mapped: asked for once at its /models, and remembered.

An own endpoint, or a local server, answers under whatever name it is asked for. What it lists says
which model that would be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from ..errors import APIConnectionError, APIError, APIStatusError, APITimeoutError, G4FError
from ..event_loops import loop_local, running_loop, within
from ..providers.base import Ineligible, Provider, ServedModel
from ..providers.endpoint import Endpoint
from ..providers.model_ids import bare_id, is_same_model, names_of
from ..safe_text import clean, without_name
from .cooldowns import Cooldowns, key_of
from .endpoints import with_capabilities
from .health_state import LISTED_FOR, Listing
from .registry import Registry

LIST = 30.0
"""Seconds for a provider to list its models where that is what a person waits for."""

LOOK = 1.0
"""Seconds for an endpoint to list its models."""

LOOK_AGAIN = 0.3
"""Seconds for that after it had not answered."""

FAILED_FOR = 15.0
"""Seconds for which an endpoint that did not answer is not asked again."""

_PASSES = (408, 429, *range(500, 600))
"""The statuses of an endpoint that may list its models later; any other has no list."""

_NOT_CHAT = ("embed", "rerank", "whisper")
"""Words in ids of models that do not chat. LM Studio comes with text-embedding-nomic-embed-text."""


async def discovered(endpoint: Endpoint, model: str, registry: Registry) -> tuple[Endpoint, float]:
    """The endpoint with what it would answer with for `model`, and the Unix time until which that
    holds. Sends no prompt."""
    listing = await _listing(endpoint, registry.cooldowns)
    found = _choice(endpoint, listing, model)
    if isinstance(found, Ineligible):
        return replace(endpoint, no_model_reason=found), listing.until
    endpoint = replace(endpoint, served=(found,))
    if (settings := registry.settings(endpoint.name)) is not None:
        endpoint = with_capabilities(endpoint, settings)
    return endpoint, listing.until


async def listed_by(provider: Provider, seconds: float) -> list[str]:
    """The ids that a provider lists. Raises `APIError`: after `seconds`, `APITimeoutError`."""
    try:
        return await within(seconds, provider.models())
    except TimeoutError:
        where = getattr(provider, "base_url", provider.name)
        raise APITimeoutError(
            f"{where} does not answer within {seconds:g} s. Try again, or check the address.",
            provider=provider.name,
        ) from None


async def lists_of(providers: Iterable[Provider]) -> list[list[str] | G4FError]:
    """What each of `providers` lists, or its error. All are asked at the same time."""

    async def one(provider: Provider) -> list[str] | G4FError:
        try:
            return await listed_by(provider, LIST)
        except G4FError as error:
            return error

    loop = running_loop()
    return await asyncio.gather(*[loop.create_task(one(provider)) for provider in providers])


async def look(endpoint: Endpoint, seconds: float = LOOK) -> Sequence[str] | APIError | None:
    """The ids that an endpoint lists; None if it has no list; the error if it does not answer."""
    try:
        return await listed_by(endpoint, seconds)
    except APIStatusError as error:
        return error if error.status_code in _PASSES else None
    except APIConnectionError as error:
        return error
    except APIError:
        return None


def choose(listed: Sequence[str], model: str, *, exact: bool = True) -> ServedModel | None:
    """The one of the listed ids that answers for `model`: that model, its family, the only one there
    is, else a gpt-oss."""
    same = [id for id in listed if is_same_model(id, model)]
    if same:
        best = min(same, key=lambda name: (name != model, bare_id(name) != bare_id(model)))
        return ServedModel(best, exact, verify=exact)
    family = [id for id in listed if is_same_model(id, names_of(model)[-1])]
    chats = [id for id in listed if not any(word in id.lower() for word in _NOT_CHAT)]
    alone = chats if len(chats) == 1 else []
    gpt_oss = [id for id in chats if "gpt-oss" in id.lower()]
    return next((ServedModel(id, exact=False) for id in (*family, *alone, *gpt_oss)), None)


def _choice(endpoint: Endpoint, listing: Listing, model: str) -> ServedModel | Ineligible:
    if listing.failed and endpoint.kind == "local":
        return Ineligible(listing.failed, "unreachable")
    # g4f's server has its substitutes under the requested names.
    exact = endpoint.name != "g4f"
    if listing.models is None:
        return ServedModel(model, exact, verify=exact)
    chosen = choose(listing.models, model, exact=exact)
    if chosen is not None:
        return chosen
    shown = ", ".join(clean(id, 60) for id in listing.models[:8]) or "no model"
    advice = (
        "" if not listing.models else f"; say which one stands for {model} with models: in g4f.yaml"
    )
    return Ineligible(f"it has {shown}{advice}", "no_model")


async def _listing(endpoint: Endpoint, cooldowns: Cooldowns) -> Listing:
    """What an endpoint lists: as remembered, else asked for once by all requests that wait for it."""
    known = cooldowns.listing(endpoint.base_url, endpoint.key)
    if known is not None and known.until > cooldowns.now():
        return known
    looks: dict[object, asyncio.Task[Listing]] = loop_local("_llm_g4f_looks", dict)
    place = (endpoint.base_url, endpoint.key)
    task = looks.get(place)
    if task is None:
        task = asyncio.get_running_loop().create_task(_ask(endpoint, known, cooldowns))
        looks[place] = task
        task.add_done_callback(lambda _: looks.pop(place, None))
    # A request that is given up leaves the answer to the others.
    return await asyncio.shield(task)


async def _ask(endpoint: Endpoint, known: Listing | None, cooldowns: Cooldowns) -> Listing:
    again = known is not None and known.failed
    found = await look(endpoint, LOOK_AGAIN if again else LOOK)
    if isinstance(found, APITimeoutError) and endpoint.is_local:
        # It would keep a prompt waiting as well.
        cooldowns.rest(key_of(endpoint.name, "", "key"), FAILED_FOR)
    if isinstance(found, APIError):
        failed = without_name(clean(found.message, 300), endpoint.name).rstrip(".")
        before = known.models if known else None
        listing = Listing(before, cooldowns.now() + FAILED_FOR, failed)
    else:
        models = None if found is None else tuple(found)
        listing = Listing(models, cooldowns.now() + LISTED_FOR)
    cooldowns.note_listing(endpoint.base_url, endpoint.key, listing)
    return listing
