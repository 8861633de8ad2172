"""An event loop with simulated time, which jumps ahead when there is nothing to do now."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing is left that could happen"
            self.now += max(timeout, 0.0)
        return ready


class MadeUpLoop(asyncio.SelectorEventLoop):
    """A loop at the time 0.0. It knows neither threads nor other processes: it would not wait for them."""

    def __init__(self) -> None:
        self._made_up = _Selector()
        super().__init__(self._made_up)

    def time(self) -> float:
        return self._made_up.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, in made-up time."""
    with asyncio.Runner(loop_factory=MadeUpLoop) as runner:
        return runner.run(main)
