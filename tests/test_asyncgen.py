"""Async generators inside one another, and their ends."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from typing import Any

from llm_g4f.asyncgen import ManagedAsyncGen


async def numbers(closed: list[str]) -> AsyncGenerator[int, None]:
    try:
        for number in range(10):
            yield number
    finally:
        # A generator that takes its time to close, as one with a connection does.
        await asyncio.sleep(0)
        closed.append("inner")


async def outer(closed: list[str], keep: list[Any]) -> AsyncGenerator[int, None]:
    inner = ManagedAsyncGen(numbers(closed))
    # A cycle, so that both are collected at once and in any order.
    keep.append(inner)
    cycle = [inner]
    cycle.append(cycle)  # type: ignore[arg-type]
    try:
        async for number in inner:
            yield number
    finally:
        await inner.aclose()
        closed.append("outer")


def run(end: str) -> tuple[list[str], list[dict[str, Any]]]:
    closed: list[str] = []
    complaints: list[dict[str, Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        keep: list[Any] = []
        stream = outer(closed, keep)
        assert await anext(stream) == 0
        if end == "closed":
            await stream.aclose()
        elif end == "garbage":
            holder: list[Any] = [stream]
            holder.append(holder)
            del stream, holder
            keep.clear()
            gc.collect()
            for _ in range(5):
                await asyncio.sleep(0)
        else:
            # The loop ends with the stream open.
            globals()["left"] = stream

    asyncio.run(main())
    return closed, complaints


def test_closing_closes_the_inner_generator_first() -> None:
    assert run("closed") == (["inner", "outer"], [])


def test_garbage_collection_closes_the_inner_generator_first() -> None:
    assert run("garbage") == (["inner", "outer"], [])


def test_the_end_of_the_loop_closes_the_inner_generator_first() -> None:
    assert run("left") == (["inner", "outer"], [])
    del globals()["left"]


def test_an_iterator_without_aclose() -> None:
    class Items:
        def __aiter__(self) -> Items:
            return self

        async def __anext__(self) -> int:
            return 1

    async def main() -> int:
        inner = ManagedAsyncGen(Items())
        first = await anext(inner)
        await inner.aclose()
        return first

    assert asyncio.run(main()) == 1
