"""`llm`, `llm g4f` and Python programs: how tests run them, and how they end."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import llm
from click.testing import CliRunner, Result
from llm.cli import cli

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# The signal is set anew: where tests run in the background it is ignored, and that is inherited.
INTERRUPTIBLE = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    " runpy.run_module('llm', run_name='__main__', alter_sys=True)"
)


@contextmanager
def closing_databases() -> Iterator[None]:
    """Close the databases that are opened within: llm leaves its own to the garbage collector."""
    connect = sqlite3.connect
    opened: list[sqlite3.Connection] = []

    def recorded(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        opened.append(connect(*args, **kwargs))
        return opened[-1]

    with patch.object(sqlite3, "connect", recorded):
        yield
    for database in opened:
        database.close()


def llm_command(*args: str, color: bool = False) -> Result:
    """`llm …` in this process."""
    with closing_databases():
        return CliRunner().invoke(cli, args, color=color)


def g4f(*args: str) -> Result:
    """`llm g4f …` in this process."""
    llm.get_models_with_aliases()
    return CliRunner().invoke(cli, ["g4f", *args])


def ok(result: Result) -> list[str]:
    """The lines it printed, having succeeded without a word on stderr."""
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout.splitlines()


def failed(result: Result) -> str:
    """The last line of a command that failed as llm's commands do."""
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    _, found, said = f"\n{result.stderr}".partition("\nError: ")
    assert found
    return said


STRICT = ("-X", "dev", "-W", "error")
"""Options of Python: with them, every warning ends a program."""


def run_python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
