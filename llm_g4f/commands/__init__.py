"""`llm g4f …`. Each command imports what it needs when it runs: llm builds them at every start."""

from __future__ import annotations

import click

from .local import local
from .route import route

__all__ = ["g4f"]


@click.group()
def g4f() -> None:
    """Who answers for gpt-4o, and the embedded model."""


@g4f.command()
def path() -> None:
    """Where g4f.yaml is, or would be."""
    from ..config import config_path

    click.echo(config_path())


g4f.add_command(local)
g4f.add_command(route)
