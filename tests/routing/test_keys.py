"""Keys that are invalid, missing, or named wrongly: which provider is left out, and the words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_g4f import Client, config
from llm_g4f.errors import AuthenticationError, NoProviderError
from llm_g4f.providers.catalogue import PROVIDERS
from llm_g4f.request import ChatRequest
from llm_g4f.routing.registry import Registry
from llm_g4f.routing.route import Route, resolve_route
from tests.support.server import Server, http, whole

Write = Callable[[str], Path]


def planned() -> Route:
    request = ChatRequest(model="gpt-4o", messages=[])
    return asyncio.run(resolve_route(request, Registry(config.load())))


INVALID = "YOUR API KEY"


def test_an_invalid_key_leaves_only_its_provider_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", INVALID)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENROUTER_API_KEY", INVALID)
    route = planned()
    assert [candidate.provider.name for candidate in route.candidates] == ["openai"]
    reasons = {name: ineligible.reason for name, ineligible in route.left_out}
    for name in ("openrouter", "gemini"):
        begin = f"The key from the environment variable {name.upper()}_API_KEY is empty or contains"
        assert reasons[name].startswith(begin)
    assert not any(INVALID in reason for reason in reasons.values())
    assert route.needs_consent == ()


def test_an_invalid_key_is_not_answered_for_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", INVALID)
    monkeypatch.setenv("GROQ_API_KEY", "gsk-test")
    assert planned().candidates == ()


def test_an_invalid_address_of_a_provider_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "nonsense")
    monkeypatch.setenv("GROQ_API_KEY", "gsk-test")
    assert [candidate.provider.name for candidate in planned().candidates] == ["groq"]


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_key_in_llm_keys_by_the_name_of_its_provider(name: str, user_path: Path) -> None:
    (user_path / "keys.json").write_text(json.dumps({name: "stored"}))
    assert Registry(config.load()).has_key(name) is True


PASTED = "sk-canary-4711"


@pytest.mark.parametrize("setting", ["key", "key_env"])
def test_a_pasted_key_in_the_place_of_its_name_is_not_shown(
    write_config: Write, setting: str
) -> None:
    write_config(f"providers: {{box: {{base_url: 'https://b.example/v1', {setting}: {PASTED}}}}}")
    with pytest.raises(NoProviderError) as caught:
        Client().chat.completions.create("hi", provider="box")
    assert f"{setting}: in g4f.yaml takes " in str(caught.value)
    assert PASTED not in str(caught.value)


def test_a_missing_key_is_asked_for(endpoints: Callable[..., Path]) -> None:
    with Server(http(401, {"error": {"message": "No."}})) as server:
        endpoints(box=server)
        with pytest.raises(
            AuthenticationError, match=r"^box wants a key: llm keys set box, then key"
        ):
            Client().chat.completions.create("hi")
        with pytest.raises(AuthenticationError, match=r"^custom wants a key: give it as api_key"):
            Client(base_url=server.url).chat.completions.create("hi")


def test_a_key_by_the_name_of_an_own_endpoint_is_not_sent_unless_it_is_named(
    endpoints: Callable[..., Path], user_path: Path
) -> None:
    (user_path / "keys.json").write_text(json.dumps({"box": PASTED}))
    with Server(whole("hi")) as server:
        endpoints(box=server)
        Client().chat.completions.create("hi")
    assert "authorization" not in server.requests[0].headers
