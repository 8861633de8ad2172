"""`llm g4f enable`: allow a provider to receive prompts."""

from __future__ import annotations

from collections.abc import Mapping

import click

from .errors import handle_errors


@click.command()
@click.argument("name")
@click.option(
    "models",
    "--model",
    metavar="REQUESTED=UPSTREAM",
    multiple=True,
    help="Model of the provider that answers for a requested model.",
)
@handle_errors
def enable(name: str, models: tuple[str, ...]) -> None:
    """Enable provider NAME, so that prompts may go there."""
    from .add import pair

    enable_provider(name, dict(pair(text) for text in models))


def enable_provider(name: str, models: Mapping[str, object] = {}) -> None:
    """Enable a provider in g4f.yaml, with `models` for requested ones. Says where prompts go."""
    from ..providers.catalogue import PROVIDERS
    from .config_editor import editing
    from .in_routes import offer
    from .table import echo_line
    from .validation import check_name

    check_name(name)
    spec = PROVIDERS.get(name)
    if spec is not None and spec.kind == "anonymous":
        training = " They may be used for training." if spec.trains_on_prompts else ""
        limits = f" It takes {spec.limits}." if spec.limits else ""
        echo_line(
            f"{name} is a public endpoint without a contract: your prompts will go to"
            f" {spec.base_url}.{training}{limits}"
        )
    with editing() as providers:
        entry = providers.setdefault(name, {})
        entry["enabled"] = True
        for requested, served in models.items():
            entry.setdefault("models", {})[requested] = served
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
