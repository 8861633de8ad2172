"""`llm g4f remove`: forget an endpoint."""

from __future__ import annotations

import click

from .failure import said

__all__ = ["remove"]


@click.command()
@click.argument("name")
@said
def remove(name: str) -> None:
    """Take what g4f.yaml says of provider NAME out of it."""
    from .edit import editing

    with editing() as providers:
        if name not in providers:
            raise click.ClickException(f"g4f.yaml says nothing of {name}.")
        del providers[name]
    click.echo(f"{name} is removed.")
