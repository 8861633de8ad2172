"""Say that a route in g4f.yaml does not name a provider that was just set up, and offer to add it."""

from __future__ import annotations

import click


def offer(name: str) -> None:
    """For each route that does not name provider `name`: say so, and how to add it; on a terminal, offer
    to add it at the end."""
    from .. import config
    from ..routing.lineup import Entry
    from .config_editor import editing
    from .table import echo_line, is_terminal

    loaded = config.load()
    for model, entries in loaded.routes.items():
        if name in {Entry.parse(entry).name for entry in entries}:
            continue
        where = f"The route of {model} in g4f.yaml (line {loaded.route_lines[model]})"
        echo_line(f"{where} does not name {name}, so {name} is not asked there.")
        if not is_terminal():
            click.echo(f"To add it: {model}: [{', '.join((*entries, name))}]")
        elif click.confirm(f"Add {name} at the end of that route?"):
            with editing("routes") as routes:
                routes[model].append(name)
