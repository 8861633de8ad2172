"""The model that runs on this machine, as a provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from ..asyncgen import ManagedAsyncGen
from ..decoding.chunks import ChunkReader
from ..decoding.error_context import ErrorContext
from ..decoding.error_messages import error_in_body
from ..decoding.text import text_of
from ..errors import APIConnectionError
from ..local.errors import WeightsError
from ..local.fetch import ready_file
from ..local.files import ModelFile, find
from ..local.runtime import CONTEXT, NOT_INSTALLED, is_installed, load
from ..local.table import DEFAULT
from ..request import SAMPLING, ChatRequest
from ..types import JSON, ChatCompletionChunk
from ..worker_thread import WorkerThread
from .base import Ineligible, Kind, Scope, ServedModel

_PARAMETERS = frozenset(
    (*SAMPLING, "max_completion_tokens", "max_tokens", "response_format", "seed", "stop")
)
"""The parameters that llama.cpp's server takes (its README, "POST /v1/chat/completions")."""

_UNSUPPORTED = {
    "tools": "the embedded model cannot call tools",
    "images": "the embedded model reads text only",
    "audio": "the embedded model reads text only",
    "files": "the embedded model reads text only",
}


class Embedded:
    """The embedded model as a provider. Fetches its weights at the first request."""

    name = "embedded"
    kind: Kind = "embedded"
    scope: Scope = "model"
    timeout: float | None = None

    async def serves(self, request: ChatRequest) -> ServedModel | Ineligible:
        """The embedded model, or the reason for which it cannot take `request`."""
        if not is_installed():
            return Ineligible(NOT_INSTALLED)
        for need in sorted(request.needs):
            if need in _UNSUPPORTED:
                return Ineligible(_UNSUPPORTED[need])
        if request.params.get("n") not in (None, 1):
            return Ineligible("the embedded model gives one answer per request (n=1)")
        weights = find()
        return ServedModel(
            weights.model if weights else DEFAULT.id,
            exact=False,
            omitted=tuple(sorted(request.params.keys() - _PARAMETERS - {"n", "stream_options"})),
            context=CONTEXT,
            # By a grammar: llama.cpp's grammars/README.md, "JSON Schemas → GBNF".
            enforces_schema=True,
        )

    async def models(self) -> list[str]:
        """The model's id, if its file is there."""
        weights = find()
        return [weights.model] if weights else []

    async def stream(
        self, request: ChatRequest, serving: ServedModel
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        """The answer. Raises `APIError`."""
        context = ErrorContext(self.name, serving.model, "this machine")
        try:
            weights = await ready_file()
            server = await asyncio.to_thread(load, weights)
        except WeightsError as error:
            raise APIConnectionError(
                str(error), provider=self.name, model=serving.model, reason="this_machine"
            ) from None
        reader = ChunkReader(self.name, serving.model)
        body = _body(request, weights)

        def generate(put: Callable[[JSON], bool]) -> None:
            def on_chunks(chunks: Any) -> bool:
                stop = False
                for chunk in chunks if isinstance(chunks, list) else [chunks]:
                    stop = put(chunk)
                return stop

            server.handle_chat_completions(body, on_chunks)

        chunks = ManagedAsyncGen(WorkerThread[JSON](generate, daemon=False).items())
        try:
            async for chunk in chunks:
                if "error" in chunk:
                    raise error_in_body(context, chunk)
                # llama.cpp has the path of the file here.
                chunk["model"] = serving.model
                yield reader.read(chunk)
        except (RuntimeError, ValueError, TypeError) as error:
            failure = {"error": {"message": str(error) or type(error).__name__, "code": 400}}
            raise error_in_body(context, failure) from None
        finally:
            await chunks.aclose()


def _body(request: ChatRequest, weights: ModelFile) -> JSON:
    body: JSON = dict(weights.row.sampling) if weights.row else {}
    for name, value in request.params.items():
        if name == "max_completion_tokens":
            body["max_tokens"] = value
        elif name in _PARAMETERS:
            body[name] = value
    body["messages"] = [
        {"role": message.get("role", "user"), "content": text_of(message.get("content")) or ""}
        for message in request.messages
    ]
    body["stream"] = True
    body["stream_options"] = {"include_usage": True}
    # Calls back while the prompt is read too, so that the request can be cancelled then.
    body["return_progress"] = True
    return {**body, **request.extra_body, "stream": True}
