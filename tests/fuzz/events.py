"""Bytes of an event stream through the decoder and the chunk parser.

The decoder gives the same events however the bytes are cut; whatever is in them is a chunk or an
error of ours, and what comes of it can be written down.
"""

from __future__ import annotations

from llm_g4f.accumulator import Accumulator
from llm_g4f.decoding.chunks import ChunkReader
from llm_g4f.decoding.sse import Decoder, Event
from llm_g4f.decoding.text import parse_json
from llm_g4f.errors import APIError
from tests.fuzz.checks import as_json, assert_ours
from tests.support.server import USAGE, call, chunk, event

RUNS = 5_000

SEEDS = [
    b"\x03" + b"".join(map(event, events))
    for events in (
        [chunk("", role="assistant"), chunk("Hel"), chunk("lo"), chunk(finish="stop"), "[DONE]"],
        [chunk(tool_calls=[call("f", '{"a": 1}', "call_1")]), chunk(finish="tool_calls")],
        [chunk(reasoning="so"), chunk("<think>x</think>y"), chunk(usage=USAGE)],
        [{"error": {"message": "slow down", "code": 429}}],
    )
] + [
    b"\x00: comment\r\n\r\nevent: ping\rdata\rdata: {}\n\n",
    b"\x05\xef\xbb\xbfdata: {\n}\n\nid: 1\n",
]

WORDS = ["data: ", "event: error\n", "\n\n", "\r\n", "[DONE]", '"delta":', '"message":']


def decoded(data: bytes, size: int) -> list[Event]:
    """The events in `data`, fed in pieces of `size` bytes."""
    decoder = Decoder()
    found: list[Event] = []
    for start in range(0, len(data), size):
        found += decoder.feed(data[start : start + size])
    return found + decoder.end()


def run(data: bytes) -> None:
    if not data:
        return
    size, data = data[0] % 16 + 1, data[1:]
    whole = decoded(data, max(len(data), 1))
    assert whole == decoded(data, size)
    reader, answer = ChunkReader("a", "asked", 2), Accumulator()
    for item in whole:
        try:
            read = reader.decode(item.data) or reader.read(parse_json(item.data))
        except APIError as error:
            assert_ours(error)
        except ValueError:
            continue
        else:
            answer.add(read)
            as_json(read.to_dict())
            answer.completion().model_dump_json().encode()
