"""Forms of answers that real servers send, over a real socket: streamed, whole, and through llm."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import llm
import pytest

from llm_g4f import AsyncClient
from llm_g4f.errors import APIError, G4FError, InvalidResponseError, StreamError
from tests.support.server import (
    END,
    HANG,
    SSE_HEAD,
    Script,
    Server,
    chunk,
    completion,
    event,
    events,
    framed,
    http,
    stream,
)

pytestmark = pytest.mark.usefixtures("short_pauses")


class Seen(NamedTuple):
    """What a caller sees of an answer."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    finish: str | None = "stop"


async def _streamed(url: str, **params: Any) -> Seen:
    calls: dict[int, list[Any]] = {}
    texts, reasonings, finish = "", "", None
    async for one in AsyncClient(base_url=url).chat.completions.stream("hi", **params):
        for choice in one.choices:
            texts += choice.delta.content or ""
            reasonings += choice.delta.reasoning or ""
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or ():
                made = calls.setdefault(call.index, [call.id, "", ""])
                made[1] += call.function.name
                made[2] += call.function.arguments
    return Seen(texts, reasonings, tuple((a, b, c) for a, b, c in calls.values()), finish)


async def _whole(url: str, **params: Any) -> Seen:
    answer = await AsyncClient(base_url=url).chat.completions.create("hi", **params)
    choice = answer.choices[0]
    message = choice.message
    return Seen(
        message.content or "",
        message.reasoning or "",
        tuple(
            (call.id, call.function.name, call.function.arguments)
            for call in message.tool_calls or ()
        ),
        choice.finish_reason,
    )


def seen(script: Script, streamed: bool, **params: Any) -> Seen:
    with Server(script) as server:
        return asyncio.run((_streamed if streamed else _whole)(server.url, **params))


def failure(script: Script, streamed: bool, **params: Any) -> APIError:
    with pytest.raises(APIError) as caught:
        seen(script, streamed, **params)
    return caught.value


BOTH = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])


def choice(delta: Any = None, finish: Any = None, **fields: Any) -> dict[str, Any]:
    made = chunk(finish=finish)
    made["choices"][0] |= {"delta": {} if delta is None else delta} | fields
    return made


def text(content: Any, finish: Any = None, **fields: Any) -> dict[str, Any]:
    return choice({"content": content}, finish, **fields)


STOP = choice(finish="stop")


def raw(*blocks: bytes) -> Script:
    """A stream of these bytes, each an HTTP chunk."""
    return [SSE_HEAD, *(framed(block) for block in blocks), END]


def piece(arguments: str | None = None, name: str | None = None, **fields: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    given = {field: value for field, value in function.items() if value is not None}
    return {"index": 0, "type": "function", "function": given} | fields


def calling(*pieces: dict[str, Any], finish: dict[str, Any] | None = None) -> Script:
    end = choice(finish="tool_calls") if finish is None else finish
    return events(*(choice({"tool_calls": [one]}) for one in pieces), end, "[DONE]")


LOOK = ("call_1", "look", '{"q": "x"}')

TEXTS: dict[str, Script] = {
    # 2
    "finish_reason stop on every chunk": events(text("a", "stop"), text("b", "stop"), STOP, "[DONE]"),
    'finish_reason "null" on every chunk': events(text("a", "null"), text("b", ""), STOP, "[DONE]"),
    # 3
    "an index that counts the chunks": events(
        *(text(part, index=place) for place, part in enumerate("ab")), STOP, "[DONE]"
    ),
    "an index that starts at 1": events(text("ab", index=1), choice(finish="stop", index=1)),
    # 4
    "a message beside an empty delta": http(
        200, completion("ab") | {"choices": [{**completion("ab")["choices"][0], "delta": {"content": ""}}]}
    ),
    "a message beside a null delta": http(
        200, completion("ab") | {"choices": [{**completion("ab")["choices"][0], "delta": None}]}
    ),
    "a whole message beside part of it": http(
        200, completion("ab") | {"choices": [{**completion("ab")["choices"][0], "delta": {"content": "b"}}]}
    ),
    "the whole message beside the last delta": events(
        text("a"), text("b"), choice(finish="stop", message={"content": "ab"}), "[DONE]"
    ),
    "the whole message in place of the last delta": events(
        text("a"), text("b"), {"choices": [{"message": {"content": "ab"}, "finish_reason": "stop"}]}
    ),
    "a growing message beside empty deltas": events(
        choice(message={"content": "a"}), choice(message={"content": "ab"}), STOP
    ),
    "a message with the next piece, beside null": events(
        *({"choices": [{"delta": None, "message": {"content": part}}]} for part in "ab"), STOP
    ),
    "a message with the next piece, behind a role": events(
        *(
            {"choices": [{"message": {"role": "assistant", "content": part}, "more": 1}]}
            for part in ("", "a", "b")
        ),
        STOP,
    ),
    "a message with the next piece, and the finish_reason with the last": events(
        {"choices": [{"message": {"content": "a"}}]},
        {"choices": [{"message": {"content": "b"}, "finish_reason": "stop"}]},
    ),
    "the whole message in place of the last delta, without a finish_reason": events(
        text("a"), text("b"), {"choices": [{"message": {"content": "ab"}}]}, "[DONE]"
    ),
    "the whole answer as message and as text beside the last delta": events(
        text("a"), text("b"), text("", "stop", message={"content": "ab"}, text="ab"), "[DONE]"
    ),
    "a message beside each delta": events(
        text("a", message={"content": "a"}), text("b", message={"content": "ab"}), STOP
    ),
    "content as one part": events(text({"type": "text", "text": "ab"}), STOP),
    "content as one part, whole": http(
        200, {"choices": [{"message": {"content": {"type": "text", "text": "ab"}}}]}
    ),
    "text beside no delta": events(
        {"choices": [{"text": "a"}]}, {"choices": [{"text": "b", "finish_reason": "stop"}]}, "[DONE]"
    ),
    "text, whole": http(200, {"choices": [{"text": "ab", "finish_reason": "stop"}]}),
    "a JSON body and [DONE]": http(200, json.dumps(completion("ab")) + "\n\ndata: [DONE]\n\n"),
    # 5
    **{
        f"a heartbeat: {beat}": raw(event(text("a")), beat.encode(), event(text("b")), event(STOP), event("[DONE]"))
        for beat in (
            *("data:\n\n", "data: \n\n", "data: {}\n\n", "data: null\n\n", 'data: {"type": "ping"}\n\n'),
            *("event: ping\ndata: \n\n", "event: ping\ndata: now\n\n", 'event: ping\ndata: {"choices": []}\n\n'),
            *("event: keepalive\ndata: 1\n\n", 'data: {"id": "x", "object": "chat.completion.chunk"}\n\n'),
        )
    },
    **{
        f"the end: {done}": [SSE_HEAD, framed(event(text("ab"))), framed(event(STOP)), framed(event(done)), 1.0, HANG]
        for done in ("[done]", '"[DONE]"', " [DONE] ", "[ DONE ]")
    },
    # 7
    "a surrogate pair over two chunks": raw(
        b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\ude00b"}}]}\n\n',
        event(STOP),
    ),
    "a surrogate pair over two texts": raw(
        b'data: {"choices":[{"text":"a\\ud83d"}]}\n\n',
        b'data: {"choices":[{"text":"\\ude00b","finish_reason":"stop"}]}\n\n',
    ),
    "a surrogate pair over two chunks with a finish_reason": raw(
        b'data: {"choices":[{"delta":{"content":"a\\ud83d"},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\ude00b"},"finish_reason":"stop"}]}\n\n',
    ),
    # 15
    "an error without anything in it": events(text("ab", "stop") | {"error": {"code": 0, "message": ""}}),
    # 27
    "data lines without the blank line between": raw(
        *(event(text(part))[:-1] for part in "ab"), event(STOP)[:-1], b"data: [DONE]\n"
    ),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("form", TEXTS)
def test_the_text_of_an_answer(form: str, streamed: bool) -> None:
    expected = "a😀b" if "surrogate" in form else "ab"
    finish = None if "without a finish" in form else "stop"
    assert seen(TEXTS[form], streamed) == Seen(expected, finish=finish)


@pytest.mark.parametrize("form", TEXTS)
def test_the_text_of_an_answer_through_llm(form: str, endpoints: Callable[..., Path]) -> None:
    with Server(TEXTS[form]) as server:
        endpoints(mybox=server)
        found = llm.get_model("gpt-4o").prompt("hi").text()
    assert found == ("a😀b" if "surrogate" in form else "ab")


CALLS: dict[str, tuple[Script, tuple[tuple[str, str, str], ...]]] = {
    # 8
    "another id with every piece": (
        calling(piece("", "look", id="call_1"), piece('{"q":', id="b"), piece(' "x"}', id="c")),
        (LOOK,),
    ),
    "another id and the name with every piece": (
        calling(
            *(piece(part, "look", id=f"call_{place}") for place, part in enumerate(('{"q":', ' "x"}'), 1))
        ),
        (LOOK,),
    ),
    "another id and the name with every piece, and no index": (
        calling(
            *(piece(part, "look", id=part, index=None) for part in ('{"q"', ': "x"', "}"))
        ),
        (('{"q"', "look", '{"q": "x"}'),),
    ),
    "the name with every piece, and an object in the arguments": (
        calling(
            *(piece(part, "look", id="call_1") for part in ('{"q": [{"b": "{"}', ",", '{"c": "}', '{}', '\\"}"}', "]}"))
        ),
        (("call_1", "look", '{"q": [{"b": "{"},{"c": "}{}\\"}"}]}'),),
    ),
    "text, and a message with it and a call": (
        events(
            choice({"reasoning": "r"}),
            choice(None, "tool_calls", message={"reasoning": "r", "tool_calls": [piece('{"q": "x"}', "look", id="call_1")]}),
        ),
        (LOOK,),
    ),
    "two calls that take turns under one index": (
        calling(
            *(piece("", name, id=name) for name in ("look", "find")),
            *(piece(part, name, id=name) for part in ("{", "}") for name in ("look", "find")),
        ),
        (("look", "look", "{}"), ("find", "find", "{}")),
    ),
    "messages with the next piece": (
        events(
            choice(None, message={"tool_calls": [piece("", "look", id="call_1")]}),
            choice(None, message={"tool_calls": [piece('{"q":')]}),
            choice(None, "tool_calls", message={"tool_calls": [piece(' "x"}')]}),
        ),
        (LOOK,),
    ),
    "an id that comes late": (
        calling(piece("", "look"), piece('{"q": "x"}', id="call_1")),
        (LOOK,),
    ),
    "an id and a name that come late": (
        calling(piece(), piece('{"q": "x"}', "look", id="call_1")),
        (LOOK,),
    ),
    "arguments before the name": (
        calling(piece('{"q":'), piece(' "x"}', "look", id="call_1")),
        (LOOK,),
    ),
    # 9
    "one id and two indexes": (
        calling(
            *(piece("", "look", id="call_1", index=place) for place in (0, 1)),
            *(piece(f'{{"q": "{word}"}}', index=place) for place, word in enumerate("xy")),
        ),
        (LOOK, ("call_1_", "look", '{"q": "y"}')),
    ),
    "one index, no ids, two names": (
        calling(piece('{"q": "x"}', "look"), piece("{}", "find")),
        (("call_0", "look", '{"q": "x"}'), ("call_1", "find", "{}")),
    ),
    "one index, no ids, one name, other arguments": (
        calling(piece('{"q": "x"}', "look"), piece('{"q": "y"}', "look")),
        (("call_0", "look", '{"q": "x"}'), ("call_1", "look", '{"q": "y"}')),
    ),
    "one id, whole": (
        http(
            200,
            completion(None, tool_calls=[piece("{}", "look", id="call_1"), piece("{}", "find", id="call_1")]),
        ),
        (("call_1", "look", "{}"), ("call_1_", "find", "{}")),
    ),
    # 10
    "the whole call once more": (
        calling(piece("", "look", id="call_1"), piece('{"q": "x"}'), piece('{"q": "x"}', "look", id="call_1")),
        (LOOK,),
    ),
    "the whole call in the last message": (
        calling(
            piece("", "look", id="call_1"),
            piece('{"q": "x"}'),
            finish=choice(
                finish="tool_calls",
                message={"tool_calls": [piece('{"q": "x"}', "look", id="call_1")]},
            ),
        ),
        (LOOK,),
    ),
    "a name in pieces": (
        calling(piece("", "lo", id="call_1"), piece("", "ok"), piece('{"q": "x"}')),
        (LOOK,),
    ),
    "a name with every piece": (
        calling(piece("", "look", id="call_1"), piece('{"q": ', "look"), piece('"x"}', "look")),
        (LOOK,),
    ),
    "the arguments once more": (
        calling(piece("", "look", id="call_1"), piece('{"q": "x"}'), piece('{"q": "x"}')),
        (LOOK,),
    ),
    # 11
    "usage and [DONE] without a finish_reason": (
        calling(piece('{"q": "x"}', "look", id="call_1"), finish=chunk(usage={"prompt_tokens": 1, "completion_tokens": 1})),
        (LOOK,),
    ),
    "usage alone without a finish_reason": (
        events(
            choice({"tool_calls": [piece('{"q": "x"}', "look", id="call_1")]}),
            chunk(usage={"prompt_tokens": 1, "completion_tokens": 1}),
        ),
        (LOOK,),
    ),
    "[DONE] without a finish_reason": (
        events(choice({"tool_calls": [piece('{"q": "x"}', "look")]}), "[DONE]"),
        (("call_0", "look", '{"q": "x"}'),),
    ),
    # 7
    "a surrogate pair over two pieces": (
        raw(
            b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"call_1","function":{"name":"look","arguments":"{\\"q\\": \\"\\ud83d"}}]}}]}\n\n',
            b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\\ude00\\"}"}}]}}]}\n\n',
            event(choice(finish="tool_calls")),
        ),
        (("call_1", "look", '{"q": "😀"}'),),
    ),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("form", CALLS)
def test_the_tool_calls_of_an_answer(form: str, streamed: bool) -> None:
    script, expected = CALLS[form]
    found = seen(script, streamed)
    assert (found.text, found.calls) == ("", expected)
    assert found.finish == ("stop" if "whole" in form and "id" in form else "tool_calls")


@pytest.mark.parametrize("form", CALLS)
def test_the_tool_calls_that_llm_runs(form: str, endpoints: Callable[..., Path]) -> None:
    ran = []

    def look(q: str = "") -> str:
        ran.append(("look", q))
        return "ok"

    def find() -> str:
        ran.append(("find", ""))
        return "ok"

    script, expected = CALLS[form]
    with Server(script) as server:
        endpoints(mybox=server)
        response = llm.get_model("gpt-4o").prompt("hi", tools=[look, find])
        response.text()
        response.execute_tool_calls()
    assert ran == [(name, json.loads(arguments).get("q", "")) for _, name, arguments in expected]


BROKEN_CALLS: dict[str, Script] = {
    "a call without a name": calling(piece('{"q": "x"}', id="call_1")),
    "a custom call": calling({"index": 0, "id": "c", "type": "custom", "custom": {"name": "look", "input": "x"}}),
    "a whole call without a name": http(200, completion(None, tool_calls=[piece("{}", id="call_1")])),
    "a custom call behind another": http(
        200,
        completion(
            None,
            tool_calls=[piece("{}", "look", id="a"), {"id": "b", "type": "custom", "custom": {"name": "x"}}],
        ),
    ),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("form", BROKEN_CALLS)
def test_a_call_without_a_name_is_an_error(form: str, streamed: bool) -> None:
    error = failure(BROKEN_CALLS[form], streamed)
    assert "a tool call without a name" in error.message


@BOTH
@pytest.mark.parametrize("in_one", [True, False], ids=["in one message", "in many deltas"])
def test_a_flood_of_calls_is_an_error(in_one: bool, streamed: bool) -> None:
    calls = [piece("{}", "look", id=f"c{i}", index=i) for i in range(10_001)]
    script = http(200, completion(None, tool_calls=calls)) if in_one else calling(*calls)
    assert "more than 10,000 tool calls" in failure(script, streamed).message


@BOTH
@pytest.mark.parametrize("arguments", ["", '{"q":', "[1]"])
def test_half_a_call_and_done_is_an_error(arguments: str, streamed: bool) -> None:
    error = failure(
        events(choice({"tool_calls": [piece(arguments, "look", id="a")]}), "[DONE]"), streamed
    )
    assert "ended before it was finished" in error.message


@BOTH
@pytest.mark.parametrize("name", ["functions", "function_call"])
def test_functions_are_refused_before_anything_is_sent(name: str, streamed: bool) -> None:
    with Server(stream("ab")) as server:
        completions = AsyncClient(base_url=server.url).chat.completions
        cases: list[dict[str, Any]] = [{name: []}, {"extra_body": {name: []}}]
        for params in cases:
            with pytest.raises(G4FError, match=f"{name} is no longer supported: use tool"):
                completions.create("hi", stream=streamed, **params)
        assert not server.requests


@BOTH
def test_a_function_call_that_was_not_requested_is_an_error(streamed: bool) -> None:
    legacy = {"name": "look", "arguments": "{}"}
    for script in (
        events(choice({"function_call": legacy}), choice(finish="function_call"), "[DONE]"),
        http(200, completion(None, function_call=legacy)),
    ):
        assert "sent a function_call" in failure(script, streamed).message


def test_each_of_several_choices_is_read_to_its_end() -> None:
    """The first choice finishes early, and the second goes on for longer than a finish is waited for."""
    late = [step for part in "cdef" for step in (0.7, framed(event(text(part, index=1))))]
    script: Script = [
        SSE_HEAD,
        *(framed(event(one)) for one in (text("a"), text("b", index=1), choice(finish="stop"))),
        *late,
        framed(event(choice(finish="stop", index=1))),
        HANG,
    ]

    async def ask(url: str) -> list[tuple[str | None, str | None]]:
        answer = await AsyncClient(base_url=url).chat.completions.create("hi", n=2)
        return [(one.message.content, one.finish_reason) for one in answer.choices]

    with Server(script) as server:
        assert asyncio.run(ask(server.url)) == [("a", "stop"), ("bcdef", "stop")]


SEVERAL: dict[str, Script] = {
    "indexes from 1": events(
        text("a", index=1), text("b", "stop", index=2), choice(finish="stop", index=1), "[DONE]"
    ),
    **{
        f"indexes {indexes} in one body": http(
            200, {"choices": [{"index": i, "message": {"content": w}} for i, w in zip(indexes, "ab", strict=True)]}
        )
        for indexes in ((None, None), (0, 0), (1, 2), ("0", "1"))
    },
    "tags of reasoning and no indexes in a chunk": events(
        {"choices": [{"delta": {"content": f"<think>r</think>{word}"}} for word in "ab"]},
        {"choices": [{"delta": {}, "finish_reason": "stop"} for _ in "ab"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", SEVERAL)
def test_no_text_of_several_choices_is_lost_or_joined(form: str) -> None:
    async def ask(url: str) -> list[tuple[str | None, str | None]]:
        answer = await AsyncClient(base_url=url).chat.completions.create("hi", n=2)
        return [(one.message.content, one.finish_reason) for one in answer.choices]

    with Server(SEVERAL[form]) as server:
        assert sorted(asyncio.run(ask(server.url))) == [("a", "stop"), ("b", "stop")]


@BOTH
@pytest.mark.parametrize("word", ["stop", "length", "content_filter"])
def test_a_finish_reason_behind_tool_calls_is_kept(word: str, streamed: bool) -> None:
    script = calling(piece('{"q": "x"}', "look", id="call_1"), finish=choice(finish=word))
    assert seen(script, streamed) == Seen("", "", (LOOK,), word)


@BOTH
def test_tags_and_names_in_pieces_with_a_finish_reason_on_each(streamed: bool) -> None:
    tags = events(*(text(part, "stop") for part in ("<thi", "nk>r</thi", "nk>", "ab")), "[DONE]")
    assert seen(tags, streamed) == Seen("ab", "r")
    pieces = (piece("", id="call_1"), piece('{"q": "x"}'), piece(name="look"))
    late = events(*(choice({"tool_calls": [one]}, "tool_calls") for one in pieces), "[DONE]")
    assert seen(late, streamed) == Seen("", "", (LOOK,), "tool_calls")


@BOTH
@pytest.mark.parametrize("kind", ["text", "summary"])
def test_a_surrogate_pair_over_two_details_of_reasoning(kind: str, streamed: bool) -> None:
    halves = (
        b'data: {"choices":[{"delta":{"reasoning_details":[{"%b":"%b"}]}}]}\n\n'
        % (kind.encode(), half)
        for half in (b"a\\ud83d", b"\\ude00")
    )
    assert seen(raw(*halves, event(text("ab", "stop"))), streamed) == Seen("ab", "a😀")


@BOTH
def test_a_finish_reason_on_every_chunk_does_not_cut_a_slow_stream(streamed: bool) -> None:
    slow = [step for part in "bcd" for step in (1.2, framed(event(text(part, "stop"))))]
    script: Script = [
        SSE_HEAD,
        framed(event(text("a", "stop"))),
        *slow,
        framed(event("[DONE]")),
        END,
    ]
    assert seen(script, streamed) == Seen("abcd")


@BOTH
@pytest.mark.parametrize("beats", [["{}"], ["null", "{}"], ['{"type": "ping"}'], ['{"id": "x"}']])
def test_heartbeats_alone_are_no_answer(beats: list[str], streamed: bool) -> None:
    error = failure(events(*beats), streamed)
    assert isinstance(error, InvalidResponseError)
    assert "not a completion" in error.message
    error = failure(http(200, beats[0]), streamed)
    assert isinstance(error, InvalidResponseError)


FINISHES = {
    **dict.fromkeys(
        ("end_turn", "stop_sequence", "eos", "eos_token", "STOP", "completed"), ("stop", None)
    ),
    **dict.fromkeys(("model_length", "MAX_TOKENS", "max_output_tokens"), ("length", None)),
    **dict.fromkeys(
        ("RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "sensitive", "SAFETY"),
        ("content_filter", None),
    ),
    "because": ("stop", "because"),
}


@pytest.mark.parametrize("word", FINISHES)
def test_the_finish_words_of_other_providers(
    word: str, endpoints: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    whole = completion("ab")
    whole["choices"][0]["finish_reason"] = word
    for script in (events(text("ab"), choice(finish=word), "[DONE]"), http(200, whole)):

        async def ask(url: str) -> Any:
            return await AsyncClient(base_url=url).chat.completions.create("hi")

        with Server(script) as server:
            answer = asyncio.run(ask(server.url))
            (made,) = answer.choices
            assert (made.finish_reason, made.native_finish_reason) == FINISHES[word]
            unknown = [line for line in answer.receipt.warnings if f'"{word}"' in line]
            assert bool(unknown) == (FINISHES[word][1] is not None)
            endpoints(mybox=server)
            caplog.clear()
            response = llm.get_model("gpt-4o").prompt("hi")
            response.text()
        native = ((response.response_json or {}).get("choices") or [{}])[0].get(
            "native_finish_reason"
        )
        assert native == FINISHES[word][1]
        said = [line for line in caplog.messages if "unknown finish_reason" in line]
        assert len(said) == (native is not None)


@BOTH
def test_the_warning_of_an_unknown_finish_word_is_one_line(
    streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    script = events(text("ab"), choice(finish="be\ncause\t" * 40), "[DONE]")
    assert seen(script, streamed) == Seen("ab")
    (said,) = (line for line in caplog.messages if "unknown finish_reason" in line)
    assert "\n" not in said
    assert len(said) < 200


@BOTH
@pytest.mark.parametrize(
    "word", ["insufficient_system_resource", "network_error", "abort", "error"]
)
def test_a_broken_answer_is_an_error(word: str, streamed: bool) -> None:
    error = failure(events(text("ab"), choice(finish=word), "[DONE]"), streamed)
    assert isinstance(error, StreamError)
    assert (error.partial, f"finish_reason: {word}" in error.message) == ("ab", True)
    whole = completion("ab")
    whole["choices"][0]["finish_reason"] = word
    assert f"finish_reason: {word}" in failure(http(200, whole), streamed).message


async def _both_asked(scripts: list[Script], config: Callable[..., Path], **params: Any) -> Any:
    with Server(scripts[0]) as first, Server(stream("from b")) as second:
        config(a=first, b=second)
        stream_of = AsyncClient().chat.completions.create("hi", stream=True, **params)
        found = ""
        try:
            async for one in stream_of:
                for each in one.choices:
                    found += each.delta.content or ""
        except G4FError as error:
            return error, len(second.requests)
        return found, len(second.requests)


EMPTY: dict[str, Script] = {
    "stop and nothing": events(choice({"role": "assistant"}), STOP, "[DONE]"),
    "only blanks": events(text(" "), text("\n\n"), STOP, "[DONE]"),
    "only reasoning, at once": [
        SSE_HEAD + framed(event(choice({"reasoning": "hm"})) + event(STOP) + event("[DONE]")) + END
    ],
    "only reasoning, whole": http(200, completion("", reasoning="hm")),
    "blanks, whole": http(200, completion(" \n")),
}


@pytest.mark.parametrize("form", EMPTY)
def test_an_answer_without_a_word_is_the_next_providers_turn(
    form: str, endpoints: Callable[..., Path]
) -> None:
    assert asyncio.run(_both_asked([EMPTY[form]], endpoints)) == ("from b", 1)


@BOTH
@pytest.mark.parametrize("form", EMPTY)
def test_an_answer_without_a_word_is_an_error_in_the_end(form: str, streamed: bool) -> None:
    error = failure(EMPTY[form], streamed)
    assert (type(error), error.reason) == (InvalidResponseError, "empty")


@BOTH
def test_reasoning_that_was_streamed_and_no_word_is_a_broken_stream(streamed: bool) -> None:
    script: Script = [
        SSE_HEAD,
        framed(event(choice({"reasoning": "hm"}))),
        0.2,
        framed(event(text("\n"))),
        framed(event(STOP) + event("[DONE]")),
        END,
    ]
    error = failure(script, streamed)
    assert (type(error), error.reason) == (StreamError, "empty")


@BOTH
def test_leading_blanks_come_with_the_first_word(streamed: bool) -> None:
    assert seen(events(text("\n"), text(" "), text("ab"), STOP, "[DONE]"), streamed).text == "\n ab"


@BOTH
@pytest.mark.parametrize("form", ["stop and nothing", "only blanks", "blanks, whole"])
def test_an_empty_answer_is_one_where_stop_was_requested(form: str, streamed: bool) -> None:
    found = seen(EMPTY[form], streamed, stop=["x"])
    assert (found.text.strip(), found.finish) == ("", "stop")


def test_a_withheld_answer_is_an_error_and_no_other_provider_is_asked(
    endpoints: Callable[..., Path],
) -> None:
    whole = completion(None)
    whole["choices"][0]["finish_reason"] = "content_filter"
    for script in (events(choice(finish="content_filter"), "[DONE]"), http(200, whole)):
        error, asked = asyncio.run(_both_asked([script], endpoints))
        assert (error.reason, asked) == ("filtered", 0)
        assert "content filter withheld the answer" in error.message


LENGTH = events(choice({"role": "assistant"}), choice(finish="length"), "[DONE]")


@BOTH
def test_a_token_limit_before_the_first_word_is_a_completion(streamed: bool) -> None:
    assert seen(LENGTH, streamed) == Seen(finish="length")


@pytest.mark.parametrize(
    "script",
    [
        LENGTH,
        events(choice({"reasoning": "hm"}), choice(finish="length"), "[DONE]"),
        http(200, json.dumps(completion("")).replace('"stop"', '"length"')),
    ],
    ids=["streamed", "reasoning", "whole"],
)
def test_a_token_limit_before_the_first_word_is_an_error_of_llm(
    script: Script, endpoints: Callable[..., Path], run_llm: Callable[..., Any]
) -> None:
    with Server(script) as server:
        endpoints(mybox=server)
        with pytest.raises(llm.ModelError, match="raise max_tokens"):
            llm.get_model("gpt-4o").prompt("hi").text()
        ran = run_llm("-m", "gpt-4o", "hi")
    assert (ran.returncode, ran.stdout.strip()) == (1, "")
    assert "raise max_tokens" in ran.stderr


def test_a_token_limit_before_the_first_word_fails_a_row(
    endpoints: Callable[..., Path], run_llm: Callable[..., Any], tmp_path: Path
) -> None:
    prompts, results = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    prompts.write_text('{"prompt": "hi"}\n', encoding="utf-8")
    with Server(LENGTH) as server:
        endpoints(mybox=server)
        ran = run_llm("g4f", "batch", str(prompts), str(results), "-m", "gpt-4o")
    (line,) = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert ran.returncode == 1
    assert "raise max_tokens" in line["error"]["message"]


@BOTH
def test_reasoning_details_alone_are_reasoning(streamed: bool) -> None:
    details = [
        {"type": "reasoning.text", "text": "h"},
        {"type": "reasoning.summary", "summary": "m"},
    ]
    found = seen(
        events(choice({"reasoning_details": details}), text("ab"), STOP, "[DONE]"), streamed
    )
    assert found == Seen("ab", "hm")


def test_what_a_provider_adds_to_a_message_stays_in_it(endpoints: Callable[..., Path]) -> None:
    citation = {
        "type": "url_citation",
        "url_citation": {"url": "https://example.org", "title": "x"},
    }
    speech = {"id": "audio_1", "data": "AAAA", "transcript": "ab"}
    streams = events(
        choice({"content": "ab", "annotations": [citation]}),
        choice({"audio": {"id": "audio_1", "transcript": "a"}}),
        choice({"audio": {"data": "AA", "transcript": "b"}, "annotations": [citation]}),
        choice({"audio": {"data": "AA"}}),
        STOP,
    )
    whole = http(200, completion("ab", annotations=[citation, citation], audio=speech))

    async def ask(url: str) -> Any:
        return await AsyncClient(base_url=url).chat.completions.create("hi")

    for script in (streams, whole):
        with Server(script) as server:
            message = asyncio.run(ask(server.url)).choices[0].message
            assert (message.annotations, message.audio) == ([citation, citation], speech)
            assert message.to_dict()["annotations"] == [citation, citation]
            endpoints(mybox=server)
            response = llm.get_model("gpt-4o").prompt("hi")
            assert response.text() == "ab"
            logged = response.response_json or {}
        assert logged["annotations"] == [citation, citation]
        assert "AAAA" not in json.dumps(logged)


def test_endless_annotations_are_not_logged(endpoints: Callable[..., Path]) -> None:
    with Server(http(200, completion("ab", annotations=[{"text": "x" * 70_000}]))) as server:
        endpoints(mybox=server)
        response = llm.get_model("gpt-4o").prompt("hi")
        response.text()
    assert "annotations" not in (response.response_json or {})


@BOTH
def test_speech_alone_is_an_answer(streamed: bool) -> None:
    assert seen(events(choice({"audio": {"data": "AAAA"}}), STOP, "[DONE]"), streamed) == Seen()


ERRORS: dict[str, bytes] = {
    "an object over several lines": b'{\n  "error": {\n    "message": "REASON",\n    "code": 429\n  }\n}\n',
    # 15
    "an error field": b'error: {"code": 429, "message": "REASON"}\n\n',
    "a line of JSON": b'{"error": {"code": 429, "message": "REASON"}}\n',
    "a line of JSON without its end": b'{"error": {"code": 429, "message": "REASON"}}',
    "an error in a choice": event(choice(finish="error", error={"code": 429, "message": "REASON"})),
}


@BOTH
@pytest.mark.parametrize("place", ERRORS)
def test_an_error_in_a_stream_has_its_status_and_its_reason(place: str, streamed: bool) -> None:
    before = failure(raw(event(choice({"role": "assistant"})), ERRORS[place]), streamed)
    assert (getattr(before, "status_code", None), "REASON" in before.message) == (429, True)
    behind = failure(raw(event(text("ab")), ERRORS[place]), streamed)
    assert (type(behind), behind.partial, "REASON" in behind.message) == (StreamError, "ab", True)


@BOTH
@pytest.mark.parametrize("data", ["REASON", '{"error_code": 18, "error_msg": "REASON"}'])
def test_the_words_of_an_error_in_another_form_are_shown(data: str, streamed: bool) -> None:
    for before in (choice({"role": "assistant"}), text("ab")):
        assert "REASON" in failure(events(before, data), streamed).message


@BOTH
def test_an_error_in_a_whole_choice_has_its_status_and_its_reason(streamed: bool) -> None:
    whole = completion("")
    whole["choices"][0] |= {"finish_reason": "error", "error": {"code": 429, "message": "REASON"}}
    error = failure(http(200, whole), streamed)
    assert (getattr(error, "status_code", None), "REASON" in error.message) == (429, True)
