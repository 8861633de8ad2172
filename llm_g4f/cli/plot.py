"""Draw time to first token and tokens/s of each provider over time, with matplotlib (extra `plot`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import isnan, nan
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from ..errors import G4FError
from ..safe_text import clean
from .log_stats import MEDIAN, P5, P95, Series, Stats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Safe for colour-blind readers (Okabe and Ito, "Color Universal Design", 2008)."""
OTHERS = "#7F7F7F"

MIN_ANSWERS = 3
"""Answers needed for a median."""
INTERVALS = {
    1: "second",
    2: "2 seconds",
    5: "5 seconds",
    10: "10 seconds",
    30: "30 seconds",
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
"""Seconds per median of a line, and their names. The shortest is used with at most `MAX_INTERVALS`,
and with `USUAL_ANSWERS` of the most frequent provider in each, were they spread evenly."""
MAX_INTERVALS = 60
USUAL_ANSWERS = 5
MARGIN = 0.03
"""Share of the time that is left free at both ends of its axis."""
MIN_MARGIN = 1.0
"""Seconds, for a single answer."""
MAX_DOTS = 100
"""Up to this many answers of a provider are drawn as dots; more are too, if they are sparse."""
MAX_GAP = 4
"""A line is broken after more intervals without a median."""
LOG_RATIO = 10.0
"""A panel has a logarithmic axis if its largest value is at least this many times the smallest."""
MIN_VALUE = 0.001
"""Seconds, the precision of receipts: a logarithmic axis cannot show 0."""

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
    """Write the picture to `path`, in the format of its suffix (.png, .svg, .pdf …).

    Raises `G4FError` without matplotlib, without answers, for an unsupported suffix, and if the file
    cannot be written.
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
        raise G4FError(f"{path} has an unsupported format: use .{', .'.join(sorted(known))}.")
    if stats.span is None:
        raise G4FError("Nothing to draw: no answers yet.")
    with matplotlib.style.context(["default", _STYLE]):
        picture = figure(stats)
        FigureCanvasAgg(picture)
        try:
            picture.savefig(path, format=suffix)
        except OSError as error:
            raise G4FError(f"{path} cannot be written: {error.strerror or error}.") from None


def figure(stats: Stats) -> Figure:
    """Two panels over one time axis: time to first token above, tokens/s below.

    `stats` must have an answer.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    assert stats.span is not None
    first, last = stats.span
    span = (last - first).total_seconds()
    most = max(map(len, stats.by_provider()))
    intervals = min(MAX_INTERVALS, max(most // USUAL_ANSWERS, 1))
    interval = next((step for step in INTERVALS if span / step <= intervals), max(INTERVALS))
    picture = Figure(figsize=(10, 6.4), layout="constrained")
    upper, lower = picture.subplots(2, 1, sharex=True)
    shown = list(zip(_limited(stats.by_provider()), (*COLOURS, OTHERS), strict=False))
    has_dots = False
    for panel, name, unit, tail, values in (
        (upper, "Time to first token", "seconds", P95, [series.ttft for series, _ in shown]),
        (lower, "Output tokens per second", "tokens/s", P5, [series.rates for series, _ in shown]),
    ):
        has_lines = False
        for (series, colour), of_panel in zip(shown, values, strict=True):
            known = _known(series.times, of_panel)
            bins = _bins(known, interval)
            if len(known) > MAX_DOTS and sum(map(len, bins.values())) > len(known) / 2:
                has_lines = True
                _line(panel, bins, colour, interval, tail)
            elif known:
                has_dots = True
                _dots(panel, known, colour)
        band = "up to p95" if tail == P95 else "down to p5"
        detail = f": median of each {INTERVALS[interval]}, band {band}" if has_lines else ""
        panel.set_title(name + detail, loc="left")
        panel.set_ylabel(unit)
        _scale(panel)
    _time_axis(lower, first, last)
    note = "\ndots: single answers, dashes: their median" if has_dots else ""
    lower.set_xlabel(f"time (UTC){note}")
    picture.suptitle(_title(stats, first, last), fontsize=13, fontweight="bold", x=0.01, ha="left")
    upper.legend(
        handles=[
            Line2D([], [], color=colour, linewidth=5, label=_label(series))
            for series, colour in shown
        ],
        loc="upper left",
        bbox_to_anchor=(1.01, 1.03),
        title="provider (answers)",
        alignment="left",
        frameon=False,
    )
    picture.align_ylabels()
    return picture


def _label(series: Series) -> str:
    name = clean(series.provider)
    name = name if len(name) <= 24 else name[:23] + "…"
    return f"{name} ({len(series):,})"


def _limited(providers: list[Series]) -> list[Series]:
    """One series per colour; the providers with the fewest answers are merged into the last."""
    if len(providers) <= len(COLOURS) + 1:
        return providers
    others = Series(f"{len(providers) - len(COLOURS)} others")
    for series in providers[len(COLOURS) :]:
        others.extend(series)
    return [*providers[: len(COLOURS)], others]


def _known(times: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
    return [
        (time, max(value, MIN_VALUE))
        for time, value in zip(times, values, strict=True)
        if not isnan(value)
    ]


def _dots(panel: Axes, known: list[tuple[float, float]], colour: str) -> None:
    values = [value for _, value in known]
    panel.scatter(
        _dates(time for time, _ in known),
        values,
        s=24 if len(known) < MAX_DOTS / 2 else 14,
        color=colour,
        # Where many overlap, the dark places show how they are distributed.
        alpha=0.7 if len(known) <= MAX_DOTS else 0.25,
        linewidths=0,
    )
    if len(known) >= MIN_ANSWERS:
        panel.axhline(median(values), color=colour, linewidth=1.2, linestyle=(0, (5, 3)))


def _bins(known: list[tuple[float, float]], interval: int) -> dict[int, list[float]]:
    """The values of each interval with `MIN_ANSWERS` or more, by its number, in time order."""
    bins: dict[int, list[float]] = {}
    for time, value in known:
        bins.setdefault(int(time // interval), []).append(value)
    return {number: bins[number] for number in sorted(bins) if len(bins[number]) >= MIN_ANSWERS}


def _line(panel: Axes, bins: dict[int, list[float]], colour: str, interval: int, tail: int) -> None:
    times: list[float] = []
    medians: list[float] = []
    tails: list[float] = []
    previous = None
    for number, values in bins.items():
        if previous is not None and number - previous > MAX_GAP:
            times.append((previous + 1) * interval)
            medians.append(nan)
            tails.append(nan)
        cuts = quantiles(values, n=20, method="inclusive")
        times.append((number + 0.5) * interval)
        medians.append(cuts[MEDIAN])
        tails.append(cuts[tail])
        previous = number
    dates = _dates(times)
    panel.fill_between(dates, medians, tails, color=colour, alpha=0.16, linewidth=0)
    panel.plot(dates, medians, color=colour, linewidth=1.8, marker="o", markersize=2.8)


def _dates(times: Iterable[float]) -> Any:
    """Convert seconds since 1970 to matplotlib's dates (days)."""
    from matplotlib.dates import date2num

    return date2num([datetime.fromtimestamp(time, UTC) for time in times])


def _scale(panel: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low, high = panel.dataLim.intervaly  # inverted if the panel is empty
    if low > high:
        panel.text(0.5, 0.5, "unknown", transform=panel.transAxes, ha="center", color="#666666")
        panel.set_yticks([])
    elif high / low >= LOG_RATIO:
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())
    else:
        panel.set_ylim(bottom=0)


def _time_axis(panel: Axes, first: datetime, last: datetime) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    begin, end = _dates((first.timestamp(), last.timestamp()))
    margin = max((end - begin) * MARGIN, MIN_MARGIN / 86_400)
    panel.set_xlim(begin - margin, end + margin)
    locator = AutoDateLocator(tz=UTC)
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))


def _title(stats: Stats, first: datetime, last: datetime) -> str:
    days = [f"{time.day} {time:%b %Y}" for time in (first, last)]
    span = days[0] if days[0] == days[1] else " to ".join(days)
    of = f" ({stats.model})" if stats.model else ""
    return f"{stats.answers:,} answer{'' if stats.answers == 1 else 's'}{of}, {span} (UTC)"
