"""`llm g4f batch --dry-run`: show what a run would ask, and estimate its cost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct, field

from ..batch.job import Progress, Selection
from ..batch.results_file import IdIndex, RowState, scan
from ..batch.rows import row_to_request
from ..decoding.text import text_of
from ..errors import G4FError, LedgerError
from ..receipt import Receipt
from ..request import ChatRequest
from ..routing.prices import has_table, price
from ..routing.registry import Registry
from ..routing.route import resolve_route
from ..settings import Settings
from ..types import JSON, Usage
from .route import echo
from .waiting import wait_for

if TYPE_CHECKING:
    from ..batch.readers import Row

_CHARS_PER_TOKEN = 4
"""A rule of thumb for English."""

_Group = tuple[str, tuple[str, ...], bool]
"""Model, named providers and `exact` of a request: rows that agree in these share a route."""


class _DryRun(Struct):
    """The rows that a run would ask: `states` counts them by their state in the results file,
    `prompts` and `characters` by their route."""

    progress: Progress = field(default_factory=Progress)
    states: Counter[RowState] = field(default_factory=Counter)
    prompts: Counter[_Group] = field(default_factory=Counter)
    characters: Counter[_Group] = field(default_factory=Counter)


def print_dry_run(
    rows: Iterator[Row],
    target: Path,
    defaults: JSON,
    prepare: Callable[[JSON], JSON],
    limit: int | None,
    retry_failed: bool,
) -> None:
    """Print what a run would ask, which providers, and the estimated cost of the prompts.

    Sends nothing and does not change OUT. Raises `G4FError`.
    """
    settings = Settings(
        defaults.pop("provider", None), defaults.pop("api_key", None), None, None, None, None
    )
    dry_run = _DryRun()
    with closing(IdIndex()) as index:
        _scan(target, index)
        selection = Selection(
            index,
            dry_run.progress,
            prepare=prepare,
            refuse=lambda *_: None,
            limit=limit,
            retry_failed=retry_failed,
        )
        asyncio.run(
            _count(
                dry_run,
                selection,
                index,
                rows,
                lambda row: row_to_request(row, defaults, settings),
            )
        )
    _print_counts(dry_run, selection)
    for group, prompts in dry_run.prompts.most_common():
        _print_route(group, prompts, dry_run.characters[group], settings)
    if dry_run.prompts and not has_table():
        click.echo("For an estimate of the price: llm install 'llm-g4f[prices]'")


def _scan(target: Path, index: IdIndex) -> None:
    """Add the results in OUT to `index`. Raises `LedgerError`."""
    try:
        with target.open("rb") as file:
            scan(file, target, index)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise LedgerError(f"{target} cannot be read: {error.strerror}.") from None


def _print_counts(dry_run: _DryRun, selection: Selection) -> None:
    progress, states = dry_run.progress, dry_run.states
    click.echo(
        f"{states.total():,} to ask: {states[RowState.MISSING]:,} missing,"
        f" {states[RowState.FAILED]:,} failed"
    )
    click.echo(f"{progress.answered_before:,} done")
    if progress.failed:
        click.echo(f"{progress.failed:,} invalid rows")
    if progress.left_out:
        click.echo(f"{progress.left_out:,} missing, not asked with --retry-failed")
    if progress.changed:
        click.echo(f"{progress.changed:,} have changed since their answer, and are asked again")
    if (duplicate := selection.duplicate) is not None:
        click.echo(
            f"The id {duplicate.id!r} occurs twice, in lines {duplicate.lines[0]:,} and"
            f" {duplicate.lines[1]:,}: a run stops there."
        )


def _print_route(group: _Group, prompts: int, characters: int, settings: Settings) -> None:
    """Print the candidates for the prompts of a group, and the estimated cost."""
    model, providers, exact = group
    named = f" (-o provider {','.join(providers)})" if providers else ""
    click.echo(f"\n{model}{named}, {prompts:,} prompts:")
    request = ChatRequest(
        model=model, messages=[], providers=providers, exact=exact, key=settings.key
    )
    registry = settings.registry()
    route = wait_for(lambda: resolve_route(request, registry))
    echo(route, request, registry)
    if not route.candidates:
        click.echo(f"No provider available for {model}.")
    tokens = characters // _CHARS_PER_TOKEN
    estimate = f"Input: about {tokens:,} tokens ({_CHARS_PER_TOKEN} characters each)"
    if route.candidates:
        first = route.candidates[0]
        estimate += _cost(first.provider.name, first.served.model, tokens, registry)
    click.echo(f"{estimate}. The tokens of the answers are extra.")


def _to_ask(state: RowState) -> RowState:
    """The state under which a row to ask is counted: one that has changed is a new one."""
    return RowState.FAILED if state in (RowState.FAILED, RowState.INVALID) else RowState.MISSING


async def _count(
    dry_run: _DryRun,
    selection: Selection,
    index: IdIndex,
    rows: Iterator[Row],
    request_of: Callable[[JSON], ChatRequest],
) -> None:
    async for row in selection.choose(rows):
        try:
            request = request_of(row)
        except G4FError:
            dry_run.progress.failed += 1
            continue
        state = index.state(row["id"])
        dry_run.states[_to_ask(state)] += 1
        group = (request.model, request.providers, request.exact)
        dry_run.prompts[group] += 1
        dry_run.characters[group] += sum(
            len(text_of(message.get("content")) or "") for message in request.messages
        )


def _cost(provider: str, model: str, tokens: int, registry: Registry) -> str:
    receipt = Receipt(model, provider, model)
    cost = price(receipt, Usage(tokens, 0, tokens), None, registry)
    return "" if cost is None else f", about ${cost:,.4f} at {provider}"
