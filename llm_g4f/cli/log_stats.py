"""How the providers did, from llm's logs: answers, failures survived, time to first token, tokens/s.

An answer is a turn that this package gave, known by the receipt in its `response_json`. A prompt that nobody
answered is not in llm's logs. What each figure means:

- first token: seconds from when the provider that answered was asked to its first text,
  reasoning or tool call. What was lost on others before it is not in it.
- tokens/s: the provider's own count of output tokens over the seconds behind the first token. Without
  a count there is none, and none for an answer that came in one piece (`ONE_PIECE`). Reasoning tokens
  count if the reasoning was sent: what was thought in silence came before the first token.
- p95 and p5: the value that 95 or 5 of 100 answers stay at or below (`statistics.quantiles`, inclusive).
- price: what the logs say, in US dollars; nothing is priced afterwards, for prices change.
"""

from __future__ import annotations

import sqlite3
import statistics
from array import array
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from math import isnan, nan
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from ..errors import G4FError

JSON = dict[str, Any]

ONE_PIECE = 0.01
"""Seconds: whoever sends all the rest within it behind the first token sent the answer whole."""

PATIENCE = 5.0
"""Seconds to wait for another process that is writing; it does so for milliseconds."""

P5, MEDIAN, P95 = 0, 9, 18
"""Their places among the nineteen cuts between twentieths."""

_QUERY = """
select cast(datetime_utc as text), cast(resolved_model as text), input_tokens, output_tokens,
  cast(token_details as text), cast(response_json as text),
  instr(token_details, '"reasoning_tokens"') and not exists (
    select 1 from parts where message_hash = tip_message_hash and type = 'reasoning' and text != ''
  )
from turns
where datetime_utc >= ? and response_json glob '*"g4f": *'
"""


class _Reference(Struct, gc=False):
    """What differs from the object that stands in for it."""

    u: StoredReceipt | None = None


class StoredReceipt(Struct, gc=False):
    """A receipt or an attempt as llm stores it: whole, or (`$`) as what differs from what its message
    notes of the provider and the model, which is then left out here (condense-json's merge)."""

    reference: _Reference | str | None = field(default=None, name="$")
    requested_model: str | None = None
    provider: str | JSON | None = None
    model: str | JSON | None = None
    exact: bool | None = None
    attempts: list[StoredReceipt] = field(default_factory=list)
    ttft: float | None = None
    seconds: float | None = None
    outcome: str | None = None
    status: int | None = None


class _Payload(Struct, gc=False):
    g4f: StoredReceipt | None = None
    model: str | JSON | None = None


class _Reasoned(Struct, gc=False):
    reasoning_tokens: int = 0


class _Details(Struct, gc=False):
    price_usd: float | None = None
    completion_tokens_details: _Reasoned | None = None


_NO_DETAILS = _Details()


class Series:
    """One value of each for every answer: `times` (seconds since 1970), `ttft` (seconds), `rates`
    (tokens/s); NaN where nobody knows. Eight bytes each: logs may be long."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.times = array("d")
        self.ttft = array("d")
        self.rates = array("d")

    def __len__(self) -> int:
        return len(self.times)

    def extend(self, other: Series) -> None:
        self.times.extend(other.times)
        self.ttft.extend(other.ttft)
        self.rates.extend(other.rates)


class Served(Series):
    """What one provider answered with one model. `after_failures`: answers for which somebody
    failed before; `counted`: those with a count of tokens; `priced`: those with a price."""

    def __init__(self, provider: str, model: str) -> None:
        super().__init__(provider)
        self.model = model
        self.exact = self.after_failures = self.counted = self.priced = 0
        self.input_tokens = self.output_tokens = 0
        self.price = 0.0

    def to_dict(self) -> JSON:
        return {
            "provider": self.provider,
            "model": self.model,
            "answers": len(self),
            "exact_answers": self.exact,
            "answers_after_failures": self.after_failures,
            "first_token_seconds": _quantiles(self.ttft, median=MEDIAN, p95=P95),
            "tokens_per_second": _quantiles(self.rates, median=MEDIAN, p5=P5, p95=P95),
            "input_tokens": self.input_tokens if self.counted else None,
            "output_tokens": self.output_tokens if self.counted else None,
            "counted_answers": self.counted,
            "price_usd": self.price if self.priced else None,
            "priced_answers": self.priced,
        }


class Failure(Struct):
    """Failed attempts that an answer followed: `error` is the error's class name, `seconds` the
    time they took together."""

    provider: str
    model: str
    error: str
    status: int | None
    count: int = 0
    seconds: float = 0.0

    def to_dict(self) -> JSON:
        return {
            "provider": self.provider,
            "model": self.model,
            "error": self.error,
            "http_status": self.status,
            "count": self.count,
            "seconds": round(self.seconds, 3),
        }


class Stats:
    """All of it, or what concerns `model`; `served` and `failures` with the most frequent first."""

    def __init__(
        self, served: Iterable[Served], failures: Iterable[Failure], model: str | None = None
    ) -> None:
        self.model = model
        self.served = sorted(served, key=lambda one: (-len(one), one.provider, one.model))
        self.failures = sorted(failures, key=lambda one: (-one.count, one.provider, one.error))

    @property
    def answers(self) -> int:
        return sum(map(len, self.served))

    @property
    def after_failures(self) -> int:
        return sum(one.after_failures for one in self.served)

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """When the first answer was asked for, and the last, in UTC; None without answers."""
        if not self.served:
            return None
        first = min(min(one.times) for one in self.served)
        last = max(max(one.times) for one in self.served)
        return datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC)

    def by_provider(self) -> list[Series]:
        """All models of a provider together; the provider with the most answers first."""
        found: dict[str, Series] = {}
        for one in self.served:
            found.setdefault(one.provider, Series(one.provider)).extend(one)
        return sorted(found.values(), key=lambda one: (-len(one), one.provider))

    def to_dict(self) -> JSON:
        first, last = self.span or (None, None)
        return {
            "answers": self.answers,
            "answers_after_failures": self.after_failures,
            "first_utc": first and first.isoformat(),
            "last_utc": last and last.isoformat(),
            "providers": [one.to_dict() for one in self.served],
            "failures": [one.to_dict() for one in self.failures],
        }


def _quantiles(values: Iterable[float], **places: int) -> dict[str, float | None]:
    """Twentieths of `values` by name, None where no value is known."""
    known = [value for value in values if not isnan(value)]
    if not known:
        return dict.fromkeys(places)
    if len(known) == 1:
        known *= 2
    cuts = statistics.quantiles(known, n=20, method="inclusive")
    return {name: round(cuts[place], 3) for name, place in places.items()}


def read(path: Path, since: datetime | None = None, model: str | None = None) -> Stats:
    """Read llm's log database at `path`; nothing is ever written to it.

    `since` leaves out what was asked before, `model` all but answers to a request for it or by it
    (`gpt-4o`, `groq/openai/gpt-oss-120b`). Raises `G4FError` for a file that is not what llm 0.36 writes.
    """
    served: dict[tuple[str, str], Served] = {}
    failures: dict[tuple[Any, ...], Failure] = {}
    payload, details = msgspec.json.Decoder(_Payload), msgspec.json.Decoder(_Details)
    for time, resolved, sent, answered, detailed, response, silent in _rows(path, since):
        try:
            said = payload.decode(response)
            known = details.decode(detailed) if detailed else _NO_DETAILS
            asked = datetime.fromisoformat(time.decode())
            name = (resolved or b"").decode()
        except (msgspec.DecodeError, ValueError):
            continue
        receipt = _whole(said.g4f)
        if receipt is None or not name:
            continue
        who = provider, served_model = _parts(name, receipt, said.model)
        if model is not None and model not in (receipt.requested_model, served_model, name):
            continue
        one = served.get(who)
        if one is None:
            one = served[who] = Served(provider, served_model)
        last = None
        failed = False
        for attempt in map(_whole, receipt.attempts):
            last = attempt
            if attempt is not None and attempt.outcome != "ok":
                failed = True
                _count(failures, attempt, who)
        one.exact += receipt.exact is True
        one.after_failures += failed
        if isinstance(sent, int) and isinstance(answered, int):
            one.counted += 1
            one.input_tokens += sent
            one.output_tokens += answered
        else:
            answered = None
        if known.price_usd is not None:
            one.priced += 1
            one.price += known.price_usd
        if silent and answered and known.completion_tokens_details is not None:
            answered -= known.completion_tokens_details.reasoning_tokens
        if asked.tzinfo is None:
            asked = asked.replace(tzinfo=UTC)
        one.times.append(asked.timestamp())
        ttft, rate = _speed(receipt, last, answered)
        one.ttft.append(ttft)
        one.rates.append(rate)
    return Stats(served.values(), failures.values(), model)


def _whole(said: StoredReceipt | None) -> StoredReceipt | None:
    """What is said of a receipt or an attempt, without what llm put in its place."""
    if said is None or said.reference is None:
        return said
    return said.reference.u if isinstance(said.reference, _Reference) else None


def _count(
    failures: dict[tuple[Any, ...], Failure], attempt: StoredReceipt, who: tuple[str, str]
) -> None:
    provider = attempt.provider if isinstance(attempt.provider, str) else who[0]
    model = attempt.model if isinstance(attempt.model, str) else who[1]
    key = (provider, model, attempt.outcome or "", attempt.status)
    failure = failures.setdefault(key, Failure(*key))
    failure.count += 1
    failure.seconds += attempt.seconds or 0.0


def _rows(path: Path, since: datetime | None) -> Iterator[tuple[Any, ...]]:
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, timeout=PATIENCE, uri=True)) as database:
            database.text_factory = bytes
            begin = since.astimezone(UTC).isoformat() if since is not None else ""
            yield from database.execute(_QUERY, (begin,))
    except sqlite3.Error as error:
        if str(error).startswith("no such "):
            raise G4FError(
                f"{path} is no log database of llm 0.36 or newer ({error}). If an older llm wrote"
                f' it, "llm logs -d {path}" brings it up to date.'
            ) from None
        if getattr(error, "sqlite_errorname", "") == "SQLITE_READONLY_ROLLBACK":
            raise G4FError(
                f'{path} is as a broken-off write left it: "llm logs -d {path}" takes that back.'
            ) from None
        raise G4FError(f"{path} cannot be read: {error}.") from None


def _parts(name: str, receipt: StoredReceipt, served: str | JSON | None) -> tuple[str, str]:
    """The provider and the model of a resolved model, which are in the receipt unless llm left them
    out of it. Both may have slashes."""
    if isinstance(receipt.provider, str) and isinstance(receipt.model, str):
        return receipt.provider, receipt.model
    if isinstance(served, str) and name.endswith("/" + served):
        return name[: -len(served) - 1], served
    provider, _, model = name.partition("/")
    return provider, model


def _speed(
    receipt: StoredReceipt, last: StoredReceipt | None, tokens: int | None
) -> tuple[float, float]:
    """Seconds to the first token, and tokens/s; NaN is unknown. `last` is the attempt that succeeded."""
    ttft, seconds = receipt.ttft, receipt.seconds
    if ttft is None or seconds is None:
        return nan, nan
    behind = seconds - ttft
    if last is not None and last.seconds is not None:
        # Receipts are exact to a millisecond.
        ttft = max(last.seconds - behind, 0.0)
    return ttft, tokens / behind if tokens and tokens > 1 and behind >= ONE_PIECE else nan
