"""Scripts for openai and g4f run unchanged but for their import, on asyncio and on uvloop.

What a script prints is in its comments: `#> ` and the line. What its server answers is in `ANSWERS`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from llm_g4f import sync
from llm_g4f.openai import AsyncOpenAI, OpenAI
from tests.drop_in import typed_program
from tests.support.server import (
    HANG,
    USAGE,
    Script,
    Server,
    call,
    calls,
    completion,
    http,
    stream,
    whole,
)

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.py"))

IMPORTS = (
    (r"^import openai$", "import llm_g4f.openai as openai"),
    (r"^from openai import", "from llm_g4f.openai import"),
    (r"^from g4f\.client import", "from llm_g4f.client import"),
)


def answer(message: dict[str, Any], finish: str = "stop", **fields: Any) -> Script:
    data = completion(**{"text": None, **message})
    data["choices"][0] |= {"finish_reason": finish} | fields
    data["usage"] = USAGE | {"prompt_tokens_details": {"cached_tokens": 3}}
    return http(200, data)


HELLO = http(
    200,
    completion("Hello"),
    [("X-Request-Id", "req_1"), ("X-RateLimit-Remaining-Requests", "41")],
)
WEATHER = call("get_weather", '{"city": "Paris"}', "call_1")
TOKEN = {"token": "Hel", "logprob": -0.5, "bytes": None}
LOGPROBS = {"content": [{**TOKEN, "top_logprobs": [TOKEN, {**TOKEN, "token": "He"}]}]}
STEPS = '{"steps":[{"explanation":"Subtract 31.","output":"8x=-29"}],"final_answer":"x = -3.625"}'
LIMITED = {"message": "Slow down.", "type": "requests", "code": "rate_limit_exceeded"}

ANSWERS: dict[str, tuple[Script, ...]] = {
    "openai_tools": (calls(WEATHER), whole("It is 18 degrees.")),
    "openai_tools_rebuilt": (calls(WEATHER), whole("It is 18 degrees.")),
    "openai_rate_limit": (http(429, {"error": LIMITED}, [("Retry-After", "1")]),),
    "openai_bad_key": (
        http(401, {"error": {"message": "Incorrect API key"}}, [("x-request-id", "req_7")]),
    ),
    "openai_no_retry": (http(500), whole()),
    "openai_timeout": ([HANG],),
    "openai_parse": (answer({"text": STEPS}),),
    "openai_beta_parse": (answer({"refusal": "I cannot help with that."}),),
    "openai_parse_cut": (answer({"text": '{"te'}, "length"),),
    "openai_json_mode": (whole('{"colours": ["red", "green", "blue"]}'),),
    "openai_own_server": (
        http(200, {"data": [{"id": "llama-3.3-70b"}, {"id": "qwen3:8b"}]}),
        http(200, {"data": [{"id": "llama-3.3-70b"}, {"id": "qwen3:8b"}]}),
        whole(model="llama-3.3-70b"),
        http(200, {"data": [{"id": "llama-3.3-70b"}, {"id": "qwen3:8b"}]}),
    ),
    "openai_logprobs": (answer({"text": "Hel"}, logprobs=LOGPROBS),),
}
STREAMED = stream("Hel", "lo")
"""Of every script with `stream` in its text. Others get `HELLO`."""

LOOPS = ["asyncio", *(["uvloop"] if find_spec("uvloop") else [])]


@pytest.fixture(params=LOOPS)
def event_loop_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The event loop that asyncio makes, and the thread behind synchronous calls with it."""
    policy = asyncio.get_event_loop_policy()
    if request.param == "uvloop":
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    monkeypatch.setattr(sync, "_loop_thread", None)
    yield request.param
    asyncio.set_event_loop_policy(policy)
    if sync._loop_thread is not None:
        sync._loop_thread.close()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(path: Path, server: Server) -> str:
        """What the script prints, with its import replaced."""
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        monkeypatch.setenv("MY_SERVER", server.url)
        source = path.read_text()
        for theirs, ours in IMPORTS:
            source = re.sub(theirs, ours, source, flags=re.MULTILINE)
        exec(compile(source, str(path), "exec", dont_inherit=True), {"__name__": "__main__"})
        printed = capsys.readouterr()
        assert printed.err == ""
        return printed.out

    return run


def server_of(path: Path) -> Server:
    usual = STREAMED if "stream" in path.read_text() else HELLO
    return Server(*ANSWERS.get(path.stem, (usual,)), models=None)


@pytest.mark.usefixtures("event_loop_of")
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_prints_what_it_did(
    path: Path, run: Callable[..., str], write_config: Callable[[str], Path]
) -> None:
    expected = re.findall(r"^#> ?(.*)$", path.read_text(), re.MULTILINE)
    with server_of(path) as server:
        write_config(f"providers: {{openrouter: {{base_url: '{server.url}', key_env: NONE}}}}")
        assert run(path, server).splitlines() == expected


def script(name: str) -> Path:
    return next(path for path in SCRIPTS if path.stem == name)


def test_there_are_thirty_scripts_and_more() -> None:
    assert len(SCRIPTS) >= 30


def test_the_messages_of_a_conversation_are_sent_as_openai_takes_them(
    run: Callable[..., str],
) -> None:
    with server_of(script("openai_tools")) as server:
        run(script("openai_tools"), server)
        asked, called, result = server.requests[1].json["messages"]
    assert asked == {"role": "user", "content": "What is the weather in Paris?"}
    function = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    tool_call = {"id": "call_1", "type": "function", "function": function}
    assert called == {"role": "assistant", "content": None, "tool_calls": [tool_call]}
    assert result == {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"}


def test_extra_arguments_go_where_they_belong(run: Callable[..., str]) -> None:
    with server_of(script("openai_extras")) as server:
        run(script("openai_extras"), server)
        [request] = server.requests
    assert request.path == "/v1/chat/completions?trace=1&route=fast"
    assert request.headers["x-title"] == "Other"
    assert request.headers["http-referer"] == "https://example.org"
    assert request.headers["openai-organization"] == "org-1"
    assert request.json == {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "hi"}],
        "user": "me",
        "top_k": 5,
        "stream": False,
    }


def test_absent_arguments_are_not_sent(run: Callable[..., str]) -> None:
    with server_of(script("openai_not_given")) as server:
        run(script("openai_not_given"), server)
        assert server.requests[0].json == {
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": "hi"}],
            "stream": False,
        }


@pytest.mark.parametrize("name", ["openai_no_retry", "openai_rate_limit", "openai_timeout"])
def test_nothing_is_asked_twice_without_retries(run: Callable[..., str], name: str) -> None:
    with server_of(script(name)) as server:
        run(script(name), server)
        assert len(server.requests) == 1


def test_openai_is_not_imported(run: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == "openai"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("openai_parse", "openai_not_given", "openai_chat"):
        with server_of(script(name)) as server:
            run(script(name), server)
    assert "openai" not in sys.modules


def test_the_typed_program_does_what_its_types_say() -> None:
    """That mypy takes it is part of the type check of the tests."""

    async def main(url: str) -> None:
        client = AsyncOpenAI(base_url=url)
        assert [piece async for piece in typed_program.pieces(client)] == ["", "Hel", "lo", ""] * 2
        assert await typed_program.answers(client) == ["Hello", "Hello"]

    with Server(STREAMED) as server:
        client = OpenAI(base_url=server.url)
        assert typed_program.whole(client) == "Hello 9"
        assert typed_program.streamed(client) == "Hello"
        assert typed_program.failed(client) == "no error"
        asyncio.run(main(server.url))
    with Server(http(429, {"error": LIMITED})) as server:
        client = OpenAI(base_url=server.url)
        assert typed_program.failed(client).startswith("429 rate_limit_exceeded {")
    with Server(whole('{"name": "Rome", "inhabitants": 3}')) as server:
        city = asyncio.run(typed_program.city(AsyncOpenAI(base_url=server.url)))
        assert city == typed_program.City(name="Rome", inhabitants=3)
    with Server(models=http(200, {"data": [{"id": "a"}]})) as server:
        listed = typed_program.listed(AsyncOpenAI(base_url=server.url))
        assert asyncio.run(listed) == ["a"]
