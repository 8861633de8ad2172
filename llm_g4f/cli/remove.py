"""`llm g4f remove`: forget an endpoint."""

from __future__ import annotations

import click

from .errors import handle_errors


@click.command()
@click.argument("name")
@handle_errors
def remove(name: str) -> None:
    """Take what g4f.yaml says of provider NAME out of it."""
    from .config_editor import editing

    with editing() as providers:
        if name not in providers:
            raise click.ClickException(f"g4f.yaml says nothing of {name}.")
        del providers[name]
    click.echo(f"{name} is removed.")
