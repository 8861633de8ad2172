"""Errors that no answer of one server makes: of g4f.yaml, of arguments, of keys, of several providers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from llm_g4f import AsyncClient
from llm_g4f.errors import (
    APIConnectionError,
    BadRequestError,
    ConfigError,
    G4FError,
    InternalServerError,
    InvalidResponseError,
    NoProviderError,
    NotFoundError,
    RateLimitError,
)
from tests.fault_matrix.rows import no
from tests.support.server import Script, Server, http, whole

IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


@dataclass(frozen=True)
class Refusal:
    """A request that nobody answers.

    `config` is the whole g4f.yaml, with {a} and the like for the base URLs of the `servers`;
    `settings` are the client's, `params` the request's, `env` the environment's, `keys` keys.json.
    """

    name: str
    error: type[G4FError]
    config: str | bytes = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    keys: str = ""
    servers: Mapping[str, Script] = field(default_factory=dict)


def refused(refusal: Refusal, folder: Path) -> G4FError:
    """The error that comes of it."""
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, {**refusal.env, "LLM_USER_PATH": str(folder)}))
        config = refusal.config
        for name, script in refusal.servers.items():
            url = stack.enter_context(Server(script)).url
            assert isinstance(config, str)
            config = config.replace(f"{{{name}}}", url)
        (folder / "g4f.yaml").write_bytes(config.encode() if isinstance(config, str) else config)
        if refusal.keys:
            (folder / "keys.json").write_text(refusal.keys)
        try:
            asyncio.run(_ask(refusal))
        except G4FError as error:
            return error
    raise AssertionError(f"{refusal.name}: nothing was refused")


async def _ask(refusal: Refusal) -> None:
    client = AsyncClient(**refusal.settings)
    await client.chat.completions.create(**{"messages": "hi", **refusal.params})


def provider(text: str) -> str:
    """A g4f.yaml with this in its provider a, on a line of its own."""
    return f"providers:\n  a:\n    base_url: https://a.invalid/v1\n    {text}\n"


def base_url(url: str) -> str:
    return f"providers:\n  a:\n    base_url: '{url}'\n"


CONFIG = [
    Refusal("g4f.yaml is no YAML", ConfigError, "providers: [\n"),
    Refusal("g4f.yaml is a list", ConfigError, "- openai\n"),
    Refusal("g4f.yaml is not UTF-8", ConfigError, b"providers: \xff\n"),
    Refusal("g4f.yaml is nested too deeply", ConfigError, "[" * 3000),
    Refusal("an unknown key", ConfigError, "provider: {}\n"),
    Refusal("a key twice", ConfigError, "notice: true\nnotice: false\n"),
    Refusal("text where true or false belongs", ConfigError, "takeover: maybe\n"),
    Refusal("a provider that is no mapping", ConfigError, "providers:\n  a: https://a.invalid/v1\n"),
    Refusal("a provider's name in upper case", ConfigError, "providers:\n  MyBox: {base_url: https://a.invalid/v1}\n"),
    Refusal("an unknown key of a provider", ConfigError, provider("url: x")),
    Refusal("a provider without base_url", ConfigError, "providers:\n  a: {key: a}\n"),
    Refusal("a base_url without https://", ConfigError, base_url("a.invalid/v1")),
    Refusal("a base_url with a key in it", ConfigError, base_url("https://user:sk-canary@a.invalid/v1")),
    Refusal("a base_url with a query", ConfigError, base_url("https://a.invalid/v1?api=1")),
    Refusal("a base_url that is no URL", ConfigError, base_url("https://[::1/v1")),
    Refusal("a base_url with a space", ConfigError, base_url("https://a.invalid/ v1")),
    Refusal("http:// to another machine", ConfigError, base_url("http://192.0.2.1/v1")),
    Refusal("key and key_env", ConfigError, provider("key: a\n    key_env: A_KEY")),
    Refusal("a timeout that is none", ConfigError, provider("timeout: soon")),
    Refusal("a context that is no number of tokens", ConfigError, provider("context: 8.5")),
    Refusal("a ca_file that is not there", ConfigError, provider("ca_file: /nowhere/company.pem")),
    Refusal("quirks that are no list", ConfigError, provider("quirks: max_tokens")),
    Refusal("an unknown quirk", ConfigError, provider("quirks: [max_token]")),
    Refusal("a header name that is none", ConfigError, provider("headers: {X Team: blue}")),
    Refusal("a key among the headers", ConfigError, provider("headers: {Authorization: Bearer sk-canary}")),
    Refusal("a header that is not ASCII", ConfigError, provider("headers: {X-Team: blåu}")),
    Refusal("an extra_body that is no JSON", ConfigError, provider("extra_body: {a: 2027-01-14}")),
    Refusal("a control character", ConfigError, provider('key: "a\\x07"')),
    Refusal("a model without an id", ConfigError, provider("models: {gpt-4o: {exact: true}}")),
    Refusal("an unknown key of a model", ConfigError, provider("models: {gpt-4o: {id: x, real: true}}")),
    Refusal("a route that is no list", ConfigError, "routes:\n  gpt-4o: openai\n"),
    Refusal("openai elsewhere without a key of its own", ConfigError, "providers:\n  openai: {base_url: https://a.invalid/v1}\n"),
]  # fmt: skip

NOBODY = [
    Refusal("a provider that there is not", NoProviderError, params={"provider": "opnai"}),
    Refusal("a route to a provider that there is not", NoProviderError, "routes:\n  gpt-4o: [opnai]\n"),
    Refusal("no key", NoProviderError, params={"provider": "openai"}),
    Refusal("a key_env that is not set", NoProviderError, provider("key_env: A_KEY"), params={"provider": "a"}),
    Refusal("disabled", NoProviderError, "providers:\n  openai: {enabled: false}\n", params={"provider": "openai"}),
    Refusal("a local server that is not enabled", NoProviderError, params={"provider": "ollama"}),
    Refusal("a public endpoint that is not enabled", NoProviderError, params={"provider": "ovh"}),
    Refusal("an account that is not named", NoProviderError, params={"provider": "cloudflare"}),
    Refusal("a local server that is not there", NoProviderError, "providers:\n  ollama: {enabled: true, base_url: 'http://127.0.0.1:9/v1'}\n", params={"provider": "ollama"}),
    Refusal("a local server without a model for it", NoProviderError, "providers:\n  ollama: {enabled: true, base_url: '{a}'}\n", params={"provider": "ollama"}, servers={"a": http(200, {"data": [{"id": "llama3"}, {"id": "phi4"}]})}),
    Refusal("a model that stands for nothing", NoProviderError, provider("models: {gpt-4: x}"), params={"provider": "a"}),
    Refusal("a substitute where only the model will do", NoProviderError, provider("models: {gpt-4o: llama}"), params={"provider": "a", "exact": True}),
    Refusal("an image for a provider that reads none", NoProviderError, provider("vision: false"), params={"provider": "a", "messages": IMAGE}),
    Refusal("tools for a provider that calls none", NoProviderError, provider("supports_tools: false"), params={"provider": "a", "tools": [TOOL]}),
    Refusal("api_key and two providers", NoProviderError, settings={"provider": "openai,groq", "api_key": "sk-canary"}),
    Refusal("api_key, and another provider for a call", NoProviderError, settings={"provider": "openai", "api_key": "sk-canary"}, params={"provider": "groq"}),
    Refusal("api_key with a line end in it", NoProviderError, settings={"api_key": "sk-\ncanary"}),
    Refusal("a key with a space in the environment", NoProviderError, params={"provider": "openai"}, env={"OPENAI_API_KEY": "sk canary"}),
    Refusal("keys.json is damaged", NoProviderError, params={"provider": "openai"}, keys="{"),
    Refusal("base_url and a provider", NoProviderError, settings={"provider": "openai", "base_url": "https://a.invalid/v1"}),
    Refusal("a base_url of the client that is none", NoProviderError, settings={"base_url": "a.invalid"}),
    Refusal("an OPENAI_BASE_URL that is none", NoProviderError, params={"provider": "openai"}, env={"OPENAI_API_KEY": "sk-canary", "OPENAI_BASE_URL": "a.invalid"}),
    Refusal("a secret header for a whole route", NoProviderError, params={"headers": {"Authorization": "Bearer sk-canary"}}),
]  # fmt: skip

TWO = "providers:\n  a: {base_url: '{a}'}\n  b: {base_url: '{b}'}\n"
OPENAI = {"OPENAI_API_KEY": "sk-canary"}

OTHERS = [
    Refusal("messages that are none", BadRequestError, provider(""), params={"messages": [1]}),
    Refusal("a proxy that is no URL", APIConnectionError, provider(""), settings={"proxies": "nonsense"}, params={"provider": "a"}),
    Refusal("a SOCKS proxy", APIConnectionError, provider(""), settings={"proxies": "socks5://127.0.0.1:9"}, params={"provider": "a"}),
    Refusal("one provider fails twice", InternalServerError, TWO, params={"provider": "a"}, servers={"a": no(503, "Overloaded."), "b": whole()}),
    Refusal("two providers fail", RateLimitError, TWO, params={"provider": "a,b"}, servers={"a": no(429, "Slow down.", [("Retry-After", "7")]), "b": no(404, "No such model.")}),
    Refusal("another provider has a key and is not asked", NotFoundError, TWO, env={"GROQ_API_KEY": "x"}, servers={"a": no(404), "b": no(404)}),
    Refusal("another model than the exact one", InvalidResponseError, "providers:\n  openai: {base_url: '{a}', key_env: OPENAI_API_KEY}\n", params={"provider": "openai", "exact": True}, env=OPENAI, servers={"a": whole("Hello", model="gpt-6")}),
]  # fmt: skip

REFUSALS = [*CONFIG, *NOBODY, *OTHERS]
