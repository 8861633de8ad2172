"""One request, before a provider is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

if TYPE_CHECKING:
    from .types import JSON


class Secret:
    """A key that no repr, log or traceback shows. `reveal()` is for the Authorization header alone."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> Any:
        raise TypeError("a Secret cannot be pickled")


class ChatRequest(Struct, frozen=True, kw_only=True):
    """One question, before anybody is chosen to answer it.

    `messages` and `params` are in OpenAI's form and belong to the request alone.
    `providers` empty means the usual route. `timeout` is in seconds, for everything.
    """

    model: str
    messages: list[JSON]
    params: JSON = field(default_factory=dict)
    stream: bool = False
    providers: tuple[str, ...] = ()
    exact: bool = False
    timeout: float | None = None
    key: Secret | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
