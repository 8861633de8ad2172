"""Blocking work in a thread, asked from a loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable

import pytest

from llm_g4f.worker_thread import WorkerThread

Put = Callable[[object], bool]


async def items_of(work: Callable[[Put], None]) -> list[object]:
    return [item async for item in WorkerThread(work, daemon=True).items()]


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "g4f-worker"]


def ended(thread: threading.Thread) -> bool:
    thread.join(5)
    return not thread.is_alive()


def test_items_come_in_their_order() -> None:
    def work(put: Put) -> None:
        for number in range(1_000):
            assert not put(number)

    assert asyncio.run(items_of(work)) == list(range(1_000))


def test_an_item_comes_before_the_next_is_made() -> None:
    async def main() -> None:
        taken = threading.Event()

        def work(put: Put) -> None:
            put("first")
            assert taken.wait(5)
            put("second")

        items = WorkerThread(work, daemon=True).items()
        assert await anext(items) == "first"
        taken.set()
        assert await anext(items) == "second"
        assert await anext(items, None) is None

    asyncio.run(main())


def test_none_is_an_item() -> None:
    def work(put: Put) -> None:
        put(None)
        put(1)

    assert asyncio.run(items_of(work)) == [None, 1]


def test_an_error_comes_after_the_items() -> None:
    def work(put: Put) -> None:
        put(1)
        raise LookupError("gone")

    async def main() -> None:
        items = WorkerThread(work, daemon=True).items()
        assert await anext(items) == 1
        with pytest.raises(LookupError, match="gone"):
            await anext(items)

    asyncio.run(main())


def test_system_exit_in_the_work_ends_the_items() -> None:
    def work(put: Put) -> None:
        put(1)
        raise SystemExit(3)

    async def main() -> None:
        items = WorkerThread(work, daemon=True).items()
        assert await anext(items) == 1
        with pytest.raises(RuntimeError, match="SystemExit"):
            await asyncio.wait_for(anext(items), 2)

    asyncio.run(main())


def test_the_work_starts_with_the_first_item_requested() -> None:
    async def main() -> None:
        ran = threading.Event()
        WorkerThread(lambda put: ran.set(), daemon=True).items()
        assert not ran.wait(0.05)

    asyncio.run(main())


def test_closing_ends_the_work() -> None:
    threads: list[threading.Thread] = []

    def work(put: Put) -> None:
        threads.append(threading.current_thread())
        while not put("again"):
            pass

    async def main() -> None:
        async with contextlib.aclosing(WorkerThread(work, daemon=False).items()) as items:
            assert await anext(items) == "again"
        assert ended(threads[0])

    asyncio.run(main())


def test_cancelling_ends_the_work() -> None:
    threads: list[threading.Thread] = []
    begun, go_on = threading.Event(), threading.Event()

    def work(put: Put) -> None:
        threads.append(threading.current_thread())
        begun.set()
        assert go_on.wait(5)
        assert put("too late")

    async def main() -> None:
        task = asyncio.ensure_future(items_of(work))
        await asyncio.to_thread(begun.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        assert ended(threads[0])

    asyncio.run(main())


def test_a_closed_loop_ends_the_work() -> None:
    wanted: list[bool] = []
    closed = threading.Event()

    def work(put: Put) -> None:
        put("first")
        assert closed.wait(5)
        wanted.append(put("second"))

    async def main() -> None:
        items = WorkerThread(work, daemon=True).items()
        # Never closed by anybody: its loop is gone, as after a fork.
        kept.append(items)
        assert await anext(items) == "first"

    kept: list[object] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    (thread,) = workers()
    loop.close()
    closed.set()
    assert ended(thread)
    assert wanted == [True]


@pytest.mark.parametrize("daemon", [True, False])
def test_daemon_is_set_and_not_inherited(daemon: bool) -> None:
    found: list[bool] = []

    def work(put: Put) -> None:
        found.append(threading.current_thread().daemon)

    for parent in (True, False):
        thread = threading.Thread(
            target=lambda: asyncio.run(_all(WorkerThread, work, daemon)), daemon=parent
        )
        thread.start()
        thread.join()
    assert found == [daemon, daemon]


async def _all(kind: type[WorkerThread[object]], work: Callable[[Put], None], daemon: bool) -> None:
    async for _ in kind(work, daemon=daemon).items():
        pass
