"""The candidates in their order, and the reasons for providers that are left out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_g4f import config
from llm_g4f.client import AsyncClient
from llm_g4f.errors import ConfigError, NoProviderError
from llm_g4f.local import runtime
from llm_g4f.providers.catalogue import PROVIDERS
from llm_g4f.providers.endpoint import Endpoint
from llm_g4f.request import ChatRequest, Secret
from llm_g4f.routing.no_provider import no_provider_error
from llm_g4f.routing.registry import Registry
from llm_g4f.routing.route import Route, resolve_route
from tests.support.server import Server, whole

Write = Callable[[str], Path]

OWN = "{base_url: https://own.example/v1}"


def planned(
    model: str = "gpt-4o",
    *,
    custom: str | None = None,
    content: Any = "hi",
    params: dict[str, Any] | None = None,
    **options: Any,
) -> Route:
    request = ChatRequest(
        model=model,
        messages=[{"role": "user", "content": content}],
        params=params or {},
        **options,
    )
    return asyncio.run(resolve_route(request, Registry(config.load(), custom)))


def order(route: Route) -> list[str]:
    """The candidates as "provider model", with "=" behind exact ones."""
    return [
        f"{candidate.provider.name} {candidate.served.model}"
        + ("=" if candidate.served.exact else "")
        for candidate in route.candidates
    ]


def left_out(route: Route) -> dict[str, str]:
    """Those left out with their reasons, without the catalogue's rows but openai."""
    return {
        name: why.reason
        for name, why in route.left_out
        if name not in PROVIDERS or name == "openai"
    }


def endpoint(route: Route, index: int = 0) -> Endpoint:
    found = route.candidates[index].provider
    assert isinstance(found, Endpoint)
    return found


def sent_key(route: Route, index: int = 0) -> str | None:
    key = endpoint(route, index).key
    return None if key is None else key.reveal()


@pytest.fixture
def openai_key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    return "sk-openai"


def test_without_configuration_the_embedded_model_answers() -> None:
    route = planned()
    assert order(route) == ["embedded smollm2-135m-instruct"]
    assert list(left_out(route)) == ["openai"]
    reason = left_out(route)["openai"]
    assert "no key" in reason
    assert '"llm keys set openai"' in reason
    assert "OPENAI_API_KEY" in reason


def test_with_a_key_only_openai_answers(openai_key: str) -> None:
    route = planned()
    assert order(route) == ["openai gpt-4o="]
    assert left_out(route) == {"embedded": "it answers only while no other provider takes part"}
    assert endpoint(route).base_url == "https://api.openai.com/v1"
    assert sent_key(route) == openai_key
    assert route.candidates[0].served.verify


def test_own_endpoints_come_first_in_the_files_order(write_config: Write, openai_key: str) -> None:
    write_config(
        f"providers:\n  zeta: {OWN}\n  alpha: {{base_url: https://a.example, "
        "models: {gpt-4o: llama-3.3-70b}}\n"
    )
    route = planned()
    assert order(route) == ["zeta gpt-4o=", "alpha llama-3.3-70b", "openai gpt-4o="]
    assert list(left_out(route)) == ["embedded"]
    assert route.candidates[0].served.verify


def test_an_own_endpoint_without_models_serves_any_model(write_config: Write) -> None:
    write_config(f"providers: {{mine: {OWN}}}")
    assert order(planned("some-model")) == ["mine some-model="]
    assert sent_key(planned()) is None


def test_an_own_endpoint_with_models_serves_only_those(write_config: Write) -> None:
    write_config("providers: {mine: {base_url: https://own.example, models: {gpt-4o: gpt-4o}}}")
    assert order(planned()) == ["mine gpt-4o="]
    route = planned("gpt-4o-mini")
    assert order(route) == []
    assert left_out(route)["mine"] == (
        "g4f.yaml does not say which of its models stands for gpt-4o-mini"
    )
    assert "embedded" in left_out(route)


@pytest.mark.parametrize(
    ("entry", "exact"),
    [
        ("gpt-4o", True),
        ("openai/gpt-4o", True),
        ("gpt-4o-2024-11-20", True),
        ("vendor/GPT-4o-2024-08-06", True),
        ("gpt-4o-mini", False),
        ("gpt-4o-audio-preview", False),
        ("gpt-4o:free", True),
        ("gpt-4o:20b", False),
        ("llama-3.3-70b", False),
        ("{id: my-deployment}", False),
        ("{id: my-deployment, exact: true}", True),
        ("{id: gpt-4o, exact: false}", False),
    ],
)
def test_exact_is_configured_or_follows_from_the_id(
    write_config: Write, entry: str, exact: bool
) -> None:
    write_config(
        f"providers: {{mine: {{base_url: https://x.example, models: {{gpt-4o: '{entry}'}}}}}}"
        if not entry.startswith("{")
        else f"providers: {{mine: {{base_url: https://x.example, models: {{gpt-4o: {entry}}}}}}}"
    )
    assert planned().candidates[0].served.exact is exact


def test_a_configured_provider_without_its_key_is_not_hidden_by_the_embedded_model(
    write_config: Write,
) -> None:
    write_config("providers:\n  mine: {base_url: https://own.example, key: work}\n")
    route = planned()
    assert order(route) == []
    reasons = left_out(route)
    assert '"llm keys set work"' in reasons["mine"]
    assert reasons["embedded"] == "it answers only while no other provider takes part"
    message = str(
        no_provider_error(
            ChatRequest(model="gpt-4o", messages=[]), route.left_out, Registry(config.load())
        )
    )
    assert '"llm keys set work"' in message
    write_config("providers:\n  mine: {base_url: https://own.example, key_env: WORK_KEY}\n")
    assert "the environment variable WORK_KEY" in left_out(planned())["mine"]
    write_config("providers:\n  openai: {enabled: true}\n")
    assert order(planned()) == []


def test_the_configured_key_is_sent(
    write_config: Write, monkeypatch: pytest.MonkeyPatch, user_path: Path, openai_key: str
) -> None:
    write_config("providers:\n  mine: {base_url: https://own.example, key_env: WORK_KEY}\n")
    monkeypatch.setenv("WORK_KEY", "sk-work")
    assert sent_key(planned()) == "sk-work"
    (user_path / "keys.json").write_text('{"work": "sk-stored", "openai": "sk-other"}')
    write_config("providers:\n  mine: {base_url: https://own.example, key: work}\n")
    assert sent_key(planned()) == "sk-stored"
    write_config("providers:\n  openai: {key: work}\n")
    assert sent_key(planned()) == "sk-stored"
    write_config("providers:\n  openai: {key: nobodys}\n")
    assert '"llm keys set nobodys"' in left_out(planned())["openai"]


def test_disabled_providers_are_left_out(write_config: Write, openai_key: str) -> None:
    write_config("providers:\n  openai: {enabled: false}\n")
    route = planned()
    assert order(route) == ["embedded smollm2-135m-instruct"]
    assert "disabled" in left_out(route)["openai"]
    write_config(
        f"providers:\n  mine: {OWN[:-1]}, enabled: false}}\n"
        "  openai: {enabled: false}\n  embedded: {enabled: false}\n"
    )
    route = planned()
    assert order(route) == []
    assert {name: "disabled" in why for name, why in left_out(route).items()} == {
        "mine": True,
        "openai": True,
        "embedded": True,
    }
    assert order(planned(providers=("openai", "embedded"))) == []


def test_an_enabled_embedded_model_still_stands_behind_all_others(
    write_config: Write, openai_key: str
) -> None:
    write_config("providers:\n  embedded: {enabled: true}\n")
    assert order(planned()) == ["openai gpt-4o="]


def test_without_its_runtime_the_embedded_model_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "find_spec", lambda name: None)
    route = planned()
    assert order(route) == []
    assert "llm install 'llm-g4f[local]'" in left_out(route)["embedded"]


# routes:


def test_a_configured_route_is_complete_and_ordered(write_config: Write, openai_key: str) -> None:
    write_config(
        "providers:\n"
        "  mine: {base_url: https://own.example, models: {gpt-4o: llama}}\n"
        f"  other: {OWN}\n"
        "routes:\n"
        "  gpt-4o: [embedded, openai/gpt-4o-2024-08-06, mine/vendor/qwen-3, mine, mine/gpt-4o]\n"
    )
    route = planned()
    assert order(route) == [
        "embedded smollm2-135m-instruct",
        "openai gpt-4o-2024-08-06=",
        "mine vendor/qwen-3",
        "mine llama",
        "mine gpt-4o=",
    ]
    assert route.left_out == ()
    assert order(planned("gpt-4o-mini")) == ["other gpt-4o-mini=", "openai gpt-4o-mini="]


def test_a_named_embedded_model_stands_behind_a_provider_without_key(
    write_config: Write,
) -> None:
    write_config("routes: {gpt-4o: [openai, embedded]}")
    route = planned()
    assert order(route) == ["embedded smollm2-135m-instruct"]
    assert "no key" in left_out(route)["openai"]


def test_named_providers_come_before_the_route(write_config: Write, openai_key: str) -> None:
    write_config(f"providers: {{mine: {OWN}}}\nroutes: {{gpt-4o: [mine]}}")
    assert order(planned(providers=("openai", "mine"))) == ["openai gpt-4o=", "mine gpt-4o="]
    assert order(planned(providers=("mine/llama",))) == ["mine llama"]


@pytest.mark.parametrize("where", ["route", "provider"])
def test_an_unknown_provider_is_an_error_that_lists_the_known_ones(
    write_config: Write, where: str
) -> None:
    if where == "route":
        write_config(f"providers: {{mine: {OWN}}}\nroutes: {{gpt-4o: [mine, opnai]}}")
    else:
        write_config(f"providers: {{mine: {OWN}}}")
    with pytest.raises(NoProviderError) as caught:
        planned(providers=("mine", "opnai") if where == "provider" else ())
    assert "'opnai'" in str(caught.value)
    assert ("g4f.yaml, line 2: Unknown provider" in str(caught.value)) is (where == "route")
    assert "mine, openai, azure, openrouter" in str(caught.value)


def test_a_provider_without_base_url_is_an_error_with_its_line(write_config: Write) -> None:
    path = write_config("providers:\n\n  mine: {models: {gpt-4o: llama}}\n")
    with pytest.raises(ConfigError) as caught:
        planned()
    assert str(caught.value).startswith(f"{path}, line 3: provider mine needs a base_url")


# exact, substitutes


@pytest.mark.parametrize("by", ["exact", "substitutes"])
def test_substitutes_can_be_excluded(write_config: Write, openai_key: str, by: str) -> None:
    write_config(
        f"substitutes: {'false' if by == 'substitutes' else 'true'}\n"
        "providers: {mine: {base_url: https://own.example, models: {gpt-4o: llama}}}\n"
        "routes: {gpt-4o: [mine, embedded, openai]}\n"
    )
    route = planned(exact=by == "exact")
    assert order(route) == ["openai gpt-4o="]
    assert left_out(route) == {
        "mine": "llama is a substitute, and only gpt-4o is allowed",
        "embedded": "smollm2-135m-instruct is a substitute, and only gpt-4o is allowed",
    }


def test_an_empty_route_is_an_error_with_reasons_and_advice() -> None:
    async def ask() -> None:
        await AsyncClient().chat.completions.create("hi", exact=True)

    with pytest.raises(NoProviderError) as caught:
        asyncio.run(ask())
    message = str(caught.value)
    assert "gpt-4o" in message.splitlines()[0]
    assert "  openai: no key" in message
    assert "  embedded: smollm2-135m-instruct is a substitute" in message
    assert '"llm keys set openai"' in message
    assert "g4f.yaml" in message
    assert caught.value.model == "gpt-4o"


# --key


def test_a_given_key_is_only_for_openai(write_config: Write) -> None:
    write_config(f"providers: {{mine: {OWN}}}\nroutes: {{gpt-4o: [mine]}}")
    route = planned(key=Secret("sk-given"))
    assert order(route) == ["openai gpt-4o="]
    assert sent_key(route) == "sk-given"


def test_a_given_key_is_only_for_the_named_provider(write_config: Write, openai_key: str) -> None:
    write_config("providers: {mine: {base_url: https://own.example, key: nobodys}}")
    route = planned(key=Secret("sk-given"), providers=("mine",))
    assert order(route) == ["mine gpt-4o="]
    assert sent_key(route) == "sk-given"


OTHER = "give another one with --key or api_key"


@pytest.mark.parametrize(
    ("provider", "key", "hint"),
    [
        ("openai: {}", None, 'set it with "llm keys set openai" or the environment variable OPENAI_API_KEY'),
        ("openai: {}", Secret("sk-given"), OTHER),
        ("openai: {key_env: WORK}", None, "set it with the environment variable WORK"),
        ("openai: {key: work}", None, 'set it with "llm keys set work"'),
        ("openai: {base_url: https://proxy.example/v1, key_env: WORK}", None, "set it with the environment variable WORK"),
        ("openai: {base_url: https://proxy.example/v1, key_env: WORK}", Secret("sk-given"), OTHER),
        ("mine: {base_url: https://own.example, key: work}", None, 'set it with "llm keys set work"'),
        ("mine: {base_url: https://own.example, key_env: WORK}", Secret("sk-given"), OTHER),
        ("mine: {base_url: https://own.example}", None, ""),
    ],
)  # fmt: skip
def test_the_advice_about_a_rejected_key_is_about_the_key_that_is_sent(
    provider: str,
    key: Secret | None,
    hint: str,
    write_config: Write,
    openai_key: str,
    user_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (user_path / "keys.json").write_text('{"work": "sk-work"}')
    monkeypatch.setenv("WORK", "sk-env")
    write_config(f"providers:\n  {provider}\n")
    assert (
        endpoint(planned(key=key, providers=(provider.split(":", maxsplit=1)[0],))).key_hint == hint
    )


def test_a_given_key_does_not_enable_a_provider(write_config: Write) -> None:
    write_config("providers: {openai: {enabled: false}}")
    route = planned(key=Secret("sk-given"))
    assert order(route) == []


# Addresses.


def test_openai_base_url_and_key_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, openai_key: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1/")
    route = planned()
    assert endpoint(route).base_url == "http://127.0.0.1:9/v1"
    assert sent_key(route) == openai_key
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    assert endpoint(planned()).base_url == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "ftp://example.com/v1")
    with pytest.raises(NoProviderError, match=r"OPENAI_BASE_URL: .*must start with"):
        planned()


@pytest.mark.parametrize("plain_http", [False, True])
def test_an_unencrypted_openai_base_url_is_used_and_said_once(
    plain_http: bool,
    write_config: Write,
    monkeypatch: pytest.MonkeyPatch,
    openai_key: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As llm's own gpt-4o uses it; `plain_http: true` says that this is meant."""
    if plain_http:
        write_config("providers: {openai: {plain_http: true}}")
    url = f"http://{'meant' if plain_http else 'gateway'}.example/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    for _ in range(2):
        route = planned()
        assert endpoint(route).base_url == url
        assert sent_key(route) == openai_key
    said = [f"OPENAI_BASE_URL is {url}: prompts and the key go there unencrypted."]
    assert [line.message[: len(said[0])] for line in caplog.records] == said[plain_http:]


def test_an_openai_base_url_on_this_machine_is_not_said(
    monkeypatch: pytest.MonkeyPatch, openai_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    for url in ("http://localhost:9/v1", "http://127.0.0.1:9/v1", "https://a.example/v1"):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        assert endpoint(planned()).base_url == url
    assert caplog.records == []


@pytest.mark.usefixtures("openai_key")
def test_the_organization_of_the_environment_is_sent_to_openai_alone(
    write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", " proj-1 ")
    both = {"openai-organization": "org-1", "openai-project": "proj-1"}
    custom = planned(custom="https://api.openai.com/v1", providers=("custom",))
    assert endpoint(planned()).headers == endpoint(custom).headers == both
    others = ("https://gateway.example/v1", "https://api.openai.com.example/v1",
              "https://gateway.example/https://api.openai.com/v1")  # fmt: skip
    for other in others:
        monkeypatch.setenv("OPENAI_BASE_URL", other)
        assert endpoint(planned()).headers == {}
        assert endpoint(planned(custom=other, providers=("custom",))).headers == {}
    monkeypatch.delenv("OPENAI_BASE_URL")
    write_config("providers: {openai: {headers: {OpenAI-Project: other, X-A: b}}}")
    sent = endpoint(planned())._headers(streaming=False)
    assert (sent["openai-organization"], sent["openai-project"]) == ("org-1", "other")
    monkeypatch.setenv("OPENAI_ORG_ID", "org\n1")
    with pytest.raises(NoProviderError, match="OPENAI_ORG_ID contains invalid characters"):
        planned()


def test_plain_http_of_a_built_in_provider(
    write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORK", "sk-work")
    entry = "providers:\n  openai: {base_url: http://gateway.example/v1, key_env: WORK"
    write_config(f"{entry}}}\n")
    with pytest.raises(ConfigError, match="plain_http: true"):
        planned()
    write_config(f"{entry}, plain_http: true}}\n")
    assert endpoint(planned()).base_url == "http://gateway.example/v1"


def test_another_base_url_of_openai_needs_its_own_key(
    write_config: Write, openai_key: str, user_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user_path / "keys.json").write_text('{"openai": "sk-stored", "work": "sk-work"}')
    path = write_config("providers:\n  openai:\n    base_url: https://proxy.example/v1\n")
    with pytest.raises(ConfigError) as caught:
        planned()
    assert str(caught.value).startswith(f"{path}, line 2: openai has another base_url")
    write_config("providers:\n  openai: {base_url: https://proxy.example/v1, key: work}\n")
    route = planned()
    assert endpoint(route).base_url == "https://proxy.example/v1"
    assert sent_key(route) == "sk-work"
    write_config("providers:\n  openai: {base_url: https://proxy.example/v1, key_env: WORK}\n")
    assert "WORK" in left_out(planned())["openai"]
    assert order(planned()) == []
    monkeypatch.setenv("WORK", "sk-env")
    assert sent_key(planned()) == "sk-env"
    # A key given with the prompt is the user's word for this address.
    assert sent_key(planned(key=Secret("sk-given"))) == "sk-given"


def test_a_configured_base_url_wins_over_openai_base_url(
    write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://env.example/v1")
    monkeypatch.setenv("WORK", "sk-work")
    write_config("providers:\n  openai: {base_url: https://file.example/v1, key_env: WORK}\n")
    assert endpoint(planned()).base_url == "https://file.example/v1"


def test_a_base_url_makes_a_provider_without_key(openai_key: str) -> None:
    route = planned("anything", custom="http://127.0.0.1:9")
    assert order(route) == ["custom anything="]
    assert sent_key(route) is None
    assert order(planned(custom="http://127.0.0.1:9", providers=("custom/x",))) == ["custom x"]
    with pytest.raises(NoProviderError, match="'custom'"):
        planned(providers=("custom",))


# What a request needs.

IMAGE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]
AUDIO = [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]
FILE = [{"type": "file", "file": {"file_id": "x"}}]
TOOLS = {"tools": [{"type": "function", "function": {"name": "f"}}]}
SCHEMA = {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}


@pytest.mark.parametrize(
    ("setting", "content", "params", "can"),
    [
        ("vision: false", IMAGE, {}, False),
        ("vision: true", IMAGE, {}, True),
        ("audio: true", IMAGE, {}, True),
        ("vision: false", "hi", {}, True),
        ("audio: false", AUDIO, {}, False),
        ("audio: true", AUDIO, {}, True),
        ("supports_tools: false", "hi", TOOLS, False),
        ("supports_tools: false", "hi", {"tools": []}, True),
        ("supports_tools: true", "hi", TOOLS, True),
        ("supports_schema: false", "hi", SCHEMA, True),
        ("supports_schema: false", "hi", {"response_format": {"type": "json_object"}}, True),
        ("supports_schema: true", "hi", SCHEMA, True),
    ],
)
def test_an_ineligible_provider_is_left_out_with_the_reason(
    write_config: Write, setting: str, content: Any, params: dict[str, Any], can: bool
) -> None:
    write_config(f"providers: {{mine: {OWN[:-1]}, {setting}}}}}")
    route = planned(content=content, params=params)
    assert order(route) == (["mine gpt-4o="] if can else [])
    if not can:
        words = {
            "vision: false": ("does not read images", "does not take files"),
            "audio: false": ("does not take audio",),
            "supports_tools: false": ("does not call tools",),
            "supports_schema: false": ("does not support schemas",),
        }
        assert left_out(route)["mine"].endswith(words[setting])


@pytest.mark.parametrize("provider", ["ollama", "lmstudio", "vllm"])
@pytest.mark.parametrize(
    ("image", "on_the_web"),
    [
        ({"url": "https://example.com/a.png"}, True),
        ({"url": "HTTP://example.com/a.png", "detail": "low"}, True),
        ("http://example.com/a.png", True),
        ({"url": "data:image/png;base64,AA=="}, False),
        ({"url": None}, False),
        ({}, False),
        (None, False),
    ],
)
def test_an_image_on_the_web_is_not_for_providers_that_take_data_only(
    provider: str, image: Any, on_the_web: bool, write_config: Write
) -> None:
    write_config(f"providers: {{{provider}: {{enabled: true, models: {{gpt-4o: llava}}}}}}")
    text = {"type": "text", "text": "What is it? https://example.com/a.png"}
    route = planned(content=[text, {"type": "image_url", "image_url": image}])
    if on_the_web and provider != "vllm":
        assert order(route) == []
        assert dict(route.left_out)[provider].reason == (
            "it takes images as data only, not the URL of one on the web"
        )
    else:
        assert order(route) == [f"{provider} llava"]


@pytest.mark.parametrize(
    ("content", "params", "words"),
    [
        (IMAGE, {}, "does not read images"),
        (AUDIO, {}, "does not take audio"),
        (FILE, {}, "does not take files"),
        ("hi", TOOLS, "does not call tools"),
        ("hi", {"n": 2}, "n=1"),
    ],
)
def test_the_embedded_model_is_left_out_if_ineligible(
    content: Any, params: dict[str, Any], words: str
) -> None:
    route = planned(content=content, params=params)
    assert order(route) == []
    assert words in left_out(route)["embedded"]


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-mini"])
def test_openais_chat_models_take_no_audio(openai_key: str, model: str) -> None:
    route = planned(model, content=AUDIO)
    assert order(route) == []
    assert left_out(route)["openai"] == f"{model} does not take audio"


def test_settings_override_a_built_in_row(
    write_config: Write, openai_key: str, user_path: Path
) -> None:
    (user_path / "ca.pem").touch()
    write_config(
        "providers:\n  openai:\n    models: {gpt-4o: gpt-6-luna, mine: {id: x, exact: true}}\n"
        "    headers: {X-Team: blue}\n    extra_body: {store: true}\n    timeout: 7\n"
        f"    context: 99\n    vision: false\n    ca_file: {user_path / 'ca.pem'}\n"
    )
    route = planned()
    assert order(route) == ["openai gpt-6-luna"]
    assert order(planned("mine")) == ["openai x="]
    assert order(planned("gpt-4o-mini")) == ["openai gpt-4o-mini="]
    found = endpoint(route)
    assert found.headers == {"X-Team": "blue"}
    assert found.extra_body == {"store": True}
    assert found.timeout == 7
    assert found.network.ca_file == str(user_path / "ca.pem")
    assert route.candidates[0].served.context == 99
    assert order(planned(content=IMAGE)) == []


def test_settings_of_a_provider_are_sent(write_config: Write, openai_key: str) -> None:
    with Server(whole(model="llama")) as server:
        write_config(
            f"providers:\n  mine:\n    base_url: {server.url}\n    models: {{gpt-4o: llama}}\n"
            "    headers: {X-Team: blue}\n    extra_body: {data_collection: deny, seed: 1}\n"
        )

        async def ask() -> None:
            answer = await AsyncClient().chat.completions.create("hi", seed=2)
            assert answer.receipt.exact is False
            assert answer.model == "llama"

        asyncio.run(ask())
        [request] = server.requests
    assert request.headers["x-team"] == "blue"
    assert "authorization" not in request.headers
    assert request.json["model"] == "llama"
    assert request.json["data_collection"] == "deny"
    assert request.json["messages"] == [{"role": "user", "content": "hi"}]
    assert "sk-openai" not in json.dumps([request.headers, request.path, request.json])


def test_an_image_does_not_count_for_the_context_window(write_config: Write) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    write_config(
        f"providers:\n  small: {OWN[:-1]}, context: 4096}}\n  large: {OWN[:-1]}, context: 128000}}\n"
    )
    assert len(planned(content=[image]).candidates) == 2
    text = {"type": "text", "text": "A" * 100_000}
    assert order(planned(content=[text])) == ["large gpt-4o="]
