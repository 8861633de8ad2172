"""`llm g4f batch`: many prompts, from a file to a file."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import handle_errors

if TYPE_CHECKING:
    from ..batch import Result, Results, Rows
    from ..batch.job import Job
    from ..batch.readers import Format, Row
    from ..types import JSON
    from .progress import ProgressBar

from .batch_input import _Input

_STOPPED = "Stopped. The same command again goes on where it was."


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
    help="Format of IN; defaults to what it looks like",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Prompts that are asked at once",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where the asking runs: here, or over a Ray cluster",
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    envvar="RAY_ADDRESS",
    help="A running cluster for --engine ray, such as auto; without it one on this machine",
)
@click.option("--log", is_flag=True, help="Log prompts and responses to the database")
@click.option("--limit", type=click.IntRange(min=1), help="Ask no more than this many")
@click.option("--retry-failed", is_flag=True, help="Ask only those that have failed")
@click.option(
    "--dry-run", is_flag=True, help="Ask nothing: show how many, whom, and an estimate of the price"
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
    log: bool,
    limit: int | None,
    retry_failed: bool,
    dry_run: bool,
) -> None:
    """Ask the prompts in IN, many at once, and append the answers to OUT.

    IN is JSON Lines, a JSON array, CSV, TSV or plain lines; - is standard input. A row has a
    prompt, or messages, and may have an id, system, model and any parameter of chat completions:

    \b
        {"id": "a", "prompt": "Capital of France?"}
        {"id": "b", "prompt": "Capital of Spain?", "temperature": 0}

    With -t the other columns are variables of the template.

    OUT is JSON Lines, in the order in which the answers come: text, model, provider, usage and
    receipt of each, or its error. The same command again asks only what has no answer there.

    Exits with 1 if a row has failed.
    """  # noqa: D301 (click's mark for lines that stay as they are)
    if str(target) == "-":
        raise click.UsageError("OUT is a file: from it a second run goes on.")
    from . import templating

    loaded = templating.load_templates(templates)
    defaults = templating.defaults(model_id, options, schema_input, key, loaded)
    ask = _engine(engine, ray_address, key)
    with _resumable(), _Input(source, target) as rows:
        form = rows.format(format)
        prepare = templating.Preparation(loaded, system, table=form in ("csv", "tsv"))
        if system is not None:
            defaults["system"] = system
        if dry_run:
            from .dry_run import forecast

            forecast(rows.rows(form), target, defaults, prepare, limit, retry_failed)
            return
        _run(
            rows.rows(form),
            rows.size,
            target,
            partial(ask, concurrency=concurrency, **defaults),
            log,
            {"prepare": prepare, "limit": limit, "retry_failed": retry_failed},
        )


@contextlib.contextmanager
def _resumable() -> Iterator[None]:
    """Ctrl-C before anything is asked ends as it does later."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(_STOPPED, err=True)
        raise click.exceptions.Exit(130) from None


def _engine(name: str, address: str | None, key: str | None) -> Callable[..., Results]:
    """What asks. Raises a click error, and `G4FError` where it cannot be used."""
    if name == "local":
        source = click.get_current_context().get_parameter_source("ray_address")
        if address is not None and source is not click.core.ParameterSource.ENVIRONMENT:
            raise click.UsageError("--ray-address goes with --engine ray.")
        from ..batch import run

        return run
    from ..batch import cluster
    from ..config.keys import find_key

    cluster.check(address)
    if key is not None and find_key((key,), ()) is None:
        raise click.ClickException(
            'With --engine ray, --key takes a name of "llm keys" (llm keys set NAME): a key itself'
            " would travel through Ray. Each worker looks the name up where it runs."
        )

    def ask(rows: Rows, **given: Any) -> Results:
        given.pop("api_key", None)
        return cluster.run(rows, address=address, key=key, **given)

    return ask


def _run(
    rows: Iterator[Row],
    size: int | None,
    target: Path,
    ask: Callable[..., Results],
    log: bool,
    selected: JSON,
) -> None:
    from ..batch.job import Job
    from ..batch.results_file import ResultsFile
    from .progress import ProgressBar

    with contextlib.ExitStack() as stack:
        try:
            ledger = stack.enter_context(contextlib.closing(ResultsFile(target)))
            progress = stack.enter_context(ProgressBar(size))
            job = Job(
                ledger,
                log=_log(stack, progress) if log else None,
                report=progress.update,
                **selected,
            )
            engine = partial(ask, on_notice=progress.say)
            stopped = asyncio.run(_work(job, engine, rows, waits=size is None))
            progress.finish(job.progress)
            if not stopped:
                ledger.compact()
        except sqlite3.Error as error:
            raise click.ClickException(f"The list of ids cannot be kept: {error}.") from None
    _conclude(job, target, stopped)


async def _work(
    job: Job, engine: Callable[[Rows], Results], rows: Iterator[Row], *, waits: bool
) -> bool:
    """Give the engine what is to be asked and the job what comes of it; whether Ctrl-C has ended that."""
    from ..batch.readers import read_in_thread

    async with engine(job.selection.choose(read_in_thread(rows) if waits else rows)) as results:
        with _interruptible(results.stop) as stopped:
            async for result in results:
                job.write(result)
    return bool(stopped)


@contextlib.contextmanager
def _interruptible(stop: Callable[[], None]) -> Iterator[list[bool]]:
    """Ctrl-C stops the work, and what has been answered is still written; the list has something in it then."""
    stopped: list[bool] = []
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    loop = asyncio.get_running_loop()

    def interrupt(*_: object) -> None:
        stopped.append(True)
        loop.call_soon_threadsafe(stop)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


def _log(stack: contextlib.ExitStack, progress: ProgressBar) -> Callable[[Result], None]:
    """What writes an answer to llm's logs."""
    from ..adapter.log_writer import LogWriter

    try:
        book = stack.enter_context(contextlib.closing(LogWriter()))
    except (sqlite3.Error, OSError) as error:
        raise click.ClickException(
            f'llm\'s logs cannot be written: {error}. "llm logs path" says where they are;'
            " leave --log out to go on without them."
        ) from None

    def write(result: Result) -> None:
        assert result.request is not None
        assert result.completion is not None
        try:
            book.write(result.request, result.completion)
        except (sqlite3.Error, UnicodeEncodeError) as error:
            progress.say(f"An answer is not in llm's logs: {error}.")

    return write


def _conclude(job: Job, target: Path, stopped: bool) -> None:
    """Say what came of it; exits with 1 or 130 where rows have no answer."""
    tally, twice = job.progress, job.selection.duplicate
    words = [f"{tally.answered:,} answered, {tally.failed:,} failed, {tally.tokens:,} tokens"]
    if tally.answered_before:
        words.append(f"{tally.answered_before:,} had an answer before")
    if tally.left_out:
        words.append(f"{tally.left_out:,} not asked yet")
    click.echo(f"{', '.join(words)}: {target}", err=True)
    if stopped:
        click.echo(_STOPPED, err=True)
        raise click.exceptions.Exit(130)
    if twice is not None:
        raise click.ClickException(
            f"The id {twice.id!r} occurs twice, in line {twice.lines[0]:,} and in line"
            f" {twice.lines[1]:,}: nothing from there on was asked. Change one of them; the same"
            " command again goes on."
        )
    if tally.failed:
        click.echo(
            f'The errors are in {target} ("error"). The same command again asks the failed ones once'
            " more; with --retry-failed only those.",
            err=True,
        )
        raise click.exceptions.Exit(1)
