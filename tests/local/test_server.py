"""The process of a local model: started once, shared, and gone when nothing needs it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llm_g4f import Client, errors
from llm_g4f.local import control, gguf, private_folder, server, start
from llm_g4f.local.control import Running
from llm_g4f.local.errors import WeightsError
from llm_g4f.local.files import ModelFile
from tests.fuzz.damaged_models import start_damaged
from tests.support.commands import run_python
from tests.support.processes import is_running
from tests.support.waiting import wait_until

posix = pytest.mark.skipif(os.name == "nt", reason="there are no modes here")
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

IN_FULL = bool(os.environ.get("G4F_LONG"))

Copy = Callable[[], ModelFile]


@pytest.fixture(scope="module")
def model_bytes(weights_file: Path) -> bytes:
    return weights_file.read_bytes()


@pytest.fixture
def folder(models_folder: Path) -> Path:
    return models_folder


@pytest.fixture
def own(weights_file: Path, folder: Path) -> ModelFile:
    """The real weights as a file of the user's own."""
    return ModelFile(weights_file, "own", True)


def running(file: ModelFile, keep_alive: float = 0.0) -> Running:
    return asyncio.run(server.server_for(file, keep_alive))


IN_FULL = bool(os.environ.get("G4F_LONG"))

PROGRAM = f"""
import sys
from llm_g4f import Client
from llm_g4f.local import server
create = Client("embedded").chat.completions.create
for _ in range({25 if IN_FULL else 3}):
    assert create("Name a colour.", max_tokens=3).choices
[(running, told)] = server.running_models()
print(running.pid)
"""


# Sharing.


def test_programs_that_start_at_once_share_one_process(real_weights: Path, folder: Path) -> None:
    command = [sys.executable, "-c", PROGRAM]
    programs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(8 if IN_FULL else 3)
    ]
    [pid] = {int(program.communicate(timeout=300)[0]) for program in programs}
    # Each of them had keep_alive 0.
    wait_until(lambda: not is_running(pid))
    assert os.listdir(folder) == ["lock"]


def test_tasks_and_threads_that_start_at_once_share_one_process(own: ModelFile) -> None:
    async def main() -> set[Running]:
        starts = (server.server_for(own, 0) for _ in range(3))
        return {*await asyncio.gather(*starts)}

    with ThreadPoolExecutor(2) as threads:
        found = set().union(*threads.map(lambda _: asyncio.run(main()), range(2)))
    assert len(found) == 1
    wait_until(lambda: server.running_models()[0][1]["users"] == 1)


@linux
def test_a_process_that_hangs_is_ended_by_stop(
    own: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_PATIENCE", 0.2)
    hanging = running(own, keep_alive=60)
    os.kill(hanging.pid, signal.SIGSTOP)
    assert server.running_models()[0][1]["busy"]
    assert server.stop_all() == [hanging]
    wait_until(lambda: not is_running(hanging.pid))


def test_a_port_that_never_ends_its_line_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processes listen on ports, another program may have the one of a process that was killed."""
    monkeypatch.setattr(control, "_PATIENCE", 0.2)

    def trickle(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            while True:
                connection.sendall(b"{")
                time.sleep(0.02)

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as threads:
        threads.submit(trickle, server)
        stale = Running(0, "own", "own.gguf", 1, 1, server.getsockname()[1], "sk")
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            control.ask(stale, "status")
        assert time.monotonic() - began < 2


def test_a_second_use_finds_the_first(own: ModelFile) -> None:
    first = running(own)
    assert running(own) == first
    control.release()
    again = running(own, keep_alive=60)
    assert is_running(again.pid)
    control.release()
    assert running(own, keep_alive=0) == again


def test_the_process_has_nothing_of_ours(
    own: ModelFile, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-nobody-else")
    monkeypatch.setenv("PYTHONSTARTUP", "x")
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    proc = Path(f"/proc/{running(own).pid}")
    if sys.platform == "linux":
        given = dict(
            entry.split("=", 1) for entry in (proc / "environ").read_text().split("\0") if entry
        )
        assert given["OMP_WAIT_POLICY"] == "active"
        assert given["GGML_NO_BACKTRACE"] == "1"
        assert given["LC_ALL"] == "C"
        names = (*start._ALLOWED, "OMP_WAIT_POLICY", "GGML_NO_BACKTRACE", "LC_ALL", "LC_CTYPE")
        assert given.keys() <= {*names}
        assert (proc / "fd/0").readlink() == Path(os.devnull)
        assert (proc / "fd/1").readlink().parent == folder.resolve()
        assert os.getsid(int(proc.name)) == int(proc.name)
        assert b"sk-" not in (proc / "cmdline").read_bytes()
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert start._environment()["OMP_WAIT_POLICY"] == "passive"
    for path in folder.iterdir():
        assert not stat.S_IMODE(path.lstat().st_mode) & 0o077


@linux
def test_the_process_writes_no_core_dump_and_a_bounded_log(own: ModelFile) -> None:
    limits = Path(f"/proc/{running(own).pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
    assert re.search(rf"^Max file size +{1 << 20} +{1 << 20} ", limits, re.MULTILINE)


# Its end.


def test_it_ends_with_the_last_program_that_uses_it(own: ModelFile, folder: Path) -> None:
    first = running(own)
    hold = asyncio.run(control.hold(first, 0))
    assert hold is not None
    control._holds.clear()
    assert is_running(first.pid)
    hold.close()
    wait_until(lambda: not is_running(first.pid))
    assert os.listdir(folder) == ["lock"]


def test_keep_alive_is_the_last_ones_and_is_an_idle_time(own: ModelFile) -> None:
    first = running(own, keep_alive=-1)
    control.release()
    [(_, told)] = server.running_models()
    assert (told["keep_alive"], told["users"], told["busy"]) == (-1, 0, False)
    assert told["memory"] > 100_000_000
    running(own, keep_alive=0.5)
    control.release()
    since = time.monotonic()
    wait_until(lambda: not is_running(first.pid))
    assert time.monotonic() - since > 0.4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no SIGKILL here")
def test_a_killed_parent_ends_it_and_a_killed_one_is_forgotten(
    real_weights: Path, folder: Path
) -> None:
    program = PROGRAM + "\nsys.stdout.flush()\nimport time\ntime.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    wait_until(lambda: not is_running(pid))
    assert os.listdir(folder) == ["lock"]

    file = ModelFile(real_weights, "own", True)
    killed = running(file)
    os.kill(killed.pid, signal.SIGKILL)
    wait_until(lambda: not is_running(killed.pid))
    assert server.running_models() == []
    again = running(file)
    assert again.pid != killed.pid
    left = {Path(str(path)).name for path in (killed.address, killed.control)}
    assert not left & set(os.listdir(folder))


def test_a_process_that_is_killed_in_an_answer_is_one_clear_error(
    real_weights: Path, folder: Path
) -> None:
    stream = Client("embedded").chat.completions.stream(
        "Count to one thousand.", max_tokens=3_000, extra_body={"ignore_eos": True}
    )
    next(stream)
    [(first, _)] = server.running_models()
    os.kill(first.pid, signal.SIGKILL)
    with pytest.raises(errors.StreamError) as caught:
        list(stream)
    assert str(caught.value) == (
        "The local model's process ended (signal 9) before its answer was complete. Ask again."
    )
    assert Client("embedded").chat.completions.create("hi", max_tokens=1).choices


IN_AN_ANSWER = """
from llm_g4f import Client
from llm_g4f.local import server
stream = Client("embedded").chat.completions.stream("Count.", max_tokens=3_000, extra_body={"ignore_eos": True})
next(stream)
[(running, told)] = server.running_models()
print(running.pid, flush=True)
list(stream)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no SIGKILL here")
def test_after_both_are_killed_in_an_answer_the_next_prompt_is_answered(
    real_weights: Path, folder: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", IN_AN_ANSWER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        for each in (pid, parent.pid):
            os.kill(each, signal.SIGKILL)
    assert Client("embedded").chat.completions.create("hi", max_tokens=1).choices
    control.release()
    wait_until(lambda: os.listdir(folder) == ["lock"])
    assert not is_running(pid)


def test_a_changed_file_ends_it_and_another_model_an_idle_one(
    own: ModelFile, folder: Path, tmp_path: Path, model_bytes: bytes
) -> None:
    path = tmp_path / "changing.gguf"
    path.write_bytes(model_bytes)
    file = ModelFile(path, "changing", True)
    first = running(file, keep_alive=60)
    os.utime(path)
    # The same program finds that it is another file now, and no program has the old one.
    second = running(file, keep_alive=60)
    assert second.pid != first.pid
    wait_until(lambda: not is_running(first.pid))
    running(own)
    wait_until(lambda: not is_running(second.pid))
    path.unlink()
    with pytest.raises(WeightsError, match=r"changing\.gguf cannot be used: No such file"):
        running(file)


def test_it_ends_when_its_file_changes_even_while_a_program_has_it(
    folder: Path, tmp_path: Path, model_bytes: bytes
) -> None:
    path = tmp_path / "changing.gguf"
    path.write_bytes(model_bytes)
    first = running(ModelFile(path, "changing", True), keep_alive=60)
    path.unlink()
    wait_until(lambda: not is_running(first.pid))


def test_output_of_the_command_ends_with_it(
    real_weights: Path, folder: Path, user_path: Path
) -> None:
    (user_path / "g4f.yaml").write_text("local: {keep_alive: 60}")
    since = time.monotonic()
    # It reads the pipes to their ends.
    done = run_python(PROGRAM)
    assert time.monotonic() - since < 40
    assert is_running(int(done.stdout))


# Files that are no models.


@pytest.mark.long
@pytest.mark.timeout(7_200 if IN_FULL else 300)
def test_no_header_broken_at_random_is_more_than_an_error(
    weights_file: Path, folder: Path, tmp_path: Path
) -> None:
    assert start_damaged(weights_file, tmp_path, 2_000 if IN_FULL else 12)
    control.release()
    # Nothing stays of those that failed.
    wait_until(lambda: os.listdir(folder) == ["lock"])


def test_a_crash_while_loading_names_the_signal_and_the_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_bytes: bytes
) -> None:
    path = tmp_path / "bad.gguf"
    broken = bytearray(model_bytes)
    # Two tokens with one text, which llama.cpp asserts not to be.
    line_feed = broken.index(b"\2\0\0\0\0\0\0\0\xc4\x8a", broken.index(b"tokenizer.ggml.tokens"))
    broken[line_feed + 9] = 0x81
    path.write_bytes(broken)
    with pytest.raises(WeightsError) as caught:
        running(ModelFile(path, "bad", True))
    assert str(caught.value) == (
        f"The local model's process ended (signal 6) while loading {path}: it may be damaged."
    )


# The folder.


@posix
@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_that_others_may_enter_is_refused(folder: Path, mode: int) -> None:
    folder.mkdir()
    folder.chmod(mode)
    assert private_folder._problem_of(folder) == "others may enter it (chmod 700 makes it private)"
    assert private_folder.private_folder() != folder


@posix
def test_links_and_files_in_the_folders_place_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "mine"
    target.mkdir(mode=0o700)
    folder.symlink_to(target)
    assert private_folder._problem_of(folder) == "it is not a folder"
    folder.unlink()
    folder.touch()
    assert private_folder._problem_of(folder) == "it is not a folder"
    with monkeypatch.context() as patch:
        patch.setattr(private_folder, "_places", lambda: [folder])
        with pytest.raises(WeightsError, match="Set XDG_RUNTIME_DIR to a folder that only you"):
            server.running_models()
        folder.unlink()
        patch.setattr(os, "getuid", lambda: 12345)
        assert private_folder._problem_of(folder) == "it belongs to another user"


@posix
def test_a_folder_with_a_long_name_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"/{'x' * 70}")
    monkeypatch.setattr(tempfile, "tempdir", f"/{'y' * 70}")
    assert private_folder._places() == [Path(f"/tmp/llm-g4f-{os.getuid()}")]


# Where there are no Unix sockets.


def test_without_unix_sockets_a_loopback_port_needs_a_key(
    real_weights: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    for module in (server, start):
        monkeypatch.setattr(module, "uses_unix_sockets", lambda: False)
    assert Client("embedded").chat.completions.create("hi", max_tokens=1).choices
    [(found, told)] = server.running_models()
    assert told["users"] == 1
    assert found.unix_socket is None
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    page = {"Origin": "http://page.example"}
    with httpx.Client(trust_env=False) as client:
        url = f"{found.base_url}/chat/completions"
        for headers in ({}, {"Authorization": "Bearer x"}):
            assert client.post(url, json=body, headers=headers).status_code == 401
        key = {"Authorization": f"Bearer {found.key}"}
        answer = client.post(url, json=body, headers=page | key)
    assert answer.status_code == 200
    assert answer.headers.get("access-control-allow-origin", "") == ""
    nobody = Running(**{**_fields(found), "key": "x"})
    assert control.status(nobody) is None
    assert not control.stop(nobody) or is_running(found.pid)
    assert is_running(found.pid)


def _fields(found: Running) -> dict[str, Any]:
    return {name: getattr(found, name) for name in found.__struct_fields__}


# Settings.


def test_the_context_is_the_files_as_far_as_memory_goes(
    weights_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    header = gguf.read_header(weights_file)
    assert header == gguf.Header(context=8_192, bytes_per_token=30 * 2 * 3 * 64 * 2)
    size = weights_file.stat().st_size
    for memory, context in ((1 << 40, 8_192), (size + 2 * 4_096 * 23_040, 4_096), (size, 2_048)):
        monkeypatch.setattr(start, "available_memory", lambda found=memory: found)
        assert start.context_for(weights_file) == context
    broken = tmp_path / "x.gguf"
    broken.write_bytes(b"GGUF" + b"\xff" * 100)
    assert start.context_for(broken) == start.DEFAULT_CONTEXT


@pytest.mark.parametrize("cut", [0, 3, 10, 30, 100, 300])
def test_a_cut_header_is_no_header(cut: int, model_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(model_bytes[:cut])
    assert gguf.read_header(path) is None


def test_threads_and_batches_are_by_size() -> None:
    sizes = (98_000_000, 1_117_000_000, 12_000_000_000)
    assert [start.batch_for(size, 2, 0.0) for size in sizes] == [128, 40, 16]
    assert [start.batch_for(size, 2, 12.0) for size in sizes] == [24, 16, 16]
    assert start.batch_for(98_000_000, 16, 12.0) == 128
    assert [start.writing_threads(98_000_000, 2, load) for load in (0.0, 1.0, 12.0)] == [1, 1, 2]
    assert [start.writing_threads(1_117_000_000, 4, load) for load in (0.0, 12.0)] == [4, 4]
