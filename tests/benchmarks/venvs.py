"""A virtual environment for each client, created once with the newest releases."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

__all__ = ["PEERS", "Unavailable", "Venvs"]

PEERS = {
    "openai": "openai",
    "g4f": "g4f",
    "litellm": "litellm",
    "anyllm": "any-llm-sdk[openai]",
    "httpx": "httpx",
    "aiohttp": "aiohttp",
}
"""Requirements for pip by the name of the client's module."""

_COMPLETE = "complete"


class Unavailable(Exception):
    """A measurement is impossible; the message says why."""


class Venvs:
    """The environments in `cache`; `checkout` is the source tree of the llm-g4f to measure."""

    def __init__(self, cache: Path, checkout: Path) -> None:
        self.cache = cache
        self.checkout = checkout

    def python(self, name: str) -> Path:
        """The Python that runs client `name`: `floor`, `ours` or one of `PEERS`. Raises `Unavailable`."""
        if name == "floor":
            return self._created("floor", ())
        if name == "ours":
            return self.ours()
        return self._created(name, (PEERS[name],))

    def ours(self) -> Path:
        # For the dependencies: PYTHONPATH selects the llm_g4f that runs.
        version = hashlib.sha256((self.checkout / "pyproject.toml").read_bytes()).hexdigest()[:8]
        return self._created(f"ours-{version}", ("-e", f"{self.checkout}[bench]"))

    def forget(self) -> None:
        """Delete all environments."""
        shutil.rmtree(self.cache / "venvs", ignore_errors=True)

    def _created(self, folder: str, requirements: Sequence[str]) -> Path:
        path = self.cache / "venvs" / folder
        python = path / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        if (path / _COMPLETE).exists():
            return python
        print(f"creating {path}", file=sys.stderr, flush=True)
        shutil.rmtree(path, ignore_errors=True)
        venv.create(path, with_pip=bool(requirements))
        if requirements:
            command = [str(python), "-m", "pip", "install", "--quiet", *requirements]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                lines = done.stderr.strip().splitlines() or ["no reason given"]
                raise Unavailable(f"pip cannot install {requirements[-1]}: {lines[-1]}")
        (path / _COMPLETE).touch()
        return python


def versions(python: Path) -> dict[str, str]:
    """The version of each package installed for `python`, by name."""
    code = (
        "import json, importlib.metadata as m;"
        "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
    )
    done = subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True)
    installed: dict[str, str] = json.loads(done.stdout)
    return dict(sorted(installed.items()))
