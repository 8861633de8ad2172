"""Prices in the table of genai-prices."""

from __future__ import annotations

from genai_prices import Usage, calc_price


def table_price(table: str, model: str, **tokens: int) -> float:
    """US dollars for so many tokens of a provider's model."""
    return float(calc_price(Usage(**tokens), model, provider_id=table).total_price)
