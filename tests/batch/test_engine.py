"""`llm_g4f.batch.run`: rows in, results out, nothing left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from llm_g4f.batch import Result, run
from llm_g4f.errors import BadRequestError, NoProviderError
from tests.support.server import HANG, Server, call, calls, http, whole

Endpoints = Callable[..., Path]


def results(rows: Any, **kwargs: Any) -> list[Result]:
    async def every() -> list[Result]:
        found = [result async for result in run(rows, **kwargs)]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return found

    return asyncio.run(every())


def sent(server: Server) -> list[Any]:
    return [request.json for request in server.requests]


DEEP: Any = []
for _ in range(5_000):
    DEEP = [DEEP]


async def hanging(server: Server, count: int) -> None:
    """Wait until `count` requests hang."""
    for _ in range(1_000):
        if server.hanging == count:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{server.hanging} of {count} requests hang")


def test_a_row_and_what_is_sent_of_it(endpoints: Endpoints) -> None:
    rows: list[Any] = [
        {"id": "a", "prompt": "one", "temperature": 0.5},
        {
            "prompt": "two",
            "system": "Be brief",
            "model": "gpt-4o-mini",
            "stream": True,
            "stream_options": {},
        },
        {"messages": [{"role": "user", "content": "three"}], "max_tokens": 7, "n": 1},
        {"messages": [{"role": "developer", "content": "Own"}, {"role": "user", "content": "4"}]},
    ]
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        found = results(rows, concurrency=1, system="Be kind", temperature=1)
    assert [result.id for result in found] == ["a", 2, 3, 4]
    assert {result.text for result in found} == {"Hello"}
    kind = {"role": "system", "content": "Be kind"}
    assert sent(server) == [
        {"model": "gpt-4o", "messages": [kind, {"role": "user", "content": "one"}], "temperature": 0.5, "stream": False},
        {"model": "gpt-4o-mini", "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "two"}], "temperature": 1, "stream": False},
        {"model": "gpt-4o", "messages": [kind, {"role": "user", "content": "three"}], "temperature": 1, "max_tokens": 7, "n": 1, "stream": False},
        {"model": "gpt-4o", "messages": rows[3]["messages"], "temperature": 1, "stream": False},
    ]  # fmt: skip


def test_an_answer_as_a_dict(endpoints: Endpoints) -> None:
    with Server(whole("Hello", reasoning="Hm")) as server:
        endpoints(box=server)
        (result,) = results([{"id": "a", "prompt": "hi"}])
    data = result.to_dict()
    receipt = data.pop("receipt")
    assert data == {
        "id": "a",
        "text": "Hello",
        "model": "gpt-4o-2024-11-20",
        "provider": "box",
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
        "reasoning": "Hm",
        "finish_reason": "stop",
    }
    assert (receipt["provider"], receipt["exact"], len(receipt["attempts"])) == ("box", True, 1)
    assert result.error is None
    assert result.completion is not None
    ChatCompletion.model_validate(result.completion.to_dict())
    assert (result.model, result.provider) == ("gpt-4o-2024-11-20", "box")
    assert result.usage is not None
    assert result.receipt is not None


def test_a_result_has_tool_calls_and_refusal(endpoints: Endpoints) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    with Server(calls(call("look", "{}", "call_1")), whole(None, refusal="No.")) as server:
        endpoints(box=server)
        first, second = results([{"prompt": "a", "tools": tools}, {"prompt": "b"}], concurrency=1)
    assert first.to_dict()["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    ]
    assert (first.text, first.to_dict()["finish_reason"]) == ("", "tool_calls")
    assert (second.text, second.to_dict()["refusal"]) == ("No.", "No.")
    assert sent(server)[0]["tools"] == tools


def test_a_result_has_its_error(endpoints: Endpoints) -> None:
    with Server(http(404, {"error": {"message": "no such model", "code": "x"}})) as server:
        endpoints(box=server)
        (result,) = results([{"id": "a", "prompt": "hi"}])
    data = result.to_dict()
    assert data["id"] == "a"
    assert {name: data["error"][name] for name in ("type", "provider", "status", "code")} == {
        "type": "NotFoundError",
        "provider": "box",
        "status": 404,
        "code": "x",
    }
    assert "no such model" in data["error"]["message"]
    assert data["receipt"]["attempts"][0]["outcome"] == "NotFoundError"
    assert (result.text, result.model, result.provider, result.usage) == ("", None, None, None)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, "neither prompt nor messages"),
        ({"prompt": "a", "messages": []}, "both prompt and messages"),
        ({"prompt": " "}, "prompt must be text"),
        ({"prompt": 7}, "prompt must be text"),
        ({"messages": "a"}, "messages must be a list"),
        ({"messages": ["a"]}, "messages must be a list"),
        ({"messages": []}, "messages is empty"),
        ({"prompt": "a", "system": 1}, "system must be text"),
        (
            {"messages": [{"role": "system", "content": "a"}], "system": "b"},
            "a system message in messages",
        ),
        ({"prompt": "a", "n": 2}, "n must be 1"),
        ({"prompt": "a", "timeout": "soon"}, "timeout must be"),
        ({"prompt": "a", "timeout": 0}, "timeout must be"),
        ({"prompt": "a", "exact": "no"}, "exact must be"),
        ({"prompt": "a", "model": 4}, "model must be"),
        ({"prompt": "a", "provider": 4}, "provider must be"),
        ({"prompt": "a", "headers": 4}, "headers must be"),
        ({"prompt": "a", "extra_body": 4}, "extra_body must be"),
        ({"prompt": "a", "seed": float("nan")}, "cannot be written as JSON"),
        ({"prompt": "a", "id": 1.5}, "id must be"),
        ({"prompt": "a", "id": True}, "id must be"),
        ({"prompt": "a", "id": "\ud800"}, "id must be"),
        ({"prompt": "a", "id": 1 << 64}, "id must be"),
        ("a", "is not an object"),
        *[
            (
                {"messages": [{"role": "assistant", "content": "a", "tool_calls": calls}]},
                "tool_calls",
            )
            for calls in (5, "a", {"a": 1}, [5])
        ],
        ({"prompt": "a", "metadata": DEEP}, "nested too deeply"),
        ({"messages": [{"role": "user", "content": DEEP}]}, "nested too deeply"),
        ({"prompt": "a", "api_key": "sk-canary"}, "api_key can only be set for the whole run"),
        ({"prompt": "a", "base_url": "http://a"}, "base_url can only be set for the whole run"),
    ],
)
def test_an_invalid_row_fails_alone(row: Any, said: str, endpoints: Endpoints) -> None:
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        found = results([row, {"id": "good", "prompt": "hi"}])
    failed = [result for result in found if result.error]
    assert len(failed) == 1
    assert isinstance(failed[0].error, BadRequestError)
    assert said in failed[0].error.message
    assert [result.text for result in found if result.id == "good"] == ["Hello"]
    assert len(server.requests) == 1


def test_concurrency_limits_the_requests_at_once(endpoints: Endpoints) -> None:
    async def main() -> None:
        waiting = asyncio.ensure_future(anext(run([{"prompt": "a"}] * 50, concurrency=4)))
        await hanging(server, 4)
        # There is time for more.
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    with Server([HANG]) as server:
        endpoints(box=server)
        asyncio.run(main())
        server.wait_closed(4)
    assert len(server.requests) == 4


def test_rows_are_read_lazily(endpoints: Endpoints) -> None:
    taken = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal taken
        while True:
            taken += 1
            yield {"prompt": str(taken)}

    async def main() -> None:
        async with run(rows(), concurrency=3) as answers:
            for _ in range(5):
                await anext(answers)
            # Who asks for no more leaves the workers without room.
            await asyncio.sleep(0.3)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with Server(whole("Hello")) as server:
        endpoints(box=server)
        asyncio.run(main())
    assert 5 <= taken <= 5 + 3 * 3


def test_rows_may_be_an_async_iterable(endpoints: Endpoints) -> None:
    async def rows() -> AsyncIterator[dict[str, Any]]:
        for number in range(20):
            await asyncio.sleep(0)
            yield {"id": number, "prompt": "hi"}

    with Server(whole("Hello")) as server:
        endpoints(box=server)
        assert sorted(str(one.id) for one in results(rows())) == sorted(map(str, range(20)))


def test_results_come_as_they_are_ready(endpoints: Endpoints) -> None:
    with Server([0.5, *whole("slow")], whole("quick")) as server:
        endpoints(box=server)
        found = results([{"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"}], concurrency=2)
    assert [result.text for result in found] == ["quick", "quick", "slow"]


def test_an_error_of_the_rows_comes_after_the_pending_results(endpoints: Endpoints) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"id": "a", "prompt": "hi"}
        raise LookupError("no more")

    async def main() -> None:
        answers = run(rows())
        assert (await anext(answers)).id == "a"
        with pytest.raises(LookupError, match="no more"):
            await anext(answers)
        with pytest.raises(StopAsyncIteration):
            await anext(answers)

    with Server([0.1, *whole("Hello")]) as server:
        endpoints(box=server)
        asyncio.run(main())


@pytest.mark.parametrize("way", ["aclose", "cancel", "forget", "stop"])
def test_ending_a_run_closes_its_connections(way: str, endpoints: Endpoints) -> None:
    async def main() -> None:
        answers = run([{"prompt": "a"}] * 9, concurrency=4)
        assert (await anext(answers)).text == "Hello"
        waiting = asyncio.ensure_future(anext(answers))
        await asyncio.sleep(0)
        await hanging(server, 4)
        if way == "stop":
            answers.stop()
            with pytest.raises(StopAsyncIteration):
                await waiting
        else:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        if way == "aclose":
            await answers.aclose()
        del answers, waiting
        for _ in range(50):
            if len(asyncio.all_tasks()) == 1:
                break
            await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await asyncio.to_thread(server.wait_closed, 4)

    with Server(whole("Hello"), [HANG]) as server:
        endpoints(box=server)
        asyncio.run(main())


def test_the_notice_appears_once(endpoints: Endpoints, caplog: pytest.LogCaptureFixture) -> None:
    with Server(whole("Hello", model="llama")) as server:
        endpoints("routes: {gpt-4o: [box/llama]}", box=server)
        with caplog.at_level(logging.WARNING, "llm_g4f"):
            assert len(results([{"prompt": "a"}] * 5)) == 5
        assert [record.message for record in caplog.records] == [
            'gpt-4o answered by llama (box): a substitute. "llm g4f route gpt-4o" shows why.'
        ]
        caplog.clear()
        endpoints("notice: false\nroutes: {gpt-4o: [box/llama]}", box=server)
        results([{"prompt": "a"}])
        assert caplog.records == []


def test_a_key_goes_to_its_own_provider(endpoints: Endpoints) -> None:
    with Server(whole("Hello")) as server:
        endpoints(box=server, other=server)
        rows = [{"id": "a", "prompt": "hi"}, {"id": "b", "prompt": "hi", "provider": "other"}]
        found = {one.id: one for one in results(rows, api_key="sk-canary", provider="box")}
    assert found["a"].text == "Hello"
    assert isinstance(found["b"].error, NoProviderError)
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer sk-canary"]
    assert "canary" not in repr(found)


def test_a_key_set_during_a_run_is_found(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:

    def rows() -> Iterator[dict[str, Any]]:
        yield {"prompt": "a"}
        monkeypatch.setenv("BOX_KEY", "sk-1")
        yield {"prompt": "b"}

    with Server(whole("Hello")) as server:
        endpoints("  box:\n    base_url: " + server.url + "\n    key_env: BOX_KEY")
        found = results(rows(), concurrency=1)
    assert isinstance(found[0].error, NoProviderError)
    assert found[1].text == "Hello"


def test_invalid_arguments_are_errors(endpoints: Endpoints) -> None:
    async def made(**kwargs: Any) -> None:
        run([], **kwargs)

    with pytest.raises(ValueError, match="concurrency"):
        asyncio.run(made(concurrency=0))
    with pytest.raises(NoProviderError, match="belongs to one provider"):
        asyncio.run(made(provider="a,b", api_key="sk-1"))


def test_a_base_url_alone_is_a_provider() -> None:
    with Server(whole("Hello")) as server:
        (result,) = results([{"prompt": "hi"}], base_url=server.url)
    assert (result.text, result.provider) == ("Hello", "custom")
