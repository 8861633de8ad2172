"""`llm g4f local status, stop, serve`: the processes of the models that run on this machine."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from .errors import handle_errors

if TYPE_CHECKING:
    from ..local.control import Running


@click.command()
@click.option("--json", is_flag=True, help="Print JSON.")
@handle_errors
def status(json: bool) -> None:
    """Show the local model, whether it can run, and what is loaded."""
    from ..local import files, runtime, server
    from .table import echo_line

    file = files.find()
    problem = file.check() if file is not None else None
    running = server.running_models()
    if json:
        from json import dumps

        facts = {
            "runtime": runtime.is_installed(),
            "model": file.model if file else None,
            "path": str(file.path) if file else None,
            "problem": problem,
            "loaded": [_as_json(*one) for one in running],
        }
        click.echo(dumps(facts, indent=2))
        return
    installed = runtime.is_installed()
    echo_line(f"runtime: {'xllamacpp is installed' if installed else runtime.NOT_INSTALLED}", 9)
    if file is None:
        echo_line(
            "weights: not there; fetched at the first prompt, or by: llm g4f local install", 9
        )
    else:
        echo_line(f"model:   {file.model}", 9)
        echo_line(f"weights: {file.path} ({'whole' if problem is None else problem})", 9)
    for one, told in running:
        echo_line(f"loaded:  {one.model}, {_in_words(one, told)}", 9)


def _as_json(running: Running, told: dict[str, Any]) -> dict[str, Any]:
    names = ("model", "path", "pid", "context", "loading")
    facts = {name: getattr(running, name) for name in names}
    return facts | told


def _in_words(running: Running, told: dict[str, Any]) -> str:
    from ..local.progress import shown_size

    if running.loading:
        return f"being loaded (process {running.pid})"
    keep_alive = told["keep_alive"]
    if told["users"]:
        programs = "1 program" if told["users"] == 1 else f"{told['users']} programs"
        use = f"used by {programs}"
    elif told["busy"]:
        use = "busy"
    else:
        end = "until it is stopped" if keep_alive < 0 else f"of {keep_alive:g} s"
        use = f"idle for {told['idle']:.0f} s {end}"
    memory = shown_size(told["memory"])
    return f"{running.context:,} tokens of context, {memory} of memory, {use}"


@click.command()
@handle_errors
def stop() -> None:
    """End the processes of local models, and free their memory."""
    from ..local import server

    stopped = server.stop_all()
    for running in stopped:
        click.echo(f"Stopped {running.model}")
    if not stopped:
        click.echo("Nothing to stop.")


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port of 127.0.0.1; 0: any free one."
)
@handle_errors
def serve(port: int) -> None:
    """Serve the local model to other programs, until Ctrl-C.

    Prints its base_url, and the key that it requires. No web page can use it.
    """
    from ..local import runtime, server
    from ..local.ready import ready_file
    from ..sync import loop_thread

    if not runtime.is_installed():
        raise click.ClickException(f"The local model cannot run: {runtime.NOT_INSTALLED}")
    _check_free(port)

    async def started() -> Any:
        return await server.serve(await ready_file(), port)

    running, process = loop_thread().run(started)
    click.echo(f"base_url: {running.base_url}")
    click.echo(f"key:      {running.key}")
    click.echo(f"model:    {running.model}")
    # Ctrl-C is the usual end. Its own process sees that this one has gone.
    with contextlib.suppress(KeyboardInterrupt):
        process.wait()
        from ..local.start import ending

        if process.returncode:
            raise click.ClickException(
                f"The local model's process {ending(process.returncode)}. Run the command again."
            )


def _check_free(port: int) -> None:
    import os
    import socket

    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise click.ClickException(
            f"Port {port} of 127.0.0.1 cannot be used ({os.strerror(error.errno or 0)}): choose another --port."
        ) from None
