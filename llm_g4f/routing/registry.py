"""Providers from the catalogue, g4f.yaml and the caller: each made for one request."""

from __future__ import annotations

import datetime as dt
import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from msgspec import Struct, field
from msgspec.structs import replace

from ..config.keys import find_key
from ..config.settings import Config, ProviderConfig
from ..config.urls import check_base_url
from ..errors import ConfigError, NoProviderError
from ..http.connect import Network
from ..providers.base import Family, Ineligible, Provider
from ..providers.capabilities import Capabilities, capabilities_of
from ..providers.catalogue import PROVIDERS, Offer, ProviderSpec
from ..providers.endpoint import Endpoint, is_same_model
from ..providers.quirks import QUIRKS
from ..request import Secret
from .cooldowns import Health

if TYPE_CHECKING:
    import httpx

DEFAULT_SUCCESSOR = "gpt-6-luna"
"""What stands in on openai for a retired model that has no named successor."""


def today() -> dt.date:
    """The day by which retirement dates count (UTC)."""
    return dt.datetime.now(dt.UTC).date()


class Registry(Struct, frozen=True):
    """Where providers come from: g4f.yaml, and what the caller brought along.

    `custom` is an ad-hoc provider's base URL. `network` and `http` are for all of them. `today`
    is the day by which retirement dates count. `health` knows who is in cooldown.
    """

    config: Config
    custom: str | None = None
    network: Network = Network()
    http: httpx.AsyncClient | None = None
    today: Callable[[], dt.date] = today
    health: Health = field(default_factory=Health)

    def own(self) -> list[str]:
        """The names of the user's own providers."""
        return [
            name
            for name, settings in self.config.providers.items()
            if name not in PROVIDERS and name != "embedded" and settings.base_url is not None
        ]

    def names(self) -> list[str]:
        """Every provider there is, in the order of the catalogue."""
        custom = ["custom"] if self.custom else []
        return [*custom, *self.own(), *PROVIDERS, *registered().providers, "embedded"]

    def is_member(self, name: str) -> bool:
        """Whether `name` is that of a member of a family."""
        return _family(name) in registered(name).families

    def settings(self, name: str) -> ProviderConfig | None:
        """What g4f.yaml says of a provider."""
        return self.config.providers.get(name)

    def has_key(self, name: str) -> bool | None:
        """Whether the key of a provider is there; None for one that needs none."""
        settings, row = self.settings(name), PROVIDERS.get(name)
        if settings is not None and (settings.key or settings.key_env):
            return isinstance(_configured_key(settings), Secret)
        if row is None or (settings is not None and settings.base_url is not None):
            return None
        if not row.aliases and not row.env_vars:
            return None
        return find_key(row.aliases, row.env_vars) is not None

    def provider(
        self,
        name: str,
        model: str,
        *,
        key: Secret | None = None,
        upstream: str | None = None,
        named: bool = False,
    ) -> Provider | Ineligible:
        """The provider called `name` for a request of `model`, or why it cannot take part.

        `key` replaces the one it has, `upstream` is the id to ask for, `named` says that the user
        named it for this. Raises `ConfigError`, and `NoProviderError` for a name nobody has.
        """
        settings = self.settings(name)
        if name == "custom" and self.custom:
            offers = (_offer(upstream or model, model),)
            return self._endpoint(Endpoint(name=name, base_url=self.custom, key=key, offers=offers))
        if settings is not None and settings.enabled is False:
            return Ineligible(f'disabled in g4f.yaml: "llm g4f enable {name}"')
        if name == "embedded":
            from ..providers.embedded import Embedded

            return Embedded()
        if name in PROVIDERS:
            return self._known(PROVIDERS[name], settings, model, key, upstream, named)
        if settings is not None and settings.base_url is not None:
            return self._own(settings, settings.base_url, model, key, upstream)
        others = registered(name)
        if (found := others.families.get(_family(name))) is not None:
            try:
                return found.member(name.removeprefix(found.name))
            except ConfigError as error:
                raise ConfigError(self._in_route(name, model) + error.message) from None
        if (other := others.providers.get(name)) is not None:
            if other.kind in ("local", "anonymous") and not (settings and settings.enabled):
                return Ineligible(f'not enabled: "llm g4f enable {name}"')
            return other
        if settings is not None:
            raise ConfigError(
                f"{self.config.path}, line {settings.line}: provider {name} needs a base_url"
                f" (the built-in providers are {', '.join(PROVIDERS)}, embedded)."
            )
        raise unknown_provider_error(name, self.names())

    def _in_route(self, name: str, model: str) -> str:
        """Where g4f.yaml names a provider for `model`, as the beginning of a message."""
        if name not in self.config.routes.get(model, ()):
            return ""
        return f"{self.config.path}, line {self.config.route_lines[model]}: "

    def _own(
        self,
        settings: ProviderConfig,
        base_url: str,
        model: str,
        key: Secret | None,
        upstream: str | None,
    ) -> Provider | Ineligible:
        name = settings.name
        if key is None and (settings.key or settings.key_env):
            found = _configured_key(settings)
            if isinstance(found, Ineligible):
                return found
            key = found
        offers = () if settings.models else (_offer(model, model),)
        endpoint = Endpoint(
            name=name,
            base_url=base_url,
            key=key,
            key_hint=_key_hint(settings.key, settings.key_env),
            offers=offers,
            no_model_reason=f"g4f.yaml does not say which of its models stands for {model}",
        )
        return self._endpoint(endpoint, settings, model, upstream)

    def _known(
        self,
        row: ProviderSpec,
        settings: ProviderConfig | None,
        model: str,
        key: Secret | None,
        upstream: str | None,
        named: bool,
    ) -> Provider | Ineligible:
        enabled = settings is not None and settings.enabled is True
        if row.kind in ("local", "anonymous") and not enabled:
            where = " (your prompts go there)" if row.kind == "anonymous" else ""
            return Ineligible(f'not enabled{where}: "llm g4f enable {row.name}"')
        base_url = self._base_url(row, settings)
        if isinstance(base_url, Ineligible):
            return base_url
        moved = settings is not None and settings.base_url is not None
        if key is None and settings is not None and (settings.key or settings.key_env):
            found = _configured_key(settings)
            if isinstance(found, Ineligible):
                return found
            key = found
        elif key is None and not moved:
            env_vars = row.env_vars if row.dedicated_env_var or enabled or named else ()
            key = find_key(row.aliases, env_vars)
        elif key is None and settings is not None and row.kind == "keyed":
            raise ConfigError(
                f"{self.config.path}, line {settings.line}: {row.name} has another base_url, so its"
                " usual key is not sent there: name the key for it with key or key_env."
            )
        key_hint = _key_hint(
            row.aliases[0] if row.aliases else None, row.env_vars[0] if row.env_vars else None
        )
        if key is None and row.kind == "keyed":
            return Ineligible(f"no key: {key_hint}")
        offers, no_model_reason = self._offers(row, model)
        endpoint = Endpoint(
            name=row.name,
            base_url=base_url,
            kind=row.kind,
            scope=row.scope,
            key=key,
            key_header=row.key_header,
            key_hint=key_hint,
            offers=offers,
            discover_models=row.kind == "local",
            no_model_reason=no_model_reason,
            quirks=row.quirks,
            extra_content=row.extra_content,
        )
        return self._endpoint(endpoint, settings, model, upstream)

    def _base_url(self, row: ProviderSpec, settings: ProviderConfig | None) -> str | Ineligible:
        if settings is not None and settings.base_url is not None:
            return settings.base_url
        if row.base_url_env_var and (given := os.environ.get(row.base_url_env_var)):
            try:
                return check_base_url(given)
            except ValueError as error:
                raise NoProviderError(f"{row.base_url_env_var}: {error}") from None
        base_url = row.base_url
        for variable in row.url_env_vars:
            value = os.environ.get(variable, "").strip()
            if not re.fullmatch(r"[A-Za-z0-9_-]+", value):
                return Ineligible(
                    f"the environment variable {variable} has to name your account there"
                )
            base_url = base_url.replace(f"{{{variable}}}", value)
        return base_url

    def _offers(self, row: ProviderSpec, model: str) -> tuple[tuple[Offer, ...], str]:
        """What a row has for `model` on this day, and why nothing if it has nothing."""
        ids = row.models.get(model) or row.models.get("*", ())
        retires = row.retires.get(model)
        ended = retires is not None and retires <= self.today()
        if ended and not row.successors:
            return (), f"{model} ended there on {retires}"
        if row.successors and (ended or self.health.is_gone(row.name, model)):
            return (successor(row, model),), ""
        offers = tuple(_known_offer(row, id, model) for id in ids)
        return offers, f"it does not have {model}; models: in g4f.yaml can say what stands for it"

    def _endpoint(
        self,
        endpoint: Endpoint,
        settings: ProviderConfig | None = None,
        model: str = "",
        upstream: str | None = None,
    ) -> Endpoint:
        """The endpoint with g4f.yaml's settings, and `upstream`, over its own."""
        endpoint = replace(endpoint, network=self.network, http=self.http)
        if settings is not None:
            for quirk in settings.quirks:
                if quirk not in QUIRKS:
                    raise ConfigError(
                        f"{self.config.path}, line {settings.line}: unknown quirk {quirk!r} of"
                        f" {settings.name}; known are {', '.join(QUIRKS)}."
                    )
            if (entry := settings.models.get(model)) is not None:
                endpoint = replace(endpoint, offers=(_offer(entry.id, model, entry.exact),))
            endpoint = replace(
                endpoint,
                quirks=tuple(dict.fromkeys(endpoint.quirks + settings.quirks)),
                headers=settings.headers,
                extra_body=settings.extra_body,
                timeout=settings.timeout,
                network=replace(self.network, ca_file=settings.ca_file or self.network.ca_file),
            )
        if upstream is not None:
            endpoint = replace(endpoint, offers=(_offer(upstream, model),))
        if settings is not None and endpoint.offers:
            endpoint = replace(
                endpoint, offers=tuple(_settled(offer, settings) for offer in endpoint.offers)
            )
        return endpoint


def unknown_provider_error(name: str, names: list[str]) -> NoProviderError:
    """The error for a provider that does not exist, with the one that may be meant."""
    from difflib import get_close_matches

    meant = get_close_matches(name, names, 1, 0.75)
    guess = f" Did you mean {meant[0]}?" if meant else ""
    return NoProviderError(f"There is no provider {name!r}.{guess} There are: {', '.join(names)}.")


def _family(name: str) -> str:
    return name.partition(":")[0] + ":"


class Registered(NamedTuple):
    """What the hook brought, by name."""

    providers: dict[str, Provider]
    families: dict[str, Family]


def registered(wanted: str | None = None) -> Registered:
    """The providers of other packages.

    Their hook is called where llm's plugins are loaded anyway; to load them takes half a second,
    which only a name that is found nowhere else is worth (`wanted`).
    """
    plugins = sys.modules.get("llm.plugins")
    loaded = plugins is not None and plugins.pm.has_plugin("llm.default_plugins.openai_models")
    found = Registered({}, {})
    if not loaded and wanted is None:
        return found
    from llm.plugins import load_plugins, pm

    def register(provider: Provider | Family) -> None:
        if provider.name.endswith(":"):
            found.families.setdefault(provider.name, cast("Family", provider))
        elif provider.name not in PROVIDERS and provider.name != "embedded":
            found.providers.setdefault(provider.name, cast("Provider", provider))

    load_plugins()
    if hasattr(pm.hook, "register_g4f_providers"):
        pm.hook.register_g4f_providers(register=register)
    return found


def successor(row: ProviderSpec, model: str) -> Offer:
    """What stands in for a retired `model` at its maker's, and answers as that model did."""
    id = row.successors.get(model, DEFAULT_SUCCESSOR)
    return Offer(
        id, exact=False, capabilities=capabilities_of(id), successor=True, quirks=("stand_in",)
    )


def _offer(id: str, model: str, exact: bool | None = None) -> Offer:
    """An offer of a server that we know nothing about: nothing is held against it."""
    return Offer(id, is_same_model(id, model) if exact is None else exact)


def _known_offer(row: ProviderSpec, id: str, model: str) -> Offer:
    capabilities = capabilities_of(id)
    exact = is_same_model(id, model)
    return Offer(
        id,
        exact,
        capabilities,
        verify=exact and row.kind == "keyed",
        quirks=("no_reasoning_effort",) if capabilities and not capabilities.reasons else (),
    )


def _settled(offer: Offer, settings: ProviderConfig) -> Offer:
    """The offer with what g4f.yaml says the provider can do."""
    said = {
        "images": settings.vision,
        "files": settings.vision,
        "audio": settings.audio,
        "tools": settings.supports_tools,
        "schema": settings.supports_schema,
        "context": settings.context,
    }
    known: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    if not known:
        return offer
    return replace(offer, capabilities=replace(offer.capabilities or _EVERYTHING, **known))


_EVERYTHING = Capabilities(images=True, files=True, audio=True, reasons=True)


def _key_hint(alias: str | None, variable: str | None) -> str:
    ways = [f'"llm keys set {alias}"'] if alias else []
    ways += [f"the environment variable {variable}"] if variable else []
    return f"set it with {' or '.join(ways)}" if ways else ""


def _configured_key(settings: ProviderConfig) -> Secret | Ineligible:
    aliases = (settings.key,) if settings.key else ()
    env_vars = (settings.key_env,) if settings.key_env else ()
    found = find_key(aliases, env_vars)
    return found or Ineligible(f"no key: {_key_hint(settings.key, settings.key_env)}")
