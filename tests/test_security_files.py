"""Files in llm's user directory are private, and a manipulated one does no harm."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import filelock
import msgspec
import pytest

from llm_g4f import Client, config
from llm_g4f.errors import ConfigError, RateLimitError
from llm_g4f.local.table import DEFAULT
from llm_g4f.routing.cooldowns import Cooldowns
from llm_g4f.routing.policy import LONGEST_COOLDOWN
from tests.support.commands import Run
from tests.support.hostile import TRICK, TRICKS, ask, assert_no_escapes, invoke
from tests.support.package_index import GOOD, Index, row_of
from tests.support.server import Server, http, stream
from tests.support.waiting import wait_until

Write = Callable[[str], Path]

posix = pytest.mark.skipif(os.name == "nt", reason="pipes and modes are POSIX's")

PROMPTLY = 20.0
"""Seconds: far above what the work takes, and far below what waiting for ever takes."""


def bomb(key: str) -> str:
    """Ten billion values in a few hundred bytes."""
    levels = ["&a0 [x,x,x,x,x,x,x,x,x,x]"]
    levels += [f"&a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    rows = "".join(f"      l{n}: {level}\n" for n, level in enumerate(levels))
    return f"providers:\n  box:\n    base_url: https://box.example/v1\n    {key}:\n{rows}"


def merge_bomb() -> str:
    rows = "      m0: &m0 {a: 1}\n" + "".join(
        f"      m{n}: &m{n} {{<<: [{','.join([f'*m{n - 1}'] * 10)}]}}\n" for n in range(1, 10)
    )
    return f"providers:\n  box:\n    base_url: https://box.example/v1\n    extra_body:\n{rows}"


HOSTILE: dict[str, bytes] = {
    "a bomb of anchors in extra_body": bomb("extra_body").encode(),
    "a bomb of anchors in headers": bomb("headers").encode(),
    "a bomb of anchors in models": bomb("models").encode(),
    "a bomb of merges": merge_bomb().encode(),
    "a loop": b"providers: {box: {base_url: https://b.example, extra_body: &a {b: *a}}}",
    "a Python object": b"takeover: !!python/object/apply:os.system ['touch pwned']",
    "a Python name": b"providers: {box: {extra_body: {x: !!python/name:os.system }}}",
    "a tag of its own": b"providers: {box: {extra_body: {x: !<!\\x1b]52> y}}}",
    "ten megabytes": b"# x\n" * 2_500_000 + b"nonsense: true\n",
    "ten megabytes of entries": b"routes:\n"
    + b"".join(b"  m%d: [openai, embedded]\n" % n for n in range(400_000))
    + b"nonsense: true\n",
    "deep nesting": b"routes: " + b"[" * 200_000,
    "deep nesting in blocks": b"".join(b" " * n + b"a:\n" for n in range(2_000)),
    "another encoding": "takeover: false # Größe".encode("utf-16"),
    "bytes that are no text": b"takeover: \xff\xfe\x00",
    "NUL": b"takeover: \0true",
    "a key with an escape": f"routes: {{{json.dumps(TRICK)}: 5}}".encode(),
    "a known key with an escape": b'"takeover\\e]52;c;AA\\a": true',
    "a provider with an escape": f"providers: {{{json.dumps(TRICK)}: {{}}}}".encode(),
    "a model with an escape": (
        f"providers: {{box: {{base_url: 'https://b.example', models: {{{json.dumps(TRICK)}: 5}}}}}}"
    ).encode(),
    "a header with an escape": (
        "providers: {box: {base_url: 'https://b.example', headers:"
        f" {{X-A: {json.dumps(TRICKS['C1'])}}}}}}}"
    ).encode(),
    "a quirk with an escape": (
        f"providers: {{box: {{base_url: 'https://b.example', quirks: [{json.dumps(TRICK)}]}}}}"
    ).encode(),
}


LOAD = """
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
except (ImportError, ValueError, OSError):
    pass  # there are no limits here
from llm_g4f import config
config.load()
"""


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_configuration_is_an_error_soon(
    content: bytes, user_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(user_path)
    path = user_path / "g4f.yaml"
    path.write_bytes(content)
    # In a process of its own, since it may take all the time and memory there is.
    done = subprocess.run(
        [sys.executable, "-c", LOAD], check=False, capture_output=True, timeout=PROMPTLY
    )
    assert b"llm_g4f.errors.ConfigError: " in done.stderr
    with pytest.raises(ConfigError) as caught:
        config.load()
    assert str(path) in str(caught.value)
    assert_no_escapes(str(caught.value))
    assert len(str(caught.value)) < 2_000
    assert not (user_path / "pwned").exists()


NAMES = {
    "a route": f"routes: {{{json.dumps('x' + TRICK)}: [box, openai]}}",
    "a route's entry": f"routes: {{gpt-4o: [{json.dumps('box/' + TRICKS['C1'])}]}}",
    "a route's bidi entry": f"routes: {{gpt-4o: [{json.dumps('box/' + TRICKS['bidi'])}]}}",
    "a model": f"models: {{{json.dumps('x' + TRICK)}: m}}",
    "an id": f"models: {{gpt-4o: {json.dumps(TRICKS['C1'])}}}",
    "a key's name": f"key: {json.dumps(TRICKS['C1'])}",
    "a variable's name": f"key_env: {json.dumps(TRICKS['bidi'])}",
    "a ca_file": f"ca_file: {json.dumps('/tmp/' + TRICKS['C1'])}",
}


@pytest.mark.parametrize("line", NAMES.values(), ids=NAMES)
def test_names_in_a_configuration_print_no_terminal_escapes(
    line: str, write_config: Write, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(http(404, {"error": {"message": "no"}})) as server:
        box = f"providers: {{box: {{base_url: '{server.url}'"
        write_config(f"{box}}}}}\n{line}" if line.startswith("routes") else f"{box}, {line}}}}}")
        said = [
            invoke("models"),
            invoke("models", "list", "--options"),
            invoke("-m", "gpt-4o", "hi"),
            *(invoke("g4f", *words) for words in (["route", "gpt-4o"], ["providers"], ["check"])),
            "".join(record.getMessage() for record in caplog.records),
        ]
    for words in said:
        assert_no_escapes(words)


def test_a_byte_order_mark_is_accepted(user_path: Path) -> None:
    (user_path / "g4f.yaml").write_bytes(b"\xef\xbb\xbftakeover: false\n")
    assert config.load().takeover is False


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "gone")


@posix
@pytest.mark.parametrize("make", [fifo, folder, loop, nowhere])
def test_a_configuration_that_is_not_a_file_does_not_block(
    make: Callable[[Path], None], user_path: Path, run_llm: Run
) -> None:
    make(user_path / "g4f.yaml")
    done = run_llm("g4f", "providers", timeout=PROMPTLY)
    assert done.returncode == (0 if make is nowhere else 1)
    assert ("cannot be read" in done.stderr) is (make is not nowhere)
    assert "Traceback" not in done.stderr


@posix
@pytest.mark.parametrize("file", ["g4f-health.json", "g4f-health.json.lock"])
@pytest.mark.parametrize("make", [fifo, folder, loop, nowhere])
def test_a_state_file_that_is_not_a_file_does_not_block(
    make: Callable[[Path], None], file: str, user_path: Path, write_config: Write
) -> None:
    make(user_path / file)
    answers: list[str] = []
    # On a loop and in a thread that may be lost, since a read of a pipe cannot be interrupted.
    thread = threading.Thread(target=lambda: answers.append(asyncio.run(ask())), daemon=True)
    with Server(http(500, "no")) as failing, Server(stream("good")) as good:
        write_config(
            f"providers:\n  bad: {{base_url: '{failing.url}'}}\n  good: {{base_url: '{good.url}'}}"
        )
        thread.start()
        thread.join(PROMPTLY)
    assert len(answers) == 1
    assert "content='good'" in answers[0]
    assert not (user_path / "gone").exists()


HEALTH: dict[str, str] = {
    "a number": "7",
    "an array": "[]",
    "null": "null",
    "wrong types": '{"cooldowns": [1], "gone": 7}',
    "no fields": '{"cooldowns": {"bad": {}}}',
    "text for numbers": '{"cooldowns": {"bad": {"until": "x", "failures": []}}}',
    "NaN": '{"cooldowns": {"bad": {"until": NaN, "failures": NaN}}, "gone": {"a/b": NaN}}',
    "infinity": '{"cooldowns": {"bad": {"until": 1e999, "failures": 1e999}}}',
    "infinitely often": '{"cooldowns": {"bad": {"until": 1, "failures": 1e999}}}',
    "a huge count": '{"cooldowns": {"bad": {"until": 1, "failures": %s}}}' % ("9" * 400),
    "a negative count": '{"cooldowns": {"bad": {"until": 1, "failures": -9}}}',
    "digits without end": '{"cooldowns": {"bad": {"until": %s, "failures": 1}}}' % ("9" * 9_000),
    "deep nesting": "[" * 100_000,
    "twenty megabytes": '{"cooldowns": {"x": "%s"}}' % ("x" * 20_000_000),
    "escapes": json.dumps({"cooldowns": {TRICK: {"until": 4e9, "failures": 1}}}),
}


@pytest.mark.parametrize("content", HEALTH.values(), ids=HEALTH)
def test_a_hostile_state_file_does_not_prevent_an_answer(
    content: str, user_path: Path, write_config: Write, caplog: pytest.LogCaptureFixture
) -> None:
    (user_path / "g4f-health.json").write_text(content)
    with Server(http(500, "no")) as failing, Server(stream("good")) as good:
        write_config(
            f"providers:\n  bad: {{base_url: '{failing.url}'}}\n  good: {{base_url: '{good.url}'}}"
        )
        # A second time, since the first may have set it aside.
        for _ in range(2):
            answer = Client("bad,good").chat.completions.create("hi")
            assert answer.choices[0].message.content == "good"
            (user_path / "g4f-health.json").write_text(content)
        listed = invoke("g4f", "providers")
    assert "mybox" not in listed
    assert_no_escapes(listed + "".join(record.getMessage() for record in caplog.records))


def test_a_locked_state_of_gigabytes_delays_no_answer_and_no_other_task(
    user_path: Path, write_config: Write
) -> None:
    gaps = []

    async def beat() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.01)
            gaps.append(time.perf_counter() - began)

    async def answer() -> str:
        beating = asyncio.create_task(beat())
        answered = await ask()
        # A last beat that the answer may have delayed.
        await asyncio.sleep(0.02)
        beating.cancel()
        return answered

    with Server(http(500, "no")) as failing, Server(stream("good")) as good:
        write_config(
            f"providers:\n  bad: {{base_url: '{failing.url}'}}\n  good: {{base_url: '{good.url}'}}"
        )
        # The first request imports much.
        asyncio.run(ask("good"))
        for name in ("g4f-health.json", "g4f-failures.jsonl"):
            with (user_path / name).open("wb") as file:
                file.truncate(3_000_000_000)
        with filelock.FileLock(user_path / "g4f-health.json.lock"):
            assert "content='good'" in asyncio.run(answer())
            assert max(gaps) < 1.5
            assert "InternalServerError" in asyncio.run(ask("bad"))
    assert len(failing.requests) > 1


@pytest.mark.parametrize("ahead", [90 * 86_400, 10 * 366 * 86_400], ids=["months", "years"])
def test_a_cooldown_of_years_is_ignored(ahead: float, tmp_path: Path) -> None:
    now = 1_790_000_000.0
    health = Cooldowns(tmp_path / "state.json", lambda: now)
    entry = {"until": now + ahead, "failures": 1}
    (tmp_path / "state.json").write_text(json.dumps({"cooldowns": {"box": entry}}))
    assert health.cooldown("box") == (ahead if ahead < 366 * 86_400 else 0.0)


@posix
@pytest.mark.parametrize("name", ["g4f-health.json", "g4f-health.json.lock"])
def test_a_symlink_to_a_state_file_is_not_followed(
    name: str, user_path: Path, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign.json"
    foreign.write_text("{}")
    (user_path / name).symlink_to(foreign)
    for box in ("one", "two"):
        Cooldowns().failed(box, RateLimitError("no", retry_after=LONGEST_COOLDOWN, status_code=429))
    assert foreign.read_text() == "{}"
    if name == "g4f-health.json":
        assert Cooldowns().cooldown("one") > 0


FETCH = """
import asyncio, sys
import msgspec
from llm_g4f.local.fetch import fetch
from llm_g4f.local.table import ModelRow
asyncio.run(fetch(msgspec.json.decode(sys.argv[1], type=ModelRow)))
"""

ANSWER = """
from llm_g4f import Client
Client("embedded").chat.completions.create("Count to ten.", max_tokens=2)
"""


def modes_while(folder: Path, code: str, *args: str, env: dict[str, str]) -> dict[str, int]:
    """Modes of all that ever is in `folder` while a process without umask runs `code`. Looked at from
    here, since a library may hold that process's interpreter."""
    seen: dict[str, int] = {}
    command = [sys.executable, "-c", code, *args]
    with subprocess.Popen(command, env=env, umask=0, stdout=subprocess.DEVNULL) as process:
        ended = False
        while not ended:
            ended = process.poll() is not None
            # Unlike Path.rglob, os.walk puts up with what vanishes meanwhile.
            for place, folders, files in os.walk(folder):
                for name in folders + files:
                    path = Path(place, name)
                    with contextlib.suppress(FileNotFoundError):
                        mode = path.lstat().st_mode
                        kind = stat.filemode(mode)[0]
                        seen[f"{kind} {path.relative_to(folder)}"] = stat.S_IMODE(mode)
    assert process.returncode == 0
    return seen


def assert_private(modes: dict[str, int], *names: str) -> None:
    """Check that only the user may read or write what was seen, and that `names` were seen."""
    assert set(names) <= modes.keys()
    assert modes
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


def modes_in(folder: Path) -> dict[str, int]:
    """Modes by kind and name, without llm's own files."""
    return {
        f"{stat.filemode(path.lstat().st_mode)[0]} {path.name}": stat.S_IMODE(path.lstat().st_mode)
        for path in [folder, *folder.rglob("*")]
        if not path.name.startswith("logs.db")
    }


@posix
def test_files_of_the_commands_are_private(run_llm: Run, user_path: Path) -> None:
    # llm makes its directory, and its log in it.
    user_path.chmod(0o700)
    with Server(http(429, "no")) as server:
        done = [
            run_llm("g4f", "add", "box", server.url, umask=0),
            run_llm("-m", "gpt-4o", "hi", umask=0),
        ]
    assert [one.returncode for one in done] == [0, 1]
    assert_private(modes_in(user_path), "- g4f.yaml", "- g4f-health.json", "- g4f-health.json.lock")


@posix
def test_a_new_user_directory_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "new"))
    before = os.umask(0)
    try:
        Cooldowns().failed("box", RateLimitError("no", status_code=429))
    finally:
        os.umask(before)
    assert_private(modes_in(tmp_path / "new"), "d new", "- g4f-health.json")


@posix
def test_the_weights_are_private_during_and_after_the_download(user_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name[:4] != "PIP_"}
    with Index(GOOD) as index:
        environment |= {"PIP_INDEX_URL": f"{index.origin}/simple", "PIP_CONFIG_FILE": os.devnull}
        seen = modes_while(
            user_path, FETCH, msgspec.json.encode(row_of(GOOD)).decode(), env=environment
        )
    # Deeper files are in a directory that only the user can enter.
    outside = {name: mode for name, mode in seen.items() if name.count("/") < 2}
    assert any(name.startswith("d g4f/fetch-") for name in outside)
    assert_private(outside, "d g4f", f"- g4f/{DEFAULT.file}", "- g4f/models.json")


@posix
def test_the_folder_of_the_local_models_process_is_private(real_weights: Path) -> None:
    # A name short enough for a socket's path.
    with tempfile.TemporaryDirectory(prefix="t") as temporary:
        environment = {**os.environ, "XDG_RUNTIME_DIR": temporary}
        seen = modes_while(Path(temporary), ANSWER, env=environment)
        folder = Path(temporary, "llm-g4f")
        wait_until(lambda: os.listdir(folder) == ["lock"])
    assert any(name.endswith(".sock") for name in seen)
    assert any(name.endswith(".json") for name in seen)
    assert_private(seen, "d llm-g4f")


def test_an_edit_keeps_the_mode_of_the_configuration(write_config: Write, run_llm: Run) -> None:
    path = write_config("takeover: true\n")
    path.chmod(0o640)
    assert run_llm("g4f", "enable", "ovh").returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
