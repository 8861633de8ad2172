"""The local models as a list, and what is done with one: chosen, removed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from msgspec import Struct

from . import records
from .errors import WeightsError
from .files import (
    ModelFile,
    choice,
    choice_file,
    is_path,
    located,
    make_folder,
    named,
    unknown_model,
)
from .hub_cache import hub_cache
from .progress import shown_size
from .records import folder
from .resources import free_disk, total_memory
from .table import DEFAULT, ROWS, ModelRow

SPARE = 50_000_000
"""Bytes of disk that stay free."""


class ListedModel(Struct, frozen=True):
    """A line of the list. `row` is None for a file of the user's own. `path` is where its file is,
    None if it is not here. `origin`: whether this plugin fetched the file, or uses it in place.
    `obstacle`: why it does not fit this machine, "" if it does."""

    name: str
    row: ModelRow | None
    path: Path | None
    origin: Literal["fetched", "in place", ""]
    obstacle: str
    chosen: bool
    recommended: bool = False


def overview() -> list[ListedModel]:
    """All models of the table, and the user's own one if it is chosen. Raises `ConfigError`."""
    chosen = choice() or DEFAULT.name
    best = recommended()
    models = [
        ListedModel(
            row.name,
            row,
            path := located(row),
            _origin(row.name, path),
            obstacle(row),
            row.name == chosen,
            row is best,
        )
        for row in ROWS.values()
    ]
    if chosen not in ROWS:
        path = named(chosen).path
        here = path if path.exists() else None
        models.append(ListedModel(chosen, None, here, _origin(chosen, here), "", chosen=True))
    return models


def recommended() -> ModelRow:
    """The row to take on this machine: memory and disk reach up to it."""
    fitting = [row for row in ROWS.values() if row.recommended and not obstacle(row)]
    return fitting[-1] if fitting else DEFAULT


def _origin(name: str, path: Path | None) -> Literal["fetched", "in place", ""]:
    if path is None:
        return ""
    ours = path.parent == folder() or str(path) in records.load().fetched.get(name, ())
    return "fetched" if ours else "in place"


def obstacle(row: ModelRow) -> str:
    """Why the row does not fit this machine, in words with figures; "" if it does."""
    memory = total_memory()
    if memory is not None and memory < row.memory:
        return (
            f"needs {shown_size(row.memory)} of memory, and this machine has {shown_size(memory)}"
        )
    if located(row) is None:
        free = free_disk(hub_cache() if row.repository else folder())
        if free is not None and free < row.size + SPARE:
            return f"needs {shown_size(row.size)} of disk, and {shown_size(free)} are free"
    return ""


def own_file(path: Path, sha256: str | None = None) -> ModelFile:
    """The user's own model file, checked: a GGUF file, with this hash if one is given. Raises
    `WeightsError`."""
    try:
        path = path.expanduser().absolute()
        exists = path.is_file()
    except (OSError, RuntimeError):  # too long, no access; no such user
        exists = False
    if not exists:
        raise WeightsError(f"File not found: {path}. The model is unchanged.")
    file = ModelFile(path, path.stem.lower(), chosen=True, sha256=sha256)
    make_folder()
    if problem := file.check():
        raise WeightsError(f"{path} cannot be used: {problem}. The model is unchanged.")
    return file


def here(name: str) -> ModelFile:
    """The file of a model that is here already, by its name or hf: reference. Raises `WeightsError`."""
    if name not in ROWS and not name.startswith("hf:"):
        raise unknown_model(name)
    file = named(name)
    if problem := file.check():
        raise file.unusable(problem)
    return file


class Removed(Struct, frozen=True):
    """A file that was deleted, or that stays since this plugin did not fetch it."""

    path: Path
    stays: bool = False


def remove(name: str | None) -> list[Removed]:
    """Delete what this plugin fetched of a model, or of all and all else in its folder. Files used in
    place stay. Raises `WeightsError`."""
    if name is not None:
        if name not in _known_names() and not is_path(name):
            raise unknown_model(name)
        return _remove_one(name)
    gone = [removed for each in _known_names() for removed in _remove_one(each)]
    for left in folder().glob("fetch-*"):
        shutil.rmtree(left, ignore_errors=True)
        gone.append(Removed(left))
    if choice_file().exists():
        choice_file().unlink()
        gone.append(Removed(choice_file()))
    for state in (*folder().glob(".*.lock"), folder() / "models.json"):
        state.unlink(missing_ok=True)
    return gone


def _known_names() -> list[str]:
    chosen = choice()
    known = {*ROWS, *records.load().fetched, *([chosen] if chosen else [])}
    return sorted(known)


def _remove_one(name: str) -> list[Removed]:
    row = ROWS.get(name)
    ours = {Path(path) for path in records.load().fetched.get(name, ())}
    if row is not None:
        ours |= set(folder().glob(f"{row.file}*"))
        path = located(row)
    else:
        path = named(name).path
    gone = [Removed(file) for file in sorted(ours) if _unlink(file)]
    _prune(ours)
    if ours:
        with records.changing() as changed:
            changed.fetched.pop(name, None)
            changed.references.pop(name, None)
    if path is not None and path not in ours and path.exists():
        gone.append(Removed(path, stays=True))
    return gone


def _unlink(path: Path) -> bool:
    if not path.is_symlink() and not path.exists():
        return False
    try:
        path.unlink()
    except OSError as error:
        raise WeightsError(f"{path} cannot be removed: {error.strerror}.") from None
    return True


def _prune(files: set[Path]) -> None:
    """Delete the folders of the hub's cache that these files have left without content."""
    cache = hub_cache()
    for repository in {
        cache / file.relative_to(cache).parts[0] for file in files if file.is_relative_to(cache)
    }:
        if not any(path.is_file() for path in repository.glob("blobs/*")) and not any(
            path.is_file() for path in repository.glob("snapshots/**/*")
        ):
            shutil.rmtree(repository, ignore_errors=True)
