"""`llm g4f batch --dry-run`: what a run would do, and about what it would cost."""

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

if TYPE_CHECKING:
    from ..batch.readers import Row

_LETTERS = 4
"""Characters to a token: a rule of thumb for English."""


class _DryRun(Struct):
    """`prompts` and `letters` (characters) of what would be asked, by model and who is named for it."""

    tally: Progress = field(default_factory=Progress)
    before: Counter[RowState] = field(default_factory=Counter)
    prompts: Counter[tuple[str, tuple[str, ...], bool]] = field(default_factory=Counter)
    letters: Counter[tuple[str, tuple[str, ...], bool]] = field(default_factory=Counter)


def forecast(
    rows: Iterator[Row],
    target: Path,
    defaults: JSON,
    prepare: Callable[[JSON], JSON],
    limit: int | None,
    retry_failed: bool,
) -> None:
    """Print it. Nothing is sent, and OUT stays as it is."""
    settings = Settings(
        defaults.pop("provider", None), defaults.pop("api_key", None), None, None, None, None
    )
    found = _DryRun()
    with closing(IdIndex()) as survey:
        try:
            with target.open("rb") as file:
                scan(file, target, survey)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise LedgerError(f"{target} cannot be read: {error.strerror}.") from None
        selection = Selection(
            survey,
            found.tally,
            prepare=prepare,
            refuse=lambda *_: None,
            limit=limit,
            retry_failed=retry_failed,
        )
        asyncio.run(
            _count(
                found, selection, survey, rows, lambda row: row_to_request(row, defaults, settings)
            )
        )
        tally, before = found.tally, found.before
        click.echo(
            f"{before.total():,} to ask: {before[RowState.MISSING]:,} missing, {before[RowState.FAILED]:,} failed"
        )
        click.echo(f"{tally.answered_before:,} done")
        if tally.failed:
            click.echo(f"{tally.failed:,} cannot be asked: their rows are at fault")
        if tally.left_out:
            click.echo(f"{tally.left_out:,} missing, and left so")
        if selection.duplicate is not None:
            lines = selection.duplicate.lines
            click.echo(
                f"The id {selection.duplicate.id!r} occurs twice, in lines {lines[0]:,} and {lines[1]:,}: that is where a run ends."
            )
    registry = settings.registry()
    for (model, providers, exact), prompts in found.prompts.most_common():
        named = f" (-o provider {','.join(providers)})" if providers else ""
        click.echo(f"\n{model}{named}, {prompts:,} prompts:")
        request = ChatRequest(
            model=model, messages=[], providers=providers, exact=exact, key=settings.key
        )
        route = asyncio.run(resolve_route(request, registry))
        echo(route, model)
        tokens = found.letters[model, providers, exact] // _LETTERS
        about = f"Input: about {tokens:,} tokens ({_LETTERS} characters each)"
        if route.candidates:
            about += _cost(
                route.candidates[0].provider.name,
                route.candidates[0].serving.model,
                tokens,
                registry,
            )
        click.echo(f"{about}. The answers' tokens come on top.")
    if found.prompts and not has_table():
        click.echo("For an estimate of the price: llm install 'llm-g4f[prices]'")


async def _count(
    found: _DryRun,
    selection: Selection,
    survey: IdIndex,
    rows: Iterator[Row],
    request_of: Callable[[JSON], ChatRequest],
) -> None:
    async for row in selection.choose(rows):
        try:
            request = request_of(row)
        except G4FError:
            found.tally.failed += 1
            continue
        state = survey.state(row["id"])
        found.before[RowState.MISSING if state is RowState.MISSING else RowState.FAILED] += 1
        whose = (request.model, request.providers, request.exact)
        found.prompts[whose] += 1
        found.letters[whose] += sum(
            len(text_of(one.get("content")) or "") for one in request.messages
        )


def _cost(provider: str, model: str, tokens: int, registry: Registry) -> str:
    receipt = Receipt(model, provider, model)
    cost = price(receipt, Usage(tokens, 0, tokens), None, registry)
    return "" if cost is None else f", about ${cost:,.4f} at {provider}"
