"""Run llama.cpp in this process, through xllamacpp.

This module rests on facts about xllamacpp 2026.10: its server generates on the calling thread,
calls back with OpenAI's chunks, swallows the callback's exceptions, and stops when the callback
returns True. A thread that still generates during the interpreter's shutdown crashes the process,
so generation stops when the main thread ends.
"""

from __future__ import annotations

import atexit
import os
import secrets
import socket
import tempfile
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..safe_text import clean
from .errors import WeightsError
from .files import ModelFile

CONTEXT = 4096
"""Tokens of prompt and answer together. More would cost memory and not make this model any better."""

_BATCH = 128
"""Prompt tokens read at a time. A cancelled request ends after the current batch (half a second)."""

NOT_INSTALLED = "it is not installed: llm install 'llm-g4f[local]'"


def is_installed() -> bool:
    """Whether xllamacpp is installed, without importing it."""
    return find_spec("xllamacpp") is not None


class _Runtime:
    """The one llama.cpp server of this process, started on first use."""

    def __init__(self, keep: Callable[[Any], None] | None = None) -> None:
        self.lock = threading.Lock()
        self.path: Path | None = None
        self.server: Any = None
        self.keep = keep
        self._forked = keep is not None

    def load(self, weights: ModelFile) -> Any:
        """The server for `weights`. Blocks for 0.5 s the first time. Raises `WeightsError`."""
        with self.lock:
            if self.path != weights.path:
                self.server = None
                self.server = _new_server(weights)
                if self.keep is None and hasattr(os, "fork"):
                    self.keep = _make_keep()
                if self._forked and self.keep is not None:
                    self.keep(self.server)
                self.path = weights.path
            return self.server

    def forget(self) -> None:
        self.path = self.server = None


_runtime = _Runtime()
atexit.register(_runtime.forget)


def _after_fork() -> None:
    global _runtime
    atexit.unregister(_runtime.forget)
    before = _runtime
    _runtime = _Runtime(keep=before.keep)
    if before.keep is not None and before.server is not None:
        before.keep(before.server)


def _make_keep() -> Callable[[Any], None]:
    """Make the function that keeps a forked child's server until its process ends.

    Freeing the server waits for threads, and the parent's do not exist in the child: it would hang,
    or crash in llama.cpp's own exit handlers. So these are skipped as well, where the C library
    allows it (glibc's on_exit runs `_exit` with the status before them). Made before the fork: in a
    child, loading a library may wait for a lock whose holder was not forked.
    """
    import ctypes

    library = ctypes.CDLL(None)
    hold = ctypes.pythonapi.Py_IncRef
    on_exit = getattr(library, "on_exit", None)
    leave = library._exit

    def keep(server: Any) -> None:
        hold(ctypes.py_object(server))
        if on_exit is not None:
            on_exit(leave, None)

    return keep


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _new_server(weights: ModelFile) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights.path)
    params.n_ctx = CONTEXT
    params.n_batch = params.n_ubatch = _BATCH
    params.n_parallel = 1
    params.cache_ram_mib = 0
    params.verbosity = -1
    params.warmup = False
    params.endpoint_metrics = True
    # Two generating threads wait for each other by spinning, which is ten times slower beside one
    # busy process. Reading the prompt does scale.
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = os.cpu_count() or 1
    try:
        if hasattr(socket, "AF_UNIX"):
            # The server always listens: here on a socket in a directory of ours, deleted as soon as
            # it listens, so that no other process can connect.
            with tempfile.TemporaryDirectory(prefix="g4f-", dir=_short_folder()) as folder:
                params.hostnames = [str(Path(folder, "s.sock"))]
                server = xllamacpp.Server(params)
        else:
            params.api_keys = [secrets.token_hex(32)]
            server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise WeightsError(
            f"llama.cpp cannot load {weights.path} ({clean(str(error)) or 'no reason given'})."
            + ("" if weights.chosen else ' "llm g4f local install --force" fetches it again.')
        ) from None
    # This waits until the server's own loop runs: freed earlier, it would wait for it for ever.
    server.handle_metrics()
    return server


def _short_folder() -> str | None:
    # The path of a Unix socket may have about 100 bytes, and TMPDIR may be longer.
    return None if len(os.fsencode(tempfile.gettempdir())) < 70 else "/tmp"  # noqa: S108


def load(weights: ModelFile) -> Any:
    """This process's server for `weights`. Blocks for 0.5 s the first time. Raises `WeightsError`."""
    return _runtime.load(weights)


def try_out(weights: ModelFile) -> None:
    """Load `weights` to check that they are a model. Raises `WeightsError`."""
    if not is_installed():
        raise WeightsError(f"The model cannot be tried: {NOT_INSTALLED}")
    _runtime.load(weights)
