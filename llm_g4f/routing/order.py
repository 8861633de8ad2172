"""The order of equally exact candidates by a figure: their price, or how soon they begin to answer.

Imported only where g4f.yaml has an `order`. A candidate changes places only with others that give the
same model, or the same substitute, and that the user allowed in the same way. One without a figure
comes behind those that have one.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ..config.files import user_file
from ..providers.model_ids import is_same_model
from ..receipt import Receipt
from ..types import Usage
from .prices import price
from .registry import Registry
from .route import Candidate, likeness

ANSWERS = 50
"""The last answers of a provider of which the median counts."""

_TURNS = 2_000
"""The last turns in llm's logs that are looked at: a few milliseconds."""

_REMEMBERED_FOR = 60.0
"""Seconds for which a process remembers what the logs show."""

_MIX = Usage(750, 250, 1_000)
"""The tokens whose price is compared: three in the prompt for each of the answer."""

_QUERY = f"""
select resolved_model, coalesce(json_extract(receipt, '$.ttft'), json_extract(receipt, '$."$".u.ttft'))
from (
  select resolved_model, case when json_valid(response_json) then
    case json_type(response_json, '$.g4f') when 'object' then json_extract(response_json, '$.g4f') end
  end as receipt
  from (select resolved_model, response_json from turns order by id desc limit {_TURNS})
)
where coalesce(
  json_array_length(receipt, '$.attempts'), json_array_length(receipt, '$."$".u.attempts')
) = 1
"""  # noqa: S608 (a number of ours)
# After failures, the time has that of others in it. llm stores a receipt whole, or under "$" what of it
# stands nowhere else in the turn.

_Times = list[tuple[str, float]]
"""The resolved model of each answer ("openai/gpt-4o-2024-11-20") and the seconds to its first token, the
last answer first."""

_remembered: tuple[str, float, _Times] | None = None


async def in_order(candidates: list[Candidate], registry: Registry) -> list[Candidate]:
    """The candidates, those that are equally exact by their figures."""
    groups = defaultdict(list)
    for place, candidate in enumerate(candidates):
        groups[(candidate.provider.kind, *likeness(candidate))].append(place)
    if len(groups) == len(candidates):
        return candidates
    known = await figures(candidates, registry)
    ordered = list(candidates)
    for places in groups.values():
        by_figure = sorted(places, key=lambda place: _sort_key(known[place]))
        for place, other in zip(places, by_figure, strict=True):
            ordered[place] = candidates[other]
    return ordered


def _sort_key(figure: float | None) -> tuple[bool, float]:
    return figure is None, figure or 0.0


async def figures(candidates: Sequence[Candidate], registry: Registry) -> list[float | None]:
    """What the candidates are ordered by: US dollars for a million tokens, or seconds to the first
    token. None where it is unknown."""
    find = _prices if registry.config.order == "price" else _latencies
    # The table of prices takes a quarter of a second to load, and the logs may be long.
    return await asyncio.to_thread(find, candidates, registry)


def _prices(candidates: Sequence[Candidate], registry: Registry) -> list[float | None]:
    costs = [
        price(Receipt("", each.provider.name, each.served.model), _MIX, None, registry)
        for each in candidates
    ]
    return [None if cost is None else cost * 1e6 / _MIX.total_tokens for cost in costs]


def _latencies(candidates: Sequence[Candidate], _: Registry) -> list[float | None]:
    times = _times()
    return [_median(candidate, times) for candidate in candidates]


def _median(candidate: Candidate, times: _Times) -> float | None:
    prefix, model = f"{candidate.provider.name}/", candidate.served.model
    fitting = {
        resolved
        for resolved, _ in times
        if resolved.startswith(prefix) and is_same_model(resolved.removeprefix(prefix), model)
    }
    last = [seconds for resolved, seconds in times if resolved in fitting][:ANSWERS]
    return statistics.median(last) if last else None


def _times() -> _Times:
    """The times in llm's logs, as they were a moment ago; none if the logs cannot be read."""
    global _remembered
    path, now = user_file("logs.db"), time.monotonic()
    if _remembered is None or _remembered[0] != path or _remembered[1] <= now:
        _remembered = (path, now + _REMEMBERED_FOR, _read(Path(path)))
    return _remembered[2]


def _read(path: Path) -> _Times:
    if not path.is_file():
        return []
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, timeout=0.1, uri=True)) as database:
            found = database.execute(_QUERY).fetchall()
    except (sqlite3.Error, UnicodeDecodeError):
        return []
    return [
        (resolved, float(seconds))
        for resolved, seconds in found
        if isinstance(resolved, str) and isinstance(seconds, (int, float)) and seconds >= 0
    ]
