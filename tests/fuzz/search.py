"""One target under atheris: `python -m tests.fuzz.search TARGET` and libFuzzer's arguments.

`tests.fuzz` starts it, in an environment of its own.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import atheris


def main() -> None:
    name = sys.argv.pop(1)
    # No file here has to survive a power cut.
    os.fsync = lambda fd: None
    with atheris.instrument_imports(include=["llm_g4f"]):
        target = import_module(f"tests.fuzz.{name}")
        # What is imported on first use has to be instrumented, too.
        for seed in target.SEEDS:
            target.run(seed)
    atheris.Setup(sys.argv, target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
