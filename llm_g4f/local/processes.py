"""Run fetch_child.py: its progress, its end, its result."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ..config import load as load_config
from ..safe_text import clean
from .errors import WeightsError, disk_full
from .records import Identity

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

_SCRIPT = str(Path(__file__).with_name("fetch_child.py"))

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)

_POLL = 0.05
"""Seconds between two looks at the progress."""


class Silent(Exception):
    """The child made no progress for too long, and was ended."""


class Fetched(Struct, frozen=True):
    """A fetched file, checked. `was_there`: it was in the hub's cache already. `blob` is the file that
    `path` links to there."""

    path: str
    was_there: bool = False
    blob: str | None = None
    sha256: str | None = None
    identity: Identity | None = None


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
    kind: str,
    job: dict[str, Any],
    *,
    folder: Path,
    environment: dict[str, str],
    bar: ProgressBar[int],
    done: Callable[[], int],
    patience: float | None = None,
) -> tuple[dict[str, Any], str]:
    """Run fetch_child.py in an empty folder within `folder`. Returns its result, and all that it wrote.

    `done` counts the bytes that are there, for the bar. Without more of them for `patience` seconds
    while any are missing, raises `Silent`. If cancelled, or in case of an error, the child is ended.
    """
    empty = folder / "empty"
    empty.mkdir(mode=0o700, exist_ok=True)
    out, err = folder / "stdout", folder / "stderr"
    with out.open("wb") as output, err.open("wb") as errors, bar:
        process = subprocess.Popen(
            [sys.executable, "-P", _SCRIPT, kind, str(folder), json.dumps(job)],
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
    said, complaints = (path.read_text(encoding="utf-8", errors="replace") for path in (out, err))
    try:
        result = json.loads(said.rstrip().rpartition("\n")[2])
    except ValueError:
        lines = complaints.strip().splitlines() or [f"exit code {process.returncode}"]
        result = {"error": "failed", "words": lines[-1]}
    return result, said + complaints


def failed_to_write(
    result: dict[str, Any], name: str, place: Path, variable: str
) -> WeightsError | None:
    """The error for a child that could not write the model `name`; None if that was no problem.
    `variable` chooses another place."""
    if result["error"] == "disk":
        return disk_full(name, place, variable)
    if result["error"] == "file":
        return WeightsError(f"{name} cannot be written to {clean(result['words'])}.")
    return None


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
