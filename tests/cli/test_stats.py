"""`llm g4f stats`: what llm's logs say of the providers."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import llm
import pytest
import sqlite_utils

from llm_g4f.cli import chart, log_stats, table
from llm_g4f.cli.plot import COLOURS, OTHERS, figure
from tests.support.commands import Run, failed, g4f, ok
from tests.support.scenarios import empty_log
from tests.support.server import END as BODY_END
from tests.support.server import SSE_HEAD, Script, Server, chunk, event, framed, http, whole

JSON = dict[str, Any]

NOW = datetime.now(UTC).replace(microsecond=0)


def tables(*args: str) -> list[list[list[str]]]:
    """The rows of each table that `llm g4f stats` prints, the head first."""
    text = "\n".join(ok(g4f("stats", *args)))
    return [[line.split() for line in part.splitlines()] for part in text.split("\n\n")[1:]]


def told(*args: str) -> JSON:
    """The output of `llm g4f stats --json`."""
    found: JSON = json.loads("\n".join(ok(g4f("stats", "--json", *args))))
    return found


@pytest.fixture
def log(user_path: Path) -> Iterator[sqlite3.Connection]:
    """The logs.db that llm would make, to be written to."""
    (user_path / "logs.db").write_bytes(empty_log())
    with closing(sqlite3.connect(user_path / "logs.db")) as connection:
        yield connection


def add(log: sqlite3.Connection, *rows: JSON) -> None:
    """Write turns. Left out of a row is what most have: an answer of mybox, exact, now."""
    log.executemany(
        "insert into turns (id, model, resolved_model, input_tokens, output_tokens, token_details,"
        " datetime_utc, response_json) values (?, ?, ?, ?, ?, ?, ?, ?)",
        [_turn(number, **row) for number, row in enumerate(rows, log.total_changes)],
    )
    log.commit()


def _turn(
    number: int,
    *,
    at: datetime = NOW,
    provider: str = "mybox",
    model: str = "gpt-4o",
    asked: str = "gpt-4o",
    exact: bool = True,
    failures: tuple[JSON, ...] = (),
    ttft: float | None = 0.5,
    seconds: float | None = 2.5,
    tokens: int | None = 100,
    details: JSON | None = None,
    payload: Any = None,
) -> tuple[Any, ...]:
    lost = sum(failure["seconds"] for failure in failures)
    spent = round((seconds or 0.0) - lost, 3)
    answer = {"provider": provider, "model": model, "outcome": "ok", "seconds": spent}
    receipt = {
        "requested_model": asked,
        "provider": provider,
        "model": model,
        "exact": exact,
        "attempts": [*failures, answer],
        "ttft": ttft,
        "seconds": seconds,
    }
    made = {"model": model, "content": "Hello", "g4f": receipt} if payload is None else payload
    return (
        f"{number:026}",
        asked,
        f"{provider}/{model}",
        7 if tokens is not None else None,
        tokens,
        json.dumps(details) if details else None,
        at.isoformat(),
        made if isinstance(made, (str, bytes, int)) else json.dumps(made),
    )


def failure(provider: str, error: str, seconds: float, status: int | None = None) -> JSON:
    said = {"provider": provider, "model": "gpt-4o", "outcome": error, "status": status}
    return {**said, "seconds": seconds}


def paced(*texts: str, pause: float = 0.03, **how: Any) -> Script:
    """A streamed answer with a pause before each text, and so before its end."""
    usage = {"prompt_tokens": 7, "completion_tokens": 20, "total_tokens": 27}
    return [
        SSE_HEAD,
        *(step for text in texts for step in (pause, framed(event(chunk(text, **how))))),
        pause,
        *(
            framed(event(item))
            for item in (chunk(finish="stop", **how), chunk(usage=usage, **how), "[DONE]")
        ),
        BODY_END,
    ]


BUSY = http(429, {"error": {"message": "slow down"}}, [("Retry-After", "1")])
LONG = "a-vendor/a-model-whose-name-is-long-instruct-fp8"


def test_stats_of_answers_that_the_plugin_logged(
    run_llm: Run, write_config: Callable[[str], Path], user_path: Path
) -> None:
    gone = http(404, {"error": {"message": "no model gpt-4o", "code": "model_not_found"}})
    with (
        Server(BUSY) as busy,
        Server(paced("Hel", "lo", model=LONG)) as good,
        Server(gone, whole("I stand in", model="gpt-6-luna")) as openai,
    ):
        write_config(
            f"""
            providers:
              busy: {{base_url: '{busy.url}', models: {{gpt-4o: {LONG}}}}}
              good: {{base_url: '{good.url}', models: {{gpt-4o: {LONG}}}}}
              openai: {{base_url: '{openai.url}', key_env: KEY}}
            """
        )
        assert run_llm("-m", "4o", "hi").stdout == "Hello\n"
        done = run_llm("-m", "gpt-4o", "hi", "-o", "provider", "openai", env={"KEY": "sk-test"})
        assert done.stdout == "I stand in\n"
    with closing(sqlite3.connect(user_path / "logs.db")) as database:
        stored = [row for (row,) in database.execute("select response_json from turns")]
    # Llm leaves out of the receipts what stands in the messages too.
    assert '"g4f": {"$"' in stored[0]
    logged = json.loads(run_llm("logs", "--json", "-n", "0").stdout)
    receipts = {(made := turn["response_json"]["g4f"])["provider"]: made for turn in logged}

    found = told()
    assert (found["answers"], found["answers_after_failures"]) == (2, 2)
    good_row, openai_row = found["providers"]
    last = receipts["good"]["attempts"][-1]["seconds"]
    behind = receipts["good"]["seconds"] - receipts["good"]["ttft"]
    assert good_row == {
        "provider": "good",
        "model": LONG,
        "answers": 1,
        "exact_answers": 0,
        "successor_answers": 0,
        "answers_after_failures": 1,
        "first_token_seconds": dict.fromkeys(("median", "p95"), pytest.approx(last - behind)),
        "tokens_per_second": dict.fromkeys(
            ("median", "p5", "p95"), pytest.approx(20 / behind, abs=0.001)
        ),
        "input_tokens": 7,
        "output_tokens": 20,
        "counted_answers": 1,
        "price_usd": None,
        "priced_answers": 0,
    }
    assert (openai_row["provider"], openai_row["model"]) == ("openai", "gpt-6-luna")
    assert openai_row["exact_answers"] == 0
    # It came in one piece.
    assert openai_row["tokens_per_second"]["median"] is None
    assert found["failures"] == [
        {
            "provider": name,
            "model": model,
            "error": error,
            "http_status": status,
            "count": 1,
            "seconds": receipts[served]["attempts"][0]["seconds"],
        }
        for name, model, error, status, served in (
            ("busy", LONG, "RateLimitError", 429, "good"),
            ("openai", "gpt-4o", "NotFoundError", 404, "openai"),
        )
    ]


@pytest.mark.parametrize("streamed", [True, False])
def test_names_with_slashes(
    streamed: bool, write_config: Callable[[str], Path], user_path: Path
) -> None:
    write_config("routes: {gpt-4o: ['llm:echo']}")
    (user_path / "logs.db").write_bytes(empty_log())
    with closing(sqlite_utils.Database(user_path / "logs.db")) as database:
        response = llm.get_model("gpt-4o").prompt("hi", stream=streamed)
        response.text()
        response.log_to_db(database)
    (row,) = told()["providers"]
    assert (row["provider"], row["model"]) == ("llm:echo", "echo")


@pytest.mark.parametrize(
    ("resolved", "provider", "model"),
    [
        ("groq/openai/gpt-oss-120b", "groq", "openai/gpt-oss-120b"),
        ("llm:a/b/c", "llm:a", "b/c"),
        ("llm:a/b/c", "llm:a/b", "c"),
    ],
)
def test_a_receipt_without_provider_and_model_is_completed(
    resolved: str, provider: str, model: str, log: sqlite3.Connection
) -> None:
    left = {"requested_model": "gpt-4o", "exact": False, "ttft": 0.5, "seconds": 2.5}
    attempts = [{"$": {"m": "0.0.pm.g4f", "u": {"outcome": "ok", "seconds": 2.5}}}]
    patch = {"m": "0.0.pm.g4f", "u": {**left, "attempts": attempts}, "d": ["notice"]}
    add(log, {"payload": {"model": model, "g4f": {"$": patch}}})
    log.execute("update turns set resolved_model = ?", (resolved,))
    log.commit()
    (row,) = told()["providers"]
    assert (row["provider"], row["model"]) == (provider, model)
    assert row["first_token_seconds"]["median"] == 0.5


def test_an_answer_after_failures_counts_for_its_provider(log: sqlite3.Connection) -> None:
    failures = (
        failure("openai", "RateLimitError", 0.25, 429),
        failure("azure", "APITimeoutError", 1.0),
    )
    add(
        log,
        {"failures": failures, "ttft": 1.75, "seconds": 3.75},
        {"failures": failures[:1], "ttft": 0.75, "seconds": 2.75},
        {},
    )
    (row,) = told()["providers"]
    assert (row["answers"], row["answers_after_failures"]) == (3, 2)
    # The others' time is not its own.
    assert row["first_token_seconds"] == {"median": 0.5, "p95": 0.5}
    assert row["tokens_per_second"] == {"median": 50.0, "p5": 50.0, "p95": 50.0}
    lines = ok(g4f("stats"))
    assert lines[0] == f"3 answers, {NOW.date()} (UTC); 2 of them survived 3 failures."
    assert [line.split() for line in lines[-3:]] == [
        ["failed", "before", "an", "answer", "error", "times", "took"],
        ["openai/gpt-4o", "rate", "limit,", "HTTP", "429", "2", "0.50", "s"],
        ["azure/gpt-4o", *["no", "answer", "in", "time"], "1", "1.00", "s"],
    ]


@pytest.mark.parametrize(
    ("row", "rate"),
    [
        ({"tokens": 100, "ttft": 0.5, "seconds": 2.5}, 50.0),
        ({"tokens": 2, "ttft": 0.5, "seconds": 0.51}, 200.0),
        ({"tokens": 100, "ttft": 0.5, "seconds": 0.509}, None),
        ({"tokens": 100, "ttft": 2.5, "seconds": 2.5}, None),
        ({"tokens": 1}, None),
        ({"tokens": 0}, None),
        ({"tokens": None}, None),
        ({"ttft": None}, None),
        ({"seconds": None}, None),
    ],
)
def test_an_unknown_rate_is_none(row: JSON, rate: float | None, log: sqlite3.Connection) -> None:
    add(log, row)
    (found,) = told()["providers"]
    assert found["tokens_per_second"]["median"] == (rate and pytest.approx(rate))
    assert found["counted_answers"] == (row.get("tokens", 100) is not None)
    assert tables()[0][1][-1] == ("-" if rate is None else f"{rate:.0f}")


@pytest.mark.parametrize(("sent", "rate"), [(True, 50.0), (False, 20.0)])
def test_reasoning_counts_where_it_was_sent(
    sent: bool, rate: float, log: sqlite3.Connection
) -> None:
    add(log, {"details": {"completion_tokens_details": {"reasoning_tokens": 60}}})
    log.execute("update turns set tip_message_hash = 'x'")
    for kind, text in (("reasoning", "Hm." if sent else ""), ("text", "Hello")):
        log.execute("insert into parts (message_hash, type, text) values ('x', ?, ?)", (kind, text))
    log.commit()
    (row,) = told()["providers"]
    assert row["tokens_per_second"]["median"] == rate
    assert row["output_tokens"] == 100


def test_figures_of_many_answers(log: sqlite3.Connection) -> None:
    chance = random.Random(1)
    expected: dict[str, tuple[list[float], list[float]]] = {"a": ([], []), "b": ([], [])}
    rows = []
    for number in range(20_000):
        provider = "ab"[number % 4 == 0]
        ttft, behind = chance.randint(1, 5_000) / 1_000, chance.randint(100, 9_000) / 1_000
        seconds = round(ttft + behind, 3)
        rows.append(
            {"provider": provider, "ttft": ttft, "seconds": seconds, "exact": provider == "a"}
        )
        expected[provider][0].append(ttft)
        expected[provider][1].append(100 / behind)
    add(log, *rows)
    found = told()
    assert found["answers"] == 20_000
    assert [(row["provider"], row["answers"]) for row in found["providers"]] == [
        ("a", 15_000),
        ("b", 5_000),
    ]
    for row in found["providers"]:
        waits, rates = expected[row["provider"]]
        for name, values in (("first_token_seconds", waits), ("tokens_per_second", rates)):
            cuts = statistics.quantiles(values, n=100, method="inclusive")
            for percentile, place in (("p5", 4), ("median", 49), ("p95", 94)):
                if percentile in row[name]:
                    assert row[name][percentile] == pytest.approx(cuts[place], rel=1e-3)
        assert row["input_tokens"] == 7 * row["answers"]
        assert row["output_tokens"] == 100 * row["answers"]
    assert [(line[0], line[1]) for line in tables()[1][1:]] == [
        ("a/gpt-4o", "100%"),
        ("b/gpt-4o", "0%"),
    ]


@pytest.mark.parametrize(
    ("prices", "shown", "total"),
    [
        ([0.25, 0.5], "$0.75", 0.75),
        ([0.25, None], "$0.25 (1 of 2)", 0.25),
        ([0.00001], "$0.000010", 0.00001),
        ([1500.0], "$1,500.00", 1500.0),
        ([None], "-", None),
    ],
)
def test_prices_of_the_logs(
    prices: list[float | None], shown: str, total: float | None, log: sqlite3.Connection
) -> None:
    add(log, *({"details": {"price_usd": price}} if price else {} for price in prices))
    (row,) = told()["providers"]
    assert row["price_usd"] == total
    assert row["priced_answers"] == sum(price is not None for price in prices)
    assert " ".join(tables()[1][1][4:]) == shown


@pytest.mark.parametrize(
    "payload",
    [
        {"content": "Hello"},
        {"content": 'the key "g4f": is in the text'},
        {"g4f": None},
        {"g4f": "a text"},
        {"g4f": {"$": "0.0.pm.g4f"}},
        {"g4f": {"attempts": 5}},
        '{"g4f": ',
        b'{"g4f": \xff}',
        '"g4f": 1',
        17,
    ],
)
def test_other_rows_are_ignored(payload: Any, log: sqlite3.Connection) -> None:
    add(log, {"payload": payload}, {"provider": "ours"})
    assert [row["provider"] for row in told()["providers"]] == ["ours"]


def test_invalid_rows_are_ignored(log: sqlite3.Connection) -> None:
    add(log, *({} for _ in range(5)))
    for number, what in enumerate(
        (
            "datetime_utc = 'soon'",
            "output_tokens = 'many'",
            "token_details = '['",
            "resolved_model = null",
            "resolved_model = cast(x'ff' as text)",
        )
    ):
        log.execute(f"update turns set {what} where id = ?", (f"{number:026}",))
    log.commit()
    (row,) = told()["providers"]
    assert (row["answers"], row["counted_answers"]) == (1, 0)


def nested(depth: int) -> str:
    return '{"attempts": [' * depth + "]}" * depth


HOSTILE: dict[str, JSON | str] = {
    "year 1": {"at": datetime(1, 1, 1, tzinfo=UTC)},
    "year 9999": {"at": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)},
    "before year 1": {"at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))},
    "after year 9999": {"at": datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-14)))},
    "a time near the largest number": {"ttft": 1.7e308, "seconds": 1.7e308},
    "times of both signs": {"ttft": -1.7e308, "seconds": 1.7e308},
    "a time before the request": {"ttft": -1.0, "seconds": -2.0},
    "a failure near the largest number": {"failures": (failure("x", "Err", 1.7e308),)},
    "a price near the largest number": {"details": {"price_usd": 1.7e308}},
    "a negative price": {"details": {"price_usd": -5.0}},
    "NaN": {"ttft": nan},
    "infinity": {"ttft": inf, "seconds": inf},
    "an infinite price": {"details": {"price_usd": inf}},
    "1e999": {"payload": '{"model": "m", "g4f": {"ttft": 1e999, "seconds": 1e999}}'},
    "a huge status": {"failures": (failure("x", "Err", 1.0, 10**400),)},
    "deep nesting": {"payload": '{"g4f": %s}' % nested(50_000)},  # noqa: UP031
    "deep nesting elsewhere": {"payload": '{"x": %s, "g4f": {}}' % ("[" * 50_000 + "]" * 50_000)},
    "half a character": {"payload": '{"g4f": {"provider": "\\ud83d", "model": "m"}}'},
    "negative counts": "output_tokens = -9000000000000000000",
    "counts near the largest number": "input_tokens = 9223372036854775807, output_tokens = 9223372036854775807",
    "fractions for counts": "input_tokens = 1e308, output_tokens = 1e308",
    "bytes for a time": "datetime_utc = x'ff00'",
    "a number for a time": "datetime_utc = 1e300",
    "bytes for a model": "resolved_model = x'00ff'",
}


def figures(*args: str) -> JSON:
    """Every form of the output, of which the JSON is returned."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    for form in (args, ("--chart", *args)):
        assert ok(g4f("stats", *form))
    found: JSON = json.loads(g4f("stats", "--json", *args).stdout, parse_constant=refuse)
    return found


@pytest.mark.parametrize("row", HOSTILE.values(), ids=HOSTILE)
def test_hostile_rows_end_with_figures(row: JSON | str, log: sqlite3.Connection) -> None:
    add(log, *([row] * 3 if isinstance(row, dict) else [{}] * 3))
    if isinstance(row, str):
        log.execute(f"update turns set {row}")
    add(log, {"provider": "ours"}, {"provider": "ours", "at": NOW - timedelta(days=400)})
    assert figures("--since", "9999-12-31")["answers"] == 0
    found = figures("--since", "0001-01-01")
    (ours,) = (row for row in found["providers"] if row["provider"] == "ours")
    assert ours["answers"] == 2
    assert found["first_utc"][:2] == found["last_utc"][:2] == "20"


def test_hostile_notes_of_failed_requests_end_with_figures(user_path: Path) -> None:
    line = json.dumps({"at": 1.7e9, "requested_model": "m"})
    attempt = {"provider": "x", "model": "m", "outcome": "E"}
    lost = [{**attempt, "seconds": seconds} for seconds in (1.7e308, 1.7e308, -1.7e308, 2.0)]
    (user_path / "g4f-failures.jsonl").write_text(
        f'{line[:-1]}, "attempts": {json.dumps(lost)}}}\n'
        f'{line[:-1]}, "attempts": [], "x": {"[" * 50_000}{"]" * 50_000}}}\n'
    )
    found = figures()["failed_requests"]
    assert (found["count"], [each["seconds"] for each in found["failures"]]) == (1, [2.0])


@pytest.mark.skipif(os.name == "nt", reason="pipes are POSIX's")
def test_a_database_that_is_a_pipe_does_not_block(user_path: Path, run_llm: Run) -> None:
    os.mkfifo(user_path / "pipe")
    done = run_llm("g4f", "stats", "-d", str(user_path / "pipe"), timeout=20)
    assert (done.returncode, done.stderr[:7]) == (1, "Error: ")
    assert "is not a regular file" in done.stderr


@pytest.mark.parametrize("damage", [b"\xcc", b"\n", b"\x1b[2J"])
def test_a_broken_schema_is_one_line(
    damage: bytes, log: sqlite3.Connection, user_path: Path
) -> None:
    log.close()
    path = user_path / "logs.db"
    broken = b"CR" + damage + b"CREATE TABLE"[2 + len(damage) :]
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", broken))
    (said,) = failed(g4f("stats")).splitlines()
    assert said.startswith(f"{path} cannot be read: malformed database schema")
    assert said.isprintable()


@pytest.mark.parametrize("damage", [b"\0" * 4096, b"\xff" * 4096, None])
def test_a_broken_database_is_one_line(
    damage: bytes | None, log: sqlite3.Connection, user_path: Path
) -> None:
    add(log, *({"payload": "x" * 9_000} for _ in range(20)))
    log.close()
    path = user_path / "logs.db"
    content = path.read_bytes()
    for page in range(1, len(content) // 4096):
        begin = page * 4096
        broken = content[:begin] + (damage + content[begin + 4096 :] if damage else b"")
        path.write_bytes(broken)
        result = g4f("stats")
        assert isinstance(result.exception, SystemExit | None)
        if result.exit_code:
            (said,) = failed(result).splitlines()
            assert said.startswith(f"{path} ")


@pytest.mark.parametrize(
    ("since", "answers"),
    [
        ("90min", 1),
        ("90 minutes", 1),
        ("24h", 2),
        ("2 hours ago", 1),
        ("1.5d", 2),
        ("7d", 3),
        ("7 Days", 3),
        ("2 weeks", 4),
        ("100w", 5),
    ],
)
def test_since_a_duration(since: str, answers: int, log: sqlite3.Connection) -> None:
    ages = (timedelta(0), timedelta(hours=3), timedelta(days=2), timedelta(days=7, hours=1))
    add(log, *({"at": NOW - age} for age in (*ages, timedelta(days=400))))
    assert told("--since", since)["answers"] == answers


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A local time that is not UTC, where the platform lets a process have its own."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "XYZ+5")
        getattr(time, "tzset", int)()
        yield
    getattr(time, "tzset", int)()


@pytest.mark.usefixtures("far_from_utc")
@pytest.mark.parametrize(
    ("since", "utc", "answers"),
    [
        ("2026-11-08", "2026-11-08T00:00:00", 3),
        ("20261108", "2026-11-08T00:00:00", 3),
        ("2026-11-09 12:00", "2026-11-09T12:00:00", 2),
        ("2026-11-09T12:00:00.5", "2026-11-09T12:00:00.500000", 1),
        ("2026-11-09T12:00:00Z", "2026-11-09T12:00:00", 2),
        ("2026-11-09T13:00+01:00", "2026-11-09T12:00:00", 2),
        ("2026-11-09T11:30-01:00", "2026-11-09T12:30:00", 1),
        ("2026-11-11", "2026-11-11T00:00:00", 0),
    ],
)
def test_since_a_moment(since: str, utc: str, answers: int, log: sqlite3.Connection) -> None:
    moments = ((8, 0), (9, 12), (10, 0))
    add(log, *({"at": datetime(2026, 11, day, hour, tzinfo=UTC)} for day, hour in moments))
    found = told("--since", since)
    assert (found["since_utc"], found["answers"]) == (f"{utc}+00:00", answers)


@pytest.mark.parametrize("since", ["", "soon", "7", "2 months", "2026-13-01", "9999999999w", "-1d"])
def test_since_rejects_an_invalid_time(since: str, log: sqlite3.Connection) -> None:
    refused = g4f("stats", "--since", since)
    assert refused.exit_code == 2
    assert f"Invalid time {since!r}. Examples: 2026-11-01, " in refused.stderr


@pytest.mark.parametrize(
    ("model", "providers"),
    [
        ("gpt-4o", ["a", "b"]),
        ("4o", ["a", "b"]),
        ("g4f/gpt-4o", ["a", "b"]),
        ("gpt-4o-mini", ["c"]),
        ("llama", ["b"]),
        ("b/llama", ["b"]),
        ("nobody", []),
    ],
)
def test_model_filters_the_answers(
    model: str, providers: list[str], log: sqlite3.Connection
) -> None:
    add(
        log,
        {"provider": "a"},
        {"provider": "b", "model": "llama"},
        {"provider": "c", "model": "small", "asked": "gpt-4o-mini"},
    )
    found = told("--model", model)
    assert [row["provider"] for row in found["providers"]] == providers
    assert found["model"] == model


def test_json_has_the_query_and_the_period(log: sqlite3.Connection, user_path: Path) -> None:
    add(log, {"at": NOW - timedelta(days=1)}, {})
    found = told()
    assert list(found) == [
        *("database", "since_utc", "model", "answers", "answers_after_failures"),
        *("first_utc", "last_utc", "providers", "failures", "failed_requests"),
    ]
    assert found["database"] == str(user_path / "logs.db")
    assert (found["since_utc"], found["model"], found["failures"]) == (None, None, [])
    assert found["first_utc"] == (NOW - timedelta(days=1)).isoformat()
    assert found["last_utc"] == NOW.isoformat()


def test_the_tables_fit_a_terminal(log: sqlite3.Connection) -> None:
    long = "x" * 60
    error = failure(long, "InternalServerError", 123_456.0, 503)
    add(
        log,
        *(
            {"provider": "together", "model": f"meta/{long}-Turbo", "tokens": 10**5}
            for _ in range(2)
        ),
        {"provider": "my\x07box", "failures": (error,)},
    )
    done = g4f("stats", "--chart")
    lines = ok(done)
    assert sum(line.endswith("  median    max, █") for line in lines) == 2
    assert max(map(len, lines)) <= 80
    assert "\x07" not in done.stdout
    assert lines[3].startswith("together/")
    assert "…" in lines[3]
    assert "x-Turbo  " in lines[3]


def test_a_chart_fits_a_narrow_terminal(
    log: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "terminal_width", lambda: 40)
    monkeypatch.setattr(chart, "terminal_width", lambda: 40)
    add(
        log, {"provider": "a-long-name-of-a-provider", "ttft": 0.5}, {"at": NOW - timedelta(days=2)}
    )
    lines = ok(g4f("stats", "--chart"))
    assert max(map(len, lines)) <= 40
    assert any(line.startswith("a-long-…  ") for line in lines)
    assert "  exact 100%, tokens in" in "\n".join(lines)


def test_a_chart_in_an_encoding_without_bars(log: sqlite3.Connection) -> None:
    add(log, {}, {})
    command = [sys.executable, "-m", "llm", "g4f", "stats", "--chart"]
    env = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, env=env, capture_output=True, check=True)
    assert b"first token over time" in done.stdout
    assert b"?" in done.stdout


def test_without_answers(log: sqlite3.Connection, user_path: Path) -> None:
    assert ok(g4f("stats", "--chart")) == [
        f'No answers yet in {user_path / "logs.db"}. Run "llm -m gpt-4o …" first.'
    ]
    assert ok(g4f("stats", "--since", "1d"))[0].startswith("No answers yet that match in ")
    found = told()
    assert (found["answers"], found["providers"], found["first_utc"]) == (0, [], None)


def test_a_missing_database_is_not_created(user_path: Path) -> None:
    path = user_path / "logs.db"
    for args in ((), ("--json",)):
        said = failed(g4f("stats", *args))
        assert said == f'No answers yet: {path} does not exist. Run "llm -m gpt-4o …" first.\n'
    assert not path.exists()
    assert g4f("stats", "-d", str(path)).exit_code == 2


def test_another_database(log: sqlite3.Connection, user_path: Path, tmp_path: Path) -> None:
    add(log, {})
    log.close()
    path = tmp_path / "what? 100% #mine.db"
    (user_path / "logs.db").rename(path)
    assert told("-d", str(path))["answers"] == 1


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("drop table turns", "is not a log database of llm 0.36 or newer (no such table: turns)"),
        (
            "alter table turns drop column response_json",
            "is not a log database of llm 0.36 or newer (no such column: response_json)",
        ),
        ("drop table parts", "is not a log database of llm 0.36 or newer (no such table: parts)"),
    ],
)
def test_a_database_of_another_schema_is_an_error(
    sql: str, words: str, log: sqlite3.Connection, user_path: Path
) -> None:
    log.execute(sql)
    log.commit()
    said = failed(g4f("stats"))
    assert f"{user_path / 'logs.db'} {words}" in said
    assert "llm logs -d " in said


def test_a_file_that_is_not_a_database_is_an_error(user_path: Path) -> None:
    path = user_path / "logs.db"
    path.write_text("a" * 5_000)
    assert failed(g4f("stats")) == f"{path} cannot be read: file is not a database.\n"


def test_the_logs_are_read_while_they_are_written(
    log: sqlite3.Connection, user_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(log, {})
    path = user_path / "logs.db"
    before = path.read_bytes()
    log.execute("begin immediate")
    log.execute("delete from turns")
    assert told()["answers"] == 1
    log.rollback()
    log.execute("begin exclusive")
    monkeypatch.setattr(log_stats, "BUSY_TIMEOUT", 0.05)
    assert failed(g4f("stats")) == f"{path} cannot be read: database is locked.\n"
    log.rollback()
    assert told()["answers"] == 1
    assert path.read_bytes() == before
    assert {one.name for one in user_path.iterdir()} == {"logs.db"}


DYING = """
import os, sqlite3, sys
log = sqlite3.connect(sys.argv[1], isolation_level=None)
log.execute("pragma cache_size = 1")
log.execute("begin")
log.execute("create table other (text)")
log.executemany("insert into other values (?)", [("x" * 500,)] * 1000)
os._exit(0)
"""


def test_a_half_written_database_is_left_to_llm(
    log: sqlite3.Connection, user_path: Path, run_llm: Run
) -> None:
    add(log, {})
    path = user_path / "logs.db"
    subprocess.run([sys.executable, "-c", DYING, str(path)], check=True)
    before = path.read_bytes()
    journal = user_path / "logs.db-journal"
    assert journal.exists()
    said = failed(g4f("stats"))
    assert said == f'{path} has an interrupted write: repair it with "llm logs -d {path}".\n'
    assert journal.exists()
    assert path.read_bytes() == before
    assert run_llm("logs", "-d", str(path)).returncode == 0
    assert told()["answers"] == 1


def test_the_chart_shows_when_a_provider_was_slow(log: sqlite3.Connection) -> None:
    slow = {10: 8.0, 11: 8.0}
    for hour in range(22):
        add(
            log,
            *(
                {
                    "at": NOW - timedelta(hours=21 - hour),
                    "ttft": slow.get(hour, 1.0),
                    "seconds": slow.get(hour, 1.0) + 1,
                    "tokens": 100 if hour < 11 else None,
                }
                for _ in range(3)
            ),
        )
    add(log, {"provider": "other", "at": NOW, "ttft": 0.004, "seconds": 0.004})
    lines = ok(g4f("stats", "--chart"))
    head = next(place for place, line in enumerate(lines) if line.startswith("first token over"))
    begin = chart.NAME + 2
    bars = [line[begin : begin + chart.COLUMNS] for line in lines[head + 1 :]]
    assert bars[0].count("█") == 2
    assert bars[0].count("▂") == 20
    assert 18 <= bars[0].index("█") <= 22
    assert bars[1].strip() == "█"
    assert bars[1].endswith("█")
    assert lines[head + 1].split()[-4:] == ["1", "s", "8", "s"]
    rates = bars[4]
    assert set(rates.strip()) == {"█", " "}
    assert not rates[chart.COLUMNS // 2 + 1 :].strip()
    assert lines[head + 6].split()[1:] == ["-", "-"]
    assert lines[-1].split() == [
        *f"{NOW - timedelta(hours=21):%Y-%m-%d %H:%M} {NOW:%Y-%m-%d %H:%M}".split(),
        "UTC",
    ]


def test_a_chart_of_one_answer(log: sqlite3.Connection) -> None:
    add(log, {"ttft": 0.0, "seconds": 0.0})
    lines = ok(g4f("stats", "--chart"))
    assert any(line.split() == ["mybox", "▁", "0", "s", "0", "s"] for line in lines)


def weeks(log: sqlite3.Connection, providers: dict[str, tuple[int, float]]) -> None:
    """Answers over three weeks: how many of each provider, and its usual time to first token."""
    chance = random.Random(2)
    add(
        log,
        *(
            {
                "provider": name,
                "at": NOW - timedelta(seconds=chance.randint(0, 21 * 86_400)),
                "ttft": (ttft := round(usual * chance.uniform(0.5, 2.0), 3)),
                "seconds": ttft + 2.0,
            }
            for name, (count, usual) in providers.items()
            for _ in range(count)
        ),
    )


def drawn(line: Any) -> tuple[list[float], list[float]]:
    """Where the points of a line are: days since 1970, and values."""
    x, y = line.get_data()
    return list(x), list(y)


def png_size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


@pytest.mark.parametrize(
    ("name", "begins"), [("a.svg", b"<?xml"), ("b.PDF", b"%PDF-"), ("c.png", b"\x89PNG")]
)
def test_the_suffix_selects_the_format(
    name: str, begins: bytes, log: sqlite3.Connection, tmp_path: Path
) -> None:
    weeks(log, {"a": (200, 0.5), "b": (5, 3.0)})
    done = g4f("stats", "--plot", str(tmp_path / name))
    assert (done.exit_code, done.stderr) == (0, f"Drawn: {tmp_path / name}\n")
    assert done.stdout.startswith("205 answers, ")
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_the_picture_has_the_figures_of_the_logs(
    log: sqlite3.Connection, user_path: Path, tmp_path: Path
) -> None:
    weeks(log, {"openai": (600, 0.5), "groq": (300, 0.1), "mybox": (20, 4.0)})
    assert g4f("stats", "--json", "--plot", str(tmp_path / "a.png")).exit_code == 0
    assert png_size(tmp_path / "a.png") == (1500, 960)

    read = log_stats.read(user_path / "logs.db", model="gpt-4o")
    picture = figure(read)
    upper, lower = picture.axes
    assert [upper.get_ylabel(), lower.get_ylabel()] == ["seconds", "tokens/s"]
    assert upper.get_title("left") == "Time to first token: median of each day, band up to p95"
    assert (
        lower.get_title("left") == "Output tokens per second: median of each day, band down to p5"
    )
    assert "(UTC)" in lower.get_xlabel()
    assert picture.get_suptitle().startswith("920 answers (gpt-4o), ")
    assert [upper.get_yscale(), lower.get_yscale()] == ["log", "linear"]
    assert lower.get_ylim()[0] == 0
    legend = upper.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        *("openai (600)", "groq (300)", "mybox (20)"),
    ]
    for panel, values in ((upper, "ttft"), (lower, "rates")):
        series = {one.provider: getattr(one, values) for one in read.by_provider()}
        lines = [line for line in panel.lines if line.get_marker() == "o"]
        assert [line.get_color() for line in lines] == list(COLOURS[:2])
        for line, name in zip(lines, ("openai", "groq"), strict=True):
            x, y = drawn(line)
            assert len(x) >= 20
            assert max(x) - min(x) >= 19
            low, high = min(series[name]), max(series[name])
            assert all(low <= value <= high for value in y if not isnan(value))
            assert statistics.median(y) == pytest.approx(statistics.median(series[name]), rel=0.2)
        dots: Any = panel.collections[-1].get_offsets()
        assert sorted(y for _, y in dots) == pytest.approx(sorted(series["mybox"]))


def test_a_line_is_the_median_of_each_day_with_gaps(
    log: sqlite3.Connection, user_path: Path
) -> None:
    midnight = datetime(2026, 11, 1, tzinfo=UTC)
    days = [0, 1, 10, 20]
    add(
        log,
        *(
            {"at": midnight + timedelta(days=day, minutes=minute), "ttft": 1.0 + minute / 100}
            for day in days
            for minute in range(41)
        ),
        *({"at": midnight + timedelta(days=15), "ttft": 9.0, "seconds": 11.0} for _ in range(2)),
    )
    upper, _ = figure(log_stats.read(user_path / "logs.db")).axes
    (line,) = upper.lines
    x, y = drawn(line)
    noon = midnight.timestamp() / 86_400 + 0.5
    known: list[Any] = [
        (day - noon, value) for day, value in zip(x, y, strict=True) if not isnan(value)
    ]
    assert known == [(day, pytest.approx(1.2)) for day in days]
    assert [isnan(value) for value in y] == [False, False, True, False, True, False]
    (band,) = upper.collections
    edges: list[Any] = [path.vertices for path in band.get_paths()]
    assert max(y for edge in edges for _, y in edge) == pytest.approx(1.38)


def test_a_batch_of_two_minutes_fills_the_picture(log: sqlite3.Connection, user_path: Path) -> None:
    begin = datetime(2026, 11, 1, 12, tzinfo=UTC)
    chance = random.Random(1)
    add(
        log,
        *(
            {"at": begin + timedelta(seconds=chance.uniform(0, 120)), "ttft": chance.uniform(1, 2)}
            for _ in range(600)
        ),
    )
    upper, lower = figure(log_stats.read(user_path / "logs.db")).axes
    assert (
        upper.get_title("left") == "Time to first token: median of each 2 seconds, band up to p95"
    )
    left, right = (limit * 86_400 for limit in lower.get_xlim())
    assert right - left == pytest.approx(120 * 1.06, rel=0.02)
    (line,) = upper.lines
    assert len(drawn(line)[0]) > 50


def test_many_answers_far_apart_are_drawn_as_a_cloud(
    log: sqlite3.Connection, user_path: Path
) -> None:
    begin = datetime(1971, 1, 1, tzinfo=UTC)
    add(log, *({"at": begin + timedelta(days=days)} for days in range(0, 40_000, 200)))
    upper, _ = figure(log_stats.read(user_path / "logs.db")).axes
    (dots,) = upper.collections
    assert dots.get_alpha() == 0.25


def test_more_providers_than_colours_share_the_last(
    log: sqlite3.Connection, user_path: Path
) -> None:
    weeks(log, {f"provider-{number}": (20 - number, 1.0) for number in range(9)})
    upper, _ = figure(log_stats.read(user_path / "logs.db")).axes
    legend = upper.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()][-2:] == [
        "provider-5 (15)",
        "3 others (39)",
    ]
    assert [line.get_color() for line in legend.get_lines()] == [*COLOURS, OTHERS]


@pytest.mark.parametrize(
    "rows",
    [
        [{}],
        [{"ttft": 0.0, "seconds": 0.0}],
        [{"tokens": None}],
        [{"ttft": None}],
        [{"provider": "llm:" + "x" * 80}],
        [{"at": datetime(1970, 1, 1, tzinfo=UTC)}, {}],
        [{"at": datetime(year, 1, 1, tzinfo=UTC)} for year in (1, 1970, 2199, 9999)],
        [{"ttft": 1e9, "seconds": 1e9}, {"tokens": 10**9}],
        [{"provider": "my\x1b]0;box\n"}],
        [{"at": NOW + timedelta(days=days)} for days in range(-8_000, 0, 40)],
    ],
    ids=[
        "one",
        "at once",
        "no count",
        "no time",
        "long name",
        "old",
        "ends of time",
        "large",
        "an escape",
        "far apart",
    ],
)
def test_any_answers_can_be_plotted(
    rows: list[JSON], log: sqlite3.Connection, tmp_path: Path
) -> None:
    add(log, *rows)
    done = g4f("stats", "--plot", str(tmp_path / "a.png"))
    assert done.exit_code == 0, done.output
    assert png_size(tmp_path / "a.png") == (1500, 960)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.txt", "has an unsupported format: "),
        ("a", "has an unsupported format: "),
        ("no/a.png", "cannot be written: No such file or directory"),
    ],
)
def test_an_invalid_plot_file_is_an_error(
    name: str, words: str, log: sqlite3.Connection, tmp_path: Path
) -> None:
    add(log, {})
    assert f"{tmp_path / name} {words}" in failed(g4f("stats", "--plot", str(tmp_path / name)))


def test_no_plot_without_answers(log: sqlite3.Connection, tmp_path: Path) -> None:
    said = failed(g4f("stats", "--plot", str(tmp_path / "a.png")))
    assert said == "Nothing to draw: no answers yet.\n"
    assert not (tmp_path / "a.png").exists()


def test_only_the_plot_needs_matplotlib(
    log: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(log, {})
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert len(ok(g4f("stats", "--chart"))) > 6
    said = failed(g4f("stats", "--plot", str(tmp_path / "a.png")))
    assert said.startswith("Drawing needs matplotlib")
    assert said.endswith("llm install 'llm-g4f[plot]'.\n")


def test_what_the_exact_model_did_not_answer_is_called_as_in_the_notice(
    log: sqlite3.Connection,
) -> None:
    receipt = {"requested_model": "gpt-4o", "exact": False, "ttft": 0.5, "seconds": 1.0}
    rows = [
        {"provider": "openai", "model": "gpt-6-luna", "payload": {"g4f": receipt | given}}
        for given in (
            {"provider": "openai", "model": "gpt-6-luna", "successor": True},
            {"provider": "openai", "model": "gpt-6-luna", "successor": True},
        )
    ]
    add(log, *rows, {"provider": "b", "model": "llama", "exact": False}, {"provider": "a"})
    lines = ok(g4f("stats"))
    (start,) = [number for number, line in enumerate(lines) if line.endswith("otherwise")]
    assert [line.rsplit("  ", 1)[-1] for line in lines[start + 1 : start + 4]] == [
        "its successor",
        "-",
        "a substitute",
    ]
    assert [row["successor_answers"] for row in told()["providers"]] == [2, 0, 0]


def test_usage_of_zero_is_no_measurement(log: sqlite3.Connection) -> None:
    """A gateway's own cache counts 0 for an answer that it has kept."""
    add(log, {}, {"tokens": 0})
    log.execute("update turns set input_tokens = 0 where output_tokens = 0")
    log.commit()
    (row,) = told()["providers"]
    assert (row["answers"], row["counted_answers"], row["output_tokens"]) == (2, 1, 100)
