"""`llm g4f stats`: how the providers did, from llm's logs."""

from __future__ import annotations

import json as json_format
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .errors import handle_errors

if TYPE_CHECKING:
    from .log_stats import Served, Stats


class _When(click.ParamType[datetime]):
    """A moment: in ISO 8601, or so long ago."""

    name = "when"

    _AGO = re.compile(
        r"(\d+(?:\.\d+)?) ?(?:(m|min|minutes?)|(h|hours?)|(d|days?)|(w|weeks?))(?: ago)?"
    )

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            if (ago := self._AGO.fullmatch(value.strip().lower())) is not None:
                units = zip(("minutes", "hours", "days", "weeks"), ago.groups()[1:], strict=True)
                unit = next(name for name, given in units if given)
                return datetime.now(UTC) - timedelta(**{unit: float(ago[1])})
            moment = datetime.fromisoformat(value.strip())
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is no time. These are: 2026-11-01, 2026-11-01T18:30 (UTC, unless it ends in"
                " an offset like +01:00), 90min, 24h, 7d, 2 weeks.",
                param,
                ctx,
            )


@click.command()
@click.option(
    "--since",
    metavar="WHEN",
    type=_When(),
    help="Only answers asked for since then: a date or time (ISO 8601, UTC), or 24h, 7d, 2 weeks.",
)
@click.option("--model", metavar="MODEL", help="Only answers to requests for MODEL, or by it.")
@click.option(
    "-d",
    "--database",
    type=click.Path(readable=True, exists=True, dir_okay=False, path_type=Path),
    help="Path to log database",
)
@click.option("--json", is_flag=True, help="As JSON.")
@click.option("--chart", is_flag=True, help="Draw them over time, here.")
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Draw them over time, to a .png, .svg or .pdf (extra plot).",
)
@handle_errors
def stats(
    since: datetime | None,
    model: str | None,
    database: Path | None,
    json: bool,
    chart: bool,
    plot: Path | None,
) -> None:
    """How the providers did, from llm's logs: answers, failures survived, time to
    first token, tokens/s.

    "first token" is the time from asking the provider that answered to its first
    word: the median, and what 95 of 100 answers stay within (p95). "tokens/s" is its
    own count of output tokens over the time behind the first token: the median, and
    what 95 of 100 answers reach (p5). "-" is unknown. The logs are only read.
    """
    from ..config.files import user_file
    from ..errors import G4FError
    from .log_stats import read
    from .validation import requested_model

    path = database or Path(user_file("logs.db"))
    if not path.exists():
        raise G4FError(f"No answers yet: there is no log database at {path}.")
    found = read(path, since, requested_model(model) if model else None)
    if plot is not None:
        from .plot import draw

        draw(found, plot)
        click.echo(f"Drawn: {plot}", err=True)
    if json:
        asked = {"database": str(path), "since_utc": since and since.isoformat(), "model": model}
        click.echo(json_format.dumps(asked | found.to_dict(), indent=2))
    elif found.span is None:
        only = " that fit" if since or model else ""
        click.echo(f'No answers yet{only} in {path}. "llm -m gpt-4o …" makes some.')
    else:
        _print(found)
        if chart:
            from .chart import echo

            click.echo()
            echo(found)


def _print(found: Stats) -> None:
    from ..errors import clean
    from . import table

    assert found.span is not None
    first, last = (moment.date().isoformat() for moment in found.span)
    days = first if first == last else f"{first} to {last}"
    line = f"{_count(found.answers, 'answer')}, {days} (UTC)"
    if found.after_failures:
        failures = sum(failure.count for failure in found.failures)
        line += f"; {found.after_failures:,} of them survived {_count(failures, 'failure')}"
    click.echo(f"{line}.\n")
    rows = [(clean(f"{one.provider}/{one.model}"), one, one.to_dict()) for one in found.served]
    table.echo(
        ("answered by", "answers", "first token", "p95", "tokens/s", "p5"),
        [
            (
                name,
                f"{row['answers']:,}",
                _seconds(row["first_token_seconds"]["median"]),
                _seconds(row["first_token_seconds"]["p95"]),
                _rate(row["tokens_per_second"]["median"]),
                _rate(row["tokens_per_second"]["p5"]),
            )
            for name, _, row in rows
        ],
        numbers=range(1, 6),
        fit=True,
    )
    click.echo()
    table.echo(
        ("answered by", "exact", "tokens in", "tokens out", "price"),
        [
            (
                name,
                f"{one.exact / len(one):.0%}",
                f"{one.input_tokens:,}" if one.counted else "-",
                f"{one.output_tokens:,}" if one.counted else "-",
                _price(one),
            )
            for name, one, _ in rows
        ],
        numbers=range(1, 5),
        fit=True,
    )
    if found.failures:
        click.echo()
        table.echo(
            ("failed before an answer", "error", "times", "took"),
            [
                (
                    clean(f"{failure.provider}/{failure.model}"),
                    clean(failure.error) + (f", HTTP {failure.status}" if failure.status else ""),
                    f"{failure.count:,}",
                    _seconds(failure.seconds),
                )
                for failure in found.failures
            ],
            numbers=(2, 3),
            fit=True,
        )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f} s" if value < 100 else f"{value:,.0f} s"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _price(one: Served) -> str:
    if not one.priced:
        return "-"
    price = f"${one.price:,.2f}" if one.price >= 0.01 else f"${one.price:.6f}"
    return price if one.priced == len(one) else f"{price} ({one.priced:,} of {len(one):,})"
