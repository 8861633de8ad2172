"""The verdicts of llmock on this client: `python -m tests.llmock_verdicts`.

llmock (PyPI, MIT) is a server that breaks answers in scripted ways, watches how the client reacts
and gives a verdict. It brings FastAPI and a plugin for pytest, so it has a virtual environment
of its own. Prints a line for each scenario; the exit code is 1 where a verdict, or the way in which
a call ended, is against the client. What it only warns of is printed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmock.pytest_plugin import LLMock
from llmock.testing import LLMockServer

from llm_g4f import AsyncClient
from llm_g4f.errors import G4FError

Script = Callable[[Any], Any]

SILENCE = 1.5
"""Seconds without a chunk after which the client gives up (`timeout` in g4f.yaml)."""


@dataclass(frozen=True)
class Scenario:
    """A scenario of llmock, and the endings allowed: "ok", or the names of errors."""

    script: Script
    ends: tuple[str, ...]
    params: dict[str, Any] = field(default_factory=dict)


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


def failing(status: int, times: int | None = 1) -> Script:
    """Answers with an HTTP error, `times` None for ever."""
    return lambda mock: mock.fail(status, times=times)


SCENARIOS: dict[str, Scenario] = {
    "no fault": Scenario(lambda mock: mock, ("ok",)),
    "429 once": Scenario(lambda mock: mock.rate_limit(retry_after=1), ("RateLimitError",)),
    "429 for ever": Scenario(
        lambda mock: mock.rate_limit(times=None, retry_after=30), ("RateLimitError",)
    ),
    **{
        f"{status} once": Scenario(failing(status), ("ok",))
        for status in (408, 409, 500, 502, 503, 504, 529)
    },
    "outage": Scenario(lambda mock: mock.outage(), ("InternalServerError",)),
    **{
        f"{status}": Scenario(failing(status, None), (error,))
        for status, error in {
            400: "BadRequestError",
            401: "AuthenticationError",
            403: "PermissionDeniedError",
            404: "NotFoundError",
            422: "UnprocessableEntityError",
        }.items()
    },
    "the prompt is too long": Scenario(
        lambda mock: mock.context_overflow(times=None), ("ContextLengthError",)
    ),
    "disconnect before the first word": Scenario(
        lambda mock: mock.disconnect(after_chunks=0), ("ok",)
    ),
    "disconnect within": Scenario(
        lambda mock: mock.disconnect(after_chunks=4), ("TruncatedStreamError",)
    ),
    "truncated before the first word": Scenario(
        lambda mock: mock.truncate(after_chunks=0), ("InvalidResponseError",)
    ),
    "truncated within": Scenario(
        lambda mock: mock.truncate(after_chunks=4), ("TruncatedStreamError",)
    ),
    "a malformed chunk first": Scenario(
        lambda mock: mock.corrupt(after_chunks=0), ("InvalidResponseError",)
    ),
    "a malformed chunk within": Scenario(
        lambda mock: mock.corrupt(after_chunks=4), ("StreamError",)
    ),
    "stalled": Scenario(lambda mock: mock.stall(after_chunks=4, seconds=6), ("APITimeoutError",)),
    "a slow first token": Scenario(lambda mock: mock.slow_first_token(0.5), ("ok",)),
    "no first token": Scenario(lambda mock: mock.slow_first_token(4), ("ok",)),
    "a tool call": Scenario(
        lambda mock: mock.call_tool("weather", {"city": "Paris"}), ("ok",), {"tools": TOOLS}
    ),
    "a tool call that is cut": Scenario(
        lambda mock: mock.call_tool("weather", {"city": "Paris"}).disconnect(after_chunks=3),
        ("TruncatedStreamError",),
        {"tools": TOOLS},
    ),
}


async def _outcome(params: dict[str, Any]) -> str:
    """The end of a streamed call: "ok", or the name of its error; any other exception is raised."""
    try:
        async for _ in AsyncClient("mock").chat.completions.stream("Tell me of Paris.", **params):
            pass
    except G4FError as error:
        return type(error).__name__
    return "ok"


def _judged(scenario: Scenario, folder: str) -> tuple[str, list[str], list[str]]:
    """The end of the call, the faults found, and the warnings of llmock."""
    with LLMockServer() as server:
        Path(folder, "g4f-health.json").unlink(missing_ok=True)
        Path(folder, "g4f.yaml").write_text(
            # With its model, since a look at what it has would meet the fault in place of the prompt.
            f"notice: false\nproviders: {{mock: {{base_url: '{server.base_url('openai')}',"
            f" models: {{gpt-4o: gpt-4o}}, timeout: {SILENCE}}}}}"
        )
        mock = LLMock(server)
        scenario.script(mock)
        outcome = asyncio.run(_outcome(scenario.params))
        verdict = mock.verdict()
    # llmock sees requests, not what their caller got: a cut stream counts as accepted unless it
    # is asked for again, which this client never does after the first word. It raises.
    wrong = [
        f"{one.code}: {one.title}"
        for one in verdict.errors
        if one.code != "truncated_stream_accepted" or outcome == "ok"
    ]
    if outcome not in scenario.ends:
        wrong.append(f"it ended in {outcome} and not in {' or '.join(scenario.ends)}")
    return outcome, wrong, [f"{one.code}: {one.title}" for one in verdict.warnings]


def main() -> None:
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LLM_USER_PATH"] = folder
        for name, scenario in SCENARIOS.items():
            outcome, wrong, warnings = _judged(scenario, folder)
            failed += bool(wrong)
            print(f"{'WRONG' if wrong else 'ok':6}{name:34}{outcome}")
            for line in (*wrong, *(f"(warning) {warning}" for warning in warnings)):
                print(f"      {line}")
    print(f"{len(SCENARIOS) - failed} of {len(SCENARIOS)} scenarios passed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
