"""The targets of the fuzzer hold for their seeds, everywhere: atheris is not needed for that."""

from __future__ import annotations

from importlib import import_module

import pytest

from tests.fuzz.__main__ import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_for_its_seeds(name: str) -> None:
    target = import_module(f"tests.fuzz.{name}")
    for seed in target.SEEDS:
        target.run(seed)
