"""Which proxy is on the way: the variables as httpx reads them, exceptions as curl does."""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.request import getproxies, getproxies_environment, proxy_bypass

from msgspec import Struct

from ..config.urls import is_loopback
from .types import URL


class Proxy(Struct, frozen=True):
    """The URL of a proxy, password included, and what names it: a variable, or `proxies=`."""

    url: str
    source: str


def environment_proxy(url: URL) -> Proxy | None:
    """The proxy on the way to `url` by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, or without
    these by the system's settings. Never one for this machine itself, which no proxy can reach."""
    if is_loopback(url.host):
        return None
    from_variables = getproxies_environment()
    proxies = from_variables or getproxies()
    scheme = url.scheme if proxies.get(url.scheme) else "all"
    proxy = proxies.get(scheme)
    if not proxy:
        return None
    if from_variables:
        if is_excepted(url, from_variables.get("no", "")):
            return None
    elif proxy_bypass(url.host):
        return None
    return Proxy(proxy if "://" in proxy else f"http://{proxy}", _source(scheme))


def _source(scheme: str) -> str:
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    return next((name for name in names if os.environ.get(name)), "the system's proxy setting")


def is_excepted(url: URL, no_proxy: str) -> bool:
    """Whether NO_PROXY excepts `url`, as curl reads it (curl's manual, "--noproxy"): names with all
    below them, addresses, networks such as 10.0.0.0/8, or * for everything; commas or blanks between
    them. Also with a port, as httpx has it."""
    host = url.host.rstrip(".").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    for entry in re.split(r"[,\s]+", no_proxy.strip().lower()):
        if entry == "*":
            return True
        try:
            network = ipaddress.ip_network(re.sub(r"[\[\]]", "", entry), strict=False)
        except ValueError:
            name, port = _name_and_port(entry)
            if port in (None, url.port) and _is_at_or_below(host, name, address is not None):
                return True
        else:
            if address is not None and address in network:
                return True
    return False


def _name_and_port(entry: str) -> tuple[str, int | None]:
    name, _, port = entry.rpartition(":")
    number = int(port) if name and re.fullmatch("[0-9]{1,5}", port) else None
    name = entry if number is None else name
    return name.removeprefix("*").strip(".[]"), number


def _is_at_or_below(host: str, name: str, is_address: bool) -> bool:
    return bool(name) and (host == name or (not is_address and host.endswith(f".{name}")))
