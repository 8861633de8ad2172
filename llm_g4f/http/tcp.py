"""TCP connections, and those to Unix sockets, the same way on every event loop.

asyncio's own loops try the next address of a host beside a silent one; uvloop's cannot, and both
hide the errors of several addresses.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from itertools import chain, zip_longest
from typing import Any

ADDRESS_DELAY = 0.25
"""Seconds before the next address of a host is tried beside the first: RFC 8305, section 8."""

Address = tuple[int, Any]
"""A family, and an address of it."""


async def open_socket(host: str, port: int) -> socket.socket:
    """A non-blocking socket that is connected to `host`. Raises `OSError`: that of the first address
    that failed."""
    addresses = await _addresses(host, port)
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


async def _addresses(host: str, port: int) -> list[Address]:
    """The addresses of `host`, families in turns as RFC 8305, section 4 has it."""
    kind = socket.SOCK_STREAM
    try:
        found = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        try:
            found = await asyncio.to_thread(socket.getaddrinfo, host, port, type=kind)
        except socket.gaierror:
            # Resolving needs files too, and does not say which error it had.
            _check_file_limit()
            raise
    families = dict.fromkeys(family for family, *_ in found)
    by_family = [
        [(family, address) for other, _, _, _, address in found if other == family]
        for family in families
    ]
    return [one for one in chain(*zip_longest(*by_family)) if one is not None]


def _check_file_limit() -> None:
    """Raise the `OSError` of this process having too many open files, if it has."""
    try:
        socket.socket().close()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise


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
