"""Check base URLs."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from .keys import looks_like_key


def is_loopback(host: str) -> bool:
    """Whether `host` is certainly this machine: localhost or a loopback address. Asks no DNS."""
    if host.lower() == "localhost":
        return True
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_base_url(url: str, *, plain_http: bool = False) -> str:
    """`url` without its trailing slash. Raises ValueError with the reason if it is not a valid base URL.

    Without `plain_http`, http:// is only allowed to this machine: prompts and keys would cross the
    network unencrypted.
    """
    scheme, separator, rest = url.partition("://")
    if "@" in (rest.split("/", 1)[0] if separator else scheme):
        raise ValueError("a URL must not contain a user name or a key; use key or key_env.")
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        # Not shown: in place of the port there may be a key.
        raise ValueError(
            "it is not a URL: write https://HOST/v1 or https://HOST:PORT/v1."
        ) from None
    shown = _without_keys(url)
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"{shown!r} must start with https:// or http:// and name a host.")
    if "?" in url or "#" in url:
        raise ValueError(f"{shown!r} must not contain ? or #; a key belongs in key or key_env.")
    if any(char.isspace() or not char.isprintable() for char in url):
        raise ValueError(f"{shown!r} contains white space or a control character.")
    if parts.scheme == "http" and not plain_http and not is_loopback(host):
        raise ValueError(
            f"{shown!r} would send prompts unencrypted; use https://, or set plain_http: true."
        )
    return url.rstrip("/")


def _without_keys(url: str) -> str:
    """`url` as it may be shown: without what follows ? or #, and without parts that look like keys."""
    shown = re.sub("(?s)[?#].*", "…", url)
    parts = re.split("([/:@])", shown)
    return "".join("…" if looks_like_key(part) else part for part in parts)
