"""The decoder against the rules of the HTML standard, 9.2.6, written out one by one."""

from __future__ import annotations

import sys
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_g4f.decoding.sse import MAX_EVENT, Decoder, Event, EventTooLong

BOM = b"\xef\xbb\xbf"

Seen = tuple[str, str]


class Reference:
    """The standard's algorithm as it stands there, a character at a time over all of the input."""

    def __init__(self, data: bytes) -> None:
        self.data = self.type = ""
        self.bare: list[str] = []
        self.events: list[Seen] = []
        text = data.decode("utf-8", "replace").removeprefix("\ufeff")
        line, at = "", 0
        while at < len(text):
            if text[at] in "\r\n":
                self.line(line)
                line = ""
                if text[at : at + 2] == "\r\n":
                    at += 1
            else:
                line += text[at]
            at += 1
        complete = list(self.events)
        # What the standard throws away: the last line, and the event that no blank line ended.
        if line:
            self.line(line)
        self.line("")
        self.open = self.events[len(complete) :]
        self.events = complete

    def line(self, line: str) -> None:
        field, colon, value = line.partition(":")
        if not line:
            self.dispatch()
        elif line == "{":
            self.bare = [line]
        elif line.startswith("{"):
            # Not the standard: servers write an error as a line of JSON, or as several lines.
            self.events.append(("json", line))
        elif field in ("data", "event") or (field == "error" and colon):
            self.field(field, value.removeprefix(" "))
        elif self.bare:
            self.bare.append(line)
            if line == "}":
                self.events.append(("json", "\n".join(self.bare)))
                self.bare = []

    def field(self, field: str, value: str) -> None:
        if field == "event":
            self.type = value
        elif field == "data":
            self.data += value + "\n"
        elif field == "error":
            # Not the standard either: an error as a field of its own.
            self.type = "error"
            self.data += value + "\n"

    def dispatch(self) -> None:
        if self.data:
            self.events.append((self.type or "message", self.data.removesuffix("\n")))
        self.data = self.type = ""


def seen(event: Event) -> Seen:
    return event.name, event.data.decode("utf-8", "replace")


def decode(*pieces: bytes) -> tuple[list[Seen], list[Seen]]:
    """The events, and the one that `end` gives."""
    decoder = Decoder()
    events = [seen(event) for piece in pieces for event in decoder.feed(piece)]
    return events, [seen(event) for event in decoder.end()]


ATOMS = [
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r"),
    *(b"data", b"data:", b"data: ", b"data:  ", b"data : ", b"Data: ", b"dat", b"datax: "),
    *(
        b"event",
        b"event:",
        b"event: ping",
        b"event: error",
        b"error: {}",
        b"error",
        b"id: 1",
        b"id",
        b"retry: 5",
    ),
    *(
        b":",
        b": comment",
        b" ",
        b"x",
        b"{}",
        b"{ ",
        b"{\n",
        b"\n}\n",
        b"[DONE]",
        b"data: [DONE]\n\n",
        b"\x00",
    ),
    *(BOM, b"\xef", b"\xbb", b"\xbf", b"\xff", b"\xc3", b"\xf0\x9f", b"\xed\xa0\x80"),
    *("é".encode(), "😀".encode(), b"\x85", b"\x0b", b"\x0c", b"\x1c", b"\x1e"),
    *("\u2028".encode(), "\u2029".encode(), "\u0085".encode()),
]
inputs = st.lists(st.sampled_from(ATOMS) | st.binary(max_size=3), max_size=30).map(b"".join)


@given(inputs, st.lists(st.integers(0, 200), max_size=8))
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [9])
@example(BOM + b"data: a\n\n", [1, 2])
@example(BOM + BOM + b"data: a\n\n", [2, 4])
@example(b"data\n\ndata\ndata\n\ndata:", [])
@example(b"data: a\r", [8])
@example(b"\xef\xbb", [1])
@example(b"{", [])
@example(b'{\n: x\n"a": 1\n\n{\ndata: b\n"c": 2\n}\n\n', [5])
def test_any_bytes_in_any_split_give_the_events_of_the_standard(
    data: bytes, cuts: list[int]
) -> None:
    expected = Reference(data)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(places)]
    assert decode(*pieces) == (expected.events, expected.open)


@given(inputs)
def test_single_bytes_give_the_same_events(data: bytes) -> None:
    assert decode(*(bytes([byte]) for byte in data)) == decode(data)


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: a\n\n", [("message", "a")]),
        (b"data:a\r\r", [("message", "a")]),
        (b"data: a\r\n\r\n", [("message", "a")]),
        (b"data: a\r\n\ndata: b\n\r\n", [("message", "a"), ("message", "b")]),
        (b"data:  a\n\n", [("message", " a")]),
        (b"data: a\ndata:\ndata: b\n\n", [("message", "a\n\nb")]),
        (b"data\n\n", [("message", "")]),
        (b": hi\n\n:\n\nid: 1\nretry: 2\n\n", []),
        (b"event: ping\n\ndata: a\n\n", [("message", "a")]),
        (b"event: ping\ndata: a\n\ndata: b\n\n", [("ping", "a"), ("message", "b")]),
        (BOM + b"data: a\n\n", [("message", "a")]),
        (BOM + BOM + b"data: a\n\ndata: b\n\n", [("message", "b")]),
        (b"\ndata: a\n\n" + BOM + b"data: b\n\n", [("message", "a")]),
        (b"data: a\x00b\n\n", [("message", "a\0b")]),
        (b"data: \xff\n\n", [("message", "\ufffd")]),
        ("event: é\ndata: é😀\n\n".encode(), [("é", "é😀")]),
    ],
)
def test_examples(data: bytes, events: list[Seen]) -> None:
    assert decode(data)[0] == events
    assert Reference(data).events == events


@pytest.mark.parametrize("char", ["\u2028", "\u2029", "\u0085", "\v", "\f", "\x1c", "\x1d", "\x1e"])
def test_only_cr_and_lf_end_a_line(char: str) -> None:
    assert decode(f"data: a{char}data: b\n\n".encode()) == ([("message", f"a{char}data: b")], [])


@pytest.mark.parametrize(
    ("data", "last"),
    [
        (b"", None),
        (b"data: a", Event("message", b"a")),
        (b"data: a\n", Event("message", b"a")),
        (b"data: a\r", Event("message", b"a")),
        (b"event: error\ndata: a", Event("error", b"a")),
        (b"data: a\n\n", None),
        (b"data: a\n\n: bye", None),
        (b"event: ping", None),
        (BOM[:2], None),
    ],
)
def test_end_gives_the_event_without_a_blank_line(data: bytes, last: Event | None) -> None:
    decoder = Decoder()
    decoder.feed(data)
    assert decoder.end() == ([] if last is None else [last])
    assert decoder.end() == []


def test_the_cap_is_32_mib() -> None:
    assert MAX_EVENT == 32 * 1024 * 1024
    decoder = Decoder()
    decoder.feed(b"data: ")
    piece = b"x" * (MAX_EVENT // 4)
    with pytest.raises(EventTooLong):
        all(decoder.feed(piece) == [] for _ in range(5))


@pytest.mark.parametrize("size", [1, 7, 64, 1000], ids=lambda size: f"by {size}")
@pytest.mark.parametrize(
    "data",
    [b"data: " + b"x" * 200, b"data: " + b"x" * 200 + b"\n\n", b"data: 1234\n" * 20 + b"\n"],
    ids=["a line without end", "one line", "many lines"],
)
def test_an_event_beyond_the_cap_is_refused_however_it_is_split(data: bytes, size: int) -> None:
    decoder = Decoder(limit=60)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    with pytest.raises(EventTooLong, match="60 bytes"):
        list(map(decoder.feed, pieces))


@pytest.mark.parametrize("size", [1, 7, 64, 100_000], ids=lambda size: f"by {size}")
def test_the_cap_is_for_each_event(size: int) -> None:
    data = b"data: 0123456789\r\ndata: 0123456789\r\n\r\n" * 100
    decoder = Decoder(limit=60)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert sum(len(decoder.feed(piece)) for piece in pieces) == 100


READS_ALL = {"splitlines", "split", "find", "rfind", "index", "replace", "partition", "strip"}


def bytes_read(data: bytes, size: int) -> int:
    """Count the bytes that the decoder goes over, by the methods of bytes that it calls."""
    decoder = Decoder()
    work = 0

    def count(frame: FrameType, what: str, called: Any) -> None:
        nonlocal work
        owner = getattr(called, "__self__", None)
        if what != "c_call" or not isinstance(owner, (bytes, bytearray)):
            return
        if called.__name__ in READS_ALL:
            work += len(owner)
        elif called.__name__ == "join":
            # What is joined cannot be seen here, only what is kept to be joined.
            kept = decoder._data if frame.f_code.co_name == "_lines" else decoder._tail
            work += sum(map(len, kept))

    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        for piece in pieces:
            decoder.feed(piece)
        decoder.end()
    finally:
        sys.setprofile(before)
    return work


@pytest.mark.parametrize(
    "unit",
    [b"x", b"data: x\n", b"data: x\n\n", b": x\r\n", b"\r"],
    ids=["one line", "one event", "events", "comments", "blank lines"],
)
def test_time_is_linear_in_the_input(unit: bytes) -> None:
    short, long = (
        bytes_read(b"data: " + unit * (size // len(unit)), 10) for size in (10_000, 40_000)
    )
    assert 5_000 <= short <= 50_000
    assert long <= 4.5 * short
