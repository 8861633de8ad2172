"""`llm g4f path`: show the path of g4f.yaml."""

from __future__ import annotations

import click

from .errors import handle_errors


@click.command()
@handle_errors
def path() -> None:
    """Show where g4f.yaml is, or would be."""
    from ..config.files import config_path

    click.echo(config_path())
