"""Server-sent events from bytes: the parsing rules of the WHATWG HTML standard, 9.2.6.

Of the four fields, `id` and `retry` are for reconnecting, which a completion cannot do;
they are read over. Two deviations of servers are read too: a field `error` (llama.cpp until
September 2025, GPUStack) is an event of that name, and a line that begins with a brace (Lemonade)
is an event by itself, as are the lines from one brace alone to the next. Decoding is linear in the
input, whatever way it is split.
"""

from __future__ import annotations

from msgspec import Struct

MAX_EVENT = 32 * 1024 * 1024
"""Bytes that one event may have; more is an error, not an answer."""

_BOM = b"\xef\xbb\xbf"

_MAX_LINES = 100
"""Lines of an object that stands between the events."""


class Event(Struct, frozen=True):
    """One event: its name ("message" where the stream gives none) and its data, still UTF-8."""

    name: str
    data: bytes


class EventTooLong(ValueError):
    """An event is longer than `MAX_EVENT`."""


class Decoder:
    """`feed` bytes as they come, get the events that they complete; `end` gives what was left open."""

    __slots__ = ("_bare", "_data", "_limit", "_name", "_size", "_skip_newline", "_started", "_tail")

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._tail: list[bytes] = []
        self._size = 0
        self._data: list[bytes] = []
        self._bare: list[bytes] = []
        self._name = b""
        self._started = False
        self._skip_newline = False

    def feed(self, data: bytes) -> list[Event]:
        """The events that end in `data`. Raises `EventTooLong`."""
        if not self._started:
            data = b"".join(self._tail) + data
            self._tail.clear()
            if len(data) < 3 and _BOM.startswith(data):
                self._tail.append(data)
                return []
            self._started = True
            if data.startswith(_BOM):
                data = data[3:]
        if self._skip_newline and data:
            # The last line ended in CR; an LF right behind it is the same line end.
            self._skip_newline = False
            if data.startswith(b"\n"):
                data = data[1:]
        if not data:
            return []
        # For bytes, splitlines knows CR, LF and CRLF alone, as the standard does.
        lines = data.splitlines()
        if data[-1] not in b"\r\n":
            rest = lines.pop()
        else:
            rest = b""
            self._skip_newline = data[-1] == 13
        self._size += len(data)
        if lines and self._tail:
            self._tail.append(lines[0])
            lines[0] = b"".join(self._tail)
            self._tail.clear()
        events = self._lines(lines) if lines else []
        if rest:
            self._tail.append(rest)
        if events:
            self._size = len(rest) + sum(map(len, self._data)) if rest or self._data else 0
        elif self._size > self._limit:
            raise EventTooLong(f"an event of more than {self._limit} bytes")
        return events

    def end(self) -> list[Event]:
        """What stood open at the end of input.

        The standard drops it; a server that forgets the last blank line has still answered,
        so the caller may judge it by its content.
        """
        rest = b"".join(self._tail)
        self._tail.clear()
        return self._lines([rest, b""])

    def _lines(self, lines: list[bytes]) -> list[Event]:
        events = []
        data, name = self._data, self._name
        for line in lines:
            # Slices, since this runs for every line: a call costs three times as much.
            if line[:6] == b"data: ":
                data += (line[6:],)
            elif not line:
                if data:
                    event = data[0] if len(data) == 1 else b"\n".join(data)
                    if self._size > self._limit and len(event) > self._limit:
                        raise EventTooLong(f"an event of more than {self._limit} bytes")
                    kind = name.decode("utf-8", "replace") if name else "message"
                    events.append(Event(kind, event))
                    data = self._data = []
                name = b""
            elif line[:5] == b"data:":
                data.append(line[5:])
            elif line[:6] == b"event:":
                name = line[6:].removeprefix(b" ")
            elif line[:6] == b"error:":
                name = b"error"
                data.append(line[6:].removeprefix(b" "))
            elif line == b"{":
                self._bare = [line]
            elif line[:1] == b"{":
                events.append(Event("json", line))
            elif line == b"data":
                data.append(b"")
            elif line == b"event":
                name = b""
            elif self._bare:
                events += self._bare_event(line)
        self._name = name
        return events

    def _bare_event(self, line: bytes) -> list[Event]:
        """The event that the next line of an object completes, if it does."""
        self._bare.append(line)
        if line != b"}" and len(self._bare) < _MAX_LINES:
            return []
        event, self._bare = Event("json", b"\n".join(self._bare)), []
        return [event]
