"""Requests that failed entirely are noted, and cost nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_g4f import AsyncClient, Client
from llm_g4f.errors import G4FError
from llm_g4f.receipt import Attempt, Receipt
from llm_g4f.routing.failure_log import MAX_SIZE, FailureLog
from tests.support.batch import batch, write
from tests.support.commands import failed, g4f, ok
from tests.support.prompts import Ask
from tests.support.server import CLOSE, Script, Server, chunk, event, framed, http, stream
from tests.support.server import SSE_HEAD as HEAD

FILE = "g4f-failures.jsonl"
Endpoints = Callable[..., Path]
BROKEN = http(500, {"error": {"message": "secret words"}})
HALF: Script = [HEAD, framed(event(chunk("Hel"))), 0.05, CLOSE]


def noted(user_path: Path) -> list[list[tuple[str, str, int | None]]]:
    """The attempts of each request in the file."""
    return [
        [(each.provider, each.outcome, each.status) for each in request.attempts]
        for request in FailureLog(user_path / FILE).read()
    ]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("form", ["client", "async client"])
def test_a_request_without_an_answer_is_noted(
    form: str, streaming: bool, endpoints: Endpoints, user_path: Path
) -> None:
    async def ask() -> None:
        answer: Any = await AsyncClient().chat.completions.create("hi", stream=streaming)
        if streaming:
            [_ async for _ in answer]

    def ask_sync() -> None:
        answer: Any = Client().chat.completions.create("hi", stream=streaming)
        list(answer if streaming else [])

    with Server(BROKEN) as a, Server(http(429, {"error": {"message": "no"}})) as b:
        endpoints(a=a, b=b)
        with pytest.raises(G4FError):
            asyncio.run(ask()) if form == "async client" else ask_sync()
    attempts = noted(user_path)[0]
    assert attempts[:2] == [("a", "InternalServerError", 500), ("b", "RateLimitError", 429)]
    assert len(noted(user_path)) == 1
    assert "secret" not in (user_path / FILE).read_text()


def test_prompts_of_llm_are_noted_and_answers_are_not(
    ask: Ask, endpoints: Endpoints, user_path: Path
) -> None:
    with Server(BROKEN) as a, Server(stream("good")) as b:
        endpoints(a=a, b=b)
        assert ask("hi").text == "good"
        assert not (user_path / FILE).exists()
        with pytest.raises(Exception, match="secret words"):
            ask("hi", provider="a")
    assert [attempts[0] for attempts in noted(user_path)] == [("a", "InternalServerError", 500)]


def test_an_answer_that_breaks_off_is_noted(endpoints: Endpoints, user_path: Path) -> None:
    with Server(HALF) as a:
        endpoints(a=a)
        with pytest.raises(G4FError):
            list(Client().chat.completions.create("hi", stream=True))
    assert [attempts[-1][1] for attempts in noted(user_path)] == ["TruncatedStreamError"]


def test_rows_of_a_batch_are_noted_and_checks_are_not(
    endpoints: Endpoints, user_path: Path, tmp_path: Path
) -> None:
    with Server(BROKEN) as a:
        endpoints(a=a)
        g4f("check", "a")
        assert not (user_path / FILE).exists()
        source = write(str(tmp_path / "in"), {"prompt": "one"}, {"prompt": "two"})
        batch(source, str(tmp_path / "out"), "-m", "gpt-4o", code=1)
    assert len(noted(user_path)) == 2


def test_the_file_is_bounded_and_keeps_the_last(tmp_path: Path) -> None:
    log = FailureLog(tmp_path / FILE, lambda: 1.79e9)
    long = "x" * 5_000
    for number in range(1_500):
        attempt = Attempt(long, f"model-{number}", "InternalServerError", 500, "words")
        log.note(Receipt(long, attempts=(attempt,) * 3))
    assert (tmp_path / FILE).stat().st_size <= MAX_SIZE
    found = list(log.read())
    assert found[-1].attempts[0].model == "model-1499"
    assert len(found) > 50
    assert [path.name for path in tmp_path.glob("*g4f*")] == [FILE]


@pytest.mark.parametrize(
    "text",
    ["", "{", "7\n[]\nnull\n", '{"at": "x"}\n', '{"at": NaN}\n', "\x00" * 99, "[" * 100_000],
)
def test_damaged_lines_are_passed_over(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(f"{text}\n")
    log = FailureLog(tmp_path / FILE, lambda: 1.79e9)
    log.note(Receipt("gpt-4o", attempts=(Attempt("a", "m", "StreamError"),)))
    assert [request.requested_model for request in log.read()] == ["gpt-4o"]


def test_a_folder_or_link_in_its_place_fails_nothing(tmp_path: Path, user_path: Path) -> None:
    receipt = Receipt("gpt-4o", attempts=(Attempt("a", "m", "StreamError"),))
    (tmp_path / FILE).mkdir()
    FailureLog(tmp_path / FILE).note(receipt)
    assert list(FailureLog(tmp_path / FILE).read()) == []
    (tmp_path / "foreign").write_text("")
    (user_path / FILE).symlink_to(tmp_path / "foreign")
    FailureLog(user_path / FILE).note(receipt)
    assert (tmp_path / "foreign").read_text() == ""


def test_stats_shows_an_outage(endpoints: Endpoints, user_path: Path) -> None:
    with Server(BROKEN) as a:
        endpoints(a=a)
        for _ in range(2):
            with pytest.raises(G4FError):
                Client().chat.completions.create("hi", max_retries=0)
    lines = ok(g4f("stats"))
    assert lines[0].startswith("No answers yet in ")
    assert lines[2].startswith("2 requests failed without an answer, the last at 20")
    assert lines[4].split()[:4] == ["failed", "without", "an", "answer"]
    assert lines[5].startswith("a/gpt-4o ")
    assert lines[5].split()[-5:-2] == ["HTTP", "500", "2"]
    found = json.loads(g4f("stats", "--json").stdout)["failed_requests"]
    assert found["count"] == 2
    assert found["failures"][0]["http_status"] == 500
    assert "No answers yet" in failed(g4f("stats", "--model", "gpt-4"))
    (user_path / FILE).unlink()
    assert "No answers yet" in failed(g4f("stats"))
