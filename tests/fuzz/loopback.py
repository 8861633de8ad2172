"""A provider in the same event loop: hundreds of connections a second, without a port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from unittest.mock import patch

from llm_g4f.http import pool
from tests.support.server import split

CONFIG = """
notice: false
providers:
  box: {base_url: "http://127.0.0.1:9/v1", models: {gpt-4o: gpt-4o}}
  embedded: {enabled: false}
"""
"""g4f.yaml with a provider `box`, which `Server` is, and without the local model."""


class Server:
    """The other end of every connection that is opened within: it answers each request with `data`, in
    pieces of `size` bytes. `silent`: it says nothing more then, else it ends the connection."""

    def __init__(self, data: bytes, size: int = 1 << 16, *, silent: bool = False) -> None:
        self.requests = 0
        self._data = data
        self._size = size
        self._silent = silent
        self._tasks: list[asyncio.Task[None]] = []
        self._patch = patch.object(pool, "open_socket", self._open_socket)

    async def __aenter__(self) -> Server:
        self._patch.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Raises AssertionError for a task that was left."""
        self._patch.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    async def _open_socket(self, _host: str, _port: int) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self._tasks.append(asyncio.create_task(self._serve(theirs)))
        return ours

    async def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with connection, contextlib.suppress(OSError):
            while await loop.sock_recv(connection, 1 << 16):
                self.requests += 1
                for piece in split(self._data, self._size):
                    await loop.sock_sendall(connection, piece)
                    await asyncio.sleep(0)
                if not self._silent:
                    connection.shutdown(socket.SHUT_WR)
