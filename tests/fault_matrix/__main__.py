"""`python -m tests.fault_matrix`: run the fault matrix and print it; `--write`: tests/messages.txt anew.

The exit code is 1 if a row does not come out as it says.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import live_at, without_httptools
from tests.fault_matrix.faults import (
    ALONE,
    FOLLOWED,
    TRANSPORTS,
    Row,
    Seen,
    expected,
    outcomes,
    short_waits,
    typical,
)
from tests.fault_matrix.request_errors import REFUSALS, refused
from tests.fault_matrix.rows import SECTIONS
from tests.support.server import End, Endless, Script

MESSAGES = Path(__file__).parents[1] / "messages.txt"


Message = tuple[str, str]
"""An error's class and its message, without what differs from run to run."""


def write_messages(messages: dict[str, Message]) -> None:
    """Write the messages, by what they are of, to messages.txt: each once, with all that it is of."""
    names: dict[Message, list[str]] = {}
    for name, message in messages.items():
        names.setdefault(message, []).append(name)
    blocks = [
        f"{kind}\n"
        + "".join(f"    {line}\n" for line in message.split("\n"))
        + "".join(f"- {name}\n" for name in names[kind, message])
        for kind, message in sorted(names, key=lambda one: one[0])
    ]
    MESSAGES.write_text("\n".join(blocks), encoding="utf-8")


def read_messages() -> dict[str, Message]:
    """What messages.txt has."""
    messages: dict[str, Message] = {}
    for block in MESSAGES.read_text(encoding="utf-8").split("\n\n"):
        kind, *lines = block.removesuffix("\n").split("\n")
        message = "\n".join(line[4:] for line in lines if line.startswith("    "))
        messages |= {line[2:]: (kind, message) for line in lines if line.startswith("- ")}
    return messages


def does(row: Row) -> str:
    """What the server of a row does, in a few words."""
    return "; ".join(filter(None, map(_shown, row.scripts)))


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


def came(seen: Seen) -> str:
    """What came of a row: who answered or the error, behind the failures before it."""
    failed = [
        f"{who} {outcome}{f' {status}' if status else ''}" for who, outcome, status in seen.attempts
    ]
    end = f" with {seen.text!r:.12}" if seen.outcome != "ok" and seen.text else ""
    return " → ".join(failed or [seen.outcome]) + end


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
            for number, row in enumerate(rows):
                for kind in TRANSPORTS:
                    if kind == "stock" and not row.stock:
                        continue
                    place = folder / f"{title}-{number}-{kind}"
                    place.mkdir()
                    try:
                        with pytest.MonkeyPatch.context() as patch:
                            if kind == "stock":
                                without_httptools(patch)
                            found = asyncio.run(outcomes(row, place))
                    except TimeoutError:
                        wrong += 1
                        print(f"{row.name:55.55} WRONG: it does not end")
                        continue
                    alone = found[ALONE]
                    print(
                        f"{row.name:55.55} {does(row):40.40} {came(alone):62.62} requests {alone.a}+{alone.b}"
                    )
                    if FOLLOWED in found and (other := found[FOLLOWED]).attempts != alone.attempts:
                        print(
                            f"{'':55} {'  with another behind it':40} {came(other):62.62} requests {other.a}+{other.b}"
                        )
                    if row.error and kind == TRANSPORTS[0]:
                        messages[row.name] = row.error.__name__, typical(alone.message)
                    for way, seen in found.items():
                        wanted = expected(row, way)
                        got = {field: getattr(seen, field) for field in wanted}
                        if got != wanted:
                            wrong += 1
                            print(f"  WRONG, {way}: {got} is not {wanted}")
        for number, refusal in enumerate(REFUSALS):
            place = folder / f"refusal-{number}"
            place.mkdir()
            error = refused(refusal, place)
            messages[refusal.name] = type(error).__name__, typical(str(error))
    if write:
        write_messages(messages)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv))
