"""TCP connections, and those to Unix sockets, the same way on every event loop.

asyncio's own loops try the next address of a host beside a silent one; uvloop's cannot, and both
hide the errors of several addresses.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from .names import addresses_of

ADDRESS_DELAY = 0.25
"""Seconds before the next address of a host is tried beside the first: RFC 8305, section 8."""


async def open_socket(host: str, port: int) -> socket.socket:
    """A non-blocking socket that is connected to `host`. Raises `OSError`: that of the first address
    that failed."""
    addresses = await addresses_of(host, port)
    loop = asyncio.get_running_loop()
    pending: set[asyncio.Task[socket.socket]] = set()
    failure: BaseException | None = None
    try:
        while addresses or pending:
            if addresses:
                pending.add(loop.create_task(_connected(*addresses.pop(0))))
            done, pending = await asyncio.wait(
                pending,
                timeout=ADDRESS_DELAY if addresses else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                if task.exception() is None:
                    pending |= done - {task}
                    return task.result()
                failure = failure or task.exception()
    finally:
        for task in pending:
            task.add_done_callback(_close_unused)
            task.cancel()
    raise failure or OSError(f"{host} has no address")


async def open_unix(path: str) -> socket.socket:
    """A non-blocking socket that is connected to the Unix socket at `path`. Raises `OSError`."""
    return await _connected(socket.AF_UNIX, path)


async def _connected(family: int, address: Any) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made


def _close_unused(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
