"""AsyncClient and Client, on real sockets."""

from __future__ import annotations

import asyncio

from llm_g4f import AsyncClient
from tests.server import Server, whole


def ask(server: Server, **params: Any) -> Any:
    async def go() -> Any:
        client = AsyncClient(base_url=server.url)
        return await client.chat.completions.create("hi", **params)

    return asyncio.run(go())


def test_whole() -> None:
    with Server(whole("Hello there")) as server:
        response = ask(server)
    assert response.choices[0].message.content == "Hello there"
