"""The providers we know, as data: a new one is a row here and no code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .base import Kind, Scope
from .names import MODELS

__all__ = ["ROWS", "Row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One provider.

    `models` maps a requested model to the id it has there; `variables` and `aliases` are where
    its key is looked for (environment, `llm keys`). `base_url_variable` is an environment
    variable that llm's own plugin honours as the address.
    """

    name: str
    base_url: str
    kind: Kind = "keyed"
    scope: Scope = "key"
    variables: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    base_url_variable: str | None = None
    models: Mapping[str, str] = field(default_factory=dict)


ROWS: Mapping[str, Row] = {
    row.name: row
    for row in (
        Row(
            name="openai",
            base_url="https://api.openai.com/v1",
            base_url_variable="OPENAI_BASE_URL",
            variables=("OPENAI_API_KEY",),
            aliases=("openai",),
            models={model: model for model in MODELS},
        ),
    )
}
