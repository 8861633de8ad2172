"""Errors of commands: our words after "Error: ", exit code 1, no traceback."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

P = ParamSpec("P")
R = TypeVar("R")


def handle_errors(command: Callable[P, R]) -> Callable[P, R]:
    """A command whose errors are said as click says its own, a broken g4f.yaml first of all."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        from .. import config
        from ..errors import G4FError
        from ..local.weights import WeightsError

        try:
            config.load()
            return command(*args, **kwargs)
        except (G4FError, WeightsError) as error:
            raise click.ClickException(str(error)) from error

    return wrapped
