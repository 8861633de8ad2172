"""`AsyncClient` and `Client`: chat completions in OpenAI's form, with fallback between providers.

client = AsyncClient()
response = await client.chat.completions.create(model="gpt-4o", messages=[...])
print(response.choices[0].message.content)
print(response.provider, response.model, response.receipt.exact)
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from .config import Names
from .errors import G4FError
from .request import ChatRequest
from .routing.route import taking_part
from .settings import DEFAULT_MODEL, Messages, Proxies, Settings
from .stream import AsyncStream, Call, PendingCompletion, PendingStream, Stream
from .sync import loop_thread
from .types import ChatCompletion

if TYPE_CHECKING:
    import httpx

__all__ = ["AsyncClient", "AsyncStream", "Client", "Stream"]


class AsyncCompletions:
    """`client.chat.completions`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @overload
    def create(
        self,
        messages: Messages,
        model: str = ...,
        *,
        stream: Literal[True],
        provider: Names = ...,
        exact: bool = ...,
        timeout: float | None = ...,
        extra_body: Mapping[str, Any] | None = ...,
        headers: Mapping[str, str] | None = ...,
        **params: Any,
    ) -> PendingStream: ...
    @overload
    def create(
        self,
        messages: Messages,
        model: str = ...,
        *,
        stream: Literal[False] = ...,
        provider: Names = ...,
        exact: bool = ...,
        timeout: float | None = ...,
        extra_body: Mapping[str, Any] | None = ...,
        headers: Mapping[str, str] | None = ...,
        **params: Any,
    ) -> Coroutine[Any, Any, ChatCompletion]: ...
    @overload
    def create(
        self,
        messages: Messages,
        model: str = ...,
        *,
        stream: bool,
        provider: Names = ...,
        exact: bool = ...,
        timeout: float | None = ...,
        extra_body: Mapping[str, Any] | None = ...,
        headers: Mapping[str, str] | None = ...,
        **params: Any,
    ) -> PendingStream | Coroutine[Any, Any, ChatCompletion]: ...

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
        the providers that may answer, in order. `exact` refuses substitutes. `timeout` is in
        seconds, for the whole answer. `params` are OpenAI's (temperature, tools,
        response_format, …); `extra_body` is sent besides them. Awaiting returns a
        `ChatCompletion`, or an `AsyncStream` once the first chunk is there. Raises
        `llm_g4f.errors.G4FError`.
        """
        routing = {
            "provider": provider,
            "exact": exact,
            "timeout": timeout,
            "extra_body": extra_body,
            "headers": headers,
        }
        request = self._settings.request(messages, model, stream, routing, params)
        call = Call(request, self._settings.registry())
        return PendingStream(call) if stream else PendingCompletion[ChatCompletion](call)

    def stream(
        self, messages: Messages, model: str = DEFAULT_MODEL, **params: Any
    ) -> PendingStream:
        """`create` with `stream=True`."""
        params["stream"] = True
        pending: PendingStream = self.create(messages, model, **params)
        return pending


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
    @overload
    def create(
        self, messages: Messages, model: str = ..., *, stream: bool, **params: Any
    ) -> ChatCompletion | Stream: ...

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
        routing = {
            "provider": provider,
            "exact": exact,
            "timeout": timeout,
            "extra_body": extra_body,
            "headers": headers,
        }
        request = self._settings.request(messages, model, stream, routing, params)
        call = Call(request, self._settings.registry())
        if stream:
            return Stream(loop_thread().stream(lambda: call))
        return loop_thread().run(call.complete)

    def stream(self, messages: Messages, model: str = DEFAULT_MODEL, **params: Any) -> Stream:
        """`create` with `stream=True`."""
        params["stream"] = True
        stream: Stream = self.create(messages, model, **params)
        return stream


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
        """The model ids that the providers of gpt-4o's route list, each as provider/id. A provider
        that fails is left out; if all fail, the first error is raised.
        """
        request = ChatRequest(
            model=DEFAULT_MODEL,
            messages=[],
            providers=self._settings.providers,
            key=self._settings.key,
        )
        listed: list[str] = []
        failure: G4FError | None = None
        for provider in await taking_part(request, self._settings.registry()):
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
        return loop_thread().run(self._models.list)


class AsyncClient:
    """A client of every provider that g4f.yaml and the keys allow.

    `provider`: a name, or names in order (a list, or separated by spaces or commas). `base_url`
    alone makes an ad-hoc provider named `custom`. `api_key` is for exactly one provider: the one
    named, `custom`, else openai. `proxies`: a URL, or URLs by scheme; without it HTTPS_PROXY and
    the like apply. `timeout` is in seconds, for a whole answer. `http_client` replaces the
    connections that all clients share; you close it yourself.

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
        """Do nothing: other clients have this method too."""

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
        """Do nothing: other clients have this method too."""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
