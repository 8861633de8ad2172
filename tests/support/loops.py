"""Event loops of more than one kind, for the code of this process that makes one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec

Factory = Callable[[], asyncio.AbstractEventLoop]

new_asyncio_loop: Factory = asyncio.new_event_loop
"""asyncio's own, also while a test has replaced it."""


def _new_eager_loop() -> asyncio.AbstractEventLoop:
    loop = new_asyncio_loop()
    if sys.version_info >= (3, 12):
        loop.set_task_factory(asyncio.eager_task_factory)
    return loop


def _new_uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


LOOPS: Mapping[str, Factory] = {
    "asyncio": new_asyncio_loop,
    **({"eager": _new_eager_loop} if sys.version_info >= (3, 12) else {}),
    **({"uvloop": _new_uvloop} if find_spec("uvloop") else {}),
}
"""The loops that there are here; `eager` begins a task at once."""
