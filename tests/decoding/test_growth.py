"""What a server sends costs linear time, whatever its form.

Two measures of the same input eight times as long: the calls that are made, which no noise moves, and
the time of the thread's own CPU, which shows copies too.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from llm_g4f.decoding.chunks import ChunkReader
from llm_g4f.decoding.error_bodies import detail_of
from llm_g4f.decoding.sse import Decoder
from llm_g4f.errors import APIError

TIMES = 8


def delta(finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]}


def message(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": fields}]}


def piece(index: int = 0, id: str | None = None, **function: Any) -> dict[str, Any]:
    return delta(tool_calls=[{"index": index, "id": id, "function": function}])


def whole_calls(n: int) -> dict[str, Any]:
    calls = [{"id": f"c{i}", "function": {"name": "f", "arguments": "{}"}} for i in range(n)]
    return message(tool_calls=calls)


CHUNKS: dict[str, Callable[[int], Iterable[dict[str, Any]]]] = {
    "text": lambda n: (delta(content="word ") for _ in range(n)),
    "long texts": lambda n: (delta(content="x" * 5_000) for _ in range(n)),
    "blanks": lambda n: (delta(content=" ") for _ in range(n)),
    "an open tag": lambda n: (delta(content="<thin" if i == 0 else "<") for i in range(n)),
    "halves of surrogate pairs": lambda n: (delta(content="\ud83d") for _ in range(n)),
    "reasoning": lambda n: (delta(reasoning="so ") for _ in range(n)),
    "messages between deltas": lambda n: (
        message(content="y") if i % 2 else delta(content="x" * 5_000) for i in range(n)
    ),
    "messages that repeat the answer": lambda n: (
        message(content="x" * i) for i in range(round(n**0.5))
    ),
    "messages beside empty deltas": lambda n: (
        {"choices": [{"delta": {}, "message": {"content": "y"}}]}
        if i % 2
        else delta(content="x" * 5_000)
        for i in range(n)
    ),
    "calls": lambda n: (piece(i, f"c{i}", name="f", arguments="{}") for i in range(n)),
    "calls in one message": lambda n: [whole_calls(n)],
    "calls under one id": lambda n: (piece(0, "c", name=f"f{i}", arguments="{}") for i in range(n)),
    "calls without ids": lambda n: (piece(0, None, name=f"f{i}", arguments="{}") for i in range(n)),
    "calls whose ids look made up": lambda n: (
        piece(i, f"call_{i % 50}", name="f", arguments="{}") for i in range(n)
    ),
    "one call again and again": lambda n: (
        piece(0, "c", name="f", arguments="{}") for _ in range(n)
    ),
    "arguments in pieces": lambda n: (
        piece(0, "c", name=None if i else "f", arguments='{"a": "b"') for i in range(n)
    ),
    "arguments in pieces with the name": lambda n: (
        piece(0, f"c{i}", name="f", arguments='"b"' if i else '{"a": ') for i in range(n)
    ),
    "a name in pieces": lambda n: (
        piece(0, "c", name=str(i % 10) * 5_000, arguments="") for i in range(n)
    ),
    "annotations": lambda n: (delta(annotations=[{"a": i}]) for i in range(n)),
    "unknown finish words": lambda n: (delta(f"word{i}", content="x") for i in range(n)),
    "finishes": lambda n: (delta("stop", content="x") for _ in range(n)),
    "errors in one object": lambda n: [{"error": [{"message": "no"}] * n, "choices": []}],
}


def read_chunks(form: str, n: int) -> Callable[[], None]:
    chunks = list(CHUNKS[form](n))

    def run() -> None:
        reader = ChunkReader("a", "gpt-4o", without_key=str)
        with contextlib.suppress(APIError):
            for chunk in chunks:
                reader.read(chunk)
            reader.rest()
            reader.has_open_calls()

    return run


EVENTS: dict[str, Callable[[int], Iterable[bytes]]] = {
    "events": lambda n: (b"data: x\n\n" for _ in range(n)),
    "lines of one event": lambda n: (b"data: x\n" for _ in range(n)),
    "single bytes": lambda n: (b"x" for _ in range(n)),
    "line ends": lambda n: (b"\r" for _ in range(n)),
    "fields without a colon": lambda n: (b"data\n" for _ in range(n)),
    "many events in one read": lambda n: [b"data: x\n\n" * n],
}


def read_events(form: str, n: int) -> Callable[[], None]:
    reads = list(EVENTS[form](n))

    def run() -> None:
        decoder = Decoder()
        for data in reads:
            for _ in decoder.feed(data):
                pass
        for _ in decoder.end():
            pass

    return run


ERRORS: dict[str, Callable[[int], Any]] = {
    "a list": lambda n: {"errors": [{"message": "no", "code": i} for i in range(n)]},
    "many fields": lambda n: {"error": {f"f{i}": "no" for i in range(n)}},
    "a long text": lambda n: {"error": {"message": "no " * n}},
    "backslashes": lambda n: {"error": {"metadata": {"raw": json.dumps("\\" * n)}}},
}


def read_error(form: str, n: int) -> Callable[[], None]:
    body = ERRORS[form](n)

    def run() -> None:
        for _ in range(20):
            detail_of(body)

    return run


def steps(run: Callable[[], None]) -> int:
    """The calls that are made, built-ins included."""
    count = 0

    def note(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def cpu_time(run: Callable[[], None]) -> float:
    best = 1e9
    for _ in range(2):
        began = time.thread_time()
        run()
        best = min(best, time.thread_time() - began)
    return best


FORMS = [
    *((read_chunks, form, 300) for form in CHUNKS),
    *((read_events, form, 2_000) for form in EVENTS),
    *((read_error, form, 200) for form in ERRORS),
]


@pytest.mark.parametrize(("make", "form", "n"), FORMS, ids=[form for _, form, _ in FORMS])
def test_the_cost_grows_with_the_size_and_no_faster(
    make: Callable[[str, int], Callable[[], None]], form: str, n: int
) -> None:
    small, large = make(form, n), make(form, n * TIMES)
    assert steps(large) <= steps(small) * TIMES * 1.1 + 100
    # Three times the linear time for caches and noise; a quadratic cost has eight times as much.
    assert cpu_time(large) <= cpu_time(small) * TIMES * 3 + 0.01
