"""Print aligned tables."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Sequence

import click

_MIN_WIDTH = 16
"""Characters that the first column keeps in any case."""


def echo(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Collection[int] = (),
    fit: bool = False,
) -> None:
    """Print rows under a head, with aligned columns; the head is bold on a terminal.

    The columns `numbers` are aligned to the right. With `fit`, the first column is shortened in the
    middle so that lines fit the terminal (80 columns without a terminal).
    """
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    if fit:
        others = sum(widths[1:]) + 2 * len(widths[1:])
        widths[0] = min(widths[0], max(shutil.get_terminal_size().columns - others, _MIN_WIDTH))
        for line in lines:
            line[0] = _shorten(line[0], widths[0])
    for number, line in enumerate(lines):
        cells = [
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text = "  ".join(cells).rstrip()
        click.echo(click.style(text, bold=True) if number == 0 else text)


def _shorten(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    # The provider is at the beginning, the model at the end.
    end = (width - 1) * 2 // 3
    return f"{text[: width - 1 - end]}…{text[-end:]}"
