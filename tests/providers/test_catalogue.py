"""The catalogue's facts against each other, and against the openai package's."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from pathlib import Path

import openai.types.shared.chat_model as oracle
import pytest

from llm_g4f.config.settings import Config
from llm_g4f.config.urls import check_base_url
from llm_g4f.providers.capabilities import CAPABILITIES, capabilities_of
from llm_g4f.providers.catalogue import CHECKED, PROVIDERS
from llm_g4f.providers.model_ids import listed, names_of
from llm_g4f.providers.quirks import QUIRKS
from llm_g4f.providers.successors import successor_of
from llm_g4f.request import ChatRequest
from llm_g4f.routing.registry import Registry
from llm_g4f.routing.route import Route, resolve_route
from tests.support.prices import table_price


def route(model: str, day: dt.date) -> Route:
    source = Registry(Config(Path("g4f.yaml")), today=lambda: day)
    return asyncio.run(resolve_route(ChatRequest(model=model, messages=[]), source))


def test_every_provider_is_complete() -> None:
    for row in PROVIDERS.values():
        url = row.base_url
        for variable in row.url_env_vars:
            assert f"{{{variable}}}" in url
            url = url.replace(f"{{{variable}}}", "x")
        assert check_base_url(url) == url
        assert row.evidence, row.name
        assert set(row.quirks) <= set(QUIRKS), row.name
        assert row.kind != "keyed" or row.env_vars, row.name
        assert row.kind == "local" or url.startswith("https://"), row.name
        for ids in row.models.values():
            assert ids, row.name
        families = {names_of(model)[-1] for model in row.retires}
        assert families <= set(PROVIDERS["openai"].models), row.name
    assert dt.date(2026, 1, 1) < CHECKED


def test_retired_providers_are_not_listed() -> None:
    text = " ".join(row.base_url for row in PROVIDERS.values())
    assert "models.github.ai" not in text
    assert "githubcopilot" not in text


def announced() -> dict[str, dt.date]:
    """Shutdown dates from the docstring of openai's list of models."""
    source = Path(oracle.__file__).read_text(encoding="utf-8")
    text = " ".join(source.split("Deprecated values:", 1)[1].split())
    found = {}
    for names, day in re.findall(
        r'- ((?:"[^"]+",? ?)+): Announced shutdown date: (\d{4}-\d\d-\d\d)', text
    ):
        for name in re.findall(r'"([^"]+)"', names):
            found[name] = dt.date.fromisoformat(day)
    return found


def test_retirement_dates_equal_openais() -> None:
    dates = announced()
    assert dates["gpt-4o"] == dt.date(2027, 1, 14)
    row = PROVIDERS["openai"]
    snapshots = [model for model in dates if names_of(model)[-1] in row.models]
    assert "gpt-4o-2024-08-06" in snapshots
    for model in (*row.models, *snapshots):
        assert listed(row.retires, model) == dates.get(model), model


@pytest.mark.parametrize("model", sorted(PROVIDERS["openai"].models))
def test_the_successor_answers_from_the_day_of_retirement(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    day = PROVIDERS["openai"].retires[model]
    before = route(model, day - dt.timedelta(days=1)).candidates[0]
    assert (before.served.model, before.served.exact) == (model, True)
    after = route(model, day).candidates[0]
    assert after.served.successor
    assert not after.served.exact
    assert after.served.model == SUCCESSORS.get(model, "gpt-6-luna")


SUCCESSORS = {"gpt-4": "gpt-5.6-sol", "gpt-4-turbo": "gpt-5.6-sol"}
"""The successors that OpenAI names and that cost no more, where they are not gpt-6-luna."""


@pytest.mark.parametrize(
    ("model", "successor", "note"),
    [
        ("gpt-4", "gpt-5.6-sol", ""),
        ("gpt-4-0613", "gpt-5.6-sol", ""),
        ("gpt-4-turbo", "gpt-5.6-sol", ""),
        ("gpt-4o", "gpt-6-luna", ""),
        ("gpt-4o-2024-05-13", "gpt-6-luna", ""),
        ("gpt-4o-mini", "gpt-6-luna", ""),
        ("gpt-4.1", "gpt-6-luna", ""),
        ("gpt-4.1-mini", "gpt-6-luna", ""),
        ("gpt-3.5-turbo", "gpt-6-luna", "gpt-5.6-terra, which its maker names, costs more"),
        ("gpt-4.1-nano", "gpt-6-luna", "it costs more than gpt-4.1-nano"),
    ],
)
def test_the_successor_is_the_one_openai_names_unless_it_costs_more(
    model: str, successor: str, note: str
) -> None:
    assert successor_of(PROVIDERS["openai"], model) == (successor, note)


def test_successors_have_a_price_and_capabilities() -> None:
    row = PROVIDERS["openai"]
    for model in {*row.models, *row.successors.values()}:
        assert listed(row.prices, model) is not None, model
        assert capabilities_of(model) is not None, model
    luna = CAPABILITIES["gpt-6-luna"]
    assert (luna.context, luna.prompt, luna.output) == (1_050_000, 922_000, 128_000)


def test_the_prices_equal_those_of_the_price_table() -> None:
    for model, price in PROVIDERS["openai"].prices.items():
        for field, expected in zip(("input_tokens", "output_tokens"), price, strict=True):
            found = table_price("openai", model, **{field: 1_000})
            assert found == pytest.approx(expected / 1_000), model


def test_the_exact_model_elsewhere_comes_before_the_successor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-test")
    found = route("gpt-4o", dt.date(2027, 1, 15)).candidates
    assert [(one.provider.name, one.served.model, one.served.exact) for one in found] == [
        ("openrouter", "openai/gpt-4o", True),
        ("openai", "gpt-6-luna", False),
    ]


def test_capabilities_are_found_with_and_without_a_prefix() -> None:
    assert capabilities_of("openai/gpt-4o") is CAPABILITIES["gpt-4o"]
    assert capabilities_of("@cf/openai/gpt-oss-120b") is CAPABILITIES["gpt-oss-120b"]
    assert capabilities_of("nobody/knows") is None
    for row in PROVIDERS.values():
        if row.name in ("kilo", "llm7", "pollinations"):
            continue  # they name an alias, not a model
        for ids in row.models.values():
            for id in ids:
                assert capabilities_of(id) is not None, (row.name, id)
