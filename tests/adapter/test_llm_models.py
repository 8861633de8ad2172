"""Other models of llm's as providers: llm-echo's, which are installed, and those of a plugin made here."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import llm
import pytest
import yaml
from llm.parts import Message, StreamEvent
from pydantic import Field

from llm_g4f.client import AsyncClient, Client
from llm_g4f.errors import (
    APIError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConfigError,
    InvalidResponseError,
    NoProviderError,
    StreamError,
)
from llm_g4f.routing import policy
from llm_g4f.routing.cooldowns import Cooldowns
from llm_g4f.types import ChatCompletion, ChatCompletionMessage, ToolCall
from tests.support.answers import outcomes, streamed, text_of
from tests.support.commands import Run, failed, g4f, ok, run_python
from tests.support.prompts import Ask
from tests.support.server import Server, stream, whole

Pieces = Iterator[str | StreamEvent]
Answering = Callable[[llm.Prompt, Any], Pieces]
Install = Callable[..., "list[Any]"]
Write = Callable[[str], Path]

PNG = b"\x89PNG\r\n\x1a\n"


class _Shared:
    """Another plugin's model: `answering` gives the pieces of its answer. `seen` are the prompts."""

    can_stream = True

    def __init__(self, model_id: str, answering: Answering, seen: list[Any]) -> None:
        self.model_id = model_id
        self.answering = answering
        self.seen = seen


class Theirs(_Shared, llm.Model):
    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Any:
        self.seen.append(prompt)
        yield from self.answering(prompt, response)


class AsyncTheirs(_Shared, llm.AsyncModel):
    async def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Any:
        self.seen.append(prompt)
        for piece in self.answering(prompt, response):
            yield piece


@pytest.fixture(params=["sync", "async"])
def install(request: pytest.FixtureRequest, other_plugin: Callable[..., None]) -> Install:
    """Register a plugin's model "theirs", a synchronous one alone or with its asynchronous one;
    the prompts that it gets. `traits` are the model's attributes."""

    def add(
        answering: Answering, name: str = "theirs", aliases: tuple[str, ...] = (), **traits: Any
    ) -> list[Any]:
        seen: list[Any] = []
        models: list[Any] = [Theirs(name, answering, seen)]
        if request.param == "async":
            models = [Theirs(name, never, seen), AsyncTheirs(name, answering, seen)]
        for model in models:
            for trait, value in traits.items():
                setattr(model, trait, value)
        other_plugin(lambda register: register(*models, aliases=aliases))
        return seen

    return add


def never(prompt: Any, response: Any) -> Pieces:
    raise AssertionError("the asynchronous model is the one to ask")


def hello(prompt: Any, response: Any) -> Pieces:
    yield "Hel"
    yield "lo"
    response.set_usage(input=7, output=2)


def create(
    messages: Any = "hi", provider: str | None = "llm:theirs", **params: Any
) -> ChatCompletion:
    answer: ChatCompletion = Client(provider).chat.completions.create(messages, **params)
    return answer


def content(answer: ChatCompletion) -> Any:
    return json.loads(text_of(answer) or "")


def left_out(**params: Any) -> str:
    """The reason for which theirs, the only provider, is left out."""
    with pytest.raises(NoProviderError) as caught:
        create(**params)
    return caught.value.message.splitlines()[1].removeprefix("  llm:theirs: ")


# Where it can be named.


def test_an_llm_model_in_a_route(write_config: Write) -> None:
    write_config("routes: {gpt-4o: ['llm:echo']}")
    answer = create("hi", provider=None)
    assert content(answer)["prompt"] == "hi"
    assert (answer.provider, answer.model) == ("llm:echo", "echo")
    assert answer.receipt is not None
    assert not answer.receipt.exact
    assert outcomes(answer) == [("llm:echo", "ok")]


def test_an_llm_model_in_a_client() -> None:
    async def main() -> None:
        answer = await AsyncClient("llm:echo").chat.completions.create("hi")
        assert content(answer)["prompt"] == "hi"
        chunks = AsyncClient().chat.completions.stream("hi", provider=["llm:echo"])
        texts = [one.choices[0].delta.content or "" async for one in chunks]
        assert json.loads("".join(texts))["stream"] is True

    asyncio.run(main())
    assert content(create("hi", provider="llm:echo"))["stream"] is False


def test_an_llm_model_in_the_option_provider(ask: Ask) -> None:
    answer = ask("hi", provider="llm:echo", system="be brief")
    said = json.loads(answer.text)
    assert (said["prompt"], said["system"]) == ("hi", "be brief")
    assert answer.resolved == "llm:echo/echo"
    assert (answer.usage.input, answer.usage.output) == (3, len(answer.text.split()))


def test_an_llm_model_on_the_command_line(run_llm: Run) -> None:
    done = run_llm("-m", "gpt-4o", "-o", "provider", "llm:echo", "hi")
    assert (done.returncode, json.loads(done.stdout)["prompt"]) == (0, "hi")
    assert done.stderr == (
        'gpt-4o answered by echo (llm:echo): a substitute. "llm g4f route gpt-4o" shows why.\n'
    )


def test_a_failing_llm_model_is_followed_by_the_next_candidate(
    endpoints: Callable[..., Path], install: Install
) -> None:
    def breaks(prompt: Any, response: Any) -> Pieces:
        raise RuntimeError("out of\x07 order")
        yield ""

    install(breaks)
    with Server(whole("from a")) as a:
        endpoints("routes: {gpt-4o: ['llm:theirs', a]}", a=a)
        answer = create(provider=None)
    assert text_of(answer) == "from a"
    assert outcomes(answer) == [("llm:theirs", "APIError"), ("a", "ok")]
    assert answer.receipt is not None
    assert answer.receipt.attempts[0].message == "llm:theirs failed: out of\\x07 order"
    with pytest.raises(APIError, match="llm:theirs failed: out of") as caught:
        create()
    assert type(caught.value) is APIError
    assert (caught.value.provider, caught.value.model) == ("llm:theirs", "theirs")


@pytest.mark.parametrize("name", ["llm:vendor/theirs-1.5", "llm:short"])
def test_model_ids_with_slashes_and_aliases(
    write_config: Write, install: Install, name: str
) -> None:
    install(hello, "vendor/theirs-1.5", aliases=("short",))
    write_config(f"routes: {{gpt-4o: ['{name}']}}")
    answer = create(provider=None)
    assert text_of(answer) == "Hello"
    assert (answer.provider, answer.model) == (name, "vendor/theirs-1.5")
    assert text_of(create(provider=name)) == "Hello"


def test_an_alias_of_the_user(install: Install) -> None:
    install(hello)
    llm.set_alias("mine", "theirs")
    assert create(provider="llm:mine").model == "theirs"


# Our own models, and unknown ones.


@pytest.mark.parametrize("name", ["llm:gpt-4o", "llm:4o", "llm:g4f/gpt-oss-120b"])
def test_a_model_of_this_plugin_is_an_error(write_config: Write, ask: Ask, name: str) -> None:
    path = write_config(f"routes:\n  gpt-4.1: [openai]\n  gpt-4o: [openai, '{name}']\n")
    with pytest.raises(ConfigError) as caught:
        create(provider=None)
    assert caught.value.message.startswith(f"{path}, line 3: {name} is a model of this plugin")
    write_config("")
    with pytest.raises(ConfigError, match=f"^{name} is a model of this plugin"):
        create(provider=name)
    with pytest.raises(llm.ModelError, match=f"^{name} is a model of this plugin"):
        ask("hi", provider=name)


@pytest.mark.parametrize("name", ["llm:nonsense", "llm:"])
def test_an_unknown_model_is_an_error(name: str) -> None:
    with pytest.raises(NoProviderError, match=f"Unknown model .*{name}"):
        create(provider=name)


@pytest.mark.parametrize("face", ["client", "llm"])
def test_a_route_without_a_plugin_that_is_gone(
    face: str, endpoints: Callable[..., Path], ask: Ask
) -> None:
    with Server(stream("Hello")) as server:
        path = endpoints("routes:\n  gpt-4o: ['llm:gone', a]", a=server)
        if face == "client":
            assert text_of(create(provider=None)) == "Hello"
        else:
            assert ask("hi").text == "Hello"
        (line,) = [line for line in ok(g4f("route", "gpt-4o")) if "llm:gone" in line]
    reason = f"{path}, line 4: Unknown model 'gone' (llm:gone)"
    assert reason in line
    endpoints("routes:\n  gpt-4o: ['llm:gone']", a=server)
    with pytest.raises(NoProviderError, match=re.escape(f"  llm:gone: {reason}")):
        create(provider=None)


# In a process of their own: llm's own models leave their HTTP client to the garbage collector.


def test_without_takeover_llms_gpt_4o_is_a_provider(write_config: Write, run_llm: Run) -> None:
    write_config("{takeover: false, routes: {gpt-4o: ['llm:gpt-4o']}}")
    with Server(stream("Hel", "lo")) as server:
        env = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": server.url}
        done = run_llm("-m", "g4f/gpt-4o", "-o", "temperature", "0.5", "-u", "hi", env=env)
    assert (done.returncode, done.stdout) == (0, "Hello\n")
    # No word of a substitute: it is the model itself.
    assert done.stderr == "Token usage: 7 input, 2 output\n"
    request = server.requests[0]
    assert request.headers["authorization"] == "Bearer sk-test"
    assert (request.json["model"], request.json["temperature"]) == ("gpt-4o", 0.5)


def test_a_model_of_extra_openai_models_is_a_provider(user_path: Path, run_llm: Run) -> None:
    with Server(stream("Hel", "lo")) as server:
        extra = [{"model_id": "mine", "model_name": "llama", "api_base": server.url}]
        (user_path / "extra-openai-models.yaml").write_text(yaml.safe_dump(extra))
        done = run_llm("-m", "gpt-4o", "-o", "provider", "llm:mine", "hi")
    assert (done.returncode, done.stdout) == (0, "Hello\n")
    assert "gpt-4o answered by mine (llm:mine): a substitute." in done.stderr
    assert server.requests[0].json["model"] == "llama"


# The model that its answer names.


def named_first(prompt: Any, response: Any) -> Pieces:
    response.set_resolved_model("qwen3")
    yield "Hello"


def named_last(prompt: Any, response: Any) -> Pieces:
    yield "Hello"
    response.set_resolved_model("qwen3")


def named_in_the_log(prompt: Any, response: Any) -> Pieces:
    """As llm's own models have it, and those of other plugins for OpenAI's API."""
    yield "Hello"
    response.response_json = {"model": "qwen3"}


NAMINGS = (named_first, named_last, named_in_the_log)


@pytest.mark.parametrize("answering", NAMINGS)
def test_another_model_than_its_id_says_is_a_substitute(
    answering: Answering, install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install(answering, "their/gpt-4o")
    receipt = create(provider="llm:their/gpt-4o").receipt
    assert receipt is not None
    assert (receipt.model, receipt.exact, receipt.attempts[-1].model) == ("qwen3", False, "qwen3")
    (said,) = caplog.messages
    assert "gpt-4o" in said
    assert "qwen3 (llm:their/gpt-4o)" in said
    assert "a substitute" in said


@pytest.mark.parametrize("answering", NAMINGS)
def test_under_exact_another_model_than_its_id_says_is_an_error(
    answering: Answering, install: Install
) -> None:
    install(answering, "their/gpt-4o")
    text, error = streamed("llm:their/gpt-4o", exact=True)
    # In its thread, a model may have ended before its first word is read here.
    assert text in (("",) if answering is named_first else ("", "Hello"))
    assert error is not None
    assert error.reason == "wrong_model"
    assert error.message == (
        "llm:their/gpt-4o was asked for gpt-4o and answered with qwen3; only the exact model is"
        " allowed. Ask another provider, or leave exact out."
    )


def test_a_snapshot_of_its_id_is_the_model_itself(install: Install) -> None:
    def answering(prompt: Any, response: Any) -> Pieces:
        yield "Hello"
        response.set_resolved_model("gpt-4o-2024-11-20")

    install(answering, "their/gpt-4o")
    receipt = create(provider="llm:their/gpt-4o", exact=True).receipt
    assert receipt is not None
    assert (receipt.exact, receipt.warnings) == (True, [])


# Commands.


def test_route_models_and_check_know_llm_models(write_config: Write) -> None:
    write_config("routes: {gpt-4o: ['llm:echo', 'llm:echo-needs-key']}")
    assert ok(g4f("route", "gpt-4o")) == [
        "1. llm:echo: echo, a substitute",
        (
            "-  llm:echo-needs-key: No key found - add one using 'llm keys set echo-needs-key' or"
            " set the LLM_ECHO_NEEDS_KEY_KEY environment variable"
        ),
        "gpt-4o is answered by echo (llm:echo): a substitute.",
    ]
    assert ok(g4f("models", "llm:echo")) == ["echo"]
    checked = g4f("check", "llm:echo", "--json")
    (row,) = json.loads(checked.stdout)
    assert (checked.exit_code, row["model"], row["exact"], row["error"]) == (0, "echo", False, None)
    assert "Unknown model 'nonsense' (llm:nonsense)" in failed(g4f("models", "llm:nonsense"))


def test_enable_and_disable_reject_llm_models(user_path: Path) -> None:
    """It takes part where it is named; a name with a colon would break g4f.yaml."""
    for command in ("enable", "disable"):
        said = failed(g4f(command, "llm:echo"))
        assert "llm:echo" in said
        assert not (user_path / "g4f.yaml").exists()
        assert "line" not in said


FRESH = """
import asyncio, sys, threading
from llm_g4f.client import AsyncClient

threads = []

def audit(event, args):
    if event == "import" and args[0] == "openai":
        threads.append(threading.current_thread())

async def main():
    assert "llm" not in sys.modules
    sys.addaudithook(audit)
    answer = await AsyncClient().chat.completions.create(model="gpt-4o", messages="hi")
    print(answer.provider, "hi" in answer.choices[0].message.content)
    print(bool(threads), threading.current_thread() in threads)

asyncio.run(main())
"""


def test_llm_is_loaded_in_a_thread(write_config: Write) -> None:
    write_config("{notice: false, routes: {gpt-4o: ['llm:echo']}}")
    done = run_python(FRESH, "-W", "error")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "llm:echo True\nTrue False\n"


# Keys.

CANARY = "sk-canary-1234567890"


@pytest.mark.parametrize("by", ["environment", "stored", "option", "option by name"])
def test_a_model_that_needs_a_key(
    user_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask, by: str
) -> None:
    given: dict[str, Any] = {}
    if by == "environment":
        monkeypatch.setenv("LLM_ECHO_NEEDS_KEY_KEY", CANARY)
    elif by == "option":
        given = {"key": CANARY}
    else:
        name = "echo-needs-key" if by == "stored" else "other"
        (user_path / "keys.json").write_text(json.dumps({name: CANARY}))
        given = {"key": "other"} if by == "option by name" else {}
    answer = ask("hi", provider="llm:echo-needs-key", **given)
    assert json.loads(answer.text)["key"] == CANARY
    assert CANARY not in json.dumps(answer.receipt)


def test_without_its_key_it_is_left_out_with_the_reason(endpoints: Callable[..., Path]) -> None:
    with Server(whole("from a")) as a:
        endpoints("routes: {gpt-4o: ['llm:echo-needs-key', a]}", a=a)
        answer = create(provider=None)
    assert outcomes(answer) == [("a", "ok")]
    with pytest.raises(NoProviderError, match="llm keys set echo-needs-key"):
        create(provider="llm:echo-needs-key")


def test_its_key_is_not_in_its_errors(install: Install, ask: Ask) -> None:
    def leaks(prompt: Any, response: Any) -> Pieces:
        raise ValueError(f"401 for {response.model.get_key()}")
        yield ""

    install(leaks, needs_key="theirs", key=CANARY)
    with pytest.raises(APIError) as caught:
        create()
    assert caught.value.message == "llm:theirs failed: 401 for …"
    assert CANARY not in json.dumps(caught.value.receipt.to_dict() if caught.value.receipt else "")
    with pytest.raises(llm.ModelError) as told:
        ask("hi", provider="llm:theirs")
    assert CANARY not in str(told.value)


def test_needs_key_exception_is_an_authentication_error(install: Install) -> None:
    def refused(prompt: Any, response: Any) -> Pieces:
        raise llm.NeedsKeyException("No key for this")
        yield ""

    install(refused)
    with pytest.raises(AuthenticationError, match="llm:theirs failed: No key for this"):
        create()


# Its answer.


def test_pieces_and_usage(install: Install) -> None:
    seen = install(hello)
    answer = create()
    assert text_of(answer) == "Hello"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.to_dict() == {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "total_tokens": 9,
    }
    chunks = [
        choice.delta.content
        for one in Client("llm:theirs").chat.completions.stream("hi")
        for choice in one.choices
    ]
    assert chunks[:2] == ["Hel", "lo"]
    assert [prompt.prompt for prompt in seen] == ["hi", "hi"]


def test_pieces_are_passed_on_at_once(install: Install) -> None:
    def slow(prompt: Any, response: Any) -> Pieces:
        made.append("a")
        yield "a"
        time.sleep(0.3)
        made.append("b")
        yield "b"

    made: list[str] = []
    install(slow)
    chunks = Client("llm:theirs").chat.completions.stream("hi")
    assert next(chunks).choices[0].delta.content == "a"
    assert made == ["a"]
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == "b"


def test_incomplete_usage_is_none(install: Install) -> None:
    def silent(prompt: Any, response: Any) -> Pieces:
        yield "Hello"
        response.set_usage(input=7)

    install(silent)
    assert create().usage is None


def test_reasoning_is_separate_from_text(install: Install, ask: Ask) -> None:
    def thinks(prompt: Any, response: Any) -> Pieces:
        yield StreamEvent(type="reasoning", chunk="h")
        yield StreamEvent(type="reasoning", chunk="m")
        yield StreamEvent(type="reasoning", chunk="", redacted=True)
        yield StreamEvent(type="text", chunk="Hello")

    install(thinks)
    message = create().choices[0].message
    assert (message.reasoning, message.content) == ("hm", "Hello")
    answer = ask("hi", provider="llm:theirs")
    assert [(event.type, event.chunk) for event in answer.events] == [
        ("reasoning", "h"),
        ("reasoning", "m"),
        ("text", "Hello"),
    ]


def test_server_executed_tool_calls_are_left_out(install: Install) -> None:
    def searches(prompt: Any, response: Any) -> Pieces:
        yield StreamEvent(type="tool_call_name", chunk="search", server_executed=True)
        yield StreamEvent(type="tool_result", chunk="found", server_executed=True)
        yield "Hello"

    install(searches)
    message = create().choices[0].message
    assert (message.content, message.tool_calls) == ("Hello", None)


def test_a_lone_surrogate_is_replaced(install: Install) -> None:
    def odd(prompt: Any, response: Any) -> Pieces:
        yield "a\ud800b"

    install(odd)
    assert text_of(create()) == "a\ufffdb"


def test_an_empty_answer_is_invalid(install: Install) -> None:
    install(lambda prompt, response: iter(()))
    with pytest.raises(InvalidResponseError, match="empty answer"):
        create()


# What goes wrong.


def test_a_model_that_fails_after_text_is_a_stream_error(
    install: Install, endpoints: Callable[..., Path]
) -> None:
    def breaks(prompt: Any, response: Any) -> Pieces:
        yield "Hel"
        raise KeyError("lost")

    install(breaks)
    with Server(stream("from a")) as a:
        endpoints(a=a)
        text, error = streamed("llm:theirs,a")
    assert type(error) is StreamError
    assert (text, error.partial) == ("Hel", "Hel")
    assert error.message == "llm:theirs failed: 'lost'"
    assert outcomes(error) == [("llm:theirs", "StreamError")]
    assert a.requests == []


def test_an_error_without_a_message_shows_its_class(install: Install) -> None:
    def breaks(prompt: Any, response: Any) -> Pieces:
        raise NotImplementedError
        yield ""

    install(breaks)
    with pytest.raises(APIError, match="llm:theirs failed: NotImplementedError"):
        create()


def test_system_exit_in_a_model_is_an_error(other_plugin: Callable[..., None]) -> None:
    def exits(prompt: Any, response: Any) -> Pieces:
        yield ""
        sys.exit(3)

    other_plugin(lambda register: register(Theirs("theirs", exits, [])))
    with pytest.raises(APIError, match=r"llm:theirs failed: SystemExit\(3\)"):
        create(timeout=5)


BLOCKS = """
import sys, time
import llm
from llm.plugins import pm
from llm_g4f import Client, errors

class Blocks(llm.Model):
    model_id = "theirs"
    def execute(self, prompt, stream, response, conversation=None):
        time.sleep(300)
        yield "late"

class Plugin:
    @llm.hookimpl
    def register_models(self, register):
        register(Blocks())

llm.get_models_with_aliases()
pm.register(Plugin(), name="other")
began = time.monotonic()
try:
    Client("llm:theirs").chat.completions.create("hi", timeout=0.3)
except errors.APITimeoutError as error:
    print(error.message, time.monotonic() - began < 2)
"""


def test_a_blocking_model_delays_neither_the_timeout_nor_the_exit() -> None:
    done = run_python(BLOCKS)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "The answer was not complete within 0.3 s (timeout); llm:theirs was asked last. Raise"
        " timeout, or ask another provider. True\n"
    )


def test_a_silent_model_is_followed_by_the_next_candidate(
    other_plugin: Callable[..., None],
    endpoints: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def silent(prompt: Any, response: Any) -> Pieces:
        time.sleep(1)
        yield "late"

    monkeypatch.setattr(policy, "IDLE_TIMEOUT", 0.2)
    other_plugin(lambda register: register(Theirs("vendor/theirs", silent, [])))
    with Server(stream("from a")) as a:
        endpoints(a=a)
        answer = create(provider="llm:vendor/theirs,a")
        assert outcomes(answer) == [("llm:vendor/theirs", "APITimeoutError"), ("a", "ok")]
        # A limit holds for one model, and not for all of llm's.
        assert list(Cooldowns().cooldowns()) == ["llm:vendor/theirs/vendor/theirs"]
        answer = create(provider="llm:vendor/theirs,a")
    assert outcomes(answer) == [("a", "ok")]


class Slow(llm.AsyncModel):
    model_id = "theirs"
    can_stream = True

    def __init__(self) -> None:
        self.closed = 0

    async def execute(
        self, prompt: Any, stream: bool, response: Any, conversation: Any
    ) -> AsyncGenerator[str | StreamEvent, None]:
        try:
            yield "a"
            await asyncio.sleep(60)
            yield "b"
        finally:
            self.closed += 1


def test_cancelling_closes_an_asynchronous_model(other_plugin: Callable[..., None]) -> None:
    slow = Slow()
    other_plugin(lambda register: register(Theirs("theirs", never, []), slow))

    async def main() -> None:
        client = AsyncClient("llm:theirs")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.chat.completions.create("hi"), 0.1)
        assert slow.closed == 1
        with pytest.raises(APITimeoutError):
            await client.chat.completions.create("hi", timeout=0.1)
        assert slow.closed == 2
        async with await client.chat.completions.stream("hi") as chunks:
            await anext(chunks)
        assert slow.closed == 3

    asyncio.run(main())


# What it can take.


def test_unknown_options_are_left_out_and_listed(install: Install) -> None:
    class Options(llm.Options):
        temperature: float | None = Field(default=None, le=1)
        max_tokens: int | None = None
        json_object: bool | None = None

    seen = install(hello, Options=Options)
    answer = create(
        temperature=0.5,
        max_completion_tokens=9,
        top_p=0.5,
        seed=1,
        tools=[],
        n=1,
        stream_options={"include_usage": True},
        response_format={"type": "json_object"},
    )
    assert dict(seen[0].options) == {"temperature": 0.5, "max_tokens": 9, "json_object": True}
    assert answer.receipt is not None
    assert answer.receipt.omitted == ("top_p", "seed")
    with pytest.raises(
        BadRequestError, match=r"^llm:theirs cannot take the request: temperature: "
    ):
        create(temperature=1.5)


def test_an_unknown_response_format_is_left_out_and_listed(install: Install) -> None:
    install(hello)
    answer = create(response_format={"type": "json_object"}, max_tokens=5)
    assert answer.receipt is not None
    assert answer.receipt.omitted == ("max_tokens", "response_format")


def test_n_above_one_is_ineligible(install: Install) -> None:
    install(hello)
    assert left_out(n=2) == "llm models give one answer per request (n=1)"


def test_tools_need_a_model_with_tools(install: Install) -> None:
    install(hello)
    assert left_out(tools=[tool("f")]) == "theirs does not support tools"


TURNS = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b"},
    {"role": "user", "content": "c"},
]


def test_conversations_need_a_model_with_conversations(install: Install) -> None:
    seen = install(hello, supports_conversation=False)
    assert left_out(messages=TURNS) == "theirs does not support conversations"
    create([{"role": "system", "content": "s"}, {"role": "user", "content": "a"}])
    assert (seen[0].system, seen[0].prompt) == ("s", "a")


def image(type: str) -> dict[str, Any]:
    data = base64.b64encode(PNG).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{type};base64,{data}"}}


AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}
PDF = {
    "type": "file",
    "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
}


@pytest.mark.parametrize(
    ("part", "type"),
    [
        (image("image/webp"), "image/webp"),
        (AUDIO, "audio/mpeg"),
        (AUDIO | {"input_audio": {"data": "AAAA", "format": "wav"}}, "audio/wav"),
        (PDF, "application/pdf"),
    ],
    ids=["webp", "mp3", "wav", "pdf"],
)
def test_attachments_need_a_model_with_their_type(
    install: Install, endpoints: Callable[..., Path], part: dict[str, Any], type: str
) -> None:
    seen = install(hello, attachment_types={"image/png"})
    messages = [{"role": "user", "content": [{"type": "text", "text": "see"}, part]}]
    with Server(whole("from a")) as a:
        endpoints(a=a)
        assert outcomes(create(messages, "llm:theirs,a")) == [("a", "ok")]
        assert left_out(messages=messages) == f"theirs does not accept {type}"
        earlier = [*messages, *TURNS[1:]]
        assert left_out(messages=earlier) == f"theirs does not accept {type}"
    assert seen == []


def test_attachments_of_its_types_arrive(install: Install) -> None:
    types = {"image/png", "audio/mpeg", "application/pdf"}
    seen = install(hello, attachment_types=types)
    parts = [{"type": "text", "text": "see"}, image("image/png"), AUDIO, PDF]
    create([{"role": "user", "content": parts}])
    (prompt,) = seen
    assert prompt.prompt == "see"
    assert [(one.type, one.content) for one in prompt.attachments] == [
        ("image/png", PNG),
        ("audio/mpeg", b"\0\0\0"),
        ("application/pdf", b"\0\0\0"),
    ]
    (message,) = prompt.messages
    assert [type(part).__name__ for part in message.parts] == ["TextPart", *["AttachmentPart"] * 3]


def test_an_image_by_url_is_passed_on_and_not_fetched(install: Install) -> None:
    seen = install(hello, attachment_types={"image/png"})
    with Server([]) as images:
        url = f"{images.origin}/a.png"
        part = {"type": "image_url", "image_url": {"url": url}}
        began = time.monotonic()
        create([{"role": "user", "content": [part]}], timeout=5)
        assert time.monotonic() - began < 2
        assert images.connections == 0
    assert [one.url for one in seen[0].attachments] == [url]


# Schemas.

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FORM = {"type": "json_schema", "json_schema": {"name": "output", "schema": SCHEMA}}


def test_a_model_with_schemas_gets_the_schema(install: Install) -> None:
    seen = install(hello, supports_schema=True)
    assert text_of(create(response_format=FORM)) == "Hello"
    assert seen[0].schema == SCHEMA
    assert seen[0].system == ""


def test_a_model_without_schemas_gets_the_schema_in_the_prompt(
    install: Install, endpoints: Callable[..., Path]
) -> None:
    def answers_with_json(prompt: Any, response: Any) -> Pieces:
        yield "```json\n"
        yield answers.pop(0)
        yield "\n```"

    answers = ['{"a": 1}', '{"a": "one"}']
    seen = install(answers_with_json)
    assert text_of(create(response_format=FORM)) == '{"a": 1}'
    assert seen[0].schema is None
    assert json.dumps(SCHEMA) in seen[0].system
    with Server(whole('{"a": 2}')) as a:
        endpoints(a=a)
        answer = create(provider="llm:theirs,a", response_format=FORM)
    assert text_of(answer) == '{"a": 2}'
    assert outcomes(answer) == [("llm:theirs", "InvalidResponseError"), ("a", "ok")]


# Turns.


def said(messages: list[Message]) -> list[tuple[str, list[Any]]]:
    """Roles and what the parts say."""
    return [
        (
            message.role,
            [getattr(part, "text", None) or getattr(part, "name", None) for part in message.parts],
        )
        for message in messages
    ]


def test_a_conversation_of_several_turns(install: Install) -> None:
    def counts(prompt: Any, response: Any) -> Pieces:
        yield f"answer {len(prompt.messages)}"

    seen = install(counts)
    conversation = llm.get_model("gpt-4o").conversation()
    options = {"provider": "llm:theirs"}
    assert conversation.prompt("one", system="brief", options=options).text() == "answer 2"
    assert conversation.prompt("two").text() == "answer 4"
    assert conversation.prompt("three").text() == "answer 6"
    assert said(seen[2].messages) == [
        ("system", ["brief"]),
        ("user", ["one"]),
        ("assistant", ["answer 2"]),
        ("user", ["two"]),
        ("assistant", ["answer 4"]),
        ("user", ["three"]),
    ]
    assert [(prompt.prompt, prompt.system) for prompt in seen] == [
        ("one", "brief"),
        ("two", "brief"),
        ("three", "brief"),
    ]


# Plugins that read conversation.responses.


def as_llm_groq(prompt: Any, response: Any) -> Pieces:
    """The messages that llm-groq 0.9 sends (its build_messages), as the answer."""

    def user(asked: Any, attachments: list[Any]) -> dict[str, Any]:
        images = [{"image": attachment.base64_content()} for attachment in attachments]
        text = {"type": "text", "text": asked.prompt}
        return {"role": "user", "content": [*images, text] if images else asked.prompt}

    messages: list[Any] = []
    system = None
    for before in response.conversation.responses if response.conversation else ():
        if before.prompt.system and before.prompt.system != system:
            system = before.prompt.system
            messages.append({"role": "system", "content": system})
        messages.append(user(before.prompt, before.attachments))
        messages.append({"role": "assistant", "content": before.text_or_raise()})
    if prompt.system and system != prompt.system:
        messages.append({"role": "system", "content": prompt.system})
    yield json.dumps([*messages, user(prompt, prompt.attachments)])


IMAGE = {
    "type": "image_url",
    "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"},
}
QUESTION = {"role": "user", "content": "one"}
ANSWER = {"role": "assistant", "content": "1"}


@pytest.mark.parametrize(
    ("given", "arrives"),
    [
        ([QUESTION], [QUESTION]),
        (
            [{"role": "system", "content": "brief"}, QUESTION],
            [{"role": "system", "content": "brief"}, QUESTION],
        ),
        (
            [
                {"role": "system", "content": "brief"},
                {"role": "user", "content": [{"type": "text", "text": "see"}, IMAGE]},
                ANSWER,
                QUESTION,
                {"role": "assistant", "content": "2"},
                {"role": "user", "content": "three"},
            ],
            [
                {"role": "system", "content": "brief"},
                {
                    "role": "user",
                    "content": [
                        {"image": base64.b64encode(PNG).decode()},
                        {"type": "text", "text": "see"},
                    ],
                },
                ANSWER,
                QUESTION,
                {"role": "assistant", "content": "2"},
                {"role": "user", "content": "three"},
            ],
        ),
        # Two questions in a row, and answers without a question.
        (
            [ANSWER, ANSWER, QUESTION, QUESTION, ANSWER, QUESTION],
            [
                {"role": "user", "content": ""},
                {"role": "assistant", "content": "11"},
                {"role": "user", "content": "one\n\none"},
                ANSWER,
                QUESTION,
            ],
        ),
    ],
)
def test_a_plugin_that_reads_the_conversations_responses_gets_all(
    given: list[Any], arrives: list[Any], install: Install
) -> None:
    seen = install(as_llm_groq, attachment_types={"image/png"})
    assert json.loads(text_of(create(given)) or "") == arrives
    # Those that read the messages get each one once.
    assert len(seen[0].messages) == len(given)


def test_a_plugin_that_awaits_or_calls_text_of_past_responses(install: Install) -> None:
    def as_llm_gpt4all(prompt: Any, response: Any) -> Pieces:
        blocks = []
        for before in response.conversation.responses if response.conversation else ():
            text = before.text()
            blocks += [before.prompt.prompt, text if isinstance(text, str) else finished(text)]
        yield " | ".join([*blocks, prompt.prompt])

    install(as_llm_gpt4all)
    conversation = llm.get_model("gpt-4o").conversation()
    options = {"provider": "llm:theirs"}
    assert conversation.prompt("one", options=options).text() == "one"
    assert conversation.prompt("two").text() == "one | one | two"
    assert conversation.prompt("three").text() == "one | one | two | one | one | two | three"


def finished(awaitable: Any) -> Any:
    """The result of a coroutine that waits for nothing."""
    with pytest.raises(StopIteration) as stopped:
        awaitable.send(None)
    return stopped.value.value


def test_tools_and_schemas_of_past_turns_are_in_the_responses(install: Install) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    past: list[Any] = []

    def answer(prompt: Any, response: Any) -> Pieces:
        past.extend(response.conversation.responses)
        yield "{}"

    seen = install(answer, supports_tools=True, supports_schema=True)
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    create(
        [
            QUESTION,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "done"},
            ANSWER,
            {"role": "user", "content": "two"},
        ],
        tools=[tool("f")],
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    )
    first, second = past
    assert [(made.name, made.arguments) for made in first.tool_calls_or_raise()] == [
        ("f", {"a": 1})
    ]
    (result,) = second.prompt.tool_results
    assert (result.name, result.output, result.tool_call_id) == ("f", "done", "c1")
    assert (first.prompt.prompt, second.text_or_raise()) == ("one", "1")
    assert said(second.prompt.messages) == [
        ("user", ["one"]),
        ("assistant", ["f"]),
        ("tool", ["f"]),
    ]
    assert seen[0].schema == schema
    assert [made.name for made in seen[0].tools] == ["f"]


def tool(name: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    return {
        "type": "function",
        "function": {"name": name, "description": "It knows.", "parameters": schema},
    }


def calling(*events: StreamEvent, **call: Any) -> Answering:
    """Calls its tool, and once it has the result says so."""

    def answer(prompt: Any, response: Any) -> Pieces:
        if prompt.tool_results:
            yield f"It is {prompt.tool_results[0].output}."
            return
        yield "Let me see. "
        yield from events
        response.add_tool_call(llm.ToolCall("weather", {"city": "Köln"}, **call))

    return answer


SIGNED = {"theirs": {"signature": "s"}}
EVENTS = (
    StreamEvent("tool_call_name", "weather", tool_call_id="c1", provider_metadata=SIGNED),
    StreamEvent("tool_call_args", '{"city": "Köln"}', tool_call_id="c1"),
)
NAMELESS = (
    StreamEvent("tool_call_name", "weather", provider_metadata=SIGNED),
    StreamEvent("tool_call_args", '{"city": "Köln"}'),
)


@pytest.mark.parametrize("events", [(), EVENTS], ids=["registered", "registered and streamed"])
def test_a_call_of_a_tool(install: Install, events: tuple[StreamEvent, ...]) -> None:
    seen = install(calling(*events, tool_call_id="c1"), supports_tools=True)
    choice = create(tools=[tool("weather")]).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see. "
    call = call_of(choice.message)
    assert (call.id, call.function.name) == ("c1", "weather")
    assert json.loads(call.function.arguments) == {"city": "Köln"}
    (offered,) = seen[0].tools
    assert (offered.name, offered.description) == ("weather", "It knows.")
    assert offered.input_schema == tool("weather")["function"]["parameters"]


def call_of(message: ChatCompletionMessage) -> ToolCall:
    """Its only call."""
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    return call


def weather(city: str) -> str:
    "It knows."
    return f"rain in {city}"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_round_of_tools_through_llm(install: Install, asynchronous: bool) -> None:
    seen = install(calling(*EVENTS, tool_call_id="c1"), supports_tools=True)
    options = {"provider": "llm:theirs"}

    async def asked() -> str:
        chain = llm.get_async_model("gpt-4o").chain("weather?", tools=[weather], options=options)
        return await chain.text()

    if asynchronous:
        text = asyncio.run(asked())
    else:
        text = llm.get_model("gpt-4o").chain("weather?", tools=[weather], options=options).text()
    assert text.endswith("It is rain in Köln.")
    first, second = seen
    assert (first.prompt, first.tool_results) == ("weather?", [])
    assert not second.prompt
    (result,) = second.tool_results
    assert (result.name, result.output, result.tool_call_id) == ("weather", "rain in Köln", "c1")
    assert said(second.messages) == [
        ("user", ["weather?"]),
        ("assistant", ["Let me see. ", "weather"]),
        ("tool", ["weather"]),
    ]
    called = second.messages[1].parts[1]
    assert (called.tool_call_id, called.arguments) == ("c1", {"city": "Köln"})


@pytest.mark.parametrize(
    ("events", "call"), [(EVENTS, {"tool_call_id": "c1"}), (NAMELESS, {})], ids=["by id", "without"]
)
def test_provider_metadata_of_a_call_is_sent_back_to_the_model(
    install: Install, events: tuple[StreamEvent, ...], call: dict[str, Any]
) -> None:
    seen = install(calling(*events, **call), supports_tools=True)
    message = create(tools=[tool("weather")]).choices[0].message
    create(
        [
            {"role": "user", "content": "weather?"},
            message.to_dict(),
            {"role": "tool", "tool_call_id": call_of(message).id, "content": "rain"},
        ],
        tools=[tool("weather")],
    )
    (called,) = (part for part in seen[1].messages[1].parts if not hasattr(part, "text"))
    assert called.provider_metadata == SIGNED
    llm.get_model("gpt-4o").chain(
        "weather?", tools=[weather], options={"provider": "llm:theirs"}
    ).text()
    (called,) = (part for part in seen[3].messages[1].parts if not hasattr(part, "text"))
    assert called.provider_metadata == SIGNED


def test_provider_metadata_of_a_call_is_not_sent_to_an_endpoint(
    install: Install, endpoints: Callable[..., Path]
) -> None:
    install(calling(*EVENTS, tool_call_id="c1"), supports_tools=True)
    message = create(tools=[tool("weather")]).choices[0].message.to_dict()
    assert message["tool_calls"][0]["extra_content"] == {"llm": SIGNED}
    result = {"role": "tool", "tool_call_id": "c1", "content": "rain"}
    with Server(whole()) as a:
        endpoints(a=a)
        create([*TURNS[:1], message, result], provider="a")
    assert "signature" not in a.requests[0].body.decode()


def test_results_of_one_round_are_one_message(install: Install) -> None:
    seen = install(hello, supports_tools=True)
    calls = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": ""}}
        for id, name in (("c1", "f"), ("c2", "g"))
    ]
    create(
        [
            {"role": "developer", "content": "brief"},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
        ]
    )
    (prompt,) = seen
    assert said(prompt.messages) == [
        ("system", ["brief"]),
        ("user", ["a"]),
        ("assistant", ["f", "g"]),
        ("tool", ["f", "g"]),
    ]
    assert [(one.name, one.output) for one in prompt.tool_results] == [("f", "one"), ("g", "two")]
    assert prompt.system == "brief"
    assert prompt.messages[2].parts[0].arguments == {}


BAD: list[Any] = [
    {"messages": [TURNS[0], {"role": "assistant", "tool_calls": [{"id": "c"}]}, TURNS[2]]},
    {
        "messages": [
            TURNS[0],
            {
                "role": "assistant",
                "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "x"},
        ]
    },
    {"messages": [{"role": "user", "content": 5}]},
    {"messages": [{"role": "user", "content": ["text"]}]},
    {"tools": [{"type": "web_search"}]},
    {"response_format": {"type": "json_schema"}},
    {"response_format": {"type": "json_schema", "json_schema": "x"}},
]


@pytest.mark.parametrize("request_", BAD, ids=lambda one: json.dumps(one)[:60])
def test_an_invalid_request_is_a_bad_request(install: Install, request_: Any) -> None:
    seen = install(hello, supports_tools=True, supports_schema=True)
    with pytest.raises(BadRequestError) as caught:
        create(**request_)
    assert caught.value.status_code == 400
    assert seen == []
