"""The real `llm` command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Run, llm_command
from tests.support.server import (
    CLOSE,
    SSE_HEAD,
    Server,
    chunk,
    event,
    events,
    framed,
    http,
    stream,
    whole,
)

NOTICE = (
    "gpt-4o answered by smollm2-135m-instruct (embedded): a substitute."
    ' A small model that gets facts wrong; "llm g4f setup" for better.\n'
)


def ok(done: subprocess.CompletedProcess[str]) -> str:
    """The output of a command that succeeded and wrote nothing to stderr."""
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def failed(done: subprocess.CompletedProcess[str]) -> str:
    """The error of a command that failed as llm's commands do."""
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    return done.stderr


def messages(server: Server) -> list[tuple[str, str]]:
    return [(one["role"], one["content"]) for one in server.requests[-1].json["messages"]]


def last_logged() -> dict[str, Any]:
    done = llm_command("logs", "-n", "1", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    (logged,) = json.loads(done.stdout)
    return dict(logged)


def test_a_prompt_and_its_log(endpoints: Callable[..., Path], run_llm: Run) -> None:
    with Server(stream("Hel", "lo")) as server:
        endpoints(mybox=server)
        done = run_llm("-m", "gpt-4o", "-s", "Be brief.", "hi", "-u")
        assert (done.returncode, done.stdout) == (0, "Hello\n")
        assert done.stderr.strip() == "Token usage: 7 input, 2 output"
        assert messages(server) == [("system", "Be brief."), ("user", "hi")]
    logged = last_logged()
    assert logged["model"] == "gpt-4o"
    assert logged["resolved_model"] == "mybox/gpt-4o-2024-11-20"
    assert (logged["prompt"], logged["system"], logged["response"]) == ("hi", "Be brief.", "Hello")
    assert (logged["input_tokens"], logged["output_tokens"]) == (7, 2)
    receipt = logged["response_json"]["g4f"]
    assert (receipt["requested_model"], receipt["provider"]) == ("gpt-4o", "mybox")
    assert (receipt["model"], receipt["exact"]) == ("gpt-4o-2024-11-20", True)
    assert receipt["attempts"][0]["outcome"] == "ok"


def test_a_continued_conversation_remembers(
    write_config: Callable[[str], Path], run_llm: Run
) -> None:
    with Server(stream("one")) as one, Server(stream("two", model="llama")) as two:
        write_config(
            f"providers:\n  one: {{base_url: '{one.url}'}}\n"
            f"  two: {{base_url: '{two.url}', models: {{gpt-4o: llama}}}}\n"
        )
        first = run_llm("-m", "gpt-4o", "-s", "S", "a", "-o", "provider", "two")
        assert (first.returncode, first.stdout) == (0, "two\n")
        assert first.stderr.startswith("gpt-4o answered by llama (two): a substitute.")
        # The pin holds, and the notice is not repeated.
        assert ok(run_llm("-c", "b", "--async")) == "two\n"
        assert messages(two) == [
            ("system", "S"),
            *(("user", "a"), ("assistant", "two"), ("user", "b")),
        ]
        assert one.requests == []
        assert ok(run_llm("-c", "c", "-o", "provider", "any")) == "one\n"
        assert messages(one) == [*messages(two), ("assistant", "two"), ("user", "c")]


def test_keys_are_sent_to_the_right_provider(
    endpoints: Callable[..., Path], run_llm: Run, user_path: Path
) -> None:
    (user_path / "keys.json").write_text(json.dumps({"work": "sk-work"}))
    with Server(stream("mine")) as mine, Server(stream("openai")) as openai:
        endpoints(mybox=mine)
        environment = {"OPENAI_BASE_URL": openai.url}
        prompt = ("-m", "gpt-4o", "hi")
        assert ok(run_llm(*prompt, "--key", "sk-given", env=environment)) == "openai\n"
        assert ok(run_llm(*prompt, "--key", "work", "-o", "provider", "mybox")) == "mine\n"
    assert [one.headers["authorization"] for one in openai.requests] == ["Bearer sk-given"]
    assert [one.headers["authorization"] for one in mine.requests] == ["Bearer sk-work"]


@pytest.fixture
def without_runtime(tmp_path: Path) -> dict[str, str]:
    """An environment in which xllamacpp is not installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "find = PathFinder.find_spec\n"
        "PathFinder.find_spec = lambda name, *args, **kwargs: (\n"
        "    None if name == 'xllamacpp' else find(name, *args, **kwargs)\n"
        ")\n"
    )
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def test_without_any_provider_the_three_ways_out(
    run_llm: Run, without_runtime: dict[str, str]
) -> None:
    done = run_llm("-m", "gpt-4o", "hi", env=without_runtime)
    assert done.stdout == ""
    assert failed(done) == (
        "Error: No provider available for gpt-4o:\n"
        '  openai: no key: set it with "llm keys set openai" or the environment variable'
        " OPENAI_API_KEY\n"
        "  embedded: it is not installed: llm install 'llm-g4f[local]'\n"
        '  25 others have no key or are not enabled: "llm g4f route gpt-4o --all"\n'
        'Three ways out: a key ("llm keys set openai"), an endpoint of your own ("providers:" in'
        " g4f.yaml), or the small model on this machine (llm install 'llm-g4f[local]').\n"
    )


def test_a_refused_key_says_how_to_set_it(run_llm: Run) -> None:
    with Server(http(401, {"error": {"message": "Incorrect API key provided"}})) as server:
        environment = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "sk-canary"}
        done = run_llm("-m", "gpt-4o", "hi", env=environment)
    said = failed(done)
    assert "openai rejected the key (HTTP 401)" in said
    assert "llm keys set openai" in said
    assert "sk-canary" not in said
    assert len(server.requests) == 1


def test_html_is_never_printed(endpoints: Callable[..., Path], run_llm: Run) -> None:
    with Server(http(200, "<html>canary</html>", kind="text/html")) as server:
        endpoints(mybox=server)
        done = run_llm("-m", "gpt-4o", "hi")
    assert done.stdout == ""
    assert "an HTML page in place of a completion" in failed(done)
    assert "canary" not in done.stderr


@pytest.mark.parametrize("how", [(), ("--no-stream",), ("--async",), ("-s", "Be brief.")])
def test_standard_input_that_is_not_utf8_sends_nothing(
    how: tuple[str, ...], endpoints: Callable[..., Path], run_llm: Run, tmp_path: Path
) -> None:
    file = tmp_path / "latin-1.txt"
    file.write_bytes("schön".encode("latin-1"))
    with Server(stream("never")) as server, file.open() as stdin:
        endpoints(mybox=server)
        done = run_llm("-m", "gpt-4o", *how, stdin=stdin)
        assert server.requests == []
    assert failed(done) == (
        "Error: The prompt is not UTF-8 text (character 4), so nothing was sent: convert it first,"
        " for instance with iconv.\n"
    )


@pytest.mark.parametrize(
    ("args", "script"),
    [
        ((), http(401, {"error": "no"})),
        (("--no-stream",), http(500, {"error": "no"})),
        ((), [SSE_HEAD, framed(event(chunk("partial"))), CLOSE]),
        (("-o", "provider", "nonsense"), stream("never")),
        (("-T", "llm_version"), http(400, {"error": "no"})),
    ],
)
def test_an_error_in_a_chat_is_a_line_and_no_traceback(
    args: tuple[str, ...], script: Any, endpoints: Callable[..., Path], run_llm: Run
) -> None:
    with Server(script) as server:
        endpoints(mybox=server)
        done = run_llm("chat", "-m", "gpt-4o", *args, input="hi\nagain\n")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(re.findall(r"^Error: (?:mybox|Unknown provider)\b", done.stderr, re.MULTILINE)) == 1


@pytest.mark.parametrize("how", [(), ("--no-stream",), ("--async",)])
@pytest.mark.parametrize("with_", ["system", "attachment", "tools"])
def test_an_empty_prompt_with_something_else_is_sent(
    with_: str, how: tuple[str, ...], endpoints: Callable[..., Path], run_llm: Run, tmp_path: Path
) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n")
    args = {
        "system": ("-s", "Say hello."),
        "attachment": ("-a", str(image)),
        "tools": ("-T", "llm_version"),
    }
    script = whole("Hello") if how == ("--no-stream",) else stream("Hello")
    with Server(script) as server:
        endpoints(mybox=server)
        assert ok(run_llm("-m", "gpt-4o", *args[with_], *how, "")) == "Hello\n"
        (message,) = server.requests[0].json["messages"]
    if with_ == "system":
        assert message == {"role": "system", "content": "Say hello."}
    elif with_ == "attachment":
        assert [part["type"] for part in message["content"]] == ["image_url"]
    else:
        assert message == {"role": "user", "content": ""}
        assert server.requests[0].json["tools"]


def test_an_empty_prompt_sends_nothing(endpoints: Callable[..., Path], run_llm: Run) -> None:
    with Server(stream("never")) as server:
        endpoints(mybox=server)
        done = run_llm("-m", "gpt-4o", "")
    assert "The prompt is empty" in failed(done)
    assert server.requests == []


def test_an_error_after_text_keeps_the_text(endpoints: Callable[..., Path], run_llm: Run) -> None:
    with Server([SSE_HEAD, framed(event(chunk("Half an "))), CLOSE]) as server:
        endpoints(mybox=server)
        done = run_llm("-m", "gpt-4o", "hi")
    assert (done.returncode, done.stdout) == (1, "Half an ")
    assert "broke off in the middle of the answer" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(server.requests) == 1


def test_the_embedded_model_answers_with_a_notice(run_llm: Run, real_weights: Path) -> None:
    done = run_llm("-m", "gpt-4o", "Say hello.", "-o", "temperature", "0")
    assert done.returncode == 0
    assert re.search(r"\w", done.stdout)
    assert done.stderr == NOTICE


def test_on_a_terminal_a_notice_after_text_starts_a_line(endpoints: Callable[..., Path]) -> None:
    leader, terminal = os.openpty()
    with Server(events(chunk("Hel"), chunk(finish="length"), "[DONE]")) as server:
        endpoints(mybox=server)
        done = subprocess.run(
            [sys.executable, "-m", "llm", "-m", "gpt-4o", "hi"],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
        )
    os.close(terminal)
    shown = os.read(leader, 4096).decode().replace("\r\n", "\n")
    os.close(leader)
    assert done.returncode == 0
    assert shown.startswith("Hel\n\x1b[2mThe answer was cut at its token limit")
