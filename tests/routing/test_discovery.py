"""An endpoint of g4f.yaml is asked once what it has, and that is what answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_g4f import AsyncClient, Client
from llm_g4f.errors import G4FError, NoProviderError
from llm_g4f.types import ChatCompletion
from tests.support.server import (
    CLOSE,
    HANG,
    Script,
    Server,
    chunk,
    events,
    http,
    stream,
    whole,
)

Write = Callable[[str], Path]
Run = Callable[..., Any]


def listing(*ids: str) -> Script:
    return http(200, {"object": "list", "data": [{"id": id, "object": "model"} for id in ids]})


def asked(model: str = "gpt-4o", **params: Any) -> ChatCompletion:
    answer: ChatCompletion = Client().chat.completions.create("hi", model=model, **params)
    return answer


@pytest.fixture
def qwen(write_config: Write) -> Iterator[Server]:
    """A llama.cpp with Qwen, added without `models:`."""
    answers = stream("I am Qwen", model="qwen3-8b")
    with Server(answers, models=listing("qwen3-8b")) as server:
        write_config(f"providers: {{box: {{base_url: '{server.url}'}}}}")
        yield server


def test_another_model_never_passes_for_the_exact_one(qwen: Server, run_llm: Run) -> None:
    refused = run_llm("-m", "gpt-4o", "-o", "exact", "1", "hi")
    assert refused.returncode == 1
    assert "box: qwen3-8b is a substitute, and only gpt-4o is allowed" in refused.stderr
    assert qwen.requests == []
    answer = run_llm("-m", "gpt-4o", "hi")
    assert answer.stdout == "I am Qwen\n"
    assert answer.stderr == (
        'gpt-4o answered by qwen3-8b (box): a substitute. "llm g4f route gpt-4o" shows why.\n'
    )
    assert qwen.requests[0].json["model"] == "qwen3-8b"
    # Across processes.
    assert len(qwen.looks) == 1


@pytest.mark.parametrize(
    ("ids", "served"),
    [
        (["other", "gpt-4o"], ("gpt-4o", True)),
        (["gpt-4o-2024-05-13", "openai/gpt-4o", "gpt-4o"], ("gpt-4o", True)),
        (["gpt-4o-2024-05-13", "openai/gpt-4o"], ("openai/gpt-4o", True)),
        (["gpt-4o-mini", "gpt-4o-audio-preview", "gpt-oss:20b"], ("gpt-oss:20b", False)),
        (["gpt-4o-mini"], ("gpt-4o-mini", False)),
        (["qwen3", "text-embedding-nomic-embed-text-v1.5"], ("qwen3", False)),
        (["qwen3", "vendor/GPT-OSS-120b"], ("vendor/GPT-OSS-120b", False)),
    ],
)
def test_the_model_is_the_requested_one_else_a_lone_one_else_a_gpt_oss(
    ids: list[str], served: tuple[str, bool], write_config: Write
) -> None:
    model = served[0]
    with Server(whole(model=model), models=listing(*ids)) as server:
        write_config(f"providers: {{box: {{base_url: '{server.url}'}}}}")
        answer = asked()
    assert answer.receipt is not None
    assert (answer.receipt.model, answer.receipt.exact) == served
    assert server.requests[0].json["model"] == model


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (["qwen3", "phi"], "box: it has qwen3, phi; say which one stands for gpt-4o with models:"),
        ([], "box: it has no model"),
    ],
)
def test_a_choice_or_an_empty_list_leaves_it_out(
    ids: list[str], words: str, write_config: Write
) -> None:
    with Server(models=listing(*ids)) as server:
        write_config(f"providers: {{box: {{base_url: '{server.url}'}}}}")
        with pytest.raises(NoProviderError) as caught:
            asked()
    assert words in str(caught.value)


NO_LIST: dict[str, Script] = {
    "404": http(404, {"error": {"message": "not here"}}),
    "401": http(401, {"error": {"message": "no"}}),
    "a page": http(200, "<html>", kind="text/html"),
    "other JSON": http(200, {"models": 7}),
}


@pytest.mark.parametrize("script", NO_LIST.values(), ids=NO_LIST)
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("model", "exact"), [("gpt-4o-2024-11-20", True), ("qwen3", False), ("gpt-4o-mini", False)]
)
def test_without_a_list_it_is_asked_by_the_requested_name_and_its_answer_is_compared(
    script: Script, streaming: bool, model: str, exact: bool, write_config: Write
) -> None:
    answers = stream("Hello", model=model) if streaming else whole(model=model)
    with Server(answers, models=script) as server:
        write_config(f"providers: {{box: {{base_url: '{server.url}'}}}}")
        receipt = _receipt(streaming)
        assert (receipt.model, receipt.exact) == (model, exact)
        if exact:
            assert _receipt(streaming, exact=True).exact
        else:
            with pytest.raises(G4FError, match="only the exact model is allowed"):
                _receipt(streaming, exact=True)
    assert {request.json["model"] for request in server.requests} == {"gpt-4o"}
    assert len(server.looks) == 1


@pytest.mark.parametrize("script", NO_LIST.values(), ids=NO_LIST)
@pytest.mark.parametrize(("name", "exact"), [("vllm", True), ("g4f", False)])
def test_a_local_server_without_a_list_is_asked_by_the_requested_name_too(
    script: Script, name: str, exact: bool, write_config: Write
) -> None:
    with Server(whole(), models=script) as server:
        write_config(f"providers: {{{name}: {{base_url: '{server.url}'}}}}")
        receipt = asked().receipt
    assert receipt is not None
    # g4f's server says gpt-4o whatever it has.
    assert receipt.exact is exact
    assert server.requests[0].json["model"] == "gpt-4o"


@pytest.mark.parametrize("streaming", [False, True])
def test_a_model_that_only_the_end_of_the_answer_names_is_compared(
    streaming: bool, write_config: Write, caplog: pytest.LogCaptureFixture
) -> None:
    late = events({**chunk("Hello"), "model": ""}, chunk(finish="stop", model="qwen3"), "[DONE]")
    with Server(late) as server:
        write_config(f"providers: {{box: {{base_url: '{server.url}'}}}}")
        receipt = _receipt(streaming)
        with pytest.raises(G4FError, match="answered with qwen3; only the exact model") as caught:
            _receipt(streaming, exact=True)
    assert (receipt.model, receipt.exact) == ("qwen3", False)
    (said,) = caplog.messages
    assert said == (
        "gpt-4o was answered by qwen3 (box), a substitute: the answer says so only at its end."
        ' "llm g4f route gpt-4o" shows why.'
    )
    assert getattr(caught.value, "partial", None) == "Hello"


def _receipt(streaming: bool, **params: Any) -> Any:
    if not streaming:
        return asked(**params).receipt
    answer = Client().chat.completions.create("hi", stream=True, **params)
    for _ in answer:
        pass
    return answer.receipt


@pytest.mark.parametrize(
    ("entry", "exact"),
    [("gpt-4o", False), ("{id: deployment, exact: true}", True), ("{id: deployment}", False)],
)
def test_only_the_users_own_word_is_not_compared(
    entry: str, exact: bool, write_config: Write
) -> None:
    with Server(whole(model="qwen3")) as server:
        write_config(
            f"providers: {{box: {{base_url: '{server.url}', models: {{gpt-4o: {entry}}}}}}}"
        )
        receipt = asked().receipt
    assert receipt is not None
    assert (receipt.model, receipt.exact) == ("qwen3", exact)
    assert server.looks == []


def test_base_url_of_the_client_is_never_asked_and_its_answer_is_compared() -> None:
    with Server(whole(model="qwen3"), models=listing("gpt-4o")) as server:
        answer = Client(base_url=server.url).chat.completions.create("hi")
    assert answer.receipt is not None
    assert not answer.receipt.exact
    assert server.looks == []


def test_it_is_asked_once_by_all_requests_and_processes(qwen: Server, run_llm: Run) -> None:
    async def ask_many() -> None:
        client = AsyncClient()
        await asyncio.gather(*(client.chat.completions.create("hi") for _ in range(20)))

    asyncio.run(ask_many())
    asked()
    run_llm("-m", "gpt-4o", "hi")
    assert len(qwen.looks) == 1


def test_it_is_asked_again_after_some_minutes(qwen: Server, user_path: Path) -> None:
    asked()
    state = json.loads((user_path / "g4f-health.json").read_text())
    (entry,) = state["listings"].values()
    assert 120 <= entry["until"] - time.time() <= 600
    entry["until"] = time.time() - 1
    (user_path / "g4f-health.json").write_text(json.dumps(state))
    qwen.models = listing("gpt-4o")
    qwen.scripts = (whole(),)
    receipt = asked().receipt
    assert receipt is not None
    assert receipt.exact
    assert len(qwen.looks) == 2


def test_each_key_has_its_own_list(write_config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(whole(), models=listing("gpt-4o")) as server:
        write_config(f"providers: {{box: {{base_url: '{server.url}', key_env: BOX}}}}")
        for key in ("sk-1234567890", "sk-0987654321", "sk-1234567890"):
            monkeypatch.setenv("BOX", key)
            asked()
    sent = [request.headers["authorization"] for request in server.looks]
    assert sent == ["Bearer sk-1234567890", "Bearer sk-0987654321"]


def test_where_it_cannot_be_written_down_the_client_remembers_it(
    qwen: Server, user_path: Path
) -> None:
    (user_path / "g4f-health.json.lock").mkdir()
    client = Client()
    for _ in range(3):
        client.chat.completions.create("hi")
    assert not (user_path / "g4f-health.json").exists()
    assert len(qwen.looks) == 1


@pytest.fixture(params=["box: {{base_url: '{}'}}", "vllm: {{enabled: true, base_url: '{}'}}"])
def hanging(request: pytest.FixtureRequest, write_config: Write) -> Iterator[tuple[Server, Server]]:
    """A local server that hangs, and one that answers."""
    with Server([HANG], models=[HANG]) as hung, Server(whole("good"), models=[CLOSE]) as good:
        write_config(
            f"providers:\n  {request.param.format(hung.url)}\n"
            f"  good: {{base_url: '{good.url}', models: {{gpt-4o: gpt-4o}}}}\n"
        )
        yield hung, good


def test_a_local_server_that_hangs_costs_a_look_in_fifteen_seconds(
    hanging: tuple[Server, Server], user_path: Path
) -> None:
    hung, _ = hanging
    took = []
    for _ in range(3):
        began = time.perf_counter()
        assert asked().choices[0].message.content == "good"
        took.append(time.perf_counter() - began)
    assert took[0] < 1.3
    assert max(took[1:]) < 0.25
    assert (len(hung.looks), hung.requests) == (1, [])
    path = user_path / "g4f-health.json"
    state = json.loads(path.read_text())
    (entry,) = state["listings"].values()
    assert 13 < entry["until"] - time.time() <= 15
    for kept in (*state["listings"].values(), *state["cooldowns"].values()):
        kept["until"] = time.time() - 1
    path.write_text(json.dumps(state))
    began = time.perf_counter()
    assert asked().choices[0].message.content == "good"
    assert 0.25 < time.perf_counter() - began < 0.6
    assert len(hung.looks) == 2


def test_a_local_server_rests_seconds_not_minutes(endpoints: Run, user_path: Path) -> None:
    failing = http(500, {"error": {"message": "boom"}})
    with Server(failing) as bad, Server(whole("good")) as good:
        endpoints(bad=bad, good=good)
        path = user_path / "g4f-health.json"
        for _ in range(6):
            asked()
            state = json.loads(path.read_text())
            entry = state["cooldowns"]["bad"]
            assert entry["until"] - time.time() <= 15
            entry["until"] = time.time() - 1
            path.write_text(json.dumps(state))
    assert entry["failures"] == 6


def test_what_it_listed_before_counts_while_it_does_not_answer(
    qwen: Server, user_path: Path
) -> None:
    asked()
    path = user_path / "g4f-health.json"
    state = json.loads(path.read_text())
    next(iter(state["listings"].values()))["until"] = time.time() - 1
    path.write_text(json.dumps(state))
    qwen.models = http(503, {"error": {"message": "loading"}})
    with pytest.raises(G4FError, match="qwen3-8b is a substitute"):
        asked(exact=True)


def test_vision_in_g4f_yaml_holds_for_what_it_lists(write_config: Write) -> None:
    with Server(models=listing("qwen3")) as server:
        write_config(f"providers: {{box: {{base_url: '{server.url}', vision: false}}}}")
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        with pytest.raises(NoProviderError, match="box: qwen3 does not read images"):
            Client().chat.completions.create([{"role": "user", "content": [image]}])
