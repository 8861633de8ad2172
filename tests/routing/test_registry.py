"""A registry works out a lineup once, and again after its inputs have changed."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_g4f import config
from llm_g4f.providers.endpoint import Endpoint
from llm_g4f.request import ChatRequest
from llm_g4f.routing import lineup
from llm_g4f.routing.registry import Registry, RegistryCache
from llm_g4f.routing.route import Route, resolve_route

Write = Callable[[str], Path]


def route(registry: Registry, model: str = "gpt-4o", *providers: str) -> Route:
    request = ChatRequest(model=model, messages=[], providers=providers)
    return asyncio.run(resolve_route(request, registry))


def answering(registry: Registry) -> list[str]:
    return [f"{one.provider.name} {one.served.model}" for one in route(registry).candidates]


@pytest.fixture
def cache() -> RegistryCache:
    return RegistryCache()


def test_while_nothing_changes_the_registry_and_its_lineups_stay(
    cache: RegistryCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1234567890")
    registry = cache.current()
    first = route(registry).candidates[0].provider
    assert cache.current() is registry
    assert route(registry).candidates[0].provider is first


def test_a_key_set_in_the_environment_counts_at_the_next_request(
    cache: RegistryCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any(answer.startswith("openai") for answer in answering(cache.current()))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1234567890")
    assert answering(cache.current()) == ["openai gpt-4o"]
    monkeypatch.delenv("OPENAI_API_KEY")
    assert not any(answer.startswith("openai") for answer in answering(cache.current()))


def test_a_key_stored_by_llm_counts_at_the_next_request(
    cache: RegistryCache, user_path: Path
) -> None:
    assert not any(answer.startswith("openai") for answer in answering(cache.current()))
    (user_path / "keys.json").write_text(json.dumps({"openai": "sk-1234567890"}))
    assert answering(cache.current()) == ["openai gpt-4o"]


def test_a_changed_g4f_yaml_counts_at_the_next_request(
    cache: RegistryCache, write_config: Write
) -> None:
    write_config("providers: {a: {base_url: 'http://127.0.0.1:1/v1'}}")
    assert answering(cache.current()) == ["a gpt-4o"]
    write_config("providers: {bb: {base_url: 'http://127.0.0.1:1/v1'}}")
    assert answering(cache.current()) == ["bb gpt-4o"]


def test_another_user_directory_counts_at_the_next_request(
    cache: RegistryCache, write_config: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config("providers: {a: {base_url: 'http://127.0.0.1:1/v1'}}")
    assert answering(cache.current()) == ["a gpt-4o"]
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "other"))
    assert "a gpt-4o" not in answering(cache.current())


def test_a_retirement_counts_from_its_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1234567890")
    days = [dt.date(2027, 1, 13)]
    registry = Registry(config.load(), today=lambda: days[0])
    assert answering(registry) == ["openai gpt-4o"]
    days[0] = dt.date(2027, 1, 14)
    assert answering(registry) == ["openai gpt-6-luna"]


def test_a_model_that_is_gone_counts_at_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1234567890")
    registry = Registry(config.load(), today=lambda: dt.date(2026, 11, 25))
    assert answering(registry) == ["openai gpt-4o"]
    endpoint = route(registry).candidates[0].provider
    assert isinstance(endpoint, Endpoint)
    registry.cooldowns.note_gone("openai", endpoint.base_url, endpoint.key, "gpt-4o")
    assert answering(registry) == ["openai gpt-6-luna"]
    end = registry.cooldowns.gone()[0].until
    registry.cooldowns.now = lambda: end
    assert answering(registry) == ["openai gpt-4o"]


def test_the_number_of_lineups_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineup, "MAX_LINEUPS", 8)
    registry = Registry(config.load(), "http://127.0.0.1:1/v1")
    for number in range(40):
        route(registry, f"model-{number}")
        assert len(registry.lineups) <= 8


def test_a_lineup_is_not_made_anew_after_the_end_of_what_was_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1234567890")
    registry = Registry(config.load(), today=lambda: dt.date(2026, 11, 25))
    registry.cooldowns.note_gone("other", "https://x.example/v1", None, "gpt-4o")
    assert answering(registry) == ["openai gpt-4o"]
    end = registry.cooldowns.gone()[0].until
    registry.cooldowns.now = lambda: end
    first = route(registry).candidates[0].provider
    assert route(registry).candidates[0].provider is first
