"""The settings of a client, and the requests made with them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import config
from .config.settings import Names
from .errors import BadRequestError, NoProviderError
from .http.connect import Network
from .request import LEGACY_PARAMETERS, SECRET_HEADERS, ChatRequest, Secret
from .routing.registry import Registry, RegistryCache
from .types import JSON

if TYPE_CHECKING:
    import httpx


Messages = str | Iterable[Mapping[str, Any]]
Proxies = str | Mapping[str, str] | None

DEFAULT_MODEL = "gpt-4o"

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*").fullmatch


def _copied(values: Mapping[str, Any]) -> JSON:
    """A copy that later changes of the caller's do not reach; most values are text or numbers."""
    return {
        name: value if isinstance(value, _IMMUTABLE) else copy.deepcopy(value)
        for name, value in values.items()
    }


_IMMUTABLE = (str, int, float, type(None))


def _messages(messages: Messages) -> list[JSON]:
    """The caller's messages as our own: neither side sees the other's changes."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}] if messages.strip() else []
    try:
        copied: list[JSON] = [_copied(message) for message in messages]
    except (TypeError, ValueError, AttributeError):
        raise BadRequestError(
            'messages must be a text, or a list of {"role": …, "content": …}.', status_code=400
        ) from None
    for message in copied:
        calls = message.get("tool_calls")
        if calls is None:
            continue
        if not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
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


class Settings:
    """The arguments of a client, and requests made of them: for both clients, and for batches."""

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
        self._registries = RegistryCache(self.base_url, _network(proxies), http_client)

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
        provider, headers = routing.pop("provider", None), routing.get("headers")
        providers = self.providers if provider is None else config.provider_names(provider)
        if self.key is not None and providers != self.providers:
            raise NoProviderError(
                f"This client's api_key is for {self.providers[0]}; it is not sent to another"
                " provider. Make a client without api_key, or with the other provider's."
            )
        if headers:
            _check_headers(headers, providers)
        extra_body = routing.get("extra_body")
        if params:
            _check_parameters(params)
        if extra_body:
            _check_parameters(extra_body)
        try:
            own = _messages(messages)
            params = _copied({k: v for k, v in params.items() if v is not None}) if params else {}
            routing["extra_body"] = _copied(extra_body) if extra_body else {}
        except RecursionError:
            raise BadRequestError("The request is nested too deeply.", status_code=400) from None
        routing["headers"] = dict(headers) if headers else {}
        if routing.get("timeout") is None:
            routing["timeout"] = self.timeout
        return ChatRequest(
            model=model or DEFAULT_MODEL,
            messages=own,
            params=params,
            stream=stream,
            providers=providers,
            key=self.key,
            **routing,
        )


def _check_parameters(params: Mapping[str, Any]) -> None:
    for name in LEGACY_PARAMETERS:
        if name in params and params[name] is not None:
            raise BadRequestError(
                f"{name} is no longer supported: use {LEGACY_PARAMETERS[name]}.", status_code=400
            )


def _check_headers(headers: Mapping[str, str], providers: tuple[str, ...]) -> None:
    for name, value in headers.items():
        # An HTTP library that is given a bad header prints it, and it may be a key.
        if not _HEADER_NAME(name) or not _HEADER_VALUE(str(value)):
            raise BadRequestError(
                "A header in headers= has characters that HTTP does not allow in headers.",
                status_code=400,
            )
        if name.lower() in SECRET_HEADERS and len(providers) != 1:
            raise NoProviderError(
                f"The header {name} would go to every provider of the route: name the one"
                " provider it is for, or give the key as api_key."
            )
