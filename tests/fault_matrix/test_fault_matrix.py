"""The whole fault matrix: each fault alone and with a healthy provider behind it, streamed and whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fault_matrix.faults import (
    ALONE,
    TRANSPORTS,
    WITHIN,
    Fault,
    expected,
    outcomes,
    short_waits,
    typical,
)
from tests.fault_matrix.messages import read_messages
from tests.fault_matrix.request_errors import REQUEST_ERRORS, RequestError, error_of
from tests.fault_matrix.rows import FAULTS
from tests.support.environment import without_httptools

MESSAGES = read_messages()

CASES = [
    pytest.param(fault, transport, id=f"{fault.name}, {transport}")
    for fault in FAULTS
    for transport in TRANSPORTS
    if fault.httpx or transport != "httpx"
]


@pytest.mark.parametrize(("fault", "transport"), CASES)
def test_each_fault_has_its_outcome(
    fault: Fault, transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_waits(monkeypatch)
    if transport == "httpx":
        without_httptools(monkeypatch)
    found = asyncio.run(outcomes(fault, tmp_path))
    for way, observed in found.items():
        wanted = expected(fault, way)
        assert {name: getattr(observed, name) for name in wanted} == wanted, str(way)
        assert observed.seconds < WITHIN, str(way)
    if fault.error and transport == TRANSPORTS[0]:
        assert (fault.error.__name__, typical(found[ALONE].message)) == MESSAGES[fault.name]


@pytest.mark.parametrize("case", REQUEST_ERRORS, ids=lambda case: case.name)
def test_each_invalid_request_has_its_error(
    case: RequestError, user_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_waits(monkeypatch)
    error = error_of(case, user_path)
    assert type(error) is case.error
    assert (type(error).__name__, typical(str(error))) == MESSAGES[case.name]


def test_every_message_belongs_to_a_case() -> None:
    names = [fault.name for fault in FAULTS] + [case.name for case in REQUEST_ERRORS]
    assert len(names) == len(set(names))
    assert MESSAGES.keys() <= set(names)
    assert "sk-canary" not in str(MESSAGES)
    assert "sk canary" not in str(MESSAGES)
