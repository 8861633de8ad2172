"""Model files with random damages through the start of the local model's process.

A damaged file is loaded or is one error that names it, and nothing stays of the process. Without
atheris: llama.cpp is not instrumented, and each start is a process.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from pathlib import Path

from llm_g4f.local import server
from llm_g4f.local.errors import WeightsError
from llm_g4f.local.files import ModelFile
from tests.support.weights import fetch_weights

STARTS = 200
"""Starts of a search whose length is not given."""

HEADER = 1_800_000
"""Bytes of the tests' weights in front of their tensors: metadata, vocabulary, and where each tensor
lies. The tensors themselves are only multiplied, and zeros do for them."""

EXTREMES = (0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)
"""Lengths, counts and offsets that code may forget."""


def damaged(header: bytes, chosen: random.Random) -> bytearray:
    """The header with some bytes changed, a number replaced, or a part missing."""
    broken = bytearray(header)
    kind = chosen.choice(("bytes", "bytes", "number", "part"))
    # Most of the header is the vocabulary, which all reads alike.
    place = chosen.randrange(4, chosen.choice((2_000, len(header), len(header))))
    if kind == "bytes":
        for _ in range(chosen.choice((1, 2, 8))):
            broken[chosen.randrange(4, place + 1)] = chosen.randrange(256)
    elif kind == "number":
        broken[place : place + 8] = chosen.choice(EXTREMES).to_bytes(8, "little")
    else:
        del broken[place : place + chosen.choice((1, 8, 1_000))]
    return broken


def start_damaged(weights: Path, folder: Path, count: int, seed: int = 5) -> list[str]:
    """Start the local model's process with `count` damaged copies of `weights`, which lie in `folder`;
    the errors of those that are refused. Raises AssertionError."""
    chosen = random.Random(seed)
    size = weights.stat().st_size
    with weights.open("rb") as file:
        header = file.read(HEADER)
    path = folder / "damaged.gguf"
    errors = []
    for _ in range(count):
        path.write_bytes(damaged(header, chosen))
        os.truncate(path, chosen.choice((size, size, size, chosen.randrange(size))))
        try:
            asyncio.run(server.server_for(ModelFile(path, "damaged", True), 0))
        except WeightsError as error:
            errors.append(str(error))
    for message in errors:
        assert str(path) in message, message
        assert "/proc/" not in message, message
        assert message.isprintable(), message
    return errors


def search(seconds: int | None) -> int:
    """Start it `STARTS` times, or so often for some seconds; how often. Raises AssertionError."""
    # A name short enough for a socket's path.
    with tempfile.TemporaryDirectory(prefix="g4f-") as name:
        os.environ["LLM_USER_PATH"] = os.environ["XDG_RUNTIME_DIR"] = name
        given = os.environ.get("G4F_TEST_WEIGHTS")
        weights = Path(given) if given else fetch_weights(Path(name))
        end, starts = time.monotonic() + (seconds or 0), 0
        try:
            while starts < STARTS if seconds is None else time.monotonic() < end:
                start_damaged(weights, Path(name), 20, seed=starts)
                starts += 20
        finally:
            server.stop_all()
        left = set(os.listdir(Path(name, "llm-g4f")))
        assert left == {"lock"}, left
    return starts
