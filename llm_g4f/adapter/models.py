"""gpt-4o and its relatives as llm models. Both `execute` methods are the same pipeline.

The rest of the package is imported by the first prompt: llm imports this module at every start.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, cast

import click
import llm
from llm.default_plugins.openai_models import Chat
from llm.parts import StreamEvent

from ..providers.model_ids import MODELS, names_of

if TYPE_CHECKING:
    from ..routing.fallback import Fallback
    from .response_writer import ResponseWriter

_ATTACHMENTS = frozenset(
    {
        *("image/png", "image/jpeg", "image/webp", "image/gif"),
        "application/pdf",
        *("audio/wav", "audio/mpeg"),
    }
)


reported: set[str] = set()
"""The errors of the configuration that a prompt has ended with."""


class _LazyOptions:
    """The class of options, imported lazily: llm makes every model at every start."""

    def __get__(self, instance: object, owner: type) -> Any:
        from .options import Options

        return Options


class _Shared:
    can_stream = True
    supports_schema = True
    supports_tools = True
    # Other plugins and hosts look up a key only for a model that says so, and set it as `key`.
    needs_key: str | None
    key_env_var: str | None
    # Everything that any provider takes: the others are left out of the route.
    attachment_types: set[str] | frozenset[str] = _ATTACHMENTS
    # Turns that llm's own gpt-4o logged are stored with references to these.
    json_replacements: ClassVar[dict[str, Any]] = {**Chat.json_replacements}
    Options = _LazyOptions()

    key: str | None

    def __init__(self, model_id: str, requested: str) -> None:
        self.model_id = model_id
        self.requested = requested
        # A key without a provider is openai's, which serves no other models.
        at_openai = names_of(requested)[-1] in MODELS
        self.needs_key = "openai" if at_openai else None
        self.key_env_var = "OPENAI_API_KEY" if at_openai else None

    def __str__(self) -> str:
        return f"G4F: {self.model_id}"

    def get_key(self, explicit_key: str | None = None) -> str | None:
        """The key the user gave for this prompt or set on the model, or None. Never raises.

        One set on the model that would be found anyway counts as not given: plugins set what llm
        finds, and no person restricted the route to its provider.
        """
        return explicit_key or (None if self._is_found_anyway(self.key) else self.key)

    def _is_found_anyway(self, key: str | None) -> bool:
        if not key or not self.needs_key or not self.key_env_var:
            return False
        from ..config.keys import find_key, named_key
        from ..errors import NoProviderError

        try:
            found = find_key((self.needs_key,), (self.key_env_var,))
            return found is not None and found.reveal() == named_key(key).reveal()
        except NoProviderError:
            # An invalid key, which the request reports.
            return False

    def _begin(
        self, prompt: llm.Prompt, stream: bool, response: Any, key: str | None
    ) -> tuple[ResponseWriter, Fallback]:
        """The response writer, and the answer that it will write."""
        from .. import config
        from ..routing.answer import answer_to
        from ..routing.failure_log import FailureLog
        from ..routing.registry import Registry
        from .request import previous_metadata, prompt_to_request
        from .response_writer import ResponseWriter
        from .terminal import show_notices

        show_notices()
        metadata = previous_metadata(prompt)
        request = prompt_to_request(self.requested, prompt, metadata, stream, key)
        registry = Registry(config.load(), failures=FailureLog())
        return ResponseWriter(request, response, metadata, registry), answer_to(request, registry)


class ModelError(llm.ModelError, click.ClickException):
    """An error of ours as llm's. Also click's: `llm chat` (0.36) prints a traceback of any other."""


@contextlib.contextmanager
def _model_errors() -> Iterator[list[ResponseWriter]]:
    """Turn our errors into llm's, with the complete message: llm prints it after "Error: ". The
    writer of the answer belongs into the list: what it wrote must not share a line with the error."""
    from ..errors import ConfigError, G4FError

    writers: list[ResponseWriter] = []
    try:
        yield writers
    except G4FError as error:
        if any(writer.is_line_open for writer in writers):
            from .terminal import end_line

            end_line()
        if isinstance(error, ConfigError):
            reported.add(str(error))
        raise ModelError(str(error)) from error


class G4F(_Shared, llm.KeyModel):
    """A model for llm's synchronous API."""

    def execute(
        self,
        prompt: llm.Prompt,
        stream: bool,
        response: llm.Response,
        conversation: llm.Conversation | None = None,
        key: str | None = None,
    ) -> Iterator[StreamEvent]:
        from ..sync import loop_thread

        with _model_errors() as writers:
            writer, fallback = self._begin(prompt, stream, response, key)
            writers.append(writer)
            with contextlib.closing(loop_thread().stream(lambda: fallback)) as answer:
                for chunks in answer:
                    for chunk in chunks:
                        yield from writer.events(chunk)
            completion = fallback.completion()
            writer.find_price(completion)
            yield from writer.finish(completion)


class AsyncG4F(_Shared, llm.AsyncKeyModel):
    """A model for llm's asynchronous API."""

    def execute(
        self,
        prompt: llm.Prompt,
        stream: bool,
        response: llm.AsyncResponse,
        conversation: llm.AsyncConversation | None = None,
        key: str | None = None,
    ) -> AsyncGenerator[StreamEvent, None]:
        from ..asyncgen import ManagedAsyncGen

        events = self._events(prompt, stream, response, key)
        # llm's own generator closes this one; so would the loop, at the same time.
        return cast("AsyncGenerator[StreamEvent, None]", ManagedAsyncGen(events, collected=True))

    async def _events(
        self, prompt: llm.Prompt, stream: bool, response: llm.AsyncResponse, key: str | None
    ) -> AsyncGenerator[StreamEvent, None]:
        with _model_errors() as writers:
            writer, fallback = self._begin(prompt, stream, response, key)
            writers.append(writer)
            async with contextlib.aclosing(fallback):
                async for chunks in fallback:
                    for chunk in chunks:
                        for event in writer.events(chunk):
                            yield event
            completion = fallback.completion()
            await asyncio.to_thread(writer.find_price, completion)
            for event in writer.finish(completion):
                yield event
