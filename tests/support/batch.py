"""`llm g4f batch` in the current folder: its rows, its results, its process."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlite_utils
from click.testing import Result

from tests.support.commands import g4f
from tests.support.server import Server


def batch(*args: str, code: int = 0) -> Result:
    """`llm g4f batch …` in this process, ending with `code`."""
    result = g4f("batch", *args)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def write(name: str, *rows: Any) -> str:
    """Write rows as JSON Lines, text as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    Path(name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return name


def prompts(count: int) -> list[dict[str, Any]]:
    return [{"id": number, "prompt": f"prompt {number}"} for number in range(count)]


def read(name: str = "out") -> dict[str | int, Any]:
    """The results by their ids, each of which is there once."""
    found = [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]
    assert len({str(one["id"]) for one in found}) == len(found)
    return {one["id"]: one for one in found}


def texts(name: str = "out") -> dict[str | int, str | None]:
    """The answers' texts by their ids; None for an error."""
    return {id: one.get("text") for id, one in read(name).items()}


def asked(server: Server) -> list[Any]:
    """The last message of each request."""
    return [request.json["messages"][-1]["content"] for request in server.requests]


@contextlib.contextmanager
def started(*args: str, **kwargs: Any) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own. As with `llm`, no module of the current folder is imported."""
    kwargs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | kwargs
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "llm", "g4f", "batch", *args], **kwargs
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def lines(name: str = "out") -> int:
    return Path(name).read_bytes().count(b"\n") if Path(name).exists() else 0


def has_lines(count: int) -> bool:
    return lines() >= count


def logged(user_path: Path) -> list[dict[str, Any]]:
    with contextlib.closing(sqlite_utils.Database(user_path / "logs.db")) as database:
        return list(database["turns"].rows)


def is_taken(pipe: int) -> bool:
    """Whether the other side has read all that was written."""
    import fcntl
    import termios

    waiting = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    return not int.from_bytes(waiting, sys.byteorder)
