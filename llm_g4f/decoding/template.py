"""Events of a stream that differ in their text alone.

In most streams nearly every event has the same bytes around its piece of text. Once one of them has
been understood, the others are: only their texts are left to decode, all that have come at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import DecodeError
from msgspec.json import Decoder

_TEXT = re.compile(rb'"content": ?"((?:[^"\\]|\\.)*)"').search

_LARGEST = 4 * 1024
"""Bytes of an event that has a template: larger ones are few."""

_KEY = 16
"""Bytes by which the end of one event and the beginning of the next are found."""

_PROBE = "the text"

_texts = Decoder(list[str]).decode


class Template:
    """What stands around the text: `head` before it, `tail` behind it."""

    __slots__ = ("_begin", "_end", "_gap", "_key")

    def __init__(self, head: bytes, tail: bytes) -> None:
        self._begin = b"data: " + head
        self._end = tail + b"\n\n"
        # To look for all that stands between two texts takes four times as long as for its last bytes.
        self._gap, self._key = self._end + self._begin[:-_KEY], self._begin[-_KEY:]

    @classmethod
    def of(cls, data: bytes, text_of: Callable[[bytes], str | None]) -> Template | None:
        """The template of an event's `data`, whose text `text_of` gives; None if it is not found."""
        found = _TEXT(data) if len(data) <= _LARGEST else None
        if found is not None:
            head, tail = data[: found.start(1)], data[found.end(1) :]
            # A name may occur twice in an object, and only one of its values is the text.
            if text_of(head + _PROBE.encode() + tail) == _PROBE:
                return cls(head, tail)
        return None

    def texts(self, data: bytes) -> tuple[list[str], bytes]:
        """The texts of the events of this form with which `data` begins, and the bytes behind them.

        No text where others stand between them: whoever understands those has to read all of it.
        """
        start, stop = len(self._begin), data.rfind(self._end)
        if stop < start or not data.startswith(self._begin):
            return [], data
        gap = self._gap
        size = len(gap)
        *pieces, last = data[start:stop].split(self._key)
        found = [piece[:-size] for piece in pieces if piece.endswith(gap)]
        found.append(last)
        try:
            texts = _texts(b'["%b"]' % b'","'.join(found))
        except (DecodeError, UnicodeDecodeError):
            return [], data
        if not len(texts) == len(found) == len(pieces) + 1:
            return [], data
        return texts, data[stop + len(self._end) :]
