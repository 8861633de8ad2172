"""`llm g4f`: help, an invalid configuration, `path`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import Run, failed, g4f, ok


def test_help_lists_the_commands(run_llm: Run) -> None:
    done = run_llm("g4f", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("local", "path", "route"):
        assert f"\n  {name} " in done.stdout


def test_an_unknown_command_is_an_error() -> None:
    result = g4f("nosuch")
    assert result.exit_code == 2
    assert "No such command 'nosuch'" in result.stderr


def test_path(user_path: Path) -> None:
    assert ok(g4f("path")) == [str(user_path / "g4f.yaml")]


def test_path_while_the_file_is_invalid(write_config: Callable[[str], Path]) -> None:
    path = write_config("nonsense: 1")
    assert ok(g4f("path")) == [str(path)]


@pytest.mark.parametrize("command", [["route", "gpt-4o"], ["providers"], ["local", "status"]])
def test_every_command_reports_an_invalid_configuration(
    write_config: Callable[[str], Path], command: list[str]
) -> None:
    path = write_config("takeover: true\nsubstitute: false\n")
    said = failed(g4f(*command))
    assert said.startswith(f"{path}, line 2: unknown key 'substitute'")


def test_help_of_a_command_needs_no_configuration(write_config: Callable[[str], Path]) -> None:
    write_config("nonsense: 1\n")
    assert ok(g4f("route", "--help"))[0].startswith("Usage: ")
