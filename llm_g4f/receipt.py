"""The receipt of an answer: which provider gave it, and every attempt."""

from __future__ import annotations

from msgspec import Struct, field

from .json_shape import JSON, JSONShape
from .reason import summary_of_class
from .safe_text import clean, without_name


def kind_of_answer(*, exact: bool, successor: bool) -> str:
    """The words for what a model is to the requested one, the same wherever it is shown."""
    return "exact" if exact else "its successor" if successor else "a substitute"


class Attempt(JSONShape, Struct, frozen=True):
    """One request to one provider. `outcome` is "ok" or the class name of the error, `message` the
    error's; `summary` says in few words what it was. `seconds` is the duration of the attempt;
    `retry_after`, in seconds, is the provider's."""

    provider: str
    model: str
    outcome: str
    status: int | None = None
    message: str | None = None
    seconds: float = 0.0
    retry_after: float | None = None
    summary: str | None = None

    def _data(self) -> JSON:
        data = {name: getattr(self, name) for name in self.__struct_fields__}
        if self.summary is None:
            del data["summary"]
        return data

    @property
    def words(self) -> str:
        """What went wrong, in few words, and the HTTP status."""
        words = self.summary or summary_of_class(self.outcome)
        return f"{words}, HTTP {self.status}" if self.status else words

    def __str__(self) -> str:
        return self.line()

    def line(self, said: str = "") -> str:
        """The attempt in a list below the message `said`, which is not said again."""
        what = "ok" if self.outcome == "ok" else self.words
        if self.message and self.message != said:
            what = without_name(self.message, self.provider)
        return f"{self.provider} {self.model} ({self.seconds:.1f} s): {what}"


class Cached(JSONShape, Struct, frozen=True):
    """Where a kept answer came from: the `provider`, and the `date` in ISO 8601, in UTC."""

    date: str
    provider: str

    def _data(self) -> JSON:
        return {"date": self.date, "provider": self.provider}


class Receipt(JSONShape, Struct):
    """Which provider and model answered, and every attempt until then.

    `exact` is False for a substitute or a successor; `successor`: the requested model's maker named
    `model` as its replacement. `ttft` is the time to the first token and `seconds` the whole time,
    both in seconds; `seconds` is None until the answer is complete. `omitted` are the parameters
    that were not sent, since the provider does not accept them. `warnings` are sentences about an
    answer that came, but not as it should: a prompt that was cut. `request_id` is the provider's name
    for the request, to quote when you ask there. `cached`: the answer was kept from an earlier
    request, whose attempts these are; None for one that a provider has just given. `batch` is the
    provider's name for the batch that the answer came in, whose prices are others. `over_budget` are
    providers that were not asked, since their budget is spent, or what was spent of it is unknown.
    `price_usd`: where a budget is set, the price of the answer in US dollars. `order` is that of
    g4f.yaml, by which equally exact providers were asked.
    """

    requested_model: str
    provider: str | None = None
    model: str | None = None
    exact: bool = False
    attempts: tuple[Attempt, ...] = ()
    omitted: tuple[str, ...] = ()
    ttft: float | None = None
    seconds: float | None = None
    successor: bool = False
    warnings: list[str] = field(default_factory=list)
    request_id: str | None = None
    batch: str | None = None
    over_budget: tuple[str, ...] = ()
    price_usd: float | None = None
    order: str | None = None
    cached: Cached | None = None

    def collapse_repeated(self) -> None:
        """Keep the first and the last of repeated limits by one provider."""
        kinds = [(attempt.provider, attempt.outcome) for attempt in self.attempts]
        places = [place for place, kind in enumerate(kinds) if kind == kinds[-1]]
        if len(places) > 2:
            self.attempts = self.attempts[: places[-2]] + self.attempts[places[-2] + 1 :]

    def _data(self) -> JSON:
        data: JSON = {
            "requested_model": self.requested_model,
            "provider": self.provider,
            "model": self.model,
            "exact": self.exact,
            "attempts": [attempt._data() for attempt in self.attempts],
            "omitted": list(self.omitted),
            "successor": self.successor,
            "warnings": list(self.warnings),
            "ttft": self.ttft,
            "seconds": self.seconds,
            "cached": self.cached._data() if self.cached else None,
        }
        if self.request_id is not None:
            data["request_id"] = clean(self.request_id, 80)
        if self.batch is not None:
            data["batch"] = clean(self.batch, 80)
        if self.over_budget:
            data["over_budget"] = list(self.over_budget)
        if self.price_usd is not None:
            data["price_usd"] = self.price_usd
        if self.order is not None:
            data["order"] = self.order
        return data
