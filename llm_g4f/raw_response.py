"""An answer with the head of its HTTP response."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, NoReturn, TypeVar

from .http_head import Headers

T_co = TypeVar("T_co", covariant=True)


class _Head:
    """The head of a response."""

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        self.status_code = 200

    @property
    def request_id(self) -> str | None:
        """The provider's name for the request; None where it gave none."""
        return self.headers.get("x-request-id")

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"A response has no {name} here: its answer is in parse(), and its head in status_code,"
            " headers and request_id."
        )


class RawResponse(_Head, Generic[T_co]):
    """`with_raw_response`: the `headers` of the response, and in `parse()` what `create` would have
    returned, which `read` makes of the `answer`: a completion or a stream."""

    def __init__(
        self, answer: Any, headers: Headers, read: Callable[[Any], T_co] | None = None
    ) -> None:
        super().__init__(headers)
        self.answer = answer
        self._read = read

    def parse(self) -> T_co:
        """The completion, or the stream."""
        if self._read is not None:
            self.answer, self._read = self._read(self.answer), None
        value: T_co = self.answer
        return value


class StreamedResponse(_Head, Generic[T_co]):
    """`with_streaming_response`: a response with the lines of its answer too."""

    def __init__(self, raw: RawResponse[T_co]) -> None:
        super().__init__(raw.headers)
        self._raw = raw

    def parse(self) -> T_co:
        """The completion, or the stream."""
        return self._raw.parse()

    def iter_lines(self) -> Iterator[str]:
        """The answer in OpenAI's form, not as its provider wrote it: the JSON of a completion, or the
        events of a stream."""
        answer = self._raw.answer
        if not hasattr(answer, "close"):
            yield answer.model_dump_json()
            return
        for chunk in answer:
            yield from _event_of(chunk)
        yield from _END

    def json(self) -> dict[str, Any]:
        """The completion in OpenAI's form."""
        return dict(self._raw.answer.to_dict())

    def close(self) -> None:
        """End the answer here; the connection of a stream is closed."""
        if hasattr(self._raw.answer, "close"):
            self._raw.answer.close()


class AsyncStreamedResponse(_Head, Generic[T_co]):
    """`StreamedResponse` with `await`."""

    def __init__(self, raw: RawResponse[T_co]) -> None:
        super().__init__(raw.headers)
        self._raw = raw

    async def parse(self) -> T_co:
        """The completion, or the stream."""
        return self._raw.parse()

    async def iter_lines(self) -> AsyncIterator[str]:
        """See `StreamedResponse.iter_lines`."""
        answer = self._raw.answer
        if not hasattr(answer, "aclose"):
            yield answer.model_dump_json()
            return
        async for chunk in answer:
            for line in _event_of(chunk):
                yield line
        for line in _END:
            yield line

    async def json(self) -> dict[str, Any]:
        """The completion in OpenAI's form."""
        return dict(self._raw.answer.to_dict())

    async def close(self) -> None:
        """End the answer here; the connection of a stream is closed."""
        if hasattr(self._raw.answer, "aclose"):
            await self._raw.answer.aclose()


_END = ("data: [DONE]", "")


def _event_of(chunk: Any) -> tuple[str, str]:
    """The lines of an event; the receipt, which only ours have, would be the most of it."""
    return f"data: {chunk.model_dump_json(exclude=('receipt',))}", ""
