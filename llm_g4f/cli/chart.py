"""Draw time to first token and tokens/s of each provider over time, as bars of text."""

from __future__ import annotations

import io
import sys
from array import array
from collections.abc import Callable
from math import isnan
from statistics import median
from typing import TYPE_CHECKING

import click

from ..safe_text import clean
from .table import echo_line, terminal_width

if TYPE_CHECKING:
    from .log_stats import Series, Stats

BARS = "▁▂▃▄▅▆▇█"
COLUMNS, NAME = 44, 14
"""Columns of the bars and of the name: with the figures, a line has at most 80 characters."""

NARROW_NAME, FIGURES = 8, 22
"""Columns of the name on a terminal of fewer, and of gaps and figures."""


def echo(stats: Stats) -> None:
    """Print two panels with one line of bars per provider: medians over time, scaled to the highest
    of the line. `stats` must have an answer."""
    assert stats.span is not None
    if isinstance(sys.stdout, io.TextIOWrapper):
        # On Windows, the code page of a redirected stdout lacks the bars.
        sys.stdout.reconfigure(errors="replace")
    first, last = (time.timestamp() for time in stats.span)
    columns, room = _sizes()
    width = (last - first) / columns or 1.0
    providers = stats.by_provider()
    for name, unit, values in _PANELS:
        head = f"{name} over time" if columns == COLUMNS else name
        click.echo(
            click.style(f"{head:{room + 2 + columns}}  {'median':>8}  {'max, █':>8}", bold=True)
        )
        for series in providers:
            known = [value for value in values(series) if not isnan(value)]
            medians = _medians(series, values(series), first, width, columns)
            highest = max((value for value in medians if value is not None), default=None)
            bars = "".join(_bar(value, highest) for value in medians)
            figures = [_figure(median(known) if known else None, unit), _figure(highest, unit)]
            provider = _cut(series.provider, room)
            click.echo(f"{provider:{room}}  {bars}  {figures[0]:>8}  {figures[1]:>8}")
        click.echo()
    begin, end = (f"{time:%Y-%m-%d %H:%M}" for time in stats.span)
    if columns == COLUMNS:
        click.echo(f"{'':{room}}  {begin}{end:>{columns - len(begin)}}  UTC")
    else:
        echo_line(f"{begin} to {end} UTC", 0)


def _sizes() -> tuple[int, int]:
    """The columns of the bars and of the names, which fit the terminal."""
    terminal = terminal_width() or 80
    if terminal >= NAME + FIGURES + COLUMNS:
        return COLUMNS, NAME
    return max(terminal - NARROW_NAME - FIGURES, 1), NARROW_NAME


_PANELS: tuple[tuple[str, str, Callable[[Series], array[float]]], ...] = (
    ("first token", " s", lambda series: series.ttft),
    ("tokens/s", "", lambda series: series.rates),
)


def _medians(
    series: Series, values: array[float], first: float, width: float, count: int
) -> list[float | None]:
    """The median of each of `count` columns, None without a value."""
    columns: list[list[float]] = [[] for _ in range(count)]
    for time, value in zip(series.times, values, strict=True):
        if not isnan(value):
            columns[min(int((time - first) / width), count - 1)].append(value)
    return [median(column) if column else None for column in columns]


def _bar(value: float | None, highest: float | None) -> str:
    if value is None:
        return " "
    share = value / highest if highest else 0.0
    return BARS[min(int(share * len(BARS)), len(BARS) - 1)]


def _figure(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.3g}{unit}"


def _cut(name: str, room: int) -> str:
    name = clean(name)
    return name if len(name) <= room else name[: room - 1] + "…"
