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
    """List the model ids of provider NAME, or of all providers that take part or were enabled.

    Exits with 1 if a provider does not list its models.
    """
    from .. import config
    from ..errors import G4FError
    from ..routing.registry import Registry
    from ..safe_text import without_name
    from ..sync import loop_thread
    from .in_use import in_use

    registry = Registry(config.load())
    listed: dict[str, list[str]] = {}
    is_complete = True
    for one in loop_thread().run(lambda: in_use((name,) if name else (), registry)):
        problem = one.problem
        if one.provider is not None:
            try:
                listed[one.name] = loop_thread().run(one.provider.models)
                continue
            except G4FError as error:
                if name:
                    raise
                problem = error.message
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
