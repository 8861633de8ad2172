"""`llm g4f batch`: answer a file of prompts into a file of results."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from .batch_engine import Ask, check_options, engine_of
from .batch_input import BatchInput
from .errors import DATABASE_ERRORS, handle_errors, words_of
from .interrupts import Stopped, on_stop, outlive_stderr, raise_stopped

if TYPE_CHECKING:
    from ..batch import Result, Results, Rows
    from ..batch.job import Job
    from ..batch.readers import Format, Row
    from ..types import JSON
    from .progress import ProgressBar

_STOPPED = "Stopped. Run the same command to resume."


@click.command()
@click.argument("source", metavar="IN", type=click.Path(dir_okay=False, allow_dash=True))
@click.argument("target", metavar="OUT", type=click.Path(dir_okay=False, path_type=Path))
@click.option("model_id", "-m", "--model", envvar="LLM_MODEL", help="Model to use")
@click.option("-s", "--system", help="System prompt to use")
@click.option("templates", "-t", "--template", multiple=True, help="Template to fill with each row")
@click.option(
    "options",
    "-o",
    "--option",
    type=(str, str),
    multiple=True,
    help="key/value options for the model",
)
@click.option("schema_input", "--schema", help="Schema DSL, JSON schema, filepath or ID")
@click.option("--key", help="API key to use")
@click.option(
    "--format",
    type=click.Choice(["json", "csv", "tsv", "nl", "lines"]),
    help="Format of IN; detected by default",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Maximum number of prompts in progress",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray", "openai-batch"]),
    default="local",
    show_default=True,
    help="Run on this machine, on a Ray cluster, or at half the price as a batch of the provider",
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    envvar="RAY_ADDRESS",
    help="Running cluster for --engine ray, such as auto; otherwise one is started on this machine",
)
@click.option(
    "--no-wait",
    is_flag=True,
    help="With --engine openai-batch: send, fetch what is done, and return",
)
@click.option("--cache", is_flag=True, help="Ask identical prompts once, now and in later runs")
@click.option("--log", is_flag=True, help="Log prompts and responses to the database")
@click.option("--limit", type=click.IntRange(min=1), help="Ask at most this many rows")
@click.option(
    "--max-cost",
    metavar="USD",
    type=click.FloatRange(min=0, min_open=True),
    help="Ask no more rows once the answers of this run have cost so much (extra prices)",
)
@click.option("--retry-failed", is_flag=True, help="Ask only rows that have failed")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Send nothing; show the number of rows, the providers and an estimated price",
)
@handle_errors
def batch(
    source: str,
    target: Path,
    model_id: str | None,
    system: str | None,
    templates: tuple[str, ...],
    options: tuple[tuple[str, str], ...],
    schema_input: str | None,
    key: str | None,
    format: Format | None,
    concurrency: int,
    engine: str,
    ray_address: str | None,
    no_wait: bool,
    cache: bool,
    log: bool,
    limit: int | None,
    max_cost: float | None,
    retry_failed: bool,
    dry_run: bool,
) -> None:
    """Answer the prompts in IN, many at a time, and append the results to OUT.

    IN is JSON Lines, a JSON array, CSV, TSV or plain lines; - is standard input. A row has a
    prompt or messages, and optionally id, system, model and any parameter of chat completions:

    \b
        {"id": "a", "prompt": "Capital of France?"}
        {"id": "b", "prompt": "Capital of Spain?", "temperature": 0}

    Rows of OpenAI's batch files (custom_id, body) are read as well. A row without an id is known by
    its number; if it has changed since its answer, it is asked again.

    With -t, other columns are variables of the template.

    OUT is JSON Lines, in the order of completion. Each line has text, model, provider, usage and
    receipt, or an error. Run the same command again to ask only the rows without an answer.

    Exits with 1 if a row has failed.
    """  # noqa: D301 (click's mark for lines that are not wrapped)
    if str(target) == "-":
        raise click.UsageError("OUT is a file: a second run reads the results in it.")
    outlive_stderr()
    from . import templating

    check_options(engine, address=ray_address, no_wait=no_wait, cache=cache, max_cost=max_cost)
    loaded = templating.load_templates(templates)
    defaults = templating.defaults(model_id, options, schema_input, key, loaded)
    ask = engine_of(engine, ray_address, key, target, wait=not no_wait)
    with _resumable(), BatchInput(source, target) as batch_input:
        row_format = batch_input.format(format)
        rows = batch_input.rows(row_format)
        prepare = templating.RowPreparer(
            *(loaded, system),
            table=row_format in ("csv", "tsv"),
            has_default="model" in defaults,
        )
        if system is not None:
            defaults["system"] = system
        if cache:
            defaults["cache"] = True
        if dry_run:
            from .dry_run import print_dry_run

            print_dry_run(rows, target, defaults, prepare, limit, retry_failed)
            return
        _run(
            rows,
            batch_input.size,
            target,
            partial(ask, concurrency=concurrency, **defaults),
            log,
            {
                "prepare": prepare,
                "limit": limit,
                "retry_failed": retry_failed,
                "max_cost": max_cost,
            },
        )


@contextlib.contextmanager
def _resumable() -> Iterator[None]:
    """Make a signal before the first request end like one during the run."""
    try:
        with on_stop(raise_stopped):
            yield
    except Stopped as stopped:
        _exit_stopped(stopped.number)


def _exit_stopped(number: int) -> NoReturn:
    """Exit as a shell does after a program that the signal `number` has ended."""
    click.echo(_STOPPED, err=True)
    raise click.exceptions.Exit(128 + number) from None


def _run(
    rows: Iterator[Row],
    size: int | None,
    target: Path,
    ask: Ask,
    log: bool,
    selected: JSON,
) -> None:
    from ..batch.job import Job
    from ..batch.results_file import ResultsFile
    from .progress import ProgressBar

    with contextlib.ExitStack() as stack:
        # Ray prints its own to stdout, to which a run writes nothing.
        stack.enter_context(contextlib.redirect_stdout(None))
        try:
            results_file = stack.enter_context(contextlib.closing(ResultsFile(target)))
            progress = stack.enter_context(ProgressBar(size, selected["limit"]))
            job = Job(
                results_file,
                log=_log(stack, progress) if log else None,
                report=progress.update,
                **selected,
            )
            engine = partial(ask, job=job, on_notice=progress.say)
            stopped = asyncio.run(_work(job, engine, rows, is_pipe=size is None))
            progress.finish(job.progress, complete=not stopped)
            results_file.finish(compact=not stopped)
        except sqlite3.Error as error:
            raise click.ClickException(
                f"The index of ids cannot be written: {words_of(error)}."
            ) from None
    _conclude(job, target, stopped)


async def _work(
    job: Job, engine: Callable[[Rows], Results], rows: Iterator[Row], *, is_pipe: bool
) -> int:
    """Pass rows from the job to the engine and results back. Returns the number of the signal that
    stopped it, or 0."""
    from ..batch.readers import read_in_thread

    async with engine(job.selection.choose(read_in_thread(rows) if is_pipe else rows)) as results:
        with _interruptible(results.stop) as stopped:
            async for result in results:
                job.write(result)
    return stopped[0] if stopped else 0


@contextlib.contextmanager
def _interruptible(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Make a signal call `stop`, so that finished answers are still written.

    The list has the numbers of the signals that came.
    """
    stopped: list[int] = []
    loop = asyncio.get_running_loop()

    def interrupt(number: int) -> None:
        stopped.append(number)
        loop.call_soon_threadsafe(stop)

    with on_stop(interrupt):
        yield stopped


def _log(stack: contextlib.ExitStack, progress: ProgressBar) -> Callable[[Result], None]:
    """Return a function that writes a result to llm's logs. Raises a click error."""
    from ..adapter.log_writer import LogWriter

    try:
        log_writer = stack.enter_context(contextlib.closing(LogWriter()))
    except (*DATABASE_ERRORS, OSError) as error:
        raise click.ClickException(
            f'llm\'s logs cannot be written: {words_of(error)}. "llm logs path" shows where they are.'
            " Without --log they are not needed."
        ) from None

    def write(result: Result) -> None:
        assert result.request is not None
        assert result.completion is not None
        try:
            log_writer.write(result.request, result.completion)
        except (*DATABASE_ERRORS, UnicodeEncodeError) as error:
            progress.say(f"An answer is not in llm's logs: {words_of(error)}.")

    return write


def _echo_cost(job: Job) -> None:
    from ..routing.budget import dollars

    progress = job.progress
    line = f"The answers cost {dollars(progress.cost)}"
    if progress.unpriced:
        line += f"; {progress.unpriced:,} have no known price, and do not count for --max-cost"
    click.echo(f"{line}.", err=True)
    if job.selection.is_spent:
        click.echo("Stopped at --max-cost. Run the same command to resume.", err=True)


def _conclude(job: Job, target: Path, stopped: int) -> None:
    """Print a summary. Exits with 128 and the number of the signal that stopped the run, or with 1 if a
    row has failed or an id is not unique."""
    progress, duplicate = job.progress, job.selection.duplicate
    parts = [
        f"{progress.answered:,} answered, {progress.failed:,} failed, {progress.tokens:,} tokens"
    ]
    if progress.answered_before:
        parts.append(f"{progress.answered_before:,} had an answer before")
    if progress.changed:
        parts.append(f"{progress.changed:,} had changed since their answer, asked again")
    if progress.left_out:
        parts.append(f"{progress.left_out:,} not asked yet")
    click.echo(f"{', '.join(parts)}: {target}", err=True)
    if job.selection.max_cost is not None:
        _echo_cost(job)
    if stopped:
        _exit_stopped(stopped)
    if duplicate is not None:
        raise click.ClickException(
            f"The id {duplicate.id!r} occurs twice, in line {duplicate.lines[0]:,} and in line"
            f" {duplicate.lines[1]:,}. Rows from there on were not asked. Change one of the ids and run"
            " the same command to resume."
        )
    if progress.failed:
        click.echo(
            f'The errors are in {target} ("error"). Run the same command to ask the failed rows again;'
            " with --retry-failed, only those.",
            err=True,
        )
        raise click.exceptions.Exit(1)
