"""`AsyncClient` and `Client`: chat completions in OpenAI's form, with fallback between providers.

client = AsyncClient()
response = await client.chat.completions.create(model="gpt-4o", messages=[...])
print(response.choices[0].message.content)
print(response.provider, response.model, response.receipt.exact)
"""

from __future__ import annotations

import copy
import re
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import TYPE_CHECKING, Any, Literal, overload

from . import config
from .config import Names
from .errors import BadRequestError, G4FError, NoProviderError
from .portal import portal
from .providers.base import Batch
from .providers.chain import Inner
from .providers.transport import Network
from .routing.attempts import stream as stream_route
from .routing.notice import announce, notice_of
from .routing.registry import Source
from .routing.route import taking_part
from .types import (
    JSON,
    Accumulator,
    ChatCompletion,
    ChatCompletionChunk,
    ChatRequest,
    Receipt,
    Secret,
)

if TYPE_CHECKING:
    import httpx

__all__ = ["AsyncClient", "AsyncStream", "Client", "Stream"]

Messages = str | Iterable[Mapping[str, Any]]
Proxies = str | Mapping[str, str] | None

DEFAULT_MODEL = "gpt-4o"

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*").fullmatch

_SECRET_HEADERS = frozenset(
    {"authorization", "api-key", "x-api-key", "cookie", "proxy-authorization"}
)


def _messages(messages: Messages) -> list[JSON]:
    """The caller's messages as our own: nothing that happens here changes theirs."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}] if messages.strip() else []
    try:
        copied: list[JSON] = [copy.deepcopy(dict(message)) for message in messages]
    except (TypeError, ValueError):
        raise BadRequestError(
            'messages must be a text, or a list of {"role": …, "content": …}.', status_code=400
        ) from None
    for message in copied:
        calls = message.get("tool_calls")
        if calls is not None and not (
            isinstance(calls, list) and all(isinstance(call, dict) for call in calls)
        ):
            raise BadRequestError("tool_calls must be a list of objects.", status_code=400)
    return copied


def _network(proxies: Proxies) -> Network:
    if proxies is None or isinstance(proxies, str):
        return Network(http_proxy=proxies, https_proxy=proxies)
    by_scheme = {name.removesuffix("://"): url for name, url in proxies.items()}
    everything = by_scheme.get("all")
    return Network(
        http_proxy=by_scheme.get("http", everything),
        https_proxy=by_scheme.get("https", everything),
    )


class AsyncStream:
    """The chunks of one answer: an async iterator that knows who answers.

    `receipt` is there from the first chunk on and complete when the chunks have ended.
    """

    def __init__(self, batches: AsyncGenerator[Batch, None]) -> None:
        self._batches = batches
        self._ready: deque[ChatCompletionChunk] = deque()
        self.receipt: Receipt | None = None

    async def _begin(self) -> AsyncStream:
        """Wait for the first chunk, so that a failure shows here and not in the loop."""
        self._take(await anext(self._batches))
        return self

    def _take(self, batch: Batch) -> None:
        self._ready.extend(batch)
        self.receipt = batch[0].receipt

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> ChatCompletionChunk:
        if not self._ready:
            self._take(await anext(self._batches))
        return self._ready.popleft()

    async def aclose(self) -> None:
        """End the answer here; the provider's connection is closed."""
        self._ready.clear()
        await self._batches.aclose()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Stream:
    """What `AsyncStream` is, without `await`."""

    def __init__(self, batches: Generator[Batch, None, None]) -> None:
        self._batches = batches
        self._ready = deque(next(batches))
        self.receipt: Receipt | None = self._ready[0].receipt

    def __iter__(self) -> Iterator[ChatCompletionChunk]:
        return self

    def __next__(self) -> ChatCompletionChunk:
        if not self._ready:
            self._ready.extend(next(self._batches))
        return self._ready.popleft()

    def close(self) -> None:
        """End the answer here; the provider's connection is closed."""
        self._ready.clear()
        self._batches.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Pending:
    """What `create` returns: awaited it is the answer, iterated its chunks. Nothing is sent before."""

    def __init__(self, call: _Call) -> None:
        self._call = call

    def __await__(self) -> Generator[Any, None, Any]:
        answer = self._call.begin() if self._call.request.stream else self._call.complete()
        return answer.__await__()

    def __aiter__(self) -> AsyncIterator[ChatCompletionChunk]:
        if not self._call.request.stream:
            raise TypeError("only a stream can be iterated: create(..., stream=True)")
        return AsyncStream(self._call.batches())


class _Call:
    """One request on its way: as chunks, as a begun stream, or whole."""

    def __init__(self, request: ChatRequest, source: Source) -> None:
        self.request = request
        self._source = source

    async def batches(self) -> AsyncGenerator[Batch, None]:
        found = Inner(stream_route(self.request, self._source))
        announced = False
        try:
            async for batch in found:
                if not announced:
                    announced = True
                    receipt = batch[0].receipt
                    notice = notice_of(receipt) if receipt else None
                    if notice and self._source.config.notice:
                        announce(notice)
                yield batch
        finally:
            await found.aclose()

    async def begin(self) -> AsyncStream:
        return await AsyncStream(self.batches())._begin()

    async def complete(self) -> ChatCompletion:
        whole = Accumulator()
        async for batch in self.batches():
            for chunk in batch:
                whole.add(chunk)
        return whole.completion()


class Settings:
    """What a client was made with, and requests made of it: the same for both, and for batches."""

    def __init__(
        self,
        provider: Names,
        api_key: str | Secret | None,
        base_url: str | None,
        proxies: Proxies,
        timeout: float | None,
        http_client: httpx.AsyncClient | None,
    ) -> None:
        self.providers = config.provider_names(provider)
        self.base_url = None
        self.key: Secret | None = None
        self.timeout = timeout
        self.network = _network(proxies)
        self.http = http_client
        if base_url is not None:
            try:
                self.base_url = config.check_base_url(base_url, plain_http=True)
            except ValueError as error:
                raise NoProviderError(f"base_url: {error}") from None
            if self.providers not in ((), ("custom",)):
                raise NoProviderError(
                    "base_url makes a provider of its own, named custom: leave provider out, or give"
                    f" {', '.join(self.providers)} its base_url in g4f.yaml."
                )
            self.providers = ("custom",)
        if api_key is not None:
            if len(self.providers) > 1:
                raise NoProviderError(
                    f"api_key belongs to one provider, and {len(self.providers)} are named"
                    f" ({', '.join(self.providers)}): name the one it is for."
                )
            given = api_key if isinstance(api_key, Secret) else config.clean_key(api_key, "api_key")
            self.key = given
            self.providers = self.providers or ("openai",)

    def source(self) -> Source:
        return Source(config.load(), self.base_url, self.network, self.http)

    def request(
        self,
        messages: Messages,
        model: str,
        provider: Names,
        stream: bool,
        exact: bool,
        timeout: float | None,
        extra_body: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        params: JSON,
    ) -> ChatRequest:
        """The request of one call. Raises `G4FError` for what nobody could be asked."""
        providers = self.providers if provider is None else config.provider_names(provider)
        if self.key is not None and providers != self.providers:
            raise NoProviderError(
                f"This client's api_key is for {self.providers[0]}; it is not sent to another"
                " provider. Make a client without api_key, or with the other provider's."
            )
        for name, value in (headers or {}).items():
            # An HTTP library that is given a bad header prints it, and it may be a key.
            if not _HEADER_NAME(name) or not _HEADER_VALUE(str(value)):
                raise BadRequestError(
                    "A header in headers= has characters that HTTP does not allow in headers.",
                    status_code=400,
                )
            if name.lower() in _SECRET_HEADERS and len(providers) != 1:
                raise NoProviderError(
                    f"The header {name} would go to every provider of the route: name the one"
                    " provider it is for, or give the key as api_key."
                )
        try:
            own = _messages(messages)
            params = copy.deepcopy({k: v for k, v in params.items() if v is not None})
            more = copy.deepcopy(dict(extra_body or {}))
        except RecursionError:
            raise BadRequestError("The request is nested too deeply.", status_code=400) from None
        return ChatRequest(
            model=model or DEFAULT_MODEL,
            messages=own,
            params=params,
            stream=stream,
            providers=providers,
            exact=exact,
            timeout=self.timeout if timeout is None else timeout,
            key=self.key,
            headers=dict(headers or {}),
            extra_body=more,
        )


class AsyncCompletions:
    """`client.chat.completions`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def create(
        self,
        messages: Messages,
        model: str = DEFAULT_MODEL,
        *,
        provider: Names = None,
        stream: bool = False,
        exact: bool = False,
        timeout: float | None = None,
        extra_body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **params: Any,
    ) -> Any:
        """Ask for a completion: await the result, or with `stream=True` also iterate over it.

        `messages` is a list in OpenAI's form, or the text of one user message. `provider` names
        who may answer, in order. `exact` refuses substitutes. `timeout` is in seconds, for the
        whole answer. `params` are OpenAI's (temperature, tools, response_format, …);
        `extra_body` is sent besides them. Awaiting gives a `ChatCompletion`, or an `AsyncStream`
        once the first chunk is there. Raises `llm_g4f.errors.G4FError`.
        """
        request = self._settings.request(
            messages, model, provider, stream, exact, timeout, extra_body, headers, params
        )
        return _Pending(_Call(request, self._settings.source()))

    def stream(self, messages: Messages, model: str = DEFAULT_MODEL, **params: Any) -> Any:
        """`create` with `stream=True`."""
        return self.create(messages, model, **(params | {"stream": True}))


class Completions:
    """`client.chat.completions` without `await`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @overload
    def create(
        self, messages: Messages, model: str = ..., *, stream: Literal[True], **params: Any
    ) -> Stream: ...
    @overload
    def create(
        self, messages: Messages, model: str = ..., *, stream: Literal[False] = ..., **params: Any
    ) -> ChatCompletion: ...

    def create(
        self,
        messages: Messages,
        model: str = DEFAULT_MODEL,
        *,
        provider: Names = None,
        stream: bool = False,
        exact: bool = False,
        timeout: float | None = None,
        extra_body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **params: Any,
    ) -> ChatCompletion | Stream:
        """A completion, or with `stream=True` a `Stream` of chunks; see `AsyncCompletions.create`."""
        request = self._settings.request(
            messages, model, provider, stream, exact, timeout, extra_body, headers, params
        )
        call = _Call(request, self._settings.source())
        if stream:
            return Stream(portal().stream(call.batches))
        return portal().run(call.complete)

    def stream(self, messages: Messages, model: str = DEFAULT_MODEL, **params: Any) -> Stream:
        """`create` with `stream=True`."""
        begun: Stream = self.create(messages, model, **(params | {"stream": True}))
        return begun


class AsyncChat:
    """`client.chat`."""

    def __init__(self, settings: Settings) -> None:
        self.completions = AsyncCompletions(settings)


class Chat:
    """`client.chat` without `await`."""

    def __init__(self, settings: Settings) -> None:
        self.completions = Completions(settings)


class AsyncModels:
    """`client.models`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def list(self) -> list[str]:
        """The model ids that the providers of gpt-4o's route list, each as provider/id. One that
        does not answer is passed over; if none does, its error is raised.
        """
        request = ChatRequest(
            model=DEFAULT_MODEL,
            messages=[],
            providers=self._settings.providers,
            key=self._settings.key,
        )
        listed: list[str] = []
        failure: G4FError | None = None
        for provider in await taking_part(request, self._settings.source()):
            try:
                listed += [f"{provider.name}/{model}" for model in await provider.models()]
            except G4FError as error:
                failure = failure or error
        if failure is not None and not listed:
            raise failure
        return listed


class Models:
    """`client.models` without `await`."""

    def __init__(self, settings: Settings) -> None:
        self._models = AsyncModels(settings)

    def list(self) -> Sequence[str]:
        """See `AsyncModels.list`."""
        return portal().run(self._models.list)


class AsyncClient:
    """A client of every provider that g4f.yaml and the keys allow.

    `provider`: a name, or names in order (a list, or separated by spaces or commas). `base_url`
    alone makes an ad-hoc provider named `custom`. `api_key` is for exactly one provider: the one
    named, `custom`, else openai. `proxies`: a URL, or URLs by scheme; without it HTTPS_PROXY and
    the like hold. `timeout` is in seconds, for a whole answer. `http_client` replaces the
    connections that all clients share; it stays its owner's to close.

    Nothing has to be closed: connections end with the event loop. Raises
    `llm_g4f.errors.NoProviderError` for arguments that contradict each other.
    """

    def __init__(
        self,
        provider: Names = None,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        proxies: Proxies = None,
        timeout: float | None = None,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        settings = Settings(provider, api_key, base_url, proxies, timeout, http_client)
        self.chat = AsyncChat(settings)
        self.models = AsyncModels(settings)

    async def aclose(self) -> None:
        """For symmetry with other clients: there is nothing of its own to close."""

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Client:
    """`AsyncClient` without `await`. Works in threads, and where an event loop runs already."""

    def __init__(
        self,
        provider: Names = None,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        proxies: Proxies = None,
        timeout: float | None = None,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        settings = Settings(provider, api_key, base_url, proxies, timeout, http_client)
        self.chat = Chat(settings)
        self.models = Models(settings)

    def close(self) -> None:
        """For symmetry with other clients: there is nothing of its own to close."""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
