"""The keys of endpoints: from g4f.yaml, `llm keys` or the environment, or why there is none."""

from __future__ import annotations

from pathlib import Path

from ..config import ProviderConfig, key_hint, key_or_problem, looks_like_key
from ..errors import ConfigError
from ..providers.base import Ineligible
from ..providers.catalogue import ProviderSpec
from ..request import Secret


def configured_key(settings: ProviderConfig) -> Secret | Ineligible:
    """The key that g4f.yaml names for a provider."""
    aliases = (settings.key,) if settings.key else ()
    env_vars = (settings.key_env,) if settings.key_env else ()
    return found_key(aliases, env_vars) or _missing_key(settings)


def _missing_key(settings: ProviderConfig) -> Ineligible:
    name = settings.name
    if looks_like_key(settings.key or ""):
        hint = (
            "key: in g4f.yaml takes a name from llm keys, not the key itself: llm keys set"
            f" {name}, then key: {name}"
        )
    elif looks_like_key(settings.key_env or ""):
        hint = "key_env: in g4f.yaml takes the name of an environment variable, not the key itself"
    else:
        hint = key_hint(settings.key, settings.key_env)
    return Ineligible(f"no key: {hint}", "no_key")


def found_key(aliases: tuple[str, ...], env_vars: tuple[str, ...]) -> Secret | Ineligible | None:
    """The first key found, or why it cannot be used: that is no matter of other providers."""
    found = key_or_problem(aliases, env_vars)
    return Ineligible(found, "invalid_key") if isinstance(found, str) else found


def key_of(
    spec: ProviderSpec, settings: ProviderConfig | None, path: Path, *, any_variable: bool
) -> Secret | Ineligible | None:
    """The key of a built-in provider, the reason if it lacks one, None if it needs none. `any_variable`: one of a variable that
    serves other ends too counts. Raises `ConfigError`."""
    if settings is not None and (settings.key or settings.key_env):
        return configured_key(settings)
    if settings is not None and settings.base_url is not None:
        if spec.kind == "keyed":
            raise ConfigError(
                f"{path}, line {settings.line}: {spec.name} has another base_url, so its"
                " usual key is not sent there: name the key for it with key or key_env."
            )
        return None
    env_vars = spec.env_vars if spec.dedicated_env_var or any_variable else ()
    missing = no_key(spec) if spec.kind == "keyed" else None
    return found_key(spec.key_names, env_vars) or missing


def no_key(spec: ProviderSpec) -> Ineligible:
    """The reason of a built-in provider without its key."""
    hint = key_hint(spec.name, next(iter(spec.env_vars), None))
    return Ineligible(f"no key: {hint}", "no_key")
