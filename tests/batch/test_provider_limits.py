"""Permits of a batch run: which provider gets a request, and when. Time is simulated."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_g4f.batch.adaptive_rate import FIRST_WINDOW
from llm_g4f.batch.provider_limits import BatchAdmission
from llm_g4f.config.settings import Config
from llm_g4f.decoding.error_messages import status_error
from llm_g4f.errors import APIError, APITimeoutError, G4FError, RateLimitError, Reason
from llm_g4f.providers.base import Kind, Scope, ServedModel
from llm_g4f.receipt import Receipt
from llm_g4f.request import ChatRequest
from llm_g4f.routing import policy
from llm_g4f.routing.cooldowns import Cooldowns
from llm_g4f.routing.fallback import Fallback
from llm_g4f.routing.policy import LONGEST_COOLDOWN
from llm_g4f.routing.registry import Registry
from llm_g4f.routing.route import Candidate, equally_exact
from llm_g4f.types import ChatCompletionChunk, ChoiceDelta, ChunkChoice
from tests.support import batch_limits, clock
from tests.support.batch_limits import Bucket, Scenario
from tests.support.registry import GivenProviders


@dataclass
class Host:
    """A provider in simulated time: each answer takes `takes` seconds; `bucket` may reject it, and
    `fails` has the results of the first ones."""

    name: str
    exact: bool = True
    kind: Kind = "keyed"
    scope: Scope = "key"
    bucket: Bucket | None = None
    takes: float = 1.0
    fails: list[APIError | float] = field(default_factory=list)
    timeout: float | None = None
    asked: list[float] = field(default_factory=list)
    now: int = 0
    most: int = 0
    model: str = "m"

    async def serves(self, request: ChatRequest) -> ServedModel:
        return ServedModel(self.model, self.exact)

    async def models(self) -> list[str]:
        return []

    async def stream(
        self, request: ChatRequest, serving: ServedModel
    ) -> AsyncIterator[ChatCompletionChunk]:
        loop = asyncio.get_running_loop()
        self.asked.append(loop.time())
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self.fails:
                failure = self.fails.pop(0)
                # Those who are asked at the same time meet the same.
                await asyncio.sleep(0)
                if isinstance(failure, APIError):
                    raise failure
                await asyncio.sleep(failure)
            if self.bucket and (wait := self.bucket.wait(loop.time())):
                raise rejection(self.name, math.ceil(wait))
            await asyncio.sleep(self.takes)
            delta = ChoiceDelta(content="Hello")
            yield ChatCompletionChunk("1", 1, self.model, [ChunkChoice(0, delta, "stop")])
        finally:
            self.now -= 1


def rejection(
    name: str, wait: float | None, status: int = 429, reason: Reason | None = None
) -> APIError:
    return status_error(
        status, f"{name}: no", provider=name, model="m", retry_after=wait, reason=reason
    )


def registry_of(hosts: Sequence[Host], folder: Path, cooldowns: Cooldowns) -> GivenProviders:
    """A registry of these hosts in their order, and no others."""
    given = {host.name: host for host in hosts}
    return GivenProviders(Config(folder / "g4f.yaml"), cooldowns=cooldowns, given=given)


@dataclass
class Outcome:
    """The result of one request, and its time."""

    receipt: Receipt | None
    error: G4FError | None
    seconds: float

    @property
    def attempts(self) -> list[tuple[str, str]]:
        assert self.receipt is not None
        return [(one.provider, one.outcome) for one in self.receipt.attempts]


async def send(
    registry: Registry, admission: BatchAdmission, timeout: float | None = None
) -> Outcome:
    names = tuple(registry.names())
    request = ChatRequest(
        model="gpt-4o",
        messages=[{"role": "user", "content": "hi"}],
        providers=names,
        timeout=timeout,
    )
    receipt = error = None
    try:
        async for batch in Fallback(request, registry, admission):
            receipt = batch[0].receipt
    except G4FError as raised:
        error, receipt = raised, raised.receipt
    return Outcome(receipt, error, asyncio.get_running_loop().time())


@pytest.fixture
def hosts(tmp_path: Path) -> Callable[..., GivenProviders]:
    """A registry of hosts in their order; its state file has the simulated time."""

    def made(*hosts: Host) -> GivenProviders:
        def now() -> float:
            return 1.8e9 + asyncio.get_running_loop().time()

        cooldowns = Cooldowns(tmp_path / "health.json", now)
        return registry_of(hosts, tmp_path, cooldowns)

    return made


def send_all(
    registry: Registry, count: int, most: int = 64, timeout: float | None = None
) -> list[Outcome]:
    """Send `count` requests at once, in simulated time."""

    async def main() -> list[Outcome]:
        admission = BatchAdmission(most)
        found = await asyncio.gather(*(send(registry, admission, timeout) for _ in range(count)))
        assert_all_back(admission)
        return found

    return clock.run(main())


def assert_all_back(admission: BatchAdmission) -> None:
    """Check that no permit is held or waited for, and that no timer is set."""
    assert not admission._queues
    assert admission._timer is None
    assert all(limit.rate.in_flight == 0 for limit in admission._by_key.values())


Make = Callable[..., GivenProviders]


def test_only_overflow_goes_to_the_next_provider(hosts: Make) -> None:
    a, b, c = Host("a"), Host("b"), Host("c", exact=False)
    registry = hosts(a, c, b)
    assert all(one.error is None for one in send_all(registry, FIRST_WINDOW))
    assert (len(a.asked), len(b.asked)) == (FIRST_WINDOW, 0)
    found = send_all(registry, 7)
    assert (len(a.asked), len(b.asked), len(c.asked)) == (2 * FIRST_WINDOW, 7 - FIRST_WINDOW, 0)
    assert {one.seconds for one in found} == {1.0}


def test_two_providers_share_the_load_by_their_limits(hosts: Make) -> None:
    a = Host("a", bucket=Bucket(20, 10), takes=0.1)
    b = Host("b", bucket=Bucket(60, 10), takes=0.1)
    found = send_all(hosts(a, b), 2_000)
    assert {one.error for one in found} == {None}
    served = Counter(one.receipt.provider for one in found if one.receipt)
    assert served["b"] > 2 * served["a"] > 500
    assert max(one.seconds for one in found) < 1.3 * 2_000 / 80


@pytest.mark.parametrize("status", [429, 503])
def test_a_short_limit_is_waited_for(status: int, hosts: Make) -> None:
    a = Host("a", fails=[rejection("a", 30.0, status) for _ in range(4)])
    c = Host("c", exact=False)
    (only,) = send_all(hosts(a, c), 1)
    outcome = "RateLimitError" if status == 429 else "InternalServerError"
    assert only.attempts == [("a", outcome), ("a", outcome), ("a", "ok")]
    assert a.asked == [0.0, 30.0, 60.0, 90.0, 120.0]
    assert not c.asked


def test_a_request_beyond_a_limit_of_its_size_is_not_made_to_wait(hosts: Make) -> None:
    def too_large() -> APIError:
        return rejection("a", None, 413, "rate_limited")

    (only,) = send_all(hosts(Host("a", fails=[too_large()]), Host("b")), 1)
    assert only.attempts == [("a", "RateLimitError"), ("b", "ok")]
    assert only.seconds == 1.0
    found = send_all(hosts(Host("a", fails=[too_large()])), 3)
    assert Counter(type(one.error).__name__ for one in found) == {
        "RateLimitError": 1,
        "NoneType": 2,
    }
    assert all(one.seconds <= 10.0 for one in found)


def test_a_rate_limited_request_is_retried_before_the_waiting_ones(hosts: Make) -> None:
    a = Host("a", fails=[rejection("a", 5.0)])

    async def main() -> list[Outcome]:
        registry, admission = hosts(a), BatchAdmission(1)
        first = asyncio.create_task(send(registry, admission))
        others = [asyncio.create_task(send(registry, admission)) for _ in range(3)]
        return [await first, *[await other for other in others]]

    first, *others = clock.run(main())
    assert first.seconds == 6.0
    assert all(other.seconds > 6.0 for other in others)
    assert a.most == 1


def test_retry_after_holds_for_its_scope_only(hosts: Make) -> None:
    a = Host("a", fails=[rejection("a", 50.0)], scope="model")
    found = send_all(hosts(a), 30)
    assert all(asked == 0.0 or asked >= 50.0 for asked in a.asked)
    b, c = Host("b", fails=[rejection("b", 50.0)]), Host("c")
    found = send_all(hosts(b, c), 30)
    assert sum(one.seconds < 50.0 for one in found) > 20


LONG = {
    "retry-after": lambda: rejection("a", LONGEST_COOLDOWN + 1),
    "quota": lambda: rejection("a", None, reason="out_of_credit"),
    "payment": lambda: rejection("a", None, 402),
}


@pytest.mark.parametrize("name", LONG)
def test_a_long_limit_moves_requests_to_the_next_provider(name: str, hosts: Make) -> None:
    a, b = Host("a", fails=[LONG[name]() for _ in range(9)]), Host("b", exact=False)
    registry = hosts(a, b)
    found = send_all(registry, 40)
    assert {one.receipt.provider for one in found if one.receipt} == {"b"}
    assert len(a.asked) == FIRST_WINDOW, "asked again although it said when"
    assert all(one.seconds < 30 for one in found)

    alone = Host("a", fails=[LONG[name]() for _ in range(99)])
    (tmp := registry.cooldowns._path).unlink()
    found = send_all(hosts(alone), 40)
    assert {type(one.error) for one in found} == {type(LONG[name]())}
    assert all(one.error and one.error.receipt is one.receipt for one in found)
    assert len(alone.asked) == FIRST_WINDOW
    assert tmp.exists()


def test_another_failure_moves_requests_to_the_next_provider(hosts: Make) -> None:
    a = Host("a", fails=[rejection("a", None, 500) for _ in range(99)])
    b = Host("b", exact=False)
    found = send_all(hosts(a, b), 20)
    assert {one.receipt.provider for one in found if one.receipt} == {"b"}
    assert len(a.asked) == FIRST_WINDOW, "who has just failed is asked last"
    assert found[0].attempts == [("a", "InternalServerError"), ("b", "ok")]
    assert found[-1].attempts == [("b", "ok")]


def test_a_recovered_provider_is_first_again(hosts: Make) -> None:
    down = rejection("a", None, 500)
    a, b = Host("a", fails=[down, 0.0, down]), Host("b", exact=False)

    async def main() -> list[str | None]:
        registry, admission, served = hosts(a, b), BatchAdmission(8), []
        for pause in (0.0, 5.0, 1.0, 5.0):
            await asyncio.sleep(pause)
            found = await send(registry, admission)
            served.append(found.receipt.provider if found.receipt else None)
        assert registry.cooldowns.cooldowns() == {}
        assert_all_back(admission)
        return served

    assert clock.run(main()) == ["b", "a", "b", "a"]


def test_a_request_waits_at_most_for_its_timeout(hosts: Make) -> None:
    a = Host("a", bucket=Bucket(1 / 60, 2))
    found = send_all(hosts(a), 4, timeout=30.0)
    kinds = Counter(type(one.error).__name__ for one in found)
    assert kinds == {"NoneType": 2, "RateLimitError": 1, "APITimeoutError": 1}
    assert all(one.seconds <= 30.0 for one in found)
    (late,) = [
        one for one in send_all(hosts(Host("a", takes=20.0)), 5, timeout=15.0) if not one.attempts
    ]
    assert isinstance(late.error, APITimeoutError)
    assert late.seconds == 15.0
    assert "a had no room" in str(late.error)


def test_a_request_that_is_always_rate_limited_fails_in_the_end(hosts: Make) -> None:
    a = Host("a", fails=[rejection("a", 60.0) for _ in range(99)])
    (only,) = send_all(hosts(a), 1)
    assert isinstance(only.error, RateLimitError)
    assert only.attempts == [("a", "RateLimitError")] * 2
    assert policy.LIMIT_PATIENCE <= only.seconds <= policy.LIMIT_PATIENCE + LONGEST_COOLDOWN


def test_timeouts_halve_the_requests_at_once(hosts: Make) -> None:
    a = Host("a", fails=[1e9] * FIRST_WINDOW, timeout=10.0)
    found = send_all(hosts(a), FIRST_WINDOW)
    assert {one.attempts[0] for one in found} == {("a", "APITimeoutError")}
    retried = [asked for asked in a.asked if asked]
    assert max(Counter(round(asked) for asked in retried).values()) <= FIRST_WINDOW // 2


@pytest.mark.parametrize("when", [0.5, 1.5, 2.5])
def test_a_cancelled_request_releases_its_permit(when: float, hosts: Make) -> None:
    a = Host("a")

    async def main() -> None:
        registry, admission = hosts(a), BatchAdmission(1)
        tasks = [asyncio.create_task(send(registry, admission)) for _ in range(4)]
        await asyncio.sleep(when)
        for task in tasks[:3]:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(ended[3], Outcome)
        assert ended[3].error is None
        assert_all_back(admission)

    clock.run(main())


def test_a_request_cancelled_as_it_gets_its_permit_releases_it(hosts: Make) -> None:
    a = Host("a")

    async def main() -> None:
        registry, admission = hosts(a), BatchAdmission(1)

        async def then_cancel() -> None:
            # In one step: the place is given to the second, which is cancelled before it knows.
            await send(registry, admission)
            second.cancel()

        first = asyncio.create_task(then_cancel())
        await asyncio.sleep(0.5)
        second, third = (asyncio.create_task(send(registry, admission)) for _ in range(2))
        await asyncio.wait([first, second, third])
        assert second.cancelled()
        assert third.result().error is None
        assert_all_back(admission)

    clock.run(main())


def test_the_local_model_gets_two_requests_at_a_time(hosts: Make) -> None:
    embedded, local = Host("e", kind="embedded"), Host("l", kind="local")
    send_all(hosts(embedded), 5)
    send_all(hosts(local), 5)
    assert (embedded.most, local.most) == (2, FIRST_WINDOW)


def test_a_long_limit_is_written_once_for_other_processes(
    hosts: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    failed = Cooldowns.failed

    def note(cooldowns: Cooldowns, key: str, error: APIError, longest: float) -> None:
        written.append(key)
        failed(cooldowns, key, error, longest)

    monkeypatch.setattr(Cooldowns, "failed", note)
    short = Host("short", bucket=Bucket(20, 5), takes=0.1)
    send_all(hosts(short), 300)
    assert written == []
    long = Host("long", fails=[rejection("long", 60.0) for _ in range(FIRST_WINDOW)])
    registry = hosts(long)
    send_all(registry, 20)
    assert written == ["long"]
    assert "long" not in registry.cooldowns._path.read_text(), "it has answered since"


def test_a_cooldown_of_another_process_is_waited_for(hosts: Make) -> None:
    a, b = Host("a"), Host("b", exact=False)
    registry = hosts(a, b)

    async def main() -> Outcome:
        registry.cooldowns.failed("a", rejection("a", 20.0))
        return await send(registry, BatchAdmission(4))

    assert clock.run(main()).attempts == [("a", "ok")]
    assert a.asked == [20.0]


@pytest.mark.parametrize(
    ("route", "alike"),
    [
        ("a:exact b:exact c:successor d:exact", "abd"),
        ("a:successor b:exact c:successor", "ac"),
        ("a:keyed/x/gpt-oss b:keyed/GPT-OSS c:local/gpt-oss d:keyed/other", "ab"),
        ("a:local/m b:anonymous/m", "a"),
    ],
)
def test_equally_exact(route: str, alike: str) -> None:
    candidates = []
    for text in route.split():
        name, _, what = text.partition(":")
        kind, _, model = what.partition("/")
        serving = ServedModel(model or "m", kind == "exact", successor=kind == "successor")
        host = Host(name, kind=kind if model else "keyed")  # type: ignore[arg-type]
        candidates.append(Candidate(host, serving))
    assert "".join(one.provider.name for one in equally_exact(candidates)) == alike


ends = st.builds(
    rejection,
    st.just("x"),
    st.sampled_from([None, None, 0.0, 1.0, 7.0, 4000.0]),
    st.sampled_from([401, 404, 429, 429, 429, 500, 503]),
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.sampled_from(["keyed", "local", "embedded"]),
            st.lists(ends | st.sampled_from([0.5, 40.0]), max_size=12),
            st.sampled_from([0.0, 0.3, 3.0]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.lists(
        st.tuples(st.sampled_from([None, None, 5.0]), st.sampled_from([None, None, 0.2, 2.0])),
        max_size=25,
    ),
    st.integers(1, 9),
)
def test_every_request_ends_and_every_permit_is_released(
    made: list[tuple[bool, Kind, list[APIError | float], float]],
    calls: list[tuple[float | None, float | None]],
    most: int,
) -> None:
    given_hosts = [
        Host(name, exact, kind, fails=list(fails), takes=takes, timeout=20.0)
        for name, (exact, kind, fails, takes) in zip("abcd", made, strict=False)
    ]

    async def main(registry: Registry) -> None:
        admission = BatchAdmission(most)
        loop = asyncio.get_running_loop()
        tasks = []
        for timeout, leaves in calls:
            tasks.append(asyncio.create_task(send(registry, admission, timeout)))
            if leaves is not None:
                loop.call_later(leaves, tasks[-1].cancel)
        for task, (timeout, _) in zip(tasks, calls, strict=True):
            await asyncio.wait([task])
            if task.cancelled():
                continue
            found = task.result()
            assert found.receipt is not None
            assert len(found.attempts) <= 3 * policy.TRIES_PER_CALL
            assert timeout is None or found.seconds <= timeout + 1e-6
        assert_all_back(admission)
        for host in given_hosts:
            assert host.now == 0
            assert host.most <= (min(2, most) if host.kind == "embedded" else most)

    with tempfile.TemporaryDirectory() as folder:
        cooldowns = Cooldowns(Path(folder, "health.json"), lambda: 1.8e9)
        clock.run(main(registry_of(given_hosts, Path(folder), cooldowns)))


def test_a_single_prompt_does_not_import_the_limits() -> None:
    code = "import sys, llm_g4f.client; print([m for m in sys.modules if m.endswith(('.provider_limits', '.adaptive_rate'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# On sockets.

IN_FULL = bool(os.environ.get("G4F_LONG"))


@pytest.mark.long
@pytest.mark.parametrize(
    # The first one's limit is above what a busy machine asks in the short form.
    "scenario",
    batch_limits.SCENARIOS if IN_FULL else batch_limits.SCENARIOS[1:],
    ids=lambda one: one.name,
)
def test_many_prompts_are_answered_as_fast_as_the_limits_allow(scenario: Scenario) -> None:
    if IN_FULL:
        result = batch_limits.run(scenario, prompts=10_000, at_once=64)
        assert result.complaints() == []
        return
    # So few end before a rate is known: the test shows that all end, with few rate limits.
    result = batch_limits.run(scenario, prompts=300, at_once=32)
    assert not result.wrong
    assert result.answered.total() == 300
    assert len(result.answered) == len(scenario.limits)
    assert 0 < result.refused < 100
