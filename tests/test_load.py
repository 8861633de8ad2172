"""Many calls at once against a server that fails again and again."""

from __future__ import annotations

import os
import sys

import pytest

from tests.load import processes, streams
from tests.load.streams import Load
from tests.support.loops import LOOPS

IN_FULL = bool(os.environ.get("G4F_LONG"))

SHORT = Load(streams=50, seconds=3, pause=0.03, stall=1.0)

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


@pytest.mark.long
@linux
@pytest.mark.parametrize("loop", LOOPS if IN_FULL else ["asyncio"])
def test_under_load_with_faults_every_call_ends_and_nothing_stays_open(loop: str) -> None:
    result = streams.run(Load() if IN_FULL else SHORT, loop)
    assert result.complaints() == []
    assert result.outcomes.keys() >= {"ok", "cancelled", "APITimeoutError", "TruncatedStreamError"}


@pytest.mark.long
@linux
def test_processes_share_one_user_directory() -> None:
    load = Load(streams=15, pause=0.05) if IN_FULL else Load(streams=8, seconds=2, pause=0.01)
    shared = processes.run(load, 8 if IN_FULL else 3)
    assert shared.complaints() == []
    assert shared.changes > 1
