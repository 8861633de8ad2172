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

if TYPE_CHECKING:
    from .log_stats import Series, Stats

BARS = "▁▂▃▄▅▆▇█"
COLUMNS = 44
NAME = 14
"""Columns of the bars and of the name: with the figures, a line has at most 80 characters."""


def echo(stats: Stats) -> None:
    """Print two panels with one line of bars per provider: medians over time, scaled to the highest
    of the line. `stats` must have an answer."""
    assert stats.span is not None
    if isinstance(sys.stdout, io.TextIOWrapper):
        # On Windows, the code page of a redirected stdout lacks the bars.
        sys.stdout.reconfigure(errors="replace")
    first, last = (time.timestamp() for time in stats.span)
    width = (last - first) / COLUMNS or 1.0
    providers = stats.by_provider()
    for name, unit, values in _PANELS:
        head = f"{name} over time"
        click.echo(
            click.style(f"{head:{NAME + 2 + COLUMNS}}  {'median':>8}  {'max, █':>8}", bold=True)
        )
        for series in providers:
            known = [value for value in values(series) if not isnan(value)]
            medians = _medians(series, values(series), first, width)
            highest = max((value for value in medians if value is not None), default=None)
            bars = "".join(_bar(value, highest) for value in medians)
            figures = [_figure(median(known) if known else None, unit), _figure(highest, unit)]
            click.echo(f"{_cut(series.provider):{NAME}}  {bars}  {figures[0]:>8}  {figures[1]:>8}")
        click.echo()
    begin, end = (f"{time:%Y-%m-%d %H:%M}" for time in stats.span)
    click.echo(f"{'':{NAME}}  {begin}{end:>{COLUMNS - len(begin)}}  UTC")


_PANELS: tuple[tuple[str, str, Callable[[Series], array[float]]], ...] = (
    ("first token", " s", lambda series: series.ttft),
    ("tokens/s", "", lambda series: series.rates),
)


def _medians(
    series: Series, values: array[float], first: float, width: float
) -> list[float | None]:
    """The median of each column, None without a value."""
    columns: list[list[float]] = [[] for _ in range(COLUMNS)]
    for time, value in zip(series.times, values, strict=True):
        if not isnan(value):
            columns[min(int((time - first) / width), COLUMNS - 1)].append(value)
    return [median(column) if column else None for column in columns]


def _bar(value: float | None, highest: float | None) -> str:
    if value is None:
        return " "
    share = value / highest if highest else 0.0
    return BARS[min(int(share * len(BARS)), len(BARS) - 1)]


def _figure(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.3g}{unit}"


def _cut(name: str) -> str:
    name = clean(name)
    return name if len(name) <= NAME else name[: NAME - 1] + "…"
