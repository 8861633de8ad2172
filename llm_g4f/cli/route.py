"""`llm g4f route`: who would answer, and why nobody else."""

from __future__ import annotations

import json as json_format
from typing import TYPE_CHECKING

import click

from .errors import handle_errors
from .validation import requested_model

if TYPE_CHECKING:
    from ..routing.route import Route


@click.command()
@click.argument("model")
@click.option("--json", is_flag=True, help="As JSON.")
@handle_errors
def route(model: str, json: bool) -> None:
    """Who would answer for MODEL, in order, and why nobody else would. Sends no prompt."""
    from .. import config
    from ..request import ChatRequest
    from ..routing.registry import Registry
    from ..routing.route import resolve_route
    from ..sync import loop_thread

    model = requested_model(model)
    request = ChatRequest(model=model, messages=[])
    found = loop_thread().run(lambda: resolve_route(request, Registry(config.load())))
    if json:
        data = {
            "model": model,
            "candidates": [
                {
                    "provider": candidate.provider.name,
                    "model": candidate.served.model,
                    "exact": candidate.served.exact,
                }
                for candidate in found.candidates
            ],
            "left_out": [{"provider": name, "reason": why.reason} for name, why in found.left_out],
        }
        click.echo(json_format.dumps(data, indent=2))
        return
    echo(found, model)


def echo(found: Route, model: str) -> None:
    """Print a route of `model`, and who is left out."""
    for number, candidate in enumerate(found.candidates, 1):
        kind = "exact" if candidate.served.exact else "a substitute"
        click.echo(f"{number}. {candidate.provider.name}: {candidate.served.model}, {kind}")
    if not found.candidates:
        click.echo(f"Nobody answers for {model} now.")
    for name, why in found.left_out:
        click.echo(f"-  {name}: {why.reason}")
