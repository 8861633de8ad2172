"""The real weights of the default model: `python -m tests.support.weights FOLDER` fetches them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from llm_g4f.local.fetch import fetch
from llm_g4f.local.table import DEFAULT


def fetch_weights(user_path: Path) -> Path:
    """Fetch them into this LLM_USER_PATH, as a prompt does: hash-pinned, in a process of its own."""
    subprocess.run([sys.executable, "-m", "tests.support.weights", str(user_path)], check=True)
    return user_path / "g4f" / DEFAULT.file


if __name__ == "__main__":
    os.environ["LLM_USER_PATH"] = sys.argv[1]
    asyncio.run(fetch())
