"""`llm g4f disable`: no prompt goes to a provider any more."""

from __future__ import annotations

import click

from .failure import said

__all__ = ["disable"]


@click.command()
@click.argument("name")
@said
def disable(name: str) -> None:
    """Keep provider NAME out, even where a route or -o provider names it."""
    from .edit import editing
    from .known import check_name

    check_name(name)
    with editing() as providers:
        entry = providers.setdefault(name, {})
        entry["enabled"] = False
    click.echo(f"{name} is disabled.")
