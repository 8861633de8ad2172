"""`llm g4f enable`: consent to a provider."""

from __future__ import annotations

import click

from .failure import said

__all__ = ["enable"]


@click.command()
@click.argument("name")
@said
def enable(name: str) -> None:
    """Let provider NAME take part."""
    from ..providers.catalog import ROWS
    from .edit import editing
    from .known import check_name

    check_name(name)
    row = ROWS.get(name)
    if row is not None and row.kind == "anonymous":
        trains = " They may be used for training." if row.trains else ""
        click.echo(
            f"{name} is a public endpoint without a contract: your prompts will go to"
            f" {row.base_url}.{trains}"
        )
    with editing() as providers:
        entry = providers.setdefault(name, {})
        entry["enabled"] = True
    click.echo(f"{name} is enabled.")
