"""llm_g4f/request.py: what a request needs, its schema, and the list of parameters."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.chat import completion_create_params

from llm_g4f.request import PARAMETERS, ChatRequest, Secret, json_schema_of, schema_format


def request(content: Any = "hi", **params: Any) -> ChatRequest:
    return ChatRequest(
        model="gpt-4o", messages=[{"role": "user", "content": content}], params=params
    )


@pytest.mark.parametrize(
    ("given", "needs"),
    [
        (request(), set()),
        (request(None), set()),
        (request([{"type": "text", "text": "hi"}, "no part", {"type": ["image_url"]}]), set()),
        (request([{"type": "image_url"}, {"type": "input_audio"}]), {"images", "audio"}),
        (request([{"type": "file"}]), {"files"}),
        (request(tools=[{"type": "function"}]), {"tools"}),
        (request(tools=[]), set()),
        (request(response_format=schema_format({})), {"schema"}),
        (request(response_format={"type": "json_object"}), set()),
    ],
)
def test_what_a_request_needs_besides_text(given: ChatRequest, needs: set[str]) -> None:
    assert given.needs == needs


@pytest.mark.parametrize(
    ("response_format", "json_schema"),
    [
        (schema_format({"type": "object"}), {"name": "output", "schema": {"type": "object"}}),
        ({"type": "json_schema"}, {}),
        ({"type": "json_schema", "json_schema": "x"}, {}),
        ({"type": "json_object"}, None),
        ("json_schema", None),
        (None, None),
    ],
)
def test_the_schema_of_a_response_format(response_format: Any, json_schema: Any) -> None:
    params = {"response_format": response_format}
    assert json_schema_of(params) == json_schema
    assert request(**params).schema == (json_schema or {}).get("schema")
    assert request(**params).wants_json_object == (response_format == {"type": "json_object"})


@pytest.mark.parametrize(
    ("key", "text", "shown"),
    [
        # A placeholder is no secret, and part of many names.
        ("ollama", "ollama has no model ollama", "ollama has no model ollama"),
        ("1234567", "1234567", "1234567"),
        ("12345678", "key 12345678, model m12345678", "key …, model m12345678"),
        ("123456789012345", "x123456789012345 123456789012345", "x123456789012345 …"),
        ("1234567890123456", "x1234567890123456x", "x…x"),
    ],
)
def test_where_a_text_has_the_key(key: str, text: str, shown: str) -> None:
    assert Secret(key).removed_from(text) == shown


def test_the_parameters_are_those_of_openai() -> None:
    known = completion_create_params.CompletionCreateParamsBase.__annotations__.keys()
    newer_than_the_lowest_version = {"moderation", "prompt_cache_options"}
    assert PARAMETERS.keys() - known <= newer_than_the_lowest_version
