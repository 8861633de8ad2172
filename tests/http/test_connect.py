"""The way to a provider: proxies, certificates, plain HTTP, the pool."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from llm_g4f import AsyncClient, Client
from llm_g4f.errors import APIConnectionError, ConfigError
from llm_g4f.http import connect as ways
from llm_g4f.http.connect import Network
from llm_g4f.http.types import target
from tests.support.proxy import Proxy
from tests.support.server import HANG, SSE_HEAD, Script, Server, chunk, event, framed, whole
from tests.support.tls import server_tls

pytestmark = pytest.mark.usefixtures("transport")

Write = Callable[[str], Path]


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    running = Proxy()
    yield running
    running.close()


def ask(url: str) -> str | None:
    answer = Client(base_url=url).chat.completions.create("hi")
    return answer.choices[0].message.content


def test_http_proxy(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    with Server(whole("through")) as server:
        assert asyncio.run(one(server.url)) == "through"
        assert proxy.seen == [f"POST {server.url}/chat/completions HTTP/1.1"]


async def one(url: str, **settings: object) -> str | None:
    client = AsyncClient(base_url=url, **settings)  # type: ignore[arg-type]
    answer = await client.chat.completions.create("hi")
    content: str | None = answer.choices[0].message.content
    return content


def test_no_proxy(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(whole("direct")) as server:
        assert asyncio.run(one(server.url)) == "direct"
    assert proxy.seen == []


def test_https_proxy(
    proxy: Proxy, authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    with Server(whole("tunnelled"), tls=server_tls(authority)) as server:
        assert asyncio.run(one(server.url)) == "tunnelled"
    assert proxy.seen == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"]


def test_proxies_of_the_client(proxy: Proxy) -> None:
    with Server(whole("through")) as server:
        assert asyncio.run(one(server.url, proxies=proxy.url)) == "through"
        assert asyncio.run(one(server.url, proxies={"http": proxy.url})) == "through"
        assert asyncio.run(one(server.url, proxies={"https": proxy.url})) == "through"
    assert len(proxy.seen) == 2


def test_a_proxy_that_refuses_is_named(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy(refuse=True)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    with (
        Server(whole(), tls=server_tls(authority)) as server,
        pytest.raises(APIConnectionError, match=r"The proxy refused to reach custom .*HTTPS_PROXY"),
    ):
        asyncio.run(one(server.url))
    proxy.close()
    assert server.requests == []
    assert len(proxy.seen) == 1


def test_ssl_cert_file(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    with Server(whole("trusted"), tls=server_tls(authority)) as server:
        assert asyncio.run(one(server.url)) == "trusted"


def test_ca_file(authority: trustme.CA, ca_file: Path, write_config: Write) -> None:
    with Server(whole("trusted"), tls=server_tls(authority)) as server:
        write_config(f"providers: {{box: {{base_url: '{server.url}', ca_file: '{ca_file}'}}}}")
        answer = Client().chat.completions.create("hi")
        assert answer.choices[0].message.content == "trusted"


@pytest.mark.parametrize("case", ["unknown authority", "wrong host", "expired"])
def test_bad_certificates_are_never_accepted(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    if case != "unknown authority":
        monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    name = "example.org" if case == "wrong host" else "127.0.0.1"
    context = server_tls(authority, name, end=-1 if case == "expired" else 1, begin=-2)
    with (
        Server(whole(), tls=context) as server,
        pytest.raises(APIConnectionError, match="no trustworthy TLS connection") as caught,
    ):
        asyncio.run(one(server.url))
    assert f"https://127.0.0.1:{server.port}" in str(caught.value)
    assert server.requests == []
    assert server.connections <= 1


def test_a_missing_certificate_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with pytest.raises(APIConnectionError):
        asyncio.run(one("https://127.0.0.1:9/v1"))


def test_http_to_another_machine_needs_plain_http(write_config: Write) -> None:
    write_config("providers: {box: {base_url: 'http://192.0.2.1/v1'}}")
    with pytest.raises(ConfigError, match="unencrypted; use https://, or set plain_http: true"):
        Client().chat.completions.create("hi")
    write_config("providers: {box: {base_url: 'http://nowhere.invalid/v1', plain_http: true}}")
    with pytest.raises(APIConnectionError, match="cannot be resolved"):
        Client().chat.completions.create("hi")


def test_connections_end_with_their_loop() -> None:
    script: Script = [SSE_HEAD, framed(event(chunk("Hel"))), HANG]
    with Server(whole("x"), whole("x"), script) as server:

        async def use() -> None:
            assert await one(server.url) == "x"
            assert await one(server.url) == "x"
            begun = AsyncClient(base_url=server.url).chat.completions.create("hi", stream=True)
            assert (await anext(aiter(begun))).choices[0].delta.content == "Hel"

        asyncio.run(use())
        server.wait_closed()
        assert server.connections == 1


def test_connections_are_reused_and_cookies_are_not() -> None:
    body = whole("x")[0]
    assert isinstance(body, bytes)
    cookie = body.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b; Path=/\r\n\r\n", 1)
    with Server([cookie]) as server:

        async def twice() -> None:
            client = AsyncClient(base_url=server.url)
            for _ in range(2):
                await client.chat.completions.create("hi")

        asyncio.run(twice())
        assert server.connections == 1
        assert [request.headers.get("cookie") for request in server.requests] == [None, None]


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
def test_which_origins_are_reached_through_a_proxy(
    environment: dict[str, str],
    origin: str,
    direct: bool,
    monkeypatch: pytest.MonkeyPatch,
    transport: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    proxy = ways._proxy(Network(), target(origin))
    assert proxy == (None if direct else "http://p:1")

    async def way() -> str:
        return type(await ways._way(Network(), target(origin))).__name__

    assert asyncio.run(way()) == (
        "ConnectionPool" if direct and transport == "own" else "_HttpxTransport"
    )


def test_an_own_proxy_outranks_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://p:1")
    monkeypatch.setenv("NO_PROXY", "*")
    network = Network(http_proxy="http://q:2")
    assert ways._proxy(network, target("http://a.example")) == "http://q:2"
    assert ways._proxy(network, target("https://a.example")) is None


def test_http_1_is_agreed_on(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An offer of HTTP/2 would be taken by many servers, and not be understood here."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    context = server_tls(authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    made: list[ssl.SSLObject] = []
    context.sni_callback = lambda tls, name, context: made.append(tls)
    with Server(whole("x"), tls=context) as server:
        assert asyncio.run(one(server.url)) == "x"
    assert [tls.selected_alpn_protocol() for tls in made] == ["http/1.1"]


def test_certificates_are_read_once(ca_file: Path) -> None:
    first = ways._tls(str(ca_file), None, None)
    assert ways._tls(str(ca_file), None, None) is first
    assert first.verify_mode is ssl.CERT_REQUIRED
