"""Errors of a request that do not depend on one server's answer: g4f.yaml, arguments, keys, the route."""

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
    ArgumentError,
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
class RequestError:
    """A request that fails.

    `config` is the whole g4f.yaml, with {a} and the like for the base URLs of the `servers`;
    `settings` are the client's, `params` the request's, `env` the environment's, `keys` keys.json,
    `spend` g4f-spend.json.
    """

    name: str
    error: type[G4FError]
    config: str | bytes = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    keys: str = ""
    spend: str = ""
    servers: Mapping[str, Script] = field(default_factory=dict)


def error_of(case: RequestError, folder: Path) -> G4FError:
    """The error that `case` ends in. `folder` is the user directory."""
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, {**case.env, "LLM_USER_PATH": str(folder)}))
        config = case.config
        for name, script in case.servers.items():
            url = stack.enter_context(Server(script, models=script)).url
            assert isinstance(config, str)
            config = config.replace(f"{{{name}}}", url)
        (folder / "g4f.yaml").write_bytes(config.encode() if isinstance(config, str) else config)
        if case.keys:
            keys = folder / "keys.json"
            keys.write_text(case.keys)
            # One that has just been written may be incomplete for a moment.
            os.utime(keys, (0, 0))
        if case.spend:
            (folder / "g4f-spend.json").write_text(case.spend)
        try:
            asyncio.run(_ask(case))
        except G4FError as error:
            return error
    raise AssertionError(f"{case.name}: no error")


async def _ask(case: RequestError) -> None:
    client = AsyncClient(**case.settings)
    await client.chat.completions.create(**{"messages": "hi", **case.params})


def provider(text: str) -> str:
    """A g4f.yaml with this in its provider a, on a line of its own."""
    return f"providers:\n  a:\n    base_url: https://a.invalid/v1\n    {text}\n"


def base_url(url: str) -> str:
    return f"providers:\n  a:\n    base_url: '{url}'\n"


CONFIG = [
    RequestError("g4f.yaml is not YAML", ConfigError, "providers: [\n"),
    RequestError("g4f.yaml is a list", ConfigError, "- openai\n"),
    RequestError("g4f.yaml is not UTF-8", ConfigError, b"providers: \xff\n"),
    RequestError("g4f.yaml is nested too deeply", ConfigError, "[" * 3000),
    RequestError("an unknown key", ConfigError, "provider: {}\n"),
    RequestError("a key twice", ConfigError, "notice: true\nnotice: false\n"),
    RequestError("text where true or false belongs", ConfigError, "takeover: maybe\n"),
    RequestError("a budget without an amount", ConfigError, "budget: {}\n"),
    RequestError("an order by something else", ConfigError, "order: best\n"),
    RequestError("a provider that is not a mapping", ConfigError, "providers:\n  a: https://a.invalid/v1\n"),
    RequestError("a provider's name in upper case", ConfigError, "providers:\n  MyBox: {base_url: https://a.invalid/v1}\n"),
    RequestError("an unknown key of a provider", ConfigError, provider("url: x")),
    RequestError("a provider without base_url", ConfigError, "providers:\n  a: {key: a}\n"),
    RequestError("a base_url without https://", ConfigError, base_url("a.invalid/v1")),
    RequestError("a base_url with a key in it", ConfigError, base_url("https://user:sk-canary@a.invalid/v1")),
    RequestError("a base_url with a query", ConfigError, base_url("https://a.invalid/v1?api=1")),
    RequestError("an invalid base_url", ConfigError, base_url("https://[::1/v1")),
    RequestError("a base_url with a space", ConfigError, base_url("https://a.invalid/ v1")),
    RequestError("http:// to another machine", ConfigError, base_url("http://192.0.2.1/v1")),
    RequestError("key and key_env", ConfigError, provider("key: a\n    key_env: A_KEY")),
    RequestError("an invalid timeout", ConfigError, provider("timeout: soon")),
    RequestError("an invalid context", ConfigError, provider("context: 8.5")),
    RequestError("a missing ca_file", ConfigError, provider("ca_file: /nowhere/company.pem")),
    RequestError("quirks that are not a list", ConfigError, provider("quirks: max_tokens")),
    RequestError("an unknown quirk", ConfigError, provider("quirks: [max_token]")),
    RequestError("an invalid header name", ConfigError, provider("headers: {X Team: blue}")),
    RequestError("a key among the headers", ConfigError, provider("headers: {Authorization: Bearer sk-canary}")),
    RequestError("a header that is not ASCII", ConfigError, provider("headers: {X-Team: blåu}")),
    RequestError("an extra_body that is not JSON", ConfigError, provider("extra_body: {a: 2027-01-14}")),
    RequestError("a control character", ConfigError, provider('key: "a\\x07"')),
    RequestError("a model without an id", ConfigError, provider("models: {gpt-4o: {exact: true}}")),
    RequestError("an unknown key of a model", ConfigError, provider("models: {gpt-4o: {id: x, real: true}}")),
    RequestError("a route that is not a list", ConfigError, "routes:\n  gpt-4o: openai\n"),
    RequestError("openai at another address without its own key", ConfigError, "providers:\n  openai: {base_url: https://a.invalid/v1}\n"),
]  # fmt: skip

NO_PROVIDER = [
    RequestError("an unknown provider", NoProviderError, params={"provider": "opnai"}),
    RequestError("a route with an unknown provider", NoProviderError, "routes:\n  gpt-4o: [opnai]\n"),
    RequestError("no key", NoProviderError, params={"provider": "openai"}),
    RequestError("a key_env that is not set", NoProviderError, provider("key_env: A_KEY"), params={"provider": "a"}),
    RequestError("disabled", NoProviderError, "providers:\n  openai: {enabled: false}\n", params={"provider": "openai"}),
    RequestError("a local server that is not enabled", NoProviderError, params={"provider": "ollama"}),
    RequestError("a public endpoint that is not enabled", NoProviderError, params={"provider": "ovh"}),
    RequestError("a missing account variable", NoProviderError, params={"provider": "cloudflare"}),
    RequestError("a local server that is not running", NoProviderError, "providers:\n  ollama: {enabled: true, base_url: 'http://127.0.0.1:9/v1'}\n", params={"provider": "ollama"}),
    RequestError("a local server without a known model", NoProviderError, "providers:\n  ollama: {enabled: true, base_url: '{a}'}\n", params={"provider": "ollama"}, servers={"a": http(200, {"data": [{"id": "llama3"}, {"id": "phi4"}]})}),
    RequestError("no model for the requested one", NoProviderError, provider("models: {gpt-4: x}"), params={"provider": "a"}),
    RequestError("a substitute under exact", NoProviderError, provider("models: {gpt-4o: llama}"), params={"provider": "a", "exact": True}),
    RequestError("an image for a provider without vision", NoProviderError, provider("vision: false"), params={"provider": "a", "messages": IMAGE}),
    RequestError("tools for a provider without tools", NoProviderError, provider("supports_tools: false"), params={"provider": "a", "tools": [TOOL]}),
    RequestError("api_key and two providers", NoProviderError, settings={"provider": "openai,groq", "api_key": "sk-canary"}),
    RequestError("api_key, and another provider for a call", NoProviderError, settings={"provider": "openai", "api_key": "sk-canary"}, params={"provider": "groq"}),
    RequestError("api_key with a line end in it", NoProviderError, settings={"api_key": "sk-\ncanary"}),
    RequestError("a key with a space in the environment", NoProviderError, params={"provider": "openai"}, env={"OPENAI_API_KEY": "sk canary"}),
    RequestError("keys.json is damaged", NoProviderError, params={"provider": "openai"}, keys="{"),
    RequestError("base_url and a provider", NoProviderError, settings={"provider": "openai", "base_url": "https://a.invalid/v1"}),
    RequestError("an invalid base_url of the client", NoProviderError, settings={"base_url": "a.invalid"}),
    RequestError("an invalid OPENAI_BASE_URL", NoProviderError, params={"provider": "openai"}, env={"OPENAI_API_KEY": "sk-canary", "OPENAI_BASE_URL": "a.invalid"}),
    RequestError("a secret header for a whole route", NoProviderError, params={"headers": {"Authorization": "Bearer sk-canary"}}),
    RequestError("a damaged file of what was spent", NoProviderError, "budget: {day: 1}\nproviders:\n  a: {base_url: '{a}'}\n", servers={"a": whole()}, spend="{"),
]  # fmt: skip

TWO = "providers:\n  a: {base_url: '{a}'}\n  b: {base_url: '{b}'}\n"
OPENAI = {"OPENAI_API_KEY": "sk-canary"}

OTHERS = [
    RequestError("invalid messages", ArgumentError, provider(""), params={"messages": [1]}),
    RequestError("an invalid proxy URL", APIConnectionError, provider(""), settings={"proxies": "nonsense"}, params={"provider": "a"}),
    RequestError("a SOCKS proxy", APIConnectionError, provider(""), settings={"proxies": "socks5://127.0.0.1:9"}, params={"provider": "a"}),
    RequestError("one provider fails twice", InternalServerError, TWO, params={"provider": "a"}, servers={"a": no(503, "Overloaded."), "b": whole()}),
    RequestError("two providers fail", RateLimitError, TWO, params={"provider": "a,b"}, servers={"a": no(429, "Slow down.", [("Retry-After", "7")]), "b": no(404, "No such model.")}),
    RequestError("another provider has a key and is not asked", NotFoundError, TWO, env={"GROQ_API_KEY": "x"}, servers={"a": no(404), "b": no(404)}),
    RequestError("another model than the exact one", InvalidResponseError, "providers:\n  openai: {base_url: '{a}', key_env: OPENAI_API_KEY}\n", params={"provider": "openai", "exact": True}, env=OPENAI, servers={"a": whole("Hello", model="gpt-6")}),
]  # fmt: skip

REQUEST_ERRORS = [*CONFIG, *NO_PROVIDER, *OTHERS]
