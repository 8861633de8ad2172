"""`llm g4f disable`: send no more prompts to a provider."""

from __future__ import annotations

import click

from .errors import handle_errors


@click.command()
@click.argument("name")
@handle_errors
def disable(name: str) -> None:
    """Disable provider NAME, even where a route or -o provider names it."""
    from .config_editor import editing
    from .validation import check_name

    check_name(name)
    with editing() as providers:
        entry = providers.setdefault(name, {})
        entry["enabled"] = False
    click.echo(f"{name} is disabled.")
