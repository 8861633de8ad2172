"""`llm g4f local use` and `remove`: which model answers, and which files stay."""

from __future__ import annotations

from pathlib import Path

import click

from .errors import handle_errors


def choose(name: str) -> None:
    """Make the model `name` (or path, or hf: reference) the one that answers, in g4f.yaml. Raises
    `ConfigError`."""
    from ..local.files import choice_file
    from .config_editor import editing

    with editing("local") as section:
        section["model"] = name
    choice_file().unlink(missing_ok=True)


def _forget(name: str | None) -> None:
    """Let the default answer again, if the choice is `name` (or in any case)."""
    from .. import config
    from .config_editor import editing

    chosen = config.load().local.model
    if chosen and name in (None, chosen):
        with editing("local") as section:
            del section["model"]


@click.command()
@click.argument("name", metavar="NAME|PATH")
@handle_errors
def use(name: str) -> None:
    """Choose a model that is here: its NAME, or the PATH of your own file (.gguf)."""
    from ..local.files import is_path
    from ..local.models import here

    if is_path(name):
        use_path(name)
        return
    file = here(name)
    choose(name)
    click.echo(f"{file.model} answers from {file.path}")


def use_path(name: str, sha256: str | None = None) -> None:
    from ..local.models import own_file
    from ..local.server import try_out

    file = own_file(Path(name), sha256)
    try_out(file)
    choose(str(file.path))
    click.echo(f"{file.model} answers from {file.path}")


@click.command()
@click.argument("name", required=False)
@handle_errors
def remove(name: str | None) -> None:
    """Delete what was fetched of the model NAME, or of all, and forget the choice.

    Files that were here before, and your own, stay.
    """
    from ..local import files, models

    if name is not None and files.is_path(name):
        name = str(Path(name).expanduser().absolute())
    chosen = files.choice()
    removed = models.remove(name)
    for file in removed:
        if file.stays:
            click.echo(f"{file.path} stays: it was not fetched by this plugin.")
        else:
            click.echo(f"Removed {file.path}")
    _forget(name)
    if chosen is not None and name in (None, chosen):
        click.echo(f"{chosen} is no longer chosen.")
    elif not removed:
        click.echo("Nothing to remove.")
