"""The whole fault matrix: each row alone and with a healthy provider behind it, streamed and whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.conftest import without_httptools
from tests.fault_matrix.__main__ import read_messages
from tests.fault_matrix.faults import (
    ALONE,
    TRANSPORTS,
    WITHIN,
    Row,
    expected,
    outcomes,
    short_waits,
    typical,
)
from tests.fault_matrix.request_errors import REFUSALS, Refusal, refused
from tests.fault_matrix.rows import ROWS

WORDS = read_messages()

CASES = [
    pytest.param(row, transport, id=f"{row.name}, {transport}")
    for row in ROWS
    for transport in TRANSPORTS
    if row.stock or transport != "stock"
]


@pytest.mark.parametrize(("row", "transport"), CASES)
def test_a_fault_is_met_as_the_matrix_says(
    row: Row, transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_waits(monkeypatch)
    if transport == "stock":
        without_httptools(monkeypatch)
    found = asyncio.run(outcomes(row, tmp_path))
    for way, seen in found.items():
        wanted = expected(row, way)
        assert {name: getattr(seen, name) for name in wanted} == wanted, str(way)
        assert seen.seconds < WITHIN, str(way)
    if row.error and transport == TRANSPORTS[0]:
        assert (row.error.__name__, typical(found[ALONE].message)) == WORDS[row.name]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_what_nobody_is_asked_for_is_refused_in_words(
    refusal: Refusal, tmp_path: Path, user_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_waits(monkeypatch)
    error = refused(refusal, user_path)
    assert type(error) is refusal.error
    assert (type(error).__name__, typical(str(error))) == WORDS[refusal.name]


def test_every_message_is_one_of_these() -> None:
    names = [row.name for row in ROWS] + [refusal.name for refusal in REFUSALS]
    assert len(names) == len(set(names))
    assert WORDS.keys() <= set(names)
    assert "sk-canary" not in str(WORDS)
    assert "sk canary" not in str(WORDS)
