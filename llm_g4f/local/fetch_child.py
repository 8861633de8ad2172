"""Fetch for a parent process, and end with it.

    python -P fetch_child.py pip FOLDER ARGUMENT…     pip, which writes into FOLDER only
    python -P fetch_child.py hub JOB                  a file from a Hugging Face hub, into its cache

Run by its path, in an empty folder: it imports nothing of this package, and nothing that lies where
the user is. The parent holds the other end of stdin: however the parent ends, so does this process,
and what cannot be resumed goes with it.
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
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


def end_with_parent(folder: str | None = None) -> None:
    """End this process when the parent does, `folder` being deleted then."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1):
                pass
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


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
    entered = enter_cache(partial, storage / "blobs" / etag, job["sha256"])
    if "error" not in entered:
        entered["path"] = hf_hub_download(
            repository,
            file,
            revision=commit,
            endpoint=endpoint,
            token=token,
            cache_dir=storage.parent,
        )
    return entered


def enter_cache(partial: Path, blob: Path, sha256: str | None) -> dict[str, Any]:
    """Make a fetched file a blob of the hub's cache if it has its hash, else delete it."""
    with partial.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
        # The hash of a large file is its ETag (the hub's documentation, "Git LFS pointer").
        expected = sha256 or (blob.name if len(blob.name) == len(found) else found)
        if found != expected:
            content.close()
            partial.unlink()
            return {"error": "hash", "found": found, "expected": expected}
        partial.replace(blob)
        status = os.fstat(content.fileno())
    return {
        "blob": str(blob),
        "sha256": found,
        "identity": [
            *(status.st_dev, status.st_ino, status.st_size),
            *(status.st_mtime_ns, status.st_ctime_ns),
        ],
    }


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


def main(kind: str, *arguments: str) -> None:
    if kind == "pip":
        end_with_parent(arguments[0])
        sys.argv = ["pip", *arguments[1:]]
        runpy.run_module("pip", run_name="__main__", alter_sys=True)
        return
    end_with_parent()
    try:
        result = fetch_from_hub(json.loads(arguments[0]))
    except Exception as error:  # noqa: BLE001 (told to the parent)
        code = getattr(getattr(error, "response", None), "status_code", None)
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
        result = {
            "error": "disk" if full else "status" if code else "failed",
            "status": code,
            "words": f"{type(error).__name__}: {error}",
        }
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
