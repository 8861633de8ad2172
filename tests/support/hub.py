"""A Hugging Face hub on loopback, and the CDN that it sends downloads to (another origin).

    with Hub(CONTENT) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.origin)

It answers as the real one does for a large file: a redirect with the commit, the SHA-256 as linked
ETag, and the size; the CDN takes ranges. Every request is in `requests`.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from llm_g4f.local.table import ModelRow

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "owner/small-GGUF"
FILE = "small-Q4_K_M.gguf"
CONTENT = b"GGUF" + bytes(range(256)) * 1_600


def row_of(content: bytes = CONTENT, **changes: Any) -> ModelRow:
    """A row of the table for a file with this content."""
    facts: dict[str, Any] = {
        "name": "small-1b",
        "repository": REPOSITORY,
        "revision": COMMIT,
        "file": FILE,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "memory": 1_000_000,
        "context": 4_096,
        "sampling": {},
        "tools": "no",
        "thinks": "no",
    }
    return ModelRow(**(facts | changes))


@dataclass
class Seen:
    """A request as it arrived. `place` is "hub" or "cdn"."""

    place: str
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Hub:
    """`content` is the file at `revisions`. `sends`: what the CDN sends in its place. `cut_at`: the
    bytes of the file behind which the CDN is silent, until `go_on` is set; with `trickles`, a byte
    comes every now and then. `refuses`: status and X-Error-Code of the hub's answers."""

    content: bytes = CONTENT
    sends: bytes | None = None
    cut_at: int | None = None
    trickles: bool = False
    refuses: tuple[int, str] | None = None
    revisions: tuple[str, ...] = (COMMIT, "main")
    requests: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.is_cut = threading.Event()
        self.go_on = threading.Event()
        self._servers = [self._server("hub", self._answer), self._server("cdn", self._send)]
        self._threads = [
            threading.Thread(target=each.serve_forever, args=(0.02,)) for each in self._servers
        ]
        # huggingface_hub compares hosts, not ports.
        self.origin, self.cdn = (
            f"http://{host}:{server.server_address[1]}"
            for host, server in zip(("127.0.0.1", "localhost"), self._servers, strict=True)
        )

    def __enter__(self) -> Hub:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()

    def asked(self, place: str, method: str = "GET") -> list[Seen]:
        """The requests of this kind, but for the probe of one byte."""
        return [
            seen
            for seen in self.requests
            if (seen.place, seen.method) == (place, method)
            and seen.headers.get("range") != "bytes=0-0"
        ]

    def _server(self, place: str, answer: Any) -> ThreadingHTTPServer:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                hub.requests.append(Seen(place, self.command, self.path, headers))
                try:
                    answer(self, headers)
                except OSError:
                    self.close_connection = True

            do_HEAD = do_GET  # noqa: N815 (http.server's name)

            def log_message(self, *_: object) -> None:
                pass

        return ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def _answer(self, handler: BaseHTTPRequestHandler, headers: dict[str, str]) -> None:
        """The hub: /OWNER/NAME/resolve/REVISION/FILE."""
        parts = handler.path.strip("/").split("/")
        status, code = self.refuses or (302, "")
        if not self.refuses and parts[3] not in self.revisions:
            status, code = 404, "RevisionNotFound"
        elif not self.refuses and "/".join(parts[4:]) != FILE:
            status, code = 404, "EntryNotFound"
        handler.send_response(status)
        if code:
            handler.send_header("X-Error-Code", code)
        if status == 302:
            digest = hashlib.sha256(self.content).hexdigest()
            handler.send_header("Location", f"{self.cdn}/blob")
            handler.send_header("X-Repo-Commit", COMMIT)
            handler.send_header("X-Linked-Etag", f'"{digest}"')
            handler.send_header("X-Linked-Size", str(len(self.content)))
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def _send(self, handler: BaseHTTPRequestHandler, headers: dict[str, str]) -> None:
        body = self.content if self.sends is None else self.sends
        start = int(headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        if handler.command == "HEAD":
            return
        if self.cut_at is None or start >= self.cut_at:
            handler.wfile.write(body[start:])
            return
        handler.wfile.write(body[start : self.cut_at])
        handler.wfile.flush()
        self.is_cut.set()
        for byte in body[self.cut_at :]:
            if self.go_on.wait(0.1 if self.trickles else 30):
                break
            if self.trickles:
                handler.wfile.write(bytes([byte]))
        handler.close_connection = True
