"""Cooldowns: the file, and what `llm` does with it."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import pytest

from llm_g4f import Client
from llm_g4f.config.files import atomic_write
from llm_g4f.errors import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
)
from llm_g4f.request import Secret
from llm_g4f.routing.cooldowns import Cooldowns, key_of
from llm_g4f.routing.health_state import Listing
from llm_g4f.routing.policy import cooldown_of
from tests.support.commands import failed, g4f, ok
from tests.support.server import Server, http, stream, whole
from tests.support.waiting import wait_until

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


def test_a_gone_model_belongs_to_provider_origin_key_and_model_for_a_day(
    health: Cooldowns, clock: Clock, tmp_path: Path
) -> None:
    url, key = "https://api.openai.com/v1", Secret("sk-1234567890")
    assert not health.gone_until("openai", url, key, "gpt-4o")
    health.note_gone("openai", url, key, "gpt-4o")
    assert health.gone_until("openai", url, key, "gpt-4o") == clock.now + 86_400
    for other in (
        ("azure", url, key, "gpt-4o"),
        ("openai", "https://proxy.example/v1", key, "gpt-4o"),
        ("openai", url, Secret("sk-0987654321"), "gpt-4o"),
        ("openai", url, None, "gpt-4o"),
        ("openai", url, key, "gpt-4o-mini"),
    ):
        assert not health.gone_until(*other)
    assert [(gone.provider, gone.model) for gone in health.gone()] == [("openai", "gpt-4o")]
    text = (tmp_path / FILE).read_text()
    assert "sk-1234567890" not in text
    assert hashlib.sha256(b"sk-1234567890").hexdigest()[:16] not in text
    clock.now += 86_400
    assert not health.gone_until("openai", url, key, "gpt-4o")
    assert health.gone() == []


def test_the_hash_of_a_key_is_another_on_another_machine(tmp_path: Path, clock: Clock) -> None:
    entries = []
    for name in ("one", "two"):
        health = Cooldowns(tmp_path / name, clock)
        health.note_gone("openai", "https://api.openai.com/v1", Secret("sk-1234567890"), "gpt-4o")
        entries += json.loads((tmp_path / name).read_text())["gone_models"]
    assert len(set(entries)) == 2


def test_what_an_older_version_noted_as_gone_is_dropped(health: Cooldowns, tmp_path: Path) -> None:
    old = {
        "cooldowns": {"a": {"until": 1_790_000_009.0, "failures": 1}},
        "gone": {"openai/gpt-4o": 1.79e9},
    }
    (tmp_path / FILE).write_text(json.dumps(old))
    assert health.cooldown("a") == 9
    assert health.gone() == []
    health.rest("b", 5)
    assert "openai/gpt-4o" not in (tmp_path / FILE).read_text()


def test_a_locked_file_delays_nothing_and_is_written_as_soon_as_it_is_free(
    health: Cooldowns, tmp_path: Path
) -> None:
    error = InternalServerError("no", status_code=500)
    with filelock.FileLock(tmp_path / f"{FILE}.lock"):
        began = time.perf_counter()
        for name in "abc":
            health.failed(name, error)
        assert time.perf_counter() - began < 0.2
    wait_until(lambda: set(health.cooldowns()) == {"a", "b", "c"})


def test_a_change_while_a_thread_writes_is_written_too(
    health: Cooldowns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = InternalServerError("no", status_code=500)
    meanwhile = ["b"]

    def written(path: Path, data: bytes) -> None:
        while meanwhile:
            health.failed(meanwhile.pop(), error)
        atomic_write(path, data)

    monkeypatch.setattr("llm_g4f.routing.cooldowns.atomic_write", written)
    with filelock.FileLock(tmp_path / f"{FILE}.lock"):
        health.failed("a", error)
    wait_until(lambda: set(health.cooldowns()) == {"a", "b"}, 5)


def test_the_file_stays_small(health: Cooldowns, tmp_path: Path, clock: Clock) -> None:
    def change(state: Any) -> None:
        for number in range(3_000):
            state.cooldowns[f"p{number}"] = (clock.now + number, 1)
            state.gone[f"openai https://x - model-{number}"] = clock.now + number + 1
            state.listings[f"https://{number} -"] = Listing(("m" * 100,) * 3_000, clock.now + 9)

    health._change(change)
    assert (tmp_path / FILE).stat().st_size < 2_500_000
    assert health.cooldown("p2999") == 2_999
    assert health.gone()[-1].model == "model-2999"


def test_a_file_of_gigabytes_is_set_aside_unread(health: Cooldowns, tmp_path: Path) -> None:
    with (tmp_path / FILE).open("wb") as file:
        file.truncate(3_000_000_000)
    assert health.cooldown("a") == 0
    assert not (tmp_path / FILE).exists()


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
        assert "a failed (rate limit, HTTP 429)" in first.stderr
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


NO_ACCESS = "The model `gpt-4o` does not exist or you do not have access to it."


def test_what_one_key_is_told_says_nothing_of_another_key_or_address(
    write_config: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = http(404, {"error": {"message": NO_ACCESS, "code": "model_not_found"}})
    successor = whole("I stand in", model="gpt-6-luna")
    with (
        Server(gone, successor, whole("mine"), successor) as server,
        Server(whole("elsewhere")) as other,
    ):
        answers = []
        for key, place in (("one", server), ("two", server), ("one", server), ("one", other)):
            monkeypatch.setenv("KEY", f"sk-1234567890-{key}")
            write_config(f"providers: {{openai: {{base_url: '{place.url}', key_env: KEY}}}}")
            answers.append(Client().chat.completions.create("hi").choices[0].message.content)
    assert answers == ["I stand in", "mine", "I stand in", "elsewhere"]
    models = [request.json["model"] for request in server.requests]
    assert models == ["gpt-4o", "gpt-6-luna", "gpt-4o", "gpt-6-luna"]


@pytest.mark.parametrize("by", ["exact", "substitutes"])
def test_what_was_gone_never_vetoes_an_exact_request(
    by: str, write_config: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "sk-1234567890")
    gone = http(404, {"error": {"message": NO_ACCESS, "code": "model_not_found"}})
    with Server(gone, whole("I stand in", model="gpt-6-luna"), whole("I am back")) as server:
        row = f"providers: {{openai: {{base_url: '{server.url}', key_env: KEY}}}}"
        write_config(row)
        Client().chat.completions.create("hi")
        if by == "substitutes":
            write_config(f"substitutes: false\n{row}")
        answer = Client().chat.completions.create("hi", exact=by == "exact")
    assert answer.choices[0].message.content == "I am back"
    assert answer.receipt is not None
    assert answer.receipt.exact


def test_no_access_alone_is_neither_gone_nor_remembered(
    write_config: Run, monkeypatch: pytest.MonkeyPatch, user_path: Path
) -> None:
    monkeypatch.setenv("KEY", "sk-1234567890")
    message = "Project `proj_x` does not have access to model `gpt-4o`"
    refused = http(403, {"error": {"message": message, "code": "model_not_found"}})
    with Server(refused, whole("allowed now")) as server:
        write_config(f"providers: {{openai: {{base_url: '{server.url}', key_env: KEY}}}}")
        with pytest.raises(PermissionDeniedError):
            Client().chat.completions.create("hi")
        assert Client().chat.completions.create("hi").choices[0].message.content == "allowed now"
    assert [request.json["model"] for request in server.requests] == ["gpt-4o", "gpt-4o"]
    assert not (user_path / FILE).exists()


def test_another_model_in_the_successors_place_is_a_substitute(
    write_config: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "sk-1234567890")
    gone = http(404, {"error": {"message": NO_ACCESS, "code": "model_not_found"}})
    with Server(gone, whole("hm", model="qwen3")) as server:
        write_config(f"providers: {{openai: {{base_url: '{server.url}', key_env: KEY}}}}")
        receipt = Client().chat.completions.create("hi").receipt
    assert receipt is not None
    assert (receipt.model, receipt.exact, receipt.successor) == ("qwen3", False, False)


def test_reset_forgets_what_providers_and_route_show_with_its_end(
    write_config: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "sk-1234567890")
    gone = http(404, {"error": {"message": NO_ACCESS, "code": "model_not_found"}})
    busy = http(429, {"error": {"message": "slow down"}}, [("Retry-After", "3600")])
    with (
        Server(gone, whole("I stand in", model="gpt-6-luna")) as server,
        Server(busy) as box,
    ):
        write_config(
            f"providers:\n  box: {{base_url: '{box.url}', models: {{gpt-4o: gpt-4o}}}}\n"
            f"  openai: {{base_url: '{server.url}', key_env: KEY}}\n"
        )
        Client().chat.completions.create("hi")
        lines = ok(g4f("route", "gpt-4o"))
        assert re.fullmatch(
            r"1\. box: gpt-4o, exact; in cooldown for 3\d{3} s, until \S+ \d\d:\d\d UTC;"
            r' "llm g4f reset box" forgets that',
            lines[0],
        )
        assert re.fullmatch(
            r"2\. openai: gpt-6-luna, its successor; gpt-4o is gone there for this key until"
            r' \S+ \d\d:\d\d UTC; "llm g4f reset openai" forgets that',
            lines[1],
        )
        found = json.loads(g4f("route", "gpt-4o", "--json").stdout)["candidates"]
        assert {"cooldown_until"} < set(found[0])
        assert {"gone_until", "successor"} < set(found[1])
        rows = {row["provider"]: row for row in json.loads(g4f("providers", "--json").stdout)}
        assert rows["box"]["cooldown_until"] == found[0]["cooldown_until"]
        assert rows["openai"]["gone_until"] == found[1]["gone_until"]
        table = g4f("providers").stdout
        ends = [re.findall(r"until (\S+) (\d\d:\d\d UTC);", line)[0] for line in lines[:2]]
        assert f" s, until {ends[0][1]} " in table
        assert f"gpt-6-luna (gpt-4o is gone there until {' '.join(ends[1])})" in table
        assert ok(g4f("reset", "box")) == ["Forgotten: the cooldown of box."]
        assert ok(g4f("route", "gpt-4o"))[0] == "1. box: gpt-4o, exact"
        assert ok(g4f("reset")) == ["Forgotten: that openai has no gpt-4o."]
        assert ok(g4f("route", "gpt-4o"))[1] == "2. openai: gpt-4o, exact"
        assert ok(g4f("reset")) == ["No cooldown and no gone model to forget."]
        assert "Unknown provider 'opnai'. Did you mean openai?" in failed(g4f("reset", "opnai"))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("gpt-4", ("gpt-5.6-sol", "its successor")),
        ("gpt-3.5-turbo", ("gpt-6-luna", "its successor; gpt-5.6-terra, which its maker names, costs more")),
        ("gpt-4.1-nano", ("gpt-6-luna", "its successor; it costs more than gpt-4.1-nano")),
    ],
)  # fmt: skip
def test_route_and_notice_say_the_same_of_a_successor(
    model: str,
    says: tuple[str, str],
    write_config: Run,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("KEY", "sk-1234567890")
    served, words = says
    with Server(whole(model=served)) as server:
        write_config(f"providers: {{openai: {{base_url: '{server.url}', key_env: KEY}}}}")
        assert ok(g4f("route", model))[0] == f"1. openai: {served}, {words}"
        Client().chat.completions.create("hi", model=model)
    assert caplog.messages == [
        f'{model} answered by {served} (openai): {words}. "llm g4f route {model}" shows why.'
    ]
    assert server.requests[0].json["reasoning_effort"] == "none"


def test_a_wrong_address_does_not_retire_a_model(
    write_config: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "sk-test")
    with Server(http(404, "<html>", kind="text/html")) as server:
        write_config(f"providers: {{openai: {{base_url: '{server.url}', key_env: KEY}}}}")
        with pytest.raises(NotFoundError):
            Client().chat.completions.create("hi")
    assert len(server.requests) == 1
