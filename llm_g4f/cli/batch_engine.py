"""The engine of `llm g4f batch`, from the options that choose it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..batch import Results, Rows

Ask = Callable[..., "Results"]
"""An engine: makes results of rows, with what the command gives it: `job`, `on_notice`, defaults."""


def check_options(
    engine: str, *, address: str | None, no_wait: bool, cache: bool, max_cost: float | None
) -> None:
    """Raise a click error for options that the engine does not have, or that need a table of prices."""
    is_batch = engine == "openai-batch"
    source = click.get_current_context().get_parameter_source("ray_address")
    from_environment = source is click.core.ParameterSource.ENVIRONMENT
    if engine != "ray" and address is not None and not from_environment:
        raise click.UsageError("--ray-address goes with --engine ray.")
    if no_wait and not is_batch:
        raise click.UsageError("--no-wait goes with --engine openai-batch.")
    if cache and is_batch:
        raise click.UsageError("--cache does not go with --engine openai-batch.")
    if max_cost is None:
        return
    if is_batch:
        raise click.UsageError(
            "--max-cost does not go with --engine openai-batch, which sends all rows before an answer"
            " comes: --limit sends fewer rows."
        )
    from ..routing.prices import has_table

    if not has_table():
        raise click.ClickException(
            "--max-cost needs a table of prices: llm install 'llm-g4f[prices]'."
        )


def engine_of(name: str, address: str | None, key: str | None, target: Path, *, wait: bool) -> Ask:
    """`batch.run`, or its counterpart on Ray or in batches of a provider.

    Raises `G4FError` if Ray cannot be used, a click error for a key that would pass through it.
    """
    if name == "openai-batch":
        from ..batch import openai_batch

        return partial(openai_batch.run, target=target, wait=wait)
    if name == "local":
        return _here
    return _on_cluster(address, key)


def _here(rows: Rows, **arguments: Any) -> Results:
    from ..batch import run

    del arguments["job"]
    return run(rows, **arguments)


def _on_cluster(address: str | None, key: str | None) -> Ask:
    from ..batch import cluster
    from ..config.keys import find_key

    cluster.check(address)
    if key is not None and find_key((key,), ()) is None:
        raise click.ClickException(
            'With --engine ray, --key takes a name from "llm keys" (llm keys set NAME), not the key'
            " itself, which would pass through Ray. Each worker looks the name up on its machine."
        )

    def ask(rows: Rows, **arguments: Any) -> Results:
        del arguments["job"]
        arguments.pop("api_key", None)
        return cluster.run(rows, address=address, key=key, **arguments)

    return ask
