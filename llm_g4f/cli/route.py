"""`llm g4f route`: show the candidates for a model, and why other providers are left out."""

from __future__ import annotations

import json as json_format
from typing import TYPE_CHECKING

import click

from .errors import handle_errors
from .validation import requested_model

if TYPE_CHECKING:
    from ..providers.base import Ineligible
    from ..routing.registry import Registry
    from ..routing.route import Route


@click.command()
@click.argument("model")
@click.option("--json", is_flag=True, help="Print JSON.")
@handle_errors
def route(model: str, json: bool) -> None:
    """Show who would answer for MODEL, in order, and why other providers are left out.

    Sends no prompt.
    """
    from .. import config
    from ..request import ChatRequest
    from ..routing.registry import Registry
    from ..routing.route import resolve_route
    from ..sync import loop_thread
    from .ends import as_json

    model = requested_model(model)
    request = ChatRequest(model=model, messages=[])
    registry = Registry(config.load())
    resolved = loop_thread().run(lambda: resolve_route(request, registry))
    if json:
        data = {
            "model": model,
            "candidates": [
                {
                    "provider": candidate.provider.name,
                    "model": candidate.served.model,
                    "exact": candidate.served.exact,
                    **({"successor": True} if candidate.served.successor else {}),
                    **as_json(candidate, model, registry),
                }
                for candidate in resolved.candidates
            ],
            "left_out": [
                {"provider": name, "reason": ineligible.reason}
                for name, ineligible in (*resolved.left_out, *_unnamed(model, registry))
            ],
        }
        click.echo(json_format.dumps(data, indent=2))
        return
    echo(resolved, model, registry)
    for name, ineligible in _unnamed(model, registry):
        click.echo(f"-  {name}: {ineligible.reason}")


def _unnamed(model: str, registry: Registry) -> list[tuple[str, Ineligible]]:
    """The configured providers that a route in g4f.yaml leaves out."""
    from ..providers.base import Ineligible
    from ..routing.lineup import Entry

    key = registry.route_key(model)
    if key is None:
        return []
    named = {Entry.parse(entry).name for entry in registry.config.routes[key]}
    reason = Ineligible(
        f"the route {key} in g4f.yaml (line {registry.config.route_lines[key]}) does not name it"
    )
    return [
        (name, reason)
        for name, settings in registry.config.providers.items()
        if name not in named and settings.enabled is not False
    ]


def echo(route: Route, model: str, registry: Registry) -> None:
    """Print the candidates for `model` and the providers that are left out."""
    from ..receipt import Receipt, kind_of_answer
    from ..routing.notices import successor_note
    from .ends import remarks

    for number, candidate in enumerate(route.candidates, 1):
        name, served = candidate.provider.name, candidate.served
        said = [kind_of_answer(exact=served.exact, successor=served.successor)]
        said.append(successor_note(Receipt(model, name, served.model, successor=served.successor)))
        said += remarks(candidate, model, registry)
        click.echo(f"{number}. {name}: {served.model}, {'; '.join(filter(None, said))}")
    if not route.candidates:
        click.echo(f"No provider available for {model}.")
    for name, ineligible in route.left_out:
        click.echo(f"-  {name}: {ineligible.reason}")
