"""Show the progress of a batch on stderr: a bar on a terminal, otherwise a line every ten seconds."""

from __future__ import annotations

import itertools
import sys
import time
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..batch.job import Progress

_FRAME = 0.1
"""Seconds between two updates of the bar."""

_BESIDES, _TIME_LEFT = len("  []  100%  "), len("1d 00:00:00  ")
"""Columns of the line besides bar and counts, and those of the time left."""

_WIDE = 60
"""Columns from which on the time left is shown too."""

_LONGEST_BAR = 36

_LINE = 10.0
"""Seconds between two lines without a terminal."""


class ProgressBar:
    """Progress of a run. `size` is the size of the input in bytes, None if unknown; `limit` the rows to
    ask at most."""

    def __init__(self, size: int | None, limit: int | None = None) -> None:
        self._size = size
        self._limit = limit
        self._began = self._shown = time.monotonic()
        self._bar: Any = None
        self._drawn = 0
        if sys.stderr.isatty():
            from ..local.progress import stderr_columns

            self._bar = click.progressbar(
                itertools.repeat(None) if size is None else None,
                length=size,
                file=sys.stderr,
                item_show_func=lambda text: text,
                width=max(1, min(stderr_columns() - _BESIDES, _LONGEST_BAR)),
                update_min_steps=0,
            )

    def __enter__(self) -> ProgressBar:
        if self._bar is not None:
            from ..local import status_line

            self._alone = status_line.hidden()
            self._alone.__enter__()
            self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.__exit__(*error)
            self._alone.__exit__(None, None, None)

    def update(self, progress: Progress) -> None:
        """Show `progress`, unless the last update was a moment ago."""
        now = time.monotonic()
        if now - self._shown < (_LINE if self._bar is None else _FRAME):
            return
        self._shown = now
        if self._bar is None:
            click.echo(self._counts(progress, now) + self._time_left(progress, now), err=True)
        else:
            self._draw(progress, now)

    def finish(self, progress: Progress, *, complete: bool = True) -> None:
        """Show the final state of the bar, which is full if the run is `complete`."""
        if self._bar is not None:
            self._draw(progress, time.monotonic(), complete=complete)

    def _share(self, progress: Progress) -> float:
        """The share of the run that is done; 0 if it is unknown."""
        share = progress.bytes_done / self._size if self._size else 0.0
        if self._limit is not None:
            share = max(share, (progress.answered + progress.failed) / self._limit)
        return min(share, 1.0)

    def _draw(self, progress: Progress, now: float, *, complete: bool = False) -> None:
        done = 1.0 if complete else self._share(progress)
        steps = max(0, round(done * (self._size or 0)) - self._drawn)
        self._bar.update(steps, self._fitted(self._counts(progress, now)))
        self._drawn += steps

    def _fitted(self, counts: str) -> str:
        """As many of the counts as one line of the terminal has room for; the bar gets the rest. A
        line that is too long would not be overwritten by the next one."""
        from ..local.progress import stderr_columns

        columns = stderr_columns()
        self._bar.show_eta = columns >= _WIDE
        room = columns - _BESIDES - (_TIME_LEFT if self._bar.show_eta else 0)
        while len(counts) > room and ", " in counts:
            counts = counts.rpartition(", ")[0]
        self._bar.width = min(max(room - len(counts), 0), _LONGEST_BAR)
        return counts

    def say(self, line: str) -> None:
        """Log a notice for the user. Erases the bar first, which is drawn again below it."""
        from ..routing.notices import announce

        if self._bar is not None:
            click.echo("\r\x1b[2K", nl=False, err=True)
        announce(line)

    def _counts(self, progress: Progress, now: float) -> str:
        seconds = now - self._began
        rate = (progress.answered + progress.failed) / seconds if seconds else 0.0
        return (
            f"{progress.answered:,} done, {progress.failed:,} failed, {rate:,.1f}/s,"
            f" {progress.tokens:,} tokens"
        )

    def _time_left(self, progress: Progress, now: float) -> str:
        if not (share := self._share(progress)):
            return ""
        return f", {share:.0%}, {_clock((now - self._began) * (1 / share - 1))} left"


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> _clock(3725)
    '1:02:05'
    """
    minutes, seconds = divmod(round(max(0.0, seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
