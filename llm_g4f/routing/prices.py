"""The price of an answer: the provider's own figure, else that of genai-prices' table (extra
`prices`). Never an estimate.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

from ..providers.catalogue import PROVIDERS
from ..receipt import Receipt
from ..types import Usage
from .registry import Registry


@cache
def has_table() -> bool:
    """Whether genai-prices is installed; to load it takes a quarter of a second."""
    return find_spec("genai_prices") is not None


def price(
    receipt: Receipt, usage: Usage | None, tier: str | None, registry: Registry
) -> float | None:
    """The price of an answer in US dollars, None if it is unknown. `tier` is its service_tier.
    That of an answer in a batch is the table's for batches.

    If the user has changed the base URL of a provider, its prices are unknown.
    """
    if receipt.cached is not None:
        return 0.0
    if usage is None:
        return None
    spec = PROVIDERS.get(receipt.provider or "")
    settings = registry.settings(receipt.provider or "")
    moved = settings is not None and settings.base_url is not None
    if spec is None or receipt.model is None or moved:
        return None
    if spec.base_url_env_var and os.environ.get(spec.base_url_env_var):
        return None
    if spec.reports_cost and isinstance(cost := usage.extra.get("cost"), (int, float)):
        return float(cost) + _upstream_cost(usage)
    # A gateway's own cache counts 0, which is no measurement.
    if not (usage.prompt_tokens or usage.completion_tokens):
        return None
    if spec.price_table is None or tier not in (None, "default") or not has_table():
        return None
    return _price_of_table(receipt.model, spec.price_table, usage, in_batch=bool(receipt.batch))


def _price_of_table(model: str, table: str, usage: Usage, *, in_batch: bool) -> float | None:
    from genai_prices import Usage as Tokens
    from genai_prices import calc_price

    of_input, of_output = usage.prompt_tokens_details or {}, usage.completion_tokens_details or {}
    tokens = Tokens(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=_count(of_input.get("cached_tokens")),
        input_audio_tokens=_count(of_input.get("audio_tokens")),
        output_audio_tokens=_count(of_output.get("audio_tokens")),
    )
    try:
        found = calc_price(tokens, model, provider_id=table)
        if in_batch:
            usual = found.model_price
            context = {"processing": "batch"}
            found = calc_price(tokens, model, provider_id=table, price_context=context)
            if found.model_price == usual:
                return None
    except (LookupError, ValueError):
        return None
    return float(found.total_price)


def _upstream_cost(usage: Usage) -> float:
    """What the provider behind OpenRouter costs besides, where the request went there with a key of
    the user's own. Source: OpenRouter's docs, "BYOK" and "Usage Accounting"."""
    details = usage.extra.get("cost_details")
    cost = details.get("upstream_inference_cost") if isinstance(details, dict) else None
    return float(cost) if usage.extra.get("is_byok") and isinstance(cost, (int, float)) else 0.0


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
