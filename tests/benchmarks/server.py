"""A fast server on loopback that sends pre-rendered answers in OpenAI's form.

The prompt names the answer (`Script.prompt`), so that every client can request it. Any other prompt
gets `HELLO`. The server prints its port, and ends when its stdin is closed.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
import re
import selectors
import socket
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

__all__ = ["HELLO", "WHOLE", "Script", "word"]

# Without a space at either end: some clients strip it.
WHOLE = " ".join(["Four score and seven years ago our fathers brought forth a new nation."] * 6)
_SCRIPT = re.compile(rb"bench:(\w+)/(\d+)/(\d+)").search
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)").search

_KEPT_BYTES = 8192
"""Bytes of a request that are kept to find the script in; the rest is only counted."""

_COMMON = {
    "id": "chatcmpl-CfFvHKPz8jJw4fKCHyZ5JhGe4q0bT",
    "object": "chat.completion.chunk",
    "created": 1_763_870_000,
    "model": "gpt-4o-2024-11-20",
    "service_tier": "default",
    "system_fingerprint": "fp_b1442291a8",
}
_USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 9,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def word(index: int) -> str:
    """The text of a chunk. All differ, so that the hash detects lost and doubled ones."""
    return f"word{index:06d},"


@dataclass(frozen=True, slots=True)
class Script:
    """One answer. `mode` is `whole` (one JSON body), `burst` (all events in one write), `each` (one
    write per event) or `paced` (one event every `interval` microseconds)."""

    mode: str
    chunks: int = 1
    interval: int = 0

    @property
    def prompt(self) -> str:
        return f"bench:{self.mode}/{self.chunks}/{self.interval};"

    @property
    def answer(self) -> str:
        """The number of texts that a client must receive, and their hash: `COUNT:SHA256`."""
        texts = [WHOLE] if self.mode == "whole" else [word(i) for i in range(self.chunks)]
        return f"{len(texts)}:{hashlib.sha256(''.join(texts).encode()).hexdigest()}"


HELLO = Script("burst", 20)


def _head(media_type: str, framing: str) -> bytes:
    """The head of every response, with the fourteen headers that OpenAI sends."""
    return (
        "HTTP/1.1 200 OK\r\n"
        "date: Mon, 23 Nov 2026 10:00:00 GMT\r\n"
        f"content-type: {media_type}\r\n"
        f"{framing}\r\n"
        "connection: keep-alive\r\n"
        "openai-organization: bench-org\r\n"
        "openai-processing-ms: 187\r\n"
        "openai-version: 2020-10-01\r\n"
        "x-ratelimit-limit-requests: 5000\r\n"
        "x-ratelimit-remaining-requests: 4999\r\n"
        "x-ratelimit-reset-requests: 12ms\r\n"
        "x-request-id: req_e140fa1074dedf49709df27beef3001b\r\n"
        "strict-transport-security: max-age=31536000; includeSubDomains; preload\r\n"
        "x-content-type-options: nosniff\r\n"
        "server: cloudflare\r\n"
        "\r\n"
    ).encode()


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(delta: dict[str, Any] | None, finish: str | None = None) -> bytes:
    choices = []
    if delta is not None:
        choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    usage = _USAGE if delta is None else None
    data = {**_COMMON, "choices": choices, "usage": usage, "obfuscation": "bjGBsIELG"}
    return _framed(b"data: %b\n\n" % json.dumps(data, separators=(",", ":")).encode())


@lru_cache(maxsize=4)
def _events(chunks: int) -> list[bytes]:
    """One answer in pieces: the head with the role, one event for each chunk, the end."""
    head = _head("text/event-stream; charset=utf-8", "transfer-encoding: chunked")
    end = _event({}, "stop") + _event(None) + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    texts = (_event({"content": word(index)}) for index in range(chunks))
    role = _event({"role": "assistant", "content": "", "refusal": None})
    return [head + role, *texts, end]


@lru_cache(maxsize=4)
def _joined(chunks: int) -> bytes:
    return b"".join(_events(chunks))


@lru_cache(maxsize=1)
def _whole() -> bytes:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": WHOLE,
        "refusal": None,
        "annotations": [],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    data = {**_COMMON, "object": "chat.completion", "choices": [choice], "usage": _USAGE}
    body = json.dumps(data, separators=(",", ":")).encode()
    return _head("application/json", f"content-length: {len(body)}") + body


class _Connection:
    def __init__(self, server: _Server, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.received = b""
        self.body_left = -1  # while the head is incomplete
        self.out: deque[memoryview] = deque()
        self.writing = False
        self.open = True

    def readable(self) -> None:
        try:
            data = self.sock.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        if self.body_left < 0:
            self.received += data
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH(self.received, 0, end + 2)
            self.body_left = (int(length[1]) if length else 0) - (len(self.received) - end - 4)
        else:
            self.body_left -= len(data)
            if len(self.received) < _KEPT_BYTES:
                self.received += data[:_KEPT_BYTES]
        if self.body_left <= 0:
            self._answer()

    def _answer(self) -> None:
        match = _SCRIPT(self.received)
        script = HELLO
        if match:
            script = Script(match[1].decode(), int(match[2]), int(match[3]))
        self.received, self.body_left = b"", -1
        if script.mode == "whole":
            self.send([_whole()])
        elif script.mode == "each":
            self.send(_events(script.chunks))
        elif script.mode == "paced":
            self.server.pace(self, _events(script.chunks), script.interval / 1e6)
        else:
            self.send([_joined(script.chunks)])

    def send(self, pieces: list[bytes]) -> None:
        self.out.extend(map(memoryview, pieces))
        if not self.writing:
            self.writable()

    def writable(self) -> None:
        try:
            while self.out:
                sent = self.sock.send(self.out[0])
                if sent == len(self.out[0]):
                    self.out.popleft()
                else:
                    self.out[0] = self.out[0][sent:]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self.writing != bool(self.out):
            self.writing = bool(self.out)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.writing else 0)
            self.server.selector.modify(self.sock, events, self)

    def close(self) -> None:
        if self.open:
            self.open = False
            self.server.selector.unregister(self.sock)
            self.sock.close()


class _Server:
    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)
        # Due time, a number that makes entries comparable, connection, index of the next event,
        # events, interval in seconds.
        self.timers: list[tuple[float, int, _Connection, int, list[bytes], float]] = []
        self.count = 0

    def pace(self, connection: _Connection, events: list[bytes], interval: float) -> None:
        self.count += 1
        first = (time.monotonic(), self.count, connection, 0, events, interval)
        heapq.heappush(self.timers, first)

    def run(self) -> None:
        while True:
            for key, mask in self.selector.select(self._due()):
                connection = key.data
                if connection is None:
                    self._accept()
                    continue
                if mask & selectors.EVENT_WRITE:
                    connection.writable()
                if mask & selectors.EVENT_READ and connection.open:
                    connection.readable()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.selector.register(sock, selectors.EVENT_READ, _Connection(self, sock))

    def _due(self) -> float | None:
        """Send the events that are due; returns the seconds until the next one is."""
        while self.timers:
            due, number, connection, index, events, interval = self.timers[0]
            wait = due - time.monotonic()
            if wait > 0:
                return wait
            if connection.open:
                connection.send([events[index]])
            if connection.open and index + 1 < len(events):
                later = (due + interval, number, connection, index + 1, events, interval)
                heapq.heapreplace(self.timers, later)
            else:
                heapq.heappop(self.timers)
        return None


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    server = _Server()
    print(server.listener.getsockname()[1], flush=True)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    server.run()
