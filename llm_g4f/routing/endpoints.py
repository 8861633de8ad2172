"""Endpoints from the catalogue and g4f.yaml, for one requested model on one day."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import replace

from ..config import (
    ProviderConfig,
    check_base_url,
    is_loopback,
)
from ..errors import ConfigError, NoProviderError
from ..providers import successors
from ..providers.base import Ineligible, ServedModel
from ..providers.capabilities import Capabilities, capabilities_of
from ..providers.catalogue import ProviderSpec
from ..providers.endpoint import Endpoint
from ..providers.model_ids import bare_id, is_same_model, listed, names_of
from ..providers.quirks import QUIRKS
from ..request import Secret, is_misdirected
from .endpoint_keys import configured_key, key_of
from .notices import announce

_EVERYTHING = Capabilities(images=True, files=True, audio=True, reasons=True)


def today() -> dt.date:
    """The day that decides about retirement (UTC)."""
    return dt.datetime.now(dt.UTC).date()


def served_as(id: str, model: str, exact: bool | None = None) -> ServedModel:
    """`id` at a server of unknown capabilities: nothing is held against it. `exact` is the user's
    word; without it, a claim that follows from the id is checked against the answer."""
    if exact is not None:
        return ServedModel(id, exact)
    exact = is_same_model(id, model)
    return ServedModel(id, exact, verify=exact)


def successor_of(spec: ProviderSpec, model: str) -> ServedModel:
    """The successor of a retired `model` at its maker, with the settings to answer as that model did."""
    id = successors.successor_of(spec, model).id
    return _known_model(id, exact=False, successor=True, quirks=("stand_in",))


def own_endpoint(
    settings: ProviderConfig, base_url: str, model: str, key: Secret | None
) -> Endpoint | Ineligible:
    """A provider of g4f.yaml. `key` replaces the configured one."""
    if key is None and (settings.key or settings.key_env):
        found = configured_key(settings)
        if isinstance(found, Ineligible):
            return found
        key = found
    return Endpoint(
        name=settings.name,
        base_url=base_url,
        key=key,
        key_hint=key.hint if key else "",
        no_key_hint=f"llm keys set {settings.name}, then key: {settings.name} in g4f.yaml",
        discover_models=not settings.models,
        no_model_reason=Ineligible(
            f"g4f.yaml does not say which of its models stands for {model}", "no_model"
        ),
    )


def known_endpoint(
    spec: ProviderSpec,
    settings: ProviderConfig | None,
    model: str,
    key: Secret | None,
    *,
    named: bool,
    day: dt.date,
    is_gone: Callable[[str, Secret | None], bool],
    path: Path,
) -> Endpoint | Ineligible:
    """A built-in provider. `key` replaces its usual one; `named`: the user named it for this
    request; `is_gone`: whether it said, at a base URL and for a key, that it no longer has `model`.
    Raises `ConfigError`."""
    enabled = settings is not None and settings.enabled is True
    if not is_allowed(spec, settings):
        return _not_enabled(spec, settings)
    if (missing := _missing_variable(spec, settings)) is not None:
        return missing
    found = key or key_of(spec, settings, path, any_variable=enabled or named)
    # Before the URL: that of a provider without a key is of no consequence.
    if isinstance(found, Ineligible):
        return found
    base_url = _base_url(spec, settings)
    gone = bool(spec.successors) and is_gone(base_url, found)
    served, no_model_reason = _served(spec, model, day, gone)
    endpoint = _catalogue_endpoint(spec, base_url, found)
    return replace(endpoint, served=served, no_model_reason=no_model_reason)


def _catalogue_endpoint(spec: ProviderSpec, base_url: str, key: Secret | None) -> Endpoint:
    """A built-in provider, without a model."""
    return Endpoint(
        name=spec.name,
        base_url=base_url,
        kind=spec.kind,
        scope=spec.scope,
        key=key,
        key_header=spec.key_header,
        key_hint=key.hint if key else "",
        no_key_hint=f"llm keys set {spec.name}",
        discover_models=spec.kind == "local",
        quirks=spec.quirks,
        extra_content=spec.extra_content,
        enforces_schema=spec.enforces_schema,
        image_urls=spec.image_urls,
    )


def is_allowed(spec: ProviderSpec, settings: ProviderConfig | None) -> bool:
    """Whether prompts may go to a built-in provider, as far as g4f.yaml has to allow that: a server
    on this machine that it describes is the user's own; a public endpoint it has to enable."""
    if spec.kind not in ("local", "anonymous"):
        return True
    if settings is None or settings.enabled is not None:
        return settings is not None and settings.enabled is True
    return spec.kind == "local" and bool(settings.base_url or settings.models)


def _not_enabled(spec: ProviderSpec, settings: ProviderConfig | None) -> Ineligible:
    where = " (a public endpoint)" if spec.kind == "anonymous" else ""
    if settings is not None:
        where += ', since its entry in g4f.yaml lacks "enabled: true"'
    return Ineligible(f'not enabled{where}: "llm g4f enable {spec.name}"', "not_enabled")


OPENAI_ORIGIN = "https://api.openai.com"

_ACCOUNT = {"openai-organization": "OPENAI_ORG_ID", "openai-project": "OPENAI_PROJECT_ID"}
"""Headers that openai's client takes from the environment. Source: openai 3.57, `_client.py`."""


def account_headers(base_url: str) -> dict[str, str]:
    """The headers of the environment for requests to OpenAI itself; none for any other server.
    Raises `NoProviderError` for one that HTTP would reject."""
    if f"{base_url}/".partition(f"{OPENAI_ORIGIN}/")[0]:
        return {}
    headers = {}
    for name, variable in _ACCOUNT.items():
        value = os.environ.get(variable, "").strip()
        if not (value.isascii() and value.isprintable()):
            raise NoProviderError(f"{variable} contains invalid characters: set it again.")
        if value:
            headers[name] = value
    return headers


def with_settings(endpoint: Endpoint, settings: ProviderConfig, model: str, path: Path) -> Endpoint:
    """The endpoint with its settings in g4f.yaml. Raises `ConfigError` for an unknown quirk."""
    for quirk in settings.quirks:
        if quirk not in QUIRKS:
            raise ConfigError(
                f"{path}, line {settings.line}: unknown quirk {quirk!r} of"
                f" {settings.name}; known quirks: {', '.join(QUIRKS)}."
            )
    if is_misdirected(settings.headers, with_key=endpoint.key is not None):
        raise ConfigError(
            f"{path}, line {settings.line}: the header Host is refused: it would send the key of"
            f" {settings.name} to another server than that of its base_url. Remove it from headers."
        )
    served = endpoint.served
    name = next((name for name in names_of(model) if name in settings.models), None)
    if name is not None:
        entry = settings.models[name]
        # "exact: true" speaks of the name it stands under, and not of every snapshot of that model.
        stated = entry.exact if not entry.exact or is_same_model(name, model) else None
        served = (served_as(entry.id, model, stated),)
    network = endpoint.network
    return replace(
        endpoint,
        served=served,
        quirks=tuple(dict.fromkeys(endpoint.quirks + settings.quirks)),
        headers={**endpoint.headers, **settings.headers},
        extra_body=settings.extra_body,
        timeout=settings.timeout,
        network=replace(network, ca_file=settings.ca_file or network.ca_file),
    )


def with_capabilities(endpoint: Endpoint, settings: ProviderConfig) -> Endpoint:
    """The endpoint with the capabilities that g4f.yaml states for all its models."""
    stated: dict[str, Any] = {
        "images": settings.vision,
        "files": settings.vision,
        "audio": settings.audio,
        "tools": settings.supports_tools,
        "schema": settings.supports_schema,
        "context": settings.context,
    }
    known = {name: value for name, value in stated.items() if value is not None}
    if not known:
        return endpoint
    served = []
    for model in endpoint.served:
        capabilities = replace(model.capabilities or _EVERYTHING, **known)
        served.append(replace(model, capabilities=capabilities, context=capabilities.context))
    enforces_schema = known.get("schema", endpoint.enforces_schema)
    return replace(endpoint, served=tuple(served), enforces_schema=enforces_schema)


def _missing_variable(spec: ProviderSpec, settings: ProviderConfig | None) -> Ineligible | None:
    if settings is not None and settings.base_url is not None:
        return None
    for name in spec.url_env_vars:
        if not _ACCOUNT_NAME.fullmatch(os.environ.get(name, "").strip()):
            return Ineligible(
                f"set the environment variable {name} to the name of your account",
                "env_var_missing",
            )
    return None


_ACCOUNT_NAME = re.compile(r"[A-Za-z0-9_-]+")


def _base_url(spec: ProviderSpec, settings: ProviderConfig | None) -> str:
    if settings is not None and settings.base_url is not None:
        return settings.base_url
    if spec.base_url_env_var and (given := os.environ.get(spec.base_url_env_var)):
        try:
            url = check_base_url(given, plain_http=True)
        except ValueError as error:
            raise NoProviderError(f"{spec.base_url_env_var}: {error}") from None
        if settings is None or not settings.plain_http:
            _warn_if_unencrypted(spec.base_url_env_var, url)
        return url
    base_url = spec.base_url
    for name in spec.url_env_vars:
        base_url = base_url.replace(f"{{{name}}}", os.environ[name].strip())
    return base_url


@lru_cache
def _warn_if_unencrypted(source: str, url: str) -> None:
    """Say once that prompts and the key cross the network in the open: setting the variable is the
    user's word for it, as with OpenAI's own client."""
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        announce(
            f"{source} is {url}: prompts and the key go there unencrypted. Use https://, or set"
            " plain_http: true for the provider in g4f.yaml."
        )


def _served(
    spec: ProviderSpec, model: str, day: dt.date, gone: bool
) -> tuple[tuple[ServedModel, ...], Ineligible]:
    """The models of a built-in provider for `model` on a day, and the reason if there are none."""
    retires = listed(spec.retires, model)
    retired = retires is not None and retires <= day
    if retired and not spec.successors:
        return (), Ineligible(f"{model} ended there on {retires}", "retired")
    missing = Ineligible(
        f"it does not have {model}; models: in g4f.yaml can say what stands for it", "no_model"
    )
    if spec.successors and (retired or gone):
        return (successor_of(spec, model),), missing
    ids = listed(spec.models, model) or spec.models.get("*", ())
    served = []
    for id in [_own_id(spec, id, model) for id in ids]:
        exact = is_same_model(id, model)
        capabilities = capabilities_of(id)
        reasons = capabilities is None or capabilities.reasons
        served.append(
            _known_model(
                id,
                exact=exact,
                verify=exact and spec.kind == "keyed",
                quirks=() if reasons else ("no_reasoning_effort",),
            )
        )
    return tuple(served), missing


def _own_id(spec: ProviderSpec, id: str, model: str) -> str:
    """The id for `model` at a provider that lists its family as `id`: the name that was asked for,
    where the provider has it."""
    if not is_same_model(id, names_of(model)[-1]):
        return id
    bare = bare_id(model)
    if spec.has_snapshots:
        vendor, slash, _ = id.rpartition("/")
        id = f"{vendor}{slash}{bare}"
    return id + model.rsplit("/", 1)[-1].removeprefix(bare) if spec.has_variants else id


def _known_model(id: str, **given: Any) -> ServedModel:
    capabilities = capabilities_of(id)
    context = (capabilities.prompt or capabilities.context) if capabilities else None
    return ServedModel(id, capabilities=capabilities, context=context, **given)
