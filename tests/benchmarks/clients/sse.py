"""The minimum that a client on an HTTP library does: split lines and parse their JSON."""

from __future__ import annotations

import json

from . import Texts

__all__ = ["Events"]


class Events:
    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    if text := choice["delta"].get("content"):
                        self._texts.add(text)
