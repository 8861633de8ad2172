"""One answer from the first candidate that gives one.

Until the commit point, the first text, reasoning or tool call that reaches the caller, a
failed candidate gives way to the next. After it no other candidate is asked, ever: two
providers' texts in one answer would be no answer. `routing.policy` decides what a failure
calls for; this loop only carries it out.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..errors import APIError, APIStatusError, BadRequestError, NoProviderError
from ..event_loops import OtherLoopError, running_loop
from ..providers.endpoint import Endpoint
from ..receipt import Attempt as AttemptRecord
from ..receipt import Receipt
from ..request import ChatRequest
from ..types import ChatCompletion, Chunks
from . import policy
from .admission import Admission, CooldownOrder, Permit
from .attempt import Attempt
from .lineup import is_exact_only
from .no_provider import no_provider_error, not_asked
from .policy import State, Step, next_step
from .registry import Registry
from .repairs import is_sent, rejected_by, repaired
from .route import Candidate, larger_than, resolve_route

if TYPE_CHECKING:
    from .budget import Charge, WithinBudget


class Fallback:
    """One answer: `open` tries candidates until the first content, `next` only reads on. Also an
    async iterator of `Chunks`, which does both.

    `admission` is that of a batch run, shared by its requests. `receipt` is complete when `next`
    has returned no chunks or an error was raised. `aclose` ends the answer early.
    """

    def __init__(
        self, request: ChatRequest, registry: Registry, admission: Admission | None = None
    ) -> None:
        self._request = request
        self._registry = registry
        self._admission = admission or CooldownOrder()
        self._exact_only = is_exact_only(request, registry)
        self._candidates: list[Candidate] = []
        self._needs_consent: tuple[str, ...] = ()
        self._start = 0.0
        self._deadline: float | None = None
        self._tries = defaultdict[str, int](int)
        self._requests = 0
        self._repeated: set[str] = set()
        self._waiting_since: float | None = None
        self._first_error: APIError | None = None
        self._attempt: Attempt | None = None
        self._permit: Permit | None = None
        self._budget: WithinBudget | None = None
        self._charge: Charge | None = None
        self._over = False
        self.receipt = Receipt(request.model)

    def __aiter__(self) -> Fallback:
        return self

    async def __anext__(self) -> Chunks:
        begun = self._over or self._attempt is not None
        chunks = await (self.next() if begun else self.open())
        if not chunks:
            raise StopAsyncIteration
        return chunks

    async def open(self) -> Chunks:
        """Everything up to the first content of the first candidate that has any.

        Raises `ConfigError`, `NoProviderError`, `BadRequestError` for an empty prompt, and
        `APIError` with the receipt of all attempts.
        """
        await self._resolve()
        while await self._begin():
            attempt = self._attempt
            assert attempt is not None
            try:
                chunks = await attempt.first()
            except APIError as error:
                await attempt.aclose()
                await self._apply(self._judge(attempt, error), attempt, error)
            except BaseException:
                await self.aclose()
                raise
            else:
                self.receipt.ttft = round(self._loop.time() - self._start, 3)
                return chunks
        assert self._first_error is not None
        raise self._noted(self._first_error)

    async def next(self) -> Chunks:
        """The chunks that have come since; none at the end of the answer. Raises `APIError`."""
        attempt = self._attempt
        if self._over or attempt is None:
            return []
        try:
            chunks = await attempt.next()
        except APIError as error:
            self._judge(attempt, error)
            await self.aclose()
            self._noted(error)
            raise
        except OtherLoopError:
            raise
        except BaseException:
            await self.aclose()
            raise
        if not chunks:
            await self._succeed(attempt)
        return chunks

    @property
    def cache_key(self) -> bytes | None:
        """What tells the request from others; None for one whose answer is never kept."""
        return None

    def completion(self) -> ChatCompletion:
        """The answer as far as it has come."""
        assert self._attempt is not None
        return self._attempt.completion.completion()

    @property
    def headers(self) -> Mapping[str, str] | None:
        """The headers of the answer's response; None where it has none."""
        opened = self._attempt.opened if self._attempt is not None else None
        return opened.response.headers if opened is not None and opened.response else None

    async def aclose(self) -> None:
        """End the answer here: its request is given up, and the connection closed."""
        self._over = True
        self._release()
        if self._attempt is not None:
            await self._attempt.aclose()
        if self._charge is not None:
            await self._charge.noted(self.receipt)

    async def _resolve(self) -> None:
        """Find the candidates, and start the clock."""
        request, registry = self._request, self._registry
        if not request.messages:
            raise BadRequestError(
                "The prompt is empty: send some text, or an attachment.", status_code=400
            )
        self._loop = running_loop()
        route = await resolve_route(request, registry)
        if not route.candidates:
            raise no_provider_error(request, route.left_out, registry)
        self._needs_consent = route.needs_consent
        if registry.config.budgets:
            from .budget import WithinBudget

            self._admission = self._budget = WithinBudget(
                self._admission, request, registry, route, self.receipt
            )
        if registry.config.order:
            self.receipt.order = registry.config.order
        self._candidates = self._admission.in_order(route.candidates, registry.cooldowns)
        self._start = self._loop.time()
        if request.timeout is not None:
            self._deadline = self._start + request.timeout

    async def _begin(self) -> bool:
        """Begin an attempt; False if no candidate may be tried any more. Raises `APIError`, and
        `NoProviderError` if all candidates are over budget."""
        left = [
            candidate
            for candidate in self._candidates
            if self._tries[candidate.provider.name] < policy.TRIES_PER_PROVIDER
        ]
        if not left or self._requests >= policy.TRIES_PER_CALL:
            return False
        try:
            permit = await self._admission.acquire(
                left,
                self._registry.cooldowns,
                self._deadline,
                requeued=self._waiting_since is not None,
            )
        except APIError as error:
            raise self._noted(self._with_receipt(self._first_error or error)) from None
        except NoProviderError:
            if self._first_error is None:
                raise
            raise self._noted(self._with_receipt(self._first_error)) from None
        self._permit = permit
        self._tries[permit.candidate.provider.name] += 1
        self._requests += 1
        self._attempt = Attempt(
            permit.candidate,
            self._request,
            self.receipt,
            self._deadline,
            exact_only=self._exact_only,
        )
        if self._budget is not None:
            self._charge = self._budget.charge(self._attempt)
        return True

    async def _succeed(self, attempt: Attempt) -> None:
        self._record(attempt, None)
        assert self._permit is not None
        self._permit.succeeded()
        await self.aclose()

    def _judge(self, attempt: Attempt, error: APIError) -> Step:
        """Note a failure; what it calls for."""
        self._record(attempt, error)
        self._with_receipt(error)
        assert self._permit is not None
        limited = self._permit.failed(error)
        self._release(error)
        if limited:
            self.receipt.collapse_repeated()
        candidate = attempt.candidate
        name = candidate.provider.name
        may_ask = self._request.max_retries != 0 and self._requests < policy.TRIES_PER_CALL
        late = self._seconds_left() == 0
        state = State(
            committed=attempt.committed,
            late=late,
            may_wait=limited and not late and self._is_patient(),
            alone=len(self._candidates) == 1,
            may_retry=may_ask and self._tries[name] < policy.TRIES_PER_PROVIDER,
            may_repeat=may_ask and name not in self._repeated,
            repairable=repaired(candidate.served, error, self._request) is not None,
            sent=is_sent(rejected_by(error), candidate.served, self._request),
            has_successor=candidate.successor is not None,
        )
        step = next_step(error, state)
        if step != "again":
            # A stale connection is no cause of what comes behind it.
            self._first_error = self._first_error or error
        return step

    async def _apply(self, step: Step, attempt: Attempt, error: APIError) -> None:
        """Carry out a step. Raises `error` where it ends here."""
        candidate = attempt.candidate
        name = candidate.provider.name
        if step == "stop":
            raise self._noted(error)
        if step == "wait":
            self._tries[name] -= 1
            self._requests -= 1
            return
        if step in policy.NO_TRY:
            self._tries[name] -= 1
        if step in policy.REPAIRS:
            self._repair(candidate, error)
            return
        if step == "again":
            self._repeated.add(name)
            return
        if step == "retry":
            pause = policy.pause_before_retry(error, self._tries[name], self._seconds_left())
            if pause is not None:
                await asyncio.sleep(pause)
                return
        self._candidates = [other for other in self._candidates if other is not candidate]
        if step == "successor" and candidate.successor is not None:
            self._note_gone(candidate)
            # Behind the exact candidates.
            place = sum(1 for other in self._candidates if other.served.exact)
            self._candidates.insert(place, Candidate(candidate.provider, candidate.successor))
        if step == "larger_window":
            self._candidates = larger_than(candidate, self._candidates)

    def _note_gone(self, candidate: Candidate) -> None:
        """Remember, for the key that was told so, that the model is gone at its maker."""
        endpoint = candidate.provider
        if isinstance(endpoint, Endpoint):
            self._registry.cooldowns.note_gone(
                endpoint.name, endpoint.base_url, endpoint.key, self._request.model
            )

    def _repair(self, candidate: Candidate, error: APIError) -> None:
        """Put the candidate with a changed request in its own place."""
        served = repaired(candidate.served, error, self._request)
        assert served is not None
        index = self._candidates.index(candidate)
        self._candidates[index] = replace(candidate, served=served)

    def _record(self, attempt: Attempt, error: APIError | None) -> None:
        now = self._loop.time()
        status: int | None
        receipt, candidate = self.receipt, attempt.candidate
        model, outcome, status = candidate.served.model, "ok", 200
        message = retry_after = summary = None
        if error is not None:
            outcome, message, status = type(error).__name__, error.message, None
            summary = error.summary
            if isinstance(error, APIStatusError):
                status, retry_after = error.status_code, error.retry_after
        elif receipt.model:
            model = receipt.model
        seconds = round(now - attempt.began, 3)
        name = candidate.provider.name
        receipt.attempts += (
            AttemptRecord(name, model, outcome, status, message, seconds, retry_after, summary),
        )
        receipt.seconds = round(now - self._start, 3)

    def _with_receipt(self, error: APIError) -> APIError:
        """The error as it leaves the fallback: with all attempts, and what else could be done."""
        self.receipt.seconds = round(self._loop.time() - self._start, 3)
        error.receipt = self.receipt
        if self._needs_consent or self.receipt.over_budget:
            error.hint = not_asked(self._needs_consent, self.receipt.over_budget)
        return error

    def _noted(self, error: APIError) -> APIError:
        """The error that the whole request ends in."""
        if self._registry.failures is not None:
            self._registry.failures.note(self.receipt)
        return error

    def _release(self, error: APIError | None = None) -> None:
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.release()
        if self._charge is not None:
            self._charge.end(error)

    def _seconds_left(self) -> float | None:
        """Seconds until the deadline, at least 0; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    def _is_patient(self) -> bool:
        """Whether a limit is still waited out."""
        now = self._loop.time()
        if self._waiting_since is None:
            self._waiting_since = now
        return now - self._waiting_since < policy.LIMIT_PATIENCE
