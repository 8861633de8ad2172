"""Prompts that a server cut: known by its usage, and said in the receipt and on stderr."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_g4f.client import AsyncClient, Client
from llm_g4f.request import ChatRequest
from llm_g4f.routing.prompt_size import cut_warning
from llm_g4f.types import Usage
from tests.support.commands import Run
from tests.support.prompts import Ask
from tests.support.server import Script, Server, chunk, completion, events, http

ENGLISH = "The quick brown fox jumps over the lazy dog. " * 1_000
"""9,000 words; some 10,000 tokens."""


def usage(tokens: int, cached: int | None = None) -> Usage:
    details = None if cached is None else {"cached_tokens": cached}
    return Usage(tokens, 5, tokens + 5, details)


@pytest.mark.parametrize(
    ("content", "tokens", "cut"),
    [
        (ENGLISH, 10_001, False),
        (ENGLISH, 6_750, False),
        (ENGLISH, 6_749, True),
        (ENGLISH, 4_096, True),
        (ENGLISH, 2_050, True),
        # Proxies that count nothing.
        (ENGLISH, 0, False),
        ("one " * 999, 7, False),
        ("one " * 1_000, 7, True),
        # What one token may be, however long.
        (" " * 100_000, 30, False),
        ("\n \t" * 100_000, 30, False),
        ("-" * 100_000, 30, False),
        ("a" * 100_000, 30, False),
        ("天気がいい" * 10_000, 9_000, False),
        ("a " * 9_000, 9_000, False),
        ([{"type": "text", "text": ENGLISH}], 2_050, True),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}], 7, False),
        (None, 7, False),
    ],
)
def test_far_below_what_was_sent(content: Any, tokens: int, cut: bool) -> None:
    request = ChatRequest(model="m", messages=[{"role": "user", "content": content}])
    assert (cut_warning("a", request, usage(tokens)) is not None) == cut


def test_cached_tokens_and_thoughts_of_earlier_turns_are_no_cut() -> None:
    request = ChatRequest(model="m", messages=[{"role": "user", "content": ENGLISH}])
    assert cut_warning("a", request, usage(50, cached=9_990)) is None
    assert cut_warning("a", request, usage(50, cached=50)) is not None
    thoughts = {"role": "assistant", "content": f"<think>{ENGLISH}</think>Yes."}
    request = ChatRequest(model="m", messages=[thoughts, {"role": "user", "content": "hi"}])
    assert cut_warning("a", request, usage(50)) is None


COUNTED = {"prompt_tokens": 2_050, "completion_tokens": 2, "total_tokens": 2_052}

CUT = (
    "ollama counted 2,050 tokens in a prompt of 9,000 words: it has read only a part. Raise its"
    " context window (Ollama: OLLAMA_CONTEXT_LENGTH), or name a provider with a larger one."
)


def cutting(streamed: bool) -> Script:
    if not streamed:
        return http(200, completion("Hello", model="gpt-4o") | {"usage": COUNTED})
    return events(chunk("Hel"), chunk("lo"), chunk(finish="stop"), chunk(usage=COUNTED), "[DONE]")


@pytest.fixture
def ollama(write_config: Callable[[str], Path]) -> Callable[..., Path]:
    def write(server: Server, extra: str = "") -> Path:
        model = "{gpt-4o: {id: llama, exact: true}}"
        return write_config(
            f"{extra}\nproviders: {{ollama: {{enabled: true, base_url: '{server.url}',"
            f" models: {model}}}}}"
        )

    return write


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("notice", [True, False])
def test_a_cut_prompt_through_the_clients(
    streamed: bool, notice: bool, ollama: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    async def stream() -> Any:
        pending = AsyncClient().chat.completions.create(ENGLISH, stream=True)
        return [one async for one in pending][-1].receipt

    with Server(cutting(streamed)) as server:
        ollama(server, "" if notice else "notice: false")
        caplog.set_level(logging.WARNING)
        if streamed:
            receipts = [
                [one.receipt for one in Client().chat.completions.stream(ENGLISH)][-1],
                asyncio.run(stream()),
            ]
        else:
            create = Client().chat.completions.create
            receipts = [create(ENGLISH).receipt, create("hi").receipt]
    said = [record.getMessage() for record in caplog.records]
    warnings = [receipt.warnings for receipt in receipts if receipt is not None]
    assert warnings == ([[CUT], [CUT]] if streamed else [[CUT], []])
    assert said == ([CUT] * (1 + streamed) if notice else [])
    assert receipts[0] is not None
    assert receipts[0].to_dict()["warnings"] == [CUT]


def test_a_cut_prompt_through_llm(
    ask: Ask, ollama: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    with Server(cutting(streamed=True)) as server:
        ollama(server)
        answer = ask(ENGLISH)
    assert answer.receipt["warnings"] == [CUT]
    assert [record.getMessage() for record in caplog.records] == [CUT]


def test_a_cut_prompt_on_the_command_line(ollama: Callable[..., Path], run_llm: Run) -> None:
    with Server(cutting(streamed=True)) as server:
        ollama(server)
        done = run_llm("-m", "gpt-4o", input=ENGLISH)
        assert (done.returncode, done.stdout, done.stderr) == (0, "Hello\n", f"{CUT}\n")
        logged = json.loads(run_llm("logs", "-n", "1", "--json").stdout)
        assert logged[0]["response_json"]["g4f"]["warnings"] == [CUT]
        assert run_llm("g4f", "stats").returncode == 0
        ollama(server, "notice: false")
        assert run_llm("-m", "gpt-4o", input=ENGLISH).stderr == ""


def test_a_cut_prompt_in_a_batch(ollama: Callable[..., Path], run_llm: Run, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"id": "a", "prompt": ENGLISH}))
    with Server(cutting(streamed=False)) as server:
        ollama(server)
        out = tmp_path / "out.jsonl"
        run_llm("g4f", "batch", str(tmp_path / "in.jsonl"), str(out), "-m", "gpt-4o")
    [row] = [json.loads(line) for line in out.read_text().splitlines()]
    assert row["receipt"]["warnings"] == [CUT]
