"""`python -m tests.fuzz [CORPUS…]`: a coverage-guided search for bytes that the parsers of an answer
do not survive. By hand, in an environment with atheris; libFuzzer's options are passed on, such as
-max_total_time=60. What it finds becomes a case of tests/decoding/test_sse.py or tests/decoding/test_chunks.py.
"""

from __future__ import annotations

import json
import sys

import atheris

with atheris.instrument_imports(include=["llm_g4f"]):
    from llm_g4f.accumulator import Accumulator
    from llm_g4f.decoding.chunks import ChunkReader
    from llm_g4f.decoding.sse import Decoder, Event, EventTooLong
    from llm_g4f.decoding.text import parse_json
    from llm_g4f.errors import APIError


def decoded(data: bytes, cut: int, limit: int) -> list[Event] | None:
    """The events in `data`, fed in pieces of `cut` bytes; None if one is too long."""
    decoder = Decoder(limit)
    found: list[Event] = []
    try:
        for start in range(0, len(data), cut):
            found += decoder.feed(data[start : start + cut])
        return found + decoder.end()
    except EventTooLong:
        return None


def try_out(data: bytes) -> None:
    """The decoder gives the same events however the bytes are cut; whatever is in them is a chunk
    or an error of ours, and what comes of it can be written down."""
    if not data:
        return
    cut, data = data[0] % 16 + 1, data[1:]
    whole = decoded(data, max(len(data), 1), 1 << 20)
    assert whole == decoded(data, cut, 1 << 20)
    reader, answer = ChunkReader("a", "asked", 2), Accumulator()
    for event in whole or ():
        try:
            chunk = reader.decode(event.data) or reader.read(parse_json(event.data))
        except (ValueError, APIError):
            continue
        answer.add(chunk)
        json.dumps(chunk.to_dict(), ensure_ascii=False).encode()
        answer.completion().model_dump_json().encode()


if __name__ == "__main__":
    atheris.Setup(sys.argv, try_out)
    atheris.Fuzz()
