"""`llm g4f providers`: everybody who could answer."""

from __future__ import annotations

import json as json_format
from typing import Any

import click

from .failure import said

__all__ = ["providers"]


@click.command()
@click.option("--json", is_flag=True, help="As JSON.")
@said
def providers(json: bool) -> None:
    """Every provider: whether it takes part, its key, its cooldown, what it serves gpt-4o with."""
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
                f"{row['cooldown']:.0f} s" if row["cooldown"] else "-",
                row["model"] or row["reason"] or "",
            )
            for row in rows
        ],
    )


def _rows() -> list[dict[str, Any]]:
    from .. import config
    from ..portal import portal
    from ..providers.catalog import ROWS
    from ..routing.registry import Source
    from ..routing.route import plan
    from ..types import ChatRequest

    source = Source(config.load())
    route = portal().run(lambda: plan(ChatRequest(model="gpt-4o", messages=[]), source))
    serving = {one.provider.name: one for one in route.candidates}
    reasons = dict(route.left_out)
    cooldowns = source.health.cooldowns()
    found = []
    for name in source.names():
        candidate = serving.get(name)
        row = ROWS.get(name)
        kind = "embedded" if name == "embedded" else row.kind if row else "own"
        found.append(
            {
                "provider": name,
                "kind": kind,
                "enabled": candidate is not None,
                "key": source.has_key(name),
                "cooldown": max(
                    (left for key, left in cooldowns.items() if key.split("/")[0] == name),
                    default=0.0,
                ),
                "model": candidate.serving.model if candidate else None,
                "exact": candidate.serving.exact if candidate else None,
                "reason": reasons.get(name),
            }
        )
    return found
