"""Connections to a provider: proxies, certificates, reuse."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from llm_g4f import AsyncClient
from llm_g4f.errors import APIConnectionError, APITimeoutError, G4FError
from llm_g4f.http import connect
from llm_g4f.http.connect import Network
from llm_g4f.http.proxies import Proxy as Proxied
from llm_g4f.http.types import NetworkError, Request, parse_url
from tests.support.environment import no_more_files
from tests.support.proxy import Proxy
from tests.support.server import HANG, SSE_HEAD, Script, Server, chunk, event, framed, http, whole
from tests.support.tls import server_tls

pytestmark = pytest.mark.usefixtures("transport", "event_loops")

# Proxies are httpx's in any case.
ONLY_OWN = pytest.mark.parametrize("transport", ["own"], indirect=True)

VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")

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


@contextmanager
def behind_proxy(*scripts: Script, tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    """A proxy that sends everything to one server, whatever name it is asked for."""
    with Server(*scripts, tls=tls) as server:
        running = Proxy(port=server.port)
        yield running
        running.close()


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_http_proxy_of_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with behind_proxy(whole("through")) as proxy:
        monkeypatch.setenv(name, proxy.url)
        assert asyncio.run(ask("http://a.example/v1")) == "through"
    assert proxy.seen == ["POST http://a.example/v1/chat/completions HTTP/1.1"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_never_behind_a_proxy_of_the_environment(
    host: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    with Server(whole("direct")) as server:
        assert asyncio.run(ask(f"http://{host}:{server.port}/v1")) == "direct"
    assert proxy.seen == []


def test_https_proxy_of_the_environment(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    with behind_proxy(whole("tunnelled"), tls=server_tls(authority, "a.example")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert asyncio.run(ask("https://a.example/v1")) == "tunnelled"
    assert proxy.seen == ["CONNECT a.example:443 HTTP/1.1"]


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


def refused(url: str = "https://a.example/v1", **settings: object) -> APIConnectionError:
    """The error of a request, which is asked for once."""
    with pytest.raises(APIConnectionError) as caught:
        asyncio.run(ask(url, **settings))
    assert caught.value.receipt is not None
    assert len(caught.value.receipt.attempts) == 1
    assert "secret" not in f"{caught.value!r} {caught.value}"
    return caught.value


UNUSABLE = [
    "ftp://u:secret@127.0.0.1:1",
    "http://u:secret@127.0.0.1:port",
    "http://u:se/secret@127.0.0.1:1",
    "http://u:secret@[::1",
    "http://\x00secret",
]


@pytest.mark.parametrize("proxies", ["nonsense", "", *UNUSABLE])
def test_an_invalid_proxy_of_the_client_is_an_error(proxies: str) -> None:
    error = refused(proxies=proxies)
    assert (error.reason, "proxies" in error.message) == ("proxy", True)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("proxy_url", UNUSABLE[:-1])
def test_an_invalid_proxy_of_the_environment_is_named_by_its_variable(
    name: str, proxy_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, proxy_url)
    error = refused()
    assert (error.reason, name in error.message) == ("proxy", True)


@pytest.mark.parametrize("url", ["http://a.example/v1", "https://a.example/v1"])
@pytest.mark.parametrize("kind", ["http", "socks5", "socks5h"])
def test_an_unreachable_proxy_is_named_by_its_variable(
    kind: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("ALL_PROXY", f"{kind}://u:secret@127.0.0.1:{taken.getsockname()[1]}")
        error = refused(url)
    assert (error.reason, "Check ALL_PROXY" in error.message) == ("proxy", True)


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "[::1]:99999", "localhost:99999"])
@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_a_proxy_at_no_address_of_the_system_is_named_by_its_variable(
    kind: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"{kind}://u:secret@{address}")
    error = refused()
    assert (error.reason, "Check ALL_PROXY" in error.message) == ("proxy", True)


# httpcore leaves its connection open.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@ONLY_OWN
@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("http", "https://a.example/v1"),
        ("socks5", "https://a.example/v1"),
        ("socks5h", "http://a.example/v1"),
    ],
)
def test_a_proxy_that_stays_silent_is_named_within_the_connect_time(
    kind: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "CONNECT_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("ALL_PROXY", f"{kind}://u:secret@127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        error = refused(url)
        assert time.monotonic() - begun < 4
    assert error.reason == "proxy"
    assert "accepted the connection and did not answer. Check ALL_PROXY" in error.message
    del error
    gc.collect()


@ONLY_OWN
@pytest.mark.parametrize("event_loops", ["asyncio"], indirect=True)
def test_a_server_behind_a_proxy_may_think_longer_than_the_connect_time(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "CONNECT_TIMEOUT", 1.0)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    tls = server_tls(authority, "a.example")
    with behind_proxy([1.2, *whole("late")], tls=tls) as proxy:
        assert asyncio.run(ask("https://a.example/v1", proxies=proxy.url)) == "late"


# httpcore leaves its connection open.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_proxy_that_does_not_speak_socks(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer() -> None:
        client, _ = server.accept()
        with client:
            client.recv(1024)
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setenv("ALL_PROXY", f"socks5://u:secret@127.0.0.1:{server.getsockname()[1]}")
        error = refused()
        thread.join()
    assert (error.reason, "not SOCKS. Check ALL_PROXY" in error.message) == ("proxy", True)
    del error
    gc.collect()


@pytest.mark.parametrize("url", ["http://a.example/v1", "https://a.example/v1"])
def test_a_proxy_that_wants_a_password_is_named_by_its_variable(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = Proxy(refuse=True)
    monkeypatch.setenv("ALL_PROXY", refusing.url)
    error = refused(url)
    refusing.close()
    assert (error.reason, "put them into ALL_PROXY" in error.message) == ("proxy", True)


def test_a_socks_proxy_without_socksio_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    for name in [name for name in sys.modules if name.startswith("httpcore._async.socks")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("ALL_PROXY", "socks5://u:secret@127.0.0.1:1")
    error = refused()
    assert error.reason == "proxy"
    assert "ALL_PROXY is a SOCKS proxy" in error.message
    assert "pip install 'httpx[socks]'" in error.message


def test_too_many_open_files_are_this_machines_trouble(
    endpoints: Callable[..., Path],
) -> None:
    """No other provider is asked, and none goes last for it."""
    with Server(whole("Hello")) as first, Server(whole("other")) as second:
        endpoints(first=first, second=second)

        async def main() -> APIConnectionError:
            client = AsyncClient()
            # What is imported and read on first use is there already.
            await client.chat.completions.create("hi", provider="second")
            with no_more_files(), pytest.raises(APIConnectionError) as caught:
                await client.chat.completions.create("hi")
            assert (await client.chat.completions.create("hi")).provider == "first"
            return caught.value

        error = asyncio.run(main())
    assert (error.reason, "ulimit -n" in error.message) == ("this_machine", True)
    assert error.receipt is not None
    assert len(error.receipt.attempts) == 1
    assert len(second.requests) == 1


def test_ssl_cert_file(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    with Server(whole("trusted"), tls=server_tls(authority)) as server:
        assert asyncio.run(ask(server.url)) == "trusted"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets here")
def test_a_unix_socket_in_place_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    url = parse_url("http://model.example/v1/chat/completions")

    async def ask_at(path: str) -> bytes:
        said = b""
        for _ in range(2):
            request = Request("POST", url, {}, b"hi")
            response = await connect.send(Network(unix_socket=path), request)
            said += b"".join([data async for data in response])
            await response.aclose()
        return said

    # A name short enough for a socket's path.
    with tempfile.TemporaryDirectory(prefix="t") as folder:
        path = f"{folder}/s"
        with Server(http(200, b"there"), unix_socket=path) as server:
            assert asyncio.run(ask_at(path)) == b"there" * 2
        assert [(one.path, one.headers["host"], one.body) for one in server.requests] == [
            ("/v1/chat/completions", "model.example", b"hi")
        ] * 2
        # Kept for the next request, as every connection is.
        assert server.connections == 1
        with pytest.raises((OSError, NetworkError)):
            asyncio.run(ask_at(path))


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
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "b.example a.example"}, "http://a.example", True),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "*.example"}, "https://a.example", True),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "A.Example."}, "https://a.example", True),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://10.1.2.3", True),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://11.1.2.3", False),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://a10.0.0.0", False),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.1.2.3"}, "http://10.1.2.3:8000", True),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "2.3"}, "http://10.1.2.3", False),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "fd00::/8"}, "http://[fd12::1]", True),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "[fd12::1]"}, "http://[fd12::1]", True),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "fd00::/8"}, "http://10.1.2.3", False),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": ","}, "http://10.1.2.3", False),
        ({"ALL_PROXY": "http://p:1"}, "http://127.0.0.1:8000", True),
        ({"ALL_PROXY": "http://p:1"}, "http://localhost", True),
        ({"ALL_PROXY": "http://p:1"}, "https://[::1]", True),
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
    assert (proxy and proxy.url) == (None if direct else "http://p:1")

    async def way() -> str:
        return type(await connect._transport(Network(), parse_url(origin))).__name__

    assert asyncio.run(way()) == (
        "ConnectionPool" if direct and transport == "own" else "_HttpxTransport"
    )


def test_a_proxy_of_the_client_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://p:1")
    monkeypatch.setenv("NO_PROXY", "*")
    network = Network(http_proxy="http://q:2")
    for origin in ("http://a.example", "http://127.0.0.1:1"):
        assert connect._proxy(network, parse_url(origin)) == Proxied("http://q:2", "proxies=")
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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((name, what) for name in VARIABLES for what in (None, "", "no PEM", "folder")),
        # One that does not exist is an error of g4f.yaml.
        *(("ca_file", what) for what in ("", "no PEM")),
    ],
)
def test_certificates_that_are_none_are_named_at_once(
    name: str,
    content: str | None,
    tmp_path: Path,
    write_config: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "certificates"
    if name == "ca_file":
        path.write_text("")
        write_config(
            f"providers:\n  a: {{base_url: 'https://127.0.0.1:9/v1', ca_file: '{path}'}}\n"
        )
    else:
        monkeypatch.setenv(name, str(path))

    async def main() -> None:
        client = AsyncClient("a") if name == "ca_file" else AsyncClient(base_url=refusing)
        if content == "folder":
            path.mkdir()
            (path / "company.pem").write_text("")
        elif content is not None:
            path.write_text(content)
        await client.chat.completions.create("hi")

    refusing = "https://127.0.0.1:9/v1"
    with pytest.raises(APIConnectionError) as caught:
        asyncio.run(main())
    assert caught.value.reason == "this_machine"
    assert f"{name}: {path}" in caught.value.message
    assert caught.value.receipt is not None
    assert len(caught.value.receipt.attempts) == 1


def test_ssl_cert_dir(
    authority: trustme.CA, ca_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "certificates"
    folder.mkdir()
    command = ["openssl", "x509", "-noout", "-subject_hash", "-in", str(ca_file)]
    hashed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    (folder / f"{hashed}.0").write_bytes(ca_file.read_bytes())
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path / 'gone'}{os.pathsep}{folder}")
    with Server(whole("trusted"), tls=server_tls(authority)) as server:
        assert asyncio.run(ask(server.url)) == "trusted"


def test_https_to_a_port_that_waits_for_http_is_said_within_the_connect_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connect, "CONNECT_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/v1"
        begun = time.monotonic()
        with pytest.raises(APITimeoutError, match=r"did not answer in TLS.*begin with http://"):
            asyncio.run(ask(url))
        assert time.monotonic() - begun < 4


def test_https_to_a_port_that_answers_in_http_is_said_in_these_words() -> None:
    with Server(whole()) as server:
        error = refused(server.url.replace("http:", "https:"))
    assert (error.reason, "base_url must begin with http://" in error.message) == ("tls", True)


def test_http_to_a_port_that_speaks_tls_is_said_in_these_words(authority: trustme.CA) -> None:
    with Server(whole(), tls=server_tls(authority)) as server:
        with pytest.raises(APIConnectionError, match="base_url must begin with https://"):
            asyncio.run(ask(server.url.replace("https:", "http:")))


def test_networks_differ_by_their_ca_file() -> None:
    assert Network() == Network()
    assert Network(ca_file="a") != Network()
