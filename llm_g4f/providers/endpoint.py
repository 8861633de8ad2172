"""An OpenAI-compatible server over HTTP: one request, its answer as chunks."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import cached_property
from typing import Any
from urllib.parse import urlencode, urlsplit

from msgspec import Struct, field
from msgspec.structs import replace

from ..config import is_loopback
from ..decoding.connection_errors import connection_error
from ..decoding.error_context import ErrorContext
from ..decoding.error_messages import http_error, no_api_at
from ..decoding.response import CompletionStream, read_body, read_error_body
from ..decoding.text import parse_json, whole
from ..errors import APIError, ArgumentError, BadRequestError, InvalidResponseError
from ..http.connect import Network, send
from ..http.types import NetworkError, Request, Response, Transport, parse_url
from ..request import ChatRequest, Need, Secret, is_misdirected
from ..safe_text import clean
from ..types import JSON, ChatCompletionChunk
from ..version import __version__
from . import quirks
from .base import Ineligible, Kind, OpenStream, Scope, ServedModel
from .capabilities import Capabilities

_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Endpoint(Struct, frozen=True, kw_only=True, dict=True):
    """A provider that speaks chat/completions at `base_url`.

    `served` are the models it would answer with; the first that can take the request does.
    `discover_models`: where there is none, the router looks at its /models (`routing.discovery`).
    `no_model_reason` is why there is none. `key_header` carries the key instead of Authorization.
    `key_hint` is what to do about a rejected key, and `no_key_hint` about a missing one.
    `extra_content`: tool calls go back with theirs. `enforces_schema`: answers fit the schema of a
    request. `image_urls`: it fetches images from the web. `timeout` is in
    seconds without content. `transport` replaces the pooled connections.
    """

    name: str
    base_url: str
    kind: Kind = "keyed"
    scope: Scope = "key"
    key: Secret | None = None
    key_header: str | None = None
    key_hint: str = ""
    no_key_hint: str = ""
    served: tuple[ServedModel, ...] = ()
    discover_models: bool = False
    no_model_reason: Ineligible = Ineligible("it does not have the model", "no_model")
    quirks: tuple[str, ...] = ()
    extra_content: bool = False
    enforces_schema: bool = False
    image_urls: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    network: Network = Network()
    transport: Transport | None = None

    async def serves(self, request: ChatRequest) -> ServedModel | Ineligible:
        """The first model that can take `request`, or the reason why there is none."""
        served = self.served
        if not served:
            return self.no_model_reason
        needs = request.needs
        if not needs:
            return served[0]
        if "images" in needs and not self.image_urls and request.has_image_urls:
            return Ineligible(
                "it takes images as data only, not the URL of one on the web", "incapable"
            )
        # A model without schemas gets the schema in the prompt, if no model here has them.
        for required in (needs, needs - {"schema"}):
            for model in served:
                if _missing(model.capabilities, required) is None:
                    return self._under_schema(model, needs, required)
        first = served[0]
        missing = _missing(first.capabilities, needs - {"schema"}) or "schema"
        return Ineligible(f"{first.model} {_MISSING[missing]}", "incapable")

    def _under_schema(
        self, model: ServedModel, needs: frozenset[Need], has: frozenset[Need]
    ) -> ServedModel:
        if has != needs:
            return replace(model, schema_in_prompt=True)
        enforced = "schema" in needs and self.enforces_schema
        return replace(model, enforces_schema=True) if enforced else model

    async def open(self, request: ChatRequest, served: ServedModel) -> OpenStream:
        """Send the request; its answer, of which the head has been read. Raises `APIError`."""
        context = self.context(served.model)
        body, omitted = self._body(request, served)
        headers = self._headers_for(request)
        path = "/chat/completions"
        if request.query:
            path += f"?{urlencode(request.query, doseq=True)}"
        response = await self._send(context, "POST", path, headers, body, request)
        if not 200 <= response.status < 300:
            raise await self._http_error(context, response, len(body))
        n = request.params.get("n")
        choices = n if isinstance(n, int) and n > 0 else 1
        stream, request_id = CompletionStream(context, response, choices), response.request_id
        if request_id is not None and self.key is not None:
            request_id = context.without_key(request_id)
        return OpenStream(stream, omitted, len(body), response, request_id, stream.completion)

    async def stream(
        self, request: ChatRequest, serving: ServedModel
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        """The answer chunk by chunk. Raises `APIError`."""
        opened = await self.open(request, serving)
        assert isinstance(opened.chunks, CompletionStream)
        async with aclosing(opened.chunks) as stream:
            async for chunks in stream:
                for chunk in chunks:
                    yield chunk

    async def models(self) -> list[str]:
        """The ids at /models. Raises `APIError`."""
        return [id for id, _ in await self.listing()]

    async def listing(self) -> list[tuple[str, JSON]]:
        """The ids at /models, each with all that is said of it. Raises `APIError`."""
        context = self.context("")
        response = await self._send(context, "GET", "/models", self._headers(streaming=False))
        if not 200 <= response.status < 300:
            raise await self._http_error(context, response, 0)
        try:
            data = parse_json(await read_body(context, response))
            listed = data["data"] if isinstance(data, dict) else data
            return [(clean(context.without_key(str(model["id"])), 200), model) for model in listed]
        except (ValueError, KeyError, TypeError):
            raise InvalidResponseError(
                f"{no_api_at(context)} {self.name} sent no list of models at /models.",
                provider=self.name,
            ) from None
        finally:
            await response.aclose()

    @cached_property
    def is_local(self) -> bool:
        """Whether it runs on this machine."""
        return self.kind == "local" or is_loopback(urlsplit(self.base_url).hostname or "")

    def context(self, model: str) -> ErrorContext:
        """What errors say of this provider; `model` is the one that was asked for."""
        no_key_hint = self.no_key_hint if self.key is None else ""
        return ErrorContext(
            *(self.name, model, self._origin, self.key_hint, self.key, self.base_url, no_key_hint)
        )

    @cached_property
    def _origin(self) -> str:
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}"

    def _headers(self, *, streaming: bool) -> dict[str, str]:
        """The headers of every request, in lower case: one spelling, so that no name is sent twice."""
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if streaming else "application/json",
            # A compressed stream arrives in lumps; and no body can unpack to gigabytes.
            "accept-encoding": "identity",
            "user-agent": f"llm-g4f/{__version__}",
            **{name.lower(): value for name, value in self.headers.items()},
        }
        if self.key is not None and self.key_header:
            headers[self.key_header] = self.key.reveal()
        elif self.key is not None:
            headers["authorization"] = f"Bearer {self.key.reveal()}"
        return headers

    @cached_property
    def _stream_headers(self) -> dict[str, str]:
        return self._headers(streaming=True)

    @cached_property
    def _json_headers(self) -> dict[str, str]:
        return self._headers(streaming=False)

    def _headers_for(self, request: ChatRequest) -> dict[str, str]:
        headers = self._stream_headers if request.stream else self._json_headers
        if not request.headers:
            return headers
        extra = {}
        for name, value in request.headers.items():
            if not isinstance(value, str):
                raise BadRequestError(f"The header {name} must be text.", provider=self.name)
            if name.lower() in _OF_OPENAI and self.name != "openai" and len(request.providers) != 1:
                continue
            extra[name.lower()] = value
        # The key of the provider goes last: no header of a request replaces it.
        if self.key is not None:
            extra.pop(self.key_header or "authorization", None)
        headers = {**headers, **extra}
        if is_misdirected(headers, with_key=self.key is not None):
            raise BadRequestError(
                f"The header Host is refused: it would send the key of {self.name} to another server"
                " than that of its base_url. Leave it out.",
                provider=self.name,
            )
        return headers

    def _body(self, request: ChatRequest, served: ServedModel) -> tuple[bytes, tuple[str, ...]]:
        """The body of a request, and the parameters that this provider does not take."""
        body: JSON = {"model": served.model, "messages": request.messages, **request.params}
        body["stream"] = request.stream
        if request.stream:
            body.setdefault("stream_options", {"include_usage": True})
        own = self.quirks if self.extra_content else (*self.quirks, "no_extra_content")
        omitted = quirks.apply(own + served.quirks, body)
        if omitted and "stream_options" not in request.params:
            # Ours, and not the caller's.
            omitted = tuple([name for name in omitted if name != "stream_options"])
        for name in served.refused:
            body.pop(name, None)
        if self.extra_body or request.extra_body:
            body |= {**self.extra_body, **request.extra_body}
        try:
            text = _to_json(body)
        except (TypeError, ValueError, RecursionError) as error:
            raise self._unwritable(body, served, error) from None
        try:
            encoded = text.encode()
        except UnicodeEncodeError:
            encoded = whole(text).encode()
        return encoded, (*served.omitted, *omitted)

    def _unwritable(self, body: JSON, served: ServedModel, error: Exception) -> ArgumentError:
        """The error for a request that is no JSON, which names the part that is not."""
        part = "The request"
        for name, value in body.items():
            try:
                _to_json(value)
            except (TypeError, ValueError, RecursionError) as cause:
                part, error = name, cause
        refused = ArgumentError(
            f"{part} cannot be written as JSON: {error}. Leave it out, or give it as text, numbers,"
            " lists and dicts."
        )
        # No server has said 400.
        refused.status_code = None
        refused.provider, refused.model = self.name, served.model
        return refused

    async def _send(
        self,
        context: ErrorContext,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes = b"",
        chat: ChatRequest | None = None,
    ) -> Response:
        """The response with its head read. Raises `APIConnectionError`."""
        try:
            url = parse_url(self.base_url + path)
            connect = chat.waits.connect if chat is not None else None
            request = Request(method, url, headers, body, connect)
            return await send(self.network, request, self.transport)
        except (NetworkError, OSError, ValueError) as error:
            raise connection_error(context, error) from None

    async def _http_error(self, context: ErrorContext, response: Response, sent: int) -> APIError:
        try:
            body = await read_error_body(response)
            return http_error(context, response.status, response.headers, body, sent)
        finally:
            await response.aclose()


_OF_OPENAI = frozenset(("openai-organization", "openai-project"))
"""Headers for openai, or for the one provider that is named: no other learns of them."""

_MISSING: Mapping[Need, str] = {
    "audio": "does not take audio",
    "files": "does not take files",
    "images": "does not read images",
    "schema": "does not support schemas",
    "tools": "does not call tools",
}


def _missing(capabilities: Capabilities | None, needs: frozenset[Need]) -> Need | None:
    """The first of `needs` that a model lacks; None if it has all, or if nothing is known of it."""
    if capabilities is None:
        return None
    return next((need for need in sorted(needs) if not getattr(capabilities, need)), None)
