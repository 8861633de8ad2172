"""The same request is answered from the file, and what is wrong with the file stops no answer."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import stat
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_g4f.adapter.options import Options
from llm_g4f.client import AsyncClient, Client
from llm_g4f.errors import ArgumentError, ConfigError, G4FError
from llm_g4f.receipt import Receipt
from llm_g4f.routing import answer_cache
from llm_g4f.routing.answer_cache import AnswerFile, Kept
from llm_g4f.types import ChatCompletion, ChatCompletionMessage, Choice
from tests.support.answers import text_of
from tests.support.batch import asked, batch, read, texts, write
from tests.support.commands import failed, g4f, ok
from tests.support.prompts import Ask
from tests.support.server import (
    HANG,
    SSE_HEAD,
    Script,
    Server,
    call,
    calls,
    chunk,
    completion,
    event,
    events,
    framed,
    http,
    stream,
    whole,
)

FILE = "g4f-cache.db"
ON = "cache: {ttl: 7d}"
EXACT = "{id: gpt-4o, exact: true}"
Config = Callable[[str], Path]


def box(server: Server, model: str = EXACT, extra: str = ON) -> str:
    """A g4f.yaml with one server that has gpt-4o."""
    return (
        f"providers:\n  box: {{base_url: '{server.url}', models: {{gpt-4o: {model}}}}}\n{extra}\n"
    )


def ask(prompt: Any = "hi", **params: Any) -> ChatCompletion:
    answer = Client().chat.completions.create(prompt, **params)
    assert isinstance(answer, ChatCompletion)
    return answer


def age(user_path: Path, seconds: float) -> None:
    """Make what is kept older."""
    with closing(sqlite3.connect(user_path / FILE)) as database:
        database.execute("update answers set at = at - ?", (seconds,))
        database.commit()


def answers(user_path: Path) -> int:
    return AnswerFile(user_path / FILE).counts().answers


def ending(finish: str) -> Script:
    return events(chunk("Hel"), chunk(finish=finish), "[DONE]")


def two(*texts: str) -> tuple[Script, ...]:
    return tuple(whole(text) for text in texts)


def test_the_same_request_is_answered_from_the_file(write_config: Config, user_path: Path) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    with Server(http(200, completion("first", usage=usage)), whole("second")) as server:
        write_config(box(server))
        first, second = ask(), ask()
    assert (text_of(first), text_of(second), len(server.requests)) == ("first", "first", 1)
    assert first.receipt.cached is None
    assert first.to_dict()["receipt"]["cached"] is None
    cached = second.receipt.cached
    assert cached is not None
    assert cached.provider == second.provider == "box"
    ago = datetime.now(UTC) - datetime.fromisoformat(cached.date)
    assert timedelta(seconds=-1) < ago < timedelta(minutes=1)
    assert second.to_dict()["receipt"]["cached"] == {"date": cached.date, "provider": "box"}
    assert first.usage is not None
    assert second.usage is None
    assert (second.id, second.model, second.receipt.attempts) == (
        *(first.id, first.model),
        first.receipt.attempts,
    )
    assert second.receipt.seconds is not None
    if os.name == "posix":
        assert stat.S_IMODE((user_path / FILE).stat().st_mode) == 0o600
    assert b"hi" not in (user_path / FILE).read_bytes()


def test_a_kept_answer_is_streamed_as_one_that_comes(write_config: Config) -> None:
    text = " Names,  for a\npelican. "
    reasoned = events(chunk(reasoning="Hm."), chunk(text), chunk(finish="stop"), "[DONE]")

    async def streamed() -> tuple[list[str], str, Receipt, ChatCompletion]:
        stream = await AsyncClient().chat.completions.create("hi", stream=True)
        chunks = [one async for one in stream]
        deltas = [one.choices[0].delta for one in chunks]
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert stream.usage is None
        reasoning = "".join(delta.reasoning or "" for delta in deltas)
        last = await stream.get_final_completion()
        return (
            [delta.content for delta in deltas if delta.content],
            reasoning,
            chunks[0].receipt,
            last,
        )

    with Server(reasoned, whole("another")) as server:
        write_config(box(server))
        asyncio.run(streamed())
        pieces, reasoning, receipt, last = asyncio.run(streamed())
        assert "".join(pieces) == text
        assert len(pieces) == 4
        assert (reasoning, text_of(last), last.receipt) == ("Hm.", text, receipt)
        assert receipt.cached is not None
        # A stream of the synchronous client, and an answer that was not streamed.
        with Client().chat.completions.create("hi", stream=True) as plain:
            assert "".join(one.choices[0].delta.content or "" for one in plain) == text
        assert text_of(ask()) == text
    assert len(server.requests) == 1


OTHERS: dict[str, dict[str, Any]] = {
    "messages": {"prompt": "ho"},
    "a parameter": {"temperature": 0},
    "a schema": {"response_format": {"type": "json_object"}},
    "the pin": {"provider": "box"},
    "exact": {"exact": True},
    "extra_body": {"extra_body": {"top_k": 3}},
    "not this time": {"cache": False},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_another_request_is_asked(other: dict[str, Any], write_config: Config) -> None:
    with Server(*two("{}", "second")) as server:
        write_config(box(server))
        ask()
        assert ask(**other).receipt.cached is None
    assert len(server.requests) == 2


def test_substitutes_forbidden_and_another_address_are_other_requests(write_config: Config) -> None:
    with Server(*two("a", "b", "c", "d")) as server:
        for extra in ("", "substitutes: false"):
            write_config(box(server, extra=f"{ON}\n{extra}"))
            assert ask().receipt.cached is None
        for path in ("a", "b"):
            url = f"{server.origin}/{path}/v1"
            client = Client(base_url=url)
            assert client.chat.completions.create("hi").receipt.cached is None
    assert len(server.requests) == 4


def test_without_a_word_nothing_is_kept(write_config: Config, user_path: Path) -> None:
    with Server(*two("a", "b")) as server:
        write_config(box(server, extra=""))
        ask(), ask()
    assert len(server.requests) == 2
    assert not (user_path / FILE).exists()


@pytest.mark.parametrize(
    ("extra", "seconds", "kept"),
    [
        ("", 86_300, True),
        ("", 86_500, False),
        ("cache: {}", 86_500, False),
        ("cache: {ttl: 1h}", 3_700, False),
        (ON, 604_000, True),
        (ON, -600, False),
    ],
)
def test_an_answer_is_given_for_its_time(
    extra: str, seconds: float, kept: bool, write_config: Config, user_path: Path
) -> None:
    with Server(*two("old", "new")) as server:
        write_config(box(server, extra=extra))
        ask(cache=True)
        age(user_path, seconds)
        assert text_of(ask(cache=True)) == ("old" if kept else "new")
    assert answers(user_path) == 1


def test_the_notice_is_that_of_the_original(
    write_config: Config, caplog: pytest.LogCaptureFixture, ask: Ask
) -> None:
    failing = http(429, {"error": {"message": "No."}}, [("Retry-After", "0")])
    with Server(failing) as busy, Server(stream("first")) as server:
        write_config(
            f"providers:\n  busy: {{base_url: '{busy.url}', models: {{gpt-4o: {EXACT}}}}}\n"
            f"  box: {{base_url: '{server.url}', models: {{gpt-4o: {EXACT}}}}}\n"
        )
        first, second = ask(cache=True), ask(cache=True)
    notices = [record.getMessage() for record in caplog.records]
    assert len(notices) == 2
    assert notices[0] == notices[1]
    assert "busy failed" in notices[0]
    assert first.receipt["cached"] is None
    assert second.receipt["cached"]["provider"] == "box"
    assert (first.text, second.text, second.resolved) == ("first", "first", first.resolved)
    assert (second.usage.input, second.usage.output, second.usage.details) == (
        *(None, None),
        {"price_usd": 0.0},
    )


NEVER: dict[str, tuple[Script, dict[str, Any]]] = {
    "tools": (whole(), {"tools": [{"type": "function", "function": {"name": "f"}}]}),
    "a search": (whole(), {"web_search_options": {}}),
    "tools of extra_body": (whole(), {"extra_body": {"tools": [{}]}}),
    "a call": (calls(call("f", "{}", "1")), {}),
    "cut": (ending("length"), {}),
    "filtered": (ending("content_filter"), {}),
    "an unknown end": (ending("tired"), {}),
    "a refusal": (whole(None, refusal="I cannot."), {}),
    "an error": (http(400, {"error": {"message": "No."}}), {}),
    "too long": (whole("x" * (1 << 20)), {}),
}


@pytest.mark.parametrize(("script", "params"), NEVER.values(), ids=NEVER)
def test_only_a_whole_answer_in_text_is_kept(
    script: Script, params: dict[str, Any], write_config: Config
) -> None:
    with Server(script) as server:
        write_config(box(server))
        for _ in range(2):
            try:
                assert ask(**params).receipt.cached is None
            except G4FError:
                assert script is NEVER["an error"][0]
    assert len(server.requests) >= 2


def test_an_answer_that_was_left_early_is_not_kept(write_config: Config, user_path: Path) -> None:
    with Server([SSE_HEAD, framed(event(chunk("Hel"))), HANG]) as server:
        write_config(box(server))
        with Client().chat.completions.create("hi", stream=True) as left:
            next(left)
        with Client().chat.completions.create("hi", stream=True) as left:
            assert next(left).receipt.cached is None
    assert answers(user_path) == 0


def test_a_substitute_answers_only_while_it_would_be_asked_first(
    write_config: Config, user_path: Path
) -> None:
    broken = http(503, {"error": {"message": "No."}}, [("Retry-After", "60")])
    with Server(broken, whole("the model")) as good, Server(*two("substitute", "again")) as other:
        write_config(
            f"providers:\n  good: {{base_url: '{good.url}', models: {{gpt-4o: {EXACT}}}}}\n"
            f"  other: {{base_url: '{other.url}', models: {{gpt-4o: llama}}}}\n{ON}\n"
        )
        assert text_of(ask()) == "substitute"
        # The outage lasts: the first provider is in cooldown.
        again = ask()
        assert (text_of(again), again.receipt.exact) == ("substitute", False)
        assert again.receipt.cached is not None
        ok(g4f("reset"))
        after = ask()
        assert (text_of(after), after.receipt.cached) == ("the model", None)
        # From then on the exact answer is given, whatever happens.
        (user_path / "g4f.yaml").write_text(
            f"providers: {{good: {{base_url: '{good.url}'}}}}\n{ON}"
        )
        assert text_of(ask()) == "the model"
    assert (len(good.requests), len(other.requests)) == (2, 1)


def garbage(path: Path) -> None:
    path.write_bytes(b"no database " * 1_000)


def damaged(path: Path) -> None:
    AnswerFile(path).keep(b"k", a_kept("x" * 20_000), 60)
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))


def other_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table answers (a, b)")


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))


def a_kept(text: str) -> Kept:
    choice = Choice(0, ChatCompletionMessage(content=text), "stop")
    receipt = Receipt("gpt-4o", "box", "gpt-4o", exact=True)
    return Kept(ChatCompletion("id", 1, "gpt-4o", [choice], receipt=receipt), "gpt-4o")


BROKEN = [garbage, damaged, other_tables, Path.mkdir]
BROKEN += [fifo, link] if os.name == "posix" else []


@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
def test_a_broken_file_stops_no_answer(
    make: Callable[[Path], None], write_config: Config, user_path: Path
) -> None:
    make(user_path / FILE)
    with Server(whole("there")) as server:
        write_config(box(server))
        assert {text_of(ask()) for _ in range(3)} == {"there"}
    assert not (user_path / "elsewhere").exists()
    if make in (garbage, damaged):
        # It was set aside, and the next one was made.
        assert (user_path / f"{FILE}.damaged").exists()
        assert len(server.requests) == 2
        assert answers(user_path) == 1
    else:
        assert "cannot be" in failed(g4f("cache"))


@pytest.mark.parametrize("row", [b"{", b"{}", 7, "text", msgspec.json.encode(a_kept(""))])
def test_a_broken_row_is_asked_again(row: Any, write_config: Config, user_path: Path) -> None:
    with Server(whole("there")) as server:
        write_config(box(server))
        ask()
        with closing(sqlite3.connect(user_path / FILE)) as database:
            database.execute("update answers set answer = ?", (row,))
            database.commit()
        assert text_of(ask()) == "there"
        assert ask().receipt.cached is not None
    assert len(server.requests) == 2


def test_a_locked_file_delays_no_other_task(write_config: Config, user_path: Path) -> None:
    async def run() -> float:
        longest, last, task = 0.0, time.monotonic(), None
        task = asyncio.ensure_future(AsyncClient().chat.completions.create("hi"))
        while not task.done():
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        assert text_of(task.result()) == "there"
        return longest

    AnswerFile(user_path / FILE).counts()
    with Server(whole("there")) as server, closing(sqlite3.connect(user_path / FILE)) as database:
        write_config(box(server))
        database.execute("begin exclusive")
        assert asyncio.run(run()) < answer_cache._BUSY
    assert len(server.requests) == 1


def test_the_file_stays_small(user_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_cache, "MAX_SIZE", 200_000)
    now = [1_000.0]
    file = AnswerFile(user_path / FILE, lambda: now[0])
    for number in range(60):
        now[0] += 1
        file.keep(b"%d" % number, a_kept("x" * 10_000), 1e6)
    assert (user_path / FILE).stat().st_size < 220_000
    assert 8 < file.counts().answers < 20
    assert file.find(b"0", 1e6) is None
    assert file.find(b"59", 1e6) is not None
    now[0] += 100
    file.keep(b"new", a_kept("x"), 50)
    assert file.counts().answers == 1


EMPTY = "0 answers, 0.00 of at most 64 MB"


def test_an_answer_that_another_process_kept_meanwhile_stays(user_path: Path) -> None:
    now = [1_001.0]
    file = AnswerFile(user_path / FILE, lambda: now[0])
    file.keep(b"another's", a_kept("x"), 60)
    now[0] -= 1
    file.keep(b"own", a_kept("x"), 60)
    assert answers(user_path) == 2


def test_the_command_shows_and_clears_what_is_kept(write_config: Config, user_path: Path) -> None:
    assert ok(g4f("cache")) == [EMPTY]
    assert not (user_path / FILE).exists()
    with Server(whole()) as server:
        write_config(box(server))
        ask(), ask(), ask("ho"), ask()
        assert ok(g4f("cache")) == [
            "2 answers, 0.02 of at most 64 MB",
            "2 of 4 requests had a kept answer (50%)",
        ]
        assert ok(g4f("cache", "clear")) == ["No answers are kept any more."]
        assert ok(g4f("cache")) == [EMPTY.replace("0.00", "0.02")]
        ask()
    assert len(server.requests) == 3


def test_identical_rows_of_a_batch_are_asked_once(
    write_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"id": number, "prompt": "same"} for number in range(6)]
    write(
        "in", *rows, {"id": "not", "prompt": "same", "cache": False}, {"id": 9, "prompt": "other"}
    )
    with Server(whole("there")) as server:
        write_config(box(server, extra=""))
        batch("in", "out", "-m", "gpt-4o", "--cache", "--log")
        assert sorted(asked(server)) == ["other", "same", "same"]
        batch("in", "out2", "-m", "gpt-4o", "--cache")
        assert len(server.requests) == 4
    assert set(texts().values()) == {"there"}
    given = [one for one in read().values() if one["receipt"]["cached"]]
    assert len(given) == 5
    assert {one["price_usd"] for one in given} == {0.0}
    assert {one["usage"] is None for one in given} == {True}
    # What was given again is no answer of a provider.
    (row,) = json.loads(g4f("stats", "--json").stdout)["providers"]
    assert row["answers"] == 3


def test_rows_wait_for_no_answer_that_is_not_kept(
    write_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write("in", *({"id": number, "prompt": "same"} for number in range(5)))
    with Server(ending("length")) as server:
        write_config(box(server))
        batch("in", "out", "-m", "gpt-4o")
    assert len(server.requests) == 5


@pytest.mark.parametrize(("typed", "value"), [("1", True), ("0", False)])
def test_the_option_of_llm(typed: str, value: bool) -> None:
    options = Options.model_validate({"cache": typed})
    assert options.routing() == {"cache": value}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cache: 7d", "cache must be a mapping"),
        ("cache: {ttl: soon}", "ttl of cache must be a time such as 300, 5m or 24h"),
        ("cache: {ttl: 0}", "ttl of cache must be above 0"),
        ("cache: {size: 5}", "unknown key 'size' in cache; known keys: ttl"),
    ],
)
def test_an_invalid_setting_is_an_error(text: str, said: str, write_config: Config) -> None:
    write_config(text)
    with pytest.raises(ConfigError, match=f"line 1: {said}"):
        ask()


def test_an_argument_that_is_no_boolean_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="cache must be True or False"):
        Client().chat.completions.create("hi", cache="7d")
