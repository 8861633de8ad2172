"""`llm g4f batch` when a signal stops it, or when stderr goes away: at every stage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest

from llm_g4f.cli.interrupts import on_stop
from tests.support.batch import batch, has_lines, is_taken, lines, prompts, started, texts, write
from tests.support.server import HANG, Script, Server, http, whole
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to stop a program")

Endpoints = Callable[..., Path]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of IN and OUT, where the command runs."""
    path = tmp_path / "work"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def has_begun_to_replace() -> bool:
    return any(name.endswith(".g4f-new") for name in os.listdir())


class Stage(NamedTuple):
    """A stage of a run: how it is known, the signal that ends it there, what is said then before the
    usual line, and the rows that are asked by the same command."""

    is_reached: Callable[[Server, IO[str]], Any]
    number: signal.Signals
    said: list[str]
    left: int
    scripts: tuple[Script, ...] = (whole("a"),)


STAGES = {
    # One byte has been taken, and no row is there yet.
    "reading IN": Stage(lambda _, stdin: is_taken(stdin.fileno()), signal.SIGHUP, [], 4),
    "asking": Stage(
        *(lambda server, _: lines() == 2 and server.hanging == 2, signal.SIGINT),
        *(["2 answered, 0 failed, 18 tokens: out"], 2),
        (whole("a"), whole("b"), [HANG]),
    ),
    "waiting for a rate limit": Stage(
        *(lambda server, _: server.requests, signal.SIGTERM),
        *(["0 answered, 0 failed, 0 tokens: out"], 4),
        (http(429, "slow down", [("Retry-After", "30")]),),
    ),
    "replacing OUT": Stage(lambda *_: has_begun_to_replace(), signal.SIGTERM, [], 0),
}


@pytest.mark.parametrize("name", STAGES)
def test_a_signal_stops_at_once_and_the_same_command_resumes(
    name: str, endpoints: Endpoints
) -> None:
    stage = STAGES[name]
    write("in.jsonl", *prompts(4))
    if name == "replacing OUT":
        failed = {"id": 0, "error": {"type": "APIError", "message": "no"}}
        write("out", failed, *({"id": id, "text": "old"} for id in range(30_000)))
    command = ("out", "-m", "gpt-4o", "--concurrency", "2")
    source = "-" if name == "reading IN" else "in.jsonl"
    with Server(*stage.scripts) as server:
        endpoints(box=server)
        with started(source, *command, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            process.stdin.write("{")
            process.stdin.flush()
            wait_until(partial(stage.is_reached, server, process.stdin))
            before = Path("out").read_bytes() if Path("out").exists() else b""
            process.send_signal(stage.number)
            # Only then its stdin ends: what was read of it could be a row.
            process.wait(20)
            _, stderr = process.communicate()
        server.wait_closed(server.connections)
    assert stderr.splitlines() == [*stage.said, "Stopped. Run the same command to resume."]
    assert process.returncode == 128 + stage.number
    assert {*os.listdir()} <= {"in.jsonl", "out"}
    assert not before or Path("out").read_bytes() == before
    with Server(whole("new")) as server:
        endpoints(box=server)
        batch("in.jsonl", *command)
    assert len(server.requests) == stage.left
    assert texts().keys() >= set(range(4))


@contextmanager
def closing_pipe() -> Iterator[tuple[int, Callable[[], None]]]:
    reader, writer = os.pipe()
    yield writer, partial(os.close, reader)
    os.close(writer)


@contextmanager
def closing_terminal() -> Iterator[tuple[int, Callable[[], None]]]:
    leader, terminal = os.openpty()
    yield terminal, partial(os.close, leader)
    os.close(terminal)


@pytest.mark.parametrize("stderr", [closing_pipe, closing_terminal])
def test_a_run_goes_on_when_stderr_goes_away(
    stderr: Callable[[], Any], endpoints: Endpoints
) -> None:
    write("in.jsonl", *prompts(4))
    with Server(whole("a"), [0.3, *whole("b")]) as server, stderr() as (file, close):
        endpoints(box=server)
        with started("in.jsonl", "out", "-m", "gpt-4o", stderr=file) as process:
            wait_until(partial(has_lines, 1))
            close()
            assert process.wait(20) == 0
    assert len(texts()) == 4


def test_closed_standard_streams_are_never_files_of_the_run(endpoints: Endpoints) -> None:
    write("in.jsonl", *prompts(2))
    with Server(whole("a")) as server:
        endpoints(box=server)
        command = [sys.executable, "-m", "llm", "g4f", "batch", "in.jsonl", "out", "-m", "gpt-4o"]
        closed = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command]
        assert subprocess.run(closed, check=False, timeout=20).returncode == 0
    assert [json.loads(line)["text"] for line in Path("out").read_text().splitlines()] == ["a"] * 2


def test_an_ignored_signal_stays_ignored() -> None:
    """As under nohup."""
    came: list[int] = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with on_stop(came.append):
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert came == [signal.SIGTERM]
