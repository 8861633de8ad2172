"""`llm g4f enable`: allow a provider to receive prompts."""

from __future__ import annotations

import click

from .errors import handle_errors


@click.command()
@click.argument("name")
@handle_errors
def enable(name: str) -> None:
    """Enable provider NAME, so that prompts may go there."""
    from ..providers.catalogue import PROVIDERS
    from .config_editor import editing
    from .in_routes import offer
    from .validation import check_name

    check_name(name)
    spec = PROVIDERS.get(name)
    if spec is not None and spec.kind == "anonymous":
        training = " They may be used for training." if spec.trains_on_prompts else ""
        click.echo(
            f"{name} is a public endpoint without a contract: your prompts will go to"
            f" {spec.base_url}.{training}"
        )
    with editing() as providers:
        entry = providers.setdefault(name, {})
        entry["enabled"] = True
    click.echo(f"{name} is enabled.")
    _warn_of_missing_key(name)
    offer(name)


def _warn_of_missing_key(name: str) -> None:
    """Say how to set the key of a provider that needs one: until then it answers nothing."""
    from .. import config
    from ..providers.base import Ineligible
    from ..routing.registry import Registry

    provider = Registry(config.load()).provider(name, "gpt-4o")
    if isinstance(provider, Ineligible) and provider.code in ("no_key", "invalid_key"):
        click.echo(f"{name} cannot answer yet: {provider.reason}.", err=True)
