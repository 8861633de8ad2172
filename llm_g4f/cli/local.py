"""`llm g4f local …`: the model file of the local model."""

from __future__ import annotations

from pathlib import Path

import click

from .errors import handle_errors


@click.group()
def local() -> None:
    """Manage the small model that runs on this machine."""


@local.command()
@click.option("--force", is_flag=True, help="Fetch the model again even if it is there.")
@handle_errors
def install(force: bool) -> None:
    """Fetch the local model (98 MB) and check its hash."""
    from ..local import runtime, weights
    from ..sync import loop_thread

    found = weights.find()
    if found is not None and not found.chosen and not force and found.check() is None:
        click.echo(f"Already there: {found.path}")
    else:
        found = loop_thread().run(weights.fetch)
        click.echo(f"Fetched {found.path}")
    if not runtime.is_installed():
        raise click.ClickException(
            "The model is there, but its runtime is missing: llm install 'llm-g4f[local]'"
        )


@local.command()
@click.argument("path", type=click.Path(path_type=Path))
@handle_errors
def use(path: Path) -> None:
    """Use your own model file PATH (.gguf)."""
    from ..local import runtime, weights

    chosen = weights.use(path, runtime.try_out)
    click.echo(f"{chosen.model} answers from {chosen.path}")


@local.command()
@handle_errors
def status() -> None:
    """Show the local model and whether it can run."""
    from ..local import runtime, weights

    click.echo(
        f"runtime: {'xllamacpp is installed' if runtime.is_installed() else runtime.NOT_INSTALLED}"
    )
    found = weights.find()
    if found is None:
        click.echo("weights: not there; fetched at the first prompt, or by: llm g4f local install")
        return
    problem = found.check()
    click.echo(f"model:   {found.model}")
    click.echo(f"weights: {found.path} ({'whole' if problem is None else problem})")


@local.command()
@handle_errors
def remove() -> None:
    """Delete the fetched model and forget the file chosen with "use" (the file stays)."""
    from ..local import weights

    removed = weights.remove()
    for path in removed:
        click.echo(f"Removed {path}")
    if not removed:
        click.echo("Nothing to remove.")
