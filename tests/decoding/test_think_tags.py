"""Reasoning written into the text, however it is cut into pieces."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_g4f.accumulator import Accumulator
from llm_g4f.client import Client
from llm_g4f.decoding.chunks import ChunkReader
from llm_g4f.decoding.think_tags import ThinkTags
from tests.support.server import Script, Server, chunk, completion, events, http


def parted(pieces: Sequence[str]) -> tuple[str, str]:
    """(reasoning, content) of a text that comes in these pieces."""
    thinking = ThinkTags()
    found = [("", piece) if thinking.plain else thinking.feed(piece) for piece in pieces]
    found.append(thinking.end())
    return "".join(reasoning for reasoning, _ in found), "".join(content for _, content in found)


def expected(text: str) -> tuple[str, str]:
    """The result expected of `parted`, read off the whole text."""
    found = re.fullmatch(r"\s*<think>(.*?)(?:</think>\s*(.*))?", text, re.DOTALL)
    return (found[1], found[2] or "") if found else ("", text)


TEXTS = [
    ("<think>hm</think>Hello", "hm", "Hello"),
    ("<think>hm</think>\n\nHello", "hm", "Hello"),
    ("\n <think>\nhm\n</think>\n Hello \n", "\nhm\n", "Hello \n"),
    ("<think></think>Hello", "", "Hello"),
    ("<think>\n\n</think>\n\nHello", "\n\n", "Hello"),
    ("<think>hm", "hm", ""),
    ("<think>hm</thin", "hm</thin", ""),
    ("<think>hm</think>", "hm", ""),
    ("<think>hm</think>\n", "hm", ""),
    ("<think>a < b </ c </thing></think>d", "a < b </ c </thing>", "d"),
    ("<think>a<think>b</think>c</think>d", "a<think>b", "c</think>d"),
    ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
    ("Hello <think>hm</think>", "", "Hello <think>hm</think>"),
    ("Hello</think>", "", "Hello</think>"),
    ("<thing>", "", "<thing>"),
    ("<THINK>hm</THINK>", "", "<THINK>hm</THINK>"),
    ("<thi", "", "<thi"),
    (" \n", "", " \n"),
    (" Hello", "", " Hello"),
    ("", "", ""),
]


@pytest.mark.parametrize(("text", "reasoning", "content"), TEXTS)
def test_reasoning_is_between_tags_at_the_start(text: str, reasoning: str, content: str) -> None:
    assert expected(text) == (reasoning, content)
    assert parted([text]) == (reasoning, content)
    assert parted(list(text)) == (reasoning, content)


tokens = st.sampled_from(["<think>", "</think>", "<", "</", "think", ">", "\n", " ", "a", "é"])


@given(st.lists(tokens, max_size=10).map("".join), st.lists(st.integers(0, 40), max_size=8))
@example("<think>a</think>b", [1, 8, 9, 16])
def test_any_split_gives_the_same_result(text: str, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    assert "".join(pieces) == text
    assert parted(pieces) == expected(text)


def test_pieces_are_passed_on_as_soon_as_possible() -> None:
    thinking = ThinkTags()
    pieces = ["<thi", "nk>a", "b<", "c</th", "ink>", "\nd"]
    assert [thinking.feed(piece) for piece in pieces] == [
        ("", ""),
        ("a", ""),
        ("b", ""),
        ("<c", ""),
        ("", ""),
        ("", "d"),
    ]
    assert thinking.plain


INLINE = "\n<think>a <b</think>\n\nHello</think>"
REASONING, CONTENT = "a <b", "Hello</think>"


def read(*values: Any) -> tuple[str | None, str | None]:
    """(reasoning, content) of an answer in these chunks."""
    reader, whole = ChunkReader("a", "asked"), Accumulator()
    for value in values:
        whole.add(reader.read(value))
    message = whole.completion().choices[0].message
    return message.reasoning, message.content


@pytest.mark.parametrize("size", range(1, len(INLINE) + 1))
def test_chunks_of_any_size(size: int) -> None:
    pieces = [chunk(INLINE[start : start + size]) for start in range(0, len(INLINE), size)]
    assert read(*pieces, chunk(finish="stop")) == (REASONING, CONTENT)
    last = pieces.pop()
    last["choices"][0]["finish_reason"] = "stop"
    assert read(*pieces, last) == (REASONING, CONTENT)


def test_held_text_comes_with_the_end() -> None:
    assert read(chunk("<thi"), chunk(finish="stop")) == (None, "<thi")
    assert read(chunk("<think>hm</thi"), chunk(finish="length")) == ("hm</thi", "")


def test_a_whole_completion() -> None:
    assert read(completion(INLINE)) == (REASONING, CONTENT)
    assert read(completion("<thi")) == (None, "<thi")


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_tags_beside_a_reasoning_field_stay_in_the_text(field: str) -> None:
    text = "<think>b</think>c"
    thought: dict[str, Any] = {field: "a"}
    assert read(completion(text, **thought)) == ("a", text)
    streamed = [chunk(**thought), *(chunk(char) for char in text), chunk(finish="stop")]
    assert read(*streamed) == ("a", text)


def test_held_text_before_a_reasoning_field_is_kept() -> None:
    assert read(chunk("<thi"), chunk(reasoning="a"), chunk("n"), chunk(finish="stop")) == (
        "a",
        "<thin",
    )


def test_each_choice_has_its_own_reasoning() -> None:
    def piece(index: int, content: str, finish: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "delta": {"content": content}, "finish_reason": finish}
        return {"choices": [choice]}

    reader, whole = ChunkReader("a", "asked", 2), Accumulator()
    for value in (
        *(piece(0, "<think>a"), piece(1, "b<think>"), piece(0, "</think>c", "stop")),
        piece(1, "d", "stop"),
    ):
        whole.add(reader.read(value))
    first, second = (choice.message for choice in whole.completion().choices)
    assert (first.reasoning, first.content) == ("a", "c")
    assert (second.reasoning, second.content) == (None, "b<think>d")


@pytest.mark.parametrize(
    "script",
    [
        http(200, completion(INLINE)),
        events(*map(chunk, INLINE), chunk(finish="stop"), "[DONE]"),
        events(*map(chunk, INLINE[:-8]), chunk("</think>", finish="stop"), "[DONE]"),
    ],
    ids=["whole", "a character a chunk", "the end with the last"],
)
def test_the_client_gives_reasoning_and_content(script: Script) -> None:
    with Server(script) as server:
        answer = Client(base_url=server.url).chat.completions.create("hi")
    message = answer.choices[0].message
    assert (message.reasoning, message.content) == (REASONING, CONTENT)
