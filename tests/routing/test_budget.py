"""Budgets: what answers cost is added up, and a provider whose cap is spent is not asked."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import filelock
import pytest

from llm_g4f import AsyncClient, Client
from llm_g4f.config.files import user_file
from llm_g4f.errors import APITimeoutError, InternalServerError, NoProviderError, StreamError
from llm_g4f.routing import spend_file
from llm_g4f.routing.budget import dollars
from llm_g4f.routing.spend_file import Row, SpendError, SpendFile
from llm_g4f.stream import Stream
from llm_g4f.types import ChatCompletion
from tests.support.commands import g4f, ok, run_python
from tests.support.prices import FIGURE
from tests.support.prompts import Ask
from tests.support.server import (
    CLOSE,
    HANG,
    SSE_HEAD,
    Script,
    Server,
    chunk,
    event,
    framed,
    http,
    stream,
    whole,
)
from tests.support.stand_in import StandIn, counted
from tests.support.waiting import wait_until

Write = Callable[[str], Path]

MODEL = "gpt-4o-2024-11-20"
DAY = "budget: {day: 1.00}"
"""One dollar for all providers."""


def rows() -> list[dict[str, Any]]:
    """What `llm g4f spend --json` says, without the day."""
    found: list[dict[str, Any]] = json.loads("\n".join(ok(g4f("spend", "--json"))))
    assert all(each.pop("day") for each in found)
    return found


def row(provider: str, model: str, answers: int, unpriced: int, usd: float) -> dict[str, Any]:
    counts = {"answers": answers, "unpriced": unpriced, "usd": pytest.approx(usd)}
    return {"provider": provider, "model": model, **counts}


def ask_client(provider: str | None = None, **params: Any) -> ChatCompletion:
    answer: ChatCompletion | Stream = Client(provider).chat.completions.create("hi", **params)
    if isinstance(answer, Stream):
        return answer.get_final_completion()
    return answer


def refused(provider: str | None = None) -> NoProviderError:
    with pytest.raises(NoProviderError) as caught:
        ask_client(provider)
    return caught.value


# The file.


def spend(*costs: float | None, at: float = 0.0, provider: str = "openai") -> SpendFile:
    """Add answers at a Unix time, by default now."""
    file = SpendFile(now=lambda: at) if at else SpendFile()
    for usd in costs:
        file.add(provider, "gpt-4o", usd)
    return file


NEW_YEAR = 1_798_761_600.0
"""2027-01-01 00:00 UTC."""


def test_days_and_months_end_in_utc() -> None:
    spend(0.25, at=NEW_YEAR - 86_401)
    spend(0.5, None, at=NEW_YEAR - 1)
    spending = spend(at=NEW_YEAR - 1).read()
    day, month = spending.total("day"), spending.total("month", "openai")
    assert (day.answers, day.unpriced, day.usd) == (2, 1, 0.5)
    assert (month.answers, month.unpriced, month.usd) == (3, 1, 0.75)
    assert spending.total("month", "groq").answers == 0
    assert spend(at=NEW_YEAR).read().total("month").usd == 0
    assert spending.rows() == [
        Row("2026-12-31", "openai", "gpt-4o", 2, 1, 0.5),
        Row("2026-12-30", "openai", "gpt-4o", 1, 0, 0.25),
    ]


def test_the_file_is_private_and_does_not_grow_for_ever() -> None:
    for day in range(70):
        spend(0.01, at=NEW_YEAR + day * 86_400)
    file = SpendFile(now=lambda: NEW_YEAR + 69 * 86_400)
    for number in range(150):
        file.add("openai", f"m{number}" + "x" * 300, 0.01)
    found = file.read().rows()
    assert len({each.day for each in found}) == 62
    assert len(found) == 61 + 101
    assert sum(each.answers for each in found) == 62 + 150
    assert max(len(each.model) for each in found) == 200
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(f"{file.path}.lock").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "null", '{"2026-11-26": 1}', '{"soon": {}}', '{"2026-11-26": {"a": []}}'),
        '{"2026-11-26": {"openai": {"gpt-4o": {"usd": -1}}}}',
        '{"2026-11-26": {"openai": {"gpt-4o": {"answers": "2"}}}}',
        "[" * 100_000,
        "x" * (spend_file._MAX_SIZE + 1),
    ],
    ids=lambda content: content[:12],
)
def test_a_damaged_file_is_no_empty_one(content: str) -> None:
    path = Path(user_file("g4f-spend.json"))
    path.write_text(content)
    for use in (SpendFile().read, lambda: spend(1.0)):
        with pytest.raises(SpendError) as caught:
            use()
        assert str(caught.value) == f"{path} cannot be read: its content is damaged"
    assert path.read_text() == content


def test_a_link_a_pipe_and_a_folder_are_not_read(tmp_path: Path) -> None:
    path = Path(user_file("g4f-spend.json"))
    (tmp_path / "other").write_text("{}")
    makers: list[Callable[[], None]] = [
        lambda: path.symlink_to(tmp_path / "other"),
        lambda: os.mkfifo(path),
        path.mkdir,
    ]
    for make in makers:
        make()
        with pytest.raises(SpendError, match=r"g4f-spend\.json cannot be read: "):
            SpendFile().read()
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    assert (tmp_path / "other").read_text() == "{}"


# What is counted.


def test_nothing_is_noted_without_a_budget(stand_in: StandIn, user_path: Path) -> None:
    with stand_in(counted(), openai=""):
        receipt = ask_client().receipt
    assert receipt is not None
    assert "price_usd" not in receipt.to_dict()
    assert list(user_path.glob("g4f-spend*")) == []
    (line,) = ok(g4f("spend"))
    assert line == (
        f'Nothing noted yet: prices are noted while "budget:" is in {user_path / "g4f.yaml"}.'
    )


@pytest.mark.parametrize("stream", [False, True])
def test_the_price_of_an_answer_is_in_the_file_and_the_receipt(
    stand_in: StandIn, ask: Ask, stream: bool
) -> None:
    with stand_in(counted(), config=DAY, openai=""):
        answer = ask("hi", stream=stream)
        assert answer.receipt["price_usd"] == pytest.approx(FIGURE)
        assert answer.receipt["warnings"] == []
        assert rows() == [row("openai", MODEL, 1, 0, FIGURE)]
        ask("hi")
        assert rows() == [row("openai", MODEL, 2, 0, 2 * FIGURE)]
    assert ok(g4f("spend"))[1:] == [
        f"{ok(g4f('spend'))[1].split()[0]}  openai/{MODEL}        2         -  {dollars(2 * FIGURE)}",
        "",
        f"all providers: {dollars(2 * FIGURE)} of $1.00 spent today",
    ]


def test_a_providers_own_figure_is_its_price(stand_in: StandIn) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    script = counted(model="openai/gpt-4o", usage=usage | {"cost": 0.125})
    absurd = counted(model="openai/gpt-4o", usage=usage | {"cost": -3})
    with stand_in(script, absurd, config=DAY, openrouter=""):
        ask_client()
        ask_client()
    assert rows() == [row("openrouter", "openai/gpt-4o", 2, 1, 0.125)]


def test_an_unknown_price_is_said_once_a_day_and_is_not_zero(
    endpoints: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    with Server(whole()) as mine:
        endpoints(DAY, mine=mine)
        first, second = ask_client().receipt, ask_client().receipt
    assert first is not None
    assert second is not None
    assert first.warnings == [
        (
            f"The price of an answer by {MODEL} (mine) is unknown: it does not count towards the budget in"
            ' g4f.yaml. "llm g4f spend" lists such answers.'
        )
    ]
    assert second.warnings == []
    assert [message for message in caplog.messages if "unknown" in message] == first.warnings
    assert "price_usd" not in first.to_dict()
    assert rows() == [row("mine", MODEL, 2, 2, 0)]
    assert ok(g4f("spend"))[1].split()[1:] == [f"mine/{MODEL}", "2", "2", "-"]


def test_the_word_about_an_unknown_price_comes_behind_the_answer(
    endpoints: Callable[..., Path], ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(stream("Hello")) as mine:
        endpoints(DAY, mine=mine)
        assert ask("hi").text == "Hello"
        (said,) = [each for each in caplog.records if "unknown" in each.message]
        assert said.in_answer  # type: ignore[attr-defined]
        endpoints("notice: false\nbudget: {day: 1, month: 2}", mine=mine)
        spend_file.SpendFile().path.unlink()
        caplog.clear()
        ask("hi")
    assert caplog.messages == []


CUT: Script = [SSE_HEAD, framed(event(chunk("Hel"))), CLOSE]
CUT_COUNTED: Script = [
    SSE_HEAD,
    framed(event(chunk("Hel") | {"usage": {"prompt_tokens": 1_000, "completion_tokens": 100}})),
    CLOSE,
]
HANGING: Script = [SSE_HEAD, framed(event(chunk("Hel"))), HANG]


def test_a_broken_answer_counts_as_far_as_its_price_is_known(
    stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    with stand_in(CUT, CUT_COUNTED, config=DAY, openai=""):
        for _ in range(2):
            with pytest.raises(StreamError):
                ask_client(stream=True)
    (found,) = rows()
    assert (found["answers"], found["unpriced"]) == (2, 1)
    assert found["usd"] > 0
    assert [message for message in caplog.messages if "unknown" in message] != []


async def _leave(how: str) -> None:
    stream = await AsyncClient().chat.completions.create("hi", stream=True)
    assert await anext(stream)
    if how == "closed":
        await stream.aclose()
        assert SpendFile().read().total("day").unpriced == 1
    elif how == "cancelled":
        task = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("how", ["closed", "cancelled", "dropped"])
def test_a_stream_that_is_left_counts_as_unknown(stand_in: StandIn, how: str) -> None:
    with stand_in(HANGING, config=DAY, openai=""):
        asyncio.run(_leave(how))
        gc.collect()
        wait_until(lambda: rows() == [row("openai", "gpt-4o-2024-11-20", 1, 1, 0)])


def test_a_plain_stream_that_is_left_counts_as_unknown(stand_in: StandIn) -> None:
    with stand_in(HANGING, config=DAY, openai=""):
        with Client().chat.completions.create("hi", stream=True) as stream:
            next(stream)
        assert rows() == [row("openai", MODEL, 1, 1, 0)]


LEFT_AT_EXIT = """
from llm_g4f import Client
stream = Client().chat.completions.create("hi", stream=True)
print(next(stream).choices[0].delta.content)
"""


def test_a_stream_that_is_open_at_exit_counts_as_unknown(endpoints: Callable[..., Path]) -> None:
    with Server(HANGING) as mine:
        endpoints(DAY, mine=mine)
        done = run_python(LEFT_AT_EXIT)
    assert (done.returncode, done.stdout) == (0, "Hel\n")
    assert "Traceback" not in done.stderr
    assert rows() == [row("mine", MODEL, 1, 1, 0)]


def test_a_price_that_cannot_be_noted_is_said(
    endpoints: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spend_file, "atomic_write", full)
    with Server(whole()) as mine:
        endpoints(DAY, mine=mine)
        assert ask_client().choices[0].message.content == "Hello"
    (said,) = caplog.messages
    assert said == (
        f"{user_file('g4f-spend.json')} cannot be written: No space left on device: the price of an"
        " answer by mine was not added to it."
    )


def test_a_rejected_request_costs_nothing_and_a_timeout_may(endpoints: Callable[..., Path]) -> None:
    with Server(http(500), [HANG]) as mine:
        path = endpoints(DAY, mine=mine)
        path.write_text(path.read_text().replace("{base_url", "{timeout: 0.3, base_url"))
        with pytest.raises(InternalServerError):
            ask_client(max_retries=0)
        assert rows() == []
        with pytest.raises(APITimeoutError):
            ask_client(max_retries=0)
        wait_until(lambda: rows() == [row("mine", "gpt-4o", 1, 1, 0)])


# What is refused.


def test_over_the_cap_the_next_one_that_takes_part_answers(
    stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9, "cost": 0.01}
    script = counted(model="openai/gpt-4o", usage=usage)
    with stand_in(script, openai="budget: {day: 2.5}", openrouter="") as server:
        spend(2.5)
        answer = ask_client()
        assert (len(server.requests), server.requests[0].headers["host"]) == (1, "openrouter.ai")
    assert answer.receipt is not None
    assert answer.receipt.to_dict()["over_budget"] == ["openai"]
    assert [attempt.provider for attempt in answer.receipt.attempts] == ["openrouter"]
    assert caplog.messages == [
        "gpt-4o answered by openai/gpt-4o (openrouter): openai not asked, because of the budget."
    ]


def test_a_spent_cap_is_no_consent_to_a_substitute(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "gsk-test-key-of-some-length")
    with stand_in(counted(), config="budget: {day: 1, month: 1.5}", openai="") as server:
        path = user_file("g4f.yaml")
        spend(0.5, 0.75, None)
        error = refused()
        assert server.requests == []
    assert error.reason == "over_budget"
    lines = str(error).splitlines()
    assert lines[:2] == [
        "No provider available for gpt-4o:",
        (
            f"  openai: over budget: $1.25 of $1.00, and the unknown price of 1 answer, spent today by all providers. To go on, raise day:"
            f" of the budget in {path}, line 1, or wait until {_tomorrow()} 00:00 UTC"
        ),
    ]
    assert lines[-1] == (
        'Not asked, although a key is set: groq. To allow it: "llm g4f enable groq".'
    )


def _tomorrow() -> str:
    return (dt.datetime.now(dt.UTC) + dt.timedelta(days=1)).date().isoformat()


def test_a_month_that_is_spent_ends_with_the_month(stand_in: StandIn) -> None:
    with stand_in(counted(), config="budget: {day: 9, month: 1}", openai=""):
        spend(1.0)
        words = str(refused())
    assert "$1.00 of $1.00 spent this month by all providers. To go on, raise month: " in words
    end = (dt.datetime.now(dt.UTC).replace(day=1) + dt.timedelta(days=32)).strftime("%Y-%m-01")
    assert f", or wait until {end} 00:00 UTC" in words


def test_a_provider_without_prices_is_refused_too(endpoints: Callable[..., Path]) -> None:
    with Server(whole()) as mine:
        endpoints(DAY, mine=mine)
        ask_client()
        spend(1.0)
        assert refused("mine").reason == "over_budget"
        assert len(mine.requests) == 1


def test_servers_on_this_machine_go_on(write_config: Write, ask: Ask) -> None:
    with Server(stream("Hello")) as server:
        own = f"base_url: '{server.url}', models: {{gpt-4o: qwen3}}"
        write_config(f"{DAY}\nproviders:\n  ollama: {{{own}}}\n  litellm: {{{own}}}")
        spend(1.0)
        assert ask("hi", provider="ollama").text == "Hello"
        # It passes prompts on, perhaps to a place that costs.
        assert refused("litellm").reason == "over_budget"
        assert [each["provider"] for each in rows()] == ["openai"]


@pytest.mark.usefixtures("real_weights")
def test_the_local_model_goes_on_where_it_takes_part(stand_in: StandIn) -> None:
    with stand_in(counted(), config=DAY, openai=""):
        spend(1.0)
        assert refused().reason == "over_budget"
        assert ask_client("openai,embedded", max_tokens=1).provider == "embedded"
    assert rows() == [row("openai", "gpt-4o", 1, 0, 1)]


@pytest.mark.usefixtures("short_pauses")
def test_the_budget_is_looked_at_when_the_turn_comes(endpoints: Callable[..., Path]) -> None:
    with Server([0.3, *http(503)]) as first, Server(whole()) as second:
        path = endpoints(first=first, second=second)
        text = path.read_text().replace(f"{second.url}'", f"{second.url}', budget: {{day: 1}}")
        path.write_text(text)
        with ThreadPoolExecutor() as executor:
            asked = executor.submit(ask_client)
            first.wait_requests()
            spend(1.0, provider="second")
            error = asked.exception()
        assert second.requests == []
    assert isinstance(error, InternalServerError)
    assert str(error).splitlines()[-1] == (
        'Not asked, because of the budget: second. To see what was spent: "llm g4f spend".'
    )


def test_a_file_that_cannot_be_read_refuses_with_its_name(
    stand_in: StandIn, endpoints: Callable[..., Path]
) -> None:
    path = Path(user_file("g4f-spend.json"))
    path.write_text("{")
    with stand_in(counted(), config=DAY, openai="") as server:
        error = refused()
        assert server.requests == []
    assert error.reason == "spend_unknown"
    assert (
        f"  openai: not asked, since what was spent of its budget is unknown: {path} cannot be read:"
        " its content is damaged. Mend the file, or delete it to begin at zero"
    ) in str(error).splitlines()


def test_a_file_that_stays_locked_refuses_with_its_name(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert spend_file.LOCK_WAIT == 2.0
    monkeypatch.setattr(spend_file, "LOCK_WAIT", 0.05)
    path = user_file("g4f-spend.json")
    with stand_in(counted(), config=DAY, openai="") as server:
        with filelock.FileLock(f"{path}.lock"):
            error = refused()
        assert f"{path} is locked by another process for 0.05 s" in str(error)
        assert server.requests == []
        ask_client()


def test_route_and_providers_show_what_is_over_budget(
    stand_in: StandIn, write_config: Write
) -> None:
    with stand_in(counted(), config=DAY, openai=""):
        spend(1.0)
        lines = ok(g4f("route", "gpt-4o"))
        assert lines[0].startswith("-  openai: over budget: $1.00 of $1.00 spent today")
        assert "No provider available for gpt-4o." in lines
        found = json.loads("\n".join(ok(g4f("route", "gpt-4o", "--json"))))
        assert found["candidates"] == []
        assert found["left_out"][0]["provider"] == "openai"
        (line,) = [line for line in ok(g4f("providers")) if "over budget" in line]
        assert line.split()[:4] == ["openai", "keyed", "yes", "yes"]


# Parallel processes.

COST = 0.01

ASK = """
import asyncio, sys
from llm_g4f import config
from llm_g4f.errors import NoProviderError
from llm_g4f.providers.base import ServedModel
from llm_g4f.providers.endpoint import Endpoint
from llm_g4f.request import ChatRequest
from llm_g4f.routing.fallback import Fallback
from tests.support.registry import GivenProviders

served = (ServedModel("openai/gpt-4o", exact=True),)
endpoint = Endpoint(name="openrouter", base_url=sys.argv[1], key=None, served=served)
registry = GivenProviders(config.load(), given={"openrouter": endpoint})
request = ChatRequest(model="gpt-4o", messages=[{"role": "user", "content": "hi"}], stream=True)

async def ask():
    for answered in range(50):
        try:
            async for _ in Fallback(request, registry):
                pass
        except NoProviderError as error:
            assert error.reason == "over_budget", error
            return answered
    return 50

print(asyncio.run(ask()))
"""


def test_parallel_processes_keep_to_one_budget_and_a_killed_one_leaves_the_file_whole(
    write_config: Write,
) -> None:
    allowed, usage = 200, {"prompt_tokens": 7, "completion_tokens": 2, "cost": COST}
    write_config(f"budget: {{day: {COST * (allowed - 0.5)}}}")
    with Server(counted(model="openai/gpt-4o", usage=usage)) as server:
        command = [sys.executable, "-c", ASK, server.url]
        workers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(8)]
        wait_until(lambda: len(server.requests) > 20, 60)
        for worker in workers[:2]:
            worker.kill()
        said = [worker.communicate(timeout=60)[0] for worker in workers]
        asked = len(server.requests)
    assert [worker.returncode for worker in workers[2:]] == [0] * 6
    (found,) = rows()
    # At most one request in flight each; of a killed process, its last answer may be lost.
    assert allowed <= found["answers"] < allowed + 8
    assert found["answers"] <= asked <= found["answers"] + 2
    assert found["usd"] == pytest.approx(found["answers"] * COST)
    assert sum(map(int, said[2:])) <= found["answers"]
