"""The progress of a fetch: one line on stderr."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

_BESIDES = 24
"""Columns of the line besides label and bar: gaps, brackets, per cent, days and time left."""

_SHORTEST_BAR = 4


def progress_bar(name: str, size: int, label: str) -> ProgressBar[int]:
    """A bar for `size` bytes of the model `name`, with `label` where that fits. One line of the terminal
    that stderr is."""
    import click

    columns = stderr_columns()
    room = columns - _BESIDES - _SHORTEST_BAR
    shorter = (label, f"Fetching {name}", name)
    fitting = next((words for words in shorter if len(words) <= room), name[: max(room, 0)])
    return click.progressbar(
        length=size,
        label=fitting if sys.stderr.isatty() else label,
        file=sys.stderr,
        width=max(_SHORTEST_BAR, min(36, columns - _BESIDES - len(fitting))),
        update_min_steps=max(1, size // 200),
    )


def stderr_columns() -> int:
    """The columns of the terminal on stderr."""
    # click asks for stdout's, which is another place in x=$(llm …).
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def shown_size(size: float) -> str:
    """Bytes as people write them.

    >>> shown_size(98_362_432), shown_size(1_396_198_496), shown_size(16e9)
    ('98 MB', '1.4 GB', '16 GB')
    """
    if size < 999_500_000:
        return f"{size / 1e6:.0f} MB"
    text = f"{size / 1e9:.1f}"
    return f"{text.removesuffix('.0')} GB"
