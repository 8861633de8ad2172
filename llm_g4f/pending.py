"""Coroutines that can do more than be awaited."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Pending(Coroutine[Any, Any, T_co], Generic[T_co]):
    """Work that begins when it is awaited.

    A coroutine, so that `asyncio.run`, `create_task`, `gather`, `wait_for` and `TaskGroup` take it.
    Subclasses say in `_begun` what the work is, which goes into `_coroutine`.
    """

    _coroutine: Coroutine[Any, Any, Any] | None = None

    def _begun(self) -> Coroutine[Any, Any, Any]:
        raise NotImplementedError

    def __await__(self) -> Generator[Any, None, T_co]:
        return self._begun().__await__()

    def send(self, value: Any) -> Any:
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:
        return self._begun().throw(*error)

    def close(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()
