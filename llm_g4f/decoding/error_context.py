"""What an error message says of the place, and the key that it must not show."""

from __future__ import annotations

import json
from urllib.parse import quote

from msgspec import Struct

from ..request import Secret


class ErrorContext(Struct, frozen=True):
    """Where a failure happened, for its message. `key_hint` is what to do about a refused key; `key`
    is what no message may show."""

    provider: str
    model: str
    origin: str
    key_hint: str = ""
    key: Secret | None = None

    def without_key(self, text: str) -> str:
        """`text` as a server may have sent it, without the key that it echoes."""
        if self.key is None:
            return text
        key = self.key.reveal()
        # As it is, and as JSON, Python and URLs write it.
        for form in {key, json.dumps(key)[1:-1], repr(key)[1:-1], quote(key, safe=""), quote(key)}:
            text = text.replace(form, "…")
        return text
