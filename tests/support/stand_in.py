"""Servers on loopback that stand for providers of the catalogue, which have prices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from llm_g4f.providers.catalogue import PROVIDERS
from tests.support.proxy import Proxy
from tests.support.server import Script, Server, chunk, events
from tests.support.tls import server_tls

KEY = "sk-test-key-of-some-length"

HOSTS = {"openai": "api.openai.com", "openrouter": "openrouter.ai"}

TOKENS = {
    "prompt_tokens": 1_000,
    "completion_tokens": 100,
    "total_tokens": 1_100,
    "prompt_tokens_details": {"cached_tokens": 400},
}


def counted(
    *texts: str, model: str = "gpt-4o-2024-11-20", usage: dict[str, Any] = TOKENS, **last: Any
) -> Script:
    """A streamed answer with a count of its tokens; the last chunk says `last` besides."""
    said = [chunk(text, model=model) for text in texts or ("Hello",)]
    end = chunk(usage=usage, model=model) | last
    return events(*said, chunk(finish="stop", model=model), end, "[DONE]")


class StandIn:
    """Makes servers on loopback that are reached under the addresses of providers of the catalogue."""

    def __init__(
        self,
        authority: trustme.CA,
        ca_file: Path,
        write_config: Callable[[str], Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self._authority = authority
        self._ca_file = ca_file
        self._write_config = write_config
        self._monkeypatch = monkeypatch

    @contextmanager
    def __call__(self, *scripts: Script, config: str = "", **providers: str) -> Iterator[Server]:
        """A server that is each of `providers`, through a tunnel that ends here; each has a key, and
        what is said of it here in g4f.yaml, of which `config` is the rest."""
        hosts = [HOSTS[name] for name in providers]
        lines = [config, "providers:"]
        for name, settings in providers.items():
            self._monkeypatch.setenv(PROVIDERS[name].env_vars[0], KEY)
            lines.append(f"  {name}: {{ca_file: '{self._ca_file}', {settings}}}")
        self._write_config("\n".join(lines))
        with Server(*scripts, tls=server_tls(self._authority, *hosts)) as server:
            proxy = Proxy(port=server.port)
            self._monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            yield server
            proxy.close()
        assert {line.split()[1] for line in proxy.seen} <= {f"{host}:443" for host in hosts}
