"""Load with faults: `python -m tests.support.load [--seconds 60] [--streams 500] [--faults 0.2]`.

One process streams from a server in another one, which spoils a part of the answers. Every call
has to end in a whole answer or in a typed error, and when all have ended, memory, file
descriptors, threads and tasks have to be what they were after the warm-up. Prints a table; the exit
code is 1 where something of that does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from llm_g4f import AsyncClient
from llm_g4f.errors import G4FError, NoProviderError
from tests.support.server import END, SSE_HEAD, chunk, event, framed, http

WORDS = [f"word{number} " for number in range(20)]
ANSWER = "".join(WORDS)

PIECES = [framed(event(chunk(word))) for word in WORDS]
LAST = [framed(event(chunk(finish="stop"))), framed(event("[DONE]")), END]
GOOD = [SSE_HEAD, *PIECES, *LAST]

ROOM = 0.10
"""The growth of memory allowed between the warm-up and the end."""


def _whole(status: int, body: str) -> bytes:
    (data,) = http(status, body, kind="text/plain")
    assert isinstance(data, bytes)
    return data


FAULTS: dict[str, list[bytes]] = {
    "reset before": [],
    "reset within": [SSE_HEAD, *PIECES[:5]],
    "429": [_whole(429, '{"error": {"message": "slow down"}}')],
    "500": [_whole(500, "boom")],
    "truncated": [SSE_HEAD, *PIECES[:5], END],
    "stall before": [SSE_HEAD],
    "stall within": [SSE_HEAD, *PIECES[:5]],
    "garbage": [SSE_HEAD, framed(b"data: {{{ garbage\n\n"), END],
    "garbage within": [SSE_HEAD, *PIECES[:5], framed(b"data: \xff\xfe\x00\n\n"), END],
    "HTML": [_whole(200, "<html>gateway</html>")],
    "no HTTP": [b"SSH-2.0-OpenSSH_9.9\r\n\r\n"],
}


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    chance: random.Random,
    share: float,
    pause: float,
) -> bool:
    """Answer one request; whether the connection is kept."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    await reader.readexactly(length)
    if chance.random() >= share:
        for piece in GOOD:
            writer.write(piece)
            await asyncio.sleep(pause)
        await writer.drain()
        return True
    fault = chance.choice(list(FAULTS))
    for piece in FAULTS[fault]:
        writer.write(piece)
    await writer.drain()
    if fault.startswith("stall"):
        # The client gives up and closes.
        await reader.read(1)
        return False
    if fault.startswith("reset"):
        writer.transport.abort()
        return False
    return fault != "no HTTP"


def serve(pipe: Connection, share: float, pause: float) -> None:
    """The server's process: tells its port, and ends when the pipe does."""

    async def main() -> None:
        chance = random.Random(4711)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    while await _exchange(reader, writer, chance, share, pause):
                        pass
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=2_000)
        pipe.send(server.sockets[0].getsockname()[1])
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(pipe.fileno(), ended.set)
        await ended.wait()
        server.close()

    # A client that has gone is no news here.
    logging.disable()
    asyncio.run(main())


@dataclass
class Held:
    """The resources that this process holds."""

    memory: int
    descriptors: int
    threads: int
    tasks: int

    @staticmethod
    def now(tasks: int = 0) -> Held:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return Held(
            pages * os.sysconf("SC_PAGE_SIZE"),
            len(os.listdir("/proc/self/fd")),
            threading.active_count(),
            tasks,
        )


@dataclass
class Result:
    """The result of a run. `wrong` are the calls that ended in neither an answer nor a typed error."""

    seconds: float
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    most: int = 0
    cpu: float = 0.0
    before: Held = field(default_factory=lambda: Held(0, 0, 0, 0))
    after: Held = field(default_factory=lambda: Held(0, 0, 0, 0))

    def complaints(self) -> list[str]:
        """The checks that fail; empty if all is well."""
        found = list(self.wrong[:5])
        if not self.outcomes["ok"]:
            found.append("no call was answered")
        if self.after.memory > self.before.memory * (1 + ROOM):
            found.append(f"memory grew by {self.after.memory / self.before.memory - 1:.0%}")
        for name in ("descriptors", "threads", "tasks"):
            before, after = getattr(self.before, name), getattr(self.after, name)
            if after > before:
                found.append(f"{name}: {before} before, {after} after")
        return found

    def __str__(self) -> str:
        calls = self.outcomes.total()
        rows = [
            ("calls", f"{calls:,}"),
            ("calls a second", f"{calls / self.seconds:,.0f}"),
            ("processor's time for a call, ms", f"{self.cpu / max(calls, 1) * 1e3:.1f}"),
            ("most at once", f"{self.most:,}"),
            *((f"  {name}", f"{count:,}") for name, count in self.outcomes.most_common()),
            ("neither answer nor typed error", f"{len(self.wrong):,}"),
            ("memory, MB", f"{self.before.memory / 1e6:.1f} -> {self.after.memory / 1e6:.1f}"),
            *(
                (name, f"{getattr(self.before, name)} -> {getattr(self.after, name)}")
                for name in ("descriptors", "threads", "tasks")
            ),
        ]
        return "\n".join(f"{name:32}{value:>18}" for name, value in rows)


async def _ask(client: AsyncClient, result: Result) -> None:
    """One call and what became of it."""
    text = ""
    try:
        async for piece in client.chat.completions.create("hi", stream=True):
            text += "".join(choice.delta.content or "" for choice in piece.choices)
    except NoProviderError as error:
        result.wrong.append(repr(error))
    except G4FError as error:
        result.outcomes[type(error).__name__] += 1
        if not ANSWER.startswith(getattr(error, "partial", "")):
            result.wrong.append(f"partial text that nobody sent: {error.partial!r:.80}")  # type: ignore[attr-defined]
    except Exception as error:  # noqa: BLE001 (none may get out: that is the test)
        result.wrong.append(repr(error))
    else:
        result.outcomes["ok"] += 1
        if text != ANSWER:
            result.wrong.append(f"a false answer: {text!r:.80}")


async def _keep_asking(client: AsyncClient, streams: int, seconds: float, result: Result) -> None:
    open_now = 0
    end = time.monotonic() + seconds

    async def one() -> None:
        nonlocal open_now
        while time.monotonic() < end:
            open_now += 1
            result.most = max(result.most, open_now)
            await _ask(client, result)
            open_now -= 1

    await asyncio.gather(*(one() for _ in range(streams)))


async def _tasks_left(client: AsyncClient, streams: int, seconds: float, result: Result) -> int:
    await _keep_asking(client, streams, seconds, result)
    return len(asyncio.all_tasks()) - 1


def _measured(streams: int, seconds: float) -> Result:
    """The warm-up, then the load; each on a loop of its own, with which its connections end."""
    result, warm_up = Result(seconds), Result(seconds)
    client = AsyncClient("box")
    asyncio.run(_tasks_left(client, streams, max(1.0, seconds / 2), warm_up))
    result.before = Held.now()
    began = time.process_time()
    tasks = asyncio.run(_tasks_left(client, streams, seconds, result))
    result.cpu = time.process_time() - began
    result.after = Held.now(tasks)
    result.wrong += warm_up.wrong
    return result


def run(streams: int, seconds: float, share: float, pause: float, stall: float) -> Result:
    """Load for `seconds` with `streams` calls at once, of which `share` meet a fault. `pause` are
    the seconds between the pieces of a good answer, `stall` those of silence after which the
    client gives up."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs, share, pause), daemon=True)
    before = os.environ.get("LLM_USER_PATH")
    with tempfile.TemporaryDirectory() as folder:
        server.start()
        theirs.close()
        try:
            url = f"http://127.0.0.1:{ours.recv()}/v1"
            Path(folder, "g4f.yaml").write_text(
                f"notice: false\nproviders: {{box: {{base_url: '{url}', timeout: {stall}}}}}"
            )
            os.environ["LLM_USER_PATH"] = folder
            return _measured(streams, seconds)
        finally:
            if before is None:
                os.environ.pop("LLM_USER_PATH", None)
            else:
                os.environ["LLM_USER_PATH"] = before
            ours.close()
            server.join(5)
            server.terminate()
            server.join()
            server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--faults", type=float, default=0.2)
    # A long pause, so that hundreds are open at once and the processor is not what is measured.
    parser.add_argument("--pause", type=float, default=0.5, help="between the pieces of an answer")
    parser.add_argument("--stall", type=float, default=5.0, help="the provider's timeout")
    given = parser.parse_args()
    result = run(given.streams, given.seconds, given.faults, given.pause, given.stall)
    print(result)
    for complaint in result.complaints():
        print(f"WRONG: {complaint}", file=sys.stderr)
    sys.exit(bool(result.complaints()))


if __name__ == "__main__":
    main()
