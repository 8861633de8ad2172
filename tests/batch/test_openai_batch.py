"""`llm g4f batch --engine openai-batch`: rows that go to a provider as files of its Batch API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.support.batch import batch, prompts, read, texts, write
from tests.support.batch_api import BatchAPI


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of IN and OUT, where the command runs; a key of openai is set."""
    path = tmp_path / "work"
    path.mkdir()
    monkeypatch.chdir(path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-tests-0001")
    return path


def serve(monkeypatch: pytest.MonkeyPatch, api: BatchAPI) -> BatchAPI:
    """Let `api` be openai's server."""
    monkeypatch.setenv("OPENAI_BASE_URL", api.url)
    return api


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchAPI]:
    with BatchAPI() as running:
        yield serve(monkeypatch, running)


def run(*args: str, code: int = 0) -> Result:
    return batch("in", "out", "-m", "gpt-4o", "--engine", "openai-batch", *args, code=code)


def test_rows_are_answered_by_one_batch(api: BatchAPI) -> None:
    write("in", *prompts(3))
    result = run("-o", "temperature", "0.5")
    print(result.stderr)
    assert texts() == {number: f"To prompt {number}" for number in range(3)}
    assert api.sent == ["prompt 0", "prompt 1", "prompt 2"]
    print(json.dumps(read()[0], indent=1), api.calls, list(Path().iterdir()))
    assert 0
