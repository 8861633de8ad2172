"""A run's figures as markdown for the README, and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from .figures import ROWS, Figures, Verdict, verdicts

__all__ = ["as_json", "as_markdown", "machine"]

_COMPARED = ("floor", "ours", "openai", "g4f", "litellm", "anyllm", "httpx", "aiohttp")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
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
    figures: Figures, where: Mapping[str, Any], versions: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """Everything: the machine, the versions, each figure of each round, medians and ratios."""
    return {
        "machine": dict(where),
        "versions": {name: dict(found) for name, found in versions.items()},
        "rows": {
            row.key: {
                "title": row.title,
                "unit": row.unit,
                "medians": {
                    client: figures.median(row.key, client)
                    for client in figures.values.get(row.key, {})
                },
                "rounds": {
                    client: list(found.values())
                    for client, found in figures.values.get(row.key, {}).items()
                },
                "not_measured": figures.missing.get(row.key, {}),
            }
            for row in ROWS
            if row.key in figures.values or row.key in figures.missing
        },
        "targets": [
            {
                "row": verdict.row.key,
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
    figures: Figures, where: Mapping[str, Any], versions: Mapping[str, Mapping[str, str]]
) -> str:
    """Two tables: ours against the targets, and all clients beside each other."""
    shown = ", ".join(
        f"{name} {found[name]}"
        for name in ("llm", "openai", "g4f", "litellm", "any-llm-sdk", "httpx", "aiohttp")
        for found in [versions.get(name.removesuffix("-sdk").replace("-", ""), {})]
        if name in found
    )
    head = (
        f"{where['date'][:10]}, {where['processor']}, {where['cores']} cores,"
        f" Python {where['python']}, {where['system']}; {shown}."
    )
    found = verdicts(figures)
    targets = _table(
        ["measured", "ours", "against", "theirs", "result", "target", "met"],
        (_target(verdict) for verdict in found),
    )
    rows = [row for row in ROWS if row.group in ("cold", "warm", "memory")]
    compared = _table(
        ["client", *(f"{row.title}, {row.unit}" for row in rows)],
        (
            [client, *(_number(figures.median(row.key, client)) for row in rows)]
            for client in _COMPARED
            if any(figures.median(row.key, client) is not None for row in rows)
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
    return "\n\n".join(part for part in (head, targets, compared, missing) if part)


def _target(verdict: Verdict) -> list[str]:
    target, unit = verdict.target, verdict.row.unit
    if verdict.met is None:
        met = f"not measured: {verdict.reason}"
    else:
        met = "yes" if verdict.met else "no"
    return [
        verdict.row.title,
        _number(verdict.ours, unit),
        target.peer or "",
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
