"""Run fetch_child.py: its progress, its end."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import load as load_config

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

_SCRIPT = str(Path(__file__).with_name("fetch_child.py"))

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)

_POLL = 0.05
"""Seconds between two looks at the progress."""


class Silent(Exception):
    """The child made no progress for too long, and was ended."""


def environment_without_keys(**more: str) -> dict[str, str]:
    """The environment without variables that hold a key or may hold one, and with `more`."""
    named = {provider.key_env for provider in load_config().providers.values()}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in named and not _SECRET.search(name)
    }
    return {**kept, **more}


async def run_child(
    *arguments: str,
    folder: Path,
    environment: dict[str, str],
    bar: ProgressBar[int],
    done: Callable[[], int],
    patience: float | None = None,
) -> tuple[int, str, str]:
    """Run fetch_child.py in an empty folder within `folder`. Returns its exit code, stdout and stderr.

    `done` counts the bytes that are there, for the bar. Without more of them for `patience` seconds
    while any are missing, raises `Silent`. If cancelled, or in case of an error, the child is ended.
    """
    empty = folder / "empty"
    empty.mkdir(mode=0o700)
    out, err = folder / "stdout", folder / "stderr"
    with out.open("wb") as output, err.open("wb") as errors, bar:
        process = subprocess.Popen(
            [sys.executable, "-P", _SCRIPT, *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=errors,
            env=environment,
            cwd=empty,
        )
        try:
            await _watch(process, bar, done, patience)
        finally:
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
        if process.returncode == 0 and bar.length is not None:
            bar.update(bar.length - bar.pos)
    return (
        process.returncode,
        out.read_text(encoding="utf-8", errors="replace"),
        err.read_text(encoding="utf-8", errors="replace"),
    )


async def _watch(
    process: subprocess.Popen[bytes],
    bar: ProgressBar[int],
    done: Callable[[], int],
    patience: float | None,
) -> None:
    changed = time.monotonic()
    while process.poll() is None:
        await asyncio.sleep(_POLL)
        more = done() - bar.pos
        if more:
            changed = time.monotonic()
        if more > 0:
            bar.update(more)
        waiting = not bar.length or bar.pos < bar.length
        if patience is not None and waiting and time.monotonic() - changed > patience:
            raise Silent
