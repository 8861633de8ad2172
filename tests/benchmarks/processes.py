"""The processes of a run: the server, and clients that measure on request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from .server import Script
from .venvs import Unavailable

__all__ = ["Client", "Server", "checked", "environment"]

_HERE = Path(__file__).parent


def environment(work: Path, checkout: Path, **more: str) -> dict[str, str]:
    """The environment variables of a client, isolated from the caller's.

    Without keys, proxies and PYTHONDONTWRITEBYTECODE. `work` is home, user and cache directory.
    """
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    return {
        **kept,
        "HOME": str(work),
        "USERPROFILE": str(work),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join([str(_HERE), str(checkout)]),
        "PYTHONUTF8": "1",
        "LLM_USER_PATH": str(work / "llm"),
        "G4F_CONFIG_DIR": str(work / "g4f"),
        "G4F_CACHE_DIR": str(work / "g4f" / "cache"),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        **more,
    }


class _Lines:
    """A process that answers in lines and ends when its stdin is closed."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str] | None, cwd: Path, log: Path
    ) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=env,
                cwd=cwd,
                text=True,
                encoding="utf-8",
            )

    def ask(self, line: str | None, seconds: float = 120) -> str:
        """Send `line` and return the next line of output. Raises `Unavailable` if there is none."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        try:
            if line is not None:
                _send(process.stdin, line)
            answer = process.stdout.readline()
        finally:
            timer.cancel()
        if not answer:
            process.wait()
            errors = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise Unavailable(errors[-1] if errors else f"it took more than {seconds:.0f} s")
        return answer

    def close(self) -> None:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _send(stream: IO[str], line: str) -> None:
    try:
        stream.write(f"{line}\n")
        stream.flush()
    except BrokenPipeError:
        pass  # the process has ended, and reading gives the reason


class Server:
    """The server's process."""

    def __init__(self, work: Path) -> None:
        env = environment(work, _HERE)
        command = [sys.executable, "-m", "server"]
        self._lines = _Lines(command, env, work, work / "server.log")
        self.url = f"http://127.0.0.1:{int(self._lines.ask(None))}/v1"

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lines.close()


def checked(line: str, script: Script, times: int) -> dict[str, Any]:
    """The result of a client that received `times` answers to `script`. Raises `Unavailable`."""
    result: dict[str, Any] = json.loads(line)
    if "error" in result:
        raise Unavailable(result["error"])
    if result["answers"] != {script.answer: times}:
        received = ", ".join(f"{n} x {answer[:20]}" for answer, n in result["answers"].items())
        raise Unavailable(f"{times} x {script.answer[:20]} sent, but {received} received")
    return result


class Client:
    """A client's process. `cold` is the result of its first request, an answer to `script`."""

    def __init__(
        self, name: str, python: Path, url: str, script: Script, env: Mapping[str, str], work: Path
    ) -> None:
        command = [str(python), "-m", "clients", name, url, script.prompt]
        self._lines = _Lines(command, env, work, work / f"{name}.log")
        try:
            self.cold = checked(self._lines.ask(None), script, 1)
        except BaseException:
            self.close()
            raise

    def ask(self, measure: str, script: Script, times: int = 1, **arguments: int) -> dict[str, Any]:
        """The result of a measurement of `times` answers.

        Raises `Unavailable`, also for an answer that differs from what the server sent.
        """
        request = {"measure": measure, "prompt": script.prompt, **arguments}
        return checked(self._lines.ask(json.dumps(request)), script, times)

    def close(self) -> None:
        self._lines.close()
