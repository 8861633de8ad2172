"""`python -m tests.fuzz [TARGET…] [--seconds N]`: search for inputs that break a promise.

Without `--seconds` the number of inputs is fixed, and so is where the search begins: some seconds for
each target.
What is found is a file in the current folder; `python -m tests.fuzz TARGET --file FILE` runs it
again. The fix comes with a case in the tests of the code that it broke.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from tests.fuzz import damaged_models
from tests.support.environment import KEY_VARIABLES

TARGETS = ("events", "responses", "config", "rows", "results", "receipts")

MODELS = "models"
"""Damages of model files, which need no atheris."""

ALL = (*TARGETS, MODELS)

ROOT = Path(__file__).parents[2]

HANG = 20
"""Seconds that one input may take, of which all take milliseconds."""

MEMORY = 1_024
"""MiB that a search may take; its inputs have a few KiB."""


def search(name: str, seconds: int | None, file: Path | None, folder: Path) -> bool:
    """Search in a process of its own, with what it needs in `folder`; whether nothing was found."""
    target = import_module(f"tests.fuzz.{name}")
    (folder / "user").mkdir()
    (folder / "inputs").mkdir()
    for number, seed in enumerate(target.SEEDS):
        (folder / "inputs" / f"{number}").write_bytes(seed)
    quoted = ["".join(f"\\x{byte:02x}" for byte in word.encode()) for word in target.WORDS]
    (folder / "words").write_text("".join(f'"{word}"\n' for word in quoted))
    length = f"-max_total_time={seconds}" if seconds else f"-runs={target.RUNS}"
    options = ["-seed=1", f"-timeout={HANG}", f"-rss_limit_mb={MEMORY}", "-print_final_stats=1"]
    options += [f"-artifact_prefix={Path.cwd()}/", "-dict=words", "inputs"]
    given = [length, *options] if file is None else [str(file.absolute())]
    environment = {key: value for key, value in os.environ.items() if key not in KEY_VARIABLES}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.search", name, *given],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Names that change would lead the search another way each time.
        cwd=folder,
        env=environment | {"LLM_USER_PATH": "user", "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"},
    )
    said = done.stdout.decode("utf-8", "replace").splitlines()
    count = next((line.split()[-1] for line in said if "number_of_executed_units" in line), "1")
    print(f"{name}: {count} inputs in {time.monotonic() - began:.0f} s", flush=True)
    if done.returncode:
        print("\n".join(said[-60:]), file=sys.stderr)
    return done.returncode == 0


def search_models(seconds: int | None) -> bool:
    """Start the local model with damaged files; whether all went well."""
    began = time.monotonic()
    try:
        starts = damaged_models.search(seconds)
    except AssertionError as error:
        print(f"{MODELS}: {error}", file=sys.stderr)
        return False
    print(f"{MODELS}: {starts} starts in {time.monotonic() - began:.0f} s", flush=True)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(ALL))
    parser.add_argument("--seconds", type=int, help="search so long for each target")
    parser.add_argument("--file", type=Path, help="run this input only")
    given = parser.parse_args()
    if unknown := set(given.targets) - {*ALL}:
        parser.error(f"unknown target {unknown.pop()!r}")
    passed = True
    for name in given.targets or ALL:
        if name == MODELS:
            passed &= search_models(given.seconds)
            continue
        with tempfile.TemporaryDirectory() as folder:
            passed &= search(name, given.seconds, given.file, Path(folder))
    sys.exit(not passed)


if __name__ == "__main__":
    main()
