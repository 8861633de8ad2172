"""A fault: what a provider does, what the caller gets, and how it is tried.

The faults themselves are in `tests/fault_matrix/rows.py`; `python -m tests.fault_matrix` runs and prints them.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import trustme

from llm_g4f import AsyncClient
from llm_g4f.accumulator import Accumulator
from llm_g4f.decoding import chunks
from llm_g4f.errors import APIError, APIStatusError, G4FError
from llm_g4f.http import connect as connections
from llm_g4f.routing import policy
from llm_g4f.routing.cooldowns import Cooldowns
from llm_g4f.types import ChatCompletion, ChatCompletionChunk
from tests.support.server import CLOSE, Script, Server, full_queue, http, stream

TRANSPORTS = ("own", "httpx")
"""The transports of the matrix. "httpx" is httpx's, used where httptools is missing."""

WITHIN = 20.0
"""Seconds in which every fault is over, on a busy machine too: a provider may take two minutes."""

OTHER = "from b"
"""The answer of the healthy second provider."""


EITHER = "either"


class Policy(Enum):
    """The reaction to a failure. S and N are for before the commit point, K for after it."""

    A = "the provider's answer counts"
    S = "the next provider, or the same one again if there is none"
    N = "the next provider"
    R = "raised"
    K = "raised with the partial text"


@dataclass(frozen=True)
class Place:
    """Where the first provider is said to be, and what is there. `settings` are the client's, `yaml`
    is its provider's."""

    base_url: str
    server: Server | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    yaml: str = ""


Where = Callable[[tuple[Script, ...], Path], AbstractContextManager[Place]]


@contextmanager
def loopback(scripts: tuple[Script, ...], folder: Path) -> Iterator[Place]:
    with Server(*scripts) as server:
        yield Place(server.url, server)


@dataclass(frozen=True)
class Fault:
    """One fault.

    `does` is what the first provider's server does: one script, or a tuple of one for each request.
    `text` is what the caller gets of it, `status` the HTTP status that the attempt notes, and `made`
    are more fields of `Observed`. `failed` are the attempts before an answer, `requests` how many
    requests the server sees, where that does not follow from the policy. `kept`: the connection is
    used again. `before` answers a request before this one, on the same connection. `yaml` and
    `behind` are settings of the first and the second provider. `after_finish`: the seconds
    that the stream of a complete answer may go on. `httpx` is False where httpx is too trusting: it takes
    the bytes behind an answer for the next one, and one length of two.
    """

    name: str
    policy: Policy
    error: type[G4FError] | None = None
    does: Script | tuple[Script, ...] = ()
    text: str = ""
    status: int | None = None
    made: Mapping[str, Any] = field(default_factory=dict)
    failed: tuple[tuple[str, int | None], ...] = ()
    requests: int | None = None
    kept: bool | str | None = None
    before: Script | None = None
    at: Where = loopback
    yaml: str = ""
    behind: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    after_finish: float = 2.0
    httpx: bool = True

    @property
    def scripts(self) -> tuple[Script, ...]:
        return self.does if isinstance(self.does, tuple) else (self.does,)

    @property
    def keeps(self) -> bool | str:
        if self.kept is not None:
            return self.kept
        return self.at is loopback and (self.policy is Policy.A or self.status is not None)


@dataclass(frozen=True)
class Way:
    """A way to try a fault: with a healthy second provider after the first or without, streamed or not."""

    followed: bool
    streamed: bool

    def __str__(self) -> str:
        return (
            f"{'followed' if self.followed else 'alone'}, {'stream' if self.streamed else 'whole'}"
        )


ALONE = Way(followed=False, streamed=True)
FOLLOWED = Way(followed=True, streamed=True)
WAYS = [Way(followed, streamed) for followed in (False, True) for streamed in (True, False)]


@dataclass
class Observed:
    """The result of a fault. `outcome` is "ok" or the error's class, `attempts` are (provider, outcome,
    status), `a` and `b` count requests, `cooldown` is the first provider's, in whole seconds."""

    outcome: str = ""
    text: str = ""
    message: str = ""
    attempts: list[tuple[str, str, int | None]] = field(default_factory=list)
    a: int = 0
    b: int = 0
    kept: bool | str | None = None
    seconds: float = 0.0
    cooldown: int = 0
    retry_after: float | None = None
    finish: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[tuple[str, str, str]] = field(default_factory=list)
    usage: dict[str, Any] | None = None
    omitted: tuple[str, ...] = ()


def expected(fault: Fault, way: Way) -> dict[str, Any]:
    """The expected result of a fault, as fields of `Observed`."""
    error = fault.error.__name__ if fault.error else ""
    failed = [("a", *one) for one in fault.failed] or [("a", error, fault.status)]
    if fault.policy is Policy.A:
        tried = [("a", *one) for one in fault.failed]
        found: dict[str, Any] = {
            "outcome": "ok",
            "text": fault.text,
            "attempts": [*tried, ("a", "ok", 200)],
            **fault.made,
        }
    elif way.followed and fault.policy in (Policy.S, Policy.N):
        failed = failed[:1]
        found = {"outcome": "ok", "text": OTHER, "attempts": [*failed, ("b", "ok", 200)]}
        found |= {
            name: fault.made[name] for name in ("cooldown", "retry_after") if name in fault.made
        }
    else:
        again = fault.policy is Policy.S and not fault.failed
        attempts = failed * 2 if again else failed
        found = {"outcome": error, "text": fault.text, "attempts": attempts, **fault.made}
        if again:
            found.pop("cooldown", None)
    requests = len([one for one in found["attempts"] if one[0] == "a"])
    if fault.requests is not None:
        requests = fault.requests
    found |= {"a": requests, "b": int(found["text"] == OTHER and found["outcome"] == "ok")}
    if requests:
        found["kept"] = fault.keeps
    return found


async def outcomes(fault: Fault, folder: Path) -> dict[Way, Observed]:
    """The result of a fault in every way, all at once. TimeoutError if one does not end."""
    folders = [folder / str(number) for number in range(len(WAYS))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "AFTER_FINISH", fault.after_finish)
        async with asyncio.timeout(4 * WITHIN):
            observed = await asyncio.gather(
                *(_try(fault, way, path) for way, path in zip(WAYS, folders, strict=True))
            )
    return dict(zip(WAYS, observed, strict=True))


_MAPPED = "models: {gpt-4o: gpt-4o}"


async def _try(fault: Fault, way: Way, folder: Path) -> Observed:
    folder.mkdir()
    with Server(stream("from", " b")) as b:
        scripts = (fault.before, *fault.scripts) if fault.before else fault.scripts
        aimed = tuple([_aimed(step, b) for step in script] for script in scripts)
        with fault.at(aimed, folder) as place:
            (folder / "g4f.yaml").write_text(
                # Mapped: a look at /models would leave a connection behind.
                "providers:\n"
                f"  a: {{base_url: '{place.base_url}', {_MAPPED}, {place.yaml or fault.yaml}}}\n"
                f"  b: {{base_url: '{b.url}', {_MAPPED}, {fault.behind}}}\n",
                encoding="utf-8",
            )
            return await _Trial(fault, way, folder, place, b).run()


def _aimed(step: Any, b: Server) -> Any:
    """A step with the second provider's address in place of SINK."""
    return step.replace(b"SINK", b.origin.encode()) if isinstance(step, bytes) else step


class _Trial:
    def __init__(self, fault: Fault, way: Way, folder: Path, place: Place, b: Server) -> None:
        self._fault, self._way = fault, way
        self._folder, self._place, self._b = folder, place, b
        self._whole = Accumulator()
        self._text = ""

    def _ask(self, providers: str, **params: Any) -> Any:
        """A request that is not begun yet. What a client reads of the user's folder when it is asked,
        it reads here, without a break: other ways of the fault have other folders."""
        os.environ["LLM_USER_PATH"] = str(self._folder)
        client = AsyncClient(providers, **{**self._place.settings, **self._fault.settings})
        params = {"stream": self._way.streamed, "messages": "hi", **params}
        return client.chat.completions.create(**params)

    async def _consume(self, pending: Any) -> None:
        if not self._way.streamed:
            made = await pending
            assert isinstance(made, ChatCompletion)
            self._made = made
            return
        chunks = aiter(pending)
        async for chunk in chunks:
            self._add(chunk)
        self._made = self._whole.completion()
        self._made.usage = chunks.usage

    def _add(self, chunk: ChatCompletionChunk) -> None:
        self._whole.add(chunk)
        self._text = self._whole.text

    async def run(self) -> Observed:
        fault, server = self._fault, self._place.server
        if fault.before:
            await self._ask("a", stream=False)
            if server and CLOSE in fault.before:
                await asyncio.to_thread(server.wait_closed)
        earlier = len(server.requests) if server else 0
        observed = Observed()
        began = time.monotonic()
        try:
            pending = self._ask("a,b" if self._way.followed else "a", **fault.params)
            await self._consume(pending)
        except G4FError as error:
            self._note_error(error, observed)
        else:
            self._note_answer(observed)
        observed.seconds = time.monotonic() - began
        observed.cooldown = math.ceil(Cooldowns(self._folder / "g4f-health.json").cooldown("a"))
        observed.a, observed.b = (
            len(server.requests) - earlier if server else 0,
            len(self._b.requests),
        )
        if server and observed.a:
            await self._note_connection(server, observed)
        return observed

    def _note_error(self, error: G4FError, observed: Observed) -> None:
        observed.outcome, observed.message = type(error).__name__, error.message
        if isinstance(error, APIError):
            observed.text = error.partial
            assert self._text in ("", error.partial), "what was given is not the partial text"
        if isinstance(error, APIStatusError):
            observed.retry_after = error.retry_after
        if error.receipt:
            self._note_attempts(error.receipt.attempts, observed)

    def _note_answer(self, observed: Observed) -> None:
        made = self._made
        observed.outcome, observed.usage = "ok", made.usage.to_dict() if made.usage else None
        assert made.receipt is not None
        self._note_attempts(made.receipt.attempts, observed)
        observed.retry_after = made.receipt.attempts[0].retry_after
        observed.omitted = made.receipt.omitted
        choice = made.choices[0]
        message = choice.message
        observed.text, observed.finish = message.content or "", choice.finish_reason
        observed.reasoning, observed.refusal = message.reasoning, message.refusal
        observed.tool_calls = [
            (call.id, call.function.name, call.function.arguments)
            for call in message.tool_calls or ()
        ]

    def _note_attempts(self, attempts: Any, observed: Observed) -> None:
        observed.attempts = [(one.provider, one.outcome, one.status) for one in attempts]

    async def _note_connection(self, server: Server, observed: Observed) -> None:
        """Whether the connection is used for another request; where it is not, it must be closed."""
        keeps, last = self._fault.keeps, server.requests[-1].connection
        if keeps:
            with suppress(G4FError):
                await self._ask("a", **{**self._fault.params, "stream": False})
        if keeps and server.requests[-1].connection == last:
            observed.kept = keeps
            return
        try:
            await asyncio.to_thread(server.wait_closed, last)
        except AssertionError:
            observed.kept = "left open"
        else:
            observed.kept = keeps if keeps is EITHER else False


def typical(message: str) -> str:
    """A message without what differs from run to run: ports, seconds, folders."""
    message = re.sub(r"127\.0\.0\.1:[0-9]+", "127.0.0.1:PORT", message)
    message = re.sub(r"(?<=, )[0-9]+\.[0-9] s(?=\n|$)", "0.0 s", message)
    return re.sub(r"/[^ :,()']*/(?=g4f\.yaml|g4f-spend|ca\.pem|keys\.json)", "", message)


def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten waits of seconds to parts of seconds."""
    monkeypatch.setattr(policy, "BACKOFF", (0.01, 0.02))
    monkeypatch.setattr(connections, "CONNECT_TIMEOUT", 2.0)


# Places that are no plain server.


@contextmanager
def unresolvable(scripts: tuple[Script, ...], folder: Path) -> Iterator[Place]:
    yield Place("https://nowhere.invalid/v1")


@contextmanager
def refused(scripts: tuple[Script, ...], folder: Path) -> Iterator[Place]:
    with no_listener() as address:
        yield Place(f"http://{address}/v1")


@contextmanager
def no_listener() -> Iterator[str]:
    """The address of a port that is taken and does not listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def overrun(scripts: tuple[Script, ...], folder: Path) -> Iterator[Place]:
    """An address that neither makes nor refuses connections."""
    with full_queue() as origin:
        yield Place(f"{origin}/v1")


@lru_cache
def authority() -> trustme.CA:
    return trustme.CA()


@lru_cache
def certificate(name: str, begin: int, end: int) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    days = [dt.datetime.now(dt.UTC) + dt.timedelta(days=day) for day in (begin, end)]
    issued = authority().issue_cert(name, not_before=days[0], not_after=days[1])
    issued.configure_cert(context)
    return context


def encrypted(
    name: str = "127.0.0.1", *, begin: int = -1, end: int = 1, trusted: bool = True
) -> Where:
    """A TLS server with a certificate for `name`, valid from and to these days from now."""

    @contextmanager
    def at(scripts: tuple[Script, ...], folder: Path) -> Iterator[Place]:
        path = folder / "ca.pem"
        authority().cert_pem.write_to_path(str(path))
        with Server(*scripts, tls=certificate(name, begin, end)) as server:
            yield Place(server.url, server, yaml=f"ca_file: '{path}'" if trusted else "")

    return at


@contextmanager
def tls_to_plain(scripts: tuple[Script, ...], folder: Path) -> Iterator[Place]:
    with Server(*scripts) as server:
        yield Place(server.url.replace("http:", "https:"), server)


@contextmanager
def plain_to_tls(scripts: tuple[Script, ...], folder: Path) -> Iterator[Place]:
    with Server(*scripts, tls=certificate("127.0.0.1", -1, 1)) as server:
        yield Place(server.url.replace("https:", "http:"), server)


def proxied(origin: str, answer: Script | None) -> Where:
    """A provider behind a proxy that gives `answer` to every request, or that does not listen."""

    @contextmanager
    def at(scripts: tuple[Script, ...], folder: Path) -> Iterator[Place]:
        if answer is None:
            with no_listener() as address:
                yield Place(origin, settings={"proxies": f"http://{address}"})
            return
        with Server(answer) as proxy:
            yield Place(origin, settings={"proxies": proxy.origin})

    return at


PROXY_REFUSAL = http(407, "<html>", [("Proxy-Authenticate", "Basic")], kind="text/html")
"""A proxy's answer to a client without its password."""
