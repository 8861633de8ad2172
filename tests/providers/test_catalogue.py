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
from llm_g4f.request import ChatRequest
from llm_g4f.routing.registry import Registry
from llm_g4f.routing.route import Route, resolve_route


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
    assert after.served.model == "gpt-6-luna"


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
