"""Many calls at once against a server that fails again and again."""

from __future__ import annotations

import os
import sys

import pytest

from tests.support import load


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_under_load_with_faults_every_call_ends_and_nothing_stays_open() -> None:
    if os.environ.get("G4F_LONG"):
        result = load.run(streams=500, seconds=60, share=0.2, pause=0.5, stall=5.0)
    else:
        result = load.run(streams=50, seconds=3, share=0.2, pause=0.03, stall=1.0)
    assert result.complaints() == []
    assert result.outcomes.keys() >= {"ok", "APITimeoutError", "TruncatedStreamError"}
