"""`llm g4f local install`: fetch a model and choose it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from .errors import handle_errors
from .local_choice import choose, use_path

if TYPE_CHECKING:
    from ..local.table import ModelRow


@click.command()
@click.argument("name", required=False)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Fetch the model again even if it is there.")
@click.option("--sha256", metavar="HEX", help="Hash that the file of a hf: reference or PATH has.")
@handle_errors
def install(name: str | None, yes: bool, force: bool, sha256: str | None) -> None:
    """Fetch the local model NAME, check its hash, and choose it.

    NAME is a name that "llm g4f local" lists, hf:OWNER/REPOSITORY/FILE.gguf[@REVISION] for another file
    at Hugging Face, or the PATH of a file. Without NAME, recommends one that fits the memory and asks;
    without a terminal, or with --yes, fetches the default (98 MB).
    """
    from ..local import runtime
    from ..local.files import is_path
    from ..local.table import DEFAULT, ROWS

    sha256 = _checked_hash(sha256)
    asks = sys.stdin.isatty() and not yes
    recommended = None if name else _recommended()
    if recommended and asks:
        name = recommended.name
    if name is None or name == DEFAULT.name:
        _install_default(name, force)
        if recommended and recommended is not DEFAULT:
            click.echo(_recommendation(recommended))
    elif name in ROWS:
        _install_row(ROWS[name], force, asks)
    elif name.startswith("hf:"):
        _install_reference(name, force, asks, sha256)
    elif is_path(name):
        use_path(name, sha256)
    else:
        from ..local.files import unknown_model

        raise unknown_model(name)
    if not runtime.is_installed():
        raise click.ClickException(
            "The model is there, but its runtime is missing: llm install 'llm-g4f[local]'"
        )


def _checked_hash(sha256: str | None) -> str | None:
    import re

    if sha256 is None:
        return None
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise click.ClickException("--sha256 takes 64 hexadecimal digits.")
    return sha256.lower()


def _recommended() -> ModelRow:
    from ..local.models import recommended

    return recommended()


def _recommendation(row: ModelRow) -> str:
    from ..local.progress import shown_size

    return (
        f"For better answers, this machine has memory for {row.name} ({shown_size(row.size)}):"
        f" llm g4f local install {row.name}"
    )


def _install_default(name: str | None, force: bool) -> None:
    from ..local.fetch import fetch
    from ..local.files import find, located, named
    from ..local.table import DEFAULT
    from ..sync import loop_thread

    path = located(DEFAULT)
    file = named(DEFAULT.name) if path else None
    if file is not None and not force and file.check() is None:
        click.echo(f"Already there: {file.path}")
    else:
        file = loop_thread().run(lambda: fetch(DEFAULT, force=force))
        click.echo(f"Fetched {file.path}")
    if name:
        choose(name)
    elif (answers := find()) is not None and answers.row is not DEFAULT:
        click.echo(
            f"{answers.model} is still the one that answers: llm g4f local use {DEFAULT.name}"
        )


def _install_row(row: ModelRow, force: bool, asks: bool) -> None:
    from ..local.fetch import fetch
    from ..local.files import located, named
    from ..sync import loop_thread

    file = named(row.name)
    if not force and located(row) and file.check() is None:
        click.echo(f"Already there: {file.path}")
    else:
        _agree(row, asks, force)
        file = loop_thread().run(lambda: fetch(row, force=force))
        click.echo(f"Fetched {file.path}")
    choose(row.name)


def _agree(row: ModelRow, asks: bool, force: bool) -> None:
    """Show what will be fetched, and ask."""
    from ..local.hub import host
    from ..local.hub_cache import hub_cache
    from ..local.models import obstacle
    from ..local.progress import shown_size
    from ..local.resources import free_disk, total_memory

    memory, free = total_memory(), free_disk(hub_cache())
    has = f" (this machine has {shown_size(memory)})" if memory else ""
    left = f" ({shown_size(free)} are free)" if free is not None else ""
    click.echo(
        f"{row.name}: {row.license}, {shown_size(row.size)} from {host()};"
        f" needs {shown_size(row.memory)} of memory{has} and {shown_size(row.size)} of disk{left}."
    )
    problem = obstacle(row)
    if problem:
        click.echo(f"It does not fit: {row.name} {problem}.")
    if asks:
        click.confirm("Fetch it?", default=not problem, abort=True)
    elif problem and not force:
        raise click.ClickException(
            f'{row.name} {problem}. "llm g4f local" lists what fits; --force fetches it all the same.'
        )


def _install_reference(reference: str, force: bool, asks: bool, sha256: str | None) -> None:
    from ..local.fetch import fetch_reference, offer_of
    from ..local.files import named
    from ..sync import loop_thread

    file = named(reference)
    same = sha256 in (None, file.sha256)
    if not force and same and file.sha256 is not None and file.check() is None:
        click.echo(f"Already there: {file.path}")
    else:
        _agree_to_reference(reference, loop_thread().run(lambda: offer_of(reference)).size, asks)
        file = loop_thread().run(lambda: fetch_reference(reference, sha256, force=force))
        click.echo(f"Fetched {file.path} (SHA-256 {file.sha256})")
    choose(reference)


def _agree_to_reference(reference: str, size: int | None, asks: bool) -> None:
    from ..local.hub import host
    from ..local.hub_cache import hub_cache
    from ..local.progress import shown_size
    from ..local.resources import free_disk, total_memory

    memory, free = total_memory(), free_disk(hub_cache())
    has = f"; this machine has {shown_size(memory)} of memory" if memory else ""
    left = f" and {shown_size(free)} of free disk" if free is not None else ""
    amount = shown_size(size) if size else "unknown size"
    click.echo(
        f"{reference}: {amount} from {host()}{has}{left}. Its license is up to you to check."
    )
    if asks:
        click.confirm("Fetch it?", default=True, abort=True)
