"""`llm g4f …`: one module per command.

llm builds its commands at every start, so a module is imported only when its command is used.
"""

from __future__ import annotations

from importlib import import_module

import click

_COMMANDS = (
    "add",
    "batch",
    "cache",
    "check",
    "disable",
    "enable",
    "local",
    "models",
    "path",
    "providers",
    "remove",
    "reset",
    "route",
    "setup",
    "spend",
    "stats",
)


class _Commands(click.Group):
    """Load a command from the module of the same name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{cmd_name}", __name__), cmd_name)
        return command


@click.group(cls=_Commands, invoke_without_command=True)
@click.option(
    "--all", "everything", is_flag=True, help="Show the providers that are not set up too."
)
@click.pass_context
def g4f(ctx: click.Context, everything: bool) -> None:
    """Show and change who answers for gpt-4o.

    Without a command: show the providers that take part, and who answers.
    """
    from ..adapter.terminal import show_notices

    show_notices()
    if ctx.invoked_subcommand is None:
        from .providers import overview

        overview(everything)
