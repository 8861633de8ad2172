"""Prices in the table of genai-prices."""

from __future__ import annotations

from genai_prices import Usage, calc_price


def table_price(table: str, model: str, **tokens: int) -> float:
    """US dollars for so many tokens of a provider's model."""
    return float(calc_price(Usage(**tokens), model, provider_id=table).total_price)


FIGURE = table_price(
    "openai", "gpt-4o-2024-11-20", input_tokens=1_000, output_tokens=100, cache_read_tokens=400
)
"""The price of `stand_in.TOKENS` at openai."""
