"""`chat.completions.parse`: an answer as an object of a class."""

from __future__ import annotations

import asyncio
import copy
import pickle
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, Optional, Union

import openai
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
from llm_g4f.openai import omit, pydantic_function_tool
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


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Detected(BaseModel):
    """A colour in a picture."""

    colour: Colour = Field(description="The detected colour")
    name: str = Field(description="Its name")


class Star(BaseModel):
    name: str = Field(description="The name of the star.")


class Galaxy(BaseModel):
    largest_star: Star = Field(description="The largest star in the galaxy.")


class Universe(BaseModel):
    galaxy: Galaxy = Field(description="A galaxy in the universe.")


class Value(BaseModel):
    column: str


class Query(BaseModel):
    name: Optional[str] = None  # noqa: UP045 (as users write it)
    columns: list[Colour]
    values: list[Union[str, int, Value]]  # noqa: UP007 (as users write it)


class Loop(BaseModel):
    """A class that needs itself."""

    again: Loop = Field(description="once more")


CLASSES = [Step, Solution, Detected, Universe, Query]


@pytest.mark.parametrize("kind", CLASSES)
def test_the_schema_is_the_one_of_openais_client(kind: Any) -> None:
    assert response_format_of(kind) == type_to_response_format_param(kind)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("given", [{}, {"name": "find", "description": "Finds"}])
def test_a_pydantic_tool_is_the_one_of_openais_client(kind: Any, given: dict[str, str]) -> None:
    tool = pydantic_function_tool(kind, **given)
    assert tool == openai.pydantic_function_tool(kind, **given)
    assert copy.deepcopy(tool) == tool


def test_a_class_that_needs_itself_is_sent_as_it_is() -> None:
    assert "strict" not in response_format_of(Loop)["json_schema"]


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


@pytest.mark.parametrize("kind", [5, str, "Solution"])
def test_another_response_format_is_a_type_error(kind: Any) -> None:
    with pytest.raises(ArgumentError, match="must be a pydantic class"):
        parse(whole(), kind)


def test_without_a_class_nothing_is_parsed() -> None:
    """As users of openai write it who only want tools parsed, or nothing."""
    with Server(whole(TEXT)) as server:
        client = Client(base_url=server.url)
        absent: list[dict[str, Any]] = [{}, {"response_format": omit}, {"tools": omit}]
        for options in absent:
            message = client.chat.completions.parse(messages=HI, **options).choices[0].message
            assert (message.content, message.parsed, message.tool_calls) == (TEXT, None, None)
        assert "response_format" not in server.requests[0].json


def test_several_choices_are_parsed() -> None:
    data = completion()
    [choice] = data["choices"]
    data["choices"] = [
        {**choice, "index": place, "message": {"content": f'{{"x": {place}, "y": 0}}'}}
        for place in range(3)
    ]
    with Server(http(200, data)) as server:
        made = Client(base_url=server.url).chat.completions.parse(HI, n=3, response_format=Point)
    assert [choice.message.parsed for choice in made.choices] == [
        Point(0, 0),
        Point(1, 0),
        Point(2, 0),
    ]


def test_enums_and_defaults_are_parsed() -> None:
    text = '{"name": null, "columns": ["red"], "values": [1, "a", {"column": "b"}]}'
    parsed = parse(whole(text), Query).choices[0].message.parsed
    assert parsed == Query(columns=[Colour.RED], values=[1, "a", Value(column="b")])


# Tools.


class GetWeather(BaseModel):
    """The temperature in a city"""

    city: str
    units: Literal["c", "f"] = "c"


class GetPrice(BaseModel):
    ticker: str


STRICT = {"type": "function", "function": {"name": "get_time", "strict": True, "parameters": {
    "type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"],
    "additionalProperties": False}}}  # fmt: skip
CALLS = (
    ("GetWeather", '{"city": "Edinburgh", "units": "c"}'),
    ("get_price", '{"ticker": "AAPL"}'),
    ("get_time", '{"zone": "UTC"}'),
    ("another", "{}"),
)


def called(*calls: tuple[str, str]) -> Script:
    return ended("tool_calls", text=None, tool_calls=[
        {"id": f"call_{place}", "type": "function", "function": {"name": name, "arguments": text}}
        for place, (name, text) in enumerate(calls)
    ])  # fmt: skip


def tools() -> list[dict[str, Any]]:
    return [
        pydantic_function_tool(GetWeather),
        openai.pydantic_function_tool(GetPrice, name="get_price", description="Its price"),  # type: ignore[list-item]
        STRICT,
    ]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_arguments_of_strict_tools_are_parsed(asynchronous: bool) -> None:
    with Server(called(*CALLS)) as server:
        if asynchronous:
            made = asyncio.run(
                AsyncClient(base_url=server.url).chat.completions.parse(HI, tools=iter(tools()))
            )
        else:
            made = Client(base_url=server.url).chat.completions.parse(HI, tools=tools())
        assert server.requests[0].json["tools"] == tools()
    message = made.choices[0].message
    assert message.parsed is None
    assert message.tool_calls is not None
    assert [call.function.parsed_arguments for call in message.tool_calls] == [
        GetWeather(city="Edinburgh"),
        GetPrice(ticker="AAPL"),
        {"zone": "UTC"},
        None,
    ]
    [dumped, *_] = made.to_dict()["choices"][0]["message"]["tool_calls"]
    assert dumped["function"]["parsed_arguments"] == {"city": "Edinburgh", "units": "c"}
    assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == made


def test_a_message_with_parsed_arguments_is_taken_back() -> None:
    with Server(called(*CALLS), whole()) as server:
        client = Client(base_url=server.url)
        message = client.chat.completions.parse(HI, tools=tools()).choices[0].message
        assert message.tool_calls is not None
        theirs = [call.to_dict() for call in message.tool_calls]
        client.chat.completions.create([*HI, message, {"role": "assistant", "tool_calls": theirs}])
        _, first, second = server.requests[1].json["messages"]
    sent = [call["function"] for message in (first, second) for call in message["tool_calls"]]
    assert sent == [{"name": name, "arguments": text} for name, text in CALLS] * 2
    assert "parsed_arguments" in theirs[0]["function"]


@pytest.mark.parametrize(
    "tool", [{"type": "function", "function": {"name": "get_weather", "parameters": {}}}, 5]
)
def test_a_tool_that_is_not_strict_is_refused(tool: Any) -> None:
    with Server(whole()) as server:
        with pytest.raises(
            ArgumentError, match=r"strict, and (get_weather|a tool) is not: .*create"
        ):
            Client(base_url=server.url).chat.completions.parse(HI, tools=[tool])
        assert server.requests == []


@pytest.mark.parametrize("call", [("GetWeather", '{"units": "c"}'), ("get_time", "{")])
def test_arguments_that_do_not_fit_are_our_error(call: tuple[str, str]) -> None:
    with Server(called(call)) as server:
        with pytest.raises(InvalidResponseError) as caught:
            Client(base_url=server.url).chat.completions.parse(HI, tools=tools())
    assert caught.value.receipt is not None
    assert caught.value.provider == "custom"


def test_tools_of_a_generator_reach_every_provider() -> None:
    with Server(whole()) as server:
        Client(base_url=server.url).chat.completions.create(HI, tools=(tool for tool in tools()))
        assert server.requests[0].json["tools"] == tools()


# With the head of the response.


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_raw_response_of_parse_has_headers_and_the_object(asynchronous: bool) -> None:
    async def ask(url: str) -> Any:
        client = AsyncClient(base_url=url)
        options: Any = {"messages": HI, "model": "gpt-4o", "response_format": Solution}
        async with client.chat.completions.with_streaming_response.parse(**options) as response:
            message = (await response.parse()).choices[0].message
            assert isinstance(message.parsed, Solution)
        return await client.chat.completions.with_raw_response.parse(**options)

    def ask_sync(url: str) -> Any:
        client = Client(base_url=url)
        options: Any = {"messages": HI, "model": "gpt-4o", "response_format": Solution}
        with client.chat.completions.with_streaming_response.parse(**options) as response:
            assert isinstance(response.parse().choices[0].message.parsed, Solution)
        return client.beta.chat.completions.with_raw_response.parse(**options)

    with Server(http(200, completion(TEXT), [("X-Request-Id", "req_1")])) as server:
        raw = asyncio.run(ask(server.url)) if asynchronous else ask_sync(server.url)
    assert (raw.status_code, raw.request_id) == (200, "req_1")
    assert raw.parse() is raw.parse()
    assert isinstance(raw.parse().choices[0].message.parsed, Solution)
    with pytest.raises(AttributeError, match=r"no text here: its answer is in parse\(\)"):
        _ = raw.text


def test_leaving_a_response_of_parse_says_nothing_of_what_was_not_read() -> None:
    with Server(ended("length", text="no")) as server:
        parse = Client(base_url=server.url).chat.completions.with_streaming_response.parse
        with parse(messages=HI) as response:
            assert response.status_code == 200
        with parse(messages=HI) as response, pytest.raises(LengthFinishReasonError):
            response.parse()
