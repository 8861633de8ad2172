"""Every provider by name: from g4f.yaml, the catalogue, other packages and the caller.

What a route depends on besides the request changes seldom: g4f.yaml, the environment, keys.json,
the loaded plugins, the day, and what was gone. A registry works it out once, and `RegistryCache`
makes a new one when any of the first four has changed.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from .. import config as configuration
from ..config import Config, ProviderConfig, user_file
from ..errors import ConfigError, NoProviderError
from ..http.connect import Network
from ..http.types import Transport
from ..providers.base import Ineligible, Provider
from ..providers.catalogue import PROVIDERS
from ..providers.endpoint import Endpoint
from ..providers.model_ids import names_of
from ..request import Secret
from .cooldowns import Cooldowns
from .endpoint_keys import configured_key, found_key
from .endpoints import (
    OPENAI_ORIGIN,
    account_headers,
    known_endpoint,
    own_endpoint,
    served_as,
    today,
    with_capabilities,
    with_settings,
)
from .failure_log import FailureLog
from .plugin_providers import family_of, loaded_plugins, plugin_providers


class Registry(Struct, frozen=True):
    """The providers as they are while g4f.yaml, the environment and the keys stay as they are.

    `custom` is the base URL of an ad-hoc provider. `network` and `transport` are for all providers.
    `today` gives the day that decides about retirement. `cooldowns` is the state file, `failures`
    that of requests that failed, if they are to be noted. `lineups` holds what `routing.route` has worked out.
    """

    config: Config
    custom: str | None = None
    network: Network = Network()
    transport: Transport | None = None
    today: Callable[[], dt.date] = today
    cooldowns: Cooldowns = field(default_factory=Cooldowns)
    failures: FailureLog | None = None
    lineups: dict[Any, Any] = field(default_factory=dict)

    def own(self) -> list[str]:
        """The names of the user's own providers."""
        return [
            name
            for name, settings in self.config.providers.items()
            if name not in PROVIDERS and name != "embedded" and settings.base_url is not None
        ]

    def names(self) -> list[str]:
        """All providers, in the order of the catalogue."""
        custom = ["custom"] if self.custom else []
        return [*custom, *self.own(), *PROVIDERS, *plugin_providers().providers, "embedded"]

    def route_key(self, model: str) -> str | None:
        """The key in `routes:` of g4f.yaml that `model` is routed by."""
        return self.config.route_key(names_of(model))

    def is_member(self, name: str) -> bool:
        """Whether `name` is that of a member of a family. May load llm's plugins."""
        return family_of(name) in plugin_providers(name).families

    def settings(self, name: str) -> ProviderConfig | None:
        """The settings of a provider in g4f.yaml."""
        return self.config.providers.get(name)

    def has_key(self, name: str) -> bool | None:
        """Whether a usable key of a provider is found; None for a provider that needs none."""
        found, spec = self.key(name), PROVIDERS.get(name)
        if found is not None:
            return isinstance(found, Secret)
        settings = self.settings(name)
        if spec is None or (settings is not None and settings.base_url is not None):
            return None
        return False if spec.kind == "keyed" or spec.env_vars else None

    def key(self, name: str) -> Secret | Ineligible | None:
        """The key of a provider, or why there is no usable one; None if none is set."""
        settings, spec = self.settings(name), PROVIDERS.get(name)
        if settings is not None and (settings.key or settings.key_env):
            return configured_key(settings)
        if spec is None or (settings is not None and settings.base_url is not None):
            return None
        return found_key(spec.key_names, spec.env_vars)

    def provider(
        self,
        name: str,
        model: str,
        *,
        key: Secret | None = None,
        upstream: str | None = None,
        named: bool = False,
        exact: bool = False,
    ) -> Provider | Ineligible:
        """The provider called `name` for a request of `model`, or why it is ineligible.

        `key` replaces its own, `upstream` is the id to ask for, `named` says that the user named
        it for this request. `exact`: only the model itself will do, so it is asked for even where it
        was gone. Raises `ConfigError`, and `NoProviderError` for an unknown name.
        """
        ad_hoc = name == "custom" and self.custom is not None
        settings = None if ad_hoc else self.settings(name)
        if settings is not None and settings.enabled is False:
            return Ineligible(f'disabled in g4f.yaml: "llm g4f enable {name}"', "disabled")
        if name == "embedded":
            from ..providers.embedded import Embedded

            return Embedded()
        made = self._endpoint(name, model, key, named, exact)
        if made is None:
            return self._plugin_provider(name, model)
        if isinstance(made, Ineligible):
            return made
        endpoint = replace(made, network=self.network, transport=self.transport)
        if OPENAI_ORIGIN in made.base_url:
            endpoint = replace(endpoint, headers=account_headers(made.base_url))
        if settings is not None:
            endpoint = with_settings(endpoint, settings, model, self.config.path)
        if upstream is not None:
            endpoint = replace(endpoint, served=(served_as(upstream, model),))
        if settings is not None:
            endpoint = with_capabilities(endpoint, settings)
        return endpoint

    def _endpoint(
        self, name: str, model: str, key: Secret | None, named: bool, exact: bool
    ) -> Endpoint | Ineligible | None:
        """The endpoint of the caller, the catalogue or g4f.yaml; None for a name of neither."""
        settings = self.settings(name)
        if name == "custom" and self.custom is not None:
            served = (served_as(model, model),)
            hint = key.hint if key else ""
            return Endpoint(
                name=name,
                base_url=self.custom,
                key=key,
                key_hint=hint,
                no_key_hint="give it as api_key",
                served=served,
            )
        if name in PROVIDERS:
            return known_endpoint(
                PROVIDERS[name],
                settings,
                model,
                key,
                named=named,
                day=self.today(),
                is_gone=lambda base_url, key: (
                    not exact and self.cooldowns.gone_until(name, base_url, key, model) > 0
                ),
                path=self.config.path,
            )
        if settings is not None and settings.base_url is not None:
            return own_endpoint(settings, settings.base_url, model, key)
        return None

    def _plugin_provider(self, name: str, model: str) -> Provider | Ineligible:
        settings = self.settings(name)
        registered = plugin_providers(name)
        if (family := registered.families.get(family_of(name))) is not None:
            try:
                return family.member(name.removeprefix(family.name))
            except ConfigError as error:
                raise ConfigError(self._route_line(name, model) + error.message) from None
            except NoProviderError as error:
                if not (line := self._route_line(name, model)):
                    raise
                # Its plugin may be gone since the route was written: the others still answer.
                return Ineligible(f"{line}{error.message.rstrip('.')}", "no_model")
        if (provider := registered.providers.get(name)) is not None:
            if provider.kind in ("local", "anonymous") and not (settings and settings.enabled):
                return Ineligible(f'not enabled: "llm g4f enable {name}"', "not_enabled")
            return provider
        if settings is not None:
            raise ConfigError(
                f"{self.config.path}, line {settings.line}: provider {name} needs a base_url"
                f" (the built-in providers are {', '.join(PROVIDERS)}, embedded)."
            )
        raise unknown_provider_error(name, self.names(), self._route_line(name, model))

    def _route_line(self, name: str, model: str) -> str:
        """The file and line where g4f.yaml names a provider for `model`, as the beginning of a message."""
        key = self.route_key(model)
        entries = self.config.routes[key] if key is not None else ()
        if not any(entry == name or entry.startswith(f"{name}/") for entry in entries):
            return ""
        assert key is not None
        return f"{self.config.path}, line {self.config.route_lines[key]}: "


def unknown_provider_error(name: str, names: list[str], where: str = "") -> NoProviderError:
    """The error for an unknown provider, with a similar name if there is one. `where`: who named it,
    as the beginning of the message."""
    from difflib import get_close_matches

    similar = get_close_matches(name, names, 1, 0.75)
    guess = f" Did you mean {similar[0]}?" if similar else ""
    return NoProviderError(
        f"{where}Unknown provider {name!r}.{guess} Known providers: {', '.join(names)}."
    )


class RegistryCache:
    """The registry of one client, made anew when g4f.yaml, the environment, keys.json or llm's
    plugins have changed."""

    def __init__(
        self,
        custom: str | None = None,
        network: Network = Network(),
        transport: Transport | None = None,
    ) -> None:
        self._custom = custom
        self._network = network
        self._transport = transport
        self._registry: Registry | None = None
        self._inputs: Any = None
        self._environment: Any = None

    def current(self) -> Registry:
        """The registry as of now. Raises `ConfigError`."""
        config = configuration.load()
        try:
            found = os.stat(user_file("keys.json"))  # noqa: PTH116 (a Path takes longer)
            keys = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            keys = None
        inputs = (config, keys, loaded_plugins())
        if inputs != self._inputs or not configuration.environment_is(self._environment):
            # The registry first: another thread in between makes a second one, never an older one.
            environment = configuration.environment()
            self._registry = Registry(
                config, self._custom, self._network, self._transport, failures=FailureLog()
            )
            self._environment, self._inputs = environment, inputs
        assert self._registry is not None
        return self._registry
