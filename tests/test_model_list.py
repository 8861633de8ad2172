"""`client.models`: texts for programs of ours, objects with an `id` for those of openai."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_g4f import AsyncClient, Client
from llm_g4f.errors import APITimeoutError, NotFoundError
from llm_g4f.routing import discovery
from tests.support.commands import failed, g4f
from tests.support.server import HANG, Script, Server, http

LISTED = http(200, {"data": [{"id": "gpt-4o"}, {"id": "meta/llama"}]})


def test_a_listed_model_is_a_text_and_has_an_id(endpoints: Callable[..., Path]) -> None:
    with Server(models=LISTED) as a:
        endpoints(a=a)
        models = Client().models.list()
    assert models == ["a/gpt-4o", "a/meta/llama"]
    assert [model.id for model in models.data] == ["gpt-4o", "meta/llama"]
    assert (models.object, models.has_more) == ("list", False)
    [first, _] = models
    assert (first.owned_by, first.object, first.created) == ("a", "model", 0)
    for other in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert (other, other.id, other.owned_by) == ("a/gpt-4o", "gpt-4o", "a")


def test_the_async_list_is_awaited_or_iterated() -> None:
    async def main(url: str) -> None:
        models = AsyncClient(base_url=url).models
        assert [model.id async for model in models.list()] == ["gpt-4o", "meta/llama"]
        assert [model async for model in await models.list()] == await models.list()
        assert (await models.retrieve("gpt-4o")) == "custom/gpt-4o"

    with Server(models=LISTED) as server:
        asyncio.run(main(server.url))
        models = asyncio.run(AsyncClient(base_url=server.url).models.list())
        assert models == ["custom/gpt-4o", "custom/meta/llama"]


@pytest.mark.parametrize("name", ["meta/llama", "custom/meta/llama"])
def test_a_model_is_retrieved_by_its_id_or_its_text(name: str) -> None:
    with Server(models=LISTED) as server:
        assert Client(base_url=server.url).models.retrieve(name).id == "meta/llama"


def test_a_model_that_nobody_lists_is_not_found() -> None:
    with Server(models=LISTED) as server:
        with pytest.raises(NotFoundError, match=r"lists gpt-9\. models\.list\(\) shows"):
            Client(base_url=server.url).models.retrieve("gpt-9")


@pytest.mark.parametrize(
    "silent",
    [
        [HANG],
        [b"HTTP/1.1 200 OK\r\n\r\n", b'{"data": [', HANG],
        [b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", HANG],
    ],
    ids=["head", "list", "error"],
)
def test_a_server_that_falls_silent_is_an_error(
    silent: Script,
    transport: str,
    endpoints: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery, "LIST", 0.2)
    with Server(models=silent) as server:
        endpoints(box=server)
        message = f"{server.url} does not answer within 0.2 s. Try again, or check the address."
        with pytest.raises(APITimeoutError) as caught:
            Client("box").models.list()
        assert str(caught.value) == message
        assert failed(g4f("models", "box")) == f"{message}\n"
