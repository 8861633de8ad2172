"""How a provider is reached: proxies, certificates, connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from llm_g4f import AsyncClient
from llm_g4f.errors import G4FError
from llm_g4f.http import connect
from llm_g4f.http.connect import Network
from llm_g4f.http.types import parse_url
from tests.support.proxy import Proxy
from tests.support.server import HANG, SSE_HEAD, Script, Server, chunk, event, framed, whole
from tests.support.tls import server_tls

pytestmark = pytest.mark.usefixtures("transport", "event_loops")

Write = Callable[[str], Path]


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    running = Proxy()
    yield running
    running.close()


async def ask(url: str, **settings: object) -> str | None:
    client = AsyncClient(base_url=url, **settings)  # type: ignore[arg-type]
    answer = await client.chat.completions.create("hi")
    content: str | None = answer.choices[0].message.content
    return content


def test_http_proxy_of_the_environment(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    with Server(whole("through")) as server:
        assert asyncio.run(ask(server.url)) == "through"
        assert proxy.seen == [f"POST {server.url}/chat/completions HTTP/1.1"]


def test_no_proxy_of_the_environment(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(whole("direct")) as server:
        assert asyncio.run(ask(server.url)) == "direct"
    assert proxy.seen == []


def test_https_proxy_of_the_environment(
    proxy: Proxy, authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    with Server(whole("tunnelled"), tls=server_tls(authority)) as server:
        assert asyncio.run(ask(server.url)) == "tunnelled"
    assert proxy.seen == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"]


@pytest.mark.parametrize("form", ["{}", "http", "http://", "all", "all://"])
def test_a_proxy_of_the_client_for_http(proxy: Proxy, form: str) -> None:
    proxies: Any = proxy.url if form == "{}" else {form: proxy.url}
    with Server(whole("through")) as server:
        assert asyncio.run(ask(server.url, proxies=proxies)) == "through"
        assert proxy.seen == [f"POST {server.url}/chat/completions HTTP/1.1"]


@pytest.mark.parametrize("form", ["{}", "https", "all"])
def test_a_proxy_of_the_client_for_https(
    proxy: Proxy,
    form: str,
    authority: trustme.CA,
    ca_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    proxies: Any = proxy.url if form == "{}" else {form: proxy.url}
    with Server(whole("tunnelled"), tls=server_tls(authority)) as server:
        assert asyncio.run(ask(server.url, proxies=proxies)) == "tunnelled"
    assert proxy.seen == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"]


def test_a_proxy_of_the_client_for_another_scheme_is_not_used(proxy: Proxy) -> None:
    with Server(whole("direct")) as server:
        assert asyncio.run(ask(server.url, proxies={"https": proxy.url})) == "direct"
    assert proxy.seen == []


@pytest.mark.parametrize("proxies", ["nonsense", "ftp://127.0.0.1:1", "socks5://127.0.0.1:1", ""])
def test_an_invalid_proxy_of_the_client_is_an_error(proxies: str) -> None:
    with pytest.raises(G4FError, match=r"(?i)proxy"):
        asyncio.run(ask("http://127.0.0.1:9/v1", proxies=proxies))


def test_ssl_cert_file(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    with Server(whole("trusted"), tls=server_tls(authority)) as server:
        assert asyncio.run(ask(server.url)) == "trusted"


def test_connections_are_closed_with_their_event_loop() -> None:
    script: Script = [SSE_HEAD, framed(event(chunk("Hel"))), HANG]
    with Server(whole("x"), whole("x"), script) as server:

        async def use() -> None:
            assert await ask(server.url) == "x"
            assert await ask(server.url) == "x"
            begun = AsyncClient(base_url=server.url).chat.completions.create("hi", stream=True)
            assert (await anext(aiter(begun))).choices[0].delta.content == "Hel"

        asyncio.run(use())
        server.wait_closed()
        assert server.connections == 1


@pytest.mark.parametrize(
    ("environment", "origin", "direct"),
    [
        ({}, "http://a.example", True),
        ({"HTTP_PROXY": "p:1"}, "http://a.example", False),
        ({"HTTP_PROXY": "p:1"}, "https://a.example", True),
        ({"HTTPS_PROXY": "http://p:1"}, "https://a.example", False),
        ({"HTTPS_PROXY": "http://p:1"}, "http://a.example", True),
        ({"ALL_PROXY": "http://p:1"}, "http://a.example", False),
        ({"all_proxy": "http://p:1"}, "https://a.example", False),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "*"}, "http://a.example", True),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "b.example, a.example"}, "http://a.example", True),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "example"}, "https://a.example", True),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": ".example"}, "https://a.example", True),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "ample"}, "https://a.example", False),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "a.example:8000"}, "http://a.example:8000", True),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "a.example:8000"}, "http://a.example", False),
        ({"ALL_PROXY": "http://p:1", "no_proxy": "::1"}, "http://[::1]:8000", True),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "127.0.0.1"}, "http://127.0.0.1:8000", True),
    ],
)
def test_a_proxy_is_chosen_by_the_environment_and_the_origin(
    environment: dict[str, str],
    origin: str,
    direct: bool,
    monkeypatch: pytest.MonkeyPatch,
    transport: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    proxy = connect._proxy(Network(), parse_url(origin))
    assert proxy == (None if direct else "http://p:1")

    async def way() -> str:
        return type(await connect._transport(Network(), parse_url(origin))).__name__

    assert asyncio.run(way()) == (
        "ConnectionPool" if direct and transport == "own" else "_HttpxTransport"
    )


def test_a_proxy_of_the_client_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://p:1")
    monkeypatch.setenv("NO_PROXY", "*")
    network = Network(http_proxy="http://q:2")
    assert connect._proxy(network, parse_url("http://a.example")) == "http://q:2"
    assert connect._proxy(network, parse_url("https://a.example")) is None


def test_http_1_1_is_negotiated_by_alpn(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An offer of HTTP/2 would be taken by many servers, and not be understood here."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    context = server_tls(authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    made: list[ssl.SSLObject] = []
    context.sni_callback = lambda tls, name, context: made.append(tls)
    with Server(whole("x"), tls=context) as server:
        assert asyncio.run(ask(server.url)) == "x"
    assert [tls.selected_alpn_protocol() for tls in made] == ["http/1.1"]


def test_certificates_are_read_once(ca_file: Path) -> None:
    first = connect._tls_context(str(ca_file), None, None)
    assert connect._tls_context(str(ca_file), None, None) is first
    assert first.verify_mode is ssl.CERT_REQUIRED


def test_a_missing_ca_file_is_named_in_the_error(write_config: Write, tmp_path: Path) -> None:
    path = tmp_path / "gone.pem"
    path.write_text("")
    write_config(f"providers:\n  a: {{base_url: 'https://127.0.0.1:9/v1', ca_file: '{path}'}}\n")

    async def main() -> None:
        client = AsyncClient("a")
        path.unlink()
        await client.chat.completions.create("hi")

    with pytest.raises(G4FError) as caught:
        asyncio.run(main())
    assert str(path) in str(caught.value)


def test_networks_differ_by_their_ca_file() -> None:
    assert Network() == Network()
    assert Network(ca_file="a") != Network()
