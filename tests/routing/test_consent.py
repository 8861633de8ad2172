"""Prompts and keys go only to the providers that the user chose."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_g4f import AsyncClient, Client, config
from llm_g4f.config.settings import Config, ProviderConfig
from llm_g4f.errors import G4FError, NoProviderError
from llm_g4f.providers.base import Ineligible, ServedModel
from llm_g4f.providers.catalogue import PROVIDERS
from llm_g4f.providers.endpoint import Endpoint
from llm_g4f.request import ChatRequest
from llm_g4f.routing import registry as registry_module
from llm_g4f.routing.plugin_providers import PluginProviders
from llm_g4f.routing.registry import Registry
from llm_g4f.routing.route import resolve_route
from tests.support.commands import g4f, ok
from tests.support.server import RESET, Script, Server, events, http, stream, whole

Write = Callable[[str], Path]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

KEYED = [row for row in PROVIDERS.values() if row.env_vars]


def canary(name: str) -> str:
    return f"canary-key-of-{name}"


ANSWERS: dict[str, Callable[[str], Script]] = {
    "ok": lambda key: whole(f"your key is {len(key)} letters long"),
    "401": lambda key: http(401, {"error": {"message": f"bad key: {key}", "code": key}}),
    "500": lambda key: http(500, f"your headers were: {key}", kind="text/plain"),
    "stream": lambda key: events({"error": {"message": f"no good: {key}"}}),
    "302": lambda key: http(302, "", [("Location", "http://127.0.0.1:9/")]),
    "reset": lambda key: [RESET],
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_each_key_is_sent_only_to_its_own_server(
    write_config: Write,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    user_path: Path,
    answer: str,
) -> None:
    caplog.set_level(logging.DEBUG)

    async def ask(name: str) -> str:
        try:
            answered = await AsyncClient(name).chat.completions.create("hi")
        except G4FError as error:
            told = f"{error} {error!r} {vars(error)} {error.receipt}"
            return told + "".join(traceback.format_exception(error))
        return f"{answered.model_dump_json()} {answered!r}"

    async def ask_all() -> str:
        return "".join(await asyncio.gather(*(ask(row.name) for row in KEYED)))

    with contextlib.ExitStack() as stack:
        servers: dict[str, Server] = {}
        lines = ["providers:"]
        for row in KEYED:
            script = ANSWERS[answer](canary(row.name))
            servers[row.name] = stack.enter_context(Server(script))
            variable = row.env_vars[0]
            monkeypatch.setenv(variable, canary(row.name))
            lines.append(
                f"  {row.name}: {{enabled: true, base_url: '{servers[row.name].url}',"
                f" key_env: {variable}, models: {{gpt-4o: some-model}}}}"
            )
        write_config("\n".join(lines))
        said = asyncio.run(ask_all())
        for row in KEYED:
            assert servers[row.name].requests, row.name
            for request in servers[row.name].requests:
                head = f"{request.path} {request.headers}"
                assert canary(row.name) in head
                assert f"{head} {request.body!r}".count("canary") == 1
    said += caplog.text + "".join(capfd.readouterr())
    files = [path for path in user_path.rglob("*") if path.is_file()]
    said += "".join(path.read_text() for path in files if path.suffix != ".lock")
    assert "canary" not in said


def test_another_key_in_the_environment_is_no_consent(
    write_config: Write, monkeypatch: pytest.MonkeyPatch, run_llm: Run
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("GEMINI_API_KEY", "sk-gemini")
    failing = http(500, {"error": {"message": "boom"}})
    with Server(failing) as openai, Server(stream("I am gemini")) as gemini:
        write_config(
            f"providers:\n  openai: {{base_url: '{openai.url}', key_env: OPENAI_API_KEY}}\n"
            f"  gemini: {{base_url: '{gemini.url}', key_env: GEMINI_API_KEY}}\n"
        )
        refused = run_llm("-m", "gpt-4o", "hi")
        assert refused.returncode == 1
        assert (
            'Not asked, although a key is set: gemini. To allow it: "llm g4f enable gemini".'
            in (refused.stderr)
        )
        assert gemini.requests == []
        assert run_llm("g4f", "enable", "gemini").returncode == 0
        allowed = run_llm("-m", "gpt-4o", "hi")
        assert allowed.stdout == "I am gemini\n"
        assert len(gemini.requests) == 1


def test_the_only_key_is_used_without_consent(
    write_config: Write, monkeypatch: pytest.MonkeyPatch, run_llm: Run
) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "sk-groq")
    with Server(stream("I am groq", model="openai/gpt-oss-120b")) as groq:
        write_config(f"providers: {{groq: {{base_url: '{groq.url}', key_env: GROQ_API_KEY}}}}")
        answer = run_llm("-m", "gpt-4o", "hi")
    assert answer.stdout == "I am groq\n"
    assert answer.stderr == (
        "gpt-4o answered by openai/gpt-oss-120b (groq): a substitute."
        ' "llm g4f route gpt-4o" shows why.\n'
    )


def test_enabled_without_its_key_is_an_error_that_names_the_key(
    write_config: Write, run_llm: Run, real_weights: Path
) -> None:
    write_config("providers: {groq: {enabled: true}}")
    answer = run_llm("-m", "gpt-4o", "hi")
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert "groq: no key: set it with" in answer.stderr
    assert "GROQ_API_KEY" in answer.stderr


@pytest.mark.parametrize("name", [row.name for row in PROVIDERS.values() if row.kind != "keyed"])
def test_local_and_public_providers_must_be_enabled(name: str) -> None:
    with pytest.raises(NoProviderError, match=rf'{name}: not enabled.*llm g4f enable {name}"'):
        Client(name).chat.completions.create("hi")


@pytest.mark.parametrize("name", ["huggingface", "cloudflare"])
def test_general_tokens_count_only_for_enabled_providers(
    name: str, write_config: Write, monkeypatch: pytest.MonkeyPatch, run_llm: Run
) -> None:
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "abc")
    monkeypatch.setenv(PROVIDERS[name].env_vars[0], "token")
    assert f"-  {name}: no key" in run_llm("g4f", "route", "gpt-4o", "--all").stdout
    run_llm("g4f", "enable", name)
    assert f"1. {name}: " in run_llm("g4f", "route", "gpt-4o").stdout


def test_a_local_server_is_found_when_enabled(write_config: Write) -> None:
    listing = http(200, {"data": [{"id": "qwen3"}, {"id": "gpt-oss:20b"}]})
    with Server(listing, whole("local", model="gpt-oss:20b"), models=None) as server:
        write_config(f"providers: {{ollama: {{enabled: true, base_url: '{server.url}'}}}}")
        answer = Client().chat.completions.create("hi")
    assert answer.receipt is not None
    assert (answer.provider, answer.model, answer.receipt.exact) == ("ollama", "gpt-oss:20b", False)
    assert [request.path for request in server.requests] == ["/v1/models", "/v1/chat/completions"]


def test_a_local_server_without_a_known_model_lists_its_models(write_config: Write) -> None:
    with Server(models=http(200, {"data": [{"id": "qwen3"}, {"id": "phi"}]})) as server:
        write_config(f"providers: {{ollama: {{enabled: true, base_url: '{server.url}'}}}}")
        with pytest.raises(NoProviderError, match="ollama: it has qwen3, phi; say which one"):
            Client().chat.completions.create("hi")


def test_a_local_server_that_is_off_is_left_out(write_config: Write) -> None:
    with Server(whole()) as server:
        url = server.url
    write_config(f"providers: {{ollama: {{enabled: true, base_url: '{url}'}}}}")
    with pytest.raises(NoProviderError, match=r"ollama: .* refuses connections"):
        Client().chat.completions.create("hi")


ENVIRONMENT = {
    **{name: f"key-of-{row.name}" for row in KEYED for name in row.env_vars},
    **{name: "account" for row in PROVIDERS.values() for name in row.url_env_vars},
    **{f"OWN_{name.upper()}": f"own-key-of-{name}" for name in (*PROVIDERS, "mybox")},
}


def _entry(name: str, enabled: bool | None, moved: bool, own: bool) -> ProviderConfig:
    base_url = f"https://{name}.invalid/v1" if moved or name == "mybox" else None
    return ProviderConfig(
        name, 1, enabled, base_url, key_env=f"OWN_{name.upper()}" if own else None
    )


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*PROVIDERS, "mybox"]),
        st.tuples(st.sampled_from([None, True, False]), st.booleans(), st.booleans()),
    ),
    st.booleans(),
)
def test_no_key_is_for_another_origin(
    entries: dict[str, tuple[bool | None, bool, bool]], named: bool
) -> None:
    given = Config(
        Path("g4f.yaml"), providers={name: _entry(name, *made) for name, made in entries.items()}
    )
    with patch.dict(os.environ, ENVIRONMENT):
        source = Registry(given)
        for name in source.names():
            try:
                place = source.provider(name, "gpt-4o", named=named)
            except G4FError:
                continue
            if not isinstance(place, Endpoint) or place.key is None:
                continue
            key, row, entry = place.key.reveal(), PROVIDERS.get(name), source.settings(name)
            if key != f"own-key-of-{name}":
                assert row is not None
                assert key == f"key-of-{name}"
                account = dict.fromkeys(row.url_env_vars, "account")
                assert place.base_url == row.base_url.format_map(account)
            else:
                assert entry is not None
                assert entry.key_env == f"OWN_{name.upper()}"


@pytest.mark.long
def test_200_prompts_from_8_processes(
    write_config: Write, user_path: Path, tmp_path: Path, run_llm: Run
) -> None:
    rounds = 25 if os.environ.get("G4F_LONG") else 2
    busy = http(429, {"error": {"message": "busy"}}, [("Retry-After", "3600")])
    with Server(busy) as flaky, Server(stream("good")) as good:
        write_config(
            f"providers:\n  flaky: {{base_url: '{flaky.url}'}}\n  good: {{base_url: '{good.url}'}}\n"
        )

        def ask(number: int) -> list[str]:
            prompt = ("-m", "gpt-4o", "-d", str(tmp_path / f"{number}.db"), "hi")
            return [run_llm(*prompt).stdout for _ in range(rounds)]

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(ask, range(8))) == [["good\n"] * rounds] * 8
        assert len(good.requests) == 8 * rounds
        # Those that began before the first refusal was noted may have met it too.
        assert 1 <= len(flaky.requests) <= 8
    assert '"flaky"' in (user_path / "g4f-health.json").read_text()


def shown(name: str) -> str:
    """The line of a provider in `llm g4f route gpt-4o`."""
    (line,) = [line for line in ok(g4f("route", "gpt-4o")) if f" {name}: " in line]
    return line


@pytest.mark.parametrize("given", ["base_url", "models", "both"])
def test_a_local_server_that_g4f_yaml_describes_takes_part(given: str, write_config: Write) -> None:
    fields = {"base_url": "base_url: 'http://127.0.0.1:9/v1'", "models": "models: {gpt-4o: qwen3}"}
    text = ", ".join(fields.values()) if given == "both" else fields[given]
    write_config(f"providers: {{vllm: {{{text}}}}}")
    expected = "-  vllm: " if given == "base_url" else "1. vllm: qwen3, a substitute"
    assert shown("vllm").startswith(expected)
    assert "not enabled" not in shown("vllm")
    write_config(f"providers: {{vllm: {{{text}, enabled: false}}}}")
    assert "disabled in g4f.yaml" in shown("vllm")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("ovh", "models: {gpt-4o: x}", "not enabled (a public endpoint), since its entry in g4f.yaml"),
        ("ovh", "base_url: 'https://x.example'", 'lacks "enabled: true": "llm g4f enable ovh"'),
        ("vllm", "timeout: 60", 'not enabled, since its entry in g4f.yaml lacks "enabled: true"'),
        ("groq", "timeout: 60", 'asked only if enabled: "llm g4f enable groq"'),
        ("box", "base_url: 'http://127.0.0.1:9/v1', key: nope", 'no key: set it with "llm keys set nope"'),
    ],
)  # fmt: skip
def test_no_configured_entry_is_ignored_silently(
    name: str, text: str, words: str, write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    write_config(f"providers: {{{name}: {{{text}}}}}")
    assert words in shown(name)


def test_a_provider_that_a_route_does_not_name_is_shown(write_config: Write) -> None:
    write_config(
        "providers:\n"
        "  a: {base_url: 'http://127.0.0.1:9/v1', models: {gpt-4o: x}}\n"
        "  b: {base_url: 'http://127.0.0.1:9/v1'}\n"
        "  c: {base_url: 'http://127.0.0.1:9/v1', enabled: false}\n"
        "routes: {gpt-4o: [a/other]}\n"
    )
    assert ok(g4f("route", "gpt-4o")) == [
        "1. a: other, a substitute",
        "-  b: the route gpt-4o in g4f.yaml (line 5) does not name it",
        "gpt-4o is answered by other (a): a substitute.",
    ]


AUDIO = [
    {
        "role": "user",
        "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}],
    }
]


class _TextOnly:
    """A provider of another package that has gpt-4o itself, and cannot take audio."""

    name, kind, scope = "theirs", "keyed", "key"

    async def serves(self, request: ChatRequest) -> ServedModel | Ineligible:
        if "audio" in request.needs:
            return Ineligible("it does not take audio")
        return ServedModel("gpt-4o", exact=True)


@pytest.mark.parametrize("who", ["openai", "theirs"])
def test_a_provider_that_cannot_take_this_request_counts_for_consent(
    who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversation that it has answered so far goes nowhere else for one attachment."""
    monkeypatch.setenv("GEMINI_API_KEY", "gm-1234567890")
    if who == "openai":
        monkeypatch.setenv("OPENAI_API_KEY", "sk-1234567890")
    else:
        theirs = PluginProviders({"theirs": _TextOnly()}, {})  # type: ignore[dict-item]
        monkeypatch.setattr(registry_module, "plugin_providers", lambda *_: theirs)
    request = ChatRequest(model="gpt-4o", messages=AUDIO)
    route = asyncio.run(resolve_route(request, Registry(config.load())))
    assert route.candidates == ()
    assert route.needs_consent == ("gemini",)
