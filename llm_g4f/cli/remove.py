"""`llm g4f remove`: remove a provider from g4f.yaml."""

from __future__ import annotations

import click

from .errors import handle_errors


@click.command()
@click.argument("name")
@handle_errors
def remove(name: str) -> None:
    """Remove provider NAME from g4f.yaml."""
    from .config_editor import editing

    with editing() as providers:
        if name not in providers:
            raise click.ClickException(f"{name} is not in g4f.yaml.")
        del providers[name]
    click.echo(f"{name} is removed.")
