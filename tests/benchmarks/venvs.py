"""A virtual environment for each client, made once with what is newest on that day."""

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
"""What pip is asked for, by the name of the client's module."""

_COMPLETE = "complete"


class Unavailable(Exception):
    """Something cannot be measured here; the message says why."""


class Venvs:
    """The environments under `cache`; `checkout` is the llm-g4f that is measured."""

    def __init__(self, cache: Path, checkout: Path) -> None:
        self.cache = cache
        self.checkout = checkout

    def python(self, name: str) -> Path:
        """The Python that runs client `name`: `floor`, `ours` or one of `PEERS`. Raises `Unavailable`."""
        if name == "floor":
            return self._made("floor", ())
        if name == "ours":
            return self.ours()
        return self._made(name, (PEERS[name],))

    def ours(self) -> Path:
        # Which llm_g4f runs is for PYTHONPATH to say: the environment has what it needs besides.
        needs = hashlib.sha256((self.checkout / "pyproject.toml").read_bytes()).hexdigest()[:8]
        return self._made(f"ours-{needs}", ("-e", f"{self.checkout}[bench,local]"))

    def forget(self) -> None:
        """Have all made anew."""
        shutil.rmtree(self.cache / "venvs", ignore_errors=True)

    def _made(self, folder: str, requirements: Sequence[str]) -> Path:
        path = self.cache / "venvs" / folder
        python = path / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        if (path / _COMPLETE).exists():
            return python
        print(f"making {path}", file=sys.stderr, flush=True)
        shutil.rmtree(path, ignore_errors=True)
        venv.create(path, with_pip=bool(requirements))
        if requirements:
            command = [str(python), "-m", "pip", "install", "--quiet", *requirements]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                why = done.stderr.strip().splitlines() or ["no reason given"]
                raise Unavailable(f"pip cannot install {requirements[-1]}: {why[-1]}")
        (path / _COMPLETE).touch()
        return python


def versions(python: Path) -> dict[str, str]:
    """What is installed for `python`, by name."""
    code = (
        "import json, importlib.metadata as m;"
        "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
    )
    done = subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(done.stdout)
    return dict(sorted(found.items()))
