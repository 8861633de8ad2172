"""Snapshots, vendors, variants and patterns: which provider and which id a model's name stands for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llm
import pytest

from llm_g4f import config
from llm_g4f.client import AsyncClient
from llm_g4f.errors import ConfigError
from llm_g4f.request import ChatRequest
from llm_g4f.routing.cooldowns import Cooldowns
from llm_g4f.routing.registry import Registry
from llm_g4f.routing.route import Route, resolve_route
from tests.support.batch import batch, read, write
from tests.support.server import Server, http, stream, whole

Write = Callable[[str], Path]

SNAPSHOT = "gpt-4o-2024-08-06"


def planned(model: str, **options: Any) -> Route:
    request = ChatRequest(model=model, messages=[{"role": "user", "content": "hi"}], **options)
    return asyncio.run(resolve_route(request, Registry(config.load())))


def order(route: Route) -> list[str]:
    """The candidates as "provider model", with "=" behind exact ones."""
    return [
        f"{candidate.provider.name} {candidate.served.model}"
        + ("=" if candidate.served.exact else "")
        for candidate in route.candidates
    ]


@pytest.fixture
def openai_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")


@pytest.fixture
def makers(openai_key: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys for openai and openrouter, which have snapshots, and for vercel, which has none."""
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or")
    monkeypatch.setenv("AI_GATEWAY_API_KEY", "sk-gateway")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            SNAPSHOT,
            [f"openai {SNAPSHOT}=", f"openrouter openai/{SNAPSHOT}=", "vercel openai/gpt-4o"],
        ),
        ("openai/gpt-4o", ["openai gpt-4o=", "openrouter openai/gpt-4o=", "vercel openai/gpt-4o="]),
        (
            "gpt-4o:free",
            ["openai gpt-4o=", "openrouter openai/gpt-4o:free=", "vercel openai/gpt-4o="],
        ),
        (
            "openai/gpt-4.1-2025-04-14:nitro",
            ["openai gpt-4.1-2025-04-14=", "openrouter openai/gpt-4.1-2025-04-14:nitro="],
        ),
        # It ended earlier than its family: another snapshot comes before the successor.
        (
            "gpt-4o-2024-05-13",
            ["openrouter openai/gpt-4o-2024-05-13=", "vercel openai/gpt-4o", "openai gpt-6-luna"],
        ),
    ],
)
def test_a_snapshot_is_routed_as_its_family_and_sent_by_its_own_name(
    model: str, expected: list[str], makers: None
) -> None:
    assert order(planned(model)) == expected


def test_a_snapshot_has_the_capabilities_of_its_family(makers: None) -> None:
    served = planned(SNAPSHOT).candidates[0].served
    assert served.context == 128_000
    assert served.capabilities is not None
    assert served.capabilities.images
    assert not served.capabilities.audio


def test_only_the_snapshot_itself_is_exact(makers: None) -> None:
    assert order(planned(SNAPSHOT, exact=True)) == [
        f"openai {SNAPSHOT}=",
        f"openrouter openai/{SNAPSHOT}=",
    ]


def test_small_substitutes_of_a_snapshot_are_those_of_its_family(write_config: Write) -> None:
    write_config("providers: {ovh: {enabled: true}, cloudflare: {enabled: false}}")
    assert order(planned("gpt-4o-mini-2024-07-18")) == ["ovh gpt-oss-20b"]
    assert order(planned("openai/gpt-oss-120b")) == ["ovh gpt-oss-120b="]


def test_a_local_servers_other_snapshot_is_a_substitute(endpoints: Callable[..., Path]) -> None:
    def listing(*ids: str) -> Any:
        return http(200, {"data": [{"id": id} for id in ids]})

    listings = listing("llama", "gpt-4o-2024-11-20"), listing("llama", SNAPSHOT)
    with Server(*listings, models=None) as server:
        endpoints(vllm=server).write_text(
            f"providers: {{vllm: {{enabled: true, base_url: '{server.url}'}}}}", encoding="utf-8"
        )
        for expected in ("vllm gpt-4o-2024-11-20", f"vllm {SNAPSHOT}="):
            assert order(planned(SNAPSHOT)) == [expected]
            Cooldowns().reset()


@pytest.mark.parametrize(
    ("entry", "exact"),
    [
        ("gpt-4o: {id: mine, exact: true}", False),
        (f"{SNAPSHOT}: {{id: mine, exact: true}}", True),
        (f"gpt-4o: vendor/{SNAPSHOT}", True),
        (f"gpt-4o: {{id: {SNAPSHOT}, exact: false}}", False),
        ("gpt-4o: other, gpt-4o-2024-08-06: {id: mine, exact: true}", True),
    ],
)
def test_models_of_an_own_endpoint_stand_for_their_snapshots(
    entry: str, exact: bool, write_config: Write
) -> None:
    write_config(f"providers: {{a: {{base_url: 'https://own.example/v1', models: {{{entry}}}}}}}")
    (candidate,) = planned(SNAPSHOT).candidates
    assert candidate.served.model in ("mine", SNAPSHOT, f"vendor/{SNAPSHOT}")
    assert candidate.served.exact is exact


def test_exact_true_holds_for_other_spellings_of_its_name(write_config: Write) -> None:
    write_config(
        "providers: {a: {base_url: 'https://own.example/v1', models: {gpt-4o: {id: mine, exact: true}}}}"
    )
    for model in ("openai/gpt-4o", "gpt-4o:free"):
        assert order(planned(model)) == ["a mine="]


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o", "exact"),
        ("openai/gpt-4o", "exact"),
        ("gpt-4o:free", "pattern"),
        ("gpt-4o-2024-11-20", "pattern"),
        ("gpt-4o-mini", "pattern"),
        (SNAPSHOT, "dated"),
        (f"openai/{SNAPSHOT}", "dated"),
        ("gpt-4.1-2025-04-14", "family"),
        ("openai/gpt-4.1", "family"),
        ("gpt-4.1-mini", None),
    ],
)
def test_an_exact_key_beats_a_pattern_and_a_pattern_beats_the_family(
    model: str, provider: str | None, write_config: Write
) -> None:
    names = ("exact", "pattern", "later", "dated", "family")
    path = write_config(
        "providers:\n"
        + "".join(f"  {name}: {{base_url: https://own.example/v1}}\n" for name in names)
        + "routes:\n  gpt-4o*: [pattern]\n  gpt-4[o]*: [later]\n  gpt-4o: [exact]\n"
        f"  {SNAPSHOT}: [dated]\n  gpt-4.1: [family]\n"
    )
    assert path.exists()
    found = [candidate.provider.name for candidate in planned(model).candidates]
    assert found == ([provider] if provider else list(names))


def test_llm_takes_a_snapshot_that_g4f_yaml_names(
    openai: Callable[[Server], None], write_config: Write
) -> None:
    write_config(f"routes: {{{SNAPSHOT}: [openai]}}")
    with Server(stream("Hello", model=SNAPSHOT)) as server:
        openai(server)
        assert llm.get_model(SNAPSHOT).prompt("hi").text() == "Hello"
        assert server.requests[0].json["model"] == SNAPSHOT


def test_a_pattern_is_no_model(write_config: Write) -> None:
    write_config("routes:\n  gpt-4o*: [openai]\n  '*': [groq]\n  mine: [openai]")
    assert config.load().models() == ["mine"]


def test_the_error_of_an_entry_has_the_line_of_its_pattern(write_config: Write) -> None:
    path = write_config("routes:\n  gpt-4.1: [openai]\n  gpt-4o*: ['llm:gpt-4o']")
    with pytest.raises(ConfigError, match=re.escape(f"{path}, line 3: llm:gpt-4o")):
        planned(SNAPSHOT)


# Through the client and in a batch.


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch, openai_key: None) -> Callable[[Server], None]:
    """The built-in openai, at one of our servers."""
    return lambda server: monkeypatch.setenv("OPENAI_BASE_URL", server.url)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("requested", "sent", "answered", "exact"),
    [
        (SNAPSHOT, SNAPSHOT, SNAPSHOT, True),
        (SNAPSHOT, SNAPSHOT, "gpt-4o-2024-11-20", False),
        (SNAPSHOT, SNAPSHOT, "gpt-4o", False),
        ("openai/gpt-4o", "gpt-4o", SNAPSHOT, True),
        ("gpt-4o:free", "gpt-4o", "openai/gpt-4o:free", True),
    ],
)
def test_a_client_asks_for_a_snapshot(
    requested: str,
    sent: str,
    answered: str,
    exact: bool,
    streamed: bool,
    openai: Callable[[Server], None],
) -> None:
    async def run() -> Any:
        completions = AsyncClient().chat.completions
        if not streamed:
            return (await completions.create("hi", model=requested)).receipt
        async for chunk in completions.stream("hi", model=requested):
            receipt = chunk.receipt
        return receipt

    script = stream("Hello", model=answered) if streamed else whole("Hello", model=answered)
    with Server(script) as server:
        openai(server)
        receipt = asyncio.run(run())
        assert server.requests[0].json["model"] == sent
    assert (receipt.requested_model, receipt.model, receipt.exact) == (requested, answered, exact)


def test_after_a_404_the_successor_of_the_family_answers(openai: Callable[[Server], None]) -> None:
    gone = {"error": {"message": "The model does not exist", "code": "model_not_found"}}
    with Server(http(404, gone), whole("Hello", model="gpt-6-luna")) as server:
        openai(server)
        answer = asyncio.run(AsyncClient().chat.completions.create("hi", model=SNAPSHOT))
        assert [request.json["model"] for request in server.requests] == [SNAPSHOT, "gpt-6-luna"]
    assert answer.receipt is not None
    assert answer.receipt.successor
    # Its family is still there.
    assert order(planned("gpt-4o")) == ["openai gpt-4o="]


def test_rows_of_a_batch_name_snapshots(
    openai: Callable[[Server], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"id": 1, "prompt": "hi", "model": SNAPSHOT}, {"id": 2, "prompt": "hi"}]
    with Server(*[whole("Hello", model=SNAPSHOT)] * 2) as server:
        openai(server)
        batch(write("in", *rows), "out", "-m", "openai/gpt-4o", "--concurrency", "1")
        assert [request.json["model"] for request in server.requests] == [SNAPSHOT, "gpt-4o"]
    assert {id: row["receipt"]["exact"] for id, row in read().items()} == {1: True, 2: True}
