"""Time to first token and tokens/s by provider over time, as a picture (extra `plot`: matplotlib)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import isnan, nan
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from ..errors import G4FError
from .log_stats import MEDIAN, P5, P95, Series, Stats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Told apart by the colour-blind too (Okabe and Ito, "Color Universal Design", 2008)."""
OTHERS = "#7F7F7F"

ENOUGH = 3
"""Answers that make a median."""
STEPS = {
    60: "minute",
    300: "5 minutes",
    900: "15 minutes",
    3_600: "hour",
    10_800: "3 hours",
    21_600: "6 hours",
    86_400: "day",
    604_800: "week",
    2_419_200: "4 weeks",
    31_536_000: "365 days",
}
"""What a line has a median for each of: by seconds, the shortest that makes `LONGEST` or fewer."""
LONGEST = 60
POINTS = 100
"""Up to so many answers of a provider are drawn one by one, as are more if they lie too far apart."""
GAP = 4
"""So many of them without a median, and the line is broken."""
DECADE = 10.0
"""A panel whose largest value is so many times its smallest has a logarithmic axis."""
INSTANT = 0.001
"""Seconds: receipts are exact to so much, and a logarithm has no place for nothing."""

_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#999999",
    "axes.grid": True,
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.dpi": 150,
    "font.size": 10,
    "grid.color": "#E3E3E3",
    "savefig.facecolor": "white",
    "text.parse_math": False,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
}


def draw(stats: Stats, path: Path) -> None:
    """Write the picture to `path`; its suffix says which format (.png, .svg, .pdf …).

    Raises `G4FError` without matplotlib, without answers, for a suffix that is no picture's, and where
    the file cannot be written.
    """
    try:
        import matplotlib.style
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise G4FError(
            f"Drawing needs matplotlib ({error}): llm install 'llm-g4f[plot]'."
        ) from None
    known = FigureCanvasAgg.get_supported_filetypes()
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in known:
        raise G4FError(f"{path} says no format that can be drawn: .{', .'.join(sorted(known))}.")
    if stats.span is None:
        raise G4FError("There is nothing to draw: no answers.")
    with matplotlib.style.context(["default", _STYLE]):
        picture = figure(stats)
        FigureCanvasAgg(picture)
        try:
            picture.savefig(path, format=suffix)
        except OSError as error:
            raise G4FError(f"{path} cannot be written: {error.strerror or error}.") from None


def figure(stats: Stats) -> Figure:
    """Two panels over one time axis: time to first token above, tokens/s below. Needs an answer."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    assert stats.span is not None
    first, last = stats.span
    span = (last - first).total_seconds()
    step = next((step for step in STEPS if span / step <= LONGEST), max(STEPS))
    picture = Figure(figsize=(10, 6.4), layout="constrained")
    upper, lower = picture.subplots(2, 1, sharex=True)
    shown = list(zip(_fewer(stats.by_provider()), (*COLOURS, OTHERS), strict=False))
    dotted = False
    for panel, name, unit, tail, values in (
        (upper, "Time to first token", "seconds", P95, [one.ttft for one, _ in shown]),
        (lower, "Output tokens per second", "tokens/s", P5, [one.rates for one, _ in shown]),
    ):
        lined = False
        for (one, colour), series in zip(shown, values, strict=True):
            known = _known(one.times, series)
            bins = _bins(known, step)
            if len(known) > POINTS and sum(map(len, bins.values())) > len(known) / 2:
                lined = True
                _line(panel, bins, colour, step, tail)
            elif known:
                dotted = True
                _dots(panel, known, colour)
        band = "up to p95" if tail == P95 else "down to p5"
        each = f": median of each {STEPS[step]}, band {band}" if lined else ""
        panel.set_title(name + each, loc="left")
        panel.set_ylabel(unit)
        _scale(panel)
    _time_axis(lower, first, last)
    note = "\ndots: single answers, dashes: their median" if dotted else ""
    lower.set_xlabel(f"time (UTC){note}")
    picture.suptitle(_title(stats, first, last), fontsize=13, fontweight="bold", x=0.01, ha="left")
    upper.legend(
        handles=[
            Line2D([], [], color=colour, linewidth=5, label=_label(one)) for one, colour in shown
        ],
        loc="upper left",
        bbox_to_anchor=(1.01, 1.03),
        title="provider (answers)",
        alignment="left",
        frameon=False,
    )
    picture.align_ylabels()
    return picture


def _label(one: Series) -> str:
    name = one.provider if len(one.provider) <= 24 else one.provider[:23] + "…"
    return f"{name} ({len(one):,})"


def _fewer(all: list[Series]) -> list[Series]:
    """As many as there are colours; those with the fewest answers together."""
    if len(all) <= len(COLOURS) + 1:
        return all
    rest = Series(f"{len(all) - len(COLOURS)} others")
    for one in all[len(COLOURS) :]:
        rest.extend(one)
    return [*all[: len(COLOURS)], rest]


def _known(times: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
    return [
        (time, max(value, INSTANT))
        for time, value in zip(times, values, strict=True)
        if not isnan(value)
    ]


def _dots(panel: Axes, known: list[tuple[float, float]], colour: str) -> None:
    values = [value for _, value in known]
    panel.scatter(
        _dates(time for time, _ in known),
        values,
        s=24 if len(known) < POINTS / 2 else 14,
        color=colour,
        alpha=0.7,
        linewidths=0,
    )
    if len(known) >= ENOUGH:
        panel.axhline(median(values), color=colour, linewidth=1.2, linestyle=(0, (5, 3)))


def _bins(known: list[tuple[float, float]], step: int) -> dict[int, list[float]]:
    """The values of each `step` seconds that has `ENOUGH`, in the order of time."""
    found: dict[int, list[float]] = {}
    for time, value in known:
        found.setdefault(int(time // step), []).append(value)
    return {place: found[place] for place in sorted(found) if len(found[place]) >= ENOUGH}


def _line(panel: Axes, bins: dict[int, list[float]], colour: str, step: int, tail: int) -> None:
    times: list[float] = []
    middles: list[float] = []
    tails: list[float] = []
    before = None
    for place, values in bins.items():
        if before is not None and place - before > GAP:
            times.append((before + 1) * step)
            middles.append(nan)
            tails.append(nan)
        cuts = quantiles(values, n=20, method="inclusive")
        times.append((place + 0.5) * step)
        middles.append(cuts[MEDIAN])
        tails.append(cuts[tail])
        before = place
    dates = _dates(times)
    panel.fill_between(dates, middles, tails, color=colour, alpha=0.16, linewidth=0)
    panel.plot(dates, middles, color=colour, linewidth=1.8, marker="o", markersize=2.8)


def _dates(times: Iterable[float]) -> Any:
    """Matplotlib's numbers, in days, for times in seconds since 1970."""
    from matplotlib.dates import date2num

    return date2num([datetime.fromtimestamp(time, UTC) for time in times])


def _scale(panel: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low, high = panel.dataLim.intervaly  # inverted where there is nothing
    if low > high:
        panel.text(0.5, 0.5, "unknown", transform=panel.transAxes, ha="center", color="#666666")
        panel.set_yticks([])
    elif high / low >= DECADE:
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())
    else:
        panel.set_ylim(bottom=0)


def _time_axis(panel: Axes, first: datetime, last: datetime) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    begin, end = _dates((first.timestamp(), last.timestamp()))
    margin = max((end - begin) * 0.02, 1 / 48)
    panel.set_xlim(begin - margin, end + margin)
    locator = AutoDateLocator(tz=UTC)
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))


def _title(stats: Stats, first: datetime, last: datetime) -> str:
    days = [f"{moment.day} {moment:%b %Y}" for moment in (first, last)]
    span = days[0] if days[0] == days[1] else " to ".join(days)
    of = f" ({stats.model})" if stats.model else ""
    return f"{stats.answers:,} answer{'' if stats.answers == 1 else 's'}{of}, {span} (UTC)"
