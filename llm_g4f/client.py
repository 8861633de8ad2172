"""`AsyncClient` and `Client`: chat completions in OpenAI's form, with fallback between providers.

client = AsyncClient()
response = await client.chat.completions.create(model="gpt-4o", messages=[...])
print(response.choices[0].message.content)
print(response.provider, response.model, response.receipt.exact)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar

from .arguments import check_retries, is_absent, mapping, text
from .completions import AsyncCompletions, Completions
from .config.settings import Names
from .model_list import AsyncModels, Models
from .settings import Defaults, Proxies, Settings
from .stream import AsyncStream, Stream

if TYPE_CHECKING:
    import httpx

__all__ = ["AsyncClient", "AsyncStream", "Client", "Stream"]

T = TypeVar("T")


class Chat(Generic[T]):
    """`client.chat`."""

    def __init__(self, completions: T) -> None:
        self.completions = completions


class Beta(Generic[T]):
    """`client.beta`: where `chat.completions.parse` was at first."""

    def __init__(self, chat: Chat[T]) -> None:
        self.chat = chat


_USE = {
    "audio": "chat.completions.create(…, modalities=['text', 'audio']) for speech",
    "completions": "chat.completions.create",
    "embeddings": '"llm embed", or openai\'s own client',
    "responses": "chat.completions.create",
    "with_raw_response": "chat.completions.with_raw_response",
    "with_streaming_response": "chat.completions.with_streaming_response",
}
_NOT_HERE = frozenset(
    (
        *("assistants", "audio", "batches", "completions", "containers", "conversations"),
        *("embeddings", "evals", "files", "fine_tuning", "images", "moderations", "realtime"),
        *("responses", "uploads", "vector_stores", "videos", "webhooks", "with_raw_response"),
        "with_streaming_response",
    )
)
"""What openai's client has besides. Source: openai 3.57, `_client.py`."""

_NETWORK = frozenset(("provider", "api_key", "base_url", "proxies", "http_client"))


class _Client:
    """What both clients have."""

    def __init__(
        self,
        provider: Names = None,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        proxies: Proxies = None,
        timeout: Any = None,
        http_client: httpx.AsyncClient | None = None,
        max_retries: int | None = None,
        organization: str | None = None,
        project: str | None = None,
        default_headers: Mapping[str, str] | None = None,
        default_query: Mapping[str, Any] | None = None,
    ) -> None:
        headers = mapping(default_headers, "default_headers")
        for name, value in (("Organization", organization), ("Project", project)):
            if (named := text(value, name.lower())) is not None:
                headers[f"OpenAI-{name}"] = named
        defaults = Defaults(
            headers,
            mapping(default_query, "default_query"),
            None if is_absent(max_retries) else check_retries(max_retries),
        )
        self._settings = settings = Settings(
            provider, api_key, base_url, proxies, timeout, http_client, defaults
        )
        self._arguments = {
            "provider": provider,
            "api_key": None if is_absent(api_key) else settings.key,
            "base_url": base_url,
            "proxies": proxies,
            "timeout": timeout,
            "http_client": http_client,
            "max_retries": max_retries,
            "default_headers": headers,
            "default_query": defaults.query,
        }
        self._make(settings)

    def _make(self, settings: Settings) -> None:
        raise NotImplementedError

    @property
    def base_url(self) -> str | None:
        """The address that was given; None where the route decides."""
        return self._settings.base_url

    @property
    def timeout(self) -> Any:
        """The `timeout` that was given."""
        return self._arguments["timeout"]

    @property
    def max_retries(self) -> int | None:
        """The `max_retries` that was given."""
        return self._settings.defaults.max_retries

    def with_options(self, **options: Any) -> Self:
        """A client with some arguments changed. It shares the connections of this one. New
        `default_headers` and `default_query` are added to the old ones."""
        arguments = {**self._arguments, **options}
        for name in ("default_headers", "default_query"):
            arguments[name] = {
                **self._arguments[name],
                **mapping(options.get(name), name),
            }
        client = type(self)(**arguments)
        if not _NETWORK & options.keys():
            client._settings.share_connections(self._settings)
        return client

    copy = with_options

    def __getattr__(self, name: str) -> NoReturn:
        if name in _NOT_HERE:
            use = _USE.get(name, "openai's own client")
            raise AttributeError(f"llm-g4f has chat completions only, and no {name}: use {use}.")
        raise AttributeError(f"{type(self).__name__} has no {name}.")


class AsyncClient(_Client):
    """A client of every provider that g4f.yaml and the keys allow.

    `provider`: a name, or names in order (a list, or separated by spaces or commas). `base_url`
    alone makes an ad-hoc provider named `custom`. `api_key` is for exactly one provider: the one
    named, `custom`, else openai. `proxies`: a URL, or URLs by scheme; without it HTTPS_PROXY and
    the like hold. `timeout` and `max_retries` are as in `create`. `http_client`, httpx's or httpx2's
    AsyncClient, replaces the connections that all clients share; it stays its owner's to close.
    `organization` and `project` go to openai, or to the one provider that is named.

    Nothing has to be closed: connections end with the event loop. Raises
    `llm_g4f.errors.NoProviderError` for arguments that contradict each other.
    """

    def _make(self, settings: Settings) -> None:
        self.chat = Chat(AsyncCompletions(settings))
        self.beta = Beta(self.chat)
        self.models = AsyncModels(settings)

    async def aclose(self) -> None:
        """Do nothing: other clients have this method too."""

    close = aclose

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Client(_Client):
    """`AsyncClient` without `await`. Works in threads, and where an event loop runs already."""

    def _make(self, settings: Settings) -> None:
        self.chat = Chat(Completions(settings))
        self.beta = Beta(self.chat)
        self.models = Models(settings)

    def close(self) -> None:
        """Do nothing: other clients have this method too."""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
