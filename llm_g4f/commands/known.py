"""Names of providers, checked."""

from __future__ import annotations

import click

__all__ = ["check_name"]


def check_name(name: str) -> None:
    """Raise a click error if there is no provider `name`."""
    from .. import config
    from ..routing.registry import Source

    names = Source(config.load()).names()
    if name not in names:
        raise click.ClickException(f"There is no provider {name!r}. There are: {', '.join(names)}.")
