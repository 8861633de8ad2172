"""The line that says who answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_g4f.client import AsyncClient
from llm_g4f.reason import SUMMARIES
from llm_g4f.receipt import Attempt, Receipt
from llm_g4f.routing.notices import announce, ending_of, notice_of
from tests.support.prompts import Ask, ask_async, ask_sync
from tests.support.server import Server, http, stream, whole

FOR_BETTER = ' A small model that gets facts wrong; "llm g4f setup" for better.'
SHOWS_WHY = ' "llm g4f route gpt-4o" shows why.'


def receipt(*attempts: Attempt, **fields: Any) -> Receipt:
    given: dict[str, Any] = {
        "provider": "mine",
        "model": "gpt-4o",
        "exact": True,
        "attempts": attempts,
    }
    return Receipt("gpt-4o", **(given | fields))


OK = Attempt("mine", "gpt-4o", "ok", 200)
REPAIRED = Attempt("mine", "gpt-4o", "BadRequestError", 400, "No")
LIMITED = Attempt("openai", "gpt-4o", "RateLimitError", 429, "Slow down")
STALE = Attempt("mine", "gpt-4o", "APIConnectionError", summary=SUMMARIES["stale_connection"])
REFUSED = Attempt("openai", "gpt-4o", "APIConnectionError")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (receipt(OK), None),
        (receipt(), None),
        (receipt(REPAIRED, OK), None),
        (receipt(STALE, OK), None),
        (
            receipt(Attempt("openai", "gpt-4o", STALE.outcome, summary=STALE.summary), OK),
            "gpt-4o answered by gpt-4o (mine): openai failed (a kept connection was closed).",
        ),
        (
            receipt(REPAIRED, OK, omitted=("seed",)),
            "gpt-4o answered by gpt-4o (mine): without seed, which it does not take.",
        ),
        (
            receipt(Attempt("mine", "gpt-4o", "NotFoundError", 400), OK),
            "gpt-4o answered by gpt-4o (mine): mine failed (no such model, HTTP 400).",
        ),
        (
            receipt(Attempt("openai", "gpt-4o", "BadRequestError", 400), OK),
            "gpt-4o answered by gpt-4o (mine): openai failed (the request was rejected, HTTP 400).",
        ),
        (
            Receipt("gpt-4o", "embedded", "smollm2-135m-instruct"),
            "gpt-4o answered by smollm2-135m-instruct (embedded): a substitute." + FOR_BETTER,
        ),
        (
            receipt(LIMITED, OK),
            "gpt-4o answered by gpt-4o (mine): openai failed (rate limit, HTTP 429).",
        ),
        (
            receipt(REFUSED, REFUSED, LIMITED, OK),
            (
                "gpt-4o answered by gpt-4o (mine): openai failed (no connection);"
                " openai failed (rate limit, HTTP 429)."
            ),
        ),
        (
            receipt(OK, omitted=("logit_bias", "tools")),
            "gpt-4o answered by gpt-4o (mine): without logit_bias, tools, which it does not take.",
        ),
        (
            receipt(LIMITED, OK, exact=False, model="llama", omitted=("user",)),
            "gpt-4o answered by llama (mine): a substitute; openai failed (rate limit,"
            " HTTP 429); without user, which it does not take." + SHOWS_WHY,
        ),
    ],
)
def test_notice_of(given: Receipt, expected: str | None) -> None:
    assert notice_of(given) == expected


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("length", "max_tokens"),
        ("content_filter", "content filter"),
        ("stop", None),
        ("tool_calls", None),
        ("", None),
        (None, None),
    ],
)
def test_ending_of(reason: str | None, words: str | None) -> None:
    said = ending_of(reason)
    assert (said is None) if words is None else (said is not None and words in said)


def test_announce_does_not_format(caplog: pytest.LogCaptureFixture) -> None:
    announce("100 % of %s")
    assert caplog.record_tuples == [("llm_g4f", logging.WARNING, "100 % of %s")]


Endpoints = Callable[..., Path]


def ask(**options: Any) -> None:
    async def main() -> None:
        if options.get("stream"):
            async for _ in AsyncClient().chat.completions.create("hi", **options):
                pass
        else:
            await AsyncClient().chat.completions.create("hi", **options)

    asyncio.run(main())


@pytest.mark.parametrize("streamed", [False, True])
def test_a_fallback_is_announced_once(
    endpoints: Endpoints, caplog: pytest.LogCaptureFixture, streamed: bool
) -> None:
    answer = stream("Hel", "lo") if streamed else whole()
    with Server(http(429), answer) as first, Server(answer) as second:
        endpoints(first=first, second=second)
        ask(stream=streamed)
        assert [record.getMessage() for record in caplog.records] == [
            "gpt-4o answered by gpt-4o-2024-11-20 (second): first failed (rate limit, HTTP 429)."
        ]
        caplog.clear()
        ask(stream=streamed)
        assert [record.getMessage() for record in caplog.records] == []


def test_a_substitute_is_announced_before_the_first_chunk(
    write_config: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    with Server(stream("Hi", model="llama")) as server:
        write_config(
            f"providers: {{mine: {{base_url: '{server.url}', models: {{gpt-4o: llama}}}}}}"
        )

        async def main() -> None:
            async for _ in AsyncClient().chat.completions.create("hi", stream=True):
                assert [record.getMessage() for record in caplog.records] == [
                    "gpt-4o answered by llama (mine): a substitute." + SHOWS_WHY
                ]

        asyncio.run(main())


def test_notice_false_silences_the_line_and_keeps_the_receipt(
    write_config: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    with Server(whole(model="llama")) as server:
        write_config(
            "notice: false\n"
            f"providers: {{mine: {{base_url: '{server.url}', models: {{gpt-4o: llama}}}}}}"
        )

        async def main() -> None:
            answer = await AsyncClient().chat.completions.create("hi")
            assert answer.receipt.exact is False
            assert answer.receipt.provider == "mine"

        asyncio.run(main())
    assert caplog.records == []


LONG = f"/models/{'very-' * 20}long.gguf"


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("qwen3:8b", "qwen3:8b"),
        ("llama\nError: all is lost\x1b[31m", "llama Error: all is lost\\x1b[31m"),
        (LONG, f"{LONG[:79]}…"),
    ],
)
def test_the_answers_model_is_the_same_in_receipt_log_and_notice(
    model: str,
    shown: str,
    streaming: bool,
    prompted: Ask,
    endpoints: Endpoints,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers = stream("Hi", model=model) if streaming else whole("Hi", model=model)
    with Server(answers, models=http(200, {"data": [{"id": "listed"}]})) as server:
        endpoints(box=server)
        answer = prompted("hi", stream=streaming)
    assert server.requests[0].json["model"] == "listed"
    assert answer.receipt["model"] == answer.json["model"] == shown
    assert answer.receipt["attempts"][-1]["model"] == shown
    assert answer.resolved == f"box/{shown}"
    assert caplog.messages == [f"gpt-4o answered by {shown} (box): a substitute.{SHOWS_WHY}"]


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def prompted(request: pytest.FixtureRequest) -> Ask:
    """Prompt llm's model; `ask` is another function here."""
    asked: Ask = request.param
    return asked
