"""The settings of a client, and the requests made with them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field

from . import config
from .arguments import (
    http_client_argument,
    is_absent,
    provider_argument,
    sort_out,
    text,
    waits_of,
)
from .config.settings import Names
from .errors import ArgumentError, BadRequestError, NoProviderError
from .http.connect import Network
from .request import LEGACY_PARAMETERS, SECRET_HEADERS, ChatRequest, Secret
from .routing.registry import Registry, RegistryCache
from .types import JSON

if TYPE_CHECKING:
    import httpx

    from .providers.endpoint import Endpoint


class Dumpable(Protocol):
    """A message as an object: ours, openai's, or another pydantic model."""

    def model_dump(self) -> dict[str, Any]: ...


Messages = str | Iterable[Mapping[str, Any] | Dumpable]
Proxies = str | Mapping[str, str] | None

DEFAULT_MODEL = "gpt-4o"

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*").fullmatch


def _copied(values: Mapping[str, Any]) -> JSON:
    """A copy that later changes of the caller's do not reach; most values are text or numbers. Raises
    `TypeError` for a value that cannot be copied."""
    return {
        name: value if isinstance(value, _IMMUTABLE) else copy.deepcopy(value)
        for name, value in values.items()
    }


def _copied_params(params: Mapping[str, Any]) -> JSON:
    try:
        return _copied(params)
    except TypeError as error:
        raise ArgumentError(f"A parameter cannot be sent: {error}. Give it as JSON.") from None


_IMMUTABLE = (str, int, float, type(None))


def _messages(messages: Messages) -> list[JSON]:
    """The caller's messages as our own: neither side sees the other's changes."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}] if messages.strip() else []
    try:
        copied: list[JSON] = [
            _copied(message if type(message) is dict else as_param(message)) for message in messages
        ]
    except (TypeError, ValueError, AttributeError):
        raise ArgumentError(
            'messages must be a text, or a list of {"role": …, "content": …}.'
        ) from None
    for message in copied:
        if "tool_calls" in message and message["tool_calls"] is not None:
            message["tool_calls"] = _tool_calls(message["tool_calls"])
    return copied


def _tool_calls(calls: Any) -> list[JSON]:
    if isinstance(calls, (list, tuple)):
        dumped = [call if isinstance(call, dict) else as_param(call) for call in calls]
        if all(isinstance(call, dict) for call in dumped):
            for call in dumped:
                if isinstance(function := call.get("function"), dict):
                    # For the reader: what `parse` made of the arguments.
                    function.pop("parsed_arguments", None)
            return dumped
    raise BadRequestError("tool_calls must be a list of objects.", status_code=400)


def as_param(value: Any) -> Any:
    """A message or a tool call as an object to send: of a mapping, or of one of our types, openai's or
    another pydantic model. Other values stay as they are."""
    if isinstance(value, Mapping):
        return dict(value)
    dump = getattr(value, "model_dump", None)
    if dump is None or isinstance(value, type):
        return value
    data = dump(exclude_none=True)
    if data.get("role") != "assistant":
        return data
    # The others are for the reader: servers reject a message with fields that they do not know.
    param = {name: data[name] for name in _OF_ANSWERS if name in data}
    param.setdefault("content", None)
    if isinstance(audio := data.get("audio"), dict) and "id" in audio:
        param["audio"] = {"id": audio["id"]}
    return param


_OF_ANSWERS = ("role", "content", "refusal", "name", "tool_calls", "reasoning_details")
"""The fields of an answer that are sent again. Source: `ChatCompletionAssistantMessageParam` of openai
3.57; OpenRouter wants its `reasoning_details` back."""


def _network(proxies: Proxies) -> Network:
    if is_absent(proxies) or isinstance(proxies, str):
        url = proxies if isinstance(proxies, str) else None
        return Network(http_proxy=url, https_proxy=url)
    if not isinstance(proxies, Mapping) or not all(
        isinstance(scheme, str) and isinstance(url, str | None) for scheme, url in proxies.items()
    ):
        raise ArgumentError("proxies must be a URL, or URLs by scheme: {'https': 'http://…'}.")
    by_scheme = {name.removesuffix("://"): url for name, url in proxies.items()}
    everything = by_scheme.get("all")
    return Network(
        http_proxy=by_scheme.get("http", everything),
        https_proxy=by_scheme.get("https", everything),
    )


class Defaults(Struct, frozen=True):
    """What every request of a client has besides its own: headers, a query, and `max_retries`."""

    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    max_retries: int | None = None


class Settings:
    """The arguments of a client, and requests made of them: for both clients, and for batches."""

    def __init__(
        self,
        provider: Names,
        api_key: str | Secret | None,
        base_url: str | None,
        proxies: Proxies,
        timeout: Any,
        http_client: httpx.AsyncClient | None,
        defaults: Defaults | None = None,
    ) -> None:
        self.providers = provider_argument(provider)
        self.base_url = None
        self.key: Secret | None = None
        self.timeout, self.waits = waits_of(timeout)
        self.defaults = defaults or Defaults()
        self._has_defaults = self.defaults != Defaults()
        if (base_url := text(base_url, "base_url")) is not None:
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
        if not is_absent(api_key):
            self._take_key(api_key)
        transport = None
        if (client := http_client_argument(http_client)) is not None:
            from .http.httpx_transport import over_client

            transport = over_client(client)
        self._registries = RegistryCache(self.base_url, _network(proxies), transport)

    def _take_key(self, api_key: Any) -> None:
        if len(self.providers) > 1:
            raise NoProviderError(
                f"api_key belongs to one provider, and {len(self.providers)} are named"
                f" ({', '.join(self.providers)}): name the one it is for."
            )
        if isinstance(api_key, Secret):
            self.key = api_key
        else:
            self.key = config.clean_key(text(api_key, "api_key") or "", "api_key")
        self.providers = self.providers or ("openai",)

    def headers_for(self, provider: Endpoint) -> dict[str, str]:
        """The headers of a request that is no completion. Raises `G4FError` for invalid ones."""
        _check_headers(self.defaults.headers, self.providers)
        return {**provider.headers, **self.defaults.headers}

    def share_connections(self, other: Settings) -> None:
        """Use what `other` knows of the providers, whose network is the same."""
        self._registries = other._registries

    def registry(self) -> Registry:
        """The providers as of now. Raises `ConfigError`."""
        return self._registries.current()

    def request(
        self,
        messages: Messages,
        model: str,
        stream: bool,
        routing: JSON,
        params: JSON,
    ) -> ChatRequest:
        """The request of one call, with `ROUTING_OPTIONS` in `routing`. Raises `G4FError` for an
        invalid one."""
        if params or routing != _DEFAULT_ROUTING or self._has_defaults:
            options = self._options(routing, params)
        else:
            options = {"providers": self.providers, "timeout": self.timeout, "waits": self.waits}
        if type(model) is not str and not isinstance(model, str):
            model = _model_name(model)
        try:
            return ChatRequest(
                model=model or DEFAULT_MODEL,
                messages=_messages(messages),
                params=_copied_params(params) if params else {},
                stream=stream,
                key=self.key,
                **options,
            )
        except RecursionError:
            raise BadRequestError("The request is nested too deeply.", status_code=400) from None

    def _options(self, routing: JSON, params: JSON) -> JSON:
        """The fields of a request besides messages and parameters. What is in `params` and is no
        parameter leaves them."""
        sort_out(routing, params)
        _check_parameters(params)
        defaults = self.defaults
        routing["providers"] = providers = self._providers(routing.pop("provider", None))
        if headers := _merged(defaults.headers, routing.pop("headers", {})):
            _check_headers(headers, providers)
            routing["headers"] = headers
        if query := {**defaults.query, **routing.pop("query", {})}:
            _check_query(query, providers)
            routing["query"] = query
        if extra_body := routing.pop("extra_body", None):
            _check_parameters(extra_body)
            routing["extra_body"] = _copied_params(extra_body)
        timeout, waits = self.timeout, self.waits
        if "timeout" in routing:
            timeout, waits = waits_of(routing["timeout"])
        routing.setdefault("max_retries", defaults.max_retries)
        return {**routing, "timeout": timeout, "waits": waits}

    def _providers(self, provider: Any) -> tuple[str, ...]:
        providers = self.providers if provider is None else provider_argument(provider)
        if self.key is not None and providers != self.providers:
            raise NoProviderError(
                f"This client's api_key is for {self.providers[0]}; it is not sent to another"
                " provider. Make a client without api_key, or with the other provider's."
            )
        return providers


_DEFAULT_ROUTING = {
    "provider": None,
    "exact": False,
    "timeout": None,
    "extra_body": None,
    "headers": None,
    "cache": None,
}
"""The routing of a call without any option: there is nothing to check."""


def _model_name(model: Any) -> str:
    """The name of a model that is no text: "" if it is absent, else that of g4f's `Model`."""
    if is_absent(model):
        return ""
    name = getattr(model, "name", None)
    if isinstance(name, str) and not isinstance(model, type):
        return name
    raise ArgumentError("model must be the name of a model, such as 'gpt-4o'.")


def _merged(defaults: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a call over those of its client, whatever the spelling of their names."""
    own = {str(name).lower() for name in headers}
    kept = {name: value for name, value in defaults.items() if str(name).lower() not in own}
    return {**kept, **headers}


def _check_parameters(params: Mapping[str, Any]) -> None:
    for name in LEGACY_PARAMETERS:
        if name in params and params[name] is not None:
            raise BadRequestError(
                f"{name} is no longer supported: use {LEGACY_PARAMETERS[name]}.", status_code=400
            )


def _check_headers(headers: Mapping[str, str], providers: tuple[str, ...]) -> None:
    for name, value in headers.items():
        # An HTTP library that is given a bad header prints it, and it may be a key.
        if not isinstance(name, str) or not _HEADER_NAME(name) or not _HEADER_VALUE(str(value)):
            raise BadRequestError(
                "A header in headers= has characters that HTTP does not allow in headers: remove them.",
                status_code=400,
            )
        if name.lower() in SECRET_HEADERS and len(providers) != 1:
            raise NoProviderError(
                f"The header {name} would go to every provider of the route: name the one"
                " provider it is for, or give the key as api_key."
            )


_SECRET_QUERY = frozenset(
    {"key", "api_key", "api-key", "apikey", "token", "access_token", "subscription-key", "code"}
)


def _check_query(query: Mapping[str, Any], providers: tuple[str, ...]) -> None:
    for name in query:
        if str(name).lower() in _SECRET_QUERY and len(providers) != 1:
            raise NoProviderError(
                f"{name} in extra_query or default_query would go to every provider of the route:"
                " name the one provider it is for, or give the key as api_key."
            )
