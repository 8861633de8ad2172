"""`llm g4f batch`: many prompts, from a file to a file."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .failure import said

if TYPE_CHECKING:
    from ..batch import Result, Results, Rows
    from ..batch.job import Job
    from ..batch.reading import Format, Row
    from ..types import JSON
    from .progress import Progress

__all__ = ["batch"]

_BLOCK = 1 << 16

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
@said
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
    from . import preparation

    loaded = preparation.load_templates(templates)
    defaults = preparation.defaults(model_id, options, schema_input, key, loaded)
    ask = _engine(engine, ray_address, key)
    with _resumable(), _Input(source, target) as rows:
        form = rows.format(format)
        prepare = preparation.Preparation(loaded, system, table=form in ("csv", "tsv"))
        if system is not None:
            defaults["system"] = system
        if dry_run:
            from .forecast import forecast

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
    from ..config import find_key

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


class _Input:
    """The file of rows, or standard input; `size` is that of a file in bytes, None for a pipe."""

    def __init__(self, source: str, target: Path) -> None:
        self._name = source
        try:
            # Unbuffered: no lock is held where a thread waits for a pipe.
            self._file = io.FileIO(0 if source == "-" else source, closefd=source != "-")
        except OSError as error:
            raise click.ClickException(f"{source} cannot be read: {error.strerror}.") from None
        found = os.fstat(self._file.fileno())
        self.size = found.st_size if stat.S_ISREG(found.st_mode) else None
        try:
            same = os.path.samestat(found, target.stat())
        except OSError:
            same = False  # What is wrong with OUT is said where it is opened.
        if same:
            self._file.close()
            raise click.ClickException(
                f"{source} is IN and OUT: the answers need a file of their own."
            )
        self._head: list[bytes] = []

    def __enter__(self) -> _Input:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _blocks(self) -> Iterator[bytes]:
        while self._head:
            yield self._head.pop(0)
        while block := self._read():
            yield block

    def _read(self) -> bytes:
        try:
            return self._file.read(_BLOCK) or b""
        except OSError as error:
            raise click.ClickException(f"{self._name} cannot be read: {error.strerror}.") from None

    def format(self, given: Format | None) -> Format:
        """The format of the rows: what the user says, else what they look like."""
        from ..batch.reading import detect

        if given is not None:
            return given
        while (block := self._read()) and b"\n" not in block and len(self._head) < 16:
            self._head.append(block)
        self._head.append(block)
        head = b"".join(self._head)
        if b"\0" in head:
            raise click.ClickException(
                f"{self._name} is no text in UTF-8: save it as that, and try again."
            )
        return detect("" if self._name == "-" else self._name, head)

    def rows(self, format: Format) -> Iterator[Row]:
        """What it has, read as it is needed."""
        from ..batch.reading import read

        return read(self._blocks(), format)


def _run(
    rows: Iterator[Row],
    size: int | None,
    target: Path,
    ask: Callable[..., Results],
    log: bool,
    selected: JSON,
) -> None:
    from ..batch.job import Job
    from ..batch.ledger import Ledger
    from .progress import Progress

    with contextlib.ExitStack() as stack:
        try:
            ledger = stack.enter_context(contextlib.closing(Ledger(target)))
            progress = stack.enter_context(Progress(size))
            job = Job(
                ledger,
                log=_log(stack, progress) if log else None,
                report=progress.update,
                **selected,
            )
            engine = partial(ask, tell=progress.say)
            stopped = asyncio.run(_work(job, engine, rows, waits=size is None))
            progress.finish(job.tally)
            if not stopped:
                ledger.tidy()
        except sqlite3.Error as error:
            raise click.ClickException(f"The list of ids cannot be kept: {error}.") from None
    _conclude(job, target, stopped)


async def _work(
    job: Job, engine: Callable[[Rows], Results], rows: Iterator[Row], *, waits: bool
) -> bool:
    """Give the engine what is to be asked and the job what comes of it; whether Ctrl-C has ended that."""
    from ..batch.reading import apart

    async with engine(job.selection.of(apart(rows) if waits else rows)) as results:
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


def _log(stack: contextlib.ExitStack, progress: Progress) -> Callable[[Result], None]:
    """What writes an answer to llm's logs."""
    from ..logbook import Logbook

    try:
        book = stack.enter_context(contextlib.closing(Logbook()))
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
    tally, twice = job.tally, job.selection.twice
    words = [f"{tally.answered:,} answered, {tally.failed:,} failed, {tally.tokens:,} tokens"]
    if tally.already:
        words.append(f"{tally.already:,} had an answer before")
    if tally.left:
        words.append(f"{tally.left:,} not asked yet")
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
