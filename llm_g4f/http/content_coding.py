"""Bodies that come compressed although none of it was asked for."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

from .types import NotEncoded, Response, UnknownCoding

STEP = 256 * 1024
"""Bytes that are unpacked before other tasks get their turns: a packed body can hold a thousand times
its own size."""

_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""RFC 9110, section 8.4.1, with the window bits by which zlib knows their headers."""


class DecodedResponse:
    """A response with its body decompressed, in steps, as its Content-Encoding says.

    One coding only, gzip or deflate: of several, each may multiply what the others unpacked to.
    Iterating raises `UnknownCoding` for any other.
    """

    complete = False

    def __init__(self, response: Response) -> None:
        self._response = response
        self.status = response.status
        self.headers = response.headers
        self.is_encoded = False
        self.request_id = response.request_id
        self._coding = response.headers["content-encoding"].strip().lower()
        self._inflate: Any = None
        self._packed = b""
        self._pending = False

    def __aiter__(self) -> DecodedResponse:
        return self

    async def __anext__(self) -> bytes:
        if self._coding == "identity":
            return await self._response.__anext__()
        if self._inflate is None and self._coding not in _WINDOWS:
            raise UnknownCoding(self._coding)
        while True:
            if not self._pending:
                self._packed += await self._response.__anext__()
            else:
                await asyncio.sleep(0)
            if data := self._unpack():
                return data

    def _unpack(self) -> bytes:
        """The next `STEP` bytes at most."""
        inflate = self._inflate
        if inflate is None:
            if len(self._packed) < 2:
                return b""
            inflate = self._inflate = self._new_inflate()
        if inflate.eof:
            # Some servers pad the body, and the padding is no answer.
            self._packed, self._pending = b"", False
            return b""
        try:
            data: bytes = inflate.decompress(self._packed, STEP)
        except zlib.error as error:
            raise NotEncoded(str(error)) from error
        self._packed = inflate.unconsumed_tail
        # What did not fit may still be inside zlib.
        self._pending = bool(self._packed) or len(data) == STEP
        return data

    def _new_inflate(self) -> Any:
        window = _WINDOWS[self._coding]
        # Some servers leave out zlib's header, whose first two bytes are a multiple of 31.
        first = int.from_bytes(self._packed[:2], "big")
        if self._coding == "deflate" and (first % 31 or first >> 8 & 15 != 8):
            window = -window
        return zlib.decompressobj(window)

    async def aclose(self) -> None:
        await self._response.aclose()

    def abandon(self) -> None:
        self._response.abandon()
