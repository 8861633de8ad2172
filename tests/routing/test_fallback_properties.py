"""Any route, whatever its providers do: what holds for every call. Time is made up."""

from __future__ import annotations

import asyncio
import datetime as dt
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from llm_g4f.config.settings import Config
from llm_g4f.decoding.error_messages import status_error
from llm_g4f.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    ContextLengthError,
    G4FError,
    InvalidResponseError,
    PermissionDeniedError,
    StreamError,
    TruncatedStreamError,
)
from llm_g4f.providers.base import Ineligible, Kind, Scope, ServedModel
from llm_g4f.receipt import Receipt
from llm_g4f.request import ChatRequest
from llm_g4f.routing import policy
from llm_g4f.routing.cooldowns import Cooldowns
from llm_g4f.routing.fallback import Fallback
from llm_g4f.routing.policy import LONGEST_COOLDOWN
from llm_g4f.routing.route import resolve_route
from llm_g4f.types import (
    ChatCompletionChunk,
    ChoiceDelta,
    ChunkChoice,
    Function,
    ToolCallDelta,
    Usage,
)
from tests.support import clock
from tests.support.registry import GivenProviders

STATUSES = (302, 400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 503, 529)
NAMES = "abcdefg"


def failure(name: str, kind: str | int, wait: float | None = None) -> APIError:
    """An error as a provider raises it; a number is an HTTP status."""
    if isinstance(kind, int):
        return status_error(kind, f"{name}: {kind}", provider=name, model="m", retry_after=wait)
    if kind == "moderation":
        return PermissionDeniedError("flagged by moderation", provider=name, status_code=403)
    if kind == "quota":
        return status_error(429, "no", provider=name, model="m", code="insufficient_quota")
    kinds: dict[str, type[APIError]] = {
        "context": ContextLengthError,
        "invalid": InvalidResponseError,
        "stream": StreamError,
        "truncated": TruncatedStreamError,
    }
    if kind in kinds:
        return kinds[kind](kind, provider=name)
    error = APIConnectionError(kind, provider=name)
    error.final = kind == "tls"
    return error


FAILURES = ("moderation", "quota", "context", "invalid", "stream", "truncated", "reset", "tls")


OF_THE_REQUEST = (
    *("BadRequestError", "UnprocessableEntityError", "PermissionDeniedError", "APIStatusError"),
    *("APIConnectionError", "APITimeoutError"),
)
"""Raised even if others failed before: the request's own fault, TLS, or the end of the time."""


@dataclass(frozen=True)
class Act:
    """The behaviour of a provider: pauses before its chunks ("" is no content), and its end."""

    pauses: tuple[float, ...]
    sends: tuple[str, ...]
    end: str | int
    wait: float | None = None


GOOD = Act((0.0,), ("text",), "stop")

acts = st.builds(
    Act,
    st.tuples(*[st.sampled_from([0.0, 0.0, 1.0, 50.0, 119.0, 121.0, 1e9])] * 4),
    st.lists(st.sampled_from(["", "", "text", "reasoning", "call"]), max_size=3).map(tuple),
    st.sampled_from(["stop", "stop", "stop", "length", "error", "nothing"])
    | st.sampled_from(STATUSES)
    | st.sampled_from(FAILURES),
    st.sampled_from([None, 0.0, 7.0, 119.0, 3600.0]),
)
failing = st.builds(
    Act,
    st.just((0.0,)),
    st.just(()),
    st.sampled_from([401, 404, 429, 500, 503, "stream", "reset"]),
    st.sampled_from([None, None, 3600.0]),
)


@dataclass
class Asked:
    """One request to one provider: what it said, and when; whether it failed. `last` is its last chunk."""

    name: str
    began: float
    request: ChatRequest
    said: list[str] = field(default_factory=list)
    last: float = 0.0
    ended: float | None = None
    failed: bool = False


class Player:
    """A provider that does what it is told, and notes what it is asked."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        scope: Scope,
        exact: bool,
        context: int | None,
        log: list[Asked],
    ) -> None:
        self.name, self.kind, self.scope = name, kind, scope
        self._exact, self._context, self._log = exact, context, log
        self.acts: list[Act] = []

    async def serves(self, request: ChatRequest) -> ServedModel | Ineligible:
        return ServedModel(f"model of {self.name}", self._exact, context=self._context)

    async def models(self) -> list[str]:
        raise AssertionError("a prompt needs no list of models")

    async def stream(
        self, request: ChatRequest, serving: ServedModel
    ) -> AsyncIterator[ChatCompletionChunk]:
        loop = asyncio.get_running_loop()
        asked = Asked(self.name, loop.time(), request, last=loop.time())
        self._log.append(asked)
        act = self.acts.pop(0) if self.acts else GOOD
        try:
            for pause, kind in zip(act.pauses, act.sends, strict=False):
                await asyncio.sleep(pause)
                delta = self._delta(kind, len(asked.said))
                if kind:
                    asked.said.append(_words(delta))
                asked.last = loop.time()
                yield self._chunk(delta)
            await asyncio.sleep(act.pauses[-1])
            if act.end in ("stop", "length", "error"):
                yield self._chunk(ChoiceDelta(), str(act.end))
            elif act.end != "nothing":
                asked.failed = True
                raise failure(self.name, act.end, act.wait)
        finally:
            asked.ended = loop.time()

    def _delta(self, kind: str, number: int) -> ChoiceDelta:
        words = f"{self.name}{len(self._log)}.{number};"
        if kind == "text":
            return ChoiceDelta(content=words)
        if kind == "reasoning":
            return ChoiceDelta(reasoning=words)
        if kind == "call":
            return ChoiceDelta(tool_calls=[ToolCallDelta(0, None, Function("", words))])
        return ChoiceDelta(role="assistant", content="")

    def _chunk(self, delta: ChoiceDelta, finish: str | None = None) -> ChatCompletionChunk:
        usage = Usage(1, 1, 2)
        return ChatCompletionChunk("1", 1, "m", [ChunkChoice(0, delta, finish)], usage)


def _words(delta: ChoiceDelta) -> str:
    called = "".join(call.function.arguments for call in delta.tool_calls or ())
    return (delta.content or "") + (delta.reasoning or "") + called


@dataclass
class Result:
    """The answer that a caller got, and when; `text` is the contents alone, `left`: it went away before the end."""

    got: list[str] = field(default_factory=list)
    text: str = ""
    error: G4FError | None = None
    receipt: Receipt | None = None
    seconds: float = 0.0
    committed: float | None = None
    left: bool = False


class Calls(RuleBasedStateMachine):
    """One call after the other, with the cooldowns that the earlier ones left."""

    @initialize(
        makes=st.lists(
            st.tuples(
                st.sampled_from(["keyed", "local", "anonymous"]),
                st.sampled_from(["key", "model"]),
                st.booleans(),
                st.sampled_from([None, 1000, 2000]),
            ),
            min_size=1,
            max_size=len(NAMES),
        )
    )
    def begin(self, makes: list[tuple[Kind, Scope, bool, int | None]]) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.now = 1.8e9
        self.log: list[Asked] = []
        self.players = {
            name: Player(name, *make, self.log) for name, make in zip(NAMES, makes, strict=False)
        }
        health = Cooldowns(Path(self.folder.name) / "health.json", now=lambda: self.now)
        self.source = GivenProviders(
            Config(Path(self.folder.name) / "g4f.yaml"),
            today=lambda: dt.date(2026, 9, 1),
            cooldowns=health,
            given=self.players,
        )

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(seconds=st.sampled_from([1.0, 6.0, 130.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        order=st.lists(st.sampled_from(NAMES), unique=True) | st.permutations(NAMES),
        does=st.tuples(*[st.lists(acts, max_size=2)] * len(NAMES))
        | st.tuples(*[st.lists(failing, min_size=2, max_size=2)] * len(NAMES)),
        timeout=st.sampled_from([None, None, 0.1, 30.0, 200.0]),
        leave=st.sampled_from([None, None, None, "close", "cancel"]),
        when=st.sampled_from([0.07, 0.25, 60.0]),
        streamed=st.booleans(),
    )
    def ask(
        self,
        order: list[str],
        does: tuple[list[Act], ...],
        timeout: float | None,
        leave: Literal["close", "cancel"] | None,
        when: float,
        streamed: bool,
    ) -> None:
        named = tuple(name for name in order if name in self.players)
        for player, player_acts in zip(self.players.values(), does, strict=False):
            player.acts = list(player_acts)
        request = ChatRequest(
            model="gpt-4o",
            messages=[{"role": "user", "content": "hi"}],
            providers=named,
            timeout=timeout,
            stream=streamed,
        )
        self.log.clear()
        route = [
            one.provider.name for one in clock.run(resolve_route(request, self.source)).candidates
        ]
        assert route == (list(named) or route), "not as the user named them"
        waits = {one: self._wait(one) for one in route}
        result = clock.run(self._call(request, leave, when))
        if leave == "cancel":
            assert result.seconds <= when, "who is cancelled ends at once"
            assert result.left == (result.seconds == when)
        self._check(result, route, waits, timeout)
        if result.left and len(self.log) == 1 and not self.log[0].failed:
            name = self.log[0].name
            assert self._wait(name) == waits[name], "the caller's leaving is no failure"

    def _wait(self, name: str) -> float:
        player = self.players[name]
        key = name if player.scope == "key" else f"{name}/model of {name}"
        return self.source.cooldowns.cooldown(key)

    async def _call(self, request: ChatRequest, leave: str | None, when: float) -> Result:
        result = Result()
        loop = asyncio.get_running_loop()

        async def consume() -> None:
            batches = Fallback(request, self.source)
            try:
                async for chunk in (chunk async for batch in batches for chunk in batch):
                    result.receipt = chunk.receipt
                    words = "".join(_words(choice.delta) for choice in chunk.choices)
                    if result.committed is None:
                        result.committed = loop.time()
                    result.got += [words] if words else []
                    result.text += "".join(one.delta.content or "" for one in chunk.choices)
                    if leave == "close":
                        result.left = True
                        break
            except G4FError as error:
                result.error, result.receipt = error, error.receipt
            finally:
                await batches.aclose()

        task = asyncio.ensure_future(consume())
        if leave == "cancel":
            loop.call_later(when, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            result.left = True
        result.seconds = loop.time()
        return result

    def _check(
        self, result: Result, route: list[str], waits: dict[str, float], timeout: float | None
    ) -> None:
        asked = [one.name for one in self.log]
        times = Counter(asked)
        assert len(asked) <= 5
        assert max(times.values(), default=0) <= 2
        assert set(asked) <= set(route), "asked who is not on the route"
        assert all(one.ended is not None for one in self.log), "a request was left open"
        if timeout is not None:
            assert result.seconds <= timeout + 1e-6
            assert all(one.began < timeout for one in self.log), "asked when the time was over"
        assert all((one.ended or 0) - one.last <= policy.IDLE_TIMEOUT + 1e-6 for one in self.log)
        # Nothing after the commit point, and nothing of anybody but the last who was asked.
        if result.committed is not None:
            assert all(one.began <= result.committed for one in self.log)
        if result.got:
            assert result.got == self.log[-1].said[: len(result.got)]
        self._check_order(asked, route, waits)
        if not result.left:
            self._check_receipt(result, asked)

    def _check_order(self, asked: Sequence[str], route: list[str], waits: dict[str, float]) -> None:
        ready = [name for name in route if not waits[name]]
        soon = [name for name in route if 0 < waits[name] <= LONGEST_COOLDOWN]
        first = list(dict.fromkeys(asked))
        expected = ready + soon or route
        assert first == [name for name in expected if name in first], "not in the route's order"
        for earlier, later in zip(self.log, self.log[1:], strict=False):
            assert earlier.ended is not None
            if later.name == earlier.name:
                assert later.name == first[-1], "asked again although another was left"
                assert later.began - earlier.ended <= policy.BACKOFF[1]
            else:
                assert later.began == earlier.ended, "a pause although another was left"

    def _check_receipt(self, result: Result, asked: Sequence[str]) -> None:
        receipt = result.receipt
        assert receipt is not None
        assert [one.provider for one in receipt.attempts] == list(asked), (
            "an attempt without receipt"
        )
        assert receipt.seconds == pytest.approx(result.seconds, abs=0.002)
        outcomes = [one.outcome for one in receipt.attempts]
        assert "ok" not in outcomes[:-1]
        error = result.error
        if error is None:
            assert outcomes[-1] == "ok"
            assert (receipt.provider, receipt.model) == (asked[-1], "m")
            assert result.got == self.log[-1].said
            return
        assert isinstance(error, APIError)
        if result.committed is not None:
            assert isinstance(error, (StreamError, APITimeoutError))
            assert receipt.provider == asked[-1] == error.provider
            assert error.partial == result.text
            assert result.got, "committed to nothing"
            return
        ends = [(one.provider, one.outcome) for one in receipt.attempts]
        raised = (error.provider, type(error).__name__)
        if raised != ends[0]:
            assert raised == ends[-1]
            assert raised[1] in OF_THE_REQUEST, "not the first failure"


TestCalls = Calls.TestCase
TestCalls.settings = settings(
    max_examples=120,
    stateful_step_count=12,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
