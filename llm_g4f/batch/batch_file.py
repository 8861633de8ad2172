"""The lines of a batch's files: a request as an endpoint would send it, a response as it would read it."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace

from ..decoding.error_messages import error_in_body
from ..errors import APIError, APIStatusError, APITimeoutError, InvalidResponseError
from ..http.types import Request, Response
from ..providers.endpoint import Endpoint
from ..receipt import Attempt as AttemptRecord
from ..receipt import Receipt
from ..request import ChatRequest
from ..routing.attempt import Attempt
from ..routing.lineup import is_exact_only
from ..routing.registry import Registry
from ..routing.route import Candidate
from ..routing.schema_prompt import open_with_schema
from ..types import JSON, ChatCompletion
from .batch_parts import Part
from .services import Batch


class _Stored:
    """A `Response` that is at hand."""

    is_encoded = False
    complete = True

    def __init__(self, status: int, body: bytes, request_id: str | None = None) -> None:
        self.status = status
        self.headers: dict[str, str] = {}
        self.request_id = request_id
        self._body: bytes | None = body

    def __aiter__(self) -> _Stored:
        return self

    async def __anext__(self) -> bytes:
        body, self._body = self._body, None
        if body is None:
            raise StopAsyncIteration
        return body

    async def aclose(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class _OnFile:
    """A `Transport` that sends nothing: the body of the request is kept, and answered by `response`."""

    body = b""

    def __init__(self, response: Response) -> None:
        self._response = response

    async def send(self, request: Request, connect_timeout: float | None = None) -> Response:
        del connect_timeout  # nothing is connected
        self.body = request.body
        return self._response

    async def aclose(self) -> None:
        pass


async def request_body(candidate: Candidate, request: ChatRequest) -> bytes:
    """The body of a request, as its endpoint would send it. Raises `APIError` for an invalid one."""
    assert isinstance(candidate.provider, Endpoint)
    transport = _OnFile(_Stored(200, b""))
    endpoint = replace(candidate.provider, transport=transport)
    await open_with_schema(endpoint, request, candidate.served, lambda _: None)
    return transport.body


def parsed(text: bytes) -> JSON | None:
    """A line of a batch's results; None for a blank or an invalid one, whose row has no result then."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


async def read_answer(
    endpoint: Endpoint,
    part: Part,
    batch: Batch,
    line: JSON,
    request: ChatRequest,
    registry: Registry,
) -> ChatCompletion:
    """The answer in a line of a batch's results, with its receipt. Raises `APIError`."""
    receipt = Receipt(request.model, batch=batch.id)
    try:
        completion = await _read(endpoint, part, batch, line, request, receipt, registry)
    except APIError as error:
        _record(receipt, part, error)
        raise
    _record(receipt, part, None)
    return completion


async def _read(
    endpoint: Endpoint,
    part: Part,
    batch: Batch,
    line: JSON,
    request: ChatRequest,
    receipt: Receipt,
    registry: Registry,
) -> ChatCompletion:
    response = line.get("response")
    if not isinstance(response, dict):
        raise _line_error(endpoint, part, batch, line.get("error"))
    status, id, body = (response.get(name) for name in ("status_code", "request_id", "body"))
    stored = _Stored(
        status if isinstance(status, int) else 200,
        # Mistral has the error of a row beside its response.
        json.dumps({"error": line.get("error")} if body is None else body).encode(),
        id if isinstance(id, str) else None,
    )
    attempt = Attempt(
        Candidate(replace(endpoint, transport=_OnFile(stored)), part.served),
        *(request, receipt, None),
        exact_only=is_exact_only(request, registry),
    )
    try:
        await attempt.first()
        while await attempt.next():
            pass
        return attempt.completion.completion()
    finally:
        await attempt.aclose()


def _record(receipt: Receipt, part: Part, error: APIError | None) -> None:
    model = receipt.model or part.served.model
    if error is None:
        receipt.attempts = (AttemptRecord(part.provider, model, "ok", 200),)
        return
    error.receipt = receipt
    status = error.status_code if isinstance(error, APIStatusError) else None
    receipt.attempts = (
        AttemptRecord(
            *(part.provider, model, type(error).__name__, status, error.message),
            summary=error.summary,
        ),
    )


_ENDINGS: dict[str, tuple[type[APIError], str]] = {
    "batch_expired": (APITimeoutError, "expired before this row's turn"),
    "batch_cancelled": (APIError, "was cancelled before this row's turn"),
    "batch_completed": (InvalidResponseError, "has no result for this row"),
    "batch_failed": (InvalidResponseError, "failed without a reason"),
}
"""Codes of rows that were not answered: those of OpenAI's guide "Batch API", "Batch expiration", and
the same for other ends."""


def _line_error(endpoint: Endpoint, part: Part, batch: Batch, error: Any) -> APIError:
    """The error of a row without a response."""
    code = error.get("code") if isinstance(error, dict) else None
    if code not in _ENDINGS:
        return error_in_body(endpoint.context(part.served.model), {"error": error})
    kind, what = _ENDINGS[code]
    return kind(
        f"{part.provider}: {batch.id} {what}. Run the same command to ask it again.",
        provider=part.provider,
        model=part.served.model,
    )


def missing_line(batch: Batch, place: int) -> JSON:
    """What stands for the line of a row, by its place in the part, that the results do not have."""
    if not batch.errors:
        return {"error": {"code": f"batch_{batch.status}"}}
    own = next((error for error in batch.errors if error.line == place + 1), None)
    error = own or batch.errors[0]
    message = error.message
    if own is None and error.line is not None:
        message = f"line {error.line} of the batch, which is another row: {message}"
    return {"error": {"code": error.code, "message": message}}
