"""Answers under a schema: checked unless the provider enforces it, and asked for in words where it
has none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_g4f.client import Client
from llm_g4f.errors import APITimeoutError, BadRequestError, G4FError, InvalidResponseError
from llm_g4f.routing import schema_prompt
from llm_g4f.types import ChatCompletion
from tests.support.answers import outcomes, text_of
from tests.support.commands import Run, run_python
from tests.support.prompts import Ask
from tests.support.server import (
    END,
    HANG,
    SSE_HEAD,
    USAGE,
    Endless,
    Script,
    Server,
    chunk,
    completion,
    event,
    events,
    framed,
    http,
    stream,
    whole,
)

Unknowing = Callable[..., Path]

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
}
REX = '{"name": "Rex", "age": 3}'


@pytest.fixture
def unknowing(write_config: Callable[[str], Path]) -> Unknowing:
    """Write a g4f.yaml with providers that do not support schemas: name=server."""

    def write(settings: str = "", **servers: Server) -> Path:
        lines = [
            f"  {name}: {{base_url: '{server.url}', supports_schema: false{settings}}}"
            for name, server in servers.items()
        ]
        return write_config("\n".join(["providers:", *lines]))

    return write


def form(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}


def create(
    provider: str = "a", messages: Any = "hi", schema: Any = SCHEMA, **params: Any
) -> ChatCompletion:
    params.setdefault("response_format", form(schema))
    answer: ChatCompletion = Client(provider).chat.completions.create(messages, **params)
    return answer


def streamed(provider: str = "a", **params: Any) -> tuple[str, G4FError | None]:
    """The text that reached the caller of a stream, and the error it ended in."""
    text = ""
    try:
        for one in Client(provider).chat.completions.stream(
            "hi", **{"response_format": form(SCHEMA), **params}
        ):
            text += "".join(choice.delta.content or "" for choice in one.choices)
    except G4FError as error:
        return text, error
    return text, None


def pieces(provider: str = "a") -> list[str]:
    """The texts of a stream as they came."""
    chunks = Client(provider).chat.completions.stream("hi", response_format=form(SCHEMA))
    texts = [choice.delta.content for one in chunks for choice in one.choices]
    return [text for text in texts if text]


def test_the_schema_is_in_the_system_prompt(unknowing: Unknowing) -> None:
    with Server(whole(REX)) as a:
        unknowing(a=a)
        assert text_of(create(temperature=0.5)) == REX
    body = a.requests[0].json
    system, user = body.pop("messages")
    assert body == {"model": "gpt-4o", "temperature": 0.5, "stream": False}
    assert user == {"role": "user", "content": "hi"}
    assert system["role"] == "system"
    words, _, schema = system["content"].partition("\n")
    assert "fits this JSON Schema" in words
    assert json.loads(schema) == SCHEMA


@pytest.mark.parametrize("role", ["system", "developer"])
def test_the_schema_is_added_to_a_system_prompt(unknowing: Unknowing, role: str) -> None:
    messages = [{"role": role, "content": "Be brief."}, {"role": "user", "content": "hi"}]
    with Server(whole(REX)) as a:
        unknowing(a=a)
        create(messages=messages)
    system, user = a.requests[0].json["messages"]
    assert system["role"] == role
    assert system["content"].startswith("Be brief.\n\nAnswer with JSON")
    assert system["content"].endswith(json.dumps(SCHEMA))
    assert user == {"role": "user", "content": "hi"}
    assert messages[0]["content"] == "Be brief."


def test_beside_a_system_prompt_in_parts_it_is_a_message(unknowing: Unknowing) -> None:
    parts = [{"type": "text", "text": "Be brief."}]
    with Server(whole(REX)) as a:
        unknowing(a=a)
        create(messages=[{"role": "system", "content": parts}, {"role": "user", "content": "hi"}])
    told, system, user = a.requests[0].json["messages"]
    assert told["content"].endswith(json.dumps(SCHEMA))
    assert (system["content"], user["content"]) == (parts, "hi")


def test_the_schema_is_not_escaped_in_the_prompt(unknowing: Unknowing) -> None:
    with Server(whole('{"größe": 1}')) as a:
        unknowing(a=a)
        create(schema={"type": "object", "properties": {"größe": {"type": "integer"}}})
    assert "größe" in a.requests[0].json["messages"][0]["content"]


@pytest.mark.parametrize("response_format", [{"type": "json_object"}, {"type": "text"}])
def test_other_formats_are_passed_on_unchecked(
    unknowing: Unknowing, response_format: dict[str, Any]
) -> None:
    with Server(whole("not JSON")) as a:
        unknowing(a=a)
        assert text_of(create(response_format=response_format)) == "not JSON"
    assert a.requests[0].json["response_format"] == response_format
    assert len(a.requests[0].json["messages"]) == 1


ENFORCING = "providers: {a: {base_url: 'URL', supports_schema: true}}"


def test_a_provider_that_enforces_schemas_streams_unchecked(
    write_config: Callable[[str], Path],
) -> None:
    with Server(whole("not JSON"), stream("not ", "JSON")) as a:
        write_config(ENFORCING.replace("URL", a.url))
        assert text_of(create()) == "not JSON"
        assert pieces() == ["not ", "JSON"]
    assert a.requests[0].json["response_format"] == form(SCHEMA)
    assert len(a.requests[0].json["messages"]) == 1


@pytest.mark.parametrize("name", ["openai", "azure", "llamacpp", "vllm", "sglang", "ollama"])
def test_a_built_in_provider_that_enforces_schemas_streams(
    name: str, write_config: Callable[[str], Path]
) -> None:
    with Server(stream('{"name', '": "Rex"}')) as a:
        write_config(BUILT_IN.replace("NAME", name).replace("URL", a.url))
        assert pieces(name) == ['{"name', '": "Rex"}']


BUILT_IN = """
providers:
  NAME: {enabled: true, base_url: 'URL', key_env: HOME, models: {gpt-4o: {id: x, exact: true}}}
"""


@pytest.mark.parametrize("name", ["openrouter", "groq", "mistral", "litellm", "a"])
def test_a_provider_that_may_not_enforce_schemas_is_checked(
    name: str, write_config: Callable[[str], Path]
) -> None:
    with Server(stream('{"name', '": "Rex"}'), stream('{"name', '": 1}'), whole("[]")) as a:
        write_config(BUILT_IN.replace("NAME", name).replace("URL", a.url))
        assert pieces(name) == ['{"name": "Rex"}']
        text, error = streamed(name)
        with pytest.raises(InvalidResponseError) as caught:
            create(name)
    assert text == ""
    for found in (error, caught.value):
        assert isinstance(found, InvalidResponseError)
        assert found.reason == "schema_mismatch"
        assert found.message.startswith(f"{name} (x) is not known to enforce schemas, and its")
    # The schema is still sent as one.
    assert [request.json["response_format"]["type"] for request in a.requests] == [
        "json_schema"
    ] * 3
    assert all(len(request.json["messages"]) == 1 for request in a.requests)


def test_a_misfit_is_followed_by_the_next_candidate(endpoints: Callable[..., Path]) -> None:
    with Server(stream("Rex"), whole("Rex")) as a, Server(stream(REX), whole(REX)) as b:
        endpoints(a=a, b=b)
        assert streamed("a,b") == (REX, None)
        assert outcomes(create("a,b")) == [("a", "InvalidResponseError"), ("b", "ok")]


def test_a_schema_that_cannot_be_checked_is_the_providers(endpoints: Callable[..., Path]) -> None:
    schema = {"type": "string", "pattern": r"^\p{L}+$"}
    with Server(whole('"Rex"')) as a:
        endpoints(a=a)
        assert text_of(create(schema=schema)) == '"Rex"'
    assert a.requests[0].json["response_format"] == form(schema)


TOOL_ROUND: list[dict[str, Any]] = [
    {"role": "user", "content": "invent a dog"},
    {
        "role": "assistant",
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "age", "arguments": "{}"}}
        ],
    },
    {"role": "tool", "tool_call_id": "c", "content": "3"},
]


@pytest.mark.parametrize("supports", ["", ", supports_schema: false"])
def test_the_schema_holds_after_a_round_of_tools(
    supports: str, write_config: Callable[[str], Path]
) -> None:
    with Server(whole("three"), whole(f"~~~\n{REX}\n~~~")) as a:
        write_config(f"providers: {{a: {{base_url: '{a.url}'{supports}}}}}")
        with pytest.raises(InvalidResponseError):
            create(messages=TOOL_ROUND)
        assert text_of(create(messages=TOOL_ROUND)) == REX


def test_every_choice_is_checked(endpoints: Callable[..., Path]) -> None:
    def both(second: str) -> Script:
        choices = completion(f"```json\n{REX}\n```")["choices"]
        choices.append(choices[0] | {"index": 1, "message": {"content": second}})
        return http(200, completion() | {"choices": choices})

    with Server(both(REX), both("Rex")) as a:
        endpoints(a=a)
        assert [choice.message.content for choice in create(n=2).choices] == [REX, REX]
        with pytest.raises(InvalidResponseError):
            create(n=2)


@pytest.mark.parametrize("begun", ["", '{"na'])
def test_a_filtered_answer_goes_to_no_other_provider(
    begun: str, endpoints: Callable[..., Path]
) -> None:
    with Server(events(chunk(begun), chunk(finish="content_filter"))) as a, Server(whole(REX)) as b:
        endpoints(a=a, b=b)
        streamed("a,b")
    assert not b.requests


def test_a_broken_answer_is_no_misfit(endpoints: Callable[..., Path]) -> None:
    with Server(events(chunk('{"na'), chunk(finish="error"))) as a, Server(stream(REX)) as b:
        endpoints(a=a, b=b)
        text, error = streamed("a,b")
        assert outcomes(create("a,b")) == [("a", "StreamError"), ("b", "ok")]
    assert (text, error) == (REX, None)


def test_an_answer_that_is_held_back_has_a_bound(
    endpoints: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_prompt, "MAX_SIZE_OF_ANSWER", 100_000)
    endless: Script = [SSE_HEAD, Endless(framed(event(chunk("[" * 1000))))]
    with Server(endless) as a:
        endpoints(a=a)
        text, error = streamed()
        a.wait_closed()
    assert isinstance(error, InvalidResponseError)
    assert "too long to be checked" in error.message
    assert text == ""


# What is answered.

FITTING = [
    (REX, REX),
    (f"\n {REX}\n", REX),
    (f"```json\n{REX}\n```", REX),
    (f"```\n{REX}\n```", REX),
    (f"Here you are:\n```json\n{REX}\n```\nA good dog.", REX),
    (f"```json \n\n  {REX}  \n\n```", REX),
    ('{"name": "```json\\n[1]\\n```"}', '{"name": "```json\\n[1]\\n```"}'),
    (f"```JSON\n{REX}\n```", REX),
    (f"```Json5 \r\n{REX}\r\n```", REX),
    (f"```json {REX} ```", REX),
    (f"```{REX}```", REX),
    (f"~~~\n{REX}\n~~~", REX),
    (f"~~~~ json\n{REX}\n~~~~", REX),
    (f"```javascript title=dog.js\n{REX}\n```", REX),
    (f"```json\n{REX}", REX),
    (f"Not ```1```, nor\n```json\n[1]\n```\nbut\n```json\n{REX}\n```.", REX),
    ('A dog:\n```json\n{"name": "```\\n[1]\\n```"}\n```', '{"name": "```\\n[1]\\n```"}'),
    ('{"name": "é😀"}', '{"name": "é😀"}'),
]


@pytest.mark.parametrize(("sent", "found"), FITTING)
def test_a_valid_answer_is_reduced_to_its_json(unknowing: Unknowing, sent: str, found: str) -> None:
    with Server(whole(sent), stream(*sent)) as a:
        unknowing(a=a)
        answer = create()
        assert text_of(answer) == found
        assert streamed() == (found, None)
    assert answer.usage is not None
    assert answer.usage.to_dict() == USAGE
    assert answer.choices[0].finish_reason == "stop"
    assert answer.receipt is not None
    assert outcomes(answer) == [("a", "ok")]
    assert answer.receipt.omitted == ()
    assert answer.model == "gpt-4o-2024-11-20"


MISFITS = [
    ('{"age": 3}', "$: 'name' is a required property"),
    ('{"name": "Rex", "age": "three"}', "$.age: 'three' is not of type 'integer'"),
    ("[1]", "$: [1] is not of type 'object'"),
    ("Rex is three.", "it is not JSON"),
    (f"Here you are: {REX}", "it is not JSON"),
    ('```json\n{"name": 1}\n```', "$.name: 1 is not of type 'string'"),
    (f"```json\n{REX[:-1]}\n```", "it is not JSON"),
    ('{"name": "Rex", "age": NaN}', "it is not JSON"),
    ("[" * 100_000, "it is not JSON"),
    ("9" * 5_000, "it is not JSON"),
]


@pytest.mark.parametrize(("sent", "why"), MISFITS, ids=[sent[:20] for sent, _ in MISFITS])
def test_an_invalid_answer_is_an_error_with_path_and_reason(
    unknowing: Unknowing, sent: str, why: str
) -> None:
    with Server(whole(sent), stream(sent)) as a:
        unknowing(a=a)
        with pytest.raises(InvalidResponseError) as caught:
            create()
        text, error = streamed()
    for found in (caught.value, error):
        assert type(found) is InvalidResponseError
        assert f"does not fit yours: {why}. " in found.message
        assert found.message.startswith("a (gpt-4o) has no schemas of its own")
        assert (found.provider, found.model, found.partial) == ("a", "gpt-4o", sent)
        assert outcomes(found) == [("a", "InvalidResponseError")]
        assert len(found.message) < 800
    assert text == ""


def test_an_invalid_stream_is_followed_by_the_next_candidate(unknowing: Unknowing) -> None:
    with Server(stream('{"na', 'me": 1}')) as a, Server(stream(REX)) as b:
        unknowing(a=a, b=b)
        assert streamed("a,b") == (REX, None)
        answer = create("a,b")
    assert outcomes(answer) == [("a", "InvalidResponseError"), ("b", "ok")]
    assert len(a.requests) == len(b.requests) == 2


def test_a_provider_with_schemas_may_follow(write_config: Callable[[str], Path]) -> None:
    with Server(whole("no")) as a, Server(whole(REX)) as b:
        write_config(
            f"providers:\n  a: {{base_url: '{a.url}', supports_schema: false}}\n"
            f"  b: {{base_url: '{b.url}'}}\n"
        )
        assert text_of(create("a,b")) == REX
    assert b.requests[0].json["response_format"] == form(SCHEMA)
    assert [message["role"] for message in b.requests[0].json["messages"]] == ["user"]


def test_an_answer_cut_at_its_limit_says_so(unknowing: Unknowing) -> None:
    cut = events(chunk('{"name": '), chunk(finish="length"), "[DONE]")
    with Server(cut) as a:
        unknowing(a=a)
        text, error = streamed()
    assert isinstance(error, InvalidResponseError)
    assert "it was cut at its token limit" in error.message
    assert (text, error.partial) == ("", '{"name": ')


def test_a_cut_answer_that_is_valid_is_accepted(unknowing: Unknowing) -> None:
    with Server(events(chunk(REX), chunk(finish="length"), "[DONE]")) as a:
        unknowing(a=a)
        assert create().choices[0].finish_reason == "length"


def test_an_empty_answer_is_invalid(unknowing: Unknowing) -> None:
    with Server(events(chunk(finish="stop"), "[DONE]"), whole("")) as a, Server(whole(REX)) as b:
        unknowing(a=a, b=b)
        for _ in range(2):
            assert outcomes(create("a,b")) == [("a", "InvalidResponseError"), ("b", "ok")]


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    "message",
    [{"refusal": "No."}, {"tool_calls": [CALL]}, {"text": "Let me see.", "tool_calls": [CALL]}],
    ids=["refusal", "tool call", "text and tool call"],
)
def test_refusals_and_tool_calls_are_not_validated(
    unknowing: Unknowing, message: dict[str, Any]
) -> None:
    sent = completion(**{"text": None, **message})
    with Server(http(200, sent)) as a:
        unknowing(a=a)
        answer = create()
    found = answer.choices[0].message.to_dict()
    for name, value in sent["choices"][0]["message"].items():
        assert (found[name] or None) == value


def test_reasoning_goes_before_the_json(unknowing: Unknowing) -> None:
    inline = [chunk(text) for text in ("<think>hm", "</think>\n", REX[:5], REX[5:])]
    native = [chunk(reasoning="hm"), chunk(REX)]
    for chunks in (inline, native):
        with Server(events(*chunks, chunk(finish="stop"), "[DONE]")) as a:
            unknowing(a=a)
            message = create().choices[0].message
            assert (message.reasoning, message.content) == ("hm", REX)


# Schemas.


def test_references_inside_the_schema(unknowing: Unknowing) -> None:
    schema = {
        "type": "object",
        "properties": {"dogs": {"type": "array", "items": {"$ref": "#/$defs/dog"}}},
        "$defs": {"dog": SCHEMA},
    }
    good, bad = f'{{"dogs": [{REX}]}}', '{"dogs": [{"name": 1}]}'
    with Server(whole(good), whole(bad)) as a:
        unknowing(a=a)
        assert text_of(create(schema=schema)) == good
        with pytest.raises(InvalidResponseError, match=r"\$\.dogs\[0\]\.name: 1 is not"):
            create(schema=schema)


def test_a_remote_reference_is_not_fetched(unknowing: Unknowing) -> None:
    with Server(whole(REX)) as a, Server(http(200, SCHEMA)) as sink:
        unknowing(a=a)
        for schema in (
            {"$ref": f"{sink.url}/dog.json"},
            {"$id": f"{sink.url}/", "$ref": "dog.json"},
            {"allOf": [{"$ref": f"{sink.url}/dog.json#/a"}]},
        ):
            with pytest.raises(BadRequestError, match="refers to what is not in it"):
                create(schema=schema)
    assert sink.connections == 0


@pytest.mark.parametrize("reference", ["#/$defs/cat", "#cat", "cat.json"])
def test_a_broken_reference_is_a_bad_request(unknowing: Unknowing, reference: str) -> None:
    with Server(whole(REX)) as a, Server(whole(REX)) as b:
        unknowing(a=a, b=b)
        with pytest.raises(BadRequestError, match="refers to what is not in it"):
            create("a,b", schema={"$ref": reference})
    assert not b.requests


BROKEN = [
    {"type": "nope"},
    {"type": "object", "properties": []},
    {"type": "string", "pattern": "("},
    {"minLength": -1},
    {"$schema": 5},
    {"$schema": ["x"]},
    {"$ref": 5},
    {"default": {1, 2}},
    {"minimum": float("nan")},
    "object",
    [],
    5,
    None,
]


@pytest.mark.parametrize("schema", BROKEN, ids=repr)
def test_an_invalid_schema_is_a_bad_request(unknowing: Unknowing, schema: Any) -> None:
    with Server(whole(REX)) as a:
        unknowing(a=a)
        with pytest.raises(BadRequestError, match="Invalid JSON Schema") as caught:
            create(schema=schema)
    assert caught.value.status_code == 400
    assert not a.requests


@pytest.mark.parametrize(
    "given", [{}, {"json_schema": None}, {"json_schema": "x"}, {"json_schema": {}}]
)
def test_a_missing_schema_is_a_bad_request(unknowing: Unknowing, given: dict[str, Any]) -> None:
    with Server(whole(REX)) as a:
        unknowing(a=a)
        with pytest.raises(BadRequestError):
            create(response_format={"type": "json_schema", **given})
    assert not a.requests


@pytest.mark.parametrize("schema", [{"multipleOf": 0.1}, {"type": "integer"}])
def test_an_infinite_number_is_an_invalid_response(unknowing: Unknowing, schema: Any) -> None:
    with Server(whole("1e400")) as a:
        unknowing(a=a)
        with pytest.raises(InvalidResponseError):
            create(schema=schema)


def test_a_recursive_schema_is_a_bad_request(unknowing: Unknowing) -> None:
    with Server(whole("1")) as a, Server(whole("1")) as b:
        unknowing(a=a, b=b)
        with pytest.raises(BadRequestError, match="schema"):
            create("a,b", schema={"$ref": "#"})
    assert not b.requests


def test_older_drafts_are_supported(unknowing: Unknowing) -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"word": {"type": "string"}},
        "items": [{"$ref": "#/definitions/word"}],
    }
    with Server(whole("[1]")) as a:
        unknowing(a=a)
        with pytest.raises(InvalidResponseError, match=r"\$\[0\]: 1 is not of type 'string'"):
            create(schema=schema)


# Time.


def slowly(*texts: str, pause: float) -> Script:
    pieces: list[Any] = [step for text in texts for step in (framed(event(chunk(text))), pause)]
    return [SSE_HEAD, *pieces, framed(event(chunk(finish="stop"))), END]


def test_a_slow_stream_is_not_silence(unknowing: Unknowing) -> None:
    with Server(slowly('{"name": "', *"Rex Rex", '"}', pause=0.1)) as a:
        unknowing(", timeout: 0.3", a=a)
        assert streamed() == ('{"name": "Rex Rex"}', None)


def test_silence_is_followed_by_the_next_candidate(unknowing: Unknowing) -> None:
    begun: Script = [SSE_HEAD, framed(event(chunk('{"name'))), HANG]
    with Server(begun) as a, Server(stream(REX)) as b:
        unknowing(", timeout: 0.3", a=a, b=b)
        assert streamed("a,b") == (REX, None)
        a.wait_closed()
    with Server(begun) as a:
        unknowing(", timeout: 0.3", a=a)
        text, error = streamed()
    assert (text, type(error)) == ("", APITimeoutError)


# Through llm.


def test_a_schema_through_llm(ask: Ask, unknowing: Unknowing) -> None:
    with Server(stream("```json\n", REX, "\n```")) as a:
        unknowing(a=a)
        answer = ask("invent a dog", schema=SCHEMA)
    assert answer.text == REX
    assert (answer.usage.input, answer.usage.output) == (7, 2)
    assert [one["outcome"] for one in answer.receipt["attempts"]] == ["ok"]


def test_a_schema_on_the_command_line(unknowing: Unknowing, run_llm: Run) -> None:
    with Server(stream(f"Here you are:\n```json\n{REX}\n```")) as a:
        unknowing(a=a)
        done = run_llm("-m", "gpt-4o", "--schema", "name, age int", "invent a dog")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{REX}\n", "")


def test_the_validator_is_imported_lazily(unknowing: Unknowing) -> None:
    code = (
        "import sys\n"
        "from llm_g4f import Client\n"
        "Client('a').chat.completions.create('hi')\n"
        "print('jsonschema' in sys.modules)\n"
    )
    with Server(whole(REX)) as a:
        unknowing(a=a)
        done = run_python(code)
    assert (done.stdout, done.stderr) == ("False\n", "")


# Any schema, any value of it.

SHAPES: st.SearchStrategy[tuple[dict[str, Any], st.SearchStrategy[Any]]] = st.recursive(
    st.sampled_from(
        [
            ({"type": "string"}, st.text(st.characters(exclude_categories=["Cs"]))),
            ({"type": "integer"}, st.integers()),
            ({"type": "number"}, st.floats(allow_nan=False, allow_infinity=False)),
            ({"type": "boolean"}, st.booleans()),
            ({"enum": ["```", None]}, st.sampled_from(["```", None])),
        ]
    ),
    lambda inner: st.one_of(
        inner.map(lambda one: ({"type": "array", "items": one[0]}, st.lists(one[1], max_size=3))),
        st.dictionaries(st.text("ab`\n", max_size=4), inner, max_size=3).map(
            lambda keys: (
                {
                    "type": "object",
                    "properties": {name: one[0] for name, one in keys.items()},
                    "required": list(keys),
                },
                st.fixed_dictionaries({name: one[1] for name, one in keys.items()}),
            )
        ),
    ),
    max_leaves=4,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.data(),
    SHAPES,
    st.sampled_from(["{}", "```json\n{}\n```", "```\n{}\n```", "Here:\n```json\n{}\n```\nBye."]),
    st.sampled_from([None, 2]),
    st.booleans(),
)
def test_any_valid_value_is_returned(
    unknowing: Unknowing, data: Any, shape: Any, around: str, indent: int | None, ascii: bool
) -> None:
    schema, values = shape
    value = data.draw(values)
    jsonschema.validate(value, schema)
    written = json.dumps(value, indent=indent, ensure_ascii=ascii)
    sent = around.replace("{}", written)
    with Server(whole(sent)) as a:
        unknowing(a=a)
        found = text_of(create(schema=schema))
    assert found is not None
    assert json.loads(found) == value
