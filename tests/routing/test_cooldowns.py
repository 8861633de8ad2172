"""Cooldowns: the file, and what `llm` does with it."""

from __future__ import annotations

import json
import logging
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_g4f import Client
from llm_g4f.errors import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
)
from llm_g4f.routing.cooldowns import Cooldowns, key_of
from llm_g4f.routing.policy import cooldown_of
from tests.support.server import Server, http, stream, whole

FILE = "g4f-health.json"


class Clock:
    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(tmp_path: Path, clock: Clock) -> Cooldowns:
    return Cooldowns(tmp_path / FILE, clock)


def test_without_failures_no_file_is_written(health: Cooldowns, tmp_path: Path) -> None:
    health.recovered("a")
    health.failed("a", BadRequestError("no", status_code=400))
    assert health.cooldown("a") == 0
    assert list(tmp_path.glob("g4f-*")) == []


def test_retry_after_is_the_cooldown(health: Cooldowns, clock: Clock) -> None:
    health.failed("a", RateLimitError("no", status_code=429, retry_after=60))
    assert health.cooldown("a") == 60
    clock.now += 59
    assert health.cooldown("a") == 1
    clock.now += 1
    assert health.cooldown("a") == 0


def test_repeated_failures_cool_down_longer(health: Cooldowns) -> None:
    seen = []
    for _ in range(30):
        health.failed("a", InternalServerError("no", status_code=500))
        seen.append(health.cooldown("a"))
    assert seen[:3] == [5, 10, 15]
    assert seen[-1] == 120


def test_an_answer_ends_the_cooldown(health: Cooldowns) -> None:
    health.failed("a", InternalServerError("no", status_code=500))
    health.failed("b", InternalServerError("no", status_code=500))
    health.recovered("a")
    assert health.cooldown("a") == 0
    assert health.cooldown("b") == 5
    assert health.cooldowns() == {"b": 5}


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (RateLimitError("", status_code=429), 5),
        (RateLimitError("", status_code=429, retry_after=300), 300),
        (RateLimitError("", status_code=429, reason="out_of_credit"), 3600),
        (APIStatusError("", status_code=402), 3600),
        (APIConnectionError(""), 5),
        (InternalServerError("", status_code=503), 5),
        (InternalServerError("", status_code=503, retry_after=2), 2),
        (AuthenticationError("", status_code=401), 0),
        (NotFoundError("", status_code=404), 0),
        (BadRequestError("", status_code=400), 0),
        (InvalidResponseError(""), 0),
    ],
)
def test_cooldowns(error: Any, seconds: float) -> None:
    assert cooldown_of(error, 1) == seconds


def test_the_key_of_a_cooldown() -> None:
    assert key_of("groq", "openai/gpt-oss-120b", "model") == "groq/openai/gpt-oss-120b"
    assert key_of("openrouter", "openai/gpt-4o", "key") == "openrouter"


def test_a_retired_model(health: Cooldowns) -> None:
    assert not health.is_gone("openai", "gpt-4o")
    health.note_gone("openai", "gpt-4o")
    assert health.is_gone("openai", "gpt-4o")
    assert not health.is_gone("openai", "gpt-4o-mini")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"cooldowns": {"a": 1}}', '{"cooldowns": {"a": {"until": "x"}}}'],
)
def test_a_damaged_file_is_set_aside(
    health: Cooldowns, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    (tmp_path / FILE).write_text(text)
    assert health.cooldown("a") == 0
    assert (tmp_path / f"{FILE}.damaged").read_text() == text
    assert caplog.record_tuples == [
        (
            "llm_g4f",
            logging.WARNING,
            f"{tmp_path / FILE} is damaged (invalid content): moved to {FILE}.damaged.",
        )
    ]
    health.failed("a", InternalServerError("no", status_code=500))
    assert health.cooldown("a") == 5


@pytest.mark.parametrize("until", ["NaN", "Infinity", "1e300", "-5"])
def test_invalid_times_are_ignored(health: Cooldowns, tmp_path: Path, until: str) -> None:
    (tmp_path / FILE).write_text(f'{{"cooldowns": {{"a": {{"until": {until}, "failures": 1}}}}}}')
    assert health.cooldown("a") == 0


def test_an_unwritable_file_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    health = Cooldowns(tmp_path / "file" / FILE)
    health.failed("a", InternalServerError("no", status_code=500))
    health.recovered("a")
    assert health.cooldown("a") == 0


def fail_often(path: Path, name: str) -> None:
    health = Cooldowns(path)
    for number in range(20):
        health.failed(f"{name}-{number}", RateLimitError("no", status_code=429, retry_after=99))


def test_parallel_processes_lose_no_entry(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=fail_often, args=(tmp_path / FILE, f"p{number}"))
        for number in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert {worker.exitcode for worker in workers} == {0}
    assert len(Cooldowns(tmp_path / FILE).cooldowns()) == 80


Run = Callable[..., Any]


def test_a_second_run_skips_a_provider_in_cooldown(
    run_llm: Run, endpoints: Run, user_path: Path
) -> None:
    busy = http(429, {"error": {"message": "slow down"}}, [("Retry-After", "60")])
    with Server(busy, stream("A")) as a, Server(stream("B")) as b:
        endpoints(a=a, b=b)
        first = run_llm("-m", "gpt-4o", "hi")
        assert first.stdout == "B\n"
        assert "a failed (RateLimitError, HTTP 429)" in first.stderr
        second = run_llm("-m", "gpt-4o", "hi")
        assert second.stdout == "B\n"
        assert second.stderr == ""
        assert (len(a.requests), len(b.requests)) == (1, 2)
        state = json.loads((user_path / FILE).read_text())
        assert 50 < state["cooldowns"]["a"]["until"] - time.time() <= 60
        state["cooldowns"]["a"]["until"] = time.time() - 1
        (user_path / FILE).write_text(json.dumps(state))
        assert run_llm("-m", "gpt-4o", "hi").stdout == "A\n"
        assert json.loads((user_path / FILE).read_text())["cooldowns"] == {}


def test_the_only_provider_is_asked_in_its_cooldown(endpoints: Run) -> None:
    busy = http(429, {"error": {"message": "slow down"}}, [("Retry-After", "600")])
    with Server(busy, whole("at last")) as server:
        endpoints(a=server)
        client = Client()
        with pytest.raises(RateLimitError, match="Try again in 600 s"):
            client.chat.completions.create("hi")
        answer = client.chat.completions.create("hi")
        assert answer.choices[0].message.content == "at last"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, {"message": "The model `gpt-4o` does not exist", "code": "model_not_found"}),
        (400, {"message": "The model `gpt-4o` has been deprecated", "code": "model_not_found"}),
        (400, {"message": "gpt-4o is not a valid model ID", "code": 400}),
        (410, {"message": "The model gpt-4o is gone"}),
    ],
)
def test_a_retired_model_is_not_requested_again(
    status: int, error: dict[str, Any], write_config: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "sk-test")
    gone = http(status, {"error": error})
    with Server(gone, whole("I stand in", model="gpt-6-luna")) as server:
        write_config(f"providers: {{openai: {{base_url: '{server.url}', key_env: KEY}}}}")
        for _ in range(2):
            answer = Client().chat.completions.create("hi", temperature=0.1)
            assert answer.choices[0].message.content == "I stand in"
            assert answer.receipt is not None
            assert answer.receipt.successor
    assert [request.json["model"] for request in server.requests] == [
        "gpt-4o",
        "gpt-6-luna",
        "gpt-6-luna",
    ]
    assert server.requests[1].json["reasoning_effort"] == "none"


def test_a_wrong_address_does_not_retire_a_model(
    write_config: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "sk-test")
    with Server(http(404, "<html>", kind="text/html")) as server:
        write_config(f"providers: {{openai: {{base_url: '{server.url}', key_env: KEY}}}}")
        with pytest.raises(NotFoundError):
            Client().chat.completions.create("hi")
    assert len(server.requests) == 1
