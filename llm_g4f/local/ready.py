"""The file of the model that answers, whole."""

from __future__ import annotations

import asyncio

from ..event_loops import loop_local
from .files import ModelFile, find, set_damaged_aside
from .table import DEFAULT


async def ready_file() -> ModelFile:
    """The file of the model to use, whole. The default is fetched if it is missing, and again if it is
    damaged; no other one is. Raises `WeightsError` and `ConfigError`."""
    async with loop_local("_llm_g4f_fetching", asyncio.Lock):
        file = find()
        if file is None:
            return await _fetched_default()
        problem = await asyncio.to_thread(file.check)
        if problem is None:
            return file
        if file.row is not DEFAULT:
            raise file.unusable(problem)
        set_damaged_aside(file, problem)
        return await _fetched_default()


async def _fetched_default() -> ModelFile:
    # Most prompts fetch nothing.
    from .fetch import fetch

    return await fetch(DEFAULT)
