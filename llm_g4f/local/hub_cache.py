"""Places in the caches of Hugging Face and Ollama, found without importing their libraries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .table import ModelRow


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(os.path.expanduser(path)))  # noqa: PTH111


def hub_cache() -> Path:
    """Hugging Face's cache, as huggingface_hub's constants.py finds it."""
    variables = os.environ
    if chosen := variables.get("HF_HUB_CACHE") or variables.get("HUGGINGFACE_HUB_CACHE"):
        return _expanded(chosen)
    home = variables.get("HF_HOME")
    if not home:
        home = f"{variables.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return _expanded(home) / "hub"


def repository_folder(repository: str) -> Path:
    """The folder of a repository in Hugging Face's cache."""
    return hub_cache() / f"models--{repository.replace('/', '--')}"


def snapshot(row: ModelRow) -> Path:
    """The place of the row's file in Hugging Face's cache."""
    return repository_folder(row.repository) / "snapshots" / row.revision / row.file


def cached_places(row: ModelRow) -> Iterator[Path]:
    """Where other programs keep the row's file, if they have it: both name it by its hash."""
    if row.repository:
        yield snapshot(row)
        yield repository_folder(row.repository) / "blobs" / row.sha256
    for models in (
        os.environ.get("OLLAMA_MODELS"),
        "~/.ollama/models",
        "/usr/share/ollama/.ollama/models",
    ):
        if models:
            yield _expanded(models) / "blobs" / f"sha256-{row.sha256}"
