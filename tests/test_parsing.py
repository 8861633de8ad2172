"""`chat.completions.parse`: an answer as an object of a class."""

from __future__ import annotations

import asyncio
import copy
import pickle
from dataclasses import dataclass
from typing import Any, Optional

import pytest
from openai.lib._parsing._completions import type_to_response_format_param
from pydantic import BaseModel, Field, field_validator

from llm_g4f import AsyncClient, Client
from llm_g4f.errors import (
    ArgumentError,
    ContentFilterFinishReasonError,
    InvalidResponseError,
    LengthFinishReasonError,
)
from llm_g4f.parsing import ParsedChatCompletion, response_format_of
from tests.support.server import Script, Server, completion, http, whole


class Step(BaseModel):
    explanation: str
    output: str


class Solution(BaseModel):
    steps: list[Step]
    answer: Optional[str] = None  # noqa: UP045 (as users write it)
    properties: int = Field(description="a field with the name of a keyword")


@dataclass
class Point:
    x: int
    y: int


TEXT = '{"steps": [{"explanation": "a", "output": "b"}], "answer": "c", "properties": 1}'


def ended(finish: str, **message: Any) -> Script:
    data = completion(**message)
    data["choices"][0]["finish_reason"] = finish
    return http(200, data)


def parse(script: Script, kind: Any = Solution) -> ParsedChatCompletion[Any]:
    with Server(script) as server:
        client = Client(base_url=server.url)
        return client.chat.completions.parse(HI, "gpt-4o", response_format=kind)


HI = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("kind", [Step, Solution])
def test_the_schema_is_the_one_of_openais_client(kind: Any) -> None:
    assert response_format_of(kind) == type_to_response_format_param(kind)


def test_a_class_without_a_strict_schema_is_sent_as_it_is() -> None:
    class Counts(BaseModel):
        values: dict[str, int]

    json_schema = response_format_of(Counts)["json_schema"]
    assert "strict" not in json_schema
    assert json_schema["schema"]["properties"]["values"]["type"] == "object"


def test_an_answer_is_parsed_by_both_clients() -> None:
    with Server(whole(TEXT)) as server:
        answers = [
            Client(base_url=server.url).chat.completions.parse(HI, response_format=Solution),
            Client(base_url=server.url).beta.chat.completions.parse(HI, response_format=Solution),
            asyncio.run(
                AsyncClient(base_url=server.url).chat.completions.parse(
                    messages=HI, model="gpt-4o", response_format=Solution
                )
            ),
        ]
        sent = server.requests[0].json
    assert sent["response_format"] == response_format_of(Solution)
    for answer in answers:
        message = answer.choices[0].message
        assert isinstance(message.parsed, Solution)
        assert message.parsed.steps[0].explanation == "a"
        assert message.content == TEXT
        assert (answer.provider, answer.receipt.exact) == ("custom", True)
        assert answer.to_dict()["choices"][0]["message"]["parsed"]["answer"] == "c"
        assert copy.deepcopy(answer) == pickle.loads(pickle.dumps(answer)) == answer


def test_a_data_class_and_openais_form_are_taken() -> None:
    assert parse(whole('{"x": 1, "y": 2}'), Point).choices[0].message.parsed == Point(1, 2)
    plain = parse(whole(TEXT), {"type": "json_object"})
    assert plain.choices[0].message.parsed is None


def test_a_parsed_message_is_taken_back() -> None:
    with Server(whole(TEXT)) as server:
        client = Client(base_url=server.url)
        message = client.chat.completions.parse(HI, response_format=Solution).choices[0].message
        client.chat.completions.create([*HI, message])
        assert server.requests[1].json["messages"][1] == {"role": "assistant", "content": TEXT}


def test_a_refusal_is_not_parsed() -> None:
    message = parse(ended("stop", text=None, refusal="No.")).choices[0].message
    assert (message.refusal, message.parsed) == ("No.", None)


def test_a_cut_answer_is_an_error_that_has_it() -> None:
    with pytest.raises(LengthFinishReasonError, match="raise max_tokens") as caught:
        parse(ended("length", text='{"ste'))
    assert caught.value.completion.choices[0].message.content == '{"ste'
    assert caught.value.provider == "custom"
    for other in (copy.deepcopy(caught.value), pickle.loads(pickle.dumps(caught.value))):
        assert vars(other) == vars(caught.value)


@pytest.mark.parametrize("text", ['{"ste', ""])
def test_a_filtered_answer_is_an_error(text: str) -> None:
    with pytest.raises(ContentFilterFinishReasonError, match="content filter") as caught:
        parse(ended("content_filter", text=text))
    assert (caught.value.completion is None) == (text == "")
    assert caught.value.receipt is not None
    assert vars(copy.copy(caught.value)) == vars(caught.value)


@pytest.mark.parametrize("text", ['{"steps": 5}', "Sorry", "null"])
def test_an_answer_that_does_not_fit_is_our_error(text: str) -> None:
    with pytest.raises(InvalidResponseError, match=r"is no Solution|does not fit") as caught:
        parse(whole(text))
    assert (caught.value.reason, caught.value.partial) == ("schema_mismatch", text)


def test_an_answer_that_fits_its_schema_and_not_its_class_is_our_error() -> None:
    class Even(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def even(cls, value: int) -> int:
            if value % 2:
                raise ValueError("odd")
            return value

    with pytest.raises(
        InvalidResponseError, match=r"is no Even: number: .*odd\. Ask again"
    ) as caught:
        parse(whole('{"number": 3}'), Even)
    assert (caught.value.reason, caught.value.partial) == ("schema_mismatch", '{"number": 3}')


@pytest.mark.parametrize("kind", [5, str, "Solution", None])
def test_another_response_format_is_a_type_error(kind: Any) -> None:
    with pytest.raises(ArgumentError, match="must be a pydantic class"):
        parse(whole(), kind)
