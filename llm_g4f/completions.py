"""`client.chat.completions`: `create` and `parse`."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, Literal, TypeVar, overload

from .arguments import Absent
from .config.settings import Names
from .parsing import ParsedChatCompletion, Parsing
from .raw_completions import (
    AsyncRawCompletions,
    AsyncStreamingCompletions,
    BaseCompletions,
    RawCompletions,
    StreamingCompletions,
    begun,
)
from .settings import DEFAULT_MODEL, Messages
from .stream import Call, PendingCompletion, PendingStream, Stream
from .sync import loop_thread
from .types import ChatCompletion

T = TypeVar("T")


class AsyncCompletions(BaseCompletions):
    """`client.chat.completions`."""

    @overload
    def create(
        self,
        messages: Messages,
        model: str = ...,
        *,
        stream: Literal[True],
        provider: Names = ...,
        exact: bool = ...,
        timeout: Any = ...,
        extra_body: Mapping[str, Any] | None = ...,
        headers: Mapping[str, str] | None = ...,
        cache: bool | None = ...,
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
        timeout: Any = ...,
        extra_body: Mapping[str, Any] | None = ...,
        headers: Mapping[str, str] | None = ...,
        cache: bool | None = ...,
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
        timeout: Any = ...,
        extra_body: Mapping[str, Any] | None = ...,
        headers: Mapping[str, str] | None = ...,
        cache: bool | None = ...,
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
        timeout: Any = None,
        extra_body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        cache: bool | None = None,
        **params: Any,
    ) -> Any:
        """Ask for a completion: await the result, or with `stream=True` also iterate over it.

        `messages` is a list in OpenAI's form, in which messages of answers may stand, or the text of
        one user message. `provider` names the providers that may answer, in order. `exact` refuses
        substitutes. `timeout` is in seconds, for the whole answer, or an `httpx.Timeout`: `connect`,
        and `read` for the first content and from each to the next. `cache`: whether the answer may be
        one that was kept, and is kept, for as long as g4f.yaml says. `params` are OpenAI's
        (temperature, tools, response_format, …), and `extra_headers`, `extra_query` and
        `max_retries`; `extra_body` is sent besides them. Awaiting returns a `ChatCompletion`, or an
        `AsyncStream` once the first chunk is there. Raises `llm_g4f.errors.G4FError`; an
        `ArgumentError`, which is a TypeError too, for arguments of the wrong kind.
        """
        routing = {
            "provider": provider,
            "exact": exact,
            "timeout": timeout,
            "extra_body": extra_body,
            "headers": headers,
            "cache": cache,
        }
        request = self._settings.request(messages, model, bool(stream), routing, params)
        call = Call(request, self._settings.registry())
        return PendingStream(call) if stream else PendingCompletion[ChatCompletion](call)

    def stream(
        self, messages: Messages, model: str = DEFAULT_MODEL, **params: Any
    ) -> PendingStream:
        """`create` with `stream=True`: chunks, and not the events of openai's helper."""
        params["stream"] = True
        pending: PendingStream = self.create(messages, model, **params)
        return pending

    @overload
    async def parse(
        self, messages: Messages, model: str = ..., *, response_format: type[T], **params: Any
    ) -> ParsedChatCompletion[T]: ...
    @overload
    async def parse(
        self,
        messages: Messages,
        model: str = ...,
        *,
        response_format: Mapping[str, Any] | Absent | None = ...,
        **params: Any,
    ) -> ParsedChatCompletion[Any]: ...

    async def parse(
        self,
        messages: Messages,
        model: str = DEFAULT_MODEL,
        *,
        response_format: Any = None,
        **params: Any,
    ) -> ParsedChatCompletion[Any]:
        """A completion whose `message.parsed` is an object of a pydantic class; None for a refusal.

        `tools` must be strict: the `function.parsed_arguments` of a call are an object of the class
        that `llm_g4f.openai.pydantic_function_tool` was given, else JSON. Raises
        `LengthFinishReasonError`, `ContentFilterFinishReasonError` and what `create` raises.
        """
        asked: Parsing[Any] = Parsing(response_format, params)
        return asked.parsed(await asked.answer(self._call(messages, model, **params)))

    @property
    def with_raw_response(self) -> AsyncRawCompletions:
        """`create` and `parse` with the headers of the response."""
        return AsyncRawCompletions(self._settings)

    @property
    def with_streaming_response(self) -> AsyncStreamingCompletions:
        """The same in `async with`."""
        return AsyncStreamingCompletions(self._settings)


class Completions(BaseCompletions):
    """`client.chat.completions` without `await`."""

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
        self, messages: Messages, model: str = DEFAULT_MODEL, *, stream: bool = False, **params: Any
    ) -> ChatCompletion | Stream:
        """A completion, or with `stream=True` a `Stream` of chunks; see `AsyncCompletions.create`."""
        call = self._call(messages, model, stream, **params)
        return begun(call) if stream else loop_thread().run(call.complete)

    def stream(self, messages: Messages, model: str = DEFAULT_MODEL, **params: Any) -> Stream:
        """`create` with `stream=True`: chunks, and not the events of openai's helper."""
        return begun(self._call(messages, model, True, **params))

    @overload
    def parse(
        self, messages: Messages, model: str = ..., *, response_format: type[T], **params: Any
    ) -> ParsedChatCompletion[T]: ...
    @overload
    def parse(
        self,
        messages: Messages,
        model: str = ...,
        *,
        response_format: Mapping[str, Any] | Absent | None = ...,
        **params: Any,
    ) -> ParsedChatCompletion[Any]: ...

    def parse(
        self,
        messages: Messages,
        model: str = DEFAULT_MODEL,
        *,
        response_format: Any = None,
        **params: Any,
    ) -> ParsedChatCompletion[Any]:
        """See `AsyncCompletions.parse`."""
        parse = AsyncCompletions(self._settings).parse
        return loop_thread().run(
            lambda: parse(messages, model, response_format=response_format, **params)
        )

    @property
    def with_raw_response(self) -> RawCompletions:
        """`create` and `parse` with the headers of the response."""
        return RawCompletions(self._settings)

    @property
    def with_streaming_response(self) -> StreamingCompletions:
        """The same in `with`."""
        return StreamingCompletions(self._settings)
