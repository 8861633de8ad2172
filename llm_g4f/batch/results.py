"""The result of a row: its answer, or the error in its place."""

from __future__ import annotations

from msgspec import Struct

from ..errors import APIError, APIStatusError, G4FError
from ..receipt import Receipt
from ..request import ChatRequest
from ..types import JSON, ChatCompletion, ChatCompletionMessage, Usage

Id = str | int
"""The id of a row: its own, else its number, from 1."""


class Result(Struct, frozen=True, kw_only=True):
    """The result of one row: either `completion` or `error` is set.

    `request` is the chat request, None for an invalid row. `price_usd` is the price of the answer
    in US dollars, None if it is unknown.
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
        """The answer's text, or the model's refusal; "" if there is neither."""
        message = self.message
        return (message.content or message.refusal or "") if message else ""

    @property
    def model(self) -> str | None:
        """The model that answered, as the receipt has it."""
        if self.completion is None:
            return None
        receipt = self.completion.receipt
        return (receipt and receipt.model) or self.completion.model

    @property
    def provider(self) -> str | None:
        """The provider that answered."""
        return self.completion.provider if self.completion else None

    @property
    def usage(self) -> Usage | None:
        """The tokens, as counted by the provider."""
        return self.completion.usage if self.completion else None

    @property
    def receipt(self) -> Receipt | None:
        """The receipt of the answer or of the error; None if no provider was asked."""
        if self.completion is not None:
            return self.completion.receipt
        return self.error.receipt if self.error else None

    def to_dict(self) -> JSON:
        """A line of the results file.

        {"id", "text", "model", "provider", "usage", "receipt"}, with reasoning, tool_calls, refusal,
        finish_reason and price_usd where present; or {"id", "error", "receipt"}.
        """
        receipt = self.receipt.to_dict() if self.receipt else None
        if self.error is not None:
            return {"id": self.id, "error": _error_to_dict(self.error), "receipt": receipt}
        message, usage = self.message, self.usage
        data: JSON = {
            "id": self.id,
            "text": self.text,
            "model": self.model,
            "provider": self.provider,
            "usage": usage.to_dict() if usage else None,
        }
        if message is not None:
            fields = message.to_dict()
            for name in ("reasoning", "tool_calls", "refusal"):
                if fields.get(name):
                    data[name] = fields[name]
        if self.completion and self.completion.choices:
            data["finish_reason"] = self.completion.choices[0].finish_reason
        if self.price_usd is not None:
            data["price_usd"] = self.price_usd
        data["receipt"] = receipt
        return data


def _error_to_dict(error: G4FError) -> JSON:
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
