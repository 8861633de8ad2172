"""Convert a JSON schema to OpenAI's strict form, which constrains an answer token by token.

Strict schemas are a subset of JSON Schema, in which objects require all their keys and allow no
others (source: OpenAI's guide to structured outputs, "Supported schemas").
"""

from __future__ import annotations

import copy
from typing import Any

from ..types import JSON

_KEYWORDS = frozenset(
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
    """`schema` in strict form, or None if that would change its meaning.

    >>> strict_form({"type": "object", "properties": {"a": {}}, "required": ["a"]})
    {'type': 'object', 'properties': {'a': {}}, 'required': ['a'], 'additionalProperties': False}
    >>> strict_form({"type": "object", "properties": {"a": {}}}) is None
    True
    """
    if not isinstance(schema, dict) or schema.get("type") != "object" or "anyOf" in schema:
        return None
    try:
        return _strict(schema)
    except (_NotStrictError, RecursionError):
        return None


def closed_form(schema: Any, root: Any = None) -> Any:
    """A schema that requires every field and allows no other, as openai's helper makes it of a class
    (openai 3.57, `lib/_pydantic.py`): OpenAI's strict schemas have no optional fields."""
    if not isinstance(schema, dict):
        return schema
    root = schema if root is None else root
    closed: JSON = {}
    for name, value in schema.items():
        if name in ("properties", "$defs", "definitions") and isinstance(value, dict):
            closed[name] = {key: closed_form(child, root) for key, child in value.items()}
        elif name in ("anyOf", "allOf") and isinstance(value, list):
            closed[name] = [closed_form(child, root) for child in value]
        elif not (name == "default" and value is None):
            closed[name] = closed_form(value, root) if name == "items" else value
    if closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    if isinstance(closed.get("properties"), dict):
        closed["required"] = list(closed["properties"])
    if len(closed.get("allOf", ())) == 1:
        closed |= closed.pop("allOf")[0]
    if "$ref" in closed and len(closed) > 1:
        # A reference must stand alone in a strict schema: what it means takes its place.
        target = _resolved(closed.pop("$ref"), root)
        return closed_form({**target, **closed}, root)
    return closed


def _resolved(reference: str, root: Any) -> JSON:
    for name in reference.removeprefix("#/").split("/"):
        root = root[name]
    return dict(root)


class _NotStrictError(Exception):
    """The schema has no strict form."""


def _strict(schema: Any) -> JSON:
    if not isinstance(schema, dict):
        raise _NotStrictError
    if "$ref" in schema and len(schema) > 1:
        raise _NotStrictError
    strict: JSON = {}
    for name, value in schema.items():
        if name in ("properties", "$defs", "definitions") and isinstance(value, dict):
            strict[name] = {key: _strict(child) for key, child in value.items()}
        elif name == "items":
            strict[name] = _strict(value)
        elif name == "anyOf" and isinstance(value, list):
            strict[name] = [_strict(child) for child in value]
        elif (
            name in _KEYWORDS
            or name == "$ref"
            or (name == "format" and isinstance(value, str) and value in _FORMATS)
        ):
            strict[name] = copy.deepcopy(value)
        else:
            raise _NotStrictError
    kind = schema.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind):
        properties, required = schema.get("properties"), schema.get("required", [])
        if not isinstance(properties, dict) or not isinstance(required, list):
            raise _NotStrictError
        if sorted(map(str, properties)) != sorted(map(str, required)):
            raise _NotStrictError
        if strict.setdefault("additionalProperties", False) is not False:
            raise _NotStrictError
    return strict
