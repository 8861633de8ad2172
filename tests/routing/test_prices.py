"""The price of an answer, and the cases in which it is unknown."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_g4f import config
from llm_g4f.decoding.chunks import ChunkReader
from llm_g4f.providers.catalogue import PROVIDERS
from llm_g4f.receipt import Receipt
from llm_g4f.routing.prices import has_table, price
from llm_g4f.routing.registry import Registry
from llm_g4f.types import Usage
from tests.support.commands import Run
from tests.support.prices import FIGURE, table_price
from tests.support.prompts import Ask
from tests.support.stand_in import KEY, TOKENS, StandIn, counted

Write = Callable[[str], Path]

USED = Usage(1_000, 100, 1_100, {"cached_tokens": 400, "audio_tokens": 0})


def priced(
    provider: str | None = "openai",
    model: str | None = "gpt-4o-2024-11-20",
    usage: Usage = USED,
    tier: str | None = None,
    batch: str | None = None,
) -> float | None:
    receipt = Receipt("gpt-4o", provider, model, batch=batch)
    return price(receipt, usage, tier, Registry(config.load()))


@pytest.mark.parametrize(
    ("provider", "table", "model"),
    [
        ("openai", "openai", "gpt-4o-2024-11-20"),
        ("openai", "openai", "gpt-4o-mini"),
        ("azure", "azure", "gpt-4o"),
        ("openrouter", "openrouter", "openai/gpt-4o"),
        ("groq", "groq", "openai/gpt-oss-120b"),
    ],
)
def test_price_of_the_table(provider: str, table: str, model: str) -> None:
    figure = table_price(table, model, input_tokens=1_000, output_tokens=100, cache_read_tokens=400)
    assert figure > 0
    assert priced(provider, model) == figure


def test_price_in_a_batch_is_that_of_the_table_or_unknown() -> None:
    for provider, model in (("openai", "gpt-4o"), ("groq", "openai/gpt-oss-120b")):
        usage = Usage(1_000, 100, 1_100)
        usual = priced(provider, model, usage)
        assert usual is not None
        assert priced(provider, model, usage, batch="batch_1") == pytest.approx(usual / 2)
    # The table has no price of its batches.
    assert priced("groq", "qwen/qwen3.8-27b") is not None
    assert priced("groq", "qwen/qwen3.8-27b", batch="batch_1") is None


def test_tokens_from_the_cache_cost_less() -> None:
    cached, fresh = priced(), priced(usage=Usage(1_000, 100, 1_100))
    assert cached is not None
    assert fresh is not None
    assert 0 < cached < fresh


@pytest.mark.parametrize("count", [None, True, -1, 0, "400", 4.5, []])
def test_missing_counts_are_zero(count: Any) -> None:
    usage = Usage(1_000, 100, 1_100, {"cached_tokens": count}, {"audio_tokens": count})
    assert priced(usage=usage) == table_price(
        "openai", "gpt-4o-2024-11-20", input_tokens=1_000, output_tokens=100
    )


def test_audio_is_priced_as_audio() -> None:
    model = "gemini-3-flash-preview"
    usage = Usage(1_000, 100, 1_100, {"audio_tokens": 50})
    figure = table_price(
        "google", model, input_tokens=1_000, output_tokens=100, input_audio_tokens=50
    )
    assert figure != table_price("google", model, input_tokens=1_000, output_tokens=100)
    assert priced("gemini", model, usage) == figure


def test_impossible_counts_have_no_price() -> None:
    assert priced(usage=Usage(10, 1, 11, {"cached_tokens": 400})) is None


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "nobodys-model"),
        ("openai", None),
        (None, "gpt-4o"),
        ("mine", "gpt-4o"),
        ("embedded", "smollm2-135m-instruct"),
        ("ollama", "gpt-oss:20b"),
        ("vercel", "openai/gpt-4o"),
        ("llm:gpt-4o", "gpt-4o"),
    ],
)
def test_unknown_prices_are_none(
    provider: str | None, model: str | None, write_config: Write
) -> None:
    write_config("providers: {mine: {base_url: 'http://127.0.0.1:1/v1'}}")
    assert priced(provider, model) is None


@pytest.mark.parametrize("tier", ["flex", "priority", "scale", "auto"])
def test_other_tiers_have_other_prices(tier: str) -> None:
    assert priced(tier=tier) is None
    assert priced(tier="default") == priced() is not None


def test_another_address_has_another_price(
    write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config("providers: {openai: {headers: {X-Team: blue}}}")
    assert priced() is not None
    write_config("providers: {openai: {base_url: 'http://127.0.0.1:1/v1', key_env: MINE}}")
    assert priced() is None
    assert priced("openrouter", "openai/gpt-4o") is not None
    write_config("")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert priced() is None
    assert priced("openrouter", "openai/gpt-4o") is not None


@pytest.mark.parametrize("cost", [0.25, 0.0])
def test_openrouters_cost_is_used(cost: float) -> None:
    usage = Usage(1_000, 100, 1_100, extra={"cost": cost})
    assert priced("openrouter", "openai/gpt-4o", usage) == cost
    assert priced("openrouter", "nobodys-model", usage, "flex") == cost


@pytest.mark.parametrize(
    ("details", "own", "cost"),
    [
        ({"upstream_inference_cost": 0.5}, True, 0.75),
        ({"upstream_inference_cost": 0}, True, 0.25),
        ({"upstream_inference_cost": 0.5}, False, 0.25),
        ({"upstream_inference_cost": None}, True, 0.25),
        (None, True, 0.25),
        ({}, True, 0.25),
    ],
)
def test_with_a_key_of_the_users_own_the_provider_behind_openrouter_costs_too(
    details: Any, own: bool, cost: float
) -> None:
    value = {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.25, "is_byok": own}
    reader = ChunkReader("openrouter", "m")
    usage = reader.read({"choices": [], "usage": {**value, "cost_details": details}}).usage
    assert usage is not None
    assert priced("openrouter", "nobodys-model", usage) == cost


def test_other_providers_cost_is_ignored(write_config: Write) -> None:
    usage = Usage(1_000, 100, 1_100, extra={"cost": 0.25})
    assert priced(usage=usage) == priced(usage=Usage(1_000, 100, 1_100))
    for row in PROVIDERS.values():
        if not row.reports_cost:
            assert priced(row.name, "nobodys-model", usage) is None
    write_config("providers: {openrouter: {base_url: 'http://127.0.0.1:1/v1', key_env: MINE}}")
    assert priced("openrouter", "openai/gpt-4o", usage) is None


@pytest.fixture
def without_table(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide genai-prices, as if it were not installed."""
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    has_table.cache_clear()
    yield
    has_table.cache_clear()


@pytest.mark.usefixtures("without_table")
def test_without_the_table_openrouters_cost_is_used() -> None:
    assert not has_table()
    assert priced() is None
    usage = Usage(1_000, 100, 1_100, extra={"cost": 0.25})
    assert priced("openrouter", "openai/gpt-4o", usage) == 0.25


def test_the_table_is_installed_for_the_tests() -> None:
    assert has_table()


# Through llm: the catalogue's own addresses, reached through a tunnel that ends here.


@pytest.mark.parametrize(
    ("provider", "said", "figure"),
    [
        ("openai", {}, FIGURE),
        ("openai", {"service_tier": "default"}, FIGURE),
        ("openai", {"service_tier": "priority"}, None),
        ("openai", {"usage": TOKENS | {"cost": 0.25}}, FIGURE),
        ("openrouter", {"usage": TOKENS | {"cost": 0.25}}, 0.25),
        ("openrouter", {"usage": TOKENS | {"cost": 2}}, 2),
        # Llm leaves out what is nothing.
        ("openrouter", {"usage": TOKENS | {"cost": 0}}, None),
    ],
)
def test_the_price_is_in_llms_usage(
    ask: Ask,
    stand_in: StandIn,
    provider: str,
    said: dict[str, Any],
    figure: float | None,
) -> None:
    script = counted(model=PROVIDERS[provider].models["gpt-4o"][0], **said)
    with stand_in(script, **{provider: ""}):
        answer = ask("hi", provider=provider)
    assert answer.text == "Hello"
    assert (answer.usage.input, answer.usage.output) == (1_000, 100)
    details = answer.usage.details
    assert details is not None
    assert details["prompt_tokens_details"] == {"cached_tokens": 400}
    assert details.get("price_usd") == figure


def test_the_price_is_in_the_logs(
    run_llm: Run,
    stand_in: StandIn,
) -> None:
    with stand_in(counted(), openai="") as server:
        done = run_llm("-m", "gpt-4o", "hi", "-u")
        assert (done.returncode, done.stdout) == (0, "Hello\n")
        assert f'"price_usd": {FIGURE}' in done.stderr
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    (logged,) = json.loads(run_llm("logs", "--json").stdout)
    assert json.loads(logged["token_details"])["price_usd"] == FIGURE
