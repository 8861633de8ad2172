"""Read statistics of the providers from llm's logs: answers, failures, time to first token, tokens/s.

An answer is a response with a receipt in its `response_json`. The figures:

- first token: seconds from the request to the provider that answered until its first text, reasoning
  or tool call. Excludes time spent on providers that failed before.
- tokens/s: the provider's count of output tokens divided by the seconds after the first token. Unknown
  without a count, and for an answer that came in one piece (`ONE_PIECE`). Reasoning tokens count only
  if the reasoning was sent; otherwise they were produced before the first token.
- p95 and p5: the value that 95 or 5 of 100 answers stay at or below (`statistics.quantiles`, inclusive).
- price: as logged, in US dollars. Answers without a logged price get none, since prices change.
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
from msgspec import Struct

from ..errors import G4FError
from .errors import DATABASE_ERRORS, words_of
from .stored_receipt import Details, Payload, Reference, StoredReceipt, is_count, moment

JSON = dict[str, Any]

ONE_PIECE = 0.01
"""Seconds: an answer that ends this soon after its first token was sent in one piece."""

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process that is writing, which takes milliseconds."""

P5, MEDIAN, P95 = 0, 9, 18
"""Indexes into the 19 cut points of `statistics.quantiles(n=20)`."""

_QUERY = """
select cast(datetime_utc as text), cast(resolved_model as text), input_tokens, output_tokens,
  cast(token_details as text), cast(response_json as text),
  instr(token_details, '"reasoning_tokens"') and not exists (
    select 1 from parts where message_hash = tip_message_hash and type = 'reasoning' and text != ''
  )
from turns
where datetime_utc >= ? and response_json glob '*"g4f": *'
"""


_NO_DETAILS = Details()


class Series:
    """Answers of a provider: `times` (seconds since 1970), `ttft` (seconds) and `rates` (tokens/s),
    one value per answer, NaN if unknown. Arrays of doubles, since logs may be long."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.times = array("d")
        self.ttft = array("d")
        self.rates = array("d")

    def __len__(self) -> int:
        return len(self.times)

    def extend(self, other: Series) -> None:
        """Add the answers of another series."""
        self.times.extend(other.times)
        self.ttft.extend(other.ttft)
        self.rates.extend(other.rates)


class Served(Series):
    """Answers of one provider with one model. `after_failures`: answers after another attempt had
    failed; `successor`: those of its maker's successor; `counted`: answers with token counts; `priced`: answers with a price."""

    def __init__(self, provider: str, model: str) -> None:
        super().__init__(provider)
        self.model = model
        self.exact = self.successor = self.after_failures = self.counted = self.priced = 0
        self.input_tokens = self.output_tokens = 0
        self.price = 0.0

    def to_dict(self) -> JSON:
        """The figures as JSON, rounded to milliseconds."""
        return {
            "provider": self.provider,
            "model": self.model,
            "answers": len(self),
            "exact_answers": self.exact,
            "successor_answers": self.successor,
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
    """Failed attempts before an answer. `error` is the error's class name, `seconds` their total time."""

    provider: str
    model: str
    error: str
    status: int | None
    count: int = 0
    seconds: float = 0.0

    def to_dict(self) -> JSON:
        """The figures as JSON."""
        return {
            "provider": self.provider,
            "model": self.model,
            "error": self.error,
            "http_status": self.status,
            "count": self.count,
            "seconds": round(self.seconds, 3),
        }


class Stats:
    """Statistics of all answers, or of those for or by `model`. `served` and `failures` are sorted,
    most frequent first."""

    def __init__(
        self, served: Iterable[Served], failures: Iterable[Failure], model: str | None = None
    ) -> None:
        self.model = model
        self.served = sorted(served, key=lambda entry: (-len(entry), entry.provider, entry.model))
        self.failures = sorted(
            failures, key=lambda failure: (-failure.count, failure.provider, failure.error)
        )

    @property
    def answers(self) -> int:
        """The number of answers."""
        return sum(map(len, self.served))

    @property
    def after_failures(self) -> int:
        """The number of answers after another attempt had failed."""
        return sum(served.after_failures for served in self.served)

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """Times of the first and the last request, in UTC; None without answers."""
        if not self.served:
            return None
        first = min(min(served.times) for served in self.served)
        last = max(max(served.times) for served in self.served)
        return datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC)

    def by_provider(self) -> list[Series]:
        """One series per provider, over all its models; the provider with the most answers first."""
        merged: dict[str, Series] = {}
        for served in self.served:
            merged.setdefault(served.provider, Series(served.provider)).extend(served)
        return sorted(merged.values(), key=lambda series: (-len(series), series.provider))

    def to_dict(self) -> JSON:
        """All figures as JSON; times are in UTC."""
        first, last = self.span or (None, None)
        return {
            "answers": self.answers,
            "answers_after_failures": self.after_failures,
            "first_utc": first and first.isoformat(),
            "last_utc": last and last.isoformat(),
            "providers": [served.to_dict() for served in self.served],
            "failures": [failure.to_dict() for failure in self.failures],
        }


def _quantiles(values: Iterable[float], **indexes: int) -> dict[str, float | None]:
    """Quantiles of `values` by name, each None if no value is known."""
    known = [value for value in values if not isnan(value)]
    if not known:
        return dict.fromkeys(indexes)
    if len(known) == 1:
        known *= 2
    cuts = statistics.quantiles(known, n=20, method="inclusive")
    return {name: round(cuts[index], 3) for name, index in indexes.items()}


def read(path: Path, since: datetime | None = None, model: str | None = None) -> Stats:
    """Read llm's log database at `path`, opened read-only.

    `since` excludes earlier requests, `model` all but requests for it and answers by it (`gpt-4o`,
    `groq/openai/gpt-oss-120b`). Raises `G4FError` for a file that llm 0.36 has not written.
    """
    served: dict[tuple[str, str], Served] = {}
    failures: dict[tuple[Any, ...], Failure] = {}
    decode_payload = msgspec.json.Decoder(Payload).decode
    decode_details = msgspec.json.Decoder(Details).decode
    for time, resolved, tokens_in, tokens_out, token_details, response, hidden in _rows(
        path, since
    ):
        try:
            payload = decode_payload(response)
            details = decode_details(token_details) if token_details else _NO_DETAILS
            requested_at = moment(time)
            name = (resolved or b"").decode()
        except (msgspec.DecodeError, ValueError, RecursionError):
            continue
        receipt = _resolve(payload.g4f)
        if receipt is None or not name or receipt.cached is not None:
            continue
        key = provider, served_model = _provider_and_model(name, receipt, payload.model)
        if model is not None and model not in (receipt.requested_model, served_model, name):
            continue
        entry = served.get(key)
        if entry is None:
            entry = served[key] = Served(provider, served_model)
        last = None
        failed = False
        for attempt in map(_resolve, receipt.attempts):
            last = attempt
            if attempt is not None and attempt.outcome != "ok":
                failed = True
                _count(failures, attempt, key)
        entry.exact += receipt.exact is True
        entry.successor += receipt.successor is True
        entry.after_failures += failed
        # A gateway's own cache counts 0, which is no measurement.
        if is_count(tokens_in) and is_count(tokens_out) and tokens_in + tokens_out:
            entry.counted += 1
            entry.input_tokens += tokens_in
            entry.output_tokens += tokens_out
        else:
            tokens_out = None
        if details.price_usd is not None:
            entry.priced += 1
            entry.price += details.price_usd
        if hidden and tokens_out and details.completion_tokens_details is not None:
            tokens_out -= details.completion_tokens_details.reasoning_tokens
        entry.times.append(requested_at.timestamp())
        ttft, rate = _speed(receipt, last, tokens_out)
        entry.ttft.append(ttft)
        entry.rates.append(rate)
    return Stats(served.values(), failures.values(), model)


def _resolve(stored: StoredReceipt | None) -> StoredReceipt | None:
    """The fields of a receipt or an attempt, without llm's reference around them."""
    if stored is None or stored.reference is None:
        return stored
    return stored.reference.u if isinstance(stored.reference, Reference) else None


def _count(
    failures: dict[tuple[Any, ...], Failure], attempt: StoredReceipt, served_by: tuple[str, str]
) -> None:
    provider = attempt.provider if isinstance(attempt.provider, str) else served_by[0]
    model = attempt.model if isinstance(attempt.model, str) else served_by[1]
    key = (provider, model, attempt.outcome or "", attempt.status)
    failure = failures.setdefault(key, Failure(*key))
    failure.count += 1
    failure.seconds += attempt.seconds or 0.0


def _rows(path: Path, since: datetime | None) -> Iterator[tuple[Any, ...]]:
    if not path.is_file():
        # To open a pipe would wait for ever.
        raise G4FError(f"{path} is not a regular file.")
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, timeout=BUSY_TIMEOUT, uri=True)) as database:
            database.text_factory = bytes
            begin = since.astimezone(UTC).isoformat() if since is not None else ""
            yield from database.execute(_QUERY, (begin,))
    except DATABASE_ERRORS as error:
        words = words_of(error)
        if words.startswith("no such "):
            raise G4FError(
                f"{path} is not a log database of llm 0.36 or newer ({words}). If an older llm wrote"
                f' it, upgrade it with "llm logs -d {path}".'
            ) from None
        if getattr(error, "sqlite_errorname", "") == "SQLITE_READONLY_ROLLBACK":
            raise G4FError(
                f'{path} has an interrupted write: repair it with "llm logs -d {path}".'
            ) from None
        raise G4FError(f"{path} cannot be read: {words}.") from None


def _provider_and_model(
    name: str, receipt: StoredReceipt, served: str | JSON | None
) -> tuple[str, str]:
    """Provider and model of an answer: from the receipt, or from the resolved model `name` if llm
    stored a reference. Both may contain slashes."""
    if isinstance(receipt.provider, str) and isinstance(receipt.model, str):
        return receipt.provider, receipt.model
    if isinstance(served, str) and name.endswith("/" + served):
        return name[: -len(served) - 1], served
    provider, _, model = name.partition("/")
    return provider, model


def _speed(
    receipt: StoredReceipt, last: StoredReceipt | None, tokens: int | None
) -> tuple[float, float]:
    """Seconds to the first token and tokens/s, NaN if unknown. `last` is the successful attempt."""
    ttft, seconds = receipt.ttft, receipt.seconds
    if ttft is None or seconds is None:
        return nan, nan
    after_first = seconds - ttft
    if last is not None and last.seconds is not None:
        # Clamped, since receipts are rounded to a millisecond.
        ttft = max(last.seconds - after_first, 0.0)
    return ttft, tokens / after_first if tokens and tokens > 1 and after_first >= ONE_PIECE else nan
