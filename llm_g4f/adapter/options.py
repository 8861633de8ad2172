"""The options for `-o`: those of llm's own Chat models, reasoning_effort, and three for the route."""

from __future__ import annotations

import json
from typing import Any, Literal

import llm
from pydantic import ConfigDict, Field, field_validator

from ..request import PARAMETERS, ROUTING_OPTIONS


class Options(llm.Options):
    """The options of our models. `provider`, `exact` and `timeout` (seconds) are for the route; the
    others go to the provider under these names."""

    # llm builds every model at every start: pydantic's schema is built by the first prompt.
    model_config = ConfigDict(extra="forbid", defer_build=True)

    def __init__(self, /, **options: Any) -> None:
        if options:
            super().__init__(**options)
        else:
            # Nothing to validate: saves the 2 ms in which pydantic builds its schema.
            self.__setstate__(type(self).model_construct().__getstate__())

    temperature: float | None = Field(
        default=None,
        ge=0,
        le=2,
        description="Randomness of the answer, from 0 (the most predictable) to 2.",
    )
    max_tokens: int | None = Field(
        default=None, description="The most tokens that the answer may have."
    )
    top_p: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Sample only from the likeliest tokens, up to this total probability.",
    )
    frequency_penalty: float | None = Field(
        default=None,
        ge=-2,
        le=2,
        description="Above 0, a token becomes less likely the more often it has occurred.",
    )
    presence_penalty: float | None = Field(
        default=None,
        ge=-2,
        le=2,
        description="Above 0, a token becomes less likely once it has occurred.",
    )
    stop: str | list[str] | None = Field(
        default=None, description="Text before which the answer stops."
    )
    logit_bias: dict[int, int] | str | None = Field(
        default=None,
        description="Token ids, each with a change of its likelihood from -100 to 100: '{\"1712\": -100}'.",
    )
    seed: int | None = Field(
        default=None,
        description="A number that makes sampling repeatable, as far as the provider supports it.",
    )
    json_object: bool | None = Field(
        default=None, description="Answer with a JSON object. The prompt must mention JSON."
    )
    image_detail: Literal["low", "high", "auto"] | None = Field(
        default=None, description="The detail in which images are read: low, high or auto."
    )
    service_tier: str | None = Field(
        default=None,
        description="The provider's processing tier, such as priority. OpenAI is winding flex down.",
    )
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        Field(
            default=None,
            description="How much a reasoning model reasons: none, minimal, low, medium, high, xhigh or max.",
        )
    )
    provider: str | None = Field(
        default=None,
        description="The providers to use, in order, comma-separated; no others are tried. any: the"
        " default route.",
    )
    exact: bool | None = Field(
        default=None, description="Refuse substitutes: this exact model, or an error."
    )
    cache: bool | None = Field(
        default=None,
        description="Give the answer to the same prompt again, for as long as g4f.yaml says, or a day."
        " 0: not this time.",
    )
    timeout: float | None = Field(
        default=None, gt=0, description="The most seconds that the whole answer may take."
    )

    @field_validator("logit_bias")
    @classmethod
    def _logit_bias(cls, value: Any) -> dict[int, int] | None:
        if value is None:
            return None
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                raise ValueError("logit_bias must be JSON") from None
        try:
            bias = {int(token): int(amount) for token, amount in value.items()}
        except (AttributeError, TypeError, ValueError):
            raise ValueError("logit_bias must map token ids to numbers") from None
        if not all(-100 <= amount <= 100 for amount in bias.values()):
            raise ValueError("the numbers in logit_bias must be between -100 and 100")
        return bias

    def routing(self) -> dict[str, Any]:
        """The options that are for the route, by their names in `ROUTING_OPTIONS`."""
        return {n: value for n, value in self if value is not None and n in ROUTING_OPTIONS}

    def parameters(self) -> dict[str, Any]:
        """The options that go to the provider, as parameters of chat completions."""
        params = {name: value for name, value in self if value is not None and name in PARAMETERS}
        if self.json_object:
            params["response_format"] = {"type": "json_object"}
        return params
