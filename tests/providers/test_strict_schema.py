"""Schemas that can be made strict, and those that cannot."""

from __future__ import annotations

import copy
from typing import Any

import llm
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from llm_g4f.providers.strict_schema import strict_form

TEXT = {"type": "string"}


def object_of(required: list[str] | None = None, /, **properties: Any) -> dict[str, Any]:
    """An object schema that leaves other keys open; all of its own are required unless said."""
    wanted = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": wanted}


def closed(**properties: Any) -> dict[str, Any]:
    return object_of(**properties) | {"additionalProperties": False}


class Dog(BaseModel):
    name: str
    age: int


class Kennel(BaseModel):
    dogs: list[Dog]
    best: Dog | None


class Defaulted(BaseModel):
    name: str
    age: int = 3


class Optional(BaseModel):
    name: str | None = None


class Free(BaseModel):
    values: dict[str, int]


class Tree(BaseModel):
    name: str
    children: list[Tree]


MADE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (object_of(a=TEXT), closed(a=TEXT)),
    (closed(a=TEXT), closed(a=TEXT)),
    (object_of(), closed()),
    (object_of(a={}), closed(a={})),
    (object_of(b=TEXT, a=TEXT) | {"required": ["a", "b"]}, closed(b=TEXT, a=TEXT) | {"required": ["a", "b"]}),
    (object_of(a=object_of(b=TEXT)), closed(a=closed(b=TEXT))),
    (object_of(a={"type": "array", "items": object_of(b=TEXT)}), closed(a={"type": "array", "items": closed(b=TEXT)})),
    (object_of(a={"anyOf": [object_of(b=TEXT), {"type": "null"}]}), closed(a={"anyOf": [closed(b=TEXT), {"type": "null"}]})),
    (object_of(a={"$ref": "#/$defs/b"}) | {"$defs": {"b": object_of(c=TEXT)}}, closed(a={"$ref": "#/$defs/b"}) | {"$defs": {"b": closed(c=TEXT)}}),
    (object_of(a={"$ref": "#/definitions/b"}) | {"definitions": {"b": object_of()}}, closed(a={"$ref": "#/definitions/b"}) | {"definitions": {"b": closed()}}),
    (object_of(a=object_of(b=TEXT) | {"type": ["object", "null"]}), closed(a=closed(b=TEXT) | {"type": ["object", "null"]})),
    (object_of(a={"enum": ["x", {"type": "object"}]}), closed(a={"enum": ["x", {"type": "object"}]})),
    (object_of(a=TEXT | {"format": "date-time", "pattern": "^2", "title": "A", "description": "B"}), closed(a=TEXT | {"format": "date-time", "pattern": "^2", "title": "A", "description": "B"})),
    (object_of(a={"type": "integer", "minimum": 0, "exclusiveMaximum": 9, "multipleOf": 3}), closed(a={"type": "integer", "minimum": 0, "exclusiveMaximum": 9, "multipleOf": 3})),
    # Names of keys are no keywords.
    (object_of(anyOf=TEXT, oneOf=TEXT, items=TEXT), closed(anyOf=TEXT, oneOf=TEXT, items=TEXT)),
    (llm.schema_dsl("name, age int, bio: a short one"), closed(name=TEXT, age={"type": "integer"}, bio=TEXT | {"description": "a short one"})),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "strict"), MADE)
def test_a_schema_with_the_same_meaning_is_made_strict(
    schema: dict[str, Any], strict: dict[str, Any]
) -> None:
    assert strict_form(schema) == strict


NOT_MADE: list[Any] = [
    *(None, True, 1, "object", [], {}, {"type": "string"}, {"type": ["object"]}),
    {"type": "object"},
    {"type": "object", "required": []},
    object_of([], a=TEXT),
    object_of(["a"], a=TEXT, b=TEXT),
    object_of(["a", "b"], a=TEXT),
    object_of(a=TEXT) | {"required": "a"},
    object_of(a=TEXT) | {"properties": ["a"]},
    object_of(a=TEXT) | {"additionalProperties": True},
    object_of(a=TEXT) | {"additionalProperties": TEXT},
    object_of(a=TEXT) | {"patternProperties": {"^x": TEXT}},
    object_of(a=TEXT) | {"anyOf": [object_of()]},
    object_of(a=TEXT) | {"$schema": "https://json-schema.org/draft/2020-12/schema"},
    object_of(a=object_of([], b=TEXT)),
    object_of(a={"type": "object"}),
    object_of(a={"type": ["object", "null"]}),
    object_of(a={"type": "array", "items": object_of([], b=TEXT)}),
    object_of(a={"type": "array", "items": [TEXT]}),
    object_of(a={"type": "array", "prefixItems": [TEXT]}),
    object_of(a={"type": "array", "uniqueItems": True}),
    object_of(a={"anyOf": [TEXT, object_of([], b=TEXT)]}),
    object_of(a={"anyOf": TEXT}),
    object_of(a={"oneOf": [TEXT]}),
    object_of(a={"allOf": [TEXT]}),
    object_of(a={"not": TEXT}),
    object_of(a=TEXT | {"default": "x"}),
    object_of(a=TEXT | {"minLength": 1}),
    object_of(a=TEXT | {"format": "uri"}),
    object_of(a=TEXT | {"format": {}}),
    object_of(a={"$ref": "#/$defs/b", "description": "B"}) | {"$defs": {"b": TEXT}},
    object_of(a={"$ref": "#/$defs/b"}) | {"$defs": {"b": object_of([], c=TEXT)}},
    object_of(a={"$ref": "#/$defs/b"}) | {"$defs": [TEXT]},
    object_of(a=True),
    llm.schema_dsl("name, age int", multi=True) | {"required": []},
    Defaulted.model_json_schema(),
    Optional.model_json_schema(),
    Free.model_json_schema(),
    # The schema of what contains itself is a reference at its root.
    Tree.model_json_schema(),
]


@pytest.mark.parametrize("schema", NOT_MADE, ids=repr)
def test_a_schema_with_another_meaning_is_not_made_strict(schema: Any) -> None:
    assert strict_form(schema) is None


@pytest.mark.parametrize("model", [Dog, Kennel])
def test_pydantic_models_without_defaults_are_made_strict(model: type[BaseModel]) -> None:
    strict = strict_form(model.model_json_schema())
    assert strict is not None
    for schema in (strict, *strict.get("$defs", {}).values()):
        assert schema["additionalProperties"] is False


def test_llms_schema_multi_is_made_strict() -> None:
    strict = strict_form(llm.schema_dsl("name, age int", multi=True))
    assert strict == closed(
        items={"type": "array", "items": closed(name=TEXT, age={"type": "integer"})}
    )


@pytest.mark.parametrize("depth", [100_000, 5_000])
def test_a_schema_nested_too_deeply_is_not_made_strict(depth: int) -> None:
    inner: dict[str, Any] = {}
    for _ in range(depth):
        inner = {"type": "array", "items": inner}
    assert strict_form(object_of(a=inner)) is None


names = st.sampled_from(["a", "b", "type", "items", "anyOf", "required"])
leaves = st.sampled_from(
    [{}, TEXT, {"type": "integer", "minimum": 0}, {"enum": ["x", 1, None]}, {"type": "boolean"}]
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.dictionaries(names, inner, max_size=3).map(lambda properties: object_of(**properties)),
        inner.map(lambda items: {"type": "array", "items": items}),
        st.lists(inner, min_size=1, max_size=2).map(lambda options: {"anyOf": options}),
    )


schemas = st.dictionaries(names, st.recursive(leaves, nested, max_leaves=6), max_size=3).map(
    lambda properties: object_of(**properties)
)


def value_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values near a schema of `schemas`: some fit, and objects have no other keys than its own."""
    other: st.SearchStrategy[Any] = st.sampled_from(["x", 1, -1, None, True, [], {}])
    fitting: st.SearchStrategy[Any] = other
    if "properties" in schema:
        keys = {name: value_of(inner) for name, inner in schema["properties"].items()}
        fitting = st.fixed_dictionaries({}, optional=keys) | st.fixed_dictionaries(keys)
    elif "items" in schema:
        fitting = st.lists(value_of(schema["items"]), max_size=2)
    elif "anyOf" in schema:
        return st.one_of([value_of(inner) for inner in schema["anyOf"]])
    return fitting | other


def without_foreign_keys(schema: dict[str, Any], value: Any) -> bool:
    """Whether `value` has only keys that any object schema it is held to has."""
    if "anyOf" in schema:
        return all(without_foreign_keys(inner, value) for inner in schema["anyOf"])
    if isinstance(value, dict) and "properties" in schema:
        return all(
            name in schema["properties"] and without_foreign_keys(schema["properties"][name], one)
            for name, one in value.items()
        )
    if isinstance(value, list) and "items" in schema:
        return all(without_foreign_keys(schema["items"], one) for one in value)
    return True


@given(st.data(), schemas)
def test_the_strict_form_accepts_the_same_values(data: st.DataObject, schema: Any) -> None:
    strict = strict_form(schema)
    assert strict is not None
    value = data.draw(value_of(schema).filter(lambda one: without_foreign_keys(schema, one)))
    assert Draft202012Validator(strict).is_valid(value) == Draft202012Validator(schema).is_valid(
        value
    )


@given(schemas)
def test_a_strict_schema_is_unchanged(schema: Any) -> None:
    strict = strict_form(schema)
    assert strict is not None
    assert strict_form(strict) == strict


def spoil(value: Any) -> None:
    """Change every container in `value`."""
    for inner in list(value.values()) if isinstance(value, dict) else list(value):
        if isinstance(inner, (dict, list)):
            spoil(inner)
    value.clear()


@given(schemas)
def test_the_given_schema_is_not_changed(schema: Any) -> None:
    schema = copy.deepcopy(schema)
    before = copy.deepcopy(schema)
    strict = strict_form(schema)
    assert schema == before
    spoil(strict)
    assert schema == before


words = st.sampled_from(
    ["type", "object", "properties", "required", "items", "anyOf", "$ref", "$defs", "format", "a"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=8,
)


@given(values | values.map(lambda value: {"type": "object", "properties": value, "required": []}))
def test_any_value_gives_a_schema_or_none(value: Any) -> None:
    made = strict_form(value)
    assert made is None or made["additionalProperties"] is False
