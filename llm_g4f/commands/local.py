"""`llm g4f local …`: the embedded model's weights."""

from __future__ import annotations

from pathlib import Path

import click

from .failure import said

__all__ = ["local"]


@click.group()
def local() -> None:
    """The embedded model: a small one that runs on this machine."""


@local.command()
@click.option("--force", is_flag=True, help="Fetch the weights even if they are there.")
@said
def install(force: bool) -> None:
    """Fetch the embedded model's weights (98 MB), checked against their hash."""
    from ..portal import portal
    from ..providers import embedded, weights

    found = weights.find()
    if found is not None and not found.chosen and not force and found.check() is None:
        click.echo(f"Already there: {found.path}")
    else:
        found = portal().run(weights.fetch)
        click.echo(f"Fetched {found.path}")
    if not embedded.is_installed():
        raise click.ClickException(
            "The weights are there, but what runs them is not: llm install 'llm-g4f[local]'"
        )


@local.command()
@click.argument("path", type=click.Path(path_type=Path))
@said
def use(path: Path) -> None:
    """Use the model file PATH (.gguf) instead."""
    from ..providers import embedded, weights

    chosen = weights.use(path, embedded.try_out)
    click.echo(f"{chosen.model} answers from {chosen.path}")


@local.command()
@said
def status() -> None:
    """What the embedded model is, and whether it can run."""
    from ..providers import embedded, weights

    click.echo(
        f"runtime: {'xllamacpp is installed' if embedded.is_installed() else embedded.NOT_INSTALLED}"
    )
    found = weights.find()
    if found is None:
        click.echo("weights: not there; fetched at the first prompt, or by: llm g4f local install")
        return
    wrong = found.check()
    click.echo(f"model:   {found.model}")
    click.echo(f"weights: {found.path} ({'whole' if wrong is None else wrong})")


@local.command()
@said
def remove() -> None:
    """Delete the fetched weights, and forget a chosen file (which stays where it is)."""
    from ..providers import weights

    removed = weights.remove()
    for path in removed:
        click.echo(f"Removed {path}")
    if not removed:
        click.echo("Nothing to remove.")
