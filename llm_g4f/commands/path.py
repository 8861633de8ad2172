"""`llm g4f path`: where g4f.yaml is."""

from __future__ import annotations

import click

from .failure import said

__all__ = ["path"]


@click.command()
@said
def path() -> None:
    """Where g4f.yaml is, or would be."""
    from ..config import config_path

    click.echo(config_path())
