"""`llm g4f batch`: rows of OpenAI's batch files, rows without id that change, and the bar's end."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import llm
import pytest

from llm_g4f.batch.job import Progress
from llm_g4f.cli.progress import ProgressBar
from tests.support.batch import asked, batch, read, texts, write
from tests.support.commands import failed
from tests.support.server import Script, Server, http, whole

Serve = Callable[..., Server]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of IN and OUT, where the command runs."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def serve(endpoints: Callable[..., Path]) -> Iterator[Serve]:
    """A server as the only provider."""
    with ExitStack() as stack:

        def started(*scripts: Script) -> Server:
            server = stack.enter_context(Server(*scripts))
            endpoints(box=server)
            return server

        yield started


def openai_row(id: str, **body: Any) -> dict[str, Any]:
    message = {"role": "user", "content": f"prompt {id}"}
    return {
        "custom_id": id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o-mini", "messages": [message], "max_tokens": 5} | body,
    }


@pytest.mark.parametrize("name", ["in.jsonl", "in.json"])
def test_rows_of_openais_batch_files(serve: Serve, name: str) -> None:
    # llm's default, which is another plugin's, is of no consequence: each row names its model.
    llm.set_default_model("echo")
    server = serve(whole("hi"))
    rows = [openai_row("a"), openai_row("b", stream=True)]
    rows.append(openai_row("c") | {"url": "/v1/embeddings"})
    if name == "in.json":
        Path(name).write_text(json.dumps(rows))
    else:
        write(name, *rows)
    batch(name, "out", code=1)
    found = read()
    assert (found["a"]["text"], found["b"]["text"]) == ("hi", "hi")
    third = next(one for id, one in found.items() if id not in ("a", "b"))
    assert third["error"]["message"] == (
        "Invalid row: its url is /v1/embeddings, and only /v1/chat/completions is supported."
    )
    assert {request.json["model"] for request in server.requests} == {"gpt-4o-mini"}
    assert sorted(asked(server)) == ["prompt a", "prompt b"]


def test_a_default_of_another_plugin_is_an_error_only_where_a_row_needs_it(
    serve: Serve,
) -> None:
    llm.set_default_model("echo")
    serve(whole("hi"))
    said = failed(batch(write("in.jsonl", {"prompt": "a"}), "out", code=1))
    assert said == (
        "llm's default model echo is another plugin's, and a row names no model: -m gpt-4o.\n"
    )


def test_a_line_end_in_a_cell_stays_as_it_is(serve: Serve) -> None:
    server = serve(whole("hi"))
    Path("in.csv").write_bytes(b'id,prompt\r\n1,"one\r\ntwo"\r\n2,"three\nfour"\r\n3,five\r\n')
    batch("in.csv", "out", "-m", "gpt-4o")
    assert sorted(asked(server)) == ["five", "one\r\ntwo", "three\nfour"]


def test_a_row_without_an_id_that_has_changed_is_asked_again(serve: Serve) -> None:
    server = serve(whole("hi"))
    command = ("in.jsonl", "out", "-m", "gpt-4o")
    write("in.jsonl", {"prompt": "a"}, {"prompt": "b"}, {"id": "x", "prompt": "c"})
    batch(*command)
    write("in.jsonl", {"prompt": "a"}, {"prompt": "B"}, {"id": "x", "prompt": "C"})
    dry = batch(*command, "--dry-run")
    assert "1 have changed since their answer, and are asked again" in dry.stdout
    again = batch(*command)
    assert "1 answered, 0 failed" in again.stderr
    assert "1 had changed since their answer, asked again" in again.stderr
    assert asked(server)[3:] == ["B"]
    assert set(read()) == {1, 2, "x"}
    assert batch(*command).stderr.startswith("0 answered")


def test_the_answer_to_a_changed_row_stays_until_there_is_a_new_one(
    serve: Serve,
) -> None:
    serve(whole("old"), http(400, {"error": {"message": "No."}}), whole("new"))
    command = ("in.jsonl", "out", "-m", "gpt-4o")
    write("in.jsonl", {"prompt": "a"})
    batch(*command)
    write("in.jsonl", {"prompt": "b"})
    batch(*command, code=1)
    assert '"text":"old"' in Path("out").read_text()
    batch(*command)
    assert texts() == {1: "new"}


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_of_a_limited_run_is_full_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = _Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    seen = Progress(rows_read=10, bytes_read=100, answered=5)
    with ProgressBar(1_000, limit=10) as bar:
        bar._draw(seen, time.monotonic())
        assert " 50%" in screen.getvalue()
        assert " 100%" not in screen.getvalue()
        bar.finish(seen)
    assert " 100%" in screen.getvalue()
