"""Who may answer a request, in which order, and why nobody else."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..config import Config, ProviderConfig, check_base_url, find_key
from ..errors import ConfigError, NoProviderError
from ..providers.base import Provider, Serving, Unable
from ..providers.catalog import ROWS, Row
from ..providers.embedded import Embedded
from ..providers.endpoint import Endpoint, is_same_model
from ..providers.transport import Network
from ..types import ChatRequest, Secret

if TYPE_CHECKING:
    import httpx

__all__ = ["Candidate", "Route", "Source", "plan"]

WAYS_OUT = (
    'Three ways out: a key ("llm keys set openai"), an endpoint of your own ("providers:" in'
    " g4f.yaml), or the small model on this machine (llm install 'llm-g4f[local]')."
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider that can take the request, and what it would answer with."""

    provider: Provider
    serving: Serving


@dataclass(frozen=True, slots=True)
class Route:
    """The candidates in their order, and (provider, reason) for each one left out."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Where providers come from: g4f.yaml, and what the caller brought along.

    `custom` is an ad-hoc provider's base URL. `network` and `http` are for all of them.
    """

    config: Config
    custom: str | None = None
    network: Network = Network()
    http: httpx.AsyncClient | None = None

    def names(self) -> list[str]:
        """Every provider there is, in the order of the usual route."""
        own = [name for name in self.config.providers if name not in (*ROWS, "embedded")]
        return [*(["custom"] if self.custom else []), *own, *ROWS, "embedded"]

    def provider(self, name: str, key: Secret | None, upstream: str | None) -> Provider | Unable:
        """The provider called `name`, or why it takes no part. `upstream` is a model id to ask it
        for; `key` replaces the one it has. Raises `ConfigError` and `NoProviderError`."""
        if name == "custom" and self.custom:
            return self._endpoint(
                Endpoint(name="custom", base_url=self.custom, key=key, any_model=True),
                None,
                upstream,
            )
        settings = self.config.providers.get(name)
        if settings is not None and settings.enabled is False:
            return Unable('disabled in g4f.yaml ("enabled: false")')
        if name == "embedded":
            return Embedded()
        row = ROWS.get(name)
        if row is not None:
            return self._known(row, settings, key, upstream)
        if settings is None:
            raise NoProviderError(
                f"There is no provider {name!r}. There are: {', '.join(self.names())}."
            )
        return self._own(settings, key, upstream)

    def _own(
        self, settings: ProviderConfig, key: Secret | None, upstream: str | None
    ) -> Provider | Unable:
        name = settings.name
        if settings.base_url is None:
            raise ConfigError(
                f"{self.config.path}, line {settings.line}: provider {name} needs a base_url"
                f" (the built-in providers are {', '.join(ROWS)}, embedded)."
            )
        if key is None and (settings.key or settings.key_env):
            found = _configured_key(settings)
            if isinstance(found, Unable):
                return found
            key = found
        endpoint = Endpoint(
            name=name,
            base_url=settings.base_url,
            key=key,
            advice=_advice(settings.key, settings.key_env),
            any_model=not settings.models,
        )
        return self._endpoint(endpoint, settings, upstream)

    def _known(
        self, row: Row, settings: ProviderConfig | None, key: Secret | None, upstream: str | None
    ) -> Provider | Unable:
        base_url = row.base_url
        if row.base_url_variable and (given := os.environ.get(row.base_url_variable)):
            try:
                base_url = check_base_url(given)
            except ValueError as error:
                raise NoProviderError(f"{row.base_url_variable}: {error}") from None
        moved = settings is not None and settings.base_url is not None
        if settings is not None and settings.base_url is not None:
            base_url = settings.base_url
        if key is None and settings is not None and (settings.key or settings.key_env):
            found = _configured_key(settings)
            if isinstance(found, Unable):
                return found
            key = found
        elif key is None and settings is not None and moved:
            raise ConfigError(
                f"{self.config.path}, line {settings.line}: {row.name} has another base_url, so its"
                " usual key is not sent there: name the key for it with key or key_env."
            )
        elif key is None:
            key = find_key(row.aliases, row.variables)
        if key is None:
            return Unable(f"no key: {_advice(row.aliases[0], row.variables[0])}")
        endpoint = Endpoint(
            name=row.name,
            base_url=base_url,
            kind=row.kind,
            scope=row.scope,
            key=key,
            advice=_advice(row.aliases[0], row.variables[0]),
            models_served={
                model: (id, is_same_model(id, model)) for model, id in row.models.items()
            },
            sure=False,
        )
        return self._endpoint(endpoint, settings, upstream)

    def _endpoint(
        self, endpoint: Endpoint, settings: ProviderConfig | None, upstream: str | None
    ) -> Endpoint:
        """The endpoint with g4f.yaml's settings over its own."""
        endpoint = replace(endpoint, network=self.network, http=self.http, upstream=upstream)
        if settings is None:
            return endpoint
        served = dict(endpoint.models_served)
        for model, entry in settings.models.items():
            exact = is_same_model(entry.id, model) if entry.exact is None else entry.exact
            served[model] = (entry.id, exact)
        network = self.network
        if settings.ca_file:
            network = replace(network, ca_file=settings.ca_file)
        return replace(
            endpoint,
            models_served=served,
            sure=endpoint.sure or bool(settings.models),
            unable=_unable(settings),
            headers=settings.headers,
            extra_body=settings.extra_body,
            timeout=settings.timeout,
            context=settings.context,
            network=network,
        )


def _unable(settings: ProviderConfig) -> Mapping[str, str]:
    said = {
        "images": (settings.vision, "it reads no images (vision: false)"),
        "audio": (settings.audio, "it takes no audio (audio: false)"),
        "tools": (settings.supports_tools, "it calls no tools (supports_tools: false)"),
        "schema": (settings.supports_schema, "it takes no schema (supports_schema: false)"),
    }
    return {need: reason for need, (able, reason) in said.items() if able is False}


def _advice(alias: str | None, variable: str | None) -> str:
    ways = [f'"llm keys set {alias}"'] if alias else []
    ways += [f"the environment variable {variable}"] if variable else []
    return f"set it with {' or '.join(ways)}" if ways else ""


def _configured_key(settings: ProviderConfig) -> Secret | Unable:
    aliases = (settings.key,) if settings.key else ()
    variables = (settings.key_env,) if settings.key_env else ()
    found = find_key(aliases, variables)
    return found or Unable(f"no key: {_advice(settings.key, settings.key_env)}")


def _entries(request: ChatRequest, source: Source) -> tuple[list[str], bool]:
    """The names to consider, in order, and whether the user named them."""
    if request.providers:
        return list(request.providers), True
    if source.custom:
        return ["custom"], True
    if named := source.config.routes.get(request.model):
        return list(named), True
    return source.names(), False


async def plan(request: ChatRequest, source: Source) -> Route:
    """The route of `request`. Raises `ConfigError`, and `NoProviderError` for names nobody has."""
    entries, named = _entries(request, source)
    if request.key is not None:
        entries = _for_key(request)
        named = True
    candidates: list[Candidate] = []
    left_out: list[tuple[str, str]] = []
    taking_part = False
    for entry in entries:
        name, _, upstream = entry.partition("/")
        if name == "embedded" and not named and taking_part:
            left_out.append((name, "it answers only while nobody else takes part"))
            continue
        settings = source.config.providers.get(name)
        provider = source.provider(name, request.key, upstream or None)
        # Whom the user configured, the embedded model must not stand in for silently, even
        # where a key is missing: the error that names the key is worth more.
        taking_part |= settings is not None and settings.enabled is not False
        if isinstance(provider, Unable):
            left_out.append((entry, provider.reason))
            continue
        taking_part = True
        serving = await provider.serves(request)
        if isinstance(serving, Unable):
            left_out.append((entry, serving.reason))
        elif not serving.exact and (request.exact or not source.config.substitutes):
            left_out.append(
                (entry, f"{serving.model} is a substitute, and only {request.model} will do")
            )
        else:
            candidates.append(Candidate(provider, serving))
    return Route(tuple(candidates), tuple(left_out))


def _for_key(request: ChatRequest) -> list[str]:
    if len(request.providers) > 1:
        raise NoProviderError(
            f"A key belongs to one provider, and {len(request.providers)} are named"
            f" ({', '.join(request.providers)}): name the one it is for."
        )
    return list(request.providers) or ["openai"]


def nobody(request: ChatRequest, left_out: Iterable[tuple[str, str]]) -> NoProviderError:
    """The error for a route without candidates."""
    reasons = [f"  {name}: {reason}" for name, reason in left_out]
    return NoProviderError(
        "\n".join([f"Nobody can answer for {request.model} now:", *reasons, WAYS_OUT]),
        model=request.model,
    )
