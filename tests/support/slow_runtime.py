"""A runtime of local models that takes its time to load one."""

from __future__ import annotations

from pathlib import Path

from llm_g4f.local.runtime import library

_WAITING = """
import sys, time
from pathlib import Path

here = Path(__file__).parents[1]
while not (here / "go").exists():
    time.sleep(0.005)
sys.path[sys.path.index(str(here))] = {real!r}
del sys.modules["xllamacpp"]
import xllamacpp
"""

PRELUDE = """
from pathlib import Path
from llm_g4f.local import server, start
start.library = server.library = lambda: Path({folder!r})
"""
"""Code for a program that uses the runtime in `folder`."""


def slow_runtime(folder: Path) -> Path:
    """A library that is the real one once a file "go" lies in `folder`."""
    (folder / "xllamacpp").mkdir(parents=True)
    (folder / "xllamacpp" / "__init__.py").write_text(_WAITING.format(real=str(library())))
    return folder
