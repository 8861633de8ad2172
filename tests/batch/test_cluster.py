"""`llm g4f batch --engine ray` on a real cluster: two workers on this machine, for all tests here."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.batch import (
    asked,
    batch,
    has_lines,
    lines,
    logged,
    prompts,
    read,
    started,
    texts,
    write,
)
from tests.support.environment import live_at
from tests.support.server import HANG, Script, Server, http, whole
from tests.support.waiting import wait_until

CANARY = "sk-canary-7f3a91"

ACCESS = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
"""The token of the cluster of these tests. Without it, Ray would make one for the user."""

PATIENCE = 120.0
"""Seconds: Ray starts half a dozen processes, and each of them imports half a gigabyte."""

RAY = ("-m", "gpt-4o", "--engine", "ray")

LURES = ("llm_g4f.py", "msgspec.py", "pandas.py", "pyarrow.py", "ray.py")


class Cluster:
    """A cluster on this machine; `llm` is its workers' user directory, and they alone have a key."""

    def __init__(self, folder: Path) -> None:
        self.llm = folder / "llm"
        self.llm.mkdir()
        self.folder = folder / "ray"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        environment = {name: value for name, value in os.environ.items() if "COV" not in name}
        environment |= {"LLM_USER_PATH": str(self.llm), "BOX_KEY": CANARY, **ACCESS}
        environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"
        port = self.address.partition(":")[2]
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"]
        command += [f"--port={port}", f"--temp-dir={self.folder}", "--num-cpus=2"]
        # Workers' ports are free ones too.
        command += ["--min-worker-port=0", "--max-worker-port=0"]
        command += ["--include-dashboard=false", "--disable-usage-stats"]
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def wait(self) -> None:
        """Until it is there."""
        wait_until(
            lambda: self._process.poll() is not None or b"ray status" in self._log.read_bytes()
        )
        assert self._process.poll() is None, self._log.read_text()

    def workers(self) -> list[int]:
        """The processes that ask."""
        return self.processes("ray::MapWorker")

    def processes(self, part: str) -> list[int]:
        """Its processes with `part` in their command lines."""
        return [pid for pid, line in below(self._process.pid).items() if part in line]

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(30) is not None

    def serve(self, server: Server) -> None:
        """Let `server` stand in for gpt-4o."""
        (self.llm / "g4f.yaml").write_text(
            f"providers:\n  box: {{base_url: '{server.url}', key_env: BOX_KEY}}\n"
            "routes: {gpt-4o: [box/llama]}\n"
        )


@contextlib.contextmanager
def started_cluster() -> Iterator[Cluster]:
    # Its sockets have short names.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with started_cluster() as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder. Its modules have the names of ones that a worker imports, and none of them
    is ever imported."""
    path, imported = tmp_path / "work", tmp_path / "imported"
    path.mkdir()
    for name in LURES:
        (path / name).write_text(f"open({str(imported)!r}, 'a').write(__name__)")
    monkeypatch.chdir(path)
    yield path
    assert not imported.exists(), imported.read_text()


@pytest.fixture
def cluster(running: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster, when it is there; its g4f.yaml is this test's."""
    use(running, monkeypatch)
    return running


def use(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    live_at(cluster.llm, monkeypatch)
    for name, value in ACCESS.items():
        monkeypatch.setenv(name, value)
    cluster.wait()


@pytest.fixture
def own(user_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnClusters]:
    """The clusters that runs of this test start: nothing is left of them in the end."""
    for name, value in {"BOX_KEY": CANARY, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    own = OwnClusters(user_path)
    yield own
    assert own.folders
    wait_until(lambda: not any(Path(path).exists() for path in own.folders))
    wait_until(lambda: not own.processes(), PATIENCE)
    assert not (tmp_path / ".ray").exists()


class OwnClusters:
    """The clusters that runs start on this machine."""

    def __init__(self, user_path: Path) -> None:
        self._user_path = user_path
        self._seen: dict[int, str] = {}
        self.folders: set[str] = set()

    def serve(self, server: Server) -> None:
        """Let `server` stand in for gpt-4o."""
        (self._user_path / "g4f.yaml").write_text(
            f"notice: false\nproviders:\n  box: {{base_url: '{server.url}', key_env: BOX_KEY}}\n"
            "routes: {gpt-4o: [box/llama]}\n"
        )

    def look(self, run: int) -> dict[int, str]:
        """The processes below `run`, which must be gone in the end, as must their folder."""
        found = below(run)
        self._seen |= found
        self.folders |= set(re.findall(r"/tmp/g4f-ray-\w+", " ".join(found.values())))
        return found

    def processes(self) -> list[str]:
        """Those seen that are still there."""
        there = processes()
        return [
            line
            for pid, (_, line) in there.items()
            if pid in self._seen or any(folder in line for folder in self.folders)
        ]


def processes() -> dict[int, tuple[int, str]]:
    """The parents and command lines of all processes by their ids."""
    command = ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="]
    listed = subprocess.run(command, check=True, capture_output=True, text=True)
    found = (line.split(None, 2) for line in listed.stdout.splitlines())
    return {int(pid): (int(parent), "".join(line)) for pid, parent, *line in found}


def below(ancestor: int) -> dict[int, str]:
    """The command lines of a process's children and theirs."""
    found = processes()
    ids = {ancestor}
    while more := {pid for pid, (parent, _) in found.items() if parent in ids} - ids:
        ids |= more
    return {pid: found[pid][1] for pid in ids - {ancestor}}


def tells(folder: Path, secret: str) -> list[str]:
    """The files below `folder` that have `secret` in them, and the command lines."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    found = [str(path) for path in files if secret.encode() in path.read_bytes()]
    return found + [line for _, line in processes().values() if secret in line]


def test_concurrency_on_two_workers_and_ctrl_c(
    cluster: Cluster,
) -> None:
    write("in.jsonl", *prompts(40))
    with Server(whole("Hello"), whole("Hello"), [HANG]) as server:
        cluster.serve(server)
        arguments = ("--concurrency", "4", "--ray-address", cluster.address)
        with started("in.jsonl", "out", *RAY, *arguments) as process:
            # A worker asks two: it takes both.
            wait_until(lambda: lines() == 2 and server.hanging == 4, PATIENCE)
            time.sleep(0.5)
            assert server.hanging == 4
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=20)
            assert time.monotonic() - began < 10
        assert process.returncode == 130
        server.wait_closed(4)
    *told, last, advice = stderr.splitlines()
    assert last == "2 answered, 0 failed, 18 tokens: out"
    assert advice == "Stopped. Run the same command to resume."
    # Ray itself says nothing.
    assert all(re.match(r"gpt-4o answered by |\d+ done, ", line) for line in told), told
    assert stdout == ""
    assert {path.name for path in Path().iterdir()} == {"in.jsonl", "out", *LURES}


def test_a_killed_run_continues_and_the_key_stays_on_the_workers(
    cluster: Cluster,
) -> None:
    write(
        "in.jsonl", *prompts(40), {"id": "bad"}, {"id": "x", "prompt": "no", "provider": "nobody"}
    )
    with Server([0.1, *whole("Hello", model="llama")]) as server:
        cluster.serve(server)
        arguments = ("in.jsonl", "out", *RAY, "--ray-address", cluster.address)
        with started(*arguments, "--concurrency", "4") as process:
            wait_until(partial(has_lines, 8), PATIENCE)
            process.kill()
        # The cluster ends the workers of one who is gone.
        wait_until(lambda: not cluster.workers())
        written = {f"prompt {id}" for id in texts()}
        before = Counter(asked(server))
        with started(*arguments) as process:
            _, stderr = process.communicate(timeout=PATIENCE)
        after = Counter(asked(server))
    assert all(after[prompt] == before[prompt] for prompt in written)
    found = read()
    assert {id for id, one in found.items() if "text" in one} == set(range(40))
    assert found["bad"]["error"]["line"] == 41
    assert found["x"]["error"]["type"] == "NoProviderError"
    assert process.returncode == 1
    assert stderr.count("answered by llama (box): a substitute") == 1
    assert "2 failed" in stderr
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {CANARY}"}
    assert tells(cluster.folder, CANARY) == []


def test_a_killed_worker_loses_no_row(cluster: Cluster) -> None:
    write("in.jsonl", *prompts(30))
    with Server([0.3, *whole("Hello", model="llama")]) as server:
        cluster.serve(server)
        arguments = ("--concurrency", "4", "--ray-address", cluster.address)
        with started("in.jsonl", "out", *RAY, *arguments) as process:
            wait_until(partial(has_lines, 4), PATIENCE)
            one, _ = cluster.workers()
            os.kill(one, signal.SIGKILL)
            _, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, texts()) == (0, dict.fromkeys(range(30), "Hello")), stderr


def test_the_death_of_the_head_ends_a_run_and_keeps_its_results(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("in.jsonl", *prompts(40))
    with (
        Server([0.3, *whole("Hello", model="llama")]) as server,
        started_cluster() as cluster,
    ):
        use(cluster, monkeypatch)
        cluster.serve(server)
        arguments = ("--concurrency", "2", "--ray-address", cluster.address)
        with started("in.jsonl", "out", *RAY, *arguments) as process:
            wait_until(partial(has_lines, 3), PATIENCE)
            (head,) = cluster.processes("gcs_server")
            os.kill(head, signal.SIGKILL)
            stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stdout) == (1, ""), stderr
    assert stderr.endswith("The results so far are kept. Run the same command to resume.\n"), stderr
    assert len(texts()) >= 3


def refused_at(address: str) -> bool:
    """Whether a cluster refuses clients without its token."""
    stranger = (
        f"import ray; ray.init('{address}', log_to_driver=False); print(ray.cluster_resources())"
    )
    # Otherwise Ray would ask another address of this machine.
    here = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", **here}
    done = subprocess.run(
        [sys.executable, "-P", "-c", stranger], env=environment, check=False, capture_output=True
    )
    return done.returncode != 0 and b"InvalidAuthToken" in done.stderr


def listening(pids: Iterable[int]) -> set[str]:
    """The addresses at which processes wait for connections, as /proc/net/tcp writes them."""
    sockets = set()
    for pid in pids:
        for file in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                sockets.add(os.readlink(file))
    table = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {
        fields[1].partition(":")[0]
        for fields in table
        if fields[3] == LISTENING and f"socket:[{fields[9]}]" in sockets
    }


LISTENING = "0A"

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same in IPv6, and ::1."""


def test_without_an_address_a_private_cluster_is_started(own: OwnClusters, user_path: Path) -> None:
    write("in.jsonl", *prompts(40))
    refused: Script = http(400, {"error": {"message": "no", "code": "x"}})
    with Server(refused, *[whole("Hello", model="llama")] * 3, [HANG]) as server:
        own.serve(server)
        with started("in.jsonl", "out", *RAY, "--log", "--concurrency", "2") as process:
            wait_until(lambda: lines() == 4 and server.hanging == 2, PATIENCE)
            found = own.look(process.pid)
            (folder,) = own.folders
            assert Path(folder).stat().st_mode & 0o077 == 0
            assert tells(Path(folder), CANARY) == []
            (address,) = set(re.findall(r"--gcs-address=(\S+)", " ".join(found.values())))
            assert refused_at(address)
            if sys.platform == "linux":
                assert listening({process.pid, *found}) <= LOOPBACK
            process.send_signal(signal.SIGTERM)
            stdout, stderr = process.communicate(timeout=PATIENCE)
    (error,) = (one["error"] for one in read().values() if "error" in one)
    assert (error["type"], error["status"], error["code"]) == ("BadRequestError", 400, "x")
    assert (process.returncode, stdout) == (143, ""), stderr
    assert stderr.splitlines()[-2:] == [
        "3 answered, 1 failed, 27 tokens: out",
        "Stopped. Run the same command to resume.",
    ]
    assert len(logged(user_path)) == 3


def test_a_hangup_while_the_cluster_starts(own: OwnClusters) -> None:
    write("in.jsonl", *prompts(2))
    with Server(whole("Hello")) as server:
        own.serve(server)
        with started("in.jsonl", "out", *RAY) as process:
            wait_until(lambda: "raylet" in " ".join(own.look(process.pid).values()), PATIENCE)
            process.send_signal(signal.SIGHUP)
            stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stdout, lines()) == (129, "", 0)
    assert stderr.splitlines()[-1] == "Stopped. Run the same command to resume."


DEATHS = {
    "the head": ("gcs_server", 1),
    "Ray on this machine": ("raylet/raylet", 1),
    "the run": ("", -9),
}
"""A part of the command line of the process that is killed, and the exit code of the run."""


@pytest.mark.parametrize("victim", DEATHS)
def test_a_death_in_its_own_cluster_ends_a_run_with_one_message(
    victim: str, own: OwnClusters
) -> None:
    write("in.jsonl", *prompts(40))
    part, code = DEATHS[victim]
    with Server([0.3, *whole("Hello", model="llama")]) as server:
        own.serve(server)
        with started("in.jsonl", "out", *RAY, "--concurrency", "2") as process:
            wait_until(partial(has_lines, 3), PATIENCE)
            found = own.look(process.pid)
            pid = next(pid for pid, line in found.items() if part in line) if part else process.pid
            os.kill(pid, signal.SIGKILL)
            stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stdout) == (code, "")
    first, *more = [line for line in stderr.splitlines() if " done, " not in line]
    assert first.startswith("Error: ")
    # Ray Data may have noticed it first: its words are one line.
    assert len(more) <= 1
    assert stderr.endswith("The results so far are kept. Run the same command to resume.\n"), stderr
    assert len(texts()) >= 3


def test_an_unreachable_cluster_is_an_error() -> None:
    write("in.jsonl", *prompts(1))
    result = batch("in.jsonl", "out", *RAY, "--ray-address", "127.0.0.1:1", code=1)
    assert "There is no Ray cluster at 127.0.0.1:1: " in result.stderr
    assert '"ray status"' in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("--engine", "ray", "--key", CANARY), "which would pass through Ray", 1),
        (("--engine", "ray", "--ray-address", "ray://a:10001"), "address of a Ray Client", 1),
        (("--ray-address", "auto"), "--ray-address goes with --engine ray", 2),
    ],
)
def test_invalid_options_are_errors_before_anything_starts(
    arguments: tuple[str, ...],
    said: str,
    code: int,
) -> None:
    write("in.jsonl", *prompts(1))
    result = batch("in.jsonl", "out", "-m", "gpt-4o", *arguments, code=code)
    assert said in result.stderr
    assert CANARY not in result.output
    assert not Path("out").exists()


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    write("in.jsonl", *prompts(1))
    assert "pip install 'llm-g4f[ray]'" in batch("in.jsonl", "out", *RAY, code=1).stderr
