"""The addresses of host names.

A resolver that hangs may take half a minute, and Python waits for the threads of an executor when
an event loop or the interpreter ends. The threads here are left behind.
"""

from __future__ import annotations

import asyncio
import errno
import math
import socket
from collections.abc import Callable
from contextlib import aclosing
from itertools import chain, zip_longest
from typing import Any

from ..event_loops import loop_local
from ..worker_thread import WorkerThread

SHARED_FOR = 5.0
"""Seconds for which a lookup is joined by others of the same name: behind that, a new one may have
more luck."""

Address = tuple[int, Any]
"""A family, and an address of it."""

_Found = list[tuple[Any, ...]]
"""What `socket.getaddrinfo` returns."""


async def addresses_of(host: str, port: int) -> list[Address]:
    """The addresses of `host`, families in turns as RFC 8305, section 4 has it. Raises `OSError`."""
    try:
        found = _getaddrinfo(host, port, socket.AI_NUMERICHOST)
    except socket.gaierror:
        try:
            found = await _shared_lookup(host, port)
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


def _getaddrinfo(host: str, port: int, flags: int = 0) -> _Found:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)


async def _shared_lookup(host: str, port: int) -> _Found:
    """One lookup for all connections that are made at the same time."""
    loop = asyncio.get_running_loop()
    lookups: dict[Any, tuple[float, asyncio.Task[_Found] | None]]
    lookups = loop_local("_llm_g4f_lookups", dict)
    place = host, port
    began, lookup = lookups.get(place, (-math.inf, None))
    if lookup is None or loop.time() - began > SHARED_FOR:
        lookup = loop.create_task(_lookup(host, port))
        lookups[place] = loop.time(), lookup
        lookup.add_done_callback(lambda _: lookups.pop(place, None))
    return await asyncio.shield(lookup)


async def _lookup(host: str, port: int) -> _Found:
    def work(put: Callable[[_Found], bool]) -> None:
        put(_getaddrinfo(host, port))

    async with aclosing(WorkerThread(work, daemon=True).items()) as found:
        return await anext(found)


def _check_file_limit() -> None:
    """Raise the `OSError` of this process having too many open files, if it has."""
    try:
        socket.socket().close()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
