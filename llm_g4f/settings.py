"""What a client was made with, and the requests made with it."""

from __future__ import annotations

import copy
import re
from collections.abc import (
    Iterable,
    Mapping,
)
from typing import TYPE_CHECKING, Any

from . import config
from .config.settings import Names
from .errors import BadRequestError, NoProviderError
from .http.connect import Network
from .request import ChatRequest, Secret
from .routing.registry import Registry
from .types import JSON

if TYPE_CHECKING:
    import httpx


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

    def registry(self) -> Registry:
        return Registry(config.load(), self.base_url, self.network, self.http)

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
