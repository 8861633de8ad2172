"""`llm g4f spend`: show what answers have cost, where a budget is set."""

from __future__ import annotations

import json as json_format
from typing import TYPE_CHECKING

import click

from .errors import handle_errors

if TYPE_CHECKING:
    from ..config import Config
    from ..routing.spend_file import Row, Spending


@click.command()
@click.option("--json", is_flag=True, help="Print JSON.")
@handle_errors
def spend(json: bool) -> None:
    """Show what answers have cost, and what is left of budgets.

    By day (UTC), provider and model, in US dollars; noted while g4f.yaml has a budget. "unpriced"
    answers have no known price, and are not in the sums.
    """
    import msgspec

    from .. import config
    from ..errors import G4FError
    from ..routing.spend_file import SpendError, SpendFile

    try:
        spending = SpendFile().read()
    except SpendError as error:
        raise G4FError(f"{error}.") from None
    rows = spending.rows()
    if json:
        click.echo(json_format.dumps(msgspec.to_builtins(rows), indent=2))
        return
    loaded = config.load()
    if rows:
        _echo(rows)
        click.echo()
    else:
        click.echo(f'Nothing noted yet: prices are noted while "budget:" is in {loaded.path}.')
    _echo_budgets(spending, loaded)


def _echo(rows: list[Row]) -> None:
    from ..routing.budget import dollars
    from ..safe_text import clean
    from . import table

    table.echo(
        ("day", "answered by", "answers", "unpriced", "price"),
        [
            (
                row.day,
                clean(f"{row.provider}/{row.model}"),
                f"{row.answers:,}",
                f"{row.unpriced:,}" if row.unpriced else "-",
                dollars(row.usd) if row.answers > row.unpriced else "-",
            )
            for row in rows
        ],
        numbers=(2, 3, 4),
    )


def _echo_budgets(spending: Spending, loaded: Config) -> None:
    from ..routing.budget import dollars

    for name, budget in loaded.budgets.items():
        for period, cap in (("today", budget.day), ("this month", budget.month)):
            if cap is None:
                continue
            spent = spending.total("day" if period == "today" else "month", name or None).usd
            share = f"{dollars(spent)} of {dollars(cap)} spent {period}"
            click.echo(f"{name or 'all providers'}: {share}")
