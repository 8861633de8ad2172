"""The way to a provider: proxies, certificates, plain HTTP, the pool."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from llm_g4f import AsyncClient, Client
from llm_g4f.errors import APIConnectionError, ConfigError
from llm_g4f.providers import transport
from llm_g4f.providers.transport import Network, http_client
from tests.server import Server, whole

Write = Callable[[str], Path]


class Proxy:
    """A real HTTP proxy on loopback: absolute requests and CONNECT; `seen` are its request lines.
    `port`: where on loopback it goes, whatever address it is asked for."""

    def __init__(self, refuse: bool = False, port: int | None = None) -> None:
        self.refuse = refuse
        self.port = port
        self.seen: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65536)
            line = head.split(b"\r\n", 1)[0].decode()
            self.seen.append(line)
            if self.refuse:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
            method, target, _ = line.split(" ")
            address = target if method == "CONNECT" else target.split("/")[2]
            host, port = ("127.0.0.1", self.port) if self.port else address.rsplit(":", 1)
            with socket.create_connection((host, int(port))) as upstream:
                if method == "CONNECT":
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    upstream.sendall(head)
                back = threading.Thread(target=pipe, args=(upstream, client), daemon=True)
                back.start()
                pipe(client, upstream)
                back.join()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def pipe(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    running = Proxy()
    yield running
    running.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def tls(authority: trustme.CA, *names: str, expired: bool = False) -> ssl.SSLContext:
    import datetime as dt

    end = dt.datetime(2020, 1, 2, tzinfo=dt.UTC) if expired else None
    begin = dt.datetime(2020, 1, 1, tzinfo=dt.UTC) if expired else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, not_before=begin, not_after=end).configure_cert(context)
    return context


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
    with Server(whole("tunnelled"), tls=tls(authority, "127.0.0.1")) as server:
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
        Server(whole(), tls=tls(authority, "127.0.0.1")) as server,
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
    with Server(whole("trusted"), tls=tls(authority, "127.0.0.1")) as server:
        assert asyncio.run(one(server.url)) == "trusted"


def test_ca_file(authority: trustme.CA, ca_file: Path, write_config: Write) -> None:
    with Server(whole("trusted"), tls=tls(authority, "127.0.0.1")) as server:
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
    context = tls(authority, name, expired=case == "expired")
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


def test_the_pool_ends_with_its_loop() -> None:
    async def use() -> object:
        first = await http_client(Network(), tls=False)
        assert await http_client(Network(), tls=False) is first
        assert await http_client(Network(ca_file=None), tls=True) is not first
        return first

    client = asyncio.run(use())
    assert client.is_closed  # type: ignore[attr-defined]
    assert asyncio.run(use()) is not client


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


def test_certificates_are_read_once(ca_file: Path) -> None:
    first = transport._tls(str(ca_file), None, None)
    assert transport._tls(str(ca_file), None, None) is first
    assert first.verify_mode is ssl.CERT_REQUIRED
