"""Strategies of hypothesis for what servers may send."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from tests.support.server import chunk


def tool_chunk(*calls: Any) -> dict[str, Any]:
    return chunk(tool_calls=list(calls))


names = st.text("abc_", min_size=1, max_size=6)
json_texts = st.dictionaries(st.text(max_size=3), st.text(max_size=8) | st.integers(), max_size=3)


@st.composite
def fragmented(draw: st.DrawFn) -> tuple[list[tuple[str, str, str]], list[dict[str, Any]]]:
    """Some calls, and chunks in which they arrive, in one of the ways that servers have."""
    way = draw(st.sampled_from(["index", "id", "id and index", "neither", "one index"]))
    count = draw(st.integers(1, 4))
    arguments = [json.dumps(draw(json_texts)) for _ in range(count)]
    calls = [(f"id_{place}", draw(names), text) for place, text in enumerate(arguments)]
    rows: list[list[dict[str, Any]]] = []
    for place, (id, name, text) in enumerate(calls):
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=5)))
        parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        row = []
        for number, part in enumerate(parts):
            one: dict[str, Any] = {"function": {"arguments": part}}
            if number == 0:
                one["function"]["name"] = name
            if way in ("id", "id and index") or (way != "neither" and number == 0):
                one["id"] = id
            if way in ("index", "id and index"):
                one["index"] = place
            elif way == "one index":
                one["index"] = 0
            row.append(one)
        rows.append(row)
    order: list[dict[str, Any]] = []
    while left := [row for row in rows if row]:
        # Pieces without a sign of their call cannot be mixed.
        row = left[0] if way in ("neither", "one index") else draw(st.sampled_from(left))
        order.append(row.pop(0))
    chunks: list[dict[str, Any]] = []
    while order:
        size = draw(st.integers(1, 3))
        chunks.append(tool_chunk(*order[:size]))
        order = order[size:]
    if way == "neither":
        # The same call again, with nothing that tells them apart, is one call repeated.
        assume(all(call[1:] != other[1:] for call, other in pairwise(calls)))
        calls = [(f"call_{place}", name, text) for place, (_, name, text) in enumerate(calls)]
    return calls, chunks


keys = st.sampled_from(
    [
        "id",
        "created",
        "model",
        "choices",
        "usage",
        "index",
        "delta",
        "message",
        "content",
        "role",
        "reasoning",
        "reasoning_content",
        "refusal",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "finish_reason",
        "logprobs",
        "text",
        "type",
        "thinking",
        "error",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "system_fingerprint",
        "service_tier",
        "prompt_tokens_details",
    ]
)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=4)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6)
)


def mostly(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return strategy | strategy | strategy | values


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {}, optional={name: mostly(value) for name, value in fields.items()}
    )


texts = st.text(st.characters(), max_size=4)
functions = objects(name=texts, arguments=texts)
tool_calls = st.lists(
    mostly(objects(id=texts, index=st.integers(-1, 3), function=functions)), max_size=4
)
deltas = objects(role=texts, content=texts, reasoning=texts, refusal=texts, tool_calls=tool_calls)
choices = objects(
    index=st.integers(-1, 3), delta=deltas, message=deltas, finish_reason=texts, logprobs=values
)
chunks_like = mostly(
    objects(
        id=texts, model=texts, choices=st.lists(mostly(choices), max_size=3), usage=values,
        system_fingerprint=texts, service_tier=texts,
    )
)  # fmt: skip
