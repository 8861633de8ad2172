"""`llm g4f cache`: answers that were kept, to be given again."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import click

from .errors import handle_errors, words_of

if TYPE_CHECKING:
    from ..routing.answer_cache import AnswerFile


@click.group(invoke_without_command=True)
@click.pass_context
def cache(ctx: click.Context) -> None:
    """Show how many answers are kept, their size, and how often one was given.

    Answers are kept with "cache: {ttl: 7d}" in g4f.yaml, with -o cache 1, and by batch --cache.
    """
    if ctx.invoked_subcommand is None:
        _show()


@handle_errors
def _show() -> None:
    from ..routing.answer_cache import MAX_SIZE, Counts

    file = _file()
    try:
        counts = file.counts() if file is not None else Counts(0, 0, 0, 0)
    except (sqlite3.Error, OSError) as error:
        raise click.ClickException(f"The kept answers cannot be read: {words_of(error)}.") from None
    answers = f"{counts.answers:,} answer{'s' if counts.answers != 1 else ''}"
    size = f"{counts.size / 1e6:.2f} of at most {MAX_SIZE / 1e6:.0f} MB"
    click.echo(f"{answers}, {size}")
    if counts.asked:
        rate = counts.given / counts.asked
        click.echo(f"{counts.given:,} of {counts.asked:,} requests had a kept answer ({rate:.0%})")


@cache.command()
@handle_errors
def clear() -> None:
    """Delete the kept answers."""
    file = _file()
    try:
        if file is not None:
            file.clear()
    except (sqlite3.Error, OSError) as error:
        raise click.ClickException(
            f"The kept answers cannot be deleted: {words_of(error)}."
        ) from None
    click.echo("No answers are kept any more.")


def _file() -> AnswerFile | None:
    """The file; None if there is none."""
    from ..routing.answer_cache import AnswerFile

    file = AnswerFile()
    return file if file.path.exists() or file.path.is_symlink() else None
