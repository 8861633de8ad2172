"""`llm g4f enable`: consent to a provider."""

from __future__ import annotations

import click

from .errors import handle_errors


@click.command()
@click.argument("name")
@handle_errors
def enable(name: str) -> None:
    """Let provider NAME take part."""
    from ..providers.catalogue import PROVIDERS
    from .config_editor import editing
    from .validation import check_name

    check_name(name)
    row = PROVIDERS.get(name)
    if row is not None and row.kind == "anonymous":
        trains_on_prompts = " They may be used for training." if row.trains_on_prompts else ""
        click.echo(
            f"{name} is a public endpoint without a contract: your prompts will go to"
            f" {row.base_url}.{trains_on_prompts}"
        )
    with editing() as providers:
        entry = providers.setdefault(name, {})
        entry["enabled"] = True
    click.echo(f"{name} is enabled.")
