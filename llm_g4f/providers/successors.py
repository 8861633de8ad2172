"""The model that takes a retired one's place at its maker: the one that it names, if that costs no more.

Cost is three parts input to one of output, the mix that price comparisons commonly use. What
g4f.yaml names in `models:` is not looked at here.
"""

from __future__ import annotations

from typing import NamedTuple

from .catalogue import ProviderSpec
from .model_ids import listed

STAND_IN = "gpt-6-luna"
"""The successor where the maker names none, or one that costs more: the cheapest of OpenAI's models
that the catalogue knows."""


class Successor(NamedTuple):
    """A model in a retired one's place, and what else to say of it: words that follow "its
    successor; ", or ""."""

    id: str
    note: str = ""


def successor_of(spec: ProviderSpec, model: str) -> Successor:
    """The successor of `model` at its maker."""
    named = listed(spec.successors, model) or STAND_IN
    before = _cost(spec, model)
    if not _is_costlier(_cost(spec, named), before):
        return Successor(named)
    if _is_costlier(_cost(spec, STAND_IN), before):
        return Successor(STAND_IN, f"it costs more than {model}")
    return Successor(STAND_IN, f"{named}, which its maker names, costs more")


def _cost(spec: ProviderSpec, model: str) -> float | None:
    """Three parts input and one of output, in US dollars by a million tokens each; None if unknown."""
    price = listed(spec.prices, model)
    return None if price is None else 3 * price[0] + price[1]


def _is_costlier(cost: float | None, before: float | None) -> bool:
    return cost is not None and before is not None and cost > before
