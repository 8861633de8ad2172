"""The figures of a run as markdown for .github/docs/speed.md, and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from .figures import MEASUREMENTS, Figures, Verdict, verdicts

__all__ = ["as_json", "as_markdown", "machine"]

_LABELS = {
    "ours": "llm-g4f, own endpoint",
    "ours_key": "llm-g4f, OPENAI_API_KEY",
    "openai": "openai",
    "g4f": "g4f",
    "litellm": "litellm",
    "anyllm": "any-llm",
    "httpx": "httpx",
    "aiohttp": "aiohttp",
    "floor": "raw",
}
"""The clients of the comparison in their order, and their names in the tables."""


def machine() -> dict[str, Any]:
    """The machine: date, Python, system, processor and number of cores."""
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            processor = next(line for line in info if line.startswith("model name"))
            processor = processor.partition(":")[2].strip()
    except (OSError, StopIteration):
        pass
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": processor,
        "cores": os.cpu_count(),
    }


def as_json(
    figures: Figures, system: Mapping[str, Any], versions: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """Everything: the machine, the versions, the figure of every round, medians and verdicts."""
    return {
        "machine": dict(system),
        "versions": {name: dict(packages) for name, packages in versions.items()},
        "rows": {
            measurement.key: {
                "title": measurement.title,
                "unit": measurement.unit,
                "medians": {
                    client: figures.median(measurement.key, client)
                    for client in figures.values.get(measurement.key, {})
                },
                "rounds": {
                    client: list(rounds.values())
                    for client, rounds in figures.values.get(measurement.key, {}).items()
                },
                "not_measured": figures.missing.get(measurement.key, {}),
            }
            for measurement in MEASUREMENTS
            if measurement.key in figures.values or measurement.key in figures.missing
        },
        "targets": [
            {
                "row": verdict.measurement.key,
                "ours": verdict.target.ours,
                "against": verdict.target.peer,
                "result": verdict.result,
                "target": f"{verdict.target.sign} {verdict.target.bound:g}",
                "met": verdict.met,
            }
            for verdict in verdicts(figures)
        ],
    }


def as_markdown(
    figures: Figures, system: Mapping[str, Any], versions: Mapping[str, Mapping[str, str]]
) -> str:
    """Two tables: the figures with a target, and the comparison of all clients."""
    packages = ", ".join(
        f"{name} {installed[name]}"
        for name in ("llm", "openai", "g4f", "litellm", "any-llm-sdk", "httpx", "aiohttp")
        for installed in [versions.get(name.removesuffix("-sdk").replace("-", ""), {})]
        if name in installed
    )
    head = (
        f"{system['date'][:10]}, {system['processor']}, {system['cores']} cores,"
        f" Python {system['python']}, {system['system']}; {packages}."
    )
    targets = _table(
        ["measurement", "of", "figure", "against", "its figure", "result", "target", "met"],
        (_target(verdict) for verdict in verdicts(figures)),
    )
    measurements = [
        measurement
        for measurement in MEASUREMENTS
        if measurement.group in ("cold", "warm", "memory")
    ]
    comparison = _table(
        ["client", *(f"{measurement.title}, {measurement.unit}" for measurement in measurements)],
        (
            [
                label,
                *(_number(figures.median(measurement.key, client)) for measurement in measurements),
            ]
            for client, label in _LABELS.items()
            if any(
                figures.median(measurement.key, client) is not None for measurement in measurements
            )
        ),
    )
    reasons: dict[tuple[str, str], list[str]] = {}
    for row, clients in figures.missing.items():
        for client, reason in clients.items():
            reasons.setdefault((client, reason), []).append(row)
    missing = "\n".join(
        f"- not measured: {client} ({', '.join(keys)}): {reason}"
        for (client, reason), keys in reasons.items()
    )
    return "\n\n".join(part for part in (head, targets, comparison, missing) if part)


def _target(verdict: Verdict) -> list[str]:
    target, unit = verdict.target, verdict.measurement.unit
    if verdict.met is None:
        met = f"not measured: {verdict.reason}"
    else:
        met = "yes" if verdict.met else "no"
    return [
        verdict.measurement.title,
        _LABELS.get(target.ours, target.ours),
        _number(verdict.ours, unit),
        _LABELS.get(target.peer, target.peer) if target.peer else "",
        _number(verdict.theirs, unit) if target.peer else "",
        _number(verdict.result, "" if target.peer and not target.difference else unit),
        f"{'≤' if target.sign == '<=' else '≥'} {target.bound:g}",
        met,
    ]


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return ""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".rstrip() if unit != "1/s" else f"{text}/s"


def _table(titles: list[str], lines: Iterable[list[str]]) -> str:
    rows = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    if not rows:
        return ""
    return "\n".join(
        "| " + " | ".join(line) + " |" for line in (titles, ["---"] * len(titles), *rows)
    )
