"""`llm g4f batch --engine openai-batch`: rows that go to a provider as files of its Batch API."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from msgspec.structs import replace

from llm_g4f.providers.catalogue import PROVIDERS, BatchAPI
from llm_g4f.routing.spend_file import SpendFile
from tests.support.batch import batch, has_lines, logged, prompts, read, started, texts, write
from tests.support.batch_api import FORMS, answered
from tests.support.batch_api import OpenAIBatches as Server
from tests.support.forked import LLM, Fork, Forks
from tests.support.prices import table_price
from tests.support.scenarios import empty_log
from tests.support.server import completion
from tests.support.waiting import wait_until

STAYS = "It stays there if this command ends: run it again to fetch the answers."

MODELS = {
    "openai": "gpt-4o",
    "mistral": "mistral-small-latest",
    "openrouter": "openai/gpt-4o",
}
"""What each provider serves for gpt-4o."""

every_form = pytest.mark.parametrize("provider", FORMS, indirect=True)

Reply = tuple[int, dict[str, str], Any]
KEY = "sk-of-the-tests-0001"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of IN and OUT, where the command runs; openai has a key."""
    path = tmp_path / "work"
    path.mkdir()
    monkeypatch.chdir(path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return path


@pytest.fixture
def provider(request: pytest.FixtureRequest) -> str:
    """The provider that answers: openai, if the test does not say."""
    return str(getattr(request, "param", "openai"))


@pytest.fixture
def serve(
    provider: str, monkeypatch: pytest.MonkeyPatch, write_config: Callable[[str], Path]
) -> Iterator[Callable[..., Server]]:
    """Start a server that is the provider's from now on."""
    servers: list[Server] = []

    def start(*states: str, **settings: Any) -> Server:
        server = FORMS[provider](*states, **settings).__enter__()
        servers.append(server)
        if provider == "openai":
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        else:
            monkeypatch.delenv("OPENAI_API_KEY")
            monkeypatch.setenv(f"{provider.upper()}_API_KEY", KEY)
            key = f"key_env: {provider.upper()}_API_KEY"
            own = f"{{enabled: true, base_url: '{server.url}', {key}}}"
            write_config(f"providers: {{{provider}: {own}}}")
        return server

    yield start
    for server in servers:
        server.__exit__()


def run(*args: str, code: int = 0, model: str = "gpt-4o") -> Result:
    return batch("in", "out", "-m", model, "--engine", "openai-batch", *args, code=code)


def limit(monkeypatch: pytest.MonkeyPatch, provider: str = "openai", **limits: int) -> None:
    """Let a batch of a provider hold less."""
    spec = PROVIDERS[provider]
    assert spec.batch is not None
    monkeypatch.setitem(PROVIDERS, provider, replace(spec, batch=replace(spec.batch, **limits)))


def errors() -> dict[str | int, tuple[str, str]]:
    """The class and the message of each row's error."""
    found = {id: result.get("error") for id, result in read().items()}
    return {id: (error["type"], error["message"]) for id, error in found.items() if error}


@every_form
def test_rows_are_answered_by_one_batch(
    serve: Callable[..., Server], provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    write("in", *prompts(2), {"id": "b", "prompt": "own", "temperature": 1, "system": "Own"})
    result = run("-o", "temperature", "0.5", "-s", "Be brief")
    assert result.stderr == "3 answered, 0 failed, 27 tokens: out\n"
    assert texts() == {0: "To prompt 0", 1: "To prompt 1", "b": "To own"}
    (stored,) = server.batches.values()
    own = {"url": "/v1/chat/completions", "method": "POST"} if provider == "openai" else {}
    assert stored.lines[0] == {**stored.lines[0], **own}
    assert len(stored.lines[0]) == len(own) + 2
    bodies = [line["body"] for line in stored.lines]
    assert [body["temperature"] for body in bodies] == [0.5, 0.5, 1]
    assert [body["messages"][0]["content"] for body in bodies] == ["Be brief", "Be brief", "Own"]
    assert stored.made["endpoint"] == "/v1/chat/completions"
    receipt = read()[0]["receipt"]
    assert (receipt["batch"], receipt["request_id"]) == ("batch_1", "req_0")
    assert (receipt["provider"], receipt["seconds"]) == (provider, None)
    assert receipt["exact"] == (provider != "mistral")
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert sorted(os.listdir()) == ["in", "out"]
    said = [
        f"batch_1 at {provider} ({MODELS[provider]}), rows: 3. {STAYS}",
        f"batch_1 at {provider}: in_progress, 0 of 3 done",
        f"batch_1 at {provider}: finalizing, 0 of 3 done",
        f"batch_1 at {provider}: completed, 3 of 3 done",
    ]
    if provider == "mistral":
        said[1:3] = [f"batch_1 at {provider}: running, 0 of 3 done"]
    assert [text for text in caplog.messages if text.startswith("batch_1")] == said


@every_form
def test_without_waiting_the_same_command_fetches_what_is_done(
    serve: Callable[..., Server],
) -> None:
    server = serve("validating", "in_progress", "completed")
    write("in", *prompts(2))
    assert run("--no-wait").stderr == "0 answered, 0 failed, 0 tokens: out\n"
    assert sorted(os.listdir()) == ["in", "out", "out.batches"]
    side = Path("out.batches").read_text(encoding="utf-8")
    assert "batch_1" in side
    assert "prompt 0" not in side
    assert KEY not in side
    # A row that was added since is sent, and no other.
    write("in", *prompts(3))
    run("--no-wait")
    assert texts() == {0: "To prompt 0", 1: "To prompt 1"}
    run()
    assert texts() == {number: f"To prompt {number}" for number in range(3)}
    assert server.sent == ["prompt 0", "prompt 1", "prompt 2"]
    assert sorted(os.listdir()) == ["in", "out"]
    calls = len(server.calls)
    run()
    assert len(server.calls) == calls


def test_a_model_that_ends_meanwhile_still_has_answered(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    write("in", *prompts(1))
    run("--no-wait")
    ended = {"gpt-4o": dt.date(2026, 1, 1)}
    monkeypatch.setitem(PROVIDERS, "openai", replace(PROVIDERS["openai"], retires=ended))
    run()
    assert (read()[0]["model"], read()[0]["receipt"]["exact"]) == ("gpt-4o", True)
    assert server.sent == ["prompt 0"]


def test_a_row_that_has_changed_is_another(serve: Callable[..., Server]) -> None:
    server = serve("in_progress", "in_progress", "completed")
    write("in", {"id": 1, "prompt": "one"}, {"id": 2, "prompt": "two"})
    run("--no-wait")
    write("in", {"id": 1, "prompt": "one"}, {"id": 2, "prompt": "three"})
    run()
    assert texts() == {1: "To one", 2: "To three"}
    assert server.sent == ["one", "two", "three"]


@every_form
def test_answers_to_rows_beyond_a_limit_stay_until_they_are_asked_for(
    serve: Callable[..., Server],
) -> None:
    server = serve()
    write("in", *prompts(3))
    run("--no-wait")
    run("--limit", "1")
    assert texts() == {0: "To prompt 0"}
    assert Path("out.batches").exists()
    run()
    assert texts() == {number: f"To prompt {number}" for number in range(3)}
    assert len(server.batches) == 1
    assert not Path("out.batches").exists()


def test_the_limits_of_a_file_split_the_rows(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    write("in", *prompts(5), {"id": "mini", "prompt": "mini", "model": "gpt-4o-mini"})
    limit(monkeypatch, rows=2)
    run()
    parts = [stored.prompts for stored in server.batches.values()]
    assert parts == [["prompt 0", "prompt 1"], ["prompt 2", "prompt 3"], ["prompt 4"], ["mini"]]
    size = max(map(len, server.files["file-1"].splitlines(keepends=True)))
    Path("out").unlink()
    limit(monkeypatch, rows=50, bytes=3 * size)
    write("in", *prompts(4), {"id": "long", "prompt": "x" * 4 * size})
    run(code=1)
    last = list(server.batches.values())[4:]
    assert [stored.prompts for stored in last] == [
        ["prompt 0", "prompt 1", "prompt 2"],
        ["prompt 3"],
    ]
    assert all(len(server.files[one.made["input_file_id"]]) <= 3 * size for one in last)
    said = f"Invalid row: it is longer than a batch may be ({3 * size:,} bytes)."
    assert errors() == {"long": ("BadRequestError", said)}


@every_form
def test_errors_of_rows_are_rows(serve: Callable[..., Server], provider: str) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        prompt = body["messages"][-1]["content"]
        if prompt == "prompt 1":
            return 429, {"error": {"message": "Slow down.", "code": "rate_limit_exceeded"}}
        if prompt == "prompt 2":
            raise LookupError
        if prompt == "prompt 3":
            return 200, completion("")
        return answered(body)

    server = serve(answer=answer)
    write("in", *prompts(4))
    run(code=1)
    found = errors()
    assert texts()[0] == "To prompt 0"
    assert found[1][0] == "RateLimitError"
    assert "Slow down." in found[1][1]
    assert found[2] == (
        "InvalidResponseError",
        f"{provider}: batch_1 has no result for this row. Run the same command to ask it again.",
    )
    assert found[3][0] == "InvalidResponseError"
    receipt = read()[1]["receipt"]
    assert receipt["batch"] == "batch_1"
    assert [attempt["outcome"] for attempt in receipt["attempts"]] == ["RateLimitError"]
    server.answer = answered
    run("--retry-failed")
    assert server.sent[4:] == ["prompt 1", "prompt 2", "prompt 3"]
    assert texts() == {number: f"To prompt {number}" for number in range(4)}


@every_form
@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        ("expired", "APITimeoutError", "expired before this row's turn"),
        ("cancelled", "APIError", "was cancelled before this row's turn"),
    ],
)
def test_what_a_batch_that_ended_early_lacks_is_asked_again(
    status: str, kind: str, words: str, serve: Callable[..., Server], provider: str
) -> None:
    server = serve("in_progress", "cancelling", status, done=1)
    write("in", *prompts(3))
    run(code=1)
    said = f"{provider}: batch_1 {words}. Run the same command to ask it again."
    assert errors() == {1: (kind, said), 2: (kind, said)}
    server.states, server.done = ("completed",), None
    run()
    assert texts() == {number: f"To prompt {number}" for number in range(3)}
    assert server.sent[3:] == ["prompt 1", "prompt 2"]


@every_form
def test_a_file_that_fails_validation_is_an_error_of_each_row(
    serve: Callable[..., Server], provider: str
) -> None:
    wrong = {"code": "model_not_found", "message": "No such model.", "line": 2, "param": None}
    server = serve("failed", errors=[wrong])
    write("in", *prompts(2))
    run(code=1)
    found = errors()
    assert "No such model." in found[1][1]
    assert "No such model." in found[0][1]
    assert ("line 2 of the batch, which is another row" in found[0][1]) == (provider == "openai")
    assert not Path("out.batches").exists()
    server.states = ("completed",)
    run()
    assert len(server.batches) == 2


def noted_part() -> str:
    """The id of the first part in OUT.batches."""
    first = Path("out.batches").read_text(encoding="utf-8").splitlines()[0]
    id: str = json.loads(first)["part"]["id"]
    return id


BAD_GATEWAY: Reply = (502, {}, {"error": {"message": "Bad gateway."}})


@every_form
def test_a_batch_that_was_not_noted_is_found_among_many(
    serve: Callable[..., Server], provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_g4f.batch.services.mistral.PAGE", 1)
    server = serve(page=1)
    write("in", *prompts(2))
    server.lost.append("POST /batches")
    result = run(code=1)
    assert "Bad gateway." in result.stderr
    assert "the next run of this command finds it." in result.stderr
    for number in range(3):
        server.add({"metadata": {"llm_g4f": str(number)}, "model": f"other/{number}"}, [])
    run()
    assert texts() == {0: "To prompt 0", 1: "To prompt 1"}
    assert server.calls.count("GET /batches") == 4
    assert server.calls.count("POST /batches") == 1


@every_form
def test_a_list_that_repeats_its_first_page_has_an_end(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_g4f.batch.services.mistral.PAGE", 1)
    monkeypatch.setattr("llm_g4f.batch.services.base._SETTLED", 0.0)
    server = serve(page=1)
    write("in", *prompts(2))
    server.replies["POST /batches"] = [BAD_GATEWAY]
    run(code=1)
    for number in range(2):
        server.add({"metadata": {"llm_g4f": str(number)}, "model": f"other/{number}"}, [])
    listed, first = server.listed, {"page": ["0"], "page_size": ["1"]}
    monkeypatch.setattr(server, "listed", lambda _: listed(first))
    run()
    assert texts() == {0: "To prompt 0", 1: "To prompt 1"}
    assert server.calls.count("GET /batches") == 2


@pytest.mark.parametrize("provider", ["openrouter"], indirect=True)
def test_without_metadata_a_batch_is_found_by_what_is_known_of_it(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_g4f.batch.services.base._LOOK_AGAIN", 0.01)
    monkeypatch.setattr("llm_g4f.batch.services.base._SETTLED", 0.5)
    limit(monkeypatch, "openrouter", rows=2)
    server = serve("in_progress", "completed")
    write("in", *prompts(4))
    # The first is noted. The second is lost, and not its like of long ago, nor one of another size.
    create_batch = server.create

    def create(made: dict[str, Any]) -> dict[str, Any]:
        if len(server.batches) == 1:
            server.lost.append("POST /batches")
        return create_batch(made)

    monkeypatch.setattr(server, "create", create)
    run(code=1)
    for size, ago in ((2, 3600.0), (3, 0.0)):
        lines = [json.dumps({"custom_id": str(n), "body": {}}).encode() for n in range(size)]
        server.add({"model": "openai/gpt-4o:batch"}, lines)
        list(server.batches.values())[-1].created -= ago
    run()
    assert texts() == {number: f"To prompt {number}" for number in range(4)}
    assert server.calls.count("POST /batches") == 2


@pytest.mark.parametrize("provider", ["openrouter"], indirect=True)
def test_the_rows_of_a_batch_that_was_another_s_are_asked_again(
    serve: Callable[..., Server],
) -> None:
    server = serve()
    write("in", *prompts(2))
    server.replies["POST /batches"] = [BAD_GATEWAY]
    run(code=1)
    lines = [
        json.dumps({"custom_id": str(n), "body": {"messages": [{"content": "other"}]}}).encode()
        for n in range(2)
    ]
    server.add({"model": "openai/gpt-4o:batch"}, lines)
    run(code=1)
    assert "has no result for this row. Run the same command" in errors()[0][1]
    run()
    assert texts() == {0: "To prompt 0", 1: "To prompt 1"}


@every_form
def test_an_answer_that_cannot_be_read_leaves_open_whether_a_batch_was_made(
    serve: Callable[..., Server],
) -> None:
    server = serve()
    write("in", *prompts(2))
    server.replies["POST /batches"] = [(200, {}, {"object": "list"})]
    result = run(code=1)
    assert "sent something else than its Batch API does" in result.stderr
    assert "the next run of this command finds it." in result.stderr
    lines = server.files["file-1"].splitlines() if server.files else []
    server.add({"metadata": {"llm_g4f": noted_part()}, "model": "openai/gpt-4o:batch"}, lines)
    run(code=0 if server.files else 1)
    assert server.calls.count("POST /batches") == 1


@pytest.mark.parametrize("provider", ["openrouter"], indirect=True)
def test_without_a_connection_no_batch_was_made(
    serve: Callable[..., Server], user_path: Path, write_config: Callable[[str], Path]
) -> None:
    server = serve()
    config = (user_path / "g4f.yaml").read_text(encoding="utf-8")
    write("in", *prompts(2))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    write_config(config.replace(server.url, nobody))
    result = run(code=1)
    assert "refuses connections" in result.stderr
    assert "was made all the same" not in result.stderr
    write_config(config)
    run()
    assert texts() == {0: "To prompt 0", 1: "To prompt 1"}
    assert server.calls[0] == "POST /batches"


PHOTO = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize("provider", ["openrouter"], indirect=True)
def test_a_row_that_would_fail_the_whole_batch_is_left_out(serve: Callable[..., Server]) -> None:
    server = serve()
    rows = [
        {
            "id": url,
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
            ],
        }
        for url in ("https://example.org/a.png", PHOTO)
    ]
    write("in", *rows, *prompts(1))
    server.answer = lambda body: (200, completion("Yes", model=body["model"]))
    run(code=1)
    said = "Invalid row: openrouter's batches take text, and images by their URL, only."
    assert errors() == {PHOTO: ("BadRequestError", said)}
    assert (texts()["https://example.org/a.png"], texts()[0]) == ("Yes", "Yes")


def test_a_batch_that_is_still_in_the_making_is_waited_for(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_g4f.batch.services.base._LOOK_AGAIN", 0.01)
    server = serve()
    write("in", *prompts(2))
    server.replies["POST /batches"] = [BAD_GATEWAY]
    run(code=1)
    made = {"input_file_id": "file-1", "metadata": {"llm_g4f": noted_part()}}

    def make() -> None:
        wait_until(lambda: server.calls.count("GET /batches") >= 2)
        server.create(made)

    thread = threading.Thread(target=make)
    thread.start()
    run()
    thread.join()
    assert server.sent == ["prompt 0", "prompt 1"]
    assert texts() == {0: "To prompt 0", 1: "To prompt 1"}


def test_a_batch_that_was_never_made_is_made_by_the_next_run(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_g4f.batch.services.base._SETTLED", 0.0)
    server = serve()
    write("in", *prompts(2))
    for call, reply, calls in (
        ("POST /files", BAD_GATEWAY, 1),
        # It says that there is none.
        ("POST /batches", (429, {}, {}), 2),
        ("POST /batches", BAD_GATEWAY, 2),
    ):
        server.replies[call] = [reply]
        before = len(server.calls)
        run(code=1)
        assert len(server.calls) == before + calls
    run()
    assert server.calls.count("GET /batches") == 1
    assert texts() == {0: "To prompt 0", 1: "To prompt 1"}
    assert len(server.batches) == 1


KILLED_AT = ("POST /files", "POST /batches", "GET /batches/{id}", "GET /files/{id}")


@every_form
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX's")
def test_a_kill_at_every_step_loses_nothing_and_sends_nothing_twice(
    serve: Callable[..., Server], provider: str, forks: Forks | None
) -> None:
    server = serve()
    write("in", *prompts(400))
    args = ("in", "out", "-m", "gpt-4o", "--engine", "openai-batch")

    def killed(reached: Callable[[], bool]) -> None:
        process: Fork | subprocess.Popen[str]
        if forks is None:
            with started(*args) as process:
                wait_until(reached, 30)
            return
        with Path(os.devnull).open("r+b") as nothing:
            process = forks.start(LLM, ["g4f", "batch", *args], dict(os.environ), [nothing] * 3)
            try:
                wait_until(reached, 30)
            finally:
                process.kill()
                process.wait(20)

    for call in KILLED_AT:
        if provider == "openrouter" and "files" in call:
            continue
        server.hold = call
        server.holding.clear()
        killed(server.holding.is_set)
    server.hold = None
    # In the middle of writing OUT.
    killed(partial(has_lines, 3))
    assert run().exit_code == 0
    assert texts() == {number: f"To prompt {number}" for number in range(400)}
    assert set(Counter(server.sent).values()) == {1}
    assert server.calls.count("POST /batches") == 1


@every_form
def test_ctrl_c_leaves_the_batch_at_its_provider(
    serve: Callable[..., Server], provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve("in_progress")
    write("in", *prompts(2))

    def interrupt() -> None:
        wait_until(lambda: "GET /batches/{id}" in server.calls)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    result = run(code=130)
    thread.join()
    assert result.stderr.endswith("Stopped. Run the same command to resume.\n")
    assert caplog.messages[-1] == f"batch_1 goes on at {provider}."
    server.batches["batch_1"].states[:] = ["completed"]
    run()
    assert texts() == {0: "To prompt 0", 1: "To prompt 1"}
    assert len(server.batches) == 1


@every_form
def test_no_redirect_is_followed(serve: Callable[..., Server]) -> None:
    write("in", *prompts(1))
    with Server() as other:
        server = serve()
        to = {"location": f"{other.url}/files"}
        for call in ("POST /files", "POST /batches"):
            server.replies[call] = [(307, to, {}), (308, to, {})]
        result = run(code=1)
    assert other.calls == []
    assert "redirect" in result.stderr


@every_form
def test_a_server_that_fails_for_a_while_is_waited_for(
    serve: Callable[..., Server], provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve("in_progress", "completed")
    write("in", *prompts(1))
    for call in ("GET /batches/{id}", "GET /files/{id}"):
        server.replies[call] = [(503, {}, {})]
    server.cuts = 1
    run()
    assert texts() == {0: "To prompt 0"}
    assert server.cuts == 0
    assert server.calls.count("POST /batches") == 1
    for words in ("failed (HTTP 503)", "the connection broke off"):
        assert any(f"{provider}: {words}" in message for message in caplog.messages)


@every_form
@pytest.mark.parametrize(
    ("call", "reply", "words"),
    [
        ("POST /files", (401, {}, {"error": {"message": "Incorrect API key."}}), "rejected"),
        ("POST /batches", (200, {"content-type": "text/html"}, b"<html>"), "Batch API"),
        (
            "GET /batches/{id}",
            (404, {}, {"error": {"message": "No batch."}}),
            "{} does not have batch_1",
        ),
    ],
)
def test_a_refusal_ends_the_run_with_its_reason(
    call: str, reply: Reply, words: str, serve: Callable[..., Server], provider: str
) -> None:
    server = serve()
    write("in", *prompts(1))
    if provider == "openrouter":
        call = call.replace("files", "batches")
    server.replies[call] = [reply]
    result = run(code=1)
    assert words.format(provider) in result.stderr
    assert KEY not in result.stderr
    assert "Traceback" not in result.stderr


def test_a_price_is_that_of_a_batch(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, user_path: Path
) -> None:
    server = serve()
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.setitem(PROVIDERS, "openai", replace(PROVIDERS["openai"], base_url=server.url))
    empty_log()
    write("in", *prompts(1))
    run("--log")
    usual = table_price("openai", "gpt-4o", input_tokens=7, output_tokens=2)
    assert read()[0]["price_usd"] == pytest.approx(usual / 2)
    (turn,) = logged(user_path)
    assert json.loads(turn["response_json"])["g4f"]["batch"] == "batch_1"


@pytest.mark.parametrize("provider", ["openrouter"], indirect=True)
def test_a_price_of_the_provider_s_own_counts(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, write_config: Any
) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        code, made = answered(body)
        made["usage"] = {**made["usage"], "cost": 0.0000125}
        return code, made

    server = serve(answer=answer)
    here = replace(PROVIDERS["openrouter"], base_url=server.url)
    monkeypatch.setitem(PROVIDERS, "openrouter", here)
    write_config("")
    write("in", *prompts(1))
    run()
    assert read()[0]["price_usd"] == 0.0000125


def test_a_batch_keeps_to_the_budget_and_counts_for_it(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, write_config: Any
) -> None:
    server = serve()
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.setitem(PROVIDERS, "openai", replace(PROVIDERS["openai"], base_url=server.url))
    usual = table_price("openai", "gpt-4o", input_tokens=7, output_tokens=2)
    write_config(f"budget: {{day: {usual}}}")
    write("in", *prompts(2))
    run()
    (row,) = SpendFile().read().rows()
    assert (row.provider, row.model, row.answers) == ("openai", "gpt-4o", 2)
    assert row.usd == pytest.approx(usual)
    write("in", *prompts(3))
    run(code=1)
    kind, message = errors()[2]
    assert (kind, "over budget" in message) == ("NoProviderError", True)
    assert server.sent == ["prompt 0", "prompt 1"]


@pytest.mark.parametrize("option", [("--max-cost", "5"), ("--cache",), ("--ray-address", "auto")])
def test_options_of_other_engines_are_refused(option: tuple[str, ...]) -> None:
    write("in", *prompts(1))
    assert f"{option[0]} " in run(*option, code=2).stderr


GROQ = "providers: {{openai: {{enabled: false}}, groq: {{enabled: true, base_url: '{url}', key_env: GROQ_API_KEY}}}}"


def test_a_substitute_says_so_and_gets_nothing_of_openai(
    write_config: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "gsk-of-the-tests-0001")
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "of-openai")
    write("in", *prompts(1))
    with Server() as server:
        write_config(GROQ.format(url=server.url))
        run()
        run_with_schema = partial(batch, "in", "out2", "-m", "gpt-4o", "--schema", "name, age int")
        run_with_schema("--engine", "openai-batch", code=1)
    assert {headers["authorization"] for headers in server.headers} == {
        "Bearer gsk-of-the-tests-0001"
    }
    assert "of-openai" not in str(server.headers)
    receipt = read()[0]["receipt"]
    assert (receipt["provider"], receipt["exact"]) == ("groq", False)
    assert any("a substitute" in message for message in caplog.messages)
    assert "does not fit yours" in read("out2")[0]["error"]["message"]
    write("in", {"id": "new", "prompt": "new"})
    run("-o", "exact", "1", code=1)
    assert errors()["new"][0] == "NoProviderError"


def test_another_model_than_the_exact_one_is_an_error_under_exact(
    serve: Callable[..., Server],
) -> None:
    serve(answer=lambda body: (200, completion("Hi", model="gpt-9")))
    write("in", *prompts(1))
    run("-o", "exact", "1", code=1)
    assert "answered with gpt-9" in errors()[0][1]


def test_without_a_batch_api_a_row_says_who_has_one(endpoints: Callable[..., Path]) -> None:
    with Server() as server:
        endpoints(box=server)
        write("in", *prompts(1), {"id": "h", "prompt": "h", "headers": {"x": "y"}})
        run("-o", "provider", "box", code=1)
    assert set(server.calls) == {"GET /models"}
    assert errors()[0][1] == (
        "No provider of gpt-4o with a Batch API: box would answer, and it is openai, openrouter,"
        " groq, mistral that have one. Leave out --engine openai-batch, or set a key of theirs."
    )
    assert errors()["h"][1] == "headers cannot be sent in a batch: leave them out."


def test_a_missing_key_keeps_the_batch(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve("in_progress", "in_progress", "completed")
    write("in", *prompts(1))
    run("--no-wait")
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "Rows wait in a batch at openai, which cannot be asked: no key" in run(code=1).stderr
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    run()
    assert server.sent == ["prompt 0"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no JSON\n", "out.batches, line 1: not a list of batches"),
        ('{"id":"unknown","batch":"batch_1"}\n', "out.batches, line 1: not a list of batches"),
        ('{"part":{"id":"cut', None),
    ],
)
def test_a_damaged_list_of_batches_is_not_passed_over(
    content: str, words: str | None, serve: Callable[..., Server]
) -> None:
    server = serve()
    write("in", *prompts(1))
    Path("out.batches").write_text(content, encoding="utf-8")
    result = run(code=1 if words else 0)
    assert (words or "") in result.stderr
    assert len(server.batches) == (0 if words else 1)
    assert Path("out.batches").exists() == bool(words)


def test_options_that_go_with_another_engine() -> None:
    assert "--no-wait goes with" in batch("in", "out", "--no-wait", code=2).stderr
    assert "--ray-address goes with" in run("--ray-address", "auto", code=2).stderr


def test_limits_are_documented() -> None:
    limits = {spec.name: spec.batch for spec in PROVIDERS.values() if spec.batch is not None}
    assert all(isinstance(one, BatchAPI) and one.evidence for one in limits.values())
    assert limits.keys() == {"openai", "openrouter", "groq", "mistral"}
