"""llm's logs as `llm g4f stats` reads them: the columns of an answer, a damaged database, and the file
of the requests that failed.

The command shows figures or one line of an error, which no terminal acts on; its JSON is JSON.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

from click.testing import CliRunner

from llm_g4f.cli.stats import stats
from llm_g4f.config.files import user_file
from tests.fuzz.checks import as_json, assert_line, forget
from tests.support.scenarios import empty_log

RUNS = 600

COLUMNS = (
    "datetime_utc",
    "resolved_model",
    "input_tokens",
    "output_tokens",
    "token_details",
    "response_json",
)
BETWEEN = b"\x1f"
"""Between two columns."""


def _receipt(**fields: object) -> str:
    attempt = {"provider": "box", "model": "gpt-4o", "outcome": "ok", "seconds": 2.0}
    failed = {**attempt, "outcome": "RateLimitError", "status": 429, "message": "slow down"}
    receipt = {"requested_model": "gpt-4o", "provider": "box", "model": "gpt-4o", "exact": True}
    receipt |= {"attempts": [failed, attempt], "ttft": 0.5, "seconds": 2.5, **fields}
    return json.dumps({"model": "gpt-4o", "g4f": receipt})


def _seeds() -> Iterator[bytes]:
    details = '{"price_usd": 0.01, "completion_tokens_details": {"reasoning_tokens": 5}}'
    stored = '{"model": "m", "g4f": {"$": {"r": "x", "u": {"ttft": 0.5, "seconds": 1}}}}'
    for answer in (_receipt(), _receipt(successor=True, exact=False, ttft=None), stored):
        row = ("2026-11-01T12:00:00+00:00", "box/gpt-4o", "7", "100", details, answer)
        yield b"\0" + BETWEEN.join(column.encode() for column in row)
    failed = {"provider": "box", "model": "m", "outcome": "APITimeoutError", "status": 504}
    request = {"at": 1.79e9, "requested_model": "gpt-4o", "attempts": [{**failed, "seconds": 1.5}]}
    yield b"\1" + json.dumps(request).encode() + b"\n{}\n"
    yield b"\2" + bytes([0, 0, 83, 0, 100, 255, 40, 0, 7])


SEEDS = list(_seeds())

WORDS = [
    *('"g4f": ', '"$":', '"u":', '"attempts":', '"provider":', '"model":', '"ttft":', '"seconds":'),
    *('"outcome":', '"status":', '"price_usd":', '"reasoning_tokens":', '"exact":', '"successor":'),
    *('"at":', '"requested_model":', "\x1f", "1e308", "NaN", "9999-12-31T23:59:59", "0001-01-01"),
]


@cache
def _log() -> bytes:
    """A logs.db with one answer."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(empty_log())
        database.execute(
            "insert into turns (id, model, resolved_model, datetime_utc, response_json)"
            " values ('1', 'gpt-4o', 'box/gpt-4o', '2026-11-01T12:00:00+00:00', ?)",
            (_receipt(),),
        )
        database.commit()
        return database.serialize()


def run(data: bytes) -> None:
    if not data:
        return
    kind, data = data[0] % 3, data[1:]
    forget("g4f-failures.jsonl", "logs.db")
    log = Path(user_file("logs.db"))
    log.write_bytes(_damaged(data) if kind == 2 else _log())
    if kind == 0:
        _add(log, data)
    elif kind == 1:
        Path(user_file("g4f-failures.jsonl")).write_bytes(data)
    for form in ((), ("--chart",), ("--json",)):
        done = CliRunner().invoke(stats, form)
        if not isinstance(done.exception, SystemExit | None):
            raise done.exception
        for line in f"{done.stdout}{done.stderr}".splitlines():
            assert_line(line)
        if done.exit_code:
            assert (done.exit_code, kind) == (1, 2), done.stderr
            assert done.stderr.startswith("Error: ")
            assert done.stderr.count("\n") == 1
        elif "--json" in form:
            as_json(json.loads(done.stdout))


def _add(log: Path, data: bytes) -> None:
    """Add an answer with its columns in `data`: numbers as numbers, text as text, else bytes."""
    values: list[object] = []
    for column in data.split(BETWEEN)[: len(COLUMNS)]:
        try:
            text = column.decode()
            values.append(float(text) if "." in text else int(text))
        except UnicodeDecodeError:
            values.append(column)
        except ValueError:
            values.append(text)
    values += [None] * (len(COLUMNS) - len(values))
    with closing(sqlite3.connect(log)) as database, database:
        database.execute("pragma synchronous = off")
        names, places = ", ".join(COLUMNS), ", ".join("?" * len(COLUMNS))
        try:
            database.execute(
                f"insert into turns (id, model, {names}) values ('2', 'm', {places})", values
            )
        except (OverflowError, sqlite3.Error):
            return


def _damaged(data: bytes) -> bytes:
    """The log with bytes changed: two bytes of `data` are the place, a third is the new one."""
    log = bytearray(_log())
    for first, second, byte in zip(data[::3], data[1::3], data[2::3], strict=False):
        log[(first << 8 | second) * len(log) >> 16] = byte
    return bytes(log)
