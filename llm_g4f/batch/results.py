"""What becomes of a row: an answer, or an error in its place."""

from __future__ import annotations

from msgspec import Struct

from ..errors import APIError, APIStatusError, G4FError
from ..receipt import Receipt
from ..request import ChatRequest
from ..types import JSON, ChatCompletion, ChatCompletionMessage, Usage

Id = str | int
"""A row's name: its own, else its number."""


class Result(Struct, frozen=True, kw_only=True):
    """The answer to a row (`completion`), or what went wrong instead (`error`).

    `request` is what was asked; None for a row that asks nothing. `price_usd` is what the
    answer cost in US dollars, where that is known.
    """

    id: Id
    request: ChatRequest | None = None
    completion: ChatCompletion | None = None
    error: G4FError | None = None
    price_usd: float | None = None

    @property
    def message(self) -> ChatCompletionMessage | None:
        """The first choice's message."""
        choices = self.completion.choices if self.completion else []
        return choices[0].message if choices else None

    @property
    def text(self) -> str:
        """What the model said, be it a refusal; "" where it said nothing or there is no answer."""
        message = self.message
        return (message.content or message.refusal or "") if message else ""

    @property
    def model(self) -> str | None:
        """The model that answered."""
        return self.completion.model if self.completion else None

    @property
    def provider(self) -> str | None:
        """Who answered."""
        return self.completion.provider if self.completion else None

    @property
    def usage(self) -> Usage | None:
        """Tokens as the provider counted them."""
        return self.completion.usage if self.completion else None

    @property
    def receipt(self) -> Receipt | None:
        """How it came to that; None where nobody was asked."""
        if self.completion is not None:
            return self.completion.receipt
        return self.error.receipt if self.error else None

    def to_dict(self) -> JSON:
        """A line of the file of results.

        {"id", "text", "model", "provider", "usage", "receipt"}, and where they are
        reasoning, tool_calls, refusal, finish_reason, price_usd; or {"id", "error", "receipt"}.
        """
        receipt = self.receipt
        shown = receipt.to_dict() if receipt else None
        if self.error is not None:
            return {"id": self.id, "error": _said(self.error), "receipt": shown}
        message, usage = self.message, self.usage
        data: JSON = {
            "id": self.id,
            "text": self.text,
            "model": self.model,
            "provider": self.provider,
            "usage": usage.to_dict() if usage else None,
        }
        if message is not None:
            said = message.to_dict()
            for name in ("reasoning", "tool_calls", "refusal"):
                if said.get(name):
                    data[name] = said[name]
        if self.completion and self.completion.choices:
            data["finish_reason"] = self.completion.choices[0].finish_reason
        if self.price_usd is not None:
            data["price_usd"] = self.price_usd
        data["receipt"] = shown
        return data


def _said(error: G4FError) -> JSON:
    data: JSON = {"type": type(error).__name__, "message": error.message}
    if error.provider:
        data["provider"] = error.provider
    if isinstance(error, APIStatusError):
        details = {"status": error.status_code, "code": error.code, "request_id": error.request_id}
        data |= {name: value for name, value in details.items() if value is not None}
    if isinstance(error, APIError) and error.partial:
        data["partial"] = error.partial
    if error.hint:
        data["hint"] = error.hint
    return data
