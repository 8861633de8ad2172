"""OpenAI's strict form of a JSON schema: the one to which an answer is held token by token.

Strict schemas know a part of JSON Schema only; every key of an object is required and no
other is allowed (OpenAI's guide to structured outputs, "Supported schemas").
"""

from __future__ import annotations

import copy
from typing import Any

from ..types import JSON

_PLAIN = frozenset(
    {
        *("type", "title", "description", "enum", "const", "required", "additionalProperties"),
        *("pattern", "minItems", "maxItems", "multipleOf"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    }
)
_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
)


def strict_form(schema: Any) -> JSON | None:
    """`schema` as strict mode takes it, or None where it would have to mean something else.

    >>> strict_form({"type": "object", "properties": {"a": {}}, "required": ["a"]})
    {'type': 'object', 'properties': {'a': {}}, 'required': ['a'], 'additionalProperties': False}
    >>> strict_form({"type": "object", "properties": {"a": {}}}) is None
    True
    """
    if not isinstance(schema, dict) or schema.get("type") != "object" or "anyOf" in schema:
        return None
    try:
        return _strict(schema)
    except (_Unlike, RecursionError):
        return None


class _Unlike(Exception):
    """The schema says what a strict one cannot say."""


def _strict(schema: Any) -> JSON:
    if not isinstance(schema, dict):
        raise _Unlike
    if "$ref" in schema and len(schema) > 1:
        raise _Unlike
    made: JSON = {}
    for name, value in schema.items():
        if name in ("properties", "$defs", "definitions") and isinstance(value, dict):
            made[name] = {key: _strict(inner) for key, inner in value.items()}
        elif name == "items":
            made[name] = _strict(value)
        elif name == "anyOf" and isinstance(value, list):
            made[name] = [_strict(inner) for inner in value]
        elif (
            name in _PLAIN
            or name == "$ref"
            or (name == "format" and isinstance(value, str) and value in _FORMATS)
        ):
            made[name] = copy.deepcopy(value)
        else:
            raise _Unlike
    kind = schema.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind):
        properties, required = schema.get("properties"), schema.get("required", [])
        if not isinstance(properties, dict) or not isinstance(required, list):
            raise _Unlike
        if sorted(map(str, properties)) != sorted(map(str, required)):
            raise _Unlike
        if made.setdefault("additionalProperties", False) is not False:
            raise _Unlike
    return made
