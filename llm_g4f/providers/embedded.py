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
from ..local.runtime import CONTEXT, NOT_INSTALLED, is_installed, load, ready_weights
from ..local.weights import MODEL, Weights, WeightsError, find
from ..request import SAMPLING, ChatRequest
from ..types import JSON, ChatCompletionChunk
from ..worker_thread import WorkerThread
from .base import Ineligible, Kind, Scope, Serving

_PARAMETERS = frozenset(
    (*SAMPLING, "max_completion_tokens", "max_tokens", "response_format", "seed", "stop")
)
"""The parameters that llama.cpp's server takes (its README, "POST /v1/chat/completions")."""

_SAMPLING = {"temperature": 0.2, "top_p": 0.9, "repeat_penalty": 1.1, "max_tokens": 1024}
"""What the answer is made with unless the request says otherwise. Temperature and top_p are from
SmolLM2's model card. Without the penalty half of the answers never end, they repeat a
sentence until the context is full; the limit is for those that still do."""

_WORDS = {
    "tools": "the embedded model cannot call tools",
    "images": "the embedded model reads text only",
    "audio": "the embedded model reads text only",
    "files": "the embedded model reads text only",
}


class Embedded:
    """The embedded model as a provider. Fetches its weights when it is first asked."""

    name = "embedded"
    kind: Kind = "embedded"
    scope: Scope = "model"
    timeout: float | None = None

    async def serves(self, request: ChatRequest) -> Serving | Ineligible:
        if not is_installed():
            return Ineligible(NOT_INSTALLED)
        for need in sorted(request.needs):
            if need in _WORDS:
                return Ineligible(_WORDS[need])
        if request.params.get("n") not in (None, 1):
            return Ineligible("the embedded model gives one answer at a time (n=1)")
        weights = find()
        return Serving(
            weights.model if weights else MODEL,
            exact=False,
            omitted=tuple(sorted(request.params.keys() - _PARAMETERS - {"n", "stream_options"})),
            context=CONTEXT,
        )

    async def models(self) -> list[str]:
        weights = find()
        return [weights.model] if weights else []

    async def stream(
        self, request: ChatRequest, serving: Serving
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        place = ErrorContext(self.name, serving.model, "this machine")
        try:
            weights = await ready_weights()
            server = await asyncio.to_thread(load, weights)
        except WeightsError as error:
            raise APIConnectionError(
                str(error), provider=self.name, model=serving.model, reason="this_machine"
            ) from None
        reader = ChunkReader(self.name, serving.model)
        body = _body(request, weights)

        def generate(put: Callable[[JSON], bool]) -> None:
            def take(pieces: Any) -> bool:
                stop = False
                for piece in pieces if isinstance(pieces, list) else [pieces]:
                    stop = put(piece)
                return stop

            server.handle_chat_completions(body, take)

        pieces = ManagedAsyncGen(WorkerThread[JSON](generate, daemon=False).items())
        try:
            async for piece in pieces:
                if "error" in piece:
                    raise error_in_body(place, piece)
                # The file's path is nobody's business.
                piece["model"] = serving.model
                yield reader.read(piece)
        except (RuntimeError, ValueError, TypeError) as error:
            said = {"error": {"message": str(error) or type(error).__name__, "code": 400}}
            raise error_in_body(place, said) from None
        finally:
            await pieces.aclose()


def _body(request: ChatRequest, weights: Weights) -> JSON:
    body: JSON = {} if weights.chosen else dict(_SAMPLING)
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
    # Calls back while the prompt is read too, so that it can be cancelled there.
    body["return_progress"] = True
    return {**body, **request.extra_body, "stream": True}
