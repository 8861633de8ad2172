from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llm_g4f import AsyncClient
from llm_g4f.decoding.usage import usage_of
from llm_g4f.types import Usage
from tests.support.server import Server, chunk, completion, events, http


@pytest.mark.parametrize(
    "given",
    [
        {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
        {"prompt_tokens": "5", "completion_tokens": "7"},
        {"input_tokens": 5, "output_tokens": 7},
        {"prompt_tokens": None, "input_tokens": 5, "output_tokens": 7, "total_tokens": 12},
        {"prompt_tokens": 0, "completion_tokens": 0, "input_tokens": 5, "output_tokens": 7},
        {"input_tokens": 0, "output_tokens": 0, "prompt_tokens": 5, "completion_tokens": 7},
        {"input_tokens": 5, "output_tokens": 7, "prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 5, "total_tokens": 12},
        {"completion_tokens": 7, "total_tokens": "12"},
    ],
    ids=str,
)
def test_tokens_in_all_their_forms(given: dict[str, Any]) -> None:
    assert usage_of(given) == Usage(5, 7, 12)


@pytest.mark.parametrize("given", [{"total_tokens": 12}, {"prompt_tokens": "5 or so"}, {"x": 1}])
def test_tokens_that_are_not_counted_are_none(given: dict[str, Any]) -> None:
    assert usage_of(given) is None


def test_details_under_their_other_names() -> None:
    usage = usage_of(
        {
            "input_tokens": 5,
            "output_tokens": 7,
            "input_tokens_details": {"cached_tokens": 3},
            "output_tokens_details": {"reasoning_tokens": 4},
        }
    )
    assert usage == Usage(5, 7, 12, {"cached_tokens": 3}, {"reasoning_tokens": 4})


COUNTED = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("place", ["top", "x_groq", "x_groq beside {}", "choice"])
def test_usage_in_all_its_places(place: str, streamed: bool) -> None:
    data = chunk(finish="stop") if streamed else completion("ab")
    data.pop("usage", None)
    if place == "top":
        data["usage"] = COUNTED
    elif place != "choice":
        data["x_groq"] = {"id": "req_1", "usage": COUNTED}
        if place != "x_groq":
            data["usage"] = {}
    else:
        data["choices"][0]["usage"] = COUNTED
    script = events(chunk("ab"), data, "[DONE]") if streamed else http(200, data)

    async def ask(url: str) -> Any:
        return await AsyncClient(base_url=url).chat.completions.create("hi")

    with Server(script) as server:
        assert asyncio.run(ask(server.url)).usage.to_dict() == COUNTED
