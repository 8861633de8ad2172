"""API keys: from `llm keys`, the environment, or the caller."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NoProviderError

if TYPE_CHECKING:
    from ..request import Secret

from .files import user_dir


def clean_key(value: str, origin: str, hint: str | None = None) -> Secret:
    """The key in `value`, without the white space around it. `hint` is how to set another one.

    Raises `NoProviderError` for one that HTTP would reject. The message names `origin` and never
    the key: an HTTP library would print it.
    """
    return _valid(_cleaned(value, origin, hint))


def _valid(found: Secret | str) -> Secret:
    if isinstance(found, str):
        raise NoProviderError(f"{found}.")
    return found


def _cleaned(value: str, origin: str, hint: str | None) -> Secret | str:
    stripped = value.strip()
    if not stripped or not stripped.isascii() or not stripped.isprintable() or " " in stripped:
        return (
            f"The key from {origin} is empty or contains invalid characters"
            " (spaces, line ends, non-ASCII): set it again"
        )
    from ..request import Secret

    return Secret(stripped) if hint is None else Secret(stripped, hint)


_KEY = (
    # OpenAI and those who copy it, Stripe's form; Groq; Hugging Face; Google; xAI; NVIDIA; Cerebras;
    # Perplexity; JWT.
    r"(sk|pk|rk|gsk|hf|xai|nvapi|csk|pplx)[-_]|AIza|eyJ|Bearer "
    # Any other: long, and with digits among letters.
    r"|(?=.*\d)(?=.*[A-Za-z]).{24,}$"
)


def looks_like_key(name: str) -> bool:
    """Whether `name`, which should name a key, may be the key itself, and must not be shown.

    >>> looks_like_key("sk-abc"), looks_like_key("my-box-2")
    (True, False)
    """
    return re.match(_KEY, name.strip()) is not None


def key_hint(alias: str | None, env_var: str | None) -> str:
    """How to set a key, as words that end a sentence; "" if there is no way."""
    ways = [f'"llm keys set {alias}"'] if alias else []
    ways += [f"the environment variable {env_var}"] if env_var else []
    return f"set it with {' or '.join(ways)}" if ways else ""


_REWRITING = 0.25
"""Seconds behind a change of keys.json for which it may be incomplete: "llm keys set" empties it before it
writes it. That takes no time, but for a busy disk."""


def _stored_keys() -> dict[str, Any]:
    path = user_dir() / "keys.json"
    if not path.exists():
        return {}
    if not path.is_file():
        # Reading a pipe would block for ever.
        raise NoProviderError(f"{path} cannot be read: it is not a regular file.")
    # llm owns the file, and importing llm takes 190 ms.
    import llm

    end = time.monotonic() + _REWRITING
    while True:
        try:
            stored = llm.load_keys()
        except (ValueError, OSError) as error:
            if time.monotonic() < end and _age(path) < _REWRITING:
                time.sleep(0.005)
                continue
            raise NoProviderError(
                f"{path} cannot be read ({type(error).__name__}): fix it, or"
                ' remove it and run "llm keys set openai" again.'
            ) from None
        return stored if isinstance(stored, dict) else {}


def _age(path: Path) -> float:
    """Seconds since a file was changed; infinite if that is unknown."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")


def find_key(aliases: tuple[str, ...], env_vars: tuple[str, ...]) -> Secret | None:
    """The first key found: by one of `aliases` in `llm keys`, else in one of the environment
    variables `env_vars`. Raises `NoProviderError` for an invalid key or an unreadable keys.json."""
    found = key_or_problem(aliases, env_vars)
    return None if found is None else _valid(found)


def key_or_problem(aliases: tuple[str, ...], env_vars: tuple[str, ...]) -> Secret | str | None:
    """As `find_key`, but what is wrong with an invalid key is returned: it concerns the provider that
    it is for, and no other. Raises `NoProviderError` for an unreadable keys.json."""
    if aliases:
        stored = _stored_keys()
        for alias in aliases:
            if isinstance(value := stored.get(alias), str) and value.strip():
                return _cleaned(value, f'"llm keys" ({alias})', key_hint(alias, None))
    for env_var in env_vars:
        if value := os.environ.get(env_var, "").strip():
            # A key in `llm keys` goes before the environment, so that both ways would change it.
            hint = key_hint(next(iter(aliases), None), env_var)
            return _cleaned(value, f"the environment variable {env_var}", hint)
    return None


def named_key(given: str) -> Secret:
    """The key for --key: `given` is a name in `llm keys`, else the key itself. Raises
    `NoProviderError`."""
    stored = _stored_keys().get(given)
    return clean_key(stored if isinstance(stored, str) else given, "--key")
