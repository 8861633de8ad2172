"""How two ids of a model are compared.

llm imports this module at every start: it must stay light.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar

from ..model_names import MODELS, OPEN_MODELS, SNAPSHOTS

__all__ = ["MODELS", "OPEN_MODELS", "bare_id", "is_same_model", "listed", "names_of"]

_VARIANTS = frozenset(
    {"free", "batch", "extended", "thinking", "online", "nitro", "floor", "exacto"}
)
"""Suffixes behind a colon with which OpenRouter routes the same model differently. Source: its
"Model Variants" (openrouter.ai/docs/guides/routing/model-variants). Any other part behind a colon,
such as a size ("gpt-oss:20b"), belongs to the model's name."""

_DATED = re.compile(r"(.+)-(\d{4}-\d{2}-\d{2}|\d{8}|\d{4})")
"""A snapshot: gpt-4o-2024-08-06, gpt-4-0613 (month and day)."""

T = TypeVar("T")


@lru_cache(maxsize=256)
def is_same_model(name: str, requested: str) -> bool:
    """Whether `name`, an id at a provider or in its answer, is the model `requested`.

    Vendor prefixes and OpenRouter's variants are ignored. A date in `requested` must be met; where
    it has none, any snapshot of the model is the model.

    >>> is_same_model("openai/gpt-4o-2024-11-20", "gpt-4o")
    True
    >>> is_same_model("gpt-4o", "gpt-4o-2024-11-20")
    False
    >>> is_same_model("gpt-4o-mini", "gpt-4o")
    False
    """
    if name.lower() == requested.lower():
        return True
    base, date = _split_date(bare_id(name).lower())
    wanted, wanted_date = _split_date(bare_id(requested).lower())
    return base == wanted and (not wanted_date or date == wanted_date)


@lru_cache(maxsize=256)
def names_of(model: str) -> tuple[str, ...]:
    """The names under which `model` may be listed, its own first and its family last.

    >>> names_of("openai/gpt-4o-2024-08-06:free")
    ('openai/gpt-4o-2024-08-06:free', 'openai/gpt-4o-2024-08-06', 'gpt-4o-2024-08-06', 'gpt-4o')
    """
    bare = bare_id(model)
    family = SNAPSHOTS.get(bare) or _split_date(bare)[0]
    return tuple(dict.fromkeys((model, _without_variant(model), bare, family)))


def listed(table: Mapping[str, T], model: str) -> T | None:
    """What `table` says of `model`, else of its family."""
    return next((table[name] for name in names_of(model) if name in table), None)


def bare_id(id: str) -> str:
    """An id without vendor prefix and variant: the model's own name, with its date."""
    return _without_variant(id.rsplit("/", 1)[-1])


def _without_variant(id: str) -> str:
    name, _, suffix = id.rpartition(":")
    return name if name and suffix.lower() in _VARIANTS else id


def _split_date(bare: str) -> tuple[str, str]:
    """The name and the digits of its date; "" for none."""
    dated = _DATED.fullmatch(bare)
    return (dated[1], dated[2].replace("-", "")) if dated else (bare, "")
