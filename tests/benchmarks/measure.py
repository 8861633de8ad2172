"""The measurements. Clients take turns in each round, so that other load affects all of them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .figures import Figures
from .processes import Client, environment
from .server import HELLO, WHOLE, Script, word
from .venvs import Unavailable

__all__ = ["FULL", "GROUPS", "QUICK", "SLOW", "Bench", "Scale"]

SLOW = {"litellm", "anyllm"}
"""Slow clients without a target: fewer rounds, and none in a quick run."""

_SHORTER = {"openai": 5, "anyllm": 5, "litellm": 25}
"""Divisors for the length of a slow client's 64 streams, so that none takes minutes."""

_READ_APART = 2000
"""Microseconds between two events that a client reads one by one."""

_COUNTED = 21
"""Requests whose calls are counted: the median ignores those that renew a cache."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The number of rounds, requests, chunks and so on."""

    rounds: int
    fresh: int
    requests: int
    firsts: int
    chunks: int
    paced: int
    many: int
    tokens: int
    memory_rounds: int
    prompts: int
    streams: int = 64
    crowd: int = 256
    growth: int = 10


FULL = Scale(
    rounds=7,
    fresh=15,
    requests=200,
    firsts=100,
    chunks=10_000,
    paced=300,
    many=1500,
    tokens=60,
    memory_rounds=3,
    prompts=10_000,
)
QUICK = Scale(
    rounds=2,
    fresh=2,
    requests=30,
    firsts=20,
    chunks=2_000,
    paced=50,
    many=250,
    tokens=20,
    memory_rounds=1,
    prompts=1_000,
)


class Bench:
    """One run. `pythons` has the Python of each client by name; `ours` runs twice, with an own
    endpoint and as `ours_key` with only an OPENAI_API_KEY."""

    def __init__(
        self, url: str, pythons: Mapping[str, Path], work: Path, checkout: Path, scale: Scale
    ) -> None:
        self.url = url
        self.pythons = {**pythons, "ours_key": pythons["ours"]}
        self.work = work
        self.scale = scale
        self.figures = Figures()
        self.env = environment(work, checkout)
        self.key = {"OPENAI_API_KEY": "bench", "OPENAI_BASE_URL": url}
        (work / "llm").mkdir(exist_ok=True)

    def client(self, name: str, env: Mapping[str, str] | None = None) -> Client:
        """A process of this client; `env` replaces its usual environment variables."""
        if env is None:
            env = {**self.env, **self.key} if name == "ours_key" else self.env
        return Client(name, self.pythons[name], self.url, Script("whole"), env, self.work)

    def user_directory(self, name: str, config: str | None = None) -> dict[str, str]:
        """Environment variables with an llm user directory that has `config` as its g4f.yaml."""
        folder = self.work / f"llm-{name}"
        folder.mkdir(exist_ok=True)
        if config is not None:
            (folder / "g4f.yaml").write_text(config, encoding="utf-8")
        return {**self.env, "LLM_USER_PATH": str(folder)}

    def llm_environments(self) -> dict[str, dict[str, str]]:
        """Environment variables that make llm's gpt-4o the plugin's, or llm's own (`openai`)."""
        endpoint = f"providers: {{bench: {{base_url: '{self.url}'}}}}\n"
        return {
            "ours": self.user_directory("ours", endpoint),
            "ours_key": {**self.user_directory("ours_key"), **self.key},
            "openai": {**self.user_directory("openai", "takeover: false\n"), **self.key},
        }

    @staticmethod
    def order(clients: Sequence[str], number: int, rounds: int) -> list[str]:
        """The clients of a round: another one starts each time, and slow ones miss some rounds."""
        start = number % len(clients)
        rotated = (*clients[start:], *clients[:start])
        return [name for name in rotated if name not in SLOW or number <= rounds // 3]

    def turns(self, clients: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
        """Each client in each round."""
        for number in range(rounds):
            for name in self.order(clients, number, rounds):
                yield number, name

    @contextlib.contextmanager
    def trying(self, client: str, *rows: str) -> Iterator[None]:
        """Note the reason for `rows` if the client cannot be measured."""
        try:
            yield
        except Unavailable as error:
            for row in rows:
                self.figures.miss(row, client, str(error))


def _cold(bench: Bench) -> None:
    """A new process each time: import, construct, and one answer."""
    names = list(bench.pythons)
    for number, name in bench.turns(names, bench.scale.rounds + 1):
        if bench.figures.is_missing("cold", name):
            continue
        with bench.trying(name, "cold"):
            client = bench.client(name)
            client.close()
            if number:  # the first run compiles
                bench.figures.add("cold", name, number, client.cold["seconds"] * 1e3)


def _warm(bench: Bench) -> None:
    scale = bench.scale
    chunks, paced, streams = scale.chunks, scale.paced, scale.streams

    def whole(client: Client, name: str) -> float:
        result = client.ask("whole", Script("whole"), scale.requests, requests=scale.requests)
        return float(result["seconds"]) * 1e6

    def first(client: Client, name: str) -> float:
        script = Script("burst", 3)
        result = client.ask("first", script, scale.firsts, requests=scale.firsts)
        return float(result["seconds"]) * 1e6

    def long(mode: str, client: Client, name: str) -> float:
        count = chunks // 5 if name == "litellm" else chunks
        return _cpu(client.ask("streams", Script(mode, count)), count)

    def spaced(client: Client, name: str) -> float:
        return _cpu(client.ask("streams", Script("paced", paced, _READ_APART)), paced)

    def many(mode: str, client: Client, name: str) -> float:
        count = max(1, scale.many // _SHORTER.get(name, 1))
        # Opens the connections before the clock starts.
        client.ask("streams", Script("burst", 1), streams, streams=streams)
        result = client.ask("streams", Script(mode, count), streams, streams=streams)
        return streams * count / float(result["seconds"])

    steps = (
        ("whole", whole),
        ("first", first),
        ("burst", partial(long, "burst")),
        ("each", partial(long, "each")),
        ("paced", spaced),
        ("many", partial(many, "burst")),
        ("many_each", partial(many, "each")),
    )
    with contextlib.ExitStack() as stack:
        clients = {}
        for name in bench.pythons:
            with bench.trying(name, *(row for row, _ in steps)):
                clients[name] = bench.client(name)
                stack.callback(clients[name].close)
        names = list(clients)
        for number in range(-1, scale.rounds):
            for row, measure in steps:
                for name in bench.order(names, number, scale.rounds):
                    if bench.figures.is_missing(row, name):
                        continue
                    with bench.trying(name, row):
                        value = measure(clients[name], name)
                        if number >= 0:  # the first round is a warm-up
                            bench.figures.add(row, name, number, value)


def _cpu(result: dict[str, Any], chunks: int) -> float:
    """CPU microseconds per chunk."""
    return float(result["cpu"]) / chunks * 1e6


def _memory(bench: Bench) -> None:
    streams = bench.scale.crowd
    script = Script("paced", 40, 20_000)
    for number, name in bench.turns(list(bench.pythons), bench.scale.memory_rounds):
        if bench.figures.is_missing("memory", name):
            continue
        with bench.trying(name, "memory"):
            client = bench.client(name)
            try:
                peak = client.ask("streams", script, streams, streams=streams)["peak"]
            finally:
                client.close()
            if peak is None:
                raise Unavailable("this system does not report the peak memory of a process")
            bench.figures.add("memory", name, number, peak / 1024)


def _calls(bench: Bench) -> None:
    """The calls for one request, in a single round: other load does not change a count."""
    endpoint = f"providers: {{bench: {{base_url: '{bench.url}', models: {{gpt-4o: gpt-4o}}}}}}\n"
    set_ups = {
        "own": bench.user_directory("own", f"{endpoint}routes: {{gpt-4o: [bench]}}\n"),
        "openai": {**bench.user_directory("key"), **bench.key},
        "both": {**bench.user_directory("both", endpoint), **bench.key},
    }
    for name, env in set_ups.items():
        with (
            bench.trying(name, "calls_whole", "calls_stream", "calls_chunk"),
            contextlib.closing(bench.client("ours_key", env)) as client,
        ):
            # The first stream of the process imports, which its median per chunk ignores.
            chunk = client.ask("calls_per_chunk", Script("paced", 50, _READ_APART))
            bench.figures.add("calls_chunk", name, 0, chunk["calls"])
            for row, script in (
                ("calls_whole", Script("whole")),
                ("calls_stream", Script("burst", 1)),
            ):
                streaming = script.mode != "whole"
                result = client.ask(
                    "calls", script, _COUNTED, requests=_COUNTED, streaming=streaming
                )
                bench.figures.add(row, name, 0, result["calls"])


def _sync(bench: Bench) -> None:
    script = Script("burst", bench.scale.chunks)
    with bench.trying("sync", "sync"):
        client = bench.client("ours")
        try:
            for number in range(-1, bench.scale.rounds):
                for name, measure in _swapped([("ours", "streams"), ("sync", "sync")], number):
                    result = client.ask(measure, script)
                    if number >= 0:
                        bench.figures.add("sync", name, number, _cpu(result, script.chunks))
        finally:
            client.close()


def _swapped(pair: list[Any], number: int) -> list[Any]:
    return pair if number % 2 else pair[::-1]


def _execute(bench: Bench) -> None:
    envs = bench.llm_environments()
    for number, name in bench.turns(list(envs), bench.scale.fresh + 1):
        with bench.trying(name, "execute"):
            client = _llm_client(bench, envs[name])
            client.close()
            if number:
                bench.figures.add("execute", name, number, client.cold["seconds"] * 1e3)


def _llm_client(bench: Bench, env: dict[str, str]) -> Client:
    return Client("model", bench.pythons["ours"], bench.url, HELLO, env, bench.work)


def _llm(bench: Bench) -> None:
    script = Script("burst", bench.scale.chunks)
    with contextlib.ExitStack() as stack:
        clients = {}
        for name, env in bench.llm_environments().items():
            with bench.trying(name, "llm"):
                clients[name] = _llm_client(bench, env)
                stack.callback(clients[name].close)
        for number, name in bench.turns(list(clients), bench.scale.rounds + 1):
            with bench.trying(name, "llm"):
                result = clients[name].ask("sync", script)
                if number:
                    bench.figures.add("llm", name, number, _cpu(result, script.chunks))


def _cli(bench: Bench) -> None:
    words = "".join(map(word, range(HELLO.chunks)))
    envs = bench.llm_environments()
    for number, name in bench.turns(list(envs), bench.scale.fresh + 1):
        with bench.trying(name, "cli"):
            if not hasattr(os, "wait4"):
                raise Unavailable("this system does not report the CPU time of a process")
            seconds, output = _child(
                [bench.pythons["ours"], "-m", "llm", "-m", "gpt-4o", "hi"], envs[name], bench.work
            )
            if output.rstrip("\n") != words:
                raise Unavailable(f"llm printed {output!r}")
            if number:
                bench.figures.add("cli", name, number, seconds * 1e3)


def _child(command: list[Any], env: dict[str, str], work: Path) -> tuple[float, str]:
    """The CPU seconds of a command, and its output."""
    with (work / "cli.log").open("wb") as errors:
        process = subprocess.Popen(
            command,
            env=env,
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    assert process.stdout is not None
    with process.stdout as stdout:
        output = stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime, output


def _batch(bench: Bench) -> None:
    count, width, script = bench.scale.prompts, bench.scale.streams, Script("whole")
    rows, results = bench.work / "rows.jsonl", bench.work / "results.jsonl"
    rows.write_text((json.dumps({"prompt": script.prompt}) + "\n") * count, encoding="utf-8")
    command: list[Any] = [bench.pythons["ours"], "-m", "llm", "g4f", "batch", rows, results]
    command += ["-m", "gpt-4o", "--concurrency", width]
    env = bench.llm_environments()["ours"]
    with bench.trying("openai", "batch"), contextlib.closing(bench.client("openai")) as openai:
        for number in range(bench.scale.memory_rounds):
            results.unlink(missing_ok=True)
            seconds, _ = _child(list(map(str, command)), env, bench.work)
            with results.open(encoding="utf-8") as file:
                texts = Counter(json.loads(line).get("text") for line in file)
            if texts != {WHOLE: count}:
                raise Unavailable(f"{texts[WHOLE]} of {count} answers received")
            bench.figures.add("batch", "ours", number, seconds / count * 1e6)
            arguments = {"requests": count, "width": width}
            result = openai.ask("at_once", script, count, **arguments)
            bench.figures.add("batch", "openai", number, result["cpu"] / count * 1e6)


def _hooks(bench: Bench) -> None:
    command = [str(bench.pythons["ours"]), "-m", "clients.hooks"]
    with bench.trying("ours", "hooks"):
        for number in range(bench.scale.fresh * 4 // 3 + 1):
            done = subprocess.run(
                command, env=bench.env, cwd=bench.work, check=False, capture_output=True, text=True
            )
            if done.returncode:
                raise Unavailable((done.stderr.strip().splitlines() or ["it ended early"])[-1])
            if number:
                bench.figures.add("hooks", "ours", number, float(done.stdout))


def _growth(bench: Bench) -> None:
    chunks, factor = bench.scale.chunks, bench.scale.growth
    lengths = {"short": Script("burst", chunks), "long": Script("burst", chunks * factor)}
    sizes = {"short": 10**7 // factor, "long": 10**7}
    crowds = {"few": 1000 // factor, "many": 1000}
    paced = Script("paced", 20, 100_000)
    with bench.trying("ours", "longer", "prompt", "crowd"):
        client = bench.client("ours")
        try:
            for number in range(max(1, bench.scale.rounds // 3)):
                for name, script in lengths.items():
                    result = client.ask("streams", script)
                    bench.figures.add("longer", name, number, _cpu(result, script.chunks))
                for name, size in sizes.items():
                    times = 10**7 // size
                    arguments = {"requests": times, "padding": size}
                    result = client.ask("whole", Script("whole"), times, **arguments)
                    bench.figures.add("prompt", name, number, result["cpu"] / 10 * 1e3)
                for name, streams in crowds.items():
                    result = client.ask("streams", paced, streams, streams=streams)
                    bench.figures.add("crowd", name, number, _cpu(result, streams * paced.chunks))
        finally:
            client.close()


def _embedded(bench: Bench) -> None:
    python, scale = bench.pythons["ours"], bench.scale
    folder = bench.work.parent / "llm-embedded"
    env = {**bench.env, "LLM_USER_PATH": str(folder)}
    rows = ("embedded_first", "embedded_rate")
    with bench.trying("ours", *rows):
        _fetch_weights(python, env, folder)
        done = subprocess.run(
            [
                *(str(python), "-m", "clients.embedded"),
                # More rounds, since a turn is short and other load affects one of the two.
                *(str(scale.tokens), str(4 * scale.rounds)),
            ],
            env=env,
            cwd=bench.work,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Unavailable((done.stderr.strip().splitlines() or ["it ended early"])[-1])
        for name, rounds in json.loads(done.stdout.splitlines()[-1]).items():
            for number, (first, rate) in enumerate(rounds):
                bench.figures.add("embedded_first", name, number, first * 1e3)
                bench.figures.add("embedded_rate", name, number, rate)


def _fetch_weights(python: Path, env: dict[str, str], folder: Path) -> None:
    """Fetch the embedded model's weights into user directory `folder`, which later runs use too."""
    given = os.environ.get("G4F_TEST_WEIGHTS")
    if given:
        target = folder / "g4f" / Path(given).name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(given, target)
        return
    # With the caller's environment, which may configure pip.
    done = subprocess.run(
        [python, "-m", "llm", "g4f", "local", "install"],
        env={**os.environ, **env},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Unavailable((done.stderr.strip().splitlines() or ["no weights"])[-1])


GROUPS: dict[str, Callable[[Bench], None]] = {
    "hooks": _hooks,
    "cli": _cli,
    "execute": _execute,
    "cold": _cold,
    "warm": _warm,
    "memory": _memory,
    "calls": _calls,
    "sync": _sync,
    "llm": _llm,
    "batch": _batch,
    "growth": _growth,
    "embedded": _embedded,
}
