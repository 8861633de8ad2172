"""An HTTP proxy on loopback."""

from __future__ import annotations

import socket
import threading


class Proxy:
    """A real HTTP proxy on loopback: absolute requests and CONNECT; `seen` are its request lines.
    `port`: where on loopback it goes, whatever address it is asked for."""

    def __init__(self, refuse: bool = False, port: int | None = None) -> None:
        self.refuse = refuse
        self.port = port
        self.seen: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65536)
            line = head.split(b"\r\n", 1)[0].decode()
            self.seen.append(line)
            if self.refuse:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
            method, target, _ = line.split(" ")
            address = target if method == "CONNECT" else target.split("/")[2]
            host, port = ("127.0.0.1", self.port) if self.port else address.rsplit(":", 1)
            with socket.create_connection((host, int(port))) as upstream:
                if method == "CONNECT":
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    upstream.sendall(head)
                back = threading.Thread(target=pipe, args=(upstream, client), daemon=True)
                back.start()
                pipe(client, upstream)
                back.join()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def pipe(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
