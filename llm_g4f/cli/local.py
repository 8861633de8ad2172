"""`llm g4f local …`: the models that run on this machine."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from .errors import handle_errors

if TYPE_CHECKING:
    from ..local.models import ListedModel


_COMMANDS = {
    "install": "local_install",
    "remove": "local_choice",
    "use": "local_choice",
    **dict.fromkeys(("serve", "status", "stop"), "local_server"),
}
"""The module of each command."""


class _LocalCommands(click.Group):
    """Load a command from its module."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"..{_COMMANDS[cmd_name]}", __name__)
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(cls=_LocalCommands, invoke_without_command=True)
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_context
def local(ctx: click.Context, json: bool) -> None:
    """List and manage the models that run on this machine.

    Without a command: list them, whether they fit this machine, and which one is chosen.
    """
    if ctx.invoked_subcommand is None:
        _list(json)


@handle_errors
def _list(json: bool) -> None:
    from ..local.models import overview

    models = overview()
    if json:
        from json import dumps

        click.echo(dumps([_as_json(model) for model in models], indent=2))
    else:
        _print_table(models)


def _as_json(model: ListedModel) -> dict[str, Any]:
    row = model.row
    facts = {
        "name": model.name,
        "chosen": model.chosen,
        "recommended": model.recommended,
        "fits": not model.obstacle,
        "obstacle": model.obstacle or None,
        "file": model.origin or None,
        "path": str(model.path) if model.path else None,
    }
    if row is None:
        return facts
    return {
        **facts,
        "size": row.size,
        "memory": row.memory,
        "context": row.context,
        "license": row.license,
        "tools": row.tools,
        "thinks": row.thinks,
        "repository": row.repository or None,
        "revision": row.revision or None,
        "filename": row.file,
        "sha256": row.sha256,
    }


def _print_table(models: list[ListedModel]) -> None:
    from ..local.progress import shown_size
    from ..local.resources import total_memory
    from .table import echo, echo_line

    echo(
        ("model", "size", "memory", "fits", "file", "tools", "thinks"),
        [
            (
                f"{'*' if model.chosen else ' '} {model.name}",
                *(
                    (shown_size(row.size), shown_size(row.memory))
                    if (row := model.row)
                    else ("-", "-")
                ),
                "no" if model.obstacle else "yes",
                model.origin or "-",
                *((row.tools, row.thinks) if row else ("-", "-")),
            )
            for model in models
        ],
        numbers=(1, 2),
        fit=True,
    )
    memory = total_memory()
    has = f" This machine has {shown_size(memory)} of memory." if memory else ""
    echo_line(f"* is the one that answers.{has}", 2)
    best = next((model for model in models if model.recommended and not model.chosen), None)
    if best is not None:
        echo_line(f"Recommended here: llm g4f local install {best.name}")
