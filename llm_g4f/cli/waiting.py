"""Wait for servers in a command, and not for ever."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

SECONDS = 60.0
"""Seconds for all that a command asks servers, the resolution of their names included: more than its
single questions may take together. A download has its own limits (`local.processes`), and so has
each row of a batch."""


def wait_for(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of `work()`. Raises `APITimeoutError` after `SECONDS`."""
    from ..errors import APITimeoutError
    from ..event_loops import within
    from ..sync import loop_thread

    try:
        return loop_thread().run(lambda: within(SECONDS, work()))
    except TimeoutError:
        raise APITimeoutError(
            f"No answer within {SECONDS:g} s, so the command ends here. Run it again, or name one"
            ' provider: "llm g4f check NAME".'
        ) from None
