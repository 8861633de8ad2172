"""Rows out of files, whatever bytes they have."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_g4f.batch import readers
from llm_g4f.batch.readers import FORMATS, Format, Row, detect, read, read_in_thread
from tests.support.server import split

SIZES = (1, 3, 7, 1 << 16)

OBJECTS = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=6,
    ),
    max_size=4,
)
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=8)


def rows(data: bytes, format: Format, size: int = 1 << 16) -> list[Row]:
    return list(read(split(data, size), format))


def told(data: bytes, format: Format, size: int = 1 << 16) -> list[tuple[int, int, Any]]:
    """(number, line, the object or what is wrong) of each row."""
    return [(row.number, row.line, row.data or row.error) for row in rows(data, format, size)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("format", "data"),
    [
        ("nl", b'{"prompt": "a"}\n\n{"prompt": "b\\n"}\r\n{"prompt": "\xc3\xa9"}'),
        ("json", b' [{"prompt": "a"},\n\n {"prompt": "b\\n"}\n,{"prompt": "\xc3\xa9"}]\n'),
        ("csv", b'prompt\na\n"b\n"\n\xc3\xa9\n'),
        ("tsv", b'prompt\tx\na\t\n"b\n"\n\xc3\xa9\t\n'),
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_all_formats_give_the_same_rows(
    format: Format, data: bytes, mark: bytes, size: int
) -> None:
    found = rows(mark + data, format, size)
    assert [(row.data or {}).get("prompt") for row in found] == ["a", "b\n", "é"]
    assert [row.error for row in found] == [None] * 3


def test_lines_of_text_are_prompts() -> None:
    assert told(b"a\r\n\n b \nc", "lines") == [
        (1, 1, {"prompt": "a"}),
        (3, 3, {"prompt": " b "}),
        (4, 4, {"prompt": "c"}),
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("format", "data", "wrong"),
    [
        ("nl", b'{"a": 1}\nno\n{"a": 2}', {2: "not JSON"}),
        ("nl", b'{"a": 1}\n[1]\n"x"\n{"a": 2}', {2: "not an object", 3: "not an object"}),
        ("nl", b'{"a": 1}\n{"b": "\xff"}\n{"a": 2}', {2: "not UTF-8"}),
        ("nl", b'{"a": 1}\n' + b"[" * 100_000 + b'\n{"a": 2}', {2: "nested too deeply"}),
        ("json", b'[{"a": 1},\n{"b": },\n{"a": 2}]', {2: "not JSON"}),
        ("json", b'[{"a": 1},\n7,\n,{"a": 2}]', {2: "not an object", 3: "not JSON"}),
        ("json", b'[{"a": 1},\n{"a": 2}\n', {2: "ends inside the array"}),
        ("json", b'[{"a": 1},{"a": 2}]\nx', {2: "unexpected data after the array"}),
        ("json", b'[{"a": 1},{"a": 2}]\n[{"a": 3}]', {2: "unexpected data after the array"}),
        ("json", b'\n{"a": 1}', {2: "not a JSON array"}),
        ("json", b"]", {1: "not a JSON array"}),
        ("json", b"x", {1: "not a JSON array"}),
        ("csv", b"a,b\n1,\n2,3,4\n2,\n", {3: "3 cells"}),
        ("csv", b'a\n1\n"x"y\n2\n', {3: "not CSV"}),
        ("csv", b'a\n1\n"x\n2\n', {3: "never closed"}),
        ("tsv", b'a\n1\n"x"y\n2\n', {3: r"not CSV ('\t' expected"}),
        ("csv", b"a\n1\n\xff\n2\n", {3: "not UTF-8"}),
        ("lines", b"a\n\xff\nb", {2: "not UTF-8"}),
    ],
)  # fmt: skip
def test_an_invalid_row_has_its_line(
    format: Format, data: bytes, wrong: dict[int, str], size: int
) -> None:
    found = {row.line: row.error for row in rows(data, format, size) if row.error}
    assert found.keys() == wrong.keys()
    for line, words in wrong.items():
        assert words in (found[line] or "")


@pytest.mark.parametrize("format", [one for one in FORMATS if one != "tsv"])
def test_a_too_long_row_does_not_affect_the_others(
    format: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MAX_ROW_SIZE", 1_000)
    long = "x" * 2_000
    good = {"prompt": "good"}
    data = {
        "nl": "\n".join(json.dumps(one) for one in (good, {"prompt": long}, good)),
        "json": json.dumps([good, {"prompt": long}, good]),
        "csv": f"prompt\ngood\n{long}\ngood",
        "lines": f"good\n{long}\ngood",
    }[format].encode()
    for size in (100, 1 << 16):
        found = rows(data, format, size)
        assert [row.data for row in found] == [good, None, good]
        assert "longer than" in (found[1].error or "")


@pytest.mark.parametrize("format", FORMATS)
def test_a_long_prompt_is_read(format: Format) -> None:
    prompt = "x" * 500_000
    text = json.dumps({"prompt": prompt}) if format in ("nl", "json") else prompt
    data = {"json": f"[{text}]", "csv": f"prompt\n{text}", "tsv": f"prompt\n{text}"}.get(
        format, text
    )
    assert [row.data for row in rows(data.encode(), format)] == [{"prompt": prompt}]


@given(st.lists(OBJECTS), st.sampled_from(SIZES), st.sampled_from([None, 1]))
def test_output_of_json_is_read(objects: list[Any], size: int, indent: int | None) -> None:
    array = json.dumps(objects, indent=indent).encode()
    lines = "\n".join(json.dumps(one, ensure_ascii=False) for one in objects)
    assert [row.data for row in rows(array, "json", size)] == objects
    assert [row.data for row in rows(lines.encode(), "nl", size)] == objects


@given(st.lists(st.tuples(CELLS, CELLS).filter(any)), st.sampled_from(SIZES))
def test_output_of_csv_is_read(table: list[tuple[str, str]], size: int) -> None:
    written = io.StringIO()
    csv.writer(written).writerows([("a", "b"), *table])
    found = [row.data for row in rows(written.getvalue().encode(), "csv", size)]
    assert found == [{"a": a or None, "b": b or None} for a, b in table]


NOISE = st.lists(
    st.sampled_from([b"{", b"}", b"[", b"]", b'"', b",", b"\\", b"\n", b"\t", b"\0", b"\xff", b"a"])
).map(b"".join)


@given(st.binary() | NOISE, st.sampled_from(FORMATS), st.sampled_from(SIZES))
def test_any_bytes_give_rows_or_errors(data: bytes, format: Format, size: int) -> None:
    found = rows(data, format, size)
    for row in found:
        assert (row.data is None) != (row.error is None)
        assert row.line >= 1
        assert 0 <= row.end <= len(data) + 1
    assert [(row.data, row.error) for row in found] == [
        (row.data, row.error) for row in rows(data, format)
    ]
    assert detect("", data) in FORMATS


@pytest.mark.parametrize(
    ("name", "head", "format"),
    [
        ("a.jsonl", b"prompt", "nl"),
        ("a.NDJSON", b"", "nl"),
        ("a.csv", b"{", "csv"),
        ("a.tsv", b"", "tsv"),
        ("a.txt", b"[1]", "lines"),
        ("a.json", b'\xef\xbb\xbf\n [{"a"', "json"),
        ("a.json", b'{"prompt": "a"}\n', "nl"),
        ("", b'{"prompt": "a"}\n', "nl"),
        ("", b"[\n  {", "json"),
        ("", b"[note] what is this?", "lines"),
        ("", b'id,"prompt"\n1,x', "csv"),
        ("", b"id\tprompt\n1\tx", "tsv"),
        ("", b"prompt\nx", "csv"),
        ("", b"Hello, world\n", "lines"),
        ("", b"", "lines"),
    ],
)
def test_detect(name: str, head: bytes, format: str) -> None:
    assert detect(name, head) == format


@pytest.mark.parametrize("format", FORMATS)
def test_memory_does_not_grow_with_the_file(format: Format) -> None:
    row = {
        "nl": b'{"prompt": "' + b"x" * 200 + b'"}\n',
        "json": b'{"prompt": "' + b"x" * 200 + b'"},\n',
    }.get(format, b"x" * 200 + b"\n")

    def blocks() -> Iterator[bytes]:
        yield b"[" if format == "json" else b"prompt\n"
        for _ in range(100):
            yield row * 100
        yield b"{}]" if format == "json" else b""

    tracemalloc.start()
    try:
        count = sum(1 for _ in read(blocks(), format))
        assert count >= 10_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_pipe_is_read_no_further_than_needed() -> None:
    asked = 0

    def endless() -> Iterator[Row]:
        nonlocal asked
        while True:
            asked += 1
            yield Row(asked, asked, asked, {})

    async def few() -> list[int]:
        found = []
        ahead = read_in_thread(endless())
        async for row in ahead:
            found.append(row.number)
            if len(found) == 10:
                # The thread has all the time it wants.
                await asyncio.sleep(0.1)
                break
        await ahead.aclose()
        return found

    assert asyncio.run(few()) == list(range(1, 11))
    assert 10 <= asked <= 10 + readers._READ_AHEAD + 1


def test_an_error_of_the_reader_thread_is_raised_to_the_consumer() -> None:
    def broken() -> Iterator[Row]:
        yield Row(1, 1, 1, {})
        raise OSError("gone")

    async def every() -> list[Row]:
        return [row async for row in read_in_thread(broken())]

    with pytest.raises(OSError, match="gone"):
        asyncio.run(every())
