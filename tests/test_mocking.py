"""How the test suites of other programs get answers without a provider, as the README says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import llm
import pytest

from llm_g4f.client import AsyncClient
from tests.support.answers import text_of
from tests.support.server import Server, completion, whole


@pytest.fixture
def mocked_httpx(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """httpx's transports, which respx, pytest-httpx and vcr patch: the requests that they see."""
    seen: list[Any] = []

    async def handle(self: Any, request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=completion("mocked"))

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle)
    return seen


@pytest.mark.parametrize("how", ["OPENAI_BASE_URL", "base_url", "g4f.yaml"])
def test_a_server_on_loopback_answers_and_a_mock_of_httpx_sees_nothing(
    how: str,
    mocked_httpx: list[Any],
    endpoints: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Server(whole("Hello")) as server:
        if how == "OPENAI_BASE_URL":
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        elif how == "g4f.yaml":
            endpoints(mybox=server)
        client = AsyncClient(base_url=server.url if how == "base_url" else None)
        assert text_of(asyncio.run(client.chat.completions.create("hi"))) == "Hello"
        if how != "base_url":
            assert llm.get_model("gpt-4o").prompt("hi", stream=False).text() == "Hello"
    assert mocked_httpx == []


def test_a_client_with_a_mock_transport() -> None:
    async def main() -> str | None:
        def handler(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json=completion(f"from {request.url}"))

        async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as mock:
            client = AsyncClient(base_url="http://127.0.0.1:9/v1", http_client=mock)
            return text_of(await client.chat.completions.create("hi"))

    assert asyncio.run(main()) == "from http://127.0.0.1:9/v1/chat/completions"
