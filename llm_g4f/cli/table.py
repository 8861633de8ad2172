"""Print aligned tables and wrapped lines that fit the terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Sequence

import click

_MIN_WIDTH = 16
"""Characters that the first column keeps in any case."""

_MIN_LAST = 24
"""Characters that the last column needs to be one beside the others."""


def terminal_width() -> int | None:
    """The columns of the terminal on stdout; None if it is no terminal, where lines are not wrapped."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def is_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def echo_line(text: str, indent: int = 3) -> None:
    """Print a line; on a terminal its further lines are indented."""
    for line in _wrapped(text, terminal_width(), indent):
        click.echo(line)


def _wrapped(text: str, width: int | None, indent: int) -> list[str]:
    if width is None or len(text) < width:
        return [text]
    # A path or a URL is copied as a whole.
    return textwrap.wrap(
        text,
        max(width - 1, _MIN_LAST),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def echo(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Collection[int] = (),
    fit: bool = False,
) -> None:
    """Print rows under a head, with aligned columns; the head is bold on a terminal.

    The columns `numbers` are aligned to the right. With `fit`, the first column is shortened in the
    middle so that lines fit the terminal (80 columns without a terminal). On a terminal the last
    column is wrapped, and where the columns do not fit, each row is a few lines of its own.
    """
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    if fit:
        others = sum(widths[1:]) + 2 * len(widths[1:])
        widths[0] = min(widths[0], max(shutil.get_terminal_size().columns - others, _MIN_WIDTH))
    width = terminal_width()
    left = sum(widths[:-1]) + 2 * len(widths[:-1])
    if width is not None and left + min(widths[-1], _MIN_LAST) > width:
        _echo_rows(lines, width, says=not fit)
        return
    for number, line in enumerate(lines):
        if fit:
            line[0] = _shorten(line[0], widths[0])
        cells = [
            cell.rjust(size) if column in numbers else cell.ljust(size)
            for column, (cell, size) in enumerate(zip(line, widths, strict=True))
        ]
        text = "  ".join(cells).rstrip()
        for part in _wrapped(text, width, left):
            click.echo(click.style(part, bold=True) if number == 0 else part)


def _echo_rows(lines: list[list[str]], width: int, *, says: bool) -> None:
    """Print each row as a line of its first cell, and one of the others with their heads. Where the last
    column `says` what there is to know of a row, it is on the first line."""
    head, *rows = lines
    for first, *others in rows:
        told = f"{first}: {others.pop()}" if says else first
        for line in _wrapped(told, width, 2):
            click.echo(line)
        named = ", ".join(
            f"{name} {cell}"
            for name, cell in zip(head[1:], others, strict=False)
            if cell not in ("", "-")
        )
        for line in _wrapped(f"  {named}", width, 2) if named else ():
            click.echo(line)


def _shorten(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    # The provider is at the beginning, the model at the end.
    end = (width - 1) * 2 // 3
    return f"{text[: width - 1 - end]}…{text[-end:]}"
