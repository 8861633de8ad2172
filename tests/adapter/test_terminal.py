"""What stands on a terminal besides the answer: the notice, and the error behind a partial answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_g4f.adapter import terminal
from llm_g4f.routing.notices import announce
from tests.support.commands import Run
from tests.support.forked import Forks
from tests.support.server import RESET, SSE_HEAD, Script, Server, chunk, event, framed, stream
from tests.support.terminal import on_terminal

BROKEN: Script = [SSE_HEAD, framed(event(chunk("Half an "))), 0.05, RESET]
NOTICE = 'gpt-4o answered by llama (mybox): a substitute. "llm g4f route gpt-4o" shows why.'
MAPPED = "providers:\n  mybox: {{base_url: '{url}', models: {{gpt-4o: llama}}}}\n"


@pytest.mark.parametrize("how", [(), ("--async",)], ids=["sync", "async"])
def test_an_error_after_partial_text_has_its_own_line(
    endpoints: Callable[..., Path], forks: Forks | None, how: tuple[str, ...]
) -> None:
    with Server(BROKEN) as server:
        endpoints(mybox=server)
        shown = on_terminal(forks, ["-m", "gpt-4o", "hi", *how])
    assert shown.code == 1
    assert shown.lines[0] == "Half an"
    assert shown.lines[1].startswith("Error: mybox: the connection broke off")


def test_an_error_has_no_blank_line_before_it_without_partial_text(
    endpoints: Callable[..., Path], forks: Forks | None
) -> None:
    ended: Script = [SSE_HEAD, framed(event(chunk("A line.\n"))), 0.05, RESET]
    with Server(ended) as server:
        endpoints(mybox=server)
        shown = on_terminal(forks, ["-m", "gpt-4o", "hi"])
    assert shown.lines[0] == "A line."
    assert shown.lines[1].startswith("Error: ")


def test_the_notice_is_dim_on_a_terminal(
    write_config: Callable[[str], Path], forks: Forks | None
) -> None:
    with Server(stream("Hello", model="llama")) as server:
        write_config(MAPPED.format(url=server.url))
        shown = on_terminal(forks, ["-m", "gpt-4o", "hi"])
        plain = on_terminal(forks, ["-m", "gpt-4o", "hi"], env={"NO_COLOR": "1"})
    assert shown.raw == f"\x1b[2m{NOTICE}\x1b[0m\nHello\n"
    assert plain.raw == f"{NOTICE}\nHello\n"


def test_the_notice_is_plain_in_a_pipe(write_config: Callable[[str], Path], run_llm: Run) -> None:
    with Server(stream("Hello", model="llama")) as server:
        write_config(MAPPED.format(url=server.url))
        assert run_llm("-m", "gpt-4o", "hi").stderr == f"{NOTICE}\n"


def test_a_program_that_has_set_up_logging_shows_notices_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.show_notices()
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    announce("one", in_answer=True)
    assert capsys.readouterr().err == "one\n"
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.NullHandler()])
    announce("two")
    assert capsys.readouterr().err == ""


def test_the_record_of_a_notice_has_no_style(
    caplog: pytest.LogCaptureFixture,
) -> None:
    terminal.show_notices()
    announce("cut", in_answer=True)
    assert caplog.record_tuples == [("llm_g4f", logging.WARNING, "cut")]
