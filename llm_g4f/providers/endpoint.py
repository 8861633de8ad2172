"""An OpenAI-compatible server over HTTP: one request, its answer as chunks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import Struct, field
from msgspec.structs import replace

from ..asyncgen import ManagedAsyncGen
from ..decoding.connection_errors import connection_error
from ..decoding.error_context import ErrorContext
from ..decoding.error_messages import http_error
from ..decoding.response import Answer, Body
from ..decoding.text import parse_json, whole
from ..errors import APIError, BadRequestError, InvalidResponseError, clean
from ..http.connect import Network, send
from ..http.types import NetworkError, Request, Response, target
from ..request import ChatRequest, Need, Secret
from ..types import JSON, ChatCompletionChunk, Chunks
from ..version import __version__
from . import quirks
from .base import Ineligible, Kind, Scope, Serving
from .catalogue import Offer

if TYPE_CHECKING:
    import httpx

_PROBE = 1.0
"""Seconds for a local server to say which models it has."""

_LISTING = 15.0
"""Seconds for which a process remembers what a local server has."""

_listings: dict[str, tuple[float, list[str]]] = {}


def is_same_model(name: str, requested: str) -> bool:
    """Whether `name`, without its vendor prefix and date suffix, is `requested`.

    >>> is_same_model("openai/gpt-4o-2024-11-20", "gpt-4o")
    True
    >>> is_same_model("gpt-4o-mini", "gpt-4o")
    False
    """
    bare = name.rsplit("/", 1)[-1].lower()
    requested = requested.lower()
    if bare == requested:
        return True
    rest = bare.removeprefix(requested)
    digits = rest.replace("-", "")
    return rest != bare and rest.startswith("-") and digits.isdigit() and len(digits) in (4, 8)


class Endpoint(Struct, frozen=True, kw_only=True):
    """A provider that speaks chat/completions at `base_url`.

    `offers` are the models it would answer the request with, the first that can take it. `discover_models`: what
    it has is asked of its /models instead (local servers), and `wanted` are the ids to look for
    there. `extra_content`: tool calls go back with theirs. `no_model_reason` is the reason why there is no offer. `key_hint` says how to mend the key,
    `key_header` carries it instead of Authorization. `http` replaces the pooled client.
    """

    name: str
    base_url: str
    kind: Kind = "keyed"
    scope: Scope = "key"
    key: Secret | None = None
    key_header: str | None = None
    key_hint: str = ""
    offers: tuple[Offer, ...] = ()
    discover_models: bool = False
    no_model_reason: str = "it does not have the model"
    quirks: tuple[str, ...] = ()
    extra_content: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    network: Network = Network()
    http: httpx.AsyncClient | None = None

    async def serves(self, request: ChatRequest) -> Serving | Ineligible:
        offers = self.offers
        if not offers and self.discover_models:
            found = await self._found(request.model)
            if isinstance(found, Ineligible):
                return found
            offers = (found,)
        if not offers:
            return Ineligible(self.no_model_reason)
        asked = request.needs
        # A model that knows no schemas is told in words, if none here knows them.
        for needed in (asked, asked - {"schema"}):
            reasons = []
            for offer in offers:
                reason = _incapable(offer, needed)
                if reason is None:
                    serving = self._serving(request, offer)
                    return replace(serving, schema_in_prompt=needed != asked)
                reasons.append(reason)
        return Ineligible(reasons[0])

    def _serving(self, request: ChatRequest, offer: Offer) -> Serving:
        serving = offer.serving()
        body = {"model": offer.model, "messages": request.messages, **request.params}
        omitted = self._adapt(body, offer.quirks)
        return replace(serving, omitted=omitted) if omitted else serving

    def _adapt(self, body: JSON, more: tuple[str, ...]) -> tuple[str, ...]:
        """Make a body what this provider takes, in place; the parameters left out."""
        own = self.quirks if self.extra_content else (*self.quirks, "no_extra_content")
        return quirks.apply(own + more, body)

    async def _found(self, requested: str) -> Offer | Ineligible:
        """What a local server has for `requested`: the model itself, else a gpt-oss."""
        try:
            async with asyncio.timeout(_PROBE):
                listed = await self._listed()
        except TimeoutError:
            return Ineligible(f"{_origin(self.base_url)} does not answer")
        except APIError as error:
            return Ineligible(error.message.rstrip("."))
        for model in listed:
            if is_same_model(model, requested):
                # g4f's server lists what it substitutes under the names that were asked for.
                return Offer(model, exact=self.name != "g4f", verify=True)
        for model in listed:
            if "gpt-oss" in model.lower():
                return Offer(model, exact=False)
        shown = ", ".join(clean(model, 60) for model in listed[:8]) or "no model"
        return Ineligible(
            f"it has {shown}; say which one stands for {requested} with models: in g4f.yaml"
        )

    async def _listed(self) -> list[str]:
        """`models()`, asked once in a process for a quarter of a minute."""
        now = asyncio.get_running_loop().time()
        known = _listings.get(self.base_url)
        if known is None or now - known[0] > _LISTING:
            known = _listings[self.base_url] = (now, await self.models())
        return known[1]

    async def stream(
        self, request: ChatRequest, serving: Serving
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        found = ManagedAsyncGen(self.batches(request, serving))
        try:
            async for batch in found:
                for chunk in batch:
                    yield chunk
        finally:
            await found.aclose()

    async def batches(self, request: ChatRequest, serving: Serving) -> AsyncGenerator[Chunks, None]:
        """The chunks of `stream`, as many at a time as one read of the network brings."""
        place = ErrorContext(
            self.name, serving.model, _origin(self.base_url), self.key_hint, self.key
        )
        body = self._body(request, serving)
        headers = self._headers(request.headers, streaming=request.stream)
        response = await self._send(place, "POST", "/chat/completions", headers, body)
        try:
            if not 200 <= response.status < 300:
                raise await self._failure(place, response, len(body))
            answer = Answer(place, Body(response, place), _choices(request))
            async for batch in ManagedAsyncGen(answer.batches()):
                yield batch
        finally:
            await response.aclose()

    async def models(self) -> list[str]:
        place = ErrorContext(self.name, "", _origin(self.base_url), self.key_hint, self.key)
        response = await self._send(place, "GET", "/models", self._headers({}, streaming=False))
        try:
            if not 200 <= response.status < 300:
                raise await self._failure(place, response, 0)
            try:
                data = parse_json(await Body(response, place).whole())
                listed = data["data"] if isinstance(data, dict) else data
                return [clean(place.without_key(str(model["id"])), 200) for model in listed]
            except (ValueError, KeyError, TypeError):
                raise InvalidResponseError(
                    f"{self.name}: {self.base_url}/models does not list models.", provider=self.name
                ) from None
        finally:
            await response.aclose()

    def _headers(self, extra: Mapping[str, str], *, streaming: bool) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream" if streaming else "application/json",
            # A compressed stream arrives in lumps; and no body can unpack to gigabytes.
            "Accept-Encoding": "identity",
            "User-Agent": f"llm-g4f/{__version__}",
        }
        # One spelling, so that no name is sent twice.
        headers = {name.lower(): value for name, value in headers.items()}
        for name, value in (*self.headers.items(), *extra.items()):
            if not isinstance(value, str):
                raise BadRequestError(f"The header {name} must be text.", provider=self.name)
            headers[name.lower()] = value
        if self.key is not None and self.key_header:
            headers[self.key_header] = self.key.reveal()
        elif self.key is not None:
            headers["authorization"] = f"Bearer {self.key.reveal()}"
        return headers

    def _body(self, request: ChatRequest, serving: Serving) -> bytes:
        body: JSON = {"model": serving.model, "messages": request.messages, **request.params}
        body["stream"] = request.stream
        if request.stream:
            body.setdefault("stream_options", {"include_usage": True})
        self._adapt(body, serving.quirks)
        for name in serving.refused:
            body.pop(name, None)
        body |= {**self.extra_body, **request.extra_body}
        try:
            return whole(json.dumps(body, ensure_ascii=False, allow_nan=False)).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise BadRequestError(
                f"The request cannot be written as JSON: {error}.",
                provider=self.name,
                model=serving.model,
            ) from None

    async def _send(
        self,
        place: ErrorContext,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes = b"",
    ) -> Response:
        """The response with its head read. Raises `APIConnectionError`."""
        try:
            request = Request(method, target(self.base_url + path), headers, body)
            if self.http is None:
                return await send(self.network, request)
            from ..http.httpx_transport import over_client

            return await over_client(self.http).send(request)
        except (NetworkError, OSError, ValueError) as error:
            raise connection_error(place, error) from None

    async def _failure(self, place: ErrorContext, response: Response, sent: int) -> APIError:
        body = await Body(response, place).beginning()
        return http_error(place, response.status, response.headers, body, sent)


def _incapable(offer: Offer, asked: frozenset[Need]) -> str | None:
    """Why the model of an offer cannot take a request that asks for `asked`; None if it can."""
    capabilities = offer.capabilities
    if capabilities is None:
        return None
    lacks = {
        "images": (capabilities.images, "reads no images"),
        "audio": (capabilities.audio, "takes no audio"),
        "files": (capabilities.files, "takes no files"),
        "tools": (capabilities.tools, "calls no tools"),
        "schema": (capabilities.schema, "keeps to no schema"),
    }
    for need in sorted(asked):
        can, words = lacks[need]
        if not can:
            return f"{offer.model} {words}"
    return None


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _choices(request: ChatRequest) -> int:
    n = request.params.get("n")
    return n if isinstance(n, int) and n > 0 else 1
