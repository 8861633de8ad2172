"""`llm g4f models`: what a provider lists."""

from __future__ import annotations

import json as json_format

import click

from .failure import said

__all__ = ["models"]


@click.command()
@click.argument("name", required=False)
@click.option("--json", is_flag=True, help="As JSON.")
@said
def models(name: str | None, json: bool) -> None:
    """The model ids that provider NAME lists; without NAME, of all that take part."""
    from .. import config
    from ..errors import G4FError
    from ..portal import portal
    from ..routing.registry import Source
    from ..routing.route import taking_part
    from ..types import ChatRequest

    source = Source(config.load())
    request = ChatRequest(model="gpt-4o", messages=[], providers=(name,) if name else ())
    listed: dict[str, list[str]] = {}
    for provider in portal().run(lambda: taking_part(request, source)):
        try:
            listed[provider.name] = portal().run(provider.models)
        except G4FError as error:
            if name:
                raise
            click.echo(f"{provider.name}: {error}", err=True)
    if json:
        click.echo(json_format.dumps(listed, indent=2))
        return
    for provider_name, ids in listed.items():
        for id in ids:
            click.echo(id if name else f"{provider_name}/{id}")
