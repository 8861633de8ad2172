"""One request to one candidate, up to the first content and on from there."""

from __future__ import annotations

import asyncio

from ..accumulator import Accumulator
from ..errors import (
    APIError,
    APIStatusError,
    APITimeoutError,
    InvalidResponseError,
    Reason,
    StreamError,
)
from ..providers.base import ChunkStream, OpenStream, open_stream
from ..providers.model_ids import is_same_model
from ..receipt import Receipt
from ..request import ChatRequest
from ..safe_text import clean
from ..types import ChatCompletionChunk, Chunks
from . import policy
from .held import MAX_CHUNKS_BEFORE_CONTENT, MAX_SIZE_BEFORE_CONTENT, size_of
from .route import Candidate
from .watch import Watch

_LONG_PROMPT = 2_000
"""Bytes of a request from which on its prompt may be one that a server cuts."""


_NOTHING = Accumulator()
"""The completion of an attempt before its response has begun."""


class Attempt:
    """One request to one candidate. `first` waits for the first content, `next` only reads on.

    The first content is the commit point: text but blanks, a tool call, a refusal or media, or
    reasoning that is not the whole answer. A token limit, or a `stop` of the request's own, may
    leave an answer without any. `completion` accumulates all chunks, and is `complete` once `next`
    has found no more. Raises `APIError`.
    """

    def __init__(
        self,
        candidate: Candidate,
        request: ChatRequest,
        receipt: Receipt,
        deadline: float | None,
        *,
        exact_only: bool,
    ) -> None:
        self.candidate = candidate
        self.completion = _NOTHING
        self.committed = False
        self.complete = False
        self._request = request
        self._receipt = receipt
        self._exact_only = exact_only
        provider = candidate.provider
        limit = request.waits.read or getattr(provider, "timeout", None) or policy.IDLE_TIMEOUT
        self._watch = Watch(limit, deadline)
        self._stream: ChunkStream | None = None
        self.opened: OpenStream | None = None
        self._size = 0
        self._reading = False
        self._progress = -1
        self._begun = False
        self._answered = False
        self._finishes: set[str] = set()
        self.began = self._watch.began

    async def first(self) -> Chunks:
        """Everything up to the first content, with it."""
        self.opened = opened = await self._open()
        self._stream, self._size = opened.chunks, opened.size
        self.completion = opened.completion or self.completion
        held: Chunks = []
        size = 0
        while chunks := await self._read():
            held += chunks
            if (chunk := self._first_content(chunks)) is not None:
                # An error that came with the first content comes before it: the caller has nothing yet.
                if (failure := getattr(self._stream, "failure", None)) is not None:
                    raise self._with_partial(failure, failure.reason)
                self._commit(chunk)
                return held
            size += size_of(chunks)
            if size > MAX_SIZE_BEFORE_CONTENT or len(held) > MAX_CHUNKS_BEFORE_CONTENT:
                raise self._flood_error()
        raise self._no_answer()

    async def next(self) -> Chunks:
        """The chunks that have come since; none at the end of the answer."""
        try:
            chunks = await self._read()
            if not self._answered:
                if chunks:
                    self._first_content(chunks)
                elif not self._may_be_empty():
                    raise self._no_answer()
            if not chunks and self._receipt.exact and self.candidate.served.verify:
                self._check_last_model()
        except APIError as error:
            raise self._with_partial(error) from None
        if not chunks:
            self.complete = True
            self._receipt.warnings += getattr(self._stream, "warnings", ())
            if self._size > _LONG_PROMPT:
                self._check_prompt()
        return chunks

    def _check_last_model(self) -> None:
        """The receipt and a warning say who answered where only the end of the answer does. Raises
        `InvalidResponseError` where the exact model is required."""
        model, requested = self.completion.model, self._request.model
        if is_same_model(model, requested):
            return
        if self._exact_only:
            raise self._wrong_model(model)
        receipt = self._receipt
        receipt.exact, receipt.model = False, clean(model, 80)
        receipt.warnings.append(
            f"{requested} was answered by {receipt.model} ({receipt.provider}), a substitute: the"
            f' answer says so only at its end. "llm g4f route {requested}" shows why.'
        )

    def _check_prompt(self) -> None:
        """Warn if the provider cannot have read all of a long prompt."""
        from .prompt_size import cut_warning

        usage, provider = self.completion.usage, self.candidate.provider.name
        warning = usage and cut_warning(provider, self._request, usage)
        if warning:
            self._receipt.warnings.append(warning)

    async def aclose(self) -> None:
        """End the request."""
        self._watch.stop()
        if self._stream is not None:
            await self._stream.aclose()

    async def _open(self) -> OpenStream:
        # Waiting for one's own turn at a server of ours is no silence of it.
        patient = getattr(self.candidate.provider, "queues", False)
        patient = patient and self._request.waits.read is None
        self._reading = patient
        self._watch.begin(patient=patient)
        try:
            candidate, request = self.candidate, self._request
            if "response_format" in request.params:
                from .schema_prompt import open_with_schema

                return await open_with_schema(
                    candidate.provider, request, candidate.served, self._listen
                )
            return await open_stream(candidate.provider, request, candidate.served)
        except asyncio.CancelledError:
            if self._watch.has_cancelled():
                raise self._timeout_error() from None
            raise
        finally:
            self._watch.end()

    async def _read(self) -> Chunks:
        stream, watch = self._stream, self._watch
        assert stream is not None
        # The head of the response was no content.
        watch.begin(anew=self._reading)
        self._reading = True
        try:
            chunks = await stream.__anext__()
        except StopAsyncIteration:
            return []
        except asyncio.CancelledError:
            if watch.has_cancelled():
                raise self._timeout_error() from None
            raise
        finally:
            watch.end()
        name, receipt, heard = self.candidate.provider.name, self._receipt, False
        for chunk in chunks:
            chunk.provider = name
            chunk.receipt = receipt
            for choice in chunk.choices:
                if choice.delta.content:
                    heard = True
        if not (heard or self._brings_content(chunks)):
            watch.heard_nothing()
        return chunks

    def _listen(self, chunks: Chunks) -> None:
        """Chunks have come that are held back during a wait."""
        if self._brings_content(chunks):
            self._begun = True
            self._watch.heard()

    def _brings_content(self, chunks: Chunks) -> bool:
        """Whether chunks bring text, reasoning, a part of a tool call or a refusal, or show that the
        server reads on in the prompt. Anything else is a heartbeat, of which a server that hangs
        can send any number."""
        heard = False
        for chunk in chunks:
            progress = chunk.prompt_progress
            if progress is not None and progress > self._progress:
                self._progress = progress
                heard = True
            heard = heard or any(choice.delta.has_content() for choice in chunk.choices)
        return heard

    def _flood_error(self) -> InvalidResponseError:
        provider = self.candidate.provider.name
        return InvalidResponseError(
            f"{provider} sent a flood of chunks without content (no text, reasoning or tool call)."
            " Ask again, or ask another provider.",
            provider=provider,
            model=self.candidate.served.model,
        )

    def _first_content(self, chunks: Chunks) -> ChatCompletionChunk | None:
        """The first chunk with content, or the last one where the answer may end without any."""
        reasoning = None
        for chunk in chunks:
            for choice in chunk.choices:
                if choice.delta.is_answer():
                    self._answered = True
                    return chunk
                if choice.delta.reasoning:
                    reasoning = chunk
                if choice.finish_reason:
                    self._finishes.add(choice.finish_reason)
        if self._may_be_empty():
            return chunks[-1]
        # Reasoning that came with the end of its answer was not handed on yet.
        return None if self._finishes else reasoning

    def _may_be_empty(self) -> bool:
        """Whether an answer without a word is what was asked for: its tokens were used up, or it
        stopped at a text in `stop`."""
        if "length" in self._finishes:
            return True
        request = self._request
        stop = request.params.get("stop") or request.extra_body.get("stop")
        return bool(stop) and "stop" in self._finishes

    def _no_answer(self) -> InvalidResponseError:
        """The error for an answer that ended without a word."""
        name = self.candidate.provider.name
        if "content_filter" in self._finishes:
            message = f"{name}: the content filter withheld the answer. Change the prompt."
            reason: Reason = "filtered"
        elif self.committed:
            message = f"{name} ended its answer behind the reasoning, without a word. Ask again."
            reason = "empty"
        else:
            message = f"{name} sent an empty answer. Ask again, or ask another provider."
            reason = "empty"
        return InvalidResponseError(
            message, provider=name, model=self.candidate.served.model, reason=reason
        )

    def _with_partial(self, error: APIError, reason: Reason | None = None) -> APIError:
        """An error behind the first content: it says that the answer broke off, and has the text."""
        if not isinstance(error, (StreamError, APITimeoutError)):
            words = error.detail if isinstance(error, APIStatusError) else ""
            message = error.message
            if words:
                what = f"{error.provider} broke off its answer: {words.rstrip('.')}"
                message = f"{what}. Ask again, or ask another provider."
            cause = error
            if error.reason in ("empty", "filtered", "wrong_model"):
                reason = error.reason
            error = StreamError(message, provider=error.provider, model=error.model, reason=reason)
            error.set_response(cause.response, cause.body)
            error.code, error.param = cause.code, cause.param
        error.partial = self.completion.text
        return error

    def _timeout_error(self) -> APITimeoutError:
        name = self.candidate.provider.name
        if self._watch.expired == "total":
            message = (
                f"The answer was not complete within {self._request.timeout:g} s (timeout);"
                f" {name} was asked last. Raise timeout, or ask another provider."
            )
        else:
            what = "fell silent" if self.committed or self._begun else "sent no first token"
            message = (
                f"{name} {what} for {self._watch.limit:g} s. Try again; timeout: in g4f.yaml sets how"
                " long to wait for it."
            )
        return APITimeoutError(
            message,
            provider=name,
            model=self.candidate.served.model,
            partial=self.completion.text,
        )

    def _wrong_model(self, model: str) -> InvalidResponseError:
        name = self.candidate.provider.name
        return InvalidResponseError(
            f"{name} was asked for {self._request.model} and answered with {clean(model, 80)}; only"
            " the exact model is allowed. Ask another provider, or leave exact out.",
            provider=name,
            model=self.candidate.served.model,
            reason="wrong_model",
        )

    def _commit(self, chunk: ChatCompletionChunk) -> None:
        """The receipt says who answers. Raises `InvalidResponseError` where the exact model is
        required and another one answered."""
        served, provider = self.candidate.served, self.candidate.provider
        exact = served.exact
        if served.verify and not is_same_model(chunk.model, self._request.model):
            exact = False
            if self._exact_only:
                raise self._wrong_model(chunk.model)
        self.committed = True
        receipt = self._receipt
        receipt.provider = provider.name
        receipt.model = clean(chunk.model, 80)
        receipt.exact = exact
        # A successor is a claim of the catalogue as well.
        receipt.successor = served.successor and is_same_model(chunk.model, served.model)
        if self.opened is not None:
            receipt.omitted = self.opened.omitted
            receipt.request_id = self.opened.request_id
