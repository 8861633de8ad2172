"""`llm g4f local status, stop, serve`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llm_g4f import Client
from llm_g4f.errors import APIConnectionError
from llm_g4f.local import control, server, start
from llm_g4f.local.table import DEFAULT
from tests.support.commands import INTERRUPTIBLE, failed, g4f, ok
from tests.support.slow_runtime import slow_runtime
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def folder(models_folder: Path) -> Path:
    return models_folder


def test_stop_with_nothing_to_stop() -> None:
    assert ok(g4f("local", "stop")) == ["Nothing to stop."]


def test_status_and_stop_of_a_loaded_model(
    real_weights: Path, write_config: Callable[[str], Path]
) -> None:
    write_config("local: {keep_alive: 5m}")
    assert json.loads("\n".join(ok(g4f("local", "status", "--json")))) == {
        "runtime": True,
        "model": DEFAULT.id,
        "path": str(real_weights),
        "problem": None,
        "loaded": [],
    }
    Client("embedded").chat.completions.create("hi", max_tokens=1)
    *_, line = ok(g4f("local", "status"))
    assert line.startswith(f"loaded:  {DEFAULT.id}, 8,192 tokens of context, ")
    assert line.endswith(" of memory, used by 1 program")
    control.release()
    wait_until(lambda: " idle for 0 s of 300 s" in ok(g4f("local", "status"))[-1])
    [loaded] = json.loads("\n".join(ok(g4f("local", "status", "--json"))))["loaded"]
    assert (loaded["users"], loaded["busy"], loaded["keep_alive"]) == (0, False, 300)
    assert loaded["memory"] > 100_000_000
    assert ok(g4f("local", "stop")) == [f"Stopped {DEFAULT.id}"]
    assert len(ok(g4f("local", "status"))) == 3
    assert ok(g4f("local", "stop")) == ["Nothing to stop."]


@pytest.mark.skipif(os.name == "nt", reason="there are no signals here")
def test_status_and_stop_of_a_model_that_is_being_loaded(
    real_weights: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = slow_runtime(tmp_path / "slow")
    for module in (server, start):
        monkeypatch.setattr(module, "library", lambda: slow)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(Client("embedded").chat.completions.create, "hi", max_tokens=1)
        wait_until(lambda: server.running_models() != [])
        [(running, _)] = server.running_models()
        line = f"loaded:  {DEFAULT.id}, being loaded (process {running.pid})"
        assert ok(g4f("local", "status"))[-1] == line
        [loaded] = json.loads("\n".join(ok(g4f("local", "status", "--json"))))["loaded"]
        assert (loaded["loading"], loaded["pid"]) == (True, running.pid)
        assert ok(g4f("local", "stop")) == [f"Stopped {DEFAULT.id}"]
        with pytest.raises(
            APIConnectionError, match=r"\(signal 15\) while loading .*: it was stopped\."
        ):
            answer.result(20)
    assert os.listdir(folder) == ["lock"]


@pytest.mark.skipif(os.name == "nt", reason="there are no Unix sockets here")
def test_stop_forgets_what_was_killed(real_weights: Path, folder: Path) -> None:
    Client("embedded").chat.completions.create("hi", max_tokens=1)
    [(running, _)] = server.running_models()
    os.kill(running.pid, signal.SIGKILL)
    wait_until(lambda: server.running_models() == [])
    assert ok(g4f("local", "stop")) == ["Nothing to stop."]
    assert sorted(path.suffix for path in folder.iterdir()) == ["", ".log"]


def test_serve_prints_what_other_programs_need(real_weights: Path) -> None:
    import httpx

    command = [sys.executable, "-c", INTERRUPTIBLE, "g4f", "local", "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = dict(process.stdout.readline().decode().split(maxsplit=1) for _ in range(3))
        url, key = told["base_url:"].strip(), told["key:"].strip()
        page = {"Origin": "http://page.example"}
        with httpx.Client(trust_env=False) as client:
            assert client.get(f"{url}/models", headers=page).status_code == 401
            allowed = client.get(f"{url}/models", headers=page | {"Authorization": f"Bearer {key}"})
            asked = client.options(f"{url}/chat/completions", headers=page)
        assert [one["id"] for one in allowed.json()["data"]] == ["smollm2-135m"]
        for answer in (allowed, asked):
            assert answer.headers.get("access-control-allow-origin", "") == ""
            assert answer.headers.get("access-control-allow-credentials", "false") == "false"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    wait_until(lambda: server.running_models() == [])


def test_serve_at_a_port_in_use_says_so(real_weights: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = failed(g4f("local", "serve", "--port", str(port)))
    assert said.startswith(f"Port {port} of 127.0.0.1 cannot be used (Address already in use)")


def test_serve_without_the_runtime_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm_g4f.local.runtime.is_installed", lambda: False)
    assert "llm install 'llm-g4f[local]'" in failed(g4f("local", "serve"))
