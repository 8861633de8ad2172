"""`with_raw_response`: an answer with the head of its HTTP response."""

from __future__ import annotations

from typing import Generic, TypeVar

from .http_head import Headers

T_co = TypeVar("T_co", covariant=True)


class RawResponse(Generic[T_co]):
    """The `headers` of the response, and in `parse()` what `create` would have returned."""

    def __init__(self, value: T_co, headers: Headers) -> None:
        self._value = value
        self.headers = headers
        self.status_code = 200

    @property
    def request_id(self) -> str | None:
        """The provider's name for the request; None where it gave none."""
        return self.headers.get("x-request-id")

    def parse(self) -> T_co:
        """The completion, or the stream."""
        return self._value
