"""Run one client: `python -m clients NAME URL PROMPT`.

It prints the result of its first request as a line of JSON. Then it reads one line of JSON per
measurement and prints the result: `seconds`, the `cpu` seconds of the process or the number of
`calls`, and `answers`, how often each text (`COUNT:SHA256`) arrived.
"""

from __future__ import annotations

import asyncio  # before the clock starts: a program with async code has imported it
import sys
from collections.abc import Sequence
from importlib import import_module
from time import perf_counter, process_time
from typing import Any

from .guard import only_loopback, raise_file_limit


def _peak() -> int | None:
    """The peak memory of this process in KiB, or None if the system does not report it."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    except OSError:
        return None


class _Measurements:
    def __init__(self, peer: Any) -> None:
        self.peer = peer
        self.loop = asyncio.new_event_loop()

    def close(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    async def whole(self, prompt: str, requests: int, padding: int = 0) -> Any:
        """The median time of `requests` answers, one after the other. `padding` is in bytes."""
        prompt += "x" * padding
        texts, seconds = [], []
        cpu = process_time()
        for _ in range(requests):
            before = perf_counter()
            texts.append([await self.peer.whole(prompt)])
            seconds.append(perf_counter() - before)
        return {"seconds": _median(seconds), "cpu": process_time() - cpu}, texts

    async def first(self, prompt: str, requests: int) -> Any:
        """The median time to the first text of `requests` streams, one after the other."""
        from . import Texts

        answers, seconds = [], []
        for _ in range(requests):
            texts = Texts()
            before = perf_counter()
            await self.peer.stream(prompt, texts)
            seconds.append(texts.first - before)
            answers.append(texts)
        return {"seconds": _median(seconds)}, answers

    async def streams(self, prompt: str, streams: int = 1) -> Any:
        """The time of `streams` streams at once."""
        from . import Texts

        answers = [Texts() for _ in range(streams)]
        cpu, before = process_time(), perf_counter()
        if streams == 1:
            await self.peer.stream(prompt, answers[0])
        else:
            await asyncio.gather(*(self.peer.stream(prompt, texts) for texts in answers))
        return {"seconds": perf_counter() - before, "cpu": process_time() - cpu}, answers

    async def at_once(self, prompt: str, requests: int, width: int) -> Any:
        """The time of `requests` answers, at most `width` at once: the usual loop without a batch."""
        semaphore = asyncio.Semaphore(width)

        async def answer() -> list[str]:
            async with semaphore:
                return [await self.peer.whole(prompt)]

        cpu, before = process_time(), perf_counter()
        texts = await asyncio.gather(*(answer() for _ in range(requests)))
        return {"seconds": perf_counter() - before, "cpu": process_time() - cpu}, texts

    async def calls(self, prompt: str, requests: int, streaming: bool) -> Any:
        """The median number of calls for each of `requests` answers, one after the other."""
        from .calls import of_answer

        counted = [await of_answer(self.peer, prompt, streaming=streaming) for _ in range(requests)]
        return {"calls": _median([count for count, _ in counted])}, [texts for _, texts in counted]

    async def calls_per_chunk(self, prompt: str) -> Any:
        """The median number of calls from one text of a stream to the next."""
        from .calls import of_chunks

        counts, texts = await of_chunks(self.peer, prompt)
        return {"calls": _median(counts)}, [texts]

    def sync(self, prompt: str) -> Any:
        """The time of one stream without `await`."""
        from . import Texts

        texts = Texts()
        cpu, before = process_time(), perf_counter()
        self.peer.stream_sync(prompt, texts)
        return {"seconds": perf_counter() - before, "cpu": process_time() - cpu}, [texts]


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def main(name: str, url: str, prompt: str) -> None:
    only_loopback()
    raise_file_limit()
    start = perf_counter()
    peer = import_module(f".{name}", __package__).Peer(url)
    constructed = perf_counter()
    measurements = _Measurements(peer)
    if hasattr(peer, "whole"):
        texts = [measurements.loop.run_until_complete(peer.whole(prompt))]
        figures = {"seconds": perf_counter() - start}
    else:
        from . import Texts

        texts = Texts()
        peer.stream_sync(prompt, texts)
        figures = {"seconds": texts.first - constructed}

    import json
    from collections import Counter
    from hashlib import sha256

    out = sys.stdout
    # Libraries print too.
    sys.stdout = sys.stderr

    def reply(figures: Any, answers: Any) -> None:
        received = Counter(
            f"{len(texts)}:{sha256(''.join(texts).encode()).hexdigest()}" for texts in answers
        )
        print(json.dumps({**figures, "peak": _peak(), "answers": received}), file=out, flush=True)

    reply(figures, [texts])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            result = getattr(measurements, request.pop("measure"))(**request)
            if not isinstance(result, tuple):
                result = measurements.loop.run_until_complete(result)
            reply(*result)
        except Exception as error:  # noqa: BLE001 (the error is the result)
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=out, flush=True)
    measurements.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
