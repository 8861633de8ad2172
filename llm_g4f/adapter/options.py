"""What `-o` takes: all of llm's own Chat options, reasoning_effort, and three for the route."""

from __future__ import annotations

import json
from typing import Any, Literal

import llm
from pydantic import ConfigDict, Field, field_validator

from ..request import PARAMETERS


class Options(llm.Options):
    """Options of gpt-4o and its relatives. `provider`, `exact` and `timeout` are for the route;
    the others go to the provider under these names."""

    # llm builds every model at every start: the schema waits until somebody prompts.
    model_config = ConfigDict(extra="forbid", defer_build=True)

    def __init__(self, /, **given: Any) -> None:
        if given:
            super().__init__(**given)
        else:
            # Nothing to check: pydantic would first take 2 ms to learn how.
            self.__setstate__(type(self).model_construct().__getstate__())

    temperature: float | None = Field(
        default=None,
        ge=0,
        le=2,
        description="How random the answer is: 0 is the most predictable, 2 the least.",
    )
    max_tokens: int | None = Field(default=None, description="The most tokens the answer may have.")
    top_p: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Sample only from the likeliest tokens that together have this probability.",
    )
    frequency_penalty: float | None = Field(
        default=None,
        ge=-2,
        le=2,
        description="Above 0: the more often a token has occurred, the less likely it is again.",
    )
    presence_penalty: float | None = Field(
        default=None,
        ge=-2,
        le=2,
        description="Above 0: a token that has occurred at all is less likely again.",
    )
    stop: str | list[str] | None = Field(
        default=None, description="Text at which the answer stops, without it."
    )
    logit_bias: dict[int, int] | str | None = Field(
        default=None,
        description="Token ids and how much likelier they are, -100 to 100: '{\"1712\": -100}'.",
    )
    seed: int | None = Field(
        default=None, description="A number that makes sampling repeatable, as far as it goes."
    )
    json_object: bool | None = Field(
        default=None, description="Answer with a JSON object. The prompt must mention JSON."
    )
    image_detail: Literal["low", "high", "auto"] | None = Field(
        default=None, description="How closely images are looked at: low, high or auto."
    )
    service_tier: str | None = Field(
        default=None, description="The provider's processing tier, such as flex or priority."
    )
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        Field(
            default=None,
            description="How much a model that reasons is to reason: none, minimal, low, medium, high, xhigh or max.",
        )
    )
    provider: str | None = Field(
        default=None,
        description="Who may answer: providers in order, comma-separated; only these. any: the"
        " usual route.",
    )
    exact: bool | None = Field(
        default=None, description="Refuse substitutes: this very model or an error."
    )
    timeout: float | None = Field(default=None, gt=0, description="Seconds for the whole answer.")

    @field_validator("logit_bias")
    @classmethod
    def _logit_bias(cls, value: Any) -> dict[int, int] | None:
        if value is None:
            return None
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                raise ValueError("logit_bias is not JSON") from None
        try:
            bias = {int(token): int(amount) for token, amount in value.items()}
        except (AttributeError, TypeError, ValueError):
            raise ValueError("logit_bias maps token ids to numbers") from None
        if not all(-100 <= amount <= 100 for amount in bias.values()):
            raise ValueError("logit_bias is between -100 and 100")
        return bias

    def parameters(self) -> dict[str, Any]:
        """The options that go to the provider, as parameters of chat completions."""
        params = {name: value for name, value in self if value is not None and name in PARAMETERS}
        if self.json_object:
            params["response_format"] = {"type": "json_object"}
        return params
