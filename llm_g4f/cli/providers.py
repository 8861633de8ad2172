"""`llm g4f providers`: list all providers."""

from __future__ import annotations

import json as json_format
from typing import Any

import click

from .errors import handle_errors


@click.command()
@click.option("--json", is_flag=True, help="Print JSON.")
@handle_errors
def providers(json: bool) -> None:
    """List all providers: enabled, key, cooldown, and the model that each uses for gpt-4o."""
    from . import table

    rows = _rows()
    if json:
        click.echo(json_format.dumps(rows, indent=2))
        return
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
    return f"{row['cooldown']:.0f} s, until {row['cooldown_until'][11:16]} UTC"


def _served(row: dict[str, Any]) -> str:
    gone = f" (gpt-4o is gone there until {row['gone_until']})" if row["gone_until"] else ""
    return (row["model"] or row["reason"] or "") + gone


def _rows() -> list[dict[str, Any]]:
    from .. import config
    from ..providers.catalogue import PROVIDERS
    from ..request import ChatRequest
    from ..routing.registry import Registry
    from ..routing.route import resolve_route
    from ..sync import loop_thread
    from .ends import gone_until, iso

    registry = Registry(config.load())
    route = loop_thread().run(
        lambda: resolve_route(ChatRequest(model="gpt-4o", messages=[]), registry)
    )
    candidates = {candidate.provider.name: candidate for candidate in route.candidates}
    reasons = {name: ineligible.reason for name, ineligible in route.left_out}
    cooldowns, now = registry.cooldowns.cooldowns(), registry.cooldowns.now()
    rows = []
    for name in registry.names():
        candidate = candidates.get(name)
        spec = PROVIDERS.get(name)
        kind = "embedded" if name == "embedded" else spec.kind if spec else "own"
        cooldown = max(
            (left for key, left in cooldowns.items() if key.split("/")[0] == name), default=0.0
        )
        gone = gone_until(candidate.provider, "gpt-4o", registry) if candidate else 0.0
        rows.append(
            {
                "provider": name,
                "kind": kind,
                "enabled": candidate is not None,
                "key": registry.has_key(name),
                "cooldown": cooldown,
                "cooldown_until": iso(now + cooldown) if cooldown else None,
                "model": candidate.served.model if candidate else None,
                "exact": candidate.served.exact if candidate else None,
                "gone_until": iso(gone) if gone else None,
                "reason": reasons.get(name),
            }
        )
    return rows
