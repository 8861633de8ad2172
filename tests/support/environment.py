"""The environment of a test: its user directory, its transport."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llm_g4f.providers.catalogue import PROVIDERS
from llm_g4f.routing import notices

KEY_VARIABLES = {
    *("OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
    *(name for row in PROVIDERS.values() for name in (*row.env_vars, *row.url_env_vars)),
}

OTHERS = ("SSL_CERT_", "HF_", "HUGGINGFACE_", "TRANSFORMERS_")
"""Settings of the machine, by how their names begin."""


def live_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `path` the user directory, and forget the keys, proxies and settings of the environment, and
    what was announced."""
    notices._announced.clear()
    monkeypatch.setenv("LLM_USER_PATH", str(path))
    for name in list(os.environ):
        if name in KEY_VARIABLES or name.lower().endswith("_proxy") or name.startswith(OTHERS):
            monkeypatch.delenv(name)


def without_httptools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide httptools, as if it were not installed: httpx's own transport is used."""
    monkeypatch.setitem(sys.modules, "httptools", None)
    for name in ("llm_g4f.http.http11", "llm_g4f.http.pool"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process cannot open a file within."""
    # A file that garbage holds must not be closed within.
    gc.collect()
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for one in taken:
            os.close(one)
