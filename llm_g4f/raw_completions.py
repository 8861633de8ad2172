"""`chat.completions.with_raw_response` and `with_streaming_response`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar, overload

from .arguments import Absent
from .parsing import ParsedChatCompletion, Parsing
from .raw_response import AsyncStreamedResponse, RawResponse, StreamedResponse
from .request import ROUTING_OPTIONS
from .settings import DEFAULT_MODEL, Messages, Settings
from .stream import Call, Stream
from .sync import loop_thread

T = TypeVar("T")


class BaseCompletions:
    """Calls with the settings of a client."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def _call(
        self, messages: Messages, model: str = DEFAULT_MODEL, stream: bool = False, **params: Any
    ) -> Call:
        """The call for all that `create` takes."""
        routing = {name: params.pop(name) for name in ROUTING_OPTIONS if name in params}
        request = self._settings.request(messages, model, bool(stream), routing, params)
        return Call(request, self._settings.registry())


def begun(call: Call) -> Stream:
    """The stream of a call, without `await`."""
    return Stream(call, loop_thread().stream(lambda: call))


class AsyncRawCompletions(BaseCompletions):
    """`client.chat.completions.with_raw_response`."""

    async def create(self, *args: Any, **params: Any) -> RawResponse[Any]:
        """What `create` returns is in `parse()`."""
        call = self._call(*args, **params)
        value = await (call.begin() if call.request.stream else call.complete())
        return RawResponse(value, call.headers())

    @overload
    async def parse(
        self, *args: Any, response_format: type[T], **params: Any
    ) -> RawResponse[ParsedChatCompletion[T]]: ...
    @overload
    async def parse(
        self,
        *args: Any,
        response_format: Mapping[str, Any] | Absent | None = ...,
        **params: Any,
    ) -> RawResponse[ParsedChatCompletion[Any]]: ...

    async def parse(
        self, *args: Any, response_format: Any = None, **params: Any
    ) -> RawResponse[ParsedChatCompletion[Any]]:
        """What `parse` returns is in `parse()`, which also raises what it raises for an answer that
        does not fit."""
        asked: Parsing[Any] = Parsing(response_format, params)
        call = self._call(*args, **params)
        return RawResponse(await asked.answer(call), call.headers(), asked.parsed)


class RawCompletions(BaseCompletions):
    """`client.chat.completions.with_raw_response` without `await`."""

    def create(self, *args: Any, **params: Any) -> RawResponse[Any]:
        """What `create` returns is in `parse()`."""
        call = self._call(*args, **params)
        value = begun(call) if call.request.stream else loop_thread().run(call.complete)
        return RawResponse(value, call.headers())

    @overload
    def parse(
        self, *args: Any, response_format: type[T], **params: Any
    ) -> RawResponse[ParsedChatCompletion[T]]: ...
    @overload
    def parse(
        self,
        *args: Any,
        response_format: Mapping[str, Any] | Absent | None = ...,
        **params: Any,
    ) -> RawResponse[ParsedChatCompletion[Any]]: ...

    def parse(
        self, *args: Any, response_format: Any = None, **params: Any
    ) -> RawResponse[ParsedChatCompletion[Any]]:
        """See `AsyncRawCompletions.parse`."""
        parse = AsyncRawCompletions(self._settings).parse
        return loop_thread().run(lambda: parse(*args, response_format=response_format, **params))


class AsyncResponseManager(Generic[T]):
    """The response of a request, for `async with`."""

    def __init__(self, ask: Callable[[], Awaitable[RawResponse[T]]]) -> None:
        self._ask = ask

    async def __aenter__(self) -> AsyncStreamedResponse[T]:
        self._response = AsyncStreamedResponse(await self._ask())
        return self._response

    async def __aexit__(self, *_: object) -> None:
        await self._response.close()


class ResponseManager(Generic[T]):
    """The response of a request, for `with`."""

    def __init__(self, ask: Callable[[], RawResponse[T]]) -> None:
        self._ask = ask

    def __enter__(self) -> StreamedResponse[T]:
        self._response = StreamedResponse(self._ask())
        return self._response

    def __exit__(self, *_: object) -> None:
        self._response.close()


class AsyncStreamingCompletions(BaseCompletions):
    """`client.chat.completions.with_streaming_response`."""

    def create(self, *args: Any, **params: Any) -> AsyncResponseManager[Any]:
        """Use it in `async with`; what `create` returns is in `await response.parse()`."""
        raw = AsyncRawCompletions(self._settings)
        return AsyncResponseManager(lambda: raw.create(*args, **params))

    def parse(self, *args: Any, **params: Any) -> AsyncResponseManager[ParsedChatCompletion[Any]]:
        """The same for `parse`."""
        raw = AsyncRawCompletions(self._settings)
        return AsyncResponseManager(lambda: raw.parse(*args, **params))


class StreamingCompletions(BaseCompletions):
    """`client.chat.completions.with_streaming_response` without `await`."""

    def create(self, *args: Any, **params: Any) -> ResponseManager[Any]:
        """Use it in `with`; what `create` returns is in `response.parse()`."""
        raw = RawCompletions(self._settings)
        return ResponseManager(lambda: raw.create(*args, **params))

    def parse(self, *args: Any, **params: Any) -> ResponseManager[ParsedChatCompletion[Any]]:
        """The same for `parse`."""
        raw = RawCompletions(self._settings)
        return ResponseManager(lambda: raw.parse(*args, **params))
