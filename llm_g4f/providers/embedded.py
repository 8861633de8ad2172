"""The model that runs on this machine, as a provider: an endpoint whose server is started by us."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import cached_property
from typing import Any

from msgspec.structs import replace

from ..config import load
from ..decoding.text import parse_json
from ..errors import APIConnectionError, APIError, StreamError, TruncatedStreamError
from ..http.connect import Network, send
from ..http.types import NetworkError, Request, parse_url
from ..local import server
from ..local.control import Running
from ..local.errors import WeightsError
from ..local.files import ModelFile, find
from ..local.ready import ready_file
from ..local.runtime import NOT_INSTALLED, is_installed
from ..local.start import vision_file
from ..local.status_line import StatusLine
from ..local.table import DEFAULT
from ..request import SAMPLING, ChatRequest, Secret
from ..types import JSON, ChatCompletionChunk, Chunks
from .base import ChunkStream, Ineligible, Kind, OpenStream, Scope, ServedModel
from .capabilities import Capabilities
from .endpoint import Endpoint
from .model_ids import is_same_model

_PARAMETERS = frozenset(
    (
        *SAMPLING,
        *("max_completion_tokens", "max_tokens", "response_format", "seed", "stop"),
        *("tools", "tool_choice", "parallel_tool_calls", "reasoning_effort"),
    )
)
"""The parameters that llama.cpp's server takes (its README, "POST /v1/chat/completions")."""

KEEP_ALIVE = 300.0
"""Seconds for which a model stays loaded that the user asked for, as at Ollama."""


class Embedded:
    """The local model as a provider. Fetches the default's file at the first request."""

    name = "embedded"
    kind: Kind = "embedded"
    scope: Scope = "model"
    timeout: float | None = None
    queues = True
    """A request may wait for its turn, or for the model to be loaded, before its response begins."""

    async def serves(self, request: ChatRequest) -> ServedModel | Ineligible:
        """The local model, or the reason for which it cannot take `request`."""
        if not is_installed():
            return Ineligible(NOT_INSTALLED)
        file = find()
        model = DEFAULT.id if file is None else file.model
        if request.params.get("n") not in (None, 1):
            return Ineligible(f"{model} gives one answer per request here (n=1)", "incapable")
        row = DEFAULT if file is None else file.row
        capabilities = await _capabilities(request, file)
        taken = _PARAMETERS if capabilities.reasons else _PARAMETERS - {"reasoning_effort"}
        if "tools" not in request.needs:
            taken -= {"tools", "tool_choice", "parallel_tool_calls"}
        served = ServedModel(
            model,
            # The name of a user's own file is no word for what is in it.
            exact=row is not None and is_same_model(row.name, request.model),
            omitted=tuple(sorted(request.params.keys() - taken - {"n", "stream_options"})),
            context=capabilities.context,
            capabilities=capabilities,
        )
        endpoint = Endpoint(
            name=self.name,
            base_url="",
            served=(served,),
            # Its process opens no connections.
            image_urls=not capabilities.images,
            # By a grammar: llama.cpp's grammars/README.md, "JSON Schemas → GBNF".
            enforces_schema=True,
        )
        return await endpoint.serves(request)

    async def models(self) -> list[str]:
        """The model's id, if its file is there."""
        file = find()
        return [file.model] if file else []

    async def open(self, request: ChatRequest, served: ServedModel) -> OpenStream:
        """Send the request, once the model is loaded and has a turn for it. Raises `APIError`."""
        line = StatusLine()
        try:
            file = await ready_file()
            line.say(f"{served.model} is being loaded …")
            running = await _running(file)
            line.say(f"{served.model} is busy with another prompt …")
            endpoint = _endpoint(running)
            try:
                opened = await endpoint.open(_request(request, served, file), served)
            except APIConnectionError as error:
                raise _ended(running, error) from None
        except WeightsError as error:
            line.erase()
            raise APIConnectionError(
                str(error), provider=self.name, model=served.model, reason="this_machine"
            ) from None
        except BaseException:
            line.erase()
            raise
        return replace(opened, chunks=_Answer(opened.chunks, running, line))

    async def stream(
        self, request: ChatRequest, serving: ServedModel
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        """The answer. Raises `APIError`."""
        opened = await self.open(request, serving)
        assert isinstance(opened.chunks, _Answer)
        async with aclosing(opened.chunks) as answer:
            while chunks := await anext(answer, None):
                for chunk in chunks:
                    yield chunk


class _Process(Endpoint, frozen=True, kw_only=True, dict=True):
    """The process of a model as an endpoint."""

    @cached_property
    def _origin(self) -> str:
        return "this machine"


def _endpoint(running: Running) -> _Process:
    return _Process(
        name=Embedded.name,
        base_url=running.base_url,
        kind="embedded",
        key=Secret(running.key) if running.key else None,
        quirks=("system_role",),
        network=Network(unix_socket=running.unix_socket),
    )


class _Answer:
    """The chunks of an answer. Shows how far the prompt is read, until the first word."""

    def __init__(self, chunks: ChunkStream, running: Running, line: StatusLine) -> None:
        self._chunks = chunks
        self._running = running
        self._line: StatusLine | None = line

    def __aiter__(self) -> _Answer:
        return self

    async def __anext__(self) -> Chunks:
        try:
            chunks = await self._chunks.__anext__()
        except StreamError as error:
            self._erase()
            raise _ended(self._running, error) from None
        except BaseException:
            self._erase()
            raise
        if self._line is not None:
            self._show(self._line, chunks)
        for chunk in chunks:
            if chunk.prompt_progress is not None:
                # A delta without anything in it, which programs print as "None".
                chunk.choices = []
        return chunks

    async def aclose(self) -> None:
        self._erase()
        await self._chunks.aclose()

    def _show(self, line: StatusLine, chunks: Chunks) -> None:
        for chunk in chunks:
            if chunk.prompt_progress is None:
                if any(choice.delta.has_content() for choice in chunk.choices):
                    self._erase()
                    return
            elif chunk.prompt_total:
                share = chunk.prompt_progress / chunk.prompt_total
                line.say(
                    f"{self._running.model} reads the prompt: {share:.0%} of"
                    f" {chunk.prompt_total:,} tokens …"
                )

    def _erase(self) -> None:
        if self._line is not None:
            self._line.erase()
            self._line = None


def _ended(running: Running, error: APIError) -> APIError:
    """The error of an exchange that failed: that of the process, if that has ended."""
    ending = server.ending_of(running)
    if ending is None:
        return error
    message = f"The local model's process {ending} before its answer was complete. Ask again."
    return TruncatedStreamError(message, provider=error.provider, model=error.model)


async def _running(file: ModelFile) -> Running:
    keep_alive = load().local.keep_alive
    if keep_alive is None:
        keep_alive = 0.0 if file.row is DEFAULT else KEEP_ALIVE
    return await server.server_for(file, keep_alive)


def _request(request: ChatRequest, served: ServedModel, file: ModelFile) -> ChatRequest:
    """The request as it is sent: always as a stream, since only that ends when it is left."""
    params: JSON = dict(file.row.sampling) if file.row is not None else {}
    params |= {
        name: value
        for name, value in request.params.items()
        if name not in served.omitted and name not in ("n", "stream_options")
    }
    if (limit := params.pop("max_completion_tokens", None)) is not None:
        params["max_tokens"] = limit
    extra: JSON = {}
    if (effort := params.pop("reasoning_effort", None)) is not None:
        # As in the templates of Qwen, Gemma and gpt-oss.
        words = {"enable_thinking": effort != "none"}
        extra["chat_template_kwargs"] = words | (
            {"reasoning_effort": effort} if effort != "none" else {}
        )
    extra |= request.extra_body
    return replace(
        request,
        stream=True,
        params=params,
        extra_body={**extra, "stream": True, "return_progress": True},
        headers={},
        query=None,
    )


async def _capabilities(request: ChatRequest, file: ModelFile | None) -> Capabilities:
    row = DEFAULT if file is None else file.row
    return Capabilities(
        images=file is not None and vision_file(file.path) is not None,
        tools=row.tools != "no" if row else await _calls_tools(request, file),
        context=row.context if row else None,
        reasons=row is None or row.thinks != "no",
    )


async def _calls_tools(request: ChatRequest, file: ModelFile | None) -> bool:
    """Whether the template of a user's own file has tools. Loads the model, where that matters."""
    if file is None or "tools" not in request.needs:
        return False
    try:
        running = await _running(file)
        network, headers = Network(unix_socket=running.unix_socket), {}
        if running.key:
            headers["authorization"] = f"Bearer {running.key}"
        url = parse_url(running.base_url.removesuffix("/v1") + "/props")
        response = await send(network, Request("GET", url, headers))
        try:
            props: Any = parse_json(b"".join([data async for data in response]))
        finally:
            await response.aclose()
        able = bool(props["chat_template_caps"]["supports_tool_calls"])
    except (WeightsError, NetworkError, OSError, ValueError, LookupError, TypeError):
        return False
    if able and file.path not in _announced:
        _announced.add(file.path)
        logging.getLogger("llm_g4f").warning(
            "%s is given tools, since its chat template has them; not every such model calls them in"
            " a form that can be read.",
            file.model,
        )
    return able


_announced: set[Any] = set()
