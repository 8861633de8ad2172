"""`llm g4f reset`: forget what went wrong."""

from __future__ import annotations

import click

from .errors import handle_errors


@click.command()
@click.argument("name", required=False)
@handle_errors
def reset(name: str | None) -> None:
    """Forget the cooldowns and gone models of provider NAME, or of all, and what servers listed.

    The next prompt asks them again.
    """
    from .. import config
    from ..errors import G4FError
    from ..routing.registry import Registry, unknown_provider_error
    from ..safe_text import clean

    registry = Registry(config.load())
    if name is not None and name not in registry.names() and not registry.is_member(name):
        raise unknown_provider_error(name, registry.names())
    try:
        forgotten = registry.cooldowns.reset(name)
    except OSError as error:
        raise G4FError(f"{error} Try again.") from None
    for what in forgotten:
        click.echo(f"Forgotten: {clean(what, 200)}.")
    if not forgotten:
        click.echo(f"No cooldown and no gone model{f' of {name}' if name else ''} to forget.")
