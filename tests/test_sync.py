"""The loop thread that synchronous calls go through."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from llm_g4f import sync as sync_module
from llm_g4f.errors import APIConnectionError
from llm_g4f.sync import LoopThread, loop_thread
from tests.support.commands import STRICT, run_python
from tests.support.environment import no_more_files
from tests.support.waiting import wait_until


@pytest.fixture
def mine(event_loops: str) -> Iterator[LoopThread]:
    """A loop thread for one test."""
    made = LoopThread()
    yield made
    made.close()


class Numbers:
    """An async generator of `count` numbers that records what happens to it."""

    def __init__(self, count: int = 1_000_000) -> None:
        self.count = count
        self.given = 0
        self.ended: str | None = None
        self.closed = threading.Event()

    async def __call__(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self.count):
                self.given += 1
                yield number
                await asyncio.sleep(0)
            self.ended = "all given"
        except BaseException as error:
            self.ended = type(error).__name__
            raise
        finally:
            self.closed.set()


async def hang() -> AsyncGenerator[int, None]:
    yield 1
    await asyncio.Event().wait()


def test_run_returns_the_result_of_the_loop_thread(mine: LoopThread) -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    assert mine.run(work) == "g4f-loop"


def test_stream_yields_the_items_in_order(mine: LoopThread) -> None:
    source = Numbers(5_000)
    assert list(mine.stream(source)) == list(range(5_000))
    assert source.ended == "all given"


def test_an_empty_source_yields_nothing(mine: LoopThread) -> None:
    assert list(mine.stream(Numbers(0))) == []


def test_the_source_starts_with_the_first_item_requested(mine: LoopThread) -> None:
    source = Numbers()
    mine.stream(source).close()
    mine.run(lambda: asyncio.sleep(0))
    assert source.given == 0


def test_items_come_as_they_are_made(mine: LoopThread) -> None:
    items = mine.stream(hang)
    assert next(items) == 1
    items.close()


class OddError(BaseException):
    pass


@pytest.mark.parametrize("kind", [ValueError, OddError, asyncio.CancelledError, RuntimeError])
def test_exceptions_are_raised_unchanged(mine: LoopThread, kind: type[BaseException]) -> None:
    error = kind("so")

    async def work() -> None:
        raise error

    async def source() -> AsyncGenerator[int, None]:
        yield 1
        yield 2
        raise error

    with pytest.raises(kind) as caught:
        mine.run(work)
    assert caught.value is error
    items = mine.stream(source)
    got: list[int] = []
    with pytest.raises(kind) as caught:
        got.extend(items)
    assert caught.value is error

    async def fine() -> int:
        return 7

    assert mine.run(fine) == 7


def test_an_exception_comes_after_the_items(mine: LoopThread) -> None:
    async def source() -> AsyncGenerator[int, None]:
        yield 1
        yield 2
        raise ValueError("so")

    items = mine.stream(source)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="so"):
        next(items)
    assert list(items) == []


def test_closing_early_ends_the_source_before_close_returns(mine: LoopThread) -> None:
    source = Numbers()
    items = mine.stream(source)
    assert next(items) == 0
    items.close()
    assert source.closed.is_set()
    assert source.ended in ("CancelledError", "GeneratorExit")


def test_a_dropped_stream_ends_its_source(mine: LoopThread) -> None:
    source = Numbers()
    for item in mine.stream(source):
        if item == 3:
            break
    assert source.closed.wait(5)


def test_close_does_not_wait_long_for_a_source_that_does_not_end(
    mine: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_module, "_CLEANUP_TIMEOUT", 0.05)
    release = asyncio.Event()

    async def stubborn() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            await release.wait()

    items = mine.stream(stubborn)
    next(items)
    begun = time.monotonic()
    items.close()
    assert time.monotonic() - begun < 2

    async def let_go() -> None:
        release.set()

    mine.run(let_go)


def test_a_slow_consumer_slows_the_source(mine: LoopThread) -> None:
    source = Numbers(10_000)
    items = mine.stream(source)
    assert next(items) == 0
    wait_until(lambda: source.given > sync_module._MAX_QUEUED)
    held = source.given
    # The loop is free: it turns, and the source does not.
    for _ in range(50):
        mine.run(lambda: asyncio.sleep(0))
    assert source.given == held <= sync_module._MAX_QUEUED + 3
    assert list(items) == list(range(1, 10_000))


def test_many_threads_stream_at_once(mine: LoopThread) -> None:
    def consume(number: int) -> int:
        return sum(mine.stream(Numbers(3_000 + number)))

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(consume, range(32))) == [
            sum(range(3_000 + number)) for number in range(32)
        ]


def test_it_works_inside_a_running_loop(mine: LoopThread) -> None:
    async def inside() -> int:
        async def work() -> int:
            return 5

        return mine.run(work) + sum(mine.stream(Numbers(4)))

    assert asyncio.run(inside()) == 5 + 6


def test_a_stream_may_be_consumed_by_another_thread(mine: LoopThread) -> None:
    items = mine.stream(Numbers(2_000))
    assert next(items) == 0
    with ThreadPoolExecutor(1) as other:
        assert other.submit(list, items).result() == list(range(1, 2_000))


def test_close_cancels_all_work_and_wakes_the_callers(mine: LoopThread) -> None:
    begun = threading.Event()
    cleaned = threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    def wait() -> str:
        try:
            mine.run(work)
        except asyncio.CancelledError:
            return "cancelled"
        return "done"

    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(wait)
        assert begun.wait(5)
        mine.close()
        assert cleaned.is_set()
        assert waiting.result(5) == "cancelled"
    mine.close()


def test_a_stream_can_be_closed_after_its_loop_thread(mine: LoopThread) -> None:
    items = mine.stream(hang)
    next(items)
    mine.close()
    items.close()


def test_there_is_one_loop_thread() -> None:
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: loop_thread(), range(32))) == {loop_thread()}


# What concerns the whole process is tried in one of its own.


PRELUDE = """
import asyncio, os, signal, sys, threading, time
from llm_g4f.sync import loop_thread

async def hang():
    try:
        yield 1
        await asyncio.Event().wait()
    finally:
        print("cleaned", flush=True)

async def wait():
    async for _ in hang():
        pass
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers here")
@pytest.mark.parametrize("what", ["list(loop_thread().stream(hang))", "loop_thread().run(wait)"])
def test_ctrl_c_interrupts_a_waiting_consumer_and_ends_the_source(what: str) -> None:
    done = run_python(
        PRELUDE
        + f"""
signal.setitimer(signal.ITIMER_REAL, 0.3)
signal.signal(signal.SIGALRM, signal.default_int_handler)
begun = time.monotonic()
try:
    {what}
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - begun < 3)

async def fine():
    return "goes on"
print(loop_thread().run(fine))
""",
        *STRICT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["cleaned", "interrupted True", "goes on"]


@pytest.mark.parametrize(
    "end",
    [
        "",
        "sys.exit(0)",
        "del items",
        "items.close()",
        "threading.Thread(target=list, args=([],)).start()",
    ],
)
def test_the_interpreter_exits_cleanly_with_an_open_stream(end: str) -> None:
    done = run_python(
        PRELUDE + f"items = loop_thread().stream(hang)\nassert next(items) == 1\n{end}\n", *STRICT
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "cleaned\n")


def test_the_interpreter_exits_cleanly_while_a_daemon_thread_waits() -> None:
    done = run_python(
        PRELUDE
        + """
seen = threading.Event()
def consume():
    try:
        for _ in loop_thread().stream(hang):
            seen.set()
    except asyncio.CancelledError:
        pass
threading.Thread(target=consume, daemon=True).start()
assert seen.wait(5)
""",
        *STRICT,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "cleaned\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_its_own_loop_thread() -> None:
    done = run_python(
        PRELUDE
        + """
async def name():
    return os.getpid()

parent = loop_thread().run(name)
child = os.fork()
if child == 0:
    signal.alarm(10)
    assert loop_thread().run(name) == os.getpid() != parent
    items = loop_thread().stream(hang)
    assert next(items) == 1
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0, "the child failed"
assert loop_thread().run(name) == parent == os.getpid()
""",
        *STRICT,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "cleaned\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_closes_the_parents_stream_at_once() -> None:
    done = run_python(
        PRELUDE
        + """
items = loop_thread().stream(hang)
next(items)
child = os.fork()
if child == 0:
    begun = time.monotonic()
    items.close()
    os._exit(time.monotonic() - begun > 2)
assert os.waitpid(child, 0)[1] == 0, "the child waited for a thread that it does not have"
items.close()
""",
        *STRICT,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "cleaned\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_while_a_loop_thread_starts_leaves_no_lock() -> None:
    done = run_python(
        PRELUDE
        + """
from llm_g4f import sync as module
async def five():
    return 5
with module._lock:
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        assert loop_thread().run(five) == 5
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
""",
        *STRICT,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_that_reads_the_parents_stream_is_told_so() -> None:
    done = run_python(
        PRELUDE
        + """
items = loop_thread().stream(hang)
next(items)
child = os.fork()
if child == 0:
    signal.alarm(10)
    try:
        next(items)
    except RuntimeError as error:
        os._exit("make the request in the child" not in str(error))
    os._exit(2)
assert os.waitpid(child, 0)[1] == 0, "the child failed"
items.close()
""",
        *STRICT,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "cleaned\n")


@pytest.mark.parametrize("part", ["queue", "select"])
def test_gevent_that_has_replaced_a_part_is_an_error(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without threading, a call would wait for ever."""
    patched = {part}
    monkey = SimpleNamespace(is_module_patched=lambda name: name in patched)
    monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)
    with pytest.raises(RuntimeError, match="without thread=False"):
        LoopThread()
    patched.add("threading")
    LoopThread().close()
    patched.clear()
    LoopThread().close()


# Of asyncio's loop that was not finished.
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_too_many_open_files_for_the_loop_thread_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sync_module, "_loop_thread", None)
    with no_more_files(), pytest.raises(APIConnectionError, match="ulimit -n") as caught:
        loop_thread()
    assert caught.value.reason == "this_machine"
    del caught
    gc.collect()
