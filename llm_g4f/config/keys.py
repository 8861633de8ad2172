"""API keys: from `llm keys`, the environment, or the caller."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..errors import NoProviderError

if TYPE_CHECKING:
    from ..request import Secret

from .files import user_dir


def clean_key(value: str, origin: str) -> Secret:
    """`value` as a key. Raises `NoProviderError` naming `origin`, never the key.

    An HTTP library that is given a bad header value prints it.
    """
    stripped = value.strip()
    if not stripped or not stripped.isascii() or not stripped.isprintable() or " " in stripped:
        raise NoProviderError(
            f"The key from {origin} is empty or contains characters that no key has"
            " (spaces, line ends, non-ASCII): set it again."
        )
    from ..request import Secret

    return Secret(stripped)


def _stored_keys() -> dict[str, Any]:
    if not (user_dir() / "keys.json").exists():
        return {}
    # llm owns the file; its import costs 190 ms, so only where there is one.
    import llm

    try:
        stored = llm.load_keys()
    except (ValueError, OSError) as error:
        raise NoProviderError(
            f"{user_dir() / 'keys.json'} cannot be read ({type(error).__name__}): mend it, or"
            ' remove it and run "llm keys set openai" again.'
        ) from None
    return stored if isinstance(stored, dict) else {}


def find_key(aliases: tuple[str, ...], variables: tuple[str, ...]) -> Secret | None:
    """The first of `aliases` in `llm keys`, else the first of `variables` in the environment."""
    if aliases:
        stored = _stored_keys()
        for alias in aliases:
            if isinstance(value := stored.get(alias), str) and value.strip():
                return clean_key(value, f'"llm keys" ({alias})')
    for variable in variables:
        if value := os.environ.get(variable, "").strip():
            return clean_key(value, f"the environment variable {variable}")
    return None


def named_key(given: str) -> Secret:
    """What a person gave as a key: the name of one in `llm keys`, or the key itself."""
    stored = _stored_keys().get(given)
    return clean_key(stored if isinstance(stored, str) else given, "--key")
