"""`add` and `enable` say that a route in g4f.yaml does not name the new provider, and offer to add it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import g4f, ok
from tests.support.forked import Forks
from tests.support.server import Server, http

Write = Callable[[str], Path]

BEFORE = """\
providers:
  a: {base_url: 'http://127.0.0.1:9/v1'}
routes:
  gpt-4o: [a/x]
  gpt-4*:
  - a
  - ovh
"""


def test_add_and_enable_say_how_to_name_it_in_the_route(write_config: Write) -> None:
    path = write_config(BEFORE)
    with Server(models=http(404)) as server:
        said = g4f("add", "box", server.url).stdout.splitlines()
    assert said[-4:] == [
        "The route of gpt-4o in g4f.yaml (line 6) does not name box, so box is not asked there.",
        "To add it: gpt-4o: [a/x, box]",
        "The route of gpt-4* in g4f.yaml (line 7) does not name box, so box is not asked there.",
        "To add it: gpt-4*: [a, ovh, box]",
    ]
    said = ok(g4f("enable", "ovh"))
    assert [line for line in said if "route of" in line] == [
        "The route of gpt-4o in g4f.yaml (line 8) does not name ovh, so ovh is not asked there."
    ]
    assert path.read_text().endswith(BEFORE.partition("routes:")[2])


def test_without_routes_nothing_is_said_of_them(write_config: Write) -> None:
    write_config("providers: {a: {base_url: 'http://127.0.0.1:9/v1'}}")
    assert "route" not in g4f("enable", "ovh").output


@pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals here")
def test_on_a_terminal_it_offers_to_add_it(write_config: Write, forks: Forks | None) -> None:
    from tests.support.terminal import on_terminal

    path = write_config(BEFORE)
    typed = [("route? [y/N]: ", "y\n"), ("route? [y/N]: ", "n\n")]
    shown = on_terminal(forks, ["g4f", "enable", "vllm"], typed=typed)
    assert shown.code == 0
    assert "Add vllm at the end of that route?" in shown.text
    assert path.read_text() == BEFORE.replace("[a/x]", "[a/x, vllm]").replace(
        "routes:", "  vllm:\n    enabled: true\nroutes:"
    )
