"""Plain aligned tables."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Sequence

import click


def echo(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Collection[int] = (),
    fit: bool = False,
) -> None:
    """Print rows under a head, columns aligned; the head is bold on a terminal.

    The columns `numbers` are aligned to the right. With `fit`, lines are made as narrow as the
    terminal (80 columns where there is none) by what is left out of the middle of the first column.
    """
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    if fit:
        others = sum(widths[1:]) + 2 * len(widths[1:])
        widths[0] = min(widths[0], max(shutil.get_terminal_size().columns - others, _NARROWEST))
        for line in lines:
            line[0] = _shortened(line[0], widths[0])
    for number, line in enumerate(lines):
        cells = [
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text = "  ".join(cells).rstrip()
        click.echo(click.style(text, bold=True) if number == 0 else text)


_NARROWEST = 16


def _shortened(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    # The beginning says who, the end which.
    end = (width - 1) * 2 // 3
    return f"{text[: width - 1 - end]}…{text[-end:]}"
