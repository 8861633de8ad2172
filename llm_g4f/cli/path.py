"""`llm g4f path`: show the path of g4f.yaml."""

from __future__ import annotations

import click


@click.command()
def path() -> None:
    """Show where g4f.yaml is, or would be."""
    # Also where the file is invalid: then this path is what the person needs.
    from ..config.files import config_path

    click.echo(config_path())
