"""`llm g4f models`: list the models of a provider."""

from __future__ import annotations

import json as json_format

import click

from .errors import handle_errors


@click.command()
@click.argument("name", required=False)
@click.option("--json", is_flag=True, help="Print JSON.")
@handle_errors
def models(name: str | None, json: bool) -> None:
    """List the model ids of provider NAME, or of all providers on the route of gpt-4o."""
    from .. import config
    from ..errors import G4FError
    from ..request import ChatRequest
    from ..routing.registry import Registry
    from ..routing.route import taking_part
    from ..sync import loop_thread

    registry = Registry(config.load())
    request = ChatRequest(model="gpt-4o", messages=[], providers=(name,) if name else ())
    listed: dict[str, list[str]] = {}
    for provider in loop_thread().run(lambda: taking_part(request, registry)):
        try:
            listed[provider.name] = loop_thread().run(provider.models)
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
