"""`llm g4f route`: show the candidates for a model, and why other providers are left out."""

from __future__ import annotations

import json as json_format
from typing import TYPE_CHECKING

import click

from .errors import handle_errors
from .validation import known_model

if TYPE_CHECKING:
    from ..providers.base import Ineligible
    from ..request import ChatRequest
    from ..routing.registry import Registry
    from ..routing.route import Route


@click.command()
@click.argument("model")
@click.option(
    "--all", "everything", is_flag=True, help="Show the providers that are not set up too."
)
@click.option("--json", is_flag=True, help="Print JSON.")
@handle_errors
def route(model: str, everything: bool, json: bool) -> None:
    """Show who would answer for MODEL, in order, and why other providers are left out.

    Sends no prompt.
    """
    from .. import config
    from ..request import ChatRequest
    from ..routing.registry import Registry
    from .ends import as_json
    from .table import echo_line

    registry = Registry(config.load())
    model = known_model(model, registry)
    request = ChatRequest(model=model, messages=[])
    resolved = route_of(request, registry)
    if json:
        order = registry.config.order
        data = {
            "model": model,
            "candidates": [
                {
                    "provider": candidate.provider.name,
                    "model": candidate.served.model,
                    "exact": candidate.served.exact,
                    **({"successor": True} if candidate.served.successor else {}),
                    **as_json(candidate, model, registry),
                    **({_FIGURES[order][0]: figure} if order else {}),
                }
                for candidate, figure in zip(
                    resolved.candidates, _figures(resolved, registry), strict=True
                )
            ],
            "left_out": [
                {"provider": name, "reason": ineligible.reason}
                for name, ineligible in (*resolved.left_out, *unnamed(model, registry))
            ],
        }
        click.echo(json_format.dumps(data, indent=2))
        return
    others = echo(resolved, request, registry, everything=everything)
    if _is_nothing_set_up(resolved, registry):
        _echo_nearby(model)
    for name, ineligible in unnamed(model, registry):
        echo_line(f"-  {name}: {ineligible.reason}")
    echo_answer(resolved, request, registry, others)


def route_of(request: ChatRequest, registry: Registry) -> Route:
    """The route of a request as it is now: without the providers that are over budget."""
    from ..routing.route import resolve_route
    from .waiting import wait_for

    route = wait_for(lambda: resolve_route(request, registry))
    if registry.config.budgets:
        from ..routing.budget import without_spent

        route = without_spent(route, registry)
    return route


_FIGURES = {
    "price": (
        "price_usd_per_million_tokens",
        "${:,.2f} for a million tokens (3 in, 1 out)",
        "price",
    ),
    "latency": ("first_token_seconds", "first token after {:.2f} s", "time to the first token"),
}
"""For each order, its figure: the name in JSON, the words with it, and its name where it is unknown."""


def _figures(route: Route, registry: Registry) -> list[float | None]:
    """What the candidates are ordered by; None for each without an order or a known figure."""
    if registry.config.order is None:
        return [None] * len(route.candidates)
    from ..routing.order import figures
    from ..sync import loop_thread

    return loop_thread().run(lambda: figures(route.candidates, registry))


def _words(figure: float | None, order: str) -> str:
    _, words, name = _FIGURES[order]
    return f"{name} unknown" if figure is None else words.format(figure)


def unnamed(model: str, registry: Registry) -> list[tuple[str, Ineligible]]:
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


def _is_nothing_set_up(route: Route, registry: Registry) -> bool:
    """Whether at most the local model answers, and nobody has chosen that."""
    config = registry.config
    others = [one for one in route.candidates if one.provider.kind != "embedded"]
    return not (others or config.providers or config.routes or config.local.model)


def _echo_nearby(model: str) -> None:
    from ..routing.nearby import servers_here
    from .table import echo_line
    from .waiting import wait_for

    for server in wait_for(servers_here):
        echo_line(server.line(model))


def echo(
    route: Route, request: ChatRequest, registry: Registry, *, everything: bool = False
) -> int:
    """Print the candidates for a request, and the providers that are left out. Returns the number of
    those that are not set up and not shown, unless `everything` is."""
    from ..receipt import Receipt, kind_of_answer
    from ..routing.no_provider import of_interest
    from ..routing.notices import successor_note
    from .ends import remarks
    from .table import echo_line

    model = request.model
    figures = _figures(route, registry)
    for number, (candidate, figure) in enumerate(zip(route.candidates, figures, strict=True), 1):
        name, served = candidate.provider.name, candidate.served
        said = [kind_of_answer(exact=served.exact, successor=served.successor)]
        said.append(successor_note(Receipt(model, name, served.model, successor=served.successor)))
        if registry.config.order:
            said.append(_words(figure, registry.config.order))
        said += remarks(candidate, model, registry)
        echo_line(f"{number}. {name}: {served.model}, {'; '.join(filter(None, said))}")
    shown, others = of_interest(request, route.left_out, registry, route.needs_consent)
    for name, ineligible in route.left_out if everything else shown:
        echo_line(f"-  {name}: {ineligible.reason}")
    return 0 if everything else others


def echo_answer(route: Route, request: ChatRequest, registry: Registry, others: int) -> None:
    """Print the number of providers that are not shown, and who answers, or the ways to an answer."""
    from ..receipt import kind_of_answer
    from ..routing.admission import CooldownOrder
    from ..routing.no_provider import ways_out
    from .table import echo_line

    if others:
        click.echo(f"{others} {'other' if others == 1 else 'others'}: --all")
    if not route.candidates:
        echo_line(f"No provider available for {request.model}.", 0)
        for line in ways_out(request, route.left_out, registry):
            echo_line(line, 0)
        return
    first = CooldownOrder().in_order(route.candidates, registry.cooldowns)[0]
    served = first.served
    kind = kind_of_answer(exact=served.exact, successor=served.successor)
    kind = "the model itself" if served.exact else kind
    echo_line(f"{request.model} is answered by {served.model} ({first.provider.name}): {kind}.", 0)
