"""`llm g4f remove`: remove a provider from g4f.yaml."""

from __future__ import annotations

import click

from .errors import handle_errors


@click.command()
@click.argument("name")
@handle_errors
def remove(name: str) -> None:
    """Remove provider NAME from g4f.yaml."""
    from .. import config
    from .config_editor import editing
    from .table import echo_line

    with editing() as providers:
        if name not in providers:
            raise click.ClickException(f"{name} is not in g4f.yaml.")
        key = (providers.pop(name) or {}).get("key")
    path = config.config_path()
    stays = "stays, and is empty" if not path.read_text(encoding="utf-8").strip() else "stays"
    echo_line(f"{name} is removed from {path}; the file {stays}.")
    if key:
        echo_line(f"Its key stays in {config.user_dir() / 'keys.json'}, under the name {key}.")
    routes = [
        model
        for model, entries in config.load().routes.items()
        if any(entry.split("/")[0] == name for entry in entries)
    ]
    if routes:
        click.echo(
            f"{path} still names it in the route of {', '.join(routes)}: remove it there, or no"
            " prompt goes that way.",
            err=True,
        )
