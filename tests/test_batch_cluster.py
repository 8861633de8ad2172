"""`llm g4f batch --engine ray` on a real cluster: two workers on this machine, for all tests here."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import live_at
from .server import HANG, Server, http, whole
from .test_batch import asked, has_lines, lines, prompts, read, started, texts, wait_for, write

CANARY = "sk-canary-7f3a91"


class Cluster:
    """A cluster of this machine; `llm` is its workers' user directory."""

    def __init__(self, folder: Path) -> None:
        self.llm = folder / "llm"
        self.llm.mkdir()
        self.temporary = folder / "ray"
        environment = {**os.environ, "LLM_USER_PATH": str(self.llm), "BOX_KEY": CANARY}
        environment |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        ray = Path(sys.executable).with_name("ray")
        options = (f"--port={port}", "--node-ip-address=127.0.0.1", f"--temp-dir={self.temporary}")
        self.process = subprocess.Popen(
            [ray, "start", "--head", "--block", "--num-cpus=2", *options]
            + ["--include-dashboard=false", "--disable-usage-stats"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Its sockets have short names.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def folder(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live_at(cluster.llm, monkeypatch)
    monkeypatch.chdir(tmp_path)
    wait_for(cluster.temporary.joinpath("ray_current_cluster").exists)
