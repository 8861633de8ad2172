"""Show our errors as click does: the message after "Error: ", exit code 1, no traceback."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

from ..safe_text import clean

DATABASE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What sqlite3 raises: of a damaged schema, the words of SQLite may not be text."""

P = ParamSpec("P")
R = TypeVar("R")


def handle_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn our errors into click's. An invalid g4f.yaml is reported before the command runs."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        from .. import config
        from ..errors import G4FError
        from ..local.errors import WeightsError

        try:
            config.load()
            return command(*args, **kwargs)
        except (G4FError, WeightsError) as error:
            raise click.ClickException(str(error)) from error

    return wrapped


def words_of(error: Exception) -> str:
    """What an error of a database or of the system says, as one line."""
    if isinstance(error, UnicodeDecodeError):
        return clean(error.object.decode(errors="replace"))
    return clean(str(error))
