"""A call that is cancelled, closed, interrupted or abandoned, at every stage: it ends soon and quietly, and closes its connections."""

from __future__ import annotations

import asyncio
import gc
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from llm_g4f import AsyncClient, Client
from llm_g4f.local.server import running_models
from llm_g4f.routing import policy
from tests.support.commands import INTERRUPTIBLE
from tests.support.forked import Fork, Forks
from tests.support.server import (
    HANG,
    SSE_HEAD,
    Endless,
    Script,
    Server,
    Step,
    chunk,
    event,
    framed,
    http,
    stream,
)
from tests.support.waiting import wait_until

HEL = framed(event(chunk("Hel")))
BUSY = http(503, {"error": {"message": "No."}})

# What the providers a and b do, and which of them keeps the call waiting.
STAGES: dict[str, tuple[Script, Script, int]] = {
    "before the head": ([HANG], stream("never"), 0),
    "behind the head": ([SSE_HEAD, HANG], stream("never"), 0),
    "after the first text": ([SSE_HEAD, HEL, HANG], stream("never"), 0),
    "at the second provider": (BUSY, [HANG], 1),
    "after the first text of the second provider": (BUSY, [SSE_HEAD, HEL, HANG], 1),
    "in the pause before a second try": (BUSY, stream("never"), 0),
}


def providers(stage: str) -> str:
    return "a" if stage == "in the pause before a second try" else "a,b"


def reached(stage: str, servers: tuple[Server, Server]) -> bool:
    """Whether a call has come as far as the stage."""
    if stage == "in the pause before a second try":
        return len(servers[0].requests) == 1
    return servers[STAGES[stage][2]].hanging == 1


def all_closed(servers: tuple[Server, Server], stage: str) -> None:
    """Each provider got its one request, and no connection is left open."""
    asked = tuple(len(server.requests) for server in servers)
    assert asked == ((1, 1) if STAGES[stage][2] else (1, 0))
    for server in servers:
        server.wait_closed(server.connections)


PROMPTLY = 4.5
"""Seconds: below the five that abandoned work has for cleaning up, for three commands at once."""

# The real command. The pause is long enough to be interrupted.
LONG_PAUSES = "from llm_g4f.routing import policy; policy.BACKOFF = (1e6, 1e6); "


Start = Callable[..., AbstractContextManager["subprocess.Popen[bytes] | Fork"]]


@pytest.fixture
def begun(forks: Forks | None) -> Start:
    """Start the command, with a user directory of its own."""
    return partial(_begun, forks)


@contextmanager
def _begun(
    forks: Forks | None, folder: Path, a: Server, b: Server, *args: str
) -> Iterator[subprocess.Popen[bytes] | Fork]:
    folder.mkdir()
    (folder / "g4f.yaml").write_text(
        f"providers:\n  a: {{base_url: '{a.url}'}}\n  b: {{base_url: '{b.url}'}}\n"
    )
    program, args = LONG_PAUSES + INTERRUPTIBLE, ("-m", "gpt-4o", "hi", *args)
    environment = {**os.environ, "LLM_USER_PATH": str(folder)}
    process: subprocess.Popen[bytes] | Fork
    if forks:
        process = forks.start(program, args, environment)
    else:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


SIGNALS: list[tuple[int, list[str]]] = [
    (signal.SIGINT, []),
    (signal.SIGINT, ["--async"]),
    (signal.SIGTERM, []),
]


@pytest.mark.parametrize("stage", STAGES)
def test_a_signal_ends_the_command_at_every_stage(stage: str, begun: Start, tmp_path: Path) -> None:
    """Ctrl-C with the sync and the async model, and SIGTERM: three commands at once, since they are
    slow to start."""
    said = b"Hel" if "text" in stage else b""
    with ExitStack() as stack:
        runs = []
        for number, (sign, face) in enumerate(SIGNALS):
            a, b = (stack.enter_context(Server(script)) for script in STAGES[stage][:2])
            folder = tmp_path / str(number)
            arguments = ("-o", "provider", providers(stage), *face)
            process = stack.enter_context(begun(folder, a, b, *arguments))
            runs.append((sign, process, (a, b), folder))
        for sign, process, servers, folder in runs:
            wait_until(partial(reached, stage, servers))
            assert process.stdout is not None
            assert process.stdout.read(len(said)) == said
            process.send_signal(sign)
            since = time.monotonic()
            stdout, stderr = process.communicate(timeout=30)
            assert time.monotonic() - since < PROMPTLY
            assert stdout.strip() == b""
            assert b"Traceback" not in stderr
            assert b"xception" not in stderr
            assert process.returncode in ((1, 130) if sign == signal.SIGINT else (-sign, 143))
            all_closed(servers, stage)
            assert not list(folder.glob(".g4f-health*")), "half a state file"


@pytest.mark.parametrize("options", [[], ["--no-stream"], ["--async"]])
def test_a_closed_pipe_ends_the_command_before_the_first_text(
    options: list[str], begun: Start, tmp_path: Path
) -> None:
    text = "0123456789" * 20_000
    with Server(stream(text, text)) as a, Server(stream("never")) as b:
        with begun(tmp_path / "user", a, b, *options) as process:
            assert process.stdout is not None
            process.stdout.close()
            assert process.stderr is not None
            stderr = process.stderr.read()
            process.wait(30)
        a.wait_closed(a.connections)
    assert b"Traceback" not in stderr
    assert b"xception" not in stderr
    assert (len(a.requests), len(b.requests)) == (1, 0)


def test_a_closed_pipe_ends_the_command_within_the_text(endpoints: Callable[..., Path]) -> None:
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


@pytest.mark.parametrize("face", [[], ["--async"]])
def test_ctrl_c_ends_the_embedded_models_answer(real_weights: Path, face: list[str]) -> None:
    prompt = "Write a very long story about a court case, in many chapters."
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "-m", "gpt-4o", prompt, *face],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert len(process.stdout.read(20)) == 20
            process.send_signal(signal.SIGINT)
            since = time.monotonic()
            _, stderr = process.communicate(timeout=30)
            assert time.monotonic() - since < PROMPTLY
        finally:
            process.kill()
    notice, *rest = stderr.decode().splitlines()
    assert notice.startswith("gpt-4o answered by smollm2-135m-instruct (embedded): a substitute.")
    # click's own word, and no crash on the way out.
    assert "".join(rest) in ("", "Aborted!")
    assert process.returncode in (1, 130)


def test_ctrl_c_while_the_local_model_reads_a_long_prompt_is_immediate(real_weights: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "-m", "gpt-4o", "word " * 6_000],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            wait_until(lambda: any(told["busy"] for _, told in running_models()), 60)
            process.send_signal(signal.SIGINT)
            since = time.monotonic()
            stdout, stderr = process.communicate(timeout=30)
            assert time.monotonic() - since < PROMPTLY
        finally:
            process.kill()
    assert (stdout, stderr.strip()) in ((b"", b""), (b"", b"Aborted!"))
    assert process.returncode in (1, 130)


# Tasks.


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("stage", STAGES)
def test_cancelling_a_task_closes_its_connection(
    stage: str, streamed: bool, endpoints: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "BACKOFF", (1e6, 1e6))
    with Server(STAGES[stage][0]) as a, Server(STAGES[stage][1]) as b:
        endpoints(a=a, b=b)

        async def ask() -> None:
            completions = AsyncClient(providers(stage)).chat.completions
            if streamed:
                async for _ in completions.stream("hi"):
                    pass
            else:
                await completions.create("hi")

        async def main() -> None:
            task = asyncio.create_task(ask())
            await asyncio.to_thread(wait_until, partial(reached, stage, (a, b)))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert asyncio.all_tasks() == {asyncio.current_task()}
            if (waiting := (a, b)[STAGES[stage][2]]).hanging:
                await asyncio.to_thread(waiting.wait_closed)

        asyncio.run(main())
        all_closed((a, b), stage)


def test_a_timeout_of_the_caller_is_a_cancellation() -> None:
    async def main(url: str) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.25):
                await AsyncClient(base_url=url).chat.completions.create("hi")

    with Server([HANG]) as server:
        asyncio.run(main(server.url))
        server.wait_closed()
        assert len(server.requests) == 1


def test_cancelling_at_any_turn_of_the_loop_leaves_nothing_open() -> None:
    """Each cancellation comes a few turns of the loop later than the one before."""

    async def main(url: str) -> None:
        completions = AsyncClient(base_url=url).chat.completions
        for turns in range(0, 120, 3):
            task = asyncio.ensure_future(completions.create("hi", stream=False))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with Server([SSE_HEAD, HEL, HANG]) as server:
        asyncio.run(main(server.url))
        server.wait_closed(server.connections)
    # A socket that was lost on the way warns when it is collected.
    gc.collect()


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("rest", [HANG, Endless(HEL)], ids=["silent", "endless"])
def test_a_closed_stream_has_ended_and_closed_its_connection(rest: Step) -> None:
    async def main(url: str) -> None:
        completions = AsyncClient(base_url=url).chat.completions
        async with await completions.stream("hi") as begun:
            await anext(begun)
        assert [one async for one in begun] == []
        await asyncio.to_thread(server.wait_closed)
        begun = await completions.stream("hi")
        await asyncio.create_task(begun.aclose())
        await begun.aclose()
        assert [one async for one in begun] == []
        await asyncio.to_thread(server.wait_closed, 2)

    with Server([SSE_HEAD, HEL, rest]) as server:
        asyncio.run(main(server.url))
        completions = Client(base_url=server.url).chat.completions
        with completions.stream("hi") as begun:
            next(begun)
        assert list(begun) == []
        begun = completions.stream("hi")
        begun.close()
        begun.close()
        assert list(begun) == []
        server.wait_closed(4)


def test_a_stream_cannot_be_read_on_when_its_event_loop_has_ended() -> None:
    async def begin(url: str) -> Any:
        return await AsyncClient(base_url=url).chat.completions.stream("hi")

    async def rest(begun: Any, chunks: list[Any]) -> None:
        async for received in begun:
            chunks.append(received)  # noqa: PERF401 (what came before an error counts too)

    with Server([SSE_HEAD, HEL, HANG]) as server:
        begun = asyncio.run(begin(server.url))
        server.wait_closed()
        chunks: list[Any] = []
        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            asyncio.run(asyncio.wait_for(rest(begun, chunks), 5))
    # The chunk that it waited for at the beginning is still there.
    assert len(chunks) == 1


# Threads, and a loop that runs already.


def test_many_threads_leave_and_finish_streams_at_once() -> None:
    endless: Script = [SSE_HEAD, Endless(HEL, 0.001)]
    with Server(endless) as leaving, Server(stream("Hel", "lo")) as staying:
        short = Client(base_url=leaving.url).chat.completions
        whole = Client(base_url=staying.url).chat.completions

        def leave(number: int) -> int:
            with short.stream("hi") as chunks:
                return sum(1 for _, _ in zip(range(number), chunks, strict=False))

        def stay(_: int) -> str | None:
            return whole.create("hi").choices[0].message.content

        with ThreadPoolExecutor(16) as threads:
            left = threads.map(leave, range(32))
            stayed = threads.map(stay, range(32))
            assert list(left) == list(range(32))
            assert set(stayed) == {"Hello"}
        leaving.wait_closed(leaving.connections)
        assert leaving.connections == 32


def test_a_sync_call_inside_a_running_loop_leaves_it_running() -> None:
    with Server(stream("Hel", "lo")) as server:

        async def main() -> str:
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    ticks += 1
                    await asyncio.sleep(0)

            ticking = asyncio.create_task(tick())
            await asyncio.sleep(0)
            said = ""
            for one in Client(base_url=server.url).chat.completions.stream("hi"):
                said += "".join(choice.delta.content or "" for choice in one.choices)
                before = ticks
                await asyncio.sleep(0)
                assert ticks > before
            ticking.cancel()
            return said

        assert asyncio.run(main()) == "Hello"


# Whole programs that close nothing; every warning is an error.

PROGRAM = """
import asyncio, logging, os, signal, sys, threading
from llm_g4f import AsyncClient, Client

# asyncio's warnings of slow turns are about the machine that runs this.
logging.getLogger("asyncio").setLevel(logging.ERROR)
url = {url!r}
completions = Client(base_url=url).chat.completions

async def begin():
    begun = await AsyncClient(base_url=url).chat.completions.stream("hi")
    await anext(begun)
    return begun

# Where tests run in the background the signal is ignored, and that is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)

async def forever():
    async for chunk in AsyncClient(base_url=url).chat.completions.stream("hi"):
        print("a word", flush=True)
"""


def finished(server: Server, code: str, *, interrupt: bool = False) -> list[str]:
    """The lines that a program prints; it has to exit with 0, soon, with an empty stderr.
    `interrupt`: press Ctrl-C after its first line, once the server hangs."""
    code = PROGRAM.format(url=server.url) + code
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        first = ""
        try:
            if interrupt:
                assert process.stdout is not None
                first = process.stdout.readline()
                wait_until(lambda: server.hanging > 0)
                process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, stderr) == (0, "")
    return (first + stdout).splitlines()


ENDS = {
    "a stream in another thread": """
chunks = completions.stream("hi")
next(chunks)
threading.Thread(target=lambda: list(chunks), daemon=True).start()
print("bye")
""",
    "a stream of a loop that was only stopped": """
loop = asyncio.new_event_loop()
begun = loop.run_until_complete(begin())
loop.run_until_complete(loop.shutdown_asyncgens())
loop.run_until_complete(loop.shutdown_default_executor())
loop.close()
print("bye")
""",
    "a loop in another thread": """
thread = threading.Thread(target=lambda: asyncio.run(begin()))
thread.start()
thread.join()
print("bye")
""",
    "a stream in a reference cycle": """
chunks = completions.stream("hi")
cycle = [next(chunks), chunks]
cycle.append(cycle)
del chunks, cycle
print("bye")
""",
    "an answer of llm's asynchronous face": """
import llm
os.environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "x"}
async def leave():
    response = llm.get_async_model("gpt-4o").prompt("hi")
    async for word in response:
        return response
response = asyncio.run(leave())
print("bye")
""",
    "a dropped answer of llm's asynchronous face": """
import llm
os.environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "x"}
async def leave():
    async for word in llm.get_async_model("gpt-4o").prompt("hi"):
        break
async def main():
    await leave()
    await asyncio.sleep(0)
asyncio.run(main())
print("bye")
""",
    "sys.exit in a task": """
async def leave():
    begun = await begin()
    sys.exit(0)
try:
    asyncio.run(leave())
finally:
    print("bye")
""",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_program_exits_cleanly_with_an_open_stream(end: str) -> None:
    with Server([SSE_HEAD, HEL, HANG]) as server:
        assert finished(server, ENDS[end]) == ["bye"]
        server.wait_closed(server.connections)


INTERRUPTED = {
    "asyncio.run": """
try:
    asyncio.run(forever())
except KeyboardInterrupt:
    print("interrupted")
""",
    "a synchronous stream": """
try:
    for chunk in completions.stream("hi"):
        print("a word", flush=True)
except KeyboardInterrupt:
    print("interrupted")
""",
    "a synchronous stream in a running loop, as in Jupyter": """
async def main():
    for chunk in completions.stream("hi"):
        print("a word", flush=True)
loop = asyncio.new_event_loop()
try:
    loop.run_until_complete(main())
except KeyboardInterrupt:
    print("interrupted")
loop.close()
""",
    "a synchronous answer": """
print("a word", flush=True)
try:
    completions.create("hi")
except KeyboardInterrupt:
    print("interrupted")
""",
}


@pytest.mark.parametrize("how", INTERRUPTED)
def test_ctrl_c_interrupts_a_python_program(how: str) -> None:
    with Server([SSE_HEAD, HEL, HANG]) as server:
        assert finished(server, INTERRUPTED[how], interrupt=True) == ["a word", "interrupted"]
        server.wait_closed(server.connections)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_makes_its_own_connections() -> None:
    code = """
def ask():
    return completions.create("hi").choices[0].message.content
assert ask() == "Hello"
child = os.fork()
if child == 0:
    signal.alarm(10)
    assert ask() == "Hello"
    assert asyncio.run(AsyncClient(base_url=url).models.list()) is not None
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0, "the child failed"
assert ask() == "Hello"
print("bye")
"""
    listing = http(200, {"data": []})
    good = stream("Hel", "lo")
    with Server(good, models=listing) as server:
        assert finished(server, code) == ["bye"]
        server.wait_closed(server.connections)
    parent, child, again = (one.connection for one in server.requests)
    assert parent == again != child
