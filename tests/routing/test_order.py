"""`order` in g4f.yaml: equally exact candidates by their price, or by how soon they begin to answer."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llm_g4f import config
from llm_g4f.request import ChatRequest
from llm_g4f.routing import order
from llm_g4f.routing.registry import Registry
from llm_g4f.routing.route import resolve_route
from tests.support.commands import Run, g4f, ok
from tests.support.prices import table_price
from tests.support.scenarios import empty_log
from tests.support.server import Server, stream

Write = Callable[[str], Path]

KEYS = {"groq": "GROQ_API_KEY", "cerebras": "CEREBRAS_API_KEY", "together": "TOGETHER_API_KEY"}


def names(model: str = "gpt-4o", **options: Any) -> list[str]:
    """The candidates for a model, in order."""
    request = ChatRequest(model=model, messages=[], **options)
    route = asyncio.run(resolve_route(request, Registry(config.load())))
    return [candidate.provider.name for candidate in route.candidates]


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*KEYS.values(), "OPENAI_API_KEY", "OPENROUTER_API_KEY"):
        monkeypatch.setenv(variable, "sk-test-key-of-some-length")


def a_million(table: str, model: str) -> float:
    return 1_000 * table_price(table, model, input_tokens=750, output_tokens=250)


@pytest.mark.usefixtures("keys")
def test_by_price_within_the_equally_exact(write_config: Write) -> None:
    enabled = "".join(f"  {name}: {{enabled: true}}\n" for name in KEYS)
    own = "  mine: {base_url: 'http://127.0.0.1:1/v1', models: {gpt-4o: {id: x, exact: true}}}\n"
    write_config(f"providers:\n{own}{enabled}")
    assert names() == ["mine", "openai", "openrouter", *KEYS]
    write_config(f"order: price\nproviders:\n{own}{enabled}")
    prices = {
        "groq": a_million("groq", "openai/gpt-oss-120b"),
        "cerebras": a_million("cerebras", "gpt-oss-120b"),
        "together": a_million("together", "openai/gpt-oss-120b"),
    }
    substitutes = sorted(prices, key=lambda name: prices[name])
    assert substitutes != list(KEYS)
    # What has no known price comes behind its equals, and before what is less exact.
    assert names() == ["openai", "openrouter", "mine", *substitutes]
    line = next(line for line in ok(g4f("route", "gpt-4o")) if substitutes[0] in line)
    assert line == (
        f"4. {substitutes[0]}: openai/gpt-oss-120b, a substitute;"
        f" ${prices[substitutes[0]]:,.2f} for a million tokens (3 in, 1 out)"
    )
    assert "3. mine: x, exact; price unknown" in ok(g4f("route", "gpt-4o"))
    found = json.loads("\n".join(ok(g4f("route", "gpt-4o", "--json"))))["candidates"]
    assert [one["price_usd_per_million_tokens"] for one in found][2:4] == [
        None,
        pytest.approx(prices[substitutes[0]]),
    ]


@pytest.fixture
def log(user_path: Path) -> Iterator[sqlite3.Connection]:
    """An empty logs.db, of which nothing is remembered."""
    order._remembered = None
    (user_path / "logs.db").write_bytes(empty_log())
    with closing(sqlite3.connect(user_path / "logs.db")) as connection:
        yield connection


def add(log: sqlite3.Connection, resolved: str, *seconds: Any, failed: int = 0) -> None:
    """Write answers of a model, each with the time to its first token; `failed` attempts went before."""
    for time in seconds:
        number = log.execute("select count(*) from turns").fetchone()[0]
        receipt = {"attempts": [{}] * (failed + 1), "ttft": time}
        # llm stores it whole, or what of it stands nowhere else.
        stored = receipt if number % 2 else {"$": {"m": "0.0.pm.g4f", "u": receipt}}
        log.execute(
            "insert into turns (id, resolved_model, response_json) values (?, ?, ?)",
            (f"{number:09}", resolved, json.dumps({"g4f": stored})),
        )
    log.commit()


PAIR = "order: latency\nproviders: {openai: {enabled: true}, openrouter: {enabled: true}}"
OPENAI, OPENROUTER = "openai/gpt-4o-2024-11-20", "openrouter/openai/gpt-4o"


@pytest.mark.usefixtures("keys")
def test_by_the_median_of_the_last_answers(write_config: Write, log: sqlite3.Connection) -> None:
    write_config(PAIR)
    # What was long ago counts no more, nor the wait for others, nor another model.
    add(log, OPENAI, *[0.1] * 60, *[0.9] * 50)
    add(log, OPENAI, *[0.1] * 60, failed=1)
    add(log, "openai/gpt-4.1", *[0.1] * 60)
    add(log, OPENROUTER, 0.4, 0.2, 5.0)
    assert names() == ["openrouter", "openai"]
    lines = ok(g4f("route", "gpt-4o"))
    assert lines[:2] == [
        "1. openrouter: openai/gpt-4o, exact; first token after 0.40 s",
        "2. openai: gpt-4o, exact; first token after 0.90 s",
    ]
    found = json.loads("\n".join(ok(g4f("route", "gpt-4o", "--json"))))["candidates"]
    assert [one["first_token_seconds"] for one in found] == [0.4, 0.9]


@pytest.mark.usefixtures("keys")
def test_an_order_of_the_users_own_stands(write_config: Write, log: sqlite3.Connection) -> None:
    add(log, OPENROUTER, 0.2)
    write_config(PAIR)
    assert names() == ["openrouter", "openai"]
    assert names(providers=("openai", "openrouter")) == ["openai", "openrouter"]
    write_config(f"{PAIR}\nroutes: {{gpt-4o: [openai, openrouter]}}")
    assert names() == ["openai", "openrouter"]


@pytest.mark.usefixtures("keys")
def test_consent_of_another_kind_is_no_equal(write_config: Write, log: sqlite3.Connection) -> None:
    # Both have the model itself; one takes prompts from everybody.
    add(log, "ovh/gpt-oss-120b", 0.1)
    write_config("order: latency\nproviders: {groq: {enabled: true}, ovh: {enabled: true}}")
    found = names("gpt-oss-120b")
    assert found.index("groq") < found.index("ovh")


@pytest.mark.usefixtures("keys")
def test_the_logs_are_read_once_a_minute(
    write_config: Write, log: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(PAIR)
    now = 1_000.0
    monkeypatch.setattr("llm_g4f.routing.order.time.monotonic", lambda: now)
    add(log, OPENAI, 0.5)
    assert names() == ["openai", "openrouter"]
    add(log, OPENROUTER, 0.2)
    assert names() == ["openai", "openrouter"]
    now += 61
    assert names() == ["openrouter", "openai"]


DAMAGE = [
    *('{"g4f": ', '{"g4f": "x"}', '{"g4f": {"attempts": [1], "ttft": "soon"}}', "null", "5"),
    '{"g4f": {"attempts": {"a": 1}, "ttft": 0.1}}',
]


@pytest.mark.usefixtures("keys")
def test_rows_that_llm_cannot_have_written_are_passed_over(
    write_config: Write, log: sqlite3.Connection
) -> None:
    write_config(PAIR)
    add(log, OPENROUTER, 0.2, -1, 1e999)
    for number, text in enumerate(DAMAGE):
        values = (f"1{number:08}", OPENAI, text)
        log.execute(
            "insert into turns (id, resolved_model, response_json) values (?, ?, ?)", values
        )
    log.commit()
    assert names() == ["openrouter", "openai"]


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("content", [None, b"", b"x" * 5_000])
def test_without_logs_the_usual_order_stands(
    write_config: Write, user_path: Path, content: bytes | None
) -> None:
    order._remembered = None
    if content is not None:
        (user_path / "logs.db").write_bytes(content)
    write_config(PAIR)
    assert names() == ["openai", "openrouter"]
    assert "; time to the first token unknown" in ok(g4f("route", "gpt-4o"))[0]


def test_what_llm_logs_decides_about_the_next_prompt(
    endpoints: Callable[..., Path], run_llm: Run
) -> None:
    with Server([0.4, *stream("slow")]) as slow, Server(stream("quick")) as quick:
        endpoints("order: latency", slow=slow, quick=quick)
        for name in ("slow", "quick"):
            assert run_llm("-m", "gpt-4o", "hi", "-o", "provider", name).stdout == f"{name}\n"
        assert run_llm("-m", "gpt-4o", "hi").stdout == "quick\n"
        logged = json.loads(run_llm("logs", "-n", "1", "--json").stdout)
    assert logged[0]["response_json"]["g4f"]["order"] == "latency"
