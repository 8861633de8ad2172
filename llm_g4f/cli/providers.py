"""`llm g4f providers`: list all providers. `llm g4f` alone: those that matter here."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from .errors import handle_errors

if TYPE_CHECKING:
    from ..request import ChatRequest
    from ..routing.registry import Registry
    from ..routing.route import Route


@click.command()
@click.option("--json", is_flag=True, help="Print JSON.")
@handle_errors
def providers(json: bool) -> None:
    """List all providers: enabled, key, cooldown, and the model that each uses for gpt-4o."""
    _, registry, route = _resolve()
    rows = _rows(registry, route)
    if json:
        click.echo(json_format.dumps(rows, indent=2))
    else:
        _echo(rows)


@handle_errors
def overview(everything: bool) -> None:
    """Print the providers that take part or were set up, and who answers for gpt-4o."""
    from ..routing.no_provider import of_interest
    from .route import echo_answer, unnamed

    request, registry, route = _resolve()
    shown, others = of_interest(request, route.left_out, registry, route.needs_consent)
    names = {name.split("/")[0] for name, _ in (*shown, *unnamed("gpt-4o", registry))}
    names |= {candidate.provider.name for candidate in route.candidates}
    rows = _rows(registry, route)
    _echo(row for row in rows if everything or row["provider"] in names)
    echo_answer(route, request, registry, 0 if everything else others)


def _resolve() -> tuple[ChatRequest, Registry, Route]:
    from .. import config
    from ..request import ChatRequest
    from ..routing.registry import Registry
    from .route import route_of

    registry = Registry(config.load())
    request = ChatRequest(model="gpt-4o", messages=[])
    return request, registry, route_of(request, registry)


def _echo(rows: Iterable[dict[str, Any]]) -> None:
    from . import table

    table.echo(
        ("provider", "kind", "enabled", "key", "cooldown", "gpt-4o"),
        [
            (
                row["provider"],
                row["kind"],
                "yes" if row["enabled"] else "no",
                {True: "yes", False: "no", None: "-"}[row["key"]],
                _cooldown(row),
                _served(row),
            )
            for row in rows
        ],
    )


def _cooldown(row: dict[str, Any]) -> str:
    if not row["cooldown"]:
        return "-"
    from .ends import minute

    return f"{row['cooldown']:.0f} s, until {minute(row['cooldown_until'])[11:]}"


def _served(row: dict[str, Any]) -> str:
    served: str = row["model"] or row["reason"] or ""
    if not row["gone_until"]:
        return served
    from .ends import minute

    return f"{served} (gpt-4o is gone there until {minute(row['gone_until'])})"


def _rows(registry: Registry, route: Route) -> list[dict[str, Any]]:
    from ..providers.catalogue import PROVIDERS
    from .ends import gone_until, iso
    from .route import unnamed

    candidates = {candidate.provider.name: candidate for candidate in route.candidates}
    reasons = dict((*unnamed("gpt-4o", registry), *route.left_out))
    cooldowns, now = registry.cooldowns.cooldowns(), registry.cooldowns.now()
    rows = []
    for name in registry.names():
        candidate = candidates.get(name)
        spec, settings = PROVIDERS.get(name), registry.settings(name)
        kind = "embedded" if name == "embedded" else spec.kind if spec else "own"
        ineligible = reasons.get(name)
        reason = ineligible.reason if ineligible else None
        takes_part = candidate is not None or (
            ineligible is not None and ineligible.code in ("over_budget", "spend_unknown")
        )
        if settings and settings.enabled and ineligible and ineligible.code == "no_key":
            reason = f"enabled, {reason}"
        cooldown = max(
            (left for key, left in cooldowns.items() if key.split("/")[0] == name), default=0.0
        )
        gone = gone_until(candidate.provider, "gpt-4o", registry) if candidate else 0.0
        rows.append(
            {
                "provider": name,
                "kind": kind,
                "enabled": takes_part or bool(settings and settings.enabled),
                "key": registry.has_key(name),
                "cooldown": cooldown,
                "cooldown_until": iso(now + cooldown) if cooldown else None,
                "model": candidate.served.model if candidate else None,
                "exact": candidate.served.exact if candidate else None,
                "gone_until": iso(gone) if gone else None,
                "reason": reason,
            }
        )
    return rows
