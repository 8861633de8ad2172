"""An OpenAI-compatible server over HTTP: one request, its answer as chunks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import Struct, field
from msgspec.structs import replace

from ..errors import APIError, BadRequestError, InvalidResponseError, TruncatedStreamError, clean
from ..types import JSON, ChatCompletionChunk, ChatRequest, Secret
from ..version import __version__
from . import quirks
from .base import Batch, Kind, Scope, Serving, Unable
from .catalog import Offer
from .chain import Inner
from .chunks import ChunkReader, parse_json, whole
from .exchange import NetworkError, Request, Response, target
from .failures import Place, broken_off, connection_error, http_error, stream_failure
from .sse import MAX_EVENT, Decoder, Event, EventTooLong
from .transport import Network, send

if TYPE_CHECKING:
    import httpx

__all__ = ["Endpoint", "is_same_model"]

_AFTER_FINISH = 2.0
"""Seconds for usage and [DONE] to follow a finish_reason: some servers leave the connection open."""

_PROBE = 1.0
"""Seconds for a local server to say which models it has."""

_LISTING = 15.0
"""Seconds for which a process remembers what a local server has."""

_BLANK = b" \t\r\n\xef\xbb\xbf"
"""Bytes before the first that tells what form an answer has."""

_listings: dict[str, tuple[float, list[str]]] = {}

_DRAIN = 0.2
"""Seconds to read the end of a response, so that its connection can be used again."""

_ERROR_BODY = 64 * 1024
"""Bytes of an error body that are read: what a person needs of it is shorter by far."""


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

    `offers` are the models it would answer the request with, the first that can take it. `ask`: what
    it has is asked of its /models instead (local servers), and `wanted` are the ids to look for
    there. `extra_content`: tool calls go back with theirs. `nothing` is the reason why there is no offer. `advice` says how to mend the key,
    `key_header` carries it instead of Authorization. `http` replaces the pooled client.
    """

    name: str
    base_url: str
    kind: Kind = "keyed"
    scope: Scope = "key"
    key: Secret | None = None
    key_header: str | None = None
    advice: str = ""
    offers: tuple[Offer, ...] = ()
    ask: bool = False
    nothing: str = "it does not have the model"
    quirks: tuple[str, ...] = ()
    extra_content: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    network: Network = Network()
    http: httpx.AsyncClient | None = None

    async def serves(self, request: ChatRequest) -> Serving | Unable:
        offers = self.offers
        if not offers and self.ask:
            found = await self._found(request.model)
            if isinstance(found, Unable):
                return found
            offers = (found,)
        if not offers:
            return Unable(self.nothing)
        asked = needs(request)
        # A model that knows no schemas is told in words, if none here knows them.
        for needed in (asked, asked - {"schema"}):
            reasons = []
            for offer in offers:
                reason = _unable(offer, needed)
                if reason is None:
                    serving = self._serving(request, offer)
                    return replace(serving, schema_in_prompt=needed != asked)
                reasons.append(reason)
        return Unable(reasons[0])

    def _serving(self, request: ChatRequest, offer: Offer) -> Serving:
        serving = offer.serving()
        body = {"model": offer.model, "messages": request.messages, **request.params}
        omitted = self._adapt(body, offer.quirks)
        return replace(serving, omitted=omitted) if omitted else serving

    def _adapt(self, body: JSON, more: tuple[str, ...]) -> tuple[str, ...]:
        """Make a body what this provider takes, in place; the parameters left out."""
        own = self.quirks if self.extra_content else (*self.quirks, "no_extra_content")
        return quirks.apply(own + more, body)

    async def _found(self, requested: str) -> Offer | Unable:
        """What a local server has for `requested`: the model itself, else a gpt-oss."""
        try:
            async with asyncio.timeout(_PROBE):
                listed = await self._listed()
        except TimeoutError:
            return Unable(f"{_origin(self.base_url)} does not answer")
        except APIError as error:
            return Unable(error.message.rstrip("."))
        for model in listed:
            if is_same_model(model, requested):
                # g4f's server lists what it substitutes under the names that were asked for.
                return Offer(model, exact=self.name != "g4f", verify=True)
        for model in listed:
            if "gpt-oss" in model.lower():
                return Offer(model, exact=False)
        shown = ", ".join(clean(model, 60) for model in listed[:8]) or "no model"
        return Unable(
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
        found = Inner(self.batches(request, serving))
        try:
            async for batch in found:
                for chunk in batch:
                    yield chunk
        finally:
            await found.aclose()

    async def batches(self, request: ChatRequest, serving: Serving) -> AsyncGenerator[Batch, None]:
        """The chunks of `stream`, as many at a time as one read of the network brings."""
        place = Place(self.name, serving.model, _origin(self.base_url), self.advice, self.key)
        body = self._body(request, serving)
        headers = self._headers(request.headers, streaming=request.stream)
        response = await self._send(place, "POST", "/chat/completions", headers, body)
        try:
            if not 200 <= response.status < 300:
                raise await self._failure(place, response, len(body))
            reader = ChunkReader(
                self.name, serving.model, _choices(request), without_key=place.without_key
            )
            async for batch in Inner(_Answer(place, reader).read(response)):
                yield batch
        finally:
            await response.aclose()

    async def models(self) -> list[str]:
        place = Place(self.name, "", _origin(self.base_url), self.advice, self.key)
        response = await self._send(place, "GET", "/models", self._headers({}, streaming=False))
        try:
            if not 200 <= response.status < 300:
                raise await self._failure(place, response, 0)
            try:
                data = parse_json(await _body_of(response, place, MAX_EVENT))
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
        place: Place,
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
            from .stock import over_client

            return await over_client(self.http).send(request)
        except (NetworkError, OSError, ValueError) as error:
            raise connection_error(place, error) from None

    async def _failure(self, place: Place, response: Response, sent: int) -> APIError:
        body = await _body_of(response, place, _ERROR_BODY, cut=True)
        return http_error(place, response.status, response.headers, body, sent)


def _unable(offer: Offer, asked: set[str]) -> str | None:
    """Why the model of an offer cannot take a request that asks for `asked`; None if it can."""
    able = offer.able
    if able is None:
        return None
    lacks = {
        "images": (able.images, "reads no images"),
        "audio": (able.audio, "takes no audio"),
        "files": (able.files, "takes no files"),
        "tools": (able.tools, "calls no tools"),
        "schema": (able.schema, "keeps to no schema"),
    }
    for need in sorted(asked):
        can, words = lacks[need]
        if not can:
            return f"{offer.model} {words}"
    return None


def needs(request: ChatRequest) -> set[str]:
    """What a request asks of a model beyond text: of images, audio, files, tools, schema."""
    found = set()
    if request.params.get("tools"):
        found.add("tools")
    form = request.params.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        found.add("schema")
    for message in request.messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "image_url":
                found.add("images")
            elif kind == "input_audio":
                found.add("audio")
            elif kind == "file":
                found.add("files")
    return found


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _choices(request: ChatRequest) -> int:
    n = request.params.get("n")
    return n if isinstance(n, int) and n > 0 else 1


async def _bytes(response: Response, place: Place) -> AsyncGenerator[bytes, None]:
    """The body, with the network's errors as ours."""
    pieces: AsyncIterator[bytes] = aiter(response)
    if "content-encoding" in response.headers:
        from .stock import unpacked

        pieces = Inner(unpacked(response.headers, pieces))
    try:
        async for data in pieces:
            yield data
    except (NetworkError, OSError) as error:
        raise broken_off(place, error) from None


async def _body_of(response: Response, place: Place, limit: int, *, cut: bool = False) -> bytes:
    """The body up to `limit` bytes; a longer one is cut, or an `InvalidResponseError`."""
    body = bytearray()
    pieces = Inner(_bytes(response, place))
    try:
        async for data in pieces:
            body += data
            if len(body) > limit:
                if cut:
                    break
                raise _too_long(place)
    except TruncatedStreamError:
        # Of an error the status is enough.
        if not cut:
            raise
    finally:
        await pieces.aclose()
    return bytes(body)


def _too_long(place: Place) -> InvalidResponseError:
    return InvalidResponseError(
        f"{place.provider}: the answer has a piece of more than {MAX_EVENT // 2**20} MiB.",
        provider=place.provider,
        model=place.model,
    )


class _Answer:
    """The body of one answer, whatever form it has.

    What was asked for and what the Content-Type says are hints at best: a whole
    completion comes where a stream was asked for, and streams come as text/plain. The
    first byte tells.
    """

    def __init__(self, place: Place, reader: ChunkReader) -> None:
        self._place = place
        self._reader = reader
        self._finished = False
        self._begun = False
        self._calling = False
        self._done = False

    async def read(self, response: Response) -> AsyncGenerator[Batch, None]:
        body = Inner(_bytes(response, self._place))
        blank, size = [], 0
        async for data in body:
            blank.append(data)
            size += len(data)
            if data.strip(_BLANK):
                break
            if size > MAX_EVENT:
                raise _too_long(self._place)
        head = b"".join(blank)
        first = head.lstrip(_BLANK)[:1]
        if first in (b"{", b"["):
            yield [await self._whole(head, body)]
        elif first == b"<" or not first:
            raise self._invalid(
                "an HTML page" if first else "an empty body", "instead of a completion"
            )
        else:
            async for batch in Inner(self._stream(head, body)):
                yield batch

    def _invalid(self, what: str, rest: str) -> InvalidResponseError:
        return InvalidResponseError(
            f"{self._place.provider} ({self._place.origin}) sent {what} {rest}."
            " Is base_url the address of an OpenAI-compatible API?",
            provider=self._place.provider,
            model=self._place.model,
        )

    async def _whole(self, head: bytes, body: Inner[bytes]) -> ChatCompletionChunk:
        data = bytearray(head)
        async for more in body:
            data += more
            if len(data) > MAX_EVENT:
                raise _too_long(self._place)
        chunk = self._chunk(bytes(data).removeprefix(b"\xef\xbb\xbf"))
        if not any(choice.finish_reason for choice in chunk.choices):
            for choice in chunk.choices:
                # A whole body is its own proof that the answer ended.
                choice.finish_reason = "stop"
        return chunk

    def _chunk(self, data: bytes) -> ChatCompletionChunk:
        try:
            parsed = parse_json(data)
        except ValueError:
            raise self._invalid("something", "that is not JSON") from None
        self._check(parsed)
        return self._reader.read(parsed)

    def _check(self, parsed: Any) -> None:
        if isinstance(parsed, list):
            parsed = parsed[0] if parsed else None
        if isinstance(parsed, dict) and (parsed.get("error") or parsed.get("object") == "error"):
            raise stream_failure(self._place, parsed)

    async def _stream(self, head: bytes, body: Inner[bytes]) -> AsyncGenerator[Batch, None]:
        decoder = Decoder()
        until: float | None = None
        data: bytes | None = head
        while data is not None:
            batch, failure = self._read(decoder, data)
            if batch:
                yield batch
            if failure is not None:
                raise failure
            if self._done:
                await self._drain(body)
                self._check_calls()
                return
            if self._finished and until is None:
                until = asyncio.get_running_loop().time() + _AFTER_FINISH
            data = await self._next(body, until)
        try:
            last = decoder.end()
        except EventTooLong:
            raise _too_long(self._place) from None
        if last is not None and last.data.strip() != b"[DONE]":
            try:
                chunk = self._event(last)
            except InvalidResponseError:
                # Half an event: the connection ended inside it.
                chunk = None
            if chunk is not None:
                yield [chunk]
        elif last is not None:
            self._check_calls()
            return
        if not self._begun:
            raise self._invalid("something", "that is neither JSON nor an event stream")
        if not self._finished:
            raise self._truncated()

    def _truncated(self) -> TruncatedStreamError:
        return TruncatedStreamError(
            f"{self._place.provider}: the answer ended before it was finished.",
            provider=self._place.provider,
            model=self._place.model,
        )

    def _check_calls(self) -> None:
        """[DONE] alone ends a text. Of a tool call only a finish_reason says that it is whole."""
        if self._calling and not self._finished:
            raise self._truncated()

    def _read(self, decoder: Decoder, data: bytes) -> tuple[Batch, APIError | None]:
        """The chunks in `data`, and the error behind them: what came before it still counts."""
        batch: Batch = []
        try:
            for event in decoder.feed(data):
                if event.data.startswith(b"[DONE]"):
                    self._done = True
                    break
                batch.append(self._event(event))
        except EventTooLong:
            return batch, _too_long(self._place)
        except APIError as error:
            return batch, error
        return batch, None

    def _event(self, event: Event) -> ChatCompletionChunk:
        self._begun = True
        if event.name == "error":
            try:
                parsed = parse_json(event.data)
            except ValueError:
                parsed = event.data.decode("utf-8", "replace")
            raise stream_failure(self._place, parsed)
        chunk = self._reader.piece(event.data)
        if chunk is None:
            chunk = self._chunk(event.data)
            for choice in chunk.choices:
                if choice.finish_reason:
                    self._finished = True
                if choice.delta.tool_calls:
                    self._calling = True
        return chunk

    async def _next(self, body: Inner[bytes], until: float | None) -> bytes | None:
        if until is None:
            return await anext(body, None)
        try:
            async with asyncio.timeout_at(until):
                return await anext(body, None)
        except (TimeoutError, TruncatedStreamError):
            return None

    async def _drain(self, body: Inner[bytes]) -> None:
        size = 0
        try:
            async with asyncio.timeout(_DRAIN):
                async for data in body:
                    size += len(data)
                    if size > _ERROR_BODY:
                        return
        except (TimeoutError, TruncatedStreamError):
            return
