"""The measurements of the benchmark with their targets, and the figures of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Literal

__all__ = ["MEASUREMENTS", "Figures", "Measurement", "Target", "Verdict", "verdicts"]


@dataclass(frozen=True, slots=True)
class Target:
    """A bound for the median over the rounds of `ours` divided by `peer`, or minus `peer` for a
    `difference`. Without a peer, a bound for the median of `ours`."""

    bound: float
    peer: str | None = None
    sign: Literal["<=", ">="] = "<="
    ours: str = "ours"
    difference: bool = False


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement of several clients. `group` names the function that takes it."""

    key: str
    group: str
    title: str
    unit: str
    targets: tuple[Target, ...] = ()


_SET_UPS = (
    '"own": a route to an own endpoint; "openai": only an OPENAI_API_KEY; "both": without a route'
)


def _latency(*targets: Target) -> tuple[Target, ...]:
    """`targets` for an own endpoint and for only an OPENAI_API_KEY."""
    return tuple(replace(target, ours=ours) for target in targets for ours in ("ours", "ours_key"))


_CPU_PER_CHUNK = (Target(0.05, "openai"), Target(0.22, "g4f"), Target(2.2, "floor"))
_CHUNKS_PER_SECOND = (
    Target(14, "openai", ">="),
    Target(3.5, "g4f", ">="),
    Target(0.65, "floor", ">="),
)

MEASUREMENTS = (
    Measurement("hooks", "hooks", "import and hooks of the plugin, CPU", "ms", (Target(5),)),
    Measurement(
        "cli",
        "cli",
        '`llm -m gpt-4o hi`, CPU ("openai": llm\'s own plugin)',
        "ms",
        _latency(Target(1.0, "openai")),
    ),
    Measurement(
        "execute",
        "execute",
        'from `execute` to the first token, new process ("openai": llm\'s own plugin)',
        "ms",
        _latency(Target(0.25, "openai")),
    ),
    Measurement(
        "cold",
        "cold",
        "import, construct, first answer",
        "ms",
        _latency(Target(0.2, "openai"), Target(0.5, "g4f")),
    ),
    Measurement(
        "whole",
        "warm",
        "an answer, not streamed",
        "µs",
        _latency(Target(0.17, "openai"), Target(0.45, "g4f"), Target(3, "floor")),
    ),
    Measurement(
        "first",
        "warm",
        "time to the first token",
        "µs",
        _latency(Target(0.2, "openai"), Target(0.7, "g4f"), Target(2.4, "floor")),
    ),
    Measurement("burst", "warm", "CPU per chunk, burst", "µs", _CPU_PER_CHUNK),
    Measurement("each", "warm", "CPU per chunk, one write per event", "µs", _CPU_PER_CHUNK),
    Measurement("paced", "warm", "CPU per chunk, paced", "µs"),
    Measurement(
        "many", "warm", "chunks per second, 64 streams at once, burst", "1/s", _CHUNKS_PER_SECOND
    ),
    Measurement(
        "many_each",
        "warm",
        "chunks per second, 64 streams at once, one write per event",
        "1/s",
        _CHUNKS_PER_SECOND,
    ),
    Measurement(
        "memory", "memory", "peak memory, 256 streams at once", "MB", (Target(2, "floor"),)
    ),
    Measurement(
        "calls_whole",
        "calls",
        f"calls for an answer, not streamed ({_SET_UPS})",
        "calls",
        (Target(400, ours="own"), Target(480, ours="openai"), Target(480, ours="both")),
    ),
    Measurement(
        "calls_stream",
        "calls",
        "calls for a stream of one word",
        "calls",
        (Target(520, ours="own"), Target(600, ours="openai"), Target(600, ours="both")),
    ),
    Measurement(
        "calls_chunk",
        "calls",
        "calls for each further chunk of a stream",
        "calls",
        (Target(95, ours="own"),),
    ),
    Measurement(
        "sync",
        "sync",
        "CPU per chunk, `Client` minus `AsyncClient`",
        "µs",
        (Target(2, "ours", ours="sync", difference=True),),
    ),
    Measurement(
        "llm",
        "llm",
        'CPU per chunk through llm ("openai": llm\'s own plugin)',
        "µs",
        (Target(1.0, "openai"),),
    ),
    Measurement(
        "batch",
        "batch",
        "CPU per prompt of a batch (`llm g4f batch` with its start;"
        ' "openai": `gather` and a semaphore)',
        "µs",
        (Target(0.2, "openai"),),
    ),
    Measurement(
        "longer",
        "growth",
        "CPU per chunk, streams ten times as long",
        "µs",
        (Target(1.2, "short", ours="long"),),
    ),
    Measurement(
        "prompt",
        "growth",
        "CPU per MB of prompt, 10 MB instead of 1",
        "ms",
        (Target(1.2, "short", ours="long"),),
    ),
    Measurement(
        "crowd",
        "growth",
        "CPU per chunk, 1,000 streams at once instead of 100, paced",
        "µs",
        (Target(1.2, "few", ours="many"),),
    ),
    Measurement(
        "embedded_first",
        "embedded",
        "time to the first token, embedded",
        "ms",
        (Target(1.05, "bare"),),
    ),
    Measurement(
        "embedded_rate",
        "embedded",
        "tokens per second, embedded",
        "1/s",
        (Target(0.95, "bare", ">="),),
    ),
)


@dataclass
class Figures:
    """The figure of each round by row and client, and the reasons for missing ones."""

    values: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    missing: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, row: str, client: str, round_: int, value: float) -> None:
        self.values.setdefault(row, {}).setdefault(client, {})[round_] = value

    def miss(self, row: str, client: str, reason: str) -> None:
        self.values.get(row, {}).pop(client, None)
        self.missing.setdefault(row, {})[client] = reason

    def is_missing(self, row: str, client: str) -> bool:
        return client in self.missing.get(row, {})

    def median(self, row: str, client: str) -> float | None:
        rounds = self.values.get(row, {}).get(client)
        return median(rounds.values()) if rounds else None

    def paired(
        self, row: str, ours: str, peer: str, compare: Callable[[float, float], float]
    ) -> float | None:
        """The median over the rounds of `compare(ours, peer)`."""
        first = self.values.get(row, {}).get(ours, {})
        second = self.values.get(row, {}).get(peer, {})
        results = [compare(first[number], second[number]) for number in first if number in second]
        return median(results) if results else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a measurement meets one of its targets; `met` is None if it was not measured."""

    measurement: Measurement
    target: Target
    ours: float | None
    theirs: float | None
    result: float | None
    met: bool | None
    reason: str | None


def verdicts(figures: Figures) -> list[Verdict]:
    """A verdict for every target of the measurements that were taken."""
    results = []
    for measurement in MEASUREMENTS:
        if measurement.key not in figures.values and measurement.key not in figures.missing:
            continue
        for target in measurement.targets:
            ours = theirs = result = figures.median(measurement.key, target.ours)
            if target.peer is not None:
                theirs = figures.median(measurement.key, target.peer)
                result = figures.paired(
                    measurement.key,
                    target.ours,
                    target.peer,
                    (lambda a, b: a - b) if target.difference else (lambda a, b: a / b),
                )
            met = None
            if result is not None:
                met = result <= target.bound if target.sign == "<=" else result >= target.bound
            missing = figures.missing.get(measurement.key, {})
            reason = missing.get(target.ours) or missing.get(target.peer or "")
            shown = None if target.peer is None else theirs
            results.append(Verdict(measurement, target, ours, shown, result, met, reason))
    return results
