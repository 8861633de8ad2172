"""What was measured, and what it is held to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

__all__ = ["ROWS", "Figures", "Row", "Target", "Verdict", "verdicts"]


@dataclass(frozen=True, slots=True)
class Target:
    """`ours` against `peer`: the median of the ratios round by round, or of the differences, has to
    be at most (`<=`) or at least (`>=`) `bound`. Without a peer: the median itself."""

    bound: float
    peer: str | None = None
    sign: Literal["<=", ">="] = "<="
    ours: str = "ours"
    difference: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is measured of several clients. `group` is what measures it."""

    key: str
    group: str
    title: str
    unit: str
    targets: tuple[Target, ...] = ()


_PER_CHUNK = (Target(0.05, "openai"), Target(0.22, "g4f"), Target(2.2, "floor"))
_AT_ONCE = (Target(14, "openai", ">="), Target(3.5, "g4f", ">="), Target(0.65, "floor", ">="))

ROWS = (
    Row("hooks", "hooks", "import and hooks of the plugin, CPU", "ms", (Target(5),)),
    Row(
        "cli",
        "cli",
        '`llm -m gpt-4o hi`, CPU ("openai": llm\'s own plugin)',
        "ms",
        (Target(1.0, "openai"),),
    ),
    Row(
        "execute",
        "execute",
        'from `execute` to the first token, fresh process ("openai": llm\'s own plugin)',
        "ms",
        (Target(0.25, "openai"),),
    ),
    Row(
        "cold",
        "cold",
        "import, construct, first answer",
        "ms",
        (Target(0.2, "openai"), Target(0.5, "g4f")),
    ),
    Row(
        "whole",
        "warm",
        "an answer that is not streamed",
        "µs",
        (Target(0.17, "openai"), Target(0.5, "g4f"), Target(3, "floor")),
    ),
    Row(
        "first",
        "warm",
        "time to the first token",
        "µs",
        (Target(0.2, "openai"), Target(0.75, "g4f"), Target(2.4, "floor")),
    ),
    Row(
        "burst",
        "warm",
        "CPU per chunk, burst",
        "µs",
        _PER_CHUNK,
    ),
    Row("each", "warm", "CPU per chunk, one write an event", "µs", _PER_CHUNK),
    Row("paced", "warm", "CPU per chunk, paced", "µs"),
    Row(
        "many",
        "warm",
        "chunks a second, 64 streams at once",
        "1/s",
        _AT_ONCE,
    ),
    Row(
        "many_each",
        "warm",
        "chunks a second, 64 streams at once, one write an event",
        "1/s",
        _AT_ONCE,
    ),
    Row("memory", "memory", "peak memory, 256 streams at once", "MB", (Target(2, "floor"),)),
    Row(
        "sync",
        "sync",
        "CPU per chunk, `Client` over `AsyncClient`",
        "µs",
        (Target(2, "ours", ours="sync", difference=True),),
    ),
    Row(
        "llm",
        "llm",
        'CPU per chunk through llm ("openai": llm\'s own plugin)',
        "µs",
        (Target(1.0, "openai"),),
    ),
    Row(
        "batch",
        "batch",
        'CPU per prompt, many at once (`llm g4f batch`, its start included; "openai": `gather` and a'
        " semaphore)",
        "µs",
        (Target(0.2, "openai"),),
    ),
    Row(
        "longer",
        "growth",
        "CPU per chunk, ten times longer streams",
        "µs",
        (Target(1.2, "short", ours="long"),),
    ),
    Row(
        "prompt",
        "growth",
        "CPU per MB of prompt, 10 MB instead of 1",
        "ms",
        (Target(1.2, "short", ours="long"),),
    ),
    Row(
        "crowd",
        "growth",
        "CPU per chunk, 1,000 streams at once instead of 100, paced",
        "µs",
        (Target(1.2, "few", ours="many"),),
    ),
    Row(
        "embedded_first",
        "embedded",
        "time to the first token, embedded",
        "ms",
        (Target(1.05, "bare"),),
    ),
    Row(
        "embedded_rate",
        "embedded",
        "tokens a second, embedded",
        "1/s",
        (Target(0.95, "bare", ">="),),
    ),
)


@dataclass
class Figures:
    """By row and client: a figure for each round, or why there is none."""

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
        found = self.values.get(row, {}).get(client)
        return median(found.values()) if found else None

    def paired(
        self, row: str, ours: str, peer: str, how: Callable[[float, float], float]
    ) -> float | None:
        """The median over the rounds of `how(ours, peer)`."""
        first = self.values.get(row, {}).get(ours, {})
        second = self.values.get(row, {}).get(peer, {})
        both = [how(first[number], second[number]) for number in first if number in second]
        return median(both) if both else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a row stands to one of its targets; `met` is None where it was not measured."""

    row: Row
    target: Target
    ours: float | None
    theirs: float | None
    result: float | None
    met: bool | None
    reason: str | None


def verdicts(figures: Figures) -> list[Verdict]:
    found = []
    for row in ROWS:
        if row.key not in figures.values and row.key not in figures.missing:
            continue
        for target in row.targets:
            ours = theirs = result = figures.median(row.key, target.ours)
            if target.peer is not None:
                theirs = figures.median(row.key, target.peer)
                result = figures.paired(
                    row.key,
                    target.ours,
                    target.peer,
                    (lambda a, b: a - b) if target.difference else (lambda a, b: a / b),
                )
            met = None
            if result is not None:
                met = result <= target.bound if target.sign == "<=" else result >= target.bound
            missing = figures.missing.get(row.key, {})
            reason = missing.get(target.ours) or missing.get(target.peer or "")
            shown = None if target.peer is None else theirs
            found.append(Verdict(row, target, ours, shown, result, met, reason))
    return found
