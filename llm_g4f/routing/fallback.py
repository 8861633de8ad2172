"""One answer from the first candidate that gives one: the loop over a route.

Until the commit point, the first text, reasoning or tool call that reaches the caller, a
failed candidate gives way to the next. After it nobody else is asked, ever: two
providers' texts in one answer would be nobody's answer. The numbers below are policy.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from io import StringIO
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from ..asyncgen import ManagedAsyncGen
from ..errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    ConflictError,
    ContextLengthError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    StreamError,
    UnprocessableEntityError,
    clean,
)
from ..providers.base import Provider, Serving, batches
from ..providers.endpoint import is_same_model
from ..receipt import Attempt, Receipt
from ..request import ChatRequest
from ..types import ChatCompletionChunk, Chunks
from .cooldowns import LONGEST, Health
from .registry import Registry
from .route import Candidate, no_provider_error, resolve_route

if TYPE_CHECKING:
    from ..batch.provider_limits import BatchAdmission, Permit

TRIES_PER_PROVIDER = 2
TRIES_PER_CALL = 5
FIRST_TOKEN = 120.0
"""Seconds to the first chunk, and from each to the next. Comments and blank lines are no chunks."""
BACKOFF = (0.5, 8.0)
"""Seconds before the second try of a provider that is alone: the first bound doubles up to the last."""

REFUSED_FOR = 600.0
"""Seconds for which a request of a batch waits while its provider's limit refuses it again and again."""

_REFUSED = frozenset({"unsupported_parameter", "unknown_parameter", "unsupported_value"})
"""OpenAI's codes for a parameter that a model does not take."""


def _verdict(error: APIError) -> Literal["raise", "next", "again", "larger"]:
    """What a failure before the commit point calls for: "again" is the next candidate, or, if
    none is left, the same one once more; "larger" the next one with a larger context window."""
    if isinstance(error, ContextLengthError):
        return "larger"
    if isinstance(error, (BadRequestError, UnprocessableEntityError)):
        return "raise"
    if isinstance(error, APIConnectionError):
        return "raise" if error.final else "again"
    if isinstance(error, (ConflictError, InternalServerError, StreamError)):
        return "again"
    if isinstance(error, PermissionDeniedError) and "moderation" in error.message.lower():
        return "raise"
    if isinstance(error, APIStatusError) and error.status_code and error.status_code < 400:
        return "raise"
    return "next"


def _patience(provider: Provider) -> float:
    """Seconds to wait for each chunk of a provider."""
    return getattr(provider, "timeout", None) or FIRST_TOKEN


def _is_gone(error: APIError) -> bool:
    """Whether a 404 says that the model is there no more, and not that the address is wrong."""
    if not isinstance(error, NotFoundError):
        return False
    return "model" in f"{error.code} {error.detail}".lower()


def _put_in_order(candidates: list[Candidate], successor: Candidate) -> None:
    """Behind everybody who still has the model itself."""
    place = sum(1 for one in candidates if one.serving.exact)
    candidates.insert(place, successor)


def _healthy_first(candidates: list[Candidate], health: Health) -> list[Candidate]:
    """Those in cooldown last, and without those whose cooldown is long, unless nobody else is left."""
    if len(candidates) == 1:
        return candidates
    waits = [(health.cooldown(one.health_key), one) for one in candidates]
    ready = [one for wait, one in waits if not wait]
    soon = [one for wait, one in waits if 0 < wait <= LONGEST]
    return ready + soon or candidates


class _Watch:
    """Cancels a wait that takes too long. One timer, set anew only when it fires: a stream has
    thousands of waits."""

    def __init__(self, limit: float, deadline: float | None) -> None:
        self._limit = limit
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._timer: asyncio.TimerHandle | None = None
        self.fired: Literal["idle", "total"] | None = None
        self._arm()

    def _due(self) -> float:
        idle = self._since + self._limit
        return idle if self._deadline is None else min(idle, self._deadline)

    def _arm(self) -> None:
        self._timer = self._loop.call_at(self._due(), self._fire)

    def _fire(self) -> None:
        if self._loop.time() < self._due():
            self._arm()
        elif self._task is None:
            # The caller holds the last chunk; the provider cannot be late meanwhile.
            self._timer = None
        else:
            total = self._deadline is not None and self._due() == self._deadline
            self.fired = "total" if total else "idle"
            self._task.cancel()

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task else 0
        self._since = self._loop.time()
        if self._timer is None:
            self._arm()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task, self._task = self._task, None
        if (
            self.fired
            and task is not None
            and task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _Run:
    """The attempts of one request, and the receipt they make."""

    def __init__(
        self, request: ChatRequest, registry: Registry, limits: BatchAdmission | None
    ) -> None:
        self._request = request
        self._limits = limits
        self._refused: float | None = None
        self._substitutes = registry.config.substitutes
        self._health = registry.health
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()
        self._deadline = None if request.timeout is None else self._start + request.timeout
        self.receipt = Receipt(request.model)
        self._committed = False

    def _elapsed(self) -> float:
        return self._loop.time() - self._start

    def _record(self, candidate: Candidate, began: float, error: APIError | None) -> None:
        status = error.status_code if isinstance(error, APIStatusError) else None
        self.receipt.attempts += (
            Attempt(
                candidate.provider.name,
                self.receipt.model
                if error is None and self.receipt.model
                else candidate.serving.model,
                "ok" if error is None else type(error).__name__,
                200 if error is None else status,
                None if error is None else error.message,
                round(self._loop.time() - began, 3),
                error.retry_after if isinstance(error, APIStatusError) else None,
            ),
        )

    def _finish(self) -> None:
        self.receipt.seconds = round(self._elapsed(), 3)

    async def over(self, candidates: list[Candidate]) -> AsyncGenerator[Chunks, None]:
        first: APIError | None = None
        tries: Counter[str] = Counter()
        while candidates and sum(tries.values()) < TRIES_PER_CALL:
            candidate = candidates[0]
            if tries[candidate.provider.name] >= TRIES_PER_PROVIDER:
                candidates.pop(0)
                continue
            slot = None
            if self._limits is not None:
                slot = await self._admitted(self._limits, candidates, tries, first)
                candidate = slot.candidate
            tries[candidate.provider.name] += 1
            began = self._loop.time()
            try:
                answer = ManagedAsyncGen(self._attempt(candidate))
                try:
                    async for batch in answer:
                        yield batch
                finally:
                    await answer.aclose()
                self._record(candidate, began, None)
                self._finish()
                if slot is None:
                    self._health.recovered(candidate.health_key)
                else:
                    slot.answered()
                return
            except APIError as error:
                self._record(candidate, began, error)
                self._finish()
                error.receipt = self.receipt
                if slot is None:
                    self._health.failed(candidate.health_key, error)
                elif slot.failed(error):
                    self._keep_first_and_last()
                    if self._waits():
                        tries[candidate.provider.name] -= 1
                        first = first or error
                        continue
                verdict = "raise" if self._committed or self._late() else _verdict(error)
                first = first or error
                if verdict == "raise":
                    lighter = None if self._committed else self._without_refused(candidate, error)
                    if lighter is None or self._late():
                        raise
                    candidates[candidates.index(candidate)] = lighter
                    continue
                if (
                    verdict == "again"
                    and len(candidates) == 1
                    and tries[candidate.provider.name] < TRIES_PER_PROVIDER
                    and sum(tries.values()) < TRIES_PER_CALL
                    and (pause := self._pause(tries[candidate.provider.name], error)) is not None
                ):
                    await asyncio.sleep(pause)
                    continue
                candidates.remove(candidate)
                if candidate.successor_model is not None and _is_gone(error):
                    self._health.gone(candidate.provider.name, self._request.model)
                    _put_in_order(
                        candidates, Candidate(candidate.provider, candidate.successor_model)
                    )
                if verdict == "larger":
                    window = candidate.serving.context or 0
                    candidates = [
                        other for other in candidates if (other.serving.context or 0) > window
                    ]
            finally:
                if slot is not None:
                    slot.close()
        if first is not None:
            raise first

    async def _admitted(
        self,
        limits: BatchAdmission,
        candidates: list[Candidate],
        tries: Counter[str],
        first: APIError | None,
    ) -> Permit:
        """Leave to ask one of those that may still be tried. Raises `APIError`."""
        left = [one for one in candidates if tries[one.provider.name] < TRIES_PER_PROVIDER]
        try:
            return await limits.admit(
                left, self._health, self._deadline, ahead=self._refused is not None
            )
        except APIError as error:
            self._finish()
            raised = first or error
            raised.receipt = self.receipt
            raise raised from None

    def _waits(self) -> bool:
        """Whether this refusal is waited out."""
        if self._refused is None:
            self._refused = self._loop.time()
        return not self._late() and self._loop.time() - self._refused < REFUSED_FOR

    def _keep_first_and_last(self) -> None:
        """Of many refusals by one provider, all alike, the receipt keeps two."""
        attempts = self.receipt.attempts
        said = [(one.provider, one.outcome) for one in attempts]
        places = [place for place, one in enumerate(said) if one == said[-1]]
        if len(places) > 2:
            self.receipt.attempts = attempts[: places[-2]] + attempts[places[-2] + 1 :]

    def _without_refused(self, candidate: Candidate, error: APIError) -> Candidate | None:
        """The candidate asked without the parameter that it refuses: once, and the receipt says so."""
        if (
            not isinstance(error, BadRequestError)
            or error.code not in _REFUSED
            or error.param not in self._request.params
            or candidate.serving.refused
        ):
            return None
        omitted = (*candidate.serving.omitted, error.param)
        serving = replace(candidate.serving, omitted=omitted, refused=(error.param,))
        return replace(candidate, serving=serving)

    def _late(self) -> bool:
        return self._deadline is not None and self._loop.time() >= self._deadline

    def _pause(self, tried: int, error: APIError) -> float | None:
        """Seconds before a provider that is alone is asked again; None if it wants to be left alone for
        longer than a person would wait, or if the time would be over by then."""
        wait = error.retry_after or 0.0 if isinstance(error, APIStatusError) else 0.0
        if wait > BACKOFF[1]:
            return None
        pause = max(wait, random.uniform(0, min(BACKOFF[1], BACKOFF[0] * 2 ** (tried - 1))))
        if self._deadline is not None and self._loop.time() + pause >= self._deadline:
            return None
        return pause

    async def _attempt(self, candidate: Candidate) -> AsyncGenerator[Chunks, None]:
        """The chunks of one candidate, from the commit point on. Raises `APIError`."""
        provider, serving = candidate.provider, candidate.serving
        watch = _Watch(_patience(provider), self._deadline)
        found = ManagedAsyncGen(_asked(provider, self._request, serving))
        held: Chunks = []
        text = StringIO()
        # A long answer has many chunks.
        name, receipt, write = provider.name, self.receipt, text.write
        committed = False
        try:
            while True:
                with watch:
                    batch = await anext(found, None)
                if batch is None:
                    break
                failure = None
                speaks: ChatCompletionChunk | None = None
                for place, chunk in enumerate(batch):
                    chunk.provider = name
                    chunk.receipt = receipt
                    for choice in chunk.choices:
                        content = choice.delta.content
                        if content and choice.index == 0:
                            write(content)
                        if choice.finish_reason == "error":
                            failure = StreamError(
                                f"{provider.name} broke off its answer with an error.",
                                provider=provider.name,
                                model=serving.model,
                            )
                    if failure is not None:
                        batch = batch[:place]
                        break
                    if not committed and speaks is None and _says_something(chunk):
                        speaks = chunk
                if not committed:
                    held += batch
                    if speaks is not None:
                        self._commit(candidate, speaks)
                        committed = True
                        batch = held
                if committed and batch:
                    yield batch
                if failure is not None:
                    raise failure
            if not committed:
                raise InvalidResponseError(
                    f"{provider.name} sent an empty answer. Ask again, or another provider.",
                    provider=provider.name,
                    model=serving.model,
                )
        except TimeoutError:
            raise self._timed_out(candidate, watch, text.getvalue()) from None
        except APIError as error:
            raise self._after_text(error, text.getvalue()) from None
        finally:
            watch.stop()
            await found.aclose()

    def _after_text(self, error: APIError, text: str) -> APIError:
        """The error as it is raised: after the commit point one that says so, with the text."""
        if not self._committed:
            return error
        if not isinstance(error, (StreamError, APITimeoutError)):
            said = error.detail if isinstance(error, APIStatusError) else ""
            words = f"{error.provider} broke off its answer: {said}" if said else error.message
            error = StreamError(words, provider=error.provider, model=error.model)
        error.partial = text
        return error

    def _timed_out(self, candidate: Candidate, watch: _Watch, text: str) -> APITimeoutError:
        name = candidate.provider.name
        if watch.fired == "total":
            message = (
                f"The answer was not complete within {self._request.timeout:g} s (timeout);"
                f" {name} was asked last."
            )
        else:
            limit = _patience(candidate.provider)
            what = "fell silent" if self._committed else "sent no first token"
            message = (
                f"{name} {what} for {limit:g} s. Try again; timeout: in g4f.yaml sets how long to wait"
                " for it."
            )
        error = APITimeoutError(message, provider=name, model=candidate.serving.model)
        error.partial = text
        return error

    def _commit(self, candidate: Candidate, chunk: ChatCompletionChunk) -> None:
        """The point of no return: the receipt says who answers. Raises `InvalidResponseError` where
        it is not the exact model and has to be."""
        serving = candidate.serving
        exact = serving.exact
        if serving.verify and not is_same_model(chunk.model, self._request.model):
            exact = False
            if self._request.exact or not self._substitutes:
                raise InvalidResponseError(
                    f"{candidate.provider.name} was asked for {self._request.model} and answered"
                    f" with {clean(chunk.model, 80)}; only the exact model will do.",
                    provider=candidate.provider.name,
                    model=serving.model,
                )
        self._committed = True
        receipt = self.receipt
        receipt.provider = candidate.provider.name
        receipt.model = clean(chunk.model, 80)
        receipt.exact = exact
        receipt.omitted = serving.omitted
        receipt.successor = serving.successor
        receipt.ttft = round(self._elapsed(), 3)


def _asked(provider: Provider, request: ChatRequest, serving: Serving) -> AsyncIterator[Chunks]:
    """The provider's answer. Raises `APIError`."""
    if serving.schema_in_prompt:
        from .schema_prompt import fitting

        return fitting(provider, request, serving)
    return batches(provider, request, serving)


def _says_something(chunk: ChatCompletionChunk) -> bool:
    """Whether the chunk is the commit point: words, or the word that there will be none."""
    for choice in chunk.choices:
        delta = choice.delta
        if delta.content or delta.reasoning or delta.tool_calls or delta.refusal:
            return True
        if choice.finish_reason in ("length", "content_filter"):
            return True
    return False


async def stream(
    request: ChatRequest, registry: Registry, limits: BatchAdmission | None = None
) -> AsyncGenerator[Chunks, None]:
    """The chunks of one answer, in batches; each chunk carries the receipt, which is complete when they end.

    `limits` are those of a batch run, shared by its requests: each waits for its turn, and a limit that
    passes soon is waited out in place of asking somebody else.

    Raises `ConfigError`, `NoProviderError`, `BadRequestError` for an empty prompt, and `APIError` with the receipt of all attempts.
    """
    if not request.messages:
        raise BadRequestError("There is nothing to answer: the prompt is empty.", status_code=400)
    route = await resolve_route(request, registry)
    if not route.candidates:
        raise no_provider_error(request, route.left_out, registry)
    run = _Run(request, registry, limits)
    candidates = list(route.candidates)
    if limits is None:
        candidates = _healthy_first(candidates, registry.health)
    found = ManagedAsyncGen(run.over(candidates))
    try:
        async for batch in found:
            yield batch
    except APIError as error:
        if route.needs_consent:
            names = ", ".join(route.needs_consent)
            error.hint = (
                f"Not asked, though there is a key: {names}. To allow it:"
                f' "llm g4f enable {route.needs_consent[0]}".'
            )
        raise
    finally:
        await found.aclose()
