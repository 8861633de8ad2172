"""What the local model's process is asked, and what becomes of its answers: recordings of it."""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llm_g4f import Client, errors
from llm_g4f.cli.progress import ProgressBar
from llm_g4f.local import server as processes
from llm_g4f.local import status_line
from llm_g4f.local.control import Running
from llm_g4f.local.files import ModelFile
from llm_g4f.local.table import ROWS
from llm_g4f.providers import embedded
from llm_g4f.routing import policy
from tests.support.server import HANG, SSE_HEAD, Script, Server, event, events, framed, http
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there are no Unix sockets here")

Fake = Callable[..., Server]

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def piece(_finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {
        "choices": [{"finish_reason": _finish, "index": 0, "delta": delta}],
        "created": 1795659386,
        "id": "chatcmpl-oatYa4fu7OQ4y7hepBgMRBGyYIRe4DXV",
        "model": "sized",
        "system_fingerprint": "b0-unknown",
        "object": "chat.completion.chunk",
    }


def progress(processed: int, total: int = 499) -> dict[str, Any]:
    counts = {"total": total, "cache": 0, "processed": processed, "time_ms": 532}
    return piece(role="assistant", content=None) | {"prompt_progress": counts}


def arguments(text: str, **first: Any) -> dict[str, Any]:
    function = first | {"arguments": text}
    call: dict[str, Any] = {"index": 0, "function": function}
    if first:
        call |= {"id": "kVOU47kp8oUMpsxFdLKDVz724Ke8laVF", "type": "function"}
    return piece(tool_calls=[call])


COUNTS = piece() | {
    "choices": [],
    "usage": {"completion_tokens": 32, "prompt_tokens": 499, "total_tokens": 531},
    "timings": {"cache_n": 0, "prompt_n": 499},
}

TOOL_CALL = events(
    *(progress(read) for read in (0, 256, 499)),
    piece(role="assistant", content=None),
    arguments("{", name="get_weather"),
    *(arguments(text) for text in ('"', "city", '":', ' "', "Paris", '"', "}")),
    piece("tool_calls"),
    COUNTS,
)
"""xllamacpp 2026.10 with SmolLM2-135M, a template that has tools, and earlier calls to copy."""

TEXT = events(
    progress(0), piece(role="assistant", content=None), piece(content="Hi"), piece("stop"), COUNTS
)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Fake]:
    """A process of a local model that replays scripts: fake(file, script, …)."""
    with tempfile.TemporaryDirectory(prefix="t") as folder:
        opened: list[Server] = []

        def start(file: ModelFile, *scripts: Script) -> Server:
            server = Server(*scripts, unix_socket=f"{folder}/s")
            opened.append(server.__enter__())
            running = Running(1, file.model, str(file.path), 4_096, f"{folder}/s", "", None, "fake")

            async def running_of(_: ModelFile, keep_alive: float) -> Running:
                server.keep_alive = keep_alive  # type: ignore[attr-defined]
                return running

            async def ready() -> ModelFile:
                return file

            monkeypatch.setattr(processes, "server_for", running_of)
            monkeypatch.setattr(embedded, "ready_file", ready)
            monkeypatch.setattr(embedded, "find", lambda: file)
            return server

        yield start
        for server in opened:
            server.__exit__()


@pytest.fixture
def own(tmp_path: Path) -> ModelFile:
    path = tmp_path / "Sized.gguf"
    path.write_bytes(b"GGUF")
    return ModelFile(path, "sized", True)


def row(name: str, path: Path) -> ModelFile:
    return ModelFile(path, ROWS[name].id, True, ROWS[name])


def ask(**params: Any) -> Any:
    return Client("embedded").chat.completions.create("Name a colour.", **params)


@pytest.mark.parametrize("streamed", [False, True])
def test_it_is_always_asked_for_a_stream_with_its_progress(
    streamed: bool, fake: Fake, own: ModelFile
) -> None:
    server = fake(own, TEXT)
    answer = ask(stream=streamed, max_completion_tokens=9, user="me", extra_body={"stream": False})
    text = (
        "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
        if streamed
        else answer.choices[0].message.content
    )
    assert text == "Hi"
    body = server.requests[0].json
    assert body["stream"] is body["return_progress"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert body["max_tokens"] == 9
    assert not {"user", "max_completion_tokens", "tools"} & body.keys()
    assert "authorization" not in server.requests[0].headers


def test_sampling_is_that_of_the_models_card_unless_the_request_has_its_own(
    fake: Fake, tmp_path: Path
) -> None:
    server = fake(row("smollm2-360m", tmp_path / "m.gguf"), TEXT)
    ask(temperature=0)
    body = server.requests[0].json
    assert (body["temperature"], body["repeat_penalty"], body["max_tokens"]) == (0, 1.1, 1024)


@pytest.mark.parametrize(
    ("written", "name", "seconds"),
    [
        ("", "smollm2-135m", 0),
        ("", "qwen3.5-2b", 300),
        ("", "", 300),
        ("local: {keep_alive: 0}", "qwen3.5-2b", 0),
        ("local: {keep_alive: -1}", "smollm2-135m", -1),
    ],
)
def test_a_model_that_was_asked_for_stays_loaded(
    written: str,
    name: str,
    seconds: float,
    fake: Fake,
    own: ModelFile,
    write_config: Callable[[str], Path],
) -> None:
    write_config(written)
    server = fake(row(name, own.path) if name else own, TEXT)
    ask()
    assert server.keep_alive == seconds  # type: ignore[attr-defined]


# Tools.

PROPS = {"chat_template_caps": {"supports_tool_calls": True}}


def test_an_own_file_calls_tools_where_its_template_has_them(
    fake: Fake, own: ModelFile, caplog: pytest.LogCaptureFixture
) -> None:
    server = fake(
        own, http(200, event(PROPS)[6:]), TOOL_CALL, http(200, event(PROPS)[6:]), TOOL_CALL
    )
    for _ in range(2):
        answer = ask(tools=[WEATHER], tool_choice="required")
        [call] = answer.choices[0].message.tool_calls
        assert (call.function.name, call.function.arguments) == ("get_weather", '{"city": "Paris"}')
        assert answer.choices[0].finish_reason == "tool_calls"
        assert answer.usage.prompt_tokens == 499
    body = server.requests[1].json
    assert (body["tools"], body["tool_choice"]) == ([WEATHER], "required")
    told = [line for line in caplog.messages if "tools" in line]
    assert len(told) == 1
    assert told[0].startswith("sized is given tools, since its chat template has them")


@pytest.mark.parametrize("answer", [{"chat_template_caps": {"supports_tool_calls": False}}, {}, []])
def test_an_own_file_without_them_is_left_out_by_its_name(
    answer: Any, fake: Fake, own: ModelFile
) -> None:
    fake(own, http(200, event(answer)[6:]))
    with pytest.raises(errors.NoProviderError, match="embedded: sized does not call tools"):
        ask(tools=[WEATHER])


@pytest.mark.parametrize(("name", "able"), [("qwen3.5-2b", True), ("qwen2.5-coder-1.5b", False)])
def test_a_row_says_whether_tools_work(name: str, able: bool, fake: Fake, tmp_path: Path) -> None:
    server = fake(row(name, tmp_path / "m.gguf"), TOOL_CALL)
    if able:
        assert ask(tools=[WEATHER]).choices[0].message.tool_calls
        # Its row is enough: nothing else is asked.
        assert [one.path for one in server.requests] == ["/v1/chat/completions"]
    else:
        with pytest.raises(errors.NoProviderError, match=f"{name} does not call tools"):
            ask(tools=[WEATHER])
        assert server.requests == []


# Reasoning.

THOUGHT = events(
    piece(role="assistant", content=None),
    piece(reasoning_content="Red "),
    piece(reasoning_content="or blue?"),
    piece(content="Blue."),
    piece("stop"),
    COUNTS,
)


@pytest.mark.parametrize(
    ("effort", "sent"),
    [
        (None, None),
        ("none", {"enable_thinking": False}),
        ("high", {"enable_thinking": True, "reasoning_effort": "high"}),
    ],
)
def test_reasoning_comes_as_reasoning_and_can_be_turned_off(
    effort: str | None, sent: Any, fake: Fake, tmp_path: Path
) -> None:
    server = fake(row("qwen3.5-4b", tmp_path / "m.gguf"), THOUGHT)
    answer = ask(reasoning_effort=effort)
    message = answer.choices[0].message
    assert (message.reasoning, message.content) == ("Red or blue?", "Blue.")
    assert server.requests[0].json.get("chat_template_kwargs") == sent
    assert answer.receipt.omitted == ()


def test_a_model_that_does_not_think_gets_no_effort(fake: Fake, tmp_path: Path) -> None:
    server = fake(row("smollm2-360m", tmp_path / "m.gguf"), TEXT)
    assert ask(reasoning_effort="low").receipt.omitted == ("reasoning_effort",)
    assert not {"chat_template_kwargs", "reasoning_effort"} & server.requests[0].json.keys()


# Images.


def look() -> Any:
    parts = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    return Client("embedded").chat.completions.create([{"role": "user", "content": parts}])


@pytest.mark.parametrize("name", ["mmproj-Sized.gguf", "Sized-mmproj.gguf", "Sized.mmproj.gguf"])
def test_images_where_a_vision_file_belongs_to_the_model(
    name: str, fake: Fake, own: ModelFile
) -> None:
    server = fake(own, TEXT)
    with pytest.raises(errors.NoProviderError, match="sized does not read images"):
        look()
    own.path.with_name("mmproj-Another.gguf").touch()
    with pytest.raises(errors.NoProviderError, match="sized does not read images"):
        look()
    own.path.with_name(name).touch()
    look()
    [message] = server.requests[0].json["messages"]
    assert message["content"][1]["image_url"]["url"] == PIXEL


# Exactness.


def test_gpt_oss_here_is_gpt_oss(fake: Fake, tmp_path: Path, own: ModelFile) -> None:
    fake(row("gpt-oss-20b", tmp_path / "m.gguf"), TEXT)
    create = Client().chat.completions.create
    assert create("hi", model="gpt-oss-20b", exact=True).receipt.exact
    with pytest.raises(errors.NoProviderError):
        create("hi", model="gpt-oss-120b", exact=True)


def test_the_name_of_an_own_file_is_no_exact_model(fake: Fake, tmp_path: Path) -> None:
    fake(ModelFile(tmp_path / "gpt-4o.gguf", "gpt-4o", True), TEXT)
    with pytest.raises(errors.NoProviderError, match="substitute"):
        ask(exact=True)


# Time.


def test_waiting_for_a_turn_is_no_silence_and_no_cooldown(
    fake: Fake, own: ModelFile, monkeypatch: pytest.MonkeyPatch, user_path: Path
) -> None:
    monkeypatch.setattr(policy, "IDLE_TIMEOUT", 0.2)
    fake(own, [0.7, *TEXT], [SSE_HEAD, framed(event(progress(0))), HANG])
    assert ask().choices[0].message.content == "Hi"
    # Once its turn has come, silence is silence again.
    with pytest.raises(errors.APITimeoutError, match="sent no first token"):
        ask(max_retries=0)


def test_the_timeout_holds_while_waiting(fake: Fake, own: ModelFile) -> None:
    fake(own, [HANG])
    with pytest.raises(errors.APITimeoutError, match="timeout"):
        ask(timeout=0.2)


# The sign of life.


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    made = Terminal()
    # pytest puts its own stderr in the place of this one.
    monkeypatch.setattr(status_line, "sys", SimpleNamespace(stderr=made))
    monkeypatch.setattr(status_line, "DELAY", 0.05)
    return made


def shown(terminal: Terminal) -> list[str]:
    return [line.rstrip() for line in terminal.getvalue().split("\r")]


SLOW: Script = [
    *(0.2, SSE_HEAD),
    *(framed(event(progress(100))), 0.1, framed(event(progress(499))), 0.1),
    *(
        framed(event(piece(content="Hi"))),
        framed(event(piece("stop"))),
        framed(b"data: [DONE]\n\n"),
        framed(b""),
    ),
]


def test_a_long_prompt_shows_how_far_it_is_read_until_the_first_word(
    fake: Fake, own: ModelFile, terminal: Terminal
) -> None:
    fake(own, SLOW)
    assert ask().choices[0].message.content == "Hi"
    lines = shown(terminal)
    assert lines == [
        "",
        "sized is busy with another prompt …",
        "sized reads the prompt: 20% of 499 tokens …",
        "sized reads the prompt: 100% of 499 tokens …",
        "",
        "",
    ]


def test_the_line_fits_its_terminal(
    fake: Fake, own: ModelFile, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    fake(own, SLOW)
    ask()
    assert max(len(line) for line in shown(terminal)) == 19


def test_nothing_is_shown_for_a_quick_answer_or_without_a_terminal(
    fake: Fake, own: ModelFile, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(own, TEXT, SLOW, SLOW)
    monkeypatch.setattr(status_line, "DELAY", 5.0)
    ask()
    monkeypatch.setattr(status_line, "DELAY", 0.05)
    with status_line.hidden():
        ask()
    monkeypatch.setattr(Terminal, "isatty", lambda _: False)
    ask()
    assert terminal.getvalue() == ""


def test_no_line_floats_over_the_bar_of_a_batch(
    fake: Fake, own: ModelFile, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar = Terminal()
    monkeypatch.setattr("llm_g4f.cli.progress.sys", SimpleNamespace(stderr=bar))
    fake(own, SLOW, SLOW)
    with ProgressBar(100):
        ask()
    assert terminal.getvalue() == ""
    ask()
    assert terminal.getvalue() != ""


def test_the_line_is_gone_when_the_request_is_cancelled(
    fake: Fake, own: ModelFile, terminal: Terminal
) -> None:
    from llm_g4f import AsyncClient

    fake(own, [HANG])

    async def main() -> None:
        task = asyncio.ensure_future(AsyncClient("embedded").chat.completions.create("hi"))
        await asyncio.to_thread(wait_until, terminal.getvalue)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert shown(terminal) == ["", "sized is busy with another prompt …", "", ""]
