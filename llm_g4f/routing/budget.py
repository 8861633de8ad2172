"""Budgets: no request to a provider whose cap is spent, and the price of every attempt is noted.

Imported only where g4f.yaml sets a budget. A spent cap leaves a provider out when its turn comes, and
not before: it still takes part, so no substitute without consent is asked in its place. Models on
this machine cost nothing, and are always asked.
"""

from __future__ import annotations

import _thread
import asyncio
import datetime as dt
import threading
from collections.abc import Sequence
from contextlib import suppress

from msgspec.structs import replace

from ..config.settings import ALL_PROVIDERS, Budget
from ..errors import APIConnectionError, APIError, APIStatusError, APITimeoutError
from ..providers.base import Ineligible, Provider
from ..receipt import Receipt
from ..request import ChatRequest
from ..safe_text import clean
from .admission import Admission, Permit
from .attempt import Attempt
from .cooldowns import Cooldowns
from .no_provider import no_provider_error, not_asked
from .notices import announce
from .prices import price
from .registry import Registry
from .route import Candidate, Route
from .spend_file import SpendError, SpendFile, Spent

_RELAYS = frozenset({"litellm", "g4f"})
"""Servers on this machine that pass prompts on to others, which may charge for them."""

_MOST = 1e6
"""US dollars: an answer that costs more is a mistake of the table or of the provider."""


class WithinBudget:
    """An `Admission` that gives no permit for a provider whose budget is spent. `receipt` gets the
    names of these; `route` says who else is not asked, and why."""

    def __init__(
        self,
        admission: Admission,
        request: ChatRequest,
        registry: Registry,
        route: Route,
        receipt: Receipt,
    ) -> None:
        self._admission = admission
        self._request = request
        self._registry = registry
        self._route = route
        self._receipt = receipt

    def in_order(self, candidates: Sequence[Candidate], cooldowns: Cooldowns) -> list[Candidate]:
        return self._admission.in_order(candidates, cooldowns)

    async def acquire(
        self,
        candidates: Sequence[Candidate],
        cooldowns: Cooldowns,
        deadline: float | None,
        *,
        requeued: bool,
    ) -> Permit:
        """A permit of the other admission. Raises `NoProviderError` if all candidates are over budget."""
        left, over = list(candidates), []
        while left:
            permit = await self._admission.acquire(left, cooldowns, deadline, requeued=requeued)
            provider = permit.candidate.provider
            try:
                # The budget may have been spent while the permit was waited for.
                reason = await asyncio.to_thread(_reason_against, provider, self._registry)
            except BaseException:
                permit.release()
                raise
            if reason is None:
                return permit
            permit.release()
            over.append((provider.name, reason))
            left = [candidate for candidate in left if candidate.provider.name != provider.name]
            if provider.name not in self._receipt.over_budget:
                self._receipt.over_budget += (provider.name,)
        error = no_provider_error(self._request, [*over, *self._route.left_out], self._registry)
        error.reason, error.receipt = over[0][1].code, self._receipt
        error.hint = not_asked(self._route.needs_consent)
        raise error

    def charge(self, attempt: Attempt) -> Charge | None:
        """What will note the price of an attempt; None where it costs nothing."""
        provider = attempt.candidate.provider
        return None if _costs_nothing(provider) else Charge(attempt, self._registry)


class Charge:
    """The price of one attempt, which goes into the spend file when the attempt has ended.

    The file is written in a thread: the event loop never waits for it. An attempt that is dropped
    without an end is noted too.
    """

    def __init__(self, attempt: Attempt, registry: Registry) -> None:
        self._attempt = attempt
        self._registry = registry
        self._ended = False
        self._thread: threading.Thread | None = None
        self._usd: float | None = None
        self._warning: str | None = None

    def end(self, error: APIError | None = None) -> None:
        """The attempt is over, with an error or without."""
        if self._ended:
            return
        self._ended = True
        if _is_free(self._attempt, error):
            return
        if not threading.main_thread().is_alive():
            # The process is ending: it waits no more for a thread that starts now.
            self._note()
            return
        # Not a daemon: the end of the process waits until it is written.
        thread = threading.Thread(target=self._note, name="g4f-spend")
        try:
            thread.start()
        except RuntimeError:  # There are as many threads as there may be.
            self._note()
        else:
            self._thread = thread

    async def noted(self, receipt: Receipt) -> None:
        """Wait until the price is in the file, and put it into the receipt."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.to_thread(thread.join)
            receipt.price_usd = self._usd
            receipt.warnings += [self._warning] if self._warning else []

    def __del__(self) -> None:
        if not self._ended:
            # Garbage is collected anywhere, perhaps within `Thread.start`, which holds a lock then.
            with suppress(RuntimeError):
                _thread.start_new_thread(self._note, ())

    def _note(self) -> None:
        candidate = self._attempt.candidate
        name, model = candidate.provider.name, candidate.served.model
        completion = self._attempt.completion
        if completion.has_begun:
            answer = completion.completion()
            model = clean(answer.model, 80) or model
            if answer.usage is not None:
                receipt = Receipt("", name, model)
                self._usd = price(receipt, answer.usage, answer.service_tier, self._registry)
        if self._usd is not None and not 0 <= self._usd < _MOST:
            self._usd = None
        if (warning := note(self._registry, name, model, self._usd)) is not None:
            self._warn(warning)

    def _warn(self, warning: str) -> None:
        if self._attempt.complete:
            # With the other warnings, behind the last word.
            self._warning = warning
        else:
            announce(warning, in_answer=True)


def note(registry: Registry, provider: str, model: str, *prices: float | None) -> str | None:
    """Add the prices of answers to the spend file, None for an unknown one. Returns a warning if they are
    the first such ones of a day. Blocks; an error of the file is announced."""
    try:
        is_first = SpendFile().add(provider, model, *prices)
    except SpendError as error:
        announce(f"{error}: the price of an answer by {provider} was not added to it.")
        return None
    if not (is_first and registry.config.notice and _caps(provider, registry)):
        return None
    return (
        f"The price of an answer by {model} ({provider}) is unknown: it does not count towards the"
        ' budget in g4f.yaml. "llm g4f spend" lists such answers.'
    )


def _costs_nothing(provider: Provider) -> bool:
    return provider.kind == "embedded" or (
        provider.kind == "local" and provider.name not in _RELAYS
    )


def _is_free(attempt: Attempt, error: APIError | None) -> bool:
    """Whether the provider has rejected a request, or was not reached. After a timeout it may have
    worked all the same."""
    refused = isinstance(error, (APIStatusError, APIConnectionError))
    return refused and not attempt.committed and not isinstance(error, APITimeoutError)


def _caps(name: str, registry: Registry) -> list[tuple[str | None, Budget]]:
    """The budgets that a provider has to keep: its own, and that of all."""
    budgets = registry.config.budgets
    caps = [(name, budgets.get(name)), (None, budgets.get(ALL_PROVIDERS))]
    return [(provider, budget) for provider, budget in caps if budget is not None]


def _reason_against(provider: Provider, registry: Registry) -> Ineligible | None:
    """Why a provider is not asked, if its budget is spent or what was spent is unknown."""
    caps = [] if _costs_nothing(provider) else _caps(provider.name, registry)
    if not caps:
        return None
    try:
        spending = SpendFile().read()
    except SpendError as error:
        return Ineligible(
            f"not asked, since what was spent of its budget is unknown: {error}."
            " Mend the file, or delete it to begin at zero",
            "spend_unknown",
        )
    for name, budget in caps:
        for period, cap in (("day", budget.day), ("month", budget.month)):
            spent = spending.total(period, name)
            if cap is not None and spent.usd >= cap:
                by_all = "" if name else " by all providers"
                return Ineligible(
                    f"over budget: {_words(spent, cap)} spent {_PERIODS[period]}{by_all}."
                    f" To go on, raise {period}: of the budget in {registry.config.path}, line"
                    f" {budget.line}, or wait until {_end(period, spending.today)} 00:00 UTC",
                    "over_budget",
                )
    return None


_PERIODS = {"day": "today", "month": "this month"}


def _words(spent: Spent, cap: float) -> str:
    words = f"{dollars(spent.usd)} of {dollars(cap)}"
    if not spent.unpriced:
        return words
    answers = "answer" if spent.unpriced == 1 else "answers"
    return f"{words}, and the unknown price of {spent.unpriced:,} {answers},"


def _end(period: str, today: dt.date) -> dt.date:
    if period == "day":
        return today + dt.timedelta(days=1)
    return (today.replace(day=1) + dt.timedelta(days=32)).replace(day=1)


def dollars(usd: float) -> str:
    """An amount as text: cents, or the smaller digits where there is not much more.

    >>> dollars(1234.567), dollars(0.02), dollars(0.011), dollars(0.000042)
    ('$1,234.57', '$0.02', '$0.0110', '$0.000042')
    """
    digits = 2 if usd >= 1 or usd == round(usd, 2) else 4 if usd >= 0.001 else 6
    return f"${usd:,.{digits}f}"


def without_spent(route: Route, registry: Registry) -> Route:
    """The route without the candidates that are over budget, for commands that show it. Blocks."""
    reasons = {
        candidate.provider.name: _reason_against(candidate.provider, registry)
        for candidate in route.candidates
    }
    over = tuple((name, reason) for name, reason in reasons.items() if reason is not None)
    kept = tuple(each for each in route.candidates if reasons[each.provider.name] is None)
    return replace(route, candidates=kept, left_out=(*over, *route.left_out))
