"""Any answer at all, over a real socket: it is read, or it is an error of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_g4f import AsyncClient
from llm_g4f.errors import APIError, TruncatedStreamError
from llm_g4f.types import ChatCompletion
from tests.support.server import (
    CLOSE,
    END,
    RESET,
    SSE_HEAD,
    Script,
    Server,
    chunk,
    event,
    events,
    framed,
    http,
)
from tests.support.strategies import chunks_like, fragmented, tool_chunk, values

pytestmark = pytest.mark.usefixtures("short_pauses")


class Teller:
    """One server and one loop for many examples."""

    def __init__(self, server: Server, runner: asyncio.Runner) -> None:
        self._server, self._runner = server, runner

    def answer(self, script: Script) -> ChatCompletion | APIError:
        """The result of an answer. TimeoutError if it does not end."""
        self._server.scripts = (script,)
        answer = self._runner.run(asyncio.wait_for(self._ask(), 5))
        if isinstance(answer, APIError):
            assert answer.receipt is not None
            assert str(answer).encode()
        else:
            assert answer.model_dump_json().encode()
        return answer

    async def _ask(self) -> ChatCompletion | APIError:
        completions = AsyncClient(base_url=self._server.url).chat.completions
        try:
            answer: ChatCompletion = await completions.create("hi")
        except APIError as error:
            return error
        return answer


@contextmanager
def telling() -> Iterator[Teller]:
    with Server(()) as server, asyncio.Runner() as runner:
        yield Teller(server, runner)


def test_any_json_is_an_answer_or_an_api_error() -> None:
    with telling() as teller:

        @settings(deadline=None)
        @given(
            st.lists(
                chunks_like
                | values.map(lambda value: {"error": value})
                | values.map(lambda value: chunk("x") | {"error": value}),
                min_size=1,
                max_size=4,
            ),
            st.booleans(),
        )
        def check(items: list[Any], streamed: bool) -> None:
            teller.answer(events(*items, "[DONE]") if streamed else http(200, json.dumps(items[0])))

        check()


GOOD = b"".join(step for step in events(chunk("Hel"), chunk("lo"), chunk(finish="stop"), "[DONE]") if isinstance(step, bytes))  # fmt: skip
BITS = [b"\r\n", b"\n", b"\r", b"0", b"ffffffff", b"-1", b":", b" ", b"\x00", b"\xff", b"{", b"data: "]  # fmt: skip


def test_any_bytes_are_an_answer_or_an_api_error() -> None:
    with telling() as teller:

        @settings(deadline=None)
        @given(
            st.lists(
                st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), st.sampled_from(BITS)),
                max_size=4,
            ),
            st.sampled_from([CLOSE, RESET]),
        )
        def check(changes: list[tuple[int, int, bytes]], end: Any) -> None:
            data = GOOD
            for at, lost, put in changes:
                data = data[:at] + put + data[at + lost :]
            teller.answer([data, 0.002, end])

        check()


def is_object(call: tuple[str, str, str]) -> bool:
    try:
        return isinstance(json.loads(call[2]), dict)
    except ValueError:
        return False


def test_tool_calls_are_complete_or_an_error() -> None:
    with telling() as teller:

        @settings(deadline=None)
        @given(
            fragmented(),
            st.integers(0, 12),
            st.sampled_from(["finish", "[DONE]", "end", "closed", "half an event"]),
        )
        def check(
            case: tuple[list[tuple[str, str, str]], list[dict[str, Any]]], lost: int, end: str
        ) -> None:
            calls, chunks = case
            if end == "finish":
                answer = teller.answer(events(*chunks, chunk(finish="tool_calls"), "[DONE]"))
                assert isinstance(answer, ChatCompletion)
                found = answer.choices[0].message.tool_calls or []
                assert sorted(calls) == sorted(
                    (call.id, call.function.name, call.function.arguments) for call in found
                )
                return
            kept = [framed(event(one)) for one in chunks[: max(1, len(chunks) - lost)]]
            tails: dict[str, Script] = {
                "[DONE]": [framed(event("[DONE]")), END],
                "end": [END],
                "closed": [0.002, CLOSE],
                "half an event": [framed(event(tool_chunk({"function": {}}))[:30]), END],
            }
            answer = teller.answer([SSE_HEAD, *kept, *tails[end]])
            if end == "[DONE]" and len(kept) == len(chunks) and all(map(is_object, calls)):
                assert isinstance(answer, ChatCompletion)
            if isinstance(answer, ChatCompletion):
                # Complete calls, and a [DONE] behind them.
                made = answer.choices[0].message.tool_calls or []
                assert end == "[DONE]"
                assert made
                assert all(is_object(("", "", call.function.arguments)) for call in made)
            else:
                assert type(answer) is TruncatedStreamError

        check()
