"""The place of a failure, for error messages, and the key that they must not show."""

from __future__ import annotations

from msgspec import Struct

from ..request import Secret


class ErrorContext(Struct, frozen=True):
    """Where a failure happened, for its message. `key_hint` is what to do about a refused key, and
    `no_key_hint`, where none was sent, about a missing one; `key` is what no message may show."""

    provider: str
    model: str
    origin: str
    key_hint: str = ""
    key: Secret | None = None
    base_url: str = ""
    no_key_hint: str = ""

    def without_key(self, text: str) -> str:
        """`text` as a server may have sent it, without the key that it echoes."""
        return text if self.key is None else self.key.removed_from(text)
