"""Files in llm's user directory."""

from __future__ import annotations

import os
from pathlib import Path


def user_dir() -> Path:
    """Llm's user directory, as llm finds it (LLM_USER_PATH, else click's application directory)."""
    return Path(_user_dir())


def _user_dir() -> str:
    chosen = os.environ.get("LLM_USER_PATH")
    if chosen:
        return chosen
    import click

    return click.get_app_dir("io.datasette.llm")


def user_file(name: str) -> str:
    """The path of a file in llm's user directory. As text, since every request asks for it."""
    return f"{_user_dir()}{os.sep}{name}"


def config_path() -> Path:
    """Where g4f.yaml is, or would be."""
    return Path(user_file("g4f.yaml"))
