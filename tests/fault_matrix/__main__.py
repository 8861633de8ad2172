"""`python -m tests.fault_matrix`: run the fault matrix and print it; `--write`: tests/messages.txt anew.

The exit code is 1 if a fault does not come out as it says.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from pathlib import Path

import pytest

from tests.fault_matrix.faults import (
    ALONE,
    FOLLOWED,
    TRANSPORTS,
    Fault,
    Observed,
    expected,
    outcomes,
    short_waits,
    typical,
)
from tests.fault_matrix.messages import Message, write_messages
from tests.fault_matrix.request_errors import REQUEST_ERRORS, error_of
from tests.fault_matrix.rows import SECTIONS
from tests.support.environment import live_at, without_httptools
from tests.support.server import End, Endless, Script


def does(fault: Fault) -> str:
    """The server's script in a few words."""
    return "; ".join(filter(None, map(_shown, fault.scripts)))


def _shown(script: Script) -> str:
    words: list[str] = []
    size = 0
    for step in [*script, None]:
        if isinstance(step, bytes):
            if not words and step.startswith(b"HTTP/"):
                words.append(step.split(b"\r\n")[0].decode("ascii", "replace").removesuffix(" X"))
                step = step.partition(b"\r\n\r\n")[2]
            size += len(step)
            continue
        if size:
            words.append(f"{size:,} bytes")
            size = 0
        if isinstance(step, Endless):
            words.append("without end")
        elif isinstance(step, End):
            words.append(step.value)
    return ", ".join(words)


def came(observed: Observed) -> str:
    """Each attempt's provider and outcome, and the partial text."""
    failed = [
        f"{name} {outcome}{f' {status}' if status else ''}"
        for name, outcome, status in observed.attempts
    ]
    end = f" with {observed.text!r:.12}" if observed.outcome != "ok" and observed.text else ""
    return " → ".join(failed or [observed.outcome]) + end


def main(write: bool) -> int:
    logging.getLogger("llm_g4f").setLevel(logging.ERROR)
    wrong = 0
    messages: dict[str, Message] = {}
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as monkeypatch:
        folder = Path(name)
        live_at(folder, monkeypatch)
        short_waits(monkeypatch)
        for title, rows in SECTIONS.items():
            print(f"\n{title}\n{'':-<{len(title)}}")
            for number, fault in enumerate(rows):
                for kind in TRANSPORTS:
                    if kind == "httpx" and not fault.httpx:
                        continue
                    place = folder / f"{title}-{number}-{kind}"
                    place.mkdir()
                    try:
                        with pytest.MonkeyPatch.context() as patch:
                            if kind == "httpx":
                                without_httptools(patch)
                            found = asyncio.run(outcomes(fault, place))
                    except TimeoutError:
                        wrong += 1
                        print(f"{fault.name:55.55} WRONG: it does not end")
                        continue
                    alone = found[ALONE]
                    print(
                        f"{fault.name:55.55} {does(fault):40.40} {came(alone):62.62} requests {alone.a}+{alone.b}"
                    )
                    if FOLLOWED in found and (other := found[FOLLOWED]).attempts != alone.attempts:
                        print(
                            f"{'':55} {'  with another behind it':40} {came(other):62.62} requests {other.a}+{other.b}"
                        )
                    if fault.error and kind == TRANSPORTS[0]:
                        messages[fault.name] = fault.error.__name__, typical(alone.message)
                    for way, observed in found.items():
                        wanted = expected(fault, way)
                        got = {field: getattr(observed, field) for field in wanted}
                        if got != wanted:
                            wrong += 1
                            print(f"  WRONG, {way}: {got} is not {wanted}")
        for number, case in enumerate(REQUEST_ERRORS):
            place = folder / f"request-{number}"
            place.mkdir()
            error = error_of(case, place)
            messages[case.name] = type(error).__name__, typical(str(error))
    if write:
        write_messages(messages)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv))
