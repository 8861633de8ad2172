"""`llm g4f models`: list the models of a provider."""

from __future__ import annotations

import json as json_format
from typing import TYPE_CHECKING

import click

from .errors import handle_errors

if TYPE_CHECKING:
    from ..errors import G4FError
    from ..routing.registry import Registry
    from .in_use import InUse


@click.command()
@click.argument("name", required=False)
@click.option("--json", is_flag=True, help="Print JSON.")
@handle_errors
def models(name: str | None, json: bool) -> None:
    """List the model ids of provider NAME, or of all providers that take part or were enabled.

    Exits with 1 if a provider does not list its models.
    """
    from .. import config
    from ..errors import G4FError
    from ..routing.registry import Registry
    from ..safe_text import without_name
    from .waiting import wait_for

    registry = Registry(config.load())
    listed: dict[str, list[str]] = {}
    is_complete = True
    for one, found in wait_for(lambda: _lists((name,) if name else (), registry)):
        if isinstance(found, list):
            listed[one.name] = found
            continue
        if isinstance(found, G4FError) and name:
            raise found
        problem = found.message if isinstance(found, G4FError) else one.problem
        is_complete = False
        click.echo(f"{one.name}: {without_name(problem, one.name)}", err=True)
    if json:
        click.echo(json_format.dumps(listed, indent=2))
    else:
        for provider_name, ids in listed.items():
            for id in ids:
                click.echo(id if name else f"{provider_name}/{id}")
    if not is_complete:
        raise click.exceptions.Exit(1)


async def _lists(
    names: tuple[str, ...], registry: Registry
) -> list[tuple[InUse, list[str] | G4FError | None]]:
    """What each provider in use lists, or its error; None where it cannot be asked."""
    from ..routing.discovery import lists_of
    from .in_use import in_use

    found = await in_use(names, registry)
    lists = iter(await lists_of(one.provider for one in found if one.provider is not None))
    return [(one, None if one.provider is None else next(lists)) for one in found]
