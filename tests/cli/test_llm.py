"""The real `llm` command."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from llm.cli import cli

from tests.support.commands import INTERRUPTIBLE, Run
from tests.support.server import (
    CLOSE,
    HANG,
    SSE_HEAD,
    USAGE,
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
    ' "llm g4f route gpt-4o" shows why.\n'
)

PROMPTLY = 2.0
"""Seconds: far below the five that abandoned work has for cleaning up."""


def ok(done: subprocess.CompletedProcess[str]) -> str:
    """What it printed, having succeeded without a word on stderr."""
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def failed(done: subprocess.CompletedProcess[str]) -> str:
    """What it said, having failed as llm's commands do."""
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    return done.stderr


def messages(server: Server) -> list[tuple[str, str]]:
    return [(one["role"], one["content"]) for one in server.requests[-1].json["messages"]]


def last_logged() -> dict[str, Any]:
    done = CliRunner().invoke(cli, ["logs", "-n", "1", "--json"])
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


def test_no_stream(endpoints: Callable[..., Path], run_llm: Run) -> None:
    with Server(whole("Hello")) as server:
        endpoints(mybox=server)
        assert ok(run_llm("-m", "4o", "hi", "--no-stream")) == "Hello\n"
    assert server.requests[0].json["stream"] is False


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


def test_chat(endpoints: Callable[..., Path], run_llm: Run) -> None:
    with Server(stream("Hello")) as server:
        endpoints(mybox=server)
        done = run_llm("chat", "-m", "gpt-4o", "-s", "S", input="one\ntwo\nexit\n")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("Hello") == 2
        assert messages(server) == [
            *(("system", "S"), ("user", "one"), ("assistant", "Hello"), ("user", "two")),
        ]


def test_keys_reach_the_right_provider(
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


def test_schema(endpoints: Callable[..., Path], run_llm: Run) -> None:
    with Server(stream('{"name": "Rex", "age": 3}')) as server:
        endpoints(mybox=server)
        done = run_llm("-m", "gpt-4o", "--schema", "name, age int", "invent a dog")
        assert json.loads(ok(done)) == {"name": "Rex", "age": 3}
    schema = server.requests[0].json["response_format"]["json_schema"]["schema"]
    assert schema["properties"].keys() == {"name", "age"}


def test_tools(endpoints: Callable[..., Path], run_llm: Run) -> None:
    functions = "def add(a: int, b: int) -> int:\n    'Add.'\n    return a + b\n"
    function = {"name": "add", "arguments": '{"a": 1, "b": 2}'}
    asked = events(
        chunk(tool_calls=[{"index": 0, "id": "call_a", "type": "function", "function": function}]),
        chunk(finish="tool_calls"),
        chunk(usage=USAGE),
        "[DONE]",
    )
    with Server(asked, stream("It is 3.")) as server:
        endpoints(mybox=server)
        tools = ("-T", "llm_version", "--functions", functions)
        assert ok(run_llm("-m", "gpt-4o", "1 + 2?", *tools)).strip() == "It is 3."
    offered = [tool["function"]["name"] for tool in server.requests[0].json["tools"]]
    assert sorted(offered) == ["add", "llm_version"]
    assert server.requests[1].json["messages"][-1] == {
        "role": "tool",
        "tool_call_id": "call_a",
        "content": "3",
    }


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
        "Error: Nobody can answer for gpt-4o now:\n"
        '  openai: no key: set it with "llm keys set openai" or the environment variable'
        " OPENAI_API_KEY\n"
        "  embedded: it is not installed: llm install 'llm-g4f[local]'\n"
        '  24 others have no key or are not enabled: "llm g4f route gpt-4o"\n'
        'Three ways out: a key ("llm keys set openai"), an endpoint of your own ("providers:" in'
        " g4f.yaml), or the small model on this machine (llm install 'llm-g4f[local]').\n"
    )


def test_a_refused_key_says_where_to_set_it(run_llm: Run) -> None:
    with Server(http(401, {"error": {"message": "Incorrect API key provided"}})) as server:
        environment = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "sk-canary"}
        done = run_llm("-m", "gpt-4o", "hi", env=environment)
    said = failed(done)
    assert "openai refused the key (HTTP 401)" in said
    assert "llm keys set openai" in said
    assert "sk-canary" not in said
    assert len(server.requests) == 1


def test_a_refused_connection_is_said_in_words(
    endpoints: Callable[..., Path], run_llm: Run
) -> None:
    with Server(stream()) as server:
        pass
    endpoints(mybox=server)
    done = run_llm("-m", "gpt-4o", "hi", "--async")
    assert done.stdout == ""
    assert f"mybox ({server.origin}) refuses connections" in failed(done)


def test_html_is_never_printed(endpoints: Callable[..., Path], run_llm: Run) -> None:
    with Server(http(200, "<html>canary</html>", kind="text/html")) as server:
        endpoints(mybox=server)
        done = run_llm("-m", "gpt-4o", "hi")
    assert done.stdout == ""
    assert "an HTML page instead of a completion" in failed(done)
    assert "canary" not in done.stderr


def test_an_empty_prompt_sends_nothing(endpoints: Callable[..., Path], run_llm: Run) -> None:
    with Server(stream("never")) as server:
        endpoints(mybox=server)
        done = run_llm("-m", "gpt-4o", "")
    assert "the prompt is empty" in failed(done)
    assert server.requests == []


def test_an_error_after_text_keeps_the_text(endpoints: Callable[..., Path], run_llm: Run) -> None:
    with Server([SSE_HEAD, framed(event(chunk("Half an "))), CLOSE]) as server:
        endpoints(mybox=server)
        done = run_llm("-m", "gpt-4o", "hi")
    assert (done.returncode, done.stdout) == (1, "Half an ")
    assert "broke off in the middle of the answer" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(server.requests) == 1


def Popen(*args: str) -> subprocess.Popen[bytes]:  # noqa: N802
    """Start the real `llm` command."""
    return subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def interrupted(process: subprocess.Popen[bytes], first: int) -> str:
    """Press Ctrl-C after `first` bytes of the answer; what it says on stderr then."""
    assert process.stdout is not None
    try:
        assert len(process.stdout.read(first)) == first
        process.send_signal(signal.SIGINT)
        since = time.monotonic()
        _, stderr = process.communicate(timeout=30)
        assert time.monotonic() - since < PROMPTLY
    finally:
        process.kill()
        process.wait()
    said = stderr.decode()
    assert "Traceback" not in said
    assert "Exception" not in said
    # llm's own way to end (click's "Aborted!"), and no crash on the way out.
    assert process.returncode in (1, 130)
    return said


@pytest.mark.parametrize("face", [[], ["--async"]])
def test_ctrl_c_ends_a_stream(endpoints: Callable[..., Path], face: list[str]) -> None:
    # The text appears as it comes: this answer is not complete, and never will be.
    with Server([SSE_HEAD, framed(event(chunk("Hel"))), HANG]) as server:
        endpoints(mybox=server)
        with Popen("-m", "gpt-4o", "hi", *face) as process:
            assert interrupted(process, 3).strip() in ("", "Aborted!")
        server.wait_closed()
    (request,) = server.requests
    assert request.json["stream"] is True


def test_ctrl_c_ends_the_wait_for_the_first_word(endpoints: Callable[..., Path]) -> None:
    with Server([HANG]) as server:
        endpoints(mybox=server)
        with Popen("-m", "gpt-4o", "hi") as process:
            server.wait_requests(seconds=30)
            assert interrupted(process, 0).strip() in ("", "Aborted!")
        server.wait_closed()
    assert len(server.requests) == 1


def test_a_broken_pipe_ends_the_answer(endpoints: Callable[..., Path]) -> None:
    word: list[Any] = [framed(event(chunk("0123456789"))), 0.005]
    with Server([SSE_HEAD, *(word * 10_000), HANG]) as server:
        endpoints(mybox=server)
        command = shlex.join([sys.executable, "-m", "llm", "-m", "gpt-4o", "hi"])
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command} | head -c 10"],
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=30,
        )
        server.wait_closed()
    assert (done.returncode, done.stdout) == (1, b"0123456789")
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
    assert len(server.requests) == 1


def test_the_embedded_model_answers_and_says_so(run_llm: Run, real_weights: Path) -> None:
    done = run_llm("-m", "gpt-4o", "Say hello.", "-o", "temperature", "0")
    assert done.returncode == 0
    assert re.search(r"\w", done.stdout)
    assert done.stderr == NOTICE


def test_the_notice_can_be_silenced(
    run_llm: Run, real_weights: Path, write_config: Callable[[str], Path]
) -> None:
    write_config("notice: false")
    done = run_llm("-m", "gpt-4o", "Say hello.", "-o", "temperature", "0", "--async")
    assert re.search(r"\w", ok(done))


def test_an_answer_cut_at_its_limit_says_so(run_llm: Run, real_weights: Path) -> None:
    done = run_llm("-m", "gpt-4o", "Count to ten.", "-o", "max_tokens", "2", "--no-stream")
    assert done.returncode == 0
    assert done.stderr.startswith(NOTICE)
    assert done.stderr.removeprefix(NOTICE) == (
        "The answer was cut at its token limit (max_tokens, or the model's own).\n"
    )


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
    assert shown.startswith("Hel\nThe answer was cut at its token limit")


@pytest.mark.parametrize("face", [[], ["--async"]])
def test_ctrl_c_while_the_embedded_model_generates(real_weights: Path, face: list[str]) -> None:
    prompt = "Write a very long story about a court case, in many chapters."
    with Popen("-m", "gpt-4o", prompt, *face) as process:
        said = interrupted(process, 20)
    assert said.startswith(NOTICE)
    assert said.removeprefix(NOTICE).strip() in ("", "Aborted!")
