"""`llm g4f stats`: show answers, failures and speed of each provider, from llm's logs."""

from __future__ import annotations

import json as json_format
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .errors import handle_errors

if TYPE_CHECKING:
    from .log_stats import Failure, Served, Stats


class _Time(click.ParamType[datetime]):
    """A time in ISO 8601, or how long ago it was."""

    name = "time"

    _AGO = re.compile(
        r"(\d+(?:\.\d+)?) ?(?:(m|min|minutes?)|(h|hours?)|(d|days?)|(w|weeks?))(?: ago)?"
    )

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            if (ago := self._AGO.fullmatch(value.strip().lower())) is not None:
                units = zip(("minutes", "hours", "days", "weeks"), ago.groups()[1:], strict=True)
                unit = next(name for name, match in units if match)
                return datetime.now(UTC) - timedelta(**{unit: float(ago[1])})
            moment = datetime.fromisoformat(value.strip())
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"Invalid time {value!r}. Examples: 2026-11-01, 2026-11-01T18:30 (UTC, unless it ends in"
                " an offset like +01:00), 90min, 24h, 7d, 2 weeks.",
                param,
                ctx,
            )


@click.command()
@click.option(
    "--since",
    metavar="WHEN",
    type=_Time(),
    help="Only answers since a date or time (ISO 8601, UTC), or in the last 24h, 7d, 2 weeks.",
)
@click.option(
    "--model", metavar="MODEL", help="Only answers where MODEL was requested or has answered."
)
@click.option(
    "-d",
    "--database",
    type=click.Path(readable=True, exists=True, dir_okay=False, path_type=Path),
    help="Path to log database",
)
@click.option("--json", is_flag=True, help="Print JSON.")
@click.option("--chart", is_flag=True, help="Draw the speed over time in the terminal.")
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Draw the speed over time to a .png, .svg or .pdf (extra plot).",
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
    """Show answers, failures and speed of each provider, from llm's logs.

    Requests that failed without an answer are not in llm's logs; they are counted in
    a small file of their own (g4f-failures.jsonl), which keeps the last ones.

    "first token" is the time from the request to the provider that answered until
    its first token: the median, and the value that 95 of 100 answers stay within
    (p95). "tokens/s" is the provider's count of output tokens divided by the time
    after the first token: the median, and the value that 95 of 100 answers reach
    (p5). "-" means unknown. The logs are only read.
    """
    from ..config.files import user_file
    from ..errors import G4FError
    from . import failed_requests
    from .log_stats import Stats, read
    from .table import echo_line
    from .validation import requested_model

    path, name = database or Path(user_file("logs.db")), requested_model(model) if model else None
    # Another database is another person's, or another time's.
    failed = failed_requests.FailedRequests() if database else failed_requests.read(since, name)
    if not path.exists() and not failed.count:
        raise G4FError(f'No answers yet: {path} does not exist. Run "llm -m gpt-4o …" first.')
    result = read(path, since, name) if path.exists() else Stats((), ())
    if plot is not None:
        from .plot import draw

        draw(result, plot)
        click.echo(f"Drawn: {plot}", err=True)
    if json:
        query = {"database": str(path), "since_utc": since and since.isoformat(), "model": model}
        data = query | result.to_dict() | {"failed_requests": failed.to_dict()}
        click.echo(json_format.dumps(data, indent=2))
        return
    if result.span is None:
        matching = " that match" if since or model else ""
        click.echo(f'No answers yet{matching} in {path}. Run "llm -m gpt-4o …" first.')
    else:
        _print(result)
        if chart:
            from .chart import echo

            click.echo()
            echo(result)
    if failed.count:
        click.echo()
        echo_line(str(failed), 0)
        click.echo()
        _print_failures("failed without an answer", failed.failures)


def _print(stats: Stats) -> None:
    from ..safe_text import clean
    from . import table

    assert stats.span is not None
    first, last = (time.date().isoformat() for time in stats.span)
    days = first if first == last else f"{first} to {last}"
    line = f"{_count(stats.answers, 'answer')}, {days} (UTC)"
    if stats.after_failures:
        failures = sum(failure.count for failure in stats.failures)
        line += f"; {stats.after_failures:,} of them survived {_count(failures, 'failure')}"
    table.echo_line(f"{line}.", 0)
    click.echo()
    rows = [
        (clean(f"{served.provider}/{served.model}"), served, served.to_dict())
        for served in stats.served
    ]
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
    # A column only where it says something.
    inexact = any(served.exact < len(served) for _, served, _ in rows)
    table.echo(
        (
            *("answered by", "exact", "tokens in", "tokens out", "price"),
            *(["otherwise"] if inexact else []),
        ),
        [
            (
                name,
                f"{served.exact / len(served):.0%}",
                f"{served.input_tokens:,}" if served.counted else "-",
                f"{served.output_tokens:,}" if served.counted else "-",
                _price(served),
                *([_otherwise(served)] if inexact else []),
            )
            for name, served, _ in rows
        ],
        numbers=range(1, 5),
        fit=True,
    )
    if stats.failures:
        click.echo()
        _print_failures("failed before an answer", stats.failures)


def _print_failures(title: str, failures: list[Failure]) -> None:
    from ..reason import summary_of_class
    from ..safe_text import clean
    from . import table

    table.echo(
        (title, "error", "times", "took"),
        [
            (
                clean(f"{failure.provider}/{failure.model}"),
                summary_of_class(failure.error)
                + (f", HTTP {failure.status}" if failure.status else ""),
                f"{failure.count:,}",
                _seconds(failure.seconds),
            )
            for failure in failures
        ],
        numbers=(2, 3),
        fit=True,
    )


def _otherwise(served: Served) -> str:
    """What the answers are that the exact model did not give."""
    from ..receipt import kind_of_answer

    others = len(served) - served.exact
    if not others:
        return "-"
    return kind_of_answer(exact=False, successor=served.successor == others)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f} s" if value < 100 else f"{value:,.0f} s"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _price(served: Served) -> str:
    if not served.priced:
        return "-"
    price = f"${served.price:,.2f}" if served.price >= 0.01 else f"${served.price:.6f}"
    if served.priced == len(served):
        return price
    return f"{price} ({served.priced:,} of {len(served):,})"
