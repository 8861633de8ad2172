"""Keys and prompts go where the user sent them, and nothing that comes back can do harm."""

from __future__ import annotations

import ast
import asyncio
import copy
import dataclasses
import json
import logging
import re
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import trustme

import llm_g4f
from llm_g4f import AsyncClient, Client, config
from llm_g4f.config import yaml_reader
from llm_g4f.decoding.error_context import ErrorContext
from llm_g4f.errors import APIStatusError, NoProviderError
from llm_g4f.providers.catalogue import PROVIDERS
from llm_g4f.request import ChatRequest, Secret
from llm_g4f.routing.registry import Registry
from tests.support.commands import Run
from tests.support.hostile import TRICK, TRICKS, ask, assert_no_escapes, invoke
from tests.support.proxy import Proxy
from tests.support.server import (
    END,
    RESET,
    SSE_HEAD,
    USAGE,
    Script,
    Server,
    chunk,
    completion,
    event,
    events,
    framed,
    http,
    split,
    stream,
    whole,
)
from tests.support.tls import server_tls

Write = Callable[[str], Path]

KEYS = {
    "an identifier": "sk_headcanary0123_tailcanary4567",
    "special characters": "sk-headcanary0123\"\\/<&>%+'tailcanary4567",
}
PIECES = ("headcan", "ary0123", "tailcan", "ary4567")
"""Pieces of either key, in every quoting: half a key is too much."""

PROMPT = "prompt-canary-4711"


def shows_no_key(text: str) -> None:
    found = [piece for piece in PIECES if piece in text]
    assert not found, text[max(0, text.index(found[0]) - 300) : text.index(found[0]) + 100]


def on_disk(user_path: Path) -> str:
    """All that llm and this package keep, but for the keys themselves."""
    found = []
    for path in user_path.rglob("*"):
        if path.is_file() and path.name != "keys.json":
            found.append(path.read_bytes().decode("latin-1"))
        if path.suffix == ".db":
            # Long values are scattered over pages: the bytes alone would hide them.
            database = sqlite3.connect(path)
            found += database.iterdump()
            database.close()
    return "\n".join(found)


def look_everywhere(
    key: str, url: str, user_path: Path, write_config: Write, caplog: pytest.LogCaptureFixture
) -> str:
    """All that is left behind when a key goes to a server that fails, through every face."""
    caplog.set_level(logging.DEBUG)
    with Server(stream("good")) as good:
        write_config(
            f"providers:\n  leaky: {{base_url: '{url}', key: leaky}}\n"
            f"  good: {{base_url: '{good.url}'}}"
        )
        seen = [
            invoke("keys", "set", "leaky", "--value", key),
            invoke("-m", "gpt-4o", "hi"),
            invoke("-m", "gpt-4o", "hi", "-o", "provider", "leaky", "--key", key, "--async"),
            invoke("g4f", "models", "leaky"),
            asyncio.run(ask("leaky")),
            repr(Registry(config.load()).provider("leaky", "gpt-4o")),
        ]
    seen += [record.getMessage() for record in caplog.records if not is_response_head(record)]
    return "\n".join([*seen, on_disk(user_path)])


def is_response_head(record: logging.LogRecord) -> bool:
    """Whether the HTTP library logs what a server sent in its head: those are not our words, and
    the request's head, where the key is, is never in them."""
    words = record.getMessage()
    return (record.name == "httpcore.http11" and "receive_response_headers" in words) or (
        record.name == "httpx" and words.startswith("HTTP Request: ")
    )


def escaped(text: str) -> str:
    """JSON's escapes for all of it."""
    return "".join(f"\\u{ord(char):04x}" for char in text)


def answering(head: str) -> Script:
    return [f"HTTP/1.1 {head}\r\n\r\n".encode()]


ECHOES: dict[str, Callable[[str], Script]] = {
    "401 in its words": lambda key: http(
        401, {"error": {"message": f"No: {key}.", "code": key, "type": key, "param": key}}
    ),
    "401 in its headers": lambda key: http(
        401,
        {"error": {"message": "No."}},
        [(name, key) for name in ("X-Request-Id", "Retry-After", "WWW-Authenticate", "Set-Cookie")],
    ),
    "401 in its reason": lambda key: answering(f"401 {key}\r\nContent-Length: 0"),
    "400 with the headers it got": lambda key: http(
        400, f"Bad request\r\nAuthorization: Bearer {key}\r\n", kind="text/plain"
    ),
    "400 in JSON that is cut off": lambda key: http(
        400, json.dumps({"error": {"message": f"No: {key}."}})[:-2]
    ),
    "400 in JSON of nothing but escapes": lambda key: http(
        400, f'{{"error": {{"message": "{escaped(key)}"}}}}'
    ),
    "400 behind 290 characters": lambda key: http(
        400, {"error": {"message": "x" * 280 + key}}
    ),
    "404 in a URL": lambda key: http(
        404, {"error": {"message": f"GET /v1?key={quote(key, safe='')} not found"}}
    ),
    "422 in a list": lambda key: http(422, {"detail": [{"msg": "No"}, {"msg": key}]}),
    "429 in a quota's name": lambda key: http(429, {"error": {"message": f"{key} is limited"}}),
    "500 in HTML": lambda key: http(500, f"<html>{key}</html>", kind="text/html"),
    "500 in plain text": lambda key: http(500, f"{key} caused a panic", kind="text/plain"),
    "302 to a URL with it": lambda key: http(
        302, "", [("Location", f"http://127.0.0.1:9/?key={quote(key, safe='')}&again={key}")]
    ),
    "200 HTML": lambda key: http(200, f"<html>{key}</html>", kind="text/html"),
    "200 text": lambda key: http(200, key, kind="text/plain"),
    "200 an error": lambda key: http(200, {"error": {"message": key, "code": key}}),
    "200 a listing": lambda key: http(200, {"data": [{"id": key}]}),
    "200 an error event": lambda key: [
        SSE_HEAD,
        framed(b"event: error\n" + event({"message": f"No: {key}", "code": key})),
        END,
    ],
    "200 an error event of plain text": lambda key: [
        SSE_HEAD,
        framed(b"event: error\n" + event(f"No: {key}")),
        END,
    ],
    "200 an error in the stream": lambda key: events({"error": {"message": key}}),
    "an error after the first word": lambda key: events(chunk("A"), {"error": {"message": key}}),
    "an event that is no JSON": lambda key: events(chunk("A"), f"{{{key}"),
    "no HTTP at all": lambda key: [f"{key}\r\n\r\n".encode(), RESET],
    "a header that is none": lambda key: answering(f"200 OK\r\n{key}"),
    "a content length that is none": lambda key: answering(f"200 OK\r\nContent-Length: {key}"),
    "a transfer encoding that is none": lambda key: answering(
        f"200 OK\r\nTransfer-Encoding: {key}"
    ),
    "the fields of a good stream": lambda key: events(
        chunk("A", model=key) | {"id": key, "system_fingerprint": key, "service_tier": key},
        chunk(finish=key, model=key) | {"id": key},
        chunk(usage=USAGE | {"prompt_tokens_details": {key: key, "cached_tokens": key}}),
        "[DONE]",
    ),
    "the fields of a good answer": lambda key: http(
        200,
        completion("A", model=key) | {"id": key, "object": key, "provider": key, "x": {key: key}},
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *((name, KEYS["special characters"]) for name in ECHOES),
        ("401 in its words", KEYS["an identifier"]),
        ("a header that is none", KEYS["an identifier"]),
    ],
)
def test_an_echoed_key_appears_nowhere(
    name: str,
    key: str,
    user_path: Path,
    write_config: Write,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Server(ECHOES[name](key)) as leaky:
        shown = look_everywhere(key, leaky.url, user_path, write_config, caplog)
    assert {one.headers["authorization"] for one in leaky.requests} == {f"Bearer {key}"}
    assert len(leaky.requests) >= 3
    shows_no_key(shown)


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize("case", ["refused", "TLS", "the proxy refuses", "no proxy"])
def test_an_unreachable_server_gets_no_key(
    case: str,
    user_path: Path,
    write_config: Write,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = KEYS["special characters"]
    proxy = Proxy(refuse=True)
    authority = trustme.CA()
    if case == "the proxy refuses":
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    elif case == "no proxy":
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{unused_port()}")
    with Server(whole("never"), tls=server_tls(authority)) as server:
        url = f"https://127.0.0.1:{unused_port()}/v1" if case == "refused" else server.url
        if "proxy" in case:
            # No proxy of the environment is used for this machine.
            url = "https://leaky.example/v1"
        shown = look_everywhere(key, url, user_path, write_config, caplog)
    proxy.close()
    assert server.requests == []
    assert set(proxy.seen) == (
        {"CONNECT leaky.example:443 HTTP/1.1"} if case == "the proxy refuses" else set()
    )
    shows_no_key(shown)


@pytest.mark.parametrize("bad", ["\r\nX: y", "\n", "\0", "\x7f", "é", " and more", "\u2028"])
def test_an_invalid_key_is_an_error_that_does_not_show_it(
    bad: str, user_path: Path, write_config: Write, caplog: pytest.LogCaptureFixture
) -> None:
    key = f"sk-headcanary0123{bad}tailcanary4567"
    with Server(whole("never")) as server:
        write_config(f"providers: {{leaky: {{base_url: '{server.url}', key: leaky}}}}")
        (user_path / "keys.json").write_text(json.dumps({"leaky": key}))
        caplog.set_level(logging.DEBUG)
        shown = [
            invoke("-m", "gpt-4o", "hi"),
            invoke("-m", "gpt-4o", "hi", "--key", key, "-o", "provider", "leaky"),
            asyncio.run(ask("leaky")),
        ]
        with pytest.raises(NoProviderError, match="set it again") as caught:
            Client("leaky", api_key=key)
    assert server.requests == []
    assert "The key from" in shown[0]
    shows_no_key("\n".join([*shown, repr(caught.value), caplog.text, on_disk(user_path)]))


def test_the_command_does_not_show_a_key(
    run_llm: Run, write_config: Write, user_path: Path
) -> None:
    key = KEYS["special characters"]
    with Server(ECHOES["401 in its words"](key)) as leaky, Server(stream("good")) as good:
        write_config(
            f"providers:\n  leaky: {{base_url: '{leaky.url}', key: leaky}}\n"
            f"  good: {{base_url: '{good.url}'}}"
        )
        done = [
            run_llm("keys", "set", "leaky", "--value", key),
            run_llm("-m", "gpt-4o", "hi"),
            run_llm("-m", "gpt-4o", "hi", "-o", "provider", "leaky", "--key", key),
        ]
    assert [one.returncode for one in done] == [0, 0, 1]
    assert done[1].stdout == "good\n"
    assert len(leaky.requests) == 2
    shows_no_key("".join(one.stdout + one.stderr for one in done) + on_disk(user_path))


def test_no_object_shows_its_key(write_config: Write) -> None:
    key = KEYS["an identifier"]
    secret = Secret(key)
    client = AsyncClient(api_key=key)
    provider = Registry(write_config_and_load(write_config)).provider("box", "gpt-4o", key=secret)
    assert not isinstance(provider, str)
    holders = [
        secret,
        ChatRequest(model="m", messages=[], key=secret),
        ErrorContext("box", "m", "https://box.example", key=secret),
        provider,
        vars(client.chat.completions)["_settings"],
    ]
    for holder in holders:
        shown = [
            repr(holder),
            str(holder),
            f"{holder}",
            f"{holder!a:>99}",
            f"{holder} {repr(holder)!r:>99}",
            logging.makeLogRecord({"msg": "%s %r", "args": (holder, holder)}).getMessage(),
        ]
        for copied in (copy.copy, copy.deepcopy, dataclasses.asdict, vars, json.dumps):
            try:
                shown.append(repr(copied(holder)))
            except TypeError as error:
                shown.append(str(error))
        shows_no_key("\n".join(shown))
    for copied in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="Secret"):
            copied(secret)


def write_config_and_load(write_config: Write) -> config.Config:
    write_config("providers: {box: {base_url: 'https://box.example/v1'}}")
    return config.load()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(
    status: int, host: str, write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_RESOURCE", "mine")

    async def own_http(url: str) -> None:
        async with httpx.AsyncClient(follow_redirects=True) as client:
            with pytest.raises(APIStatusError, match="not followed"):
                await AsyncClient(base_url=url, http_client=client).chat.completions.create("hi")

    with Server(whole("stolen")) as sink:
        target = f"http://{host}:{sink.port}/v1/chat/completions"
        redirect = http(status, "", [("Location", target)])
        with Server(redirect, models=redirect) as server:
            write_config(
                f"providers:\n  box: {{base_url: '{server.url}', key_env: BOX}}\n"
                f"  azure: {{base_url: '{server.url}', key_env: BOX, models: {{gpt-4o: d}}}}"
            )
            monkeypatch.setenv("BOX", KEYS["an identifier"])
            for name in ("box", "azure"):
                for create in (True, False):
                    with pytest.raises(APIStatusError, match="not followed") as caught:
                        Client(name).chat.completions.create("hi", stream=create)
                    assert caught.value.status_code == status
                with pytest.raises(APIStatusError, match="not followed"):
                    Client(name).models.list()
            asyncio.run(own_http(server.url))
    assert [len(server.requests), sink.connections, sink.requests] == [5, 0, []]
    assert len(server.looks) == 3


PLANTED = "\n".join(
    f"{name}={KEYS['an identifier']}" for row in PROVIDERS.values() for name in row.env_vars
)


def test_an_env_file_is_not_read(run_llm: Run, user_path: Path, tmp_path: Path) -> None:
    with Server(whole("stolen")) as sink:
        for folder in (user_path, tmp_path / "home", tmp_path / "cwd", tmp_path):
            folder.mkdir(exist_ok=True)
            for name in (".env", ".env.local", ".netrc", "_netrc"):
                (folder / name).write_text(
                    f"{PLANTED}\nOPENAI_BASE_URL={sink.url}\nHTTP_PROXY={sink.origin}\n"
                    if "env" in name
                    else f"machine 127.0.0.1 login x password {KEYS['an identifier']}\n"
                )
        environment = {"HOME": str(tmp_path / "home"), "USERPROFILE": str(tmp_path / "home")}
        done = run_llm(*("g4f", "providers", "--json"), env=environment, cwd=tmp_path / "cwd")
        keys = {row["provider"]: row["key"] for row in json.loads(done.stdout)}
        assert not any(keys.values())
        (user_path / "g4f.yaml").write_text(f"providers: {{box: {{base_url: '{sink.url}'}}}}")
        asked = run_llm("-m", "gpt-4o", "hi", env=environment, cwd=tmp_path / "cwd")
        assert asked.stdout == "stolen\n"
    [request] = sink.requests
    shows_no_key(f"{request.fields}")
    assert "authorization" not in request.headers


KEYED = [row for row in PROVIDERS.values() if row.env_vars]


@pytest.mark.parametrize("stored", [False, True], ids=["environment", "llm keys"])
def test_a_built_in_provider_at_another_address_gets_only_its_own_key(
    stored: bool, write_config: Write, user_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stored:
        aliases = {alias: KEYS["an identifier"] for row in KEYED for alias in row.aliases}
        (user_path / "keys.json").write_text(json.dumps(aliases))
    for row in KEYED:
        for variable in (*row.env_vars, *row.url_env_vars):
            monkeypatch.setenv(variable, KEYS["an identifier"])
    with Server(whole("stolen")) as sink:
        for row in KEYED:
            write_config(
                f"providers: {{{row.name}: {{enabled: true, base_url: '{sink.url}',"
                " models: {gpt-4o: m}}}"
            )
            said = asyncio.run(ask(row.name))
            assert row.kind != "keyed" or "so its usual key is not sent there" in said
    for request in sink.requests:
        shows_no_key(f"{request.fields} {request.body!r}")


@pytest.mark.parametrize(
    "answer",
    [stream("mine"), http(500, "no"), http(401, "no"), http(429, "no"), [RESET], http(200, "<p>")],
    ids=["ok", "500", "401", "429", "reset", "HTML"],
)
def test_a_prompt_reaches_only_the_chosen_provider(
    answer: Script, write_config: Write, monkeypatch: pytest.MonkeyPatch, user_path: Path
) -> None:
    names = ["first", "second", "third", "groq", "gemini", "openai", "ovh", "ollama"]
    sinks = {name: Server(whole("stolen")) for name in names}
    monkeypatch.setenv("SINK", "sk-of-a-sink")
    with Server(answer) as chosen:
        for server in sinks.values():
            server.__enter__()
        lines = [
            f"  {name}: {{enabled: true, base_url: '{server.url}', models: {{gpt-4o: m}}"
            + (", key_env: SINK}" if name in ("groq", "gemini", "openai") else "}")
            for name, server in sinks.items()
        ]
        write_config("\n".join(["providers:", *lines, f"  mybox: {{base_url: '{chosen.url}'}}"]))
        invoke("-m", "gpt-4o", PROMPT, "-o", "provider", "mybox")
        asyncio.run(ask("mybox"))
        if chosen.requests and answer == stream("mine"):
            invoke("-c", "and again")
            assert PROMPT in str(chosen.requests[-1].json["messages"])
        for server in sinks.values():
            server.__exit__()
    assert PROMPT in str(chosen.requests[0].json["messages"])
    assert {name: server.connections for name, server in sinks.items()} == dict.fromkeys(names, 0)


ALLOWED = {
    *("id", "object", "created", "model", "role", "content", "refusal", "finish_reason", "usage"),
    *("system_fingerprint", "service_tier", "g4f"),
}
HUGE = "stray-canary" * 90_000
"""1 MB, in many places."""


@pytest.mark.parametrize("streaming", [True, False])
def test_the_logs_keep_known_fields_of_bounded_size(
    streaming: bool, write_config: Write, user_path: Path
) -> None:
    key = KEYS["an identifier"]
    stray: dict[str, Any] = {
        "stray": HUGE,
        "echo": {"authorization": f"Bearer {key}"},
        "x-key": key,
    }
    usage = USAGE | {
        **stray,
        "prompt_tokens_details": {"cached_tokens": 3, **stray},
        "completion_tokens_details": {"reasoning_tokens": 1, "deep": [stray]},
    }
    fields = {"id": HUGE, "system_fingerprint": HUGE, "service_tier": HUGE, **stray}
    if streaming:
        one = chunk("Hello", model=HUGE, **stray) | fields
        one["choices"][0] |= stray
        script = events(one, chunk(finish="stop", **stray), chunk(usage=usage) | fields, "[DONE]")
    else:
        answer = completion("Hello", model=HUGE, **stray) | fields | {"usage": usage}
        answer["choices"][0] |= stray
        script = http(200, answer)
    with Server(script) as server:
        write_config(f"providers: {{box: {{base_url: '{server.url}', key: box}}}}")
        (user_path / "keys.json").write_text(json.dumps({"box": key}))
        said = invoke("-m", "gpt-4o", "hi", *(() if streaming else ("--no-stream",)))
    assert "Hello" in said
    [logged] = json.loads(invoke("logs", "--json").split("\nTraceback")[0].split("\nSystemExit")[0])
    assert logged["response_json"].keys() <= ALLOWED
    assert logged["response_json"]["content"] == "Hello"
    assert len(json.dumps(logged["response_json"])) < 4_000
    kept = on_disk(user_path)
    shows_no_key(said + kept)
    assert "stray-canarystray-canary" * 100 not in said + kept
    assert '"stray"' not in kept


def bytewise(script: Script) -> Script:
    """The same bytes, each in a chunk of HTTP of its own and in a packet of its own."""
    return [
        piece
        for step in script
        for piece in (split(step, 1) if isinstance(step, bytes) else [step])
    ]


def error_stream(body: bytes, status: int = 400) -> Script:
    head = f"HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n"
    return [head.encode(), *(framed(bytes([byte])) for byte in body), END]


HOSTILE: dict[str, Script] = {
    "an error's words": http(400, {"error": {"message": TRICK, "code": TRICK}}),
    "an error's plain text": error_stream(TRICK.encode()),
    "an error's bytes that are no UTF-8": error_stream(b"\x9b2J\x1b\x9d" + TRICK.encode("utf-16")),
    "headers": http(
        429,
        {"error": {"message": "no"}},
        [
            ("X-Request-Id", TRICKS["C1"]),
            ("Retry-After", TRICKS["C1"]),
            ("Location", TRICKS["C1"]),
        ],
    ),
    "a redirect": http(307, "", [("Location", "http://127.0.0.1/\x9b2J" + TRICKS["C1"])]),
    "a model's name": events(
        chunk("A", model=TRICK), chunk(finish="length", model=TRICK), "[DONE]"
    ),
    "a model's name and then an error": events(
        chunk("A", model=TRICK), {"error": {"message": TRICK}}
    ),
    "an error in the stream": events({"error": {"message": TRICK, "type": TRICK}}),
    "an error event": [SSE_HEAD, framed(b"event: error\n" + event(TRICK.replace("\r", ""))), END],
    "a status line": [
        f"HTTP/1.1 500 {TRICKS['C1']}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")
    ],
    "no HTTP": [TRICK.encode("utf-8"), b"\r\n\r\n", RESET],
    "a header that is none": [f"HTTP/1.1 200 OK\r\n{TRICKS['C1']}\r\n\r\n".encode("latin-1")],
    "a tool's name": events(
        chunk(
            tool_calls=[{"index": 0, "id": TRICK, "function": {"name": TRICK, "arguments": "[1]"}}]
        ),
        chunk(finish="tool_calls"),
        "[DONE]",
    ),
    "a listing": http(200, {"data": [{"id": f"gpt-oss-{TRICK}"}, {"id": TRICK}]}),
}


@pytest.mark.parametrize("script", HOSTILE.values(), ids=HOSTILE)
def test_no_output_has_terminal_escapes(
    script: Script, write_config: Write, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(bytewise(script)) as server, Server(stream("B")) as good:
        write_config(
            f"providers:\n  bad: {{base_url: '{server.url}'}}\n"
            f"  good: {{base_url: '{good.url}'}}\n"
            f"  ollama: {{enabled: true, base_url: '{server.url}'}}\n"
        )
        said = [
            invoke("-m", "gpt-4o", "hi", "-o", "provider", "bad,good"),
            invoke("-m", "gpt-4o", "hi", "-o", "provider", "ollama,good"),
            *(invoke("g4f", *words) for words in (["models"], ["models", "bad"], ["providers"])),
            invoke("g4f", "route", "gpt-4o"),
            "".join(f"{record.name}: {record.getMessage()}" for record in caplog.records),
        ]
    assert server.requests
    for words in said:
        assert_no_escapes(words)


def test_the_command_prints_no_terminal_escapes(run_llm: Run, write_config: Write) -> None:
    hostile = events(chunk("A", model=TRICK), chunk(finish="stop"), "[DONE]")
    with Server(HOSTILE["an error's words"], hostile) as server:
        write_config(f"providers: {{bad: {{base_url: '{server.url}', models: {{gpt-4o: other}}}}}}")
        refused = run_llm("-m", "gpt-4o", "hi")
        answered = run_llm("-m", "gpt-4o", "hi")
    assert (refused.returncode, answered.stdout) == (1, "A\n")
    assert "\\x1b]52;c;" in refused.stderr
    assert "\\x1b]52;c;" in answered.stderr
    assert_no_escapes(refused.stdout + refused.stderr + answered.stdout + answered.stderr)


def test_a_huge_error_body_is_cut_and_cleaned(write_config: Write, user_path: Path) -> None:
    key = KEYS["an identifier"]
    body = f"{TRICK}{key}" * 10_000 + "x" * 500_000
    for script in (http(400, {"error": {"message": body}}), http(400, body, kind="text/plain")):
        with Server(script) as server:
            with pytest.raises(APIStatusError) as caught:
                Client(base_url=server.url, api_key=key).chat.completions.create("hi")
        shown = str(caught.value)
        assert 0 < len(shown) <= 600
        assert len(caught.value.detail) <= 300
        assert_no_escapes(shown + caught.value.detail)
        shows_no_key(f"{shown} {vars(caught.value)}")


IMAGES = [
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://2852039166/",
    "http://2130706433:{port}/decimal",
    "http://127.0.0.1:{port}/sink",
    "http://localhost:{port}/sink",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_x",
]


def test_image_urls_are_passed_on_and_not_fetched(
    write_config: Write, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(whole("secret")) as sink, Server(stream("ok")) as server:
        write_config(f"providers: {{box: {{base_url: '{server.url}'}}}}")
        urls = [url.format(port=sink.port) for url in IMAGES]
        parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        Client().chat.completions.create([{"role": "user", "content": parts}], stream=True).close()
        assert server.requests[0].json["messages"][0]["content"] == parts
        attached = [word for url in urls for word in ("--at", url, "image/png")]
        invoke("-m", "gpt-4o", "describe", *attached)
        sent = server.requests[1].json["messages"][0]["content"][1:]
        assert [part["image_url"]["url"] for part in sent] == urls
    assert (sink.connections, sink.requests) == (0, [])


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "ftp://api.example/v1", "gopher://api.example/", "//api.example"),
        *("http://2130706433/v1", "http://0x7f000001/v1", "http://127.1/v1", "http://0/v1"),
        *("http://169.254.169.254/v1", "http://localhost.evil.example/v1", "http://[::]/v1"),
        *("https://user:sk_headcanary0123@api.example/v1", "https://sk_tailcanary4567@api.example"),
        *("http://127.0.0.1@api.example/v1", "https://api.example\\@evil.example/v1"),
        *("https://api.example/v1?key=1", "https://api.example/v1#x", "https://a b.example/"),
        *("data:text/plain,x", "javascript:x", "https://", "", "unix:///var/run/docker.sock"),
    ],
)
def test_an_invalid_base_url_is_rejected(
    url: str, write_config: Write, user_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(f"providers: {{box: {{base_url: {json.dumps(url)}}}}}")
    told = invoke("-m", "gpt-4o", "hi")
    assert "g4f.yaml, line 1: base_url of provider box" in told
    (user_path / "g4f.yaml").unlink()
    yaml_reader._loaded = None
    added = invoke("g4f", "add", "box", url)
    assert "Error" in added
    assert not (user_path / "g4f.yaml").exists()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    # http:// in the variable is the user's word, as with llm's own gpt-4o.
    is_rejected = url and (not url.startswith("http://") or "@" in url)
    paired = invoke("-m", "gpt-4o", "hi", "-o", "provider", "openai") if is_rejected else ""
    assert "OPENAI_BASE_URL" in paired or not is_rejected
    shows_no_key(told + added + paired)


@pytest.mark.parametrize("case", ["unknown authority", "wrong host", "expired", "right"])
def test_a_key_goes_only_through_a_trustworthy_connection(
    case: str, authority: trustme.CA, write_config: Write, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    (trustme.CA() if case == "unknown authority" else authority).cert_pem.write_to_path(
        str(ca_file)
    )
    name = "api.example" if case == "wrong host" else "127.0.0.1"
    context = server_tls(authority, name, begin=-2, end=-1 if case == "expired" else 1)
    with Server(whole("trusted"), tls=context) as server:
        write_config(
            f"providers: {{box: {{base_url: '{server.url}', key: box, ca_file: '{ca_file}'}}}}"
        )
        invoke("keys", "set", "box", "--value", KEYS["an identifier"])
        said = asyncio.run(ask("box"))
    if case == "right":
        [request] = server.requests
        assert request.headers["authorization"] == f"Bearer {KEYS['an identifier']}"
    else:
        assert "no trustworthy TLS connection" in said
        assert server.requests == []


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(Path(llm_g4f.__file__).parent.rglob("*.py")):
        yield str(path), ast.parse(path.read_text(encoding="utf-8"))


UNSAFE_NAMES = {"CERT_NONE", "CERT_OPTIONAL", "_create_unverified_context", "set_ciphers"}


def test_no_code_disables_certificate_checks() -> None:
    for path, tree in sources():
        for node in ast.walk(tree):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, (ast.Attribute, ast.Name)):
                name = node.attr if isinstance(node, ast.Attribute) else node.id
                assert name not in UNSAFE_NAMES, where
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    assert not (
                        isinstance(target, ast.Attribute)
                        and target.attr in ("check_hostname", "verify_mode")
                    ), where
            if isinstance(node, ast.Call):
                given = {keyword.arg: keyword.value for keyword in node.keywords}
                assert "verify=False" not in map(ast.unparse, node.keywords), where
                if re.fullmatch(r"httpx\.\w*(Client|HTTPTransport)", ast.unparse(node.func)):
                    # A transport has been asked for it where it was made.
                    assert {"verify", "transport"} & given.keys(), where
                    assert ast.unparse(given.get("follow_redirects", node)) != "True", where
