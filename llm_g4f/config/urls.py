"""Check base URLs."""

from __future__ import annotations

from urllib.parse import urlsplit


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
    # First, since the other messages show the URL, and this part may be a key.
    if "@" in url.split("://", 1)[-1].split("/", 1)[0]:
        raise ValueError("a URL must not contain a user name or a key; use key or key_env.")
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        raise ValueError(f"{url!r} is not a URL.") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"{url!r} must start with https:// or http:// and name a host.")
    if "?" in url or "#" in url:
        raise ValueError(f"{url!r} must not contain ? or #.")
    if any(char.isspace() or not char.isprintable() for char in url):
        raise ValueError(f"{url!r} contains white space or a control character.")
    if parts.scheme == "http" and not plain_http and not is_loopback(host):
        raise ValueError(
            f"{url!r} would send prompts unencrypted; use https://, or set plain_http: true."
        )
    return url.rstrip("/")
