"""The head of an HTTP response, for callers who look at it: status and headers."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Headers(dict[str, str]):
    """Headers of a response; their names are matched without regard to case."""

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        super().__init__({name.lower(): value for name, value in (headers or {}).items()})

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        return super().get(name.lower(), default)


class ResponseHead(Struct):
    """What an error's `response` is: no object of httpx."""

    status_code: int
    headers: Headers
