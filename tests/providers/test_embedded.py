"""The real local model as a provider, and the same llama.cpp as an endpoint of one's own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llm_g4f import AsyncClient, Client, errors
from llm_g4f.local import server
from llm_g4f.types import ChatCompletion, ChatCompletionChunk
from tests.support.commands import STRICT, run_python
from tests.support.waiting import wait_until

MODEL = "smollm2-135m-instruct"

SHORT: dict[str, Any] = {"max_tokens": 12, "seed": 1, "temperature": 0}

ENDLESS = "Count: 1, 2, 3, 4 and so on up to one thousand."


pytestmark = pytest.mark.usefixtures("real_weights")


def ask(messages: Any = "Name a colour.", **options: Any) -> ChatCompletion:
    answer: ChatCompletion = Client().chat.completions.create(messages, **(SHORT | options))
    return answer


def text_of(answer: ChatCompletion) -> str:
    return answer.choices[0].message.content or ""


def test_a_whole_answer() -> None:
    answer = ask()
    assert text_of(answer).strip()
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert (answer.provider, answer.model) == ("embedded", MODEL)
    assert answer.usage is not None
    assert 5 < answer.usage.prompt_tokens < 60
    assert 0 < answer.usage.completion_tokens <= 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    receipt = answer.receipt
    assert receipt is not None
    assert not receipt.exact
    assert [one.outcome for one in receipt.attempts] == ["ok"]
    assert receipt.omitted == ()
    assert "SmolLM2-135M" not in answer.model_dump_json()


def test_a_streamed_answer_equals_the_whole_one() -> None:
    whole = ask()

    async def main() -> list[ChatCompletionChunk]:
        stream = AsyncClient().chat.completions.stream(
            "Name a colour.", stream_options={"include_usage": True}, **SHORT
        )
        return [chunk async for chunk in stream]

    chunks = asyncio.run(main())
    pieces = [choice.delta.content for chunk in chunks for choice in chunk.choices]
    assert sum(bool(piece) for piece in pieces) > 3
    assert "".join(piece or "" for piece in pieces) == text_of(whole)
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert {chunk.model for chunk in chunks} == {MODEL}


def test_a_stream_has_no_chunks_for_the_progress_of_the_prompt() -> None:
    stream = Client("embedded").chat.completions.stream("Name a colour. " * 40, max_tokens=3)
    contents = [chunk.choices[0].delta.content for chunk in stream]
    # The first has the role, the last the finish_reason.
    assert contents.count(None) == 2


def test_seed() -> None:
    hot = {"temperature": 1.5, "top_p": 1.0, "max_tokens": 16}
    first, again, other = (text_of(ask("Tell a story.", seed=n, **hot)) for n in (7, 7, 8))
    assert first == again != other


def test_max_tokens_and_stop() -> None:
    cut = ask("Write about the sea.", max_tokens=3)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage is not None
    assert cut.usage.completion_tokens == 3
    same = ask("Write about the sea.", max_tokens=None, max_completion_tokens=3)
    assert text_of(same) == text_of(cut)
    whole = text_of(ask("Write about the sea.", max_tokens=20))
    word = whole.split()[3]
    stopped = ask("Write about the sea.", max_tokens=20, stop=[word])
    assert stopped.choices[0].finish_reason == "stop"
    assert text_of(stopped) == whole[: whole.index(word)]


def test_a_schema_constrains_the_answer() -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"$ref": "#/$defs/name"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
        "$defs": {"name": {"enum": ["Ada", "Bob"]}},
    }
    form = {"type": "json_schema", "json_schema": {"name": "dog", "schema": schema}}
    data = json.loads(text_of(ask("Invent a dog.", response_format=form, max_tokens=60)))
    assert data.keys() == {"name", "age"}
    assert data["name"] in ("Ada", "Bob")
    assert isinstance(data["age"], int)


def test_system_prompt_and_conversation() -> None:
    plain = ask([{"role": "user", "content": "Who are you?"}])
    pirate = ask(
        [
            {"role": "system", "content": "You are a pirate. Talk like a pirate."},
            {"role": "user", "content": "Who are you?"},
        ]
    )
    assert text_of(plain) != text_of(pirate)
    turns = ask(
        [
            {"role": "user", "content": "My name is Ada."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is "},
                    {"type": "text", "text": "my name?"},
                ],
            },
            {"role": "assistant", "content": None},
            {"role": "user", "content": "Say it."},
        ]
    )
    assert text_of(turns)
    assert turns.usage is not None
    assert plain.usage is not None
    assert turns.usage.prompt_tokens > plain.usage.prompt_tokens


def test_a_conversation_is_not_read_again() -> None:
    messages: list[dict[str, Any]] = []
    read = []
    for turn in range(5):
        messages.append({"role": "user", "content": f"{turn} is the number of this line. " * 5})
        answer = ask(messages)
        messages.append({"role": "assistant", "content": text_of(answer)})
        usage = answer.usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        read.append(usage.prompt_tokens - usage.prompt_tokens_details["cached_tokens"])
    # The fifth turn's own tokens, and not the whole history.
    assert read[4] <= 1.3 * read[0], read


def test_a_prompt_longer_than_the_window_is_refused_unread_with_both_numbers() -> None:
    ask()
    begun = time.monotonic()
    with pytest.raises(errors.ContextLengthError, match=r"1000\d\d tokens.*8192 tokens") as caught:
        ask("word " * 100_000)
    # Reading 8,192 tokens alone would take longer.
    assert time.monotonic() - begun < 15
    assert caught.value.provider == "embedded"
    assert len(str(caught.value)) < 1_000
    assert text_of(ask())


def test_tools_are_unsupported() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    with pytest.raises(errors.NoProviderError, match=f"{MODEL} does not call tools"):
        ask(tools=tools)


def test_unsupported_parameters_are_left_out_and_announced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = ask(user="me", store=False, n=1, stream_options={"include_usage": True})
    assert answer.receipt is not None
    assert answer.receipt.omitted == ("store", "user")
    assert [record.getMessage() for record in caplog.records] == [
        (
            f"gpt-4o answered by {MODEL} (embedded): a substitute;"
            " without store, user, which it does not take."
            ' A small model that gets facts wrong; "llm g4f setup" for better.'
        )
    ]


def test_an_invalid_parameter_is_a_bad_request() -> None:
    with pytest.raises(errors.BadRequestError) as caught:
        ask(temperature="hot")
    assert caught.value.provider == "embedded"
    assert text_of(ask())


def assert_no_slot_is_busy(seconds: float = 10.0) -> None:
    """Within two batches nothing is read or written any more."""
    wait_until(lambda: not any(told["busy"] for _, told in server.running_models()), seconds)


def test_closing_a_stream_frees_its_slot() -> None:
    async def main() -> None:
        begun = await AsyncClient().chat.completions.stream(ENDLESS, max_tokens=4_000)
        await anext(begun)
        await begun.aclose()

    asyncio.run(main())
    assert_no_slot_is_busy()


@pytest.mark.parametrize("streamed", [True, False])
def test_cancelling_while_the_prompt_is_read_frees_its_slot(streamed: bool) -> None:
    async def read(completions: Any) -> None:
        prompt = f"{streamed} " + "word " * 4_000
        answer = await completions.create(prompt, max_tokens=1_000, stream=streamed)
        if streamed:
            async for _ in answer:
                pass

    async def main() -> None:
        completions = AsyncClient().chat.completions
        await completions.create("hi", max_tokens=1)
        task = asyncio.ensure_future(read(completions))
        while not any(told["busy"] for _, told in await asyncio.to_thread(server.running_models)):
            assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    # All of it would take much longer than two batches.
    assert_no_slot_is_busy()


def test_a_timeout_has_the_partial_text() -> None:
    ask()
    with pytest.raises(errors.APITimeoutError) as caught:
        ask(ENDLESS, max_tokens=4_000, extra_body={"ignore_eos": True}, timeout=6)
    assert caught.value.partial
    assert_no_slot_is_busy()


def test_several_loops_and_threads() -> None:
    async def main() -> set[str]:
        answers = (AsyncClient().chat.completions.create("Name a colour.", **SHORT) for _ in "ab")
        return {text_of(answer) for answer in await asyncio.gather(*answers)}

    # Not the same ones: two at once are computed together, and rounded otherwise.
    assert "" not in asyncio.run(main()) | asyncio.run(main())
    with ThreadPoolExecutor(4) as threads:
        assert "" not in set(threads.map(lambda _: text_of(ask()), range(4)))


NOTICE = (
    f"gpt-4o answered by {MODEL} (embedded): a substitute."
    ' A small model that gets facts wrong; "llm g4f setup" for better.\n'
)


@pytest.mark.parametrize(
    "program",
    [
        "answer = Client().chat.completions.create('hi', max_tokens=2)",
        "items = Client().chat.completions.stream('Count to 1000', max_tokens=1000); next(items)",
        """
async def main():
    await AsyncClient().chat.completions.create('hi', max_tokens=2)
asyncio.run(main())
""",
        """
async def main():
    async for one in AsyncClient().chat.completions.stream('Count to 1000', max_tokens=1000):
        if one.choices and one.choices[0].delta.content:
            break
asyncio.run(main())
""",
    ],
)
def test_the_interpreter_exits_cleanly(program: str) -> None:
    done = run_python(
        # asyncio's warnings of slow turns are about the machine that runs this.
        "import asyncio, logging\nlogging.getLogger('asyncio').setLevel(logging.ERROR)\n"
        f"from llm_g4f import AsyncClient, Client\n{program}",
        *STRICT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", NOTICE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_after_a_fork_parent_and_child_answer() -> None:
    done = run_python(
        """
import os, signal, sys
from llm_g4f import Client

def ask():
    answer = Client().chat.completions.create("Name a colour.", max_tokens=4, temperature=0)
    return answer.choices[0].message.content

first = ask()
child = os.fork()
if child == 0:
    signal.alarm(30)
    assert ask() == first
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0, "the child failed"
assert ask() == first
print("both")
""",
        # CPython's warning of any fork in a process with threads.
        *("-W", "ignore:This process:DeprecationWarning"),
    )
    assert (done.returncode, done.stdout) == (0, "both\n"), done
    # Once: the child knows what its parent was told.
    assert done.stderr == NOTICE


# The same llama.cpp over HTTP, for an endpoint of one's own.

UPSTREAM = """
import sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port = sys.argv[1], int(sys.argv[2])
params.hostnames = ["127.0.0.1"]
params.api_keys = ["sk-upstream"]
params.n_ctx, params.n_parallel, params.verbosity = 2048, 1, -1
params.cpuparams.n_threads = 1
params.cache_ram_mib = 0
server = xllamacpp.Server(params)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def upstream(weights_file: Path) -> Iterator[str]:
    """The base URL of a real OpenAI-compatible server with the key sk-upstream."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", UPSTREAM, str(weights_file), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"ready"
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.communicate()


def test_a_real_llama_cpp_server_as_an_endpoint(
    upstream: str, write_config: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(
        f"providers: {{mine: {{base_url: '{upstream}', key_env: MINE_KEY,"
        " models: {gpt-4o: smollm2}}}\n"
    )
    monkeypatch.setenv("MINE_KEY", "sk-upstream")
    answer = ask()
    assert answer.provider == "mine"
    assert text_of(answer)
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 12
    assert answer.receipt is not None
    assert not answer.receipt.exact

    chunks = list(Client().chat.completions.stream("Name a colour.", **SHORT))
    streamed = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert streamed == text_of(answer)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens
    assert len(Client().models.list()) == 1
    assert Client().models.list()[0].startswith("mine/")

    with pytest.raises(errors.ContextLengthError):
        ask("word " * 5_000)
    with pytest.raises(errors.BadRequestError):
        ask(temperature="hot")

    monkeypatch.setenv("MINE_KEY", "sk-wrong")
    for streaming in (False, True):
        with pytest.raises(errors.AuthenticationError) as caught:
            ask(stream=streaming)
        assert caught.value.status_code == 401
        assert "MINE_KEY" in str(caught.value)
        assert "sk-wrong" not in str(caught.value)
