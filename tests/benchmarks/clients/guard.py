"""Block connections to other machines, for example to check for updates."""

from __future__ import annotations

import os
import socket
from typing import Any

__all__ = ["only_loopback", "raise_file_limit"]


def only_loopback() -> None:
    """Make connections and name lookups fail for every host but loopback."""
    connect = socket.socket.connect
    resolve = socket.getaddrinfo

    def local(host: Any) -> bool:
        name = host.decode() if isinstance(host, bytes) else host
        return name is None or name in ("", "localhost", "::1") or str(name).startswith("127.")

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and not local(address[0]):
            raise OSError(f"connection to {address} blocked in benchmarks")
        connect(self, address)

    def resolved(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not local(host):
            raise socket.gaierror(socket.EAI_NONAME, f"lookup of {host} blocked in benchmarks")
        return resolve(host, *args, **kwargs)

    socket.socket.connect = guarded  # type: ignore[method-assign,assignment]
    socket.getaddrinfo = resolved


def raise_file_limit() -> None:
    """Allow as many sockets as the system permits, for a thousand streams at once."""
    if os.name != "nt":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
