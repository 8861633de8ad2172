"""The same request once more, in the form that a provider takes after it rejected a part of it.

What is left out is named in the receipt and the notice; what keeps its meaning under another
name or in the prompt is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from ..errors import APIError, APIStatusError
from ..providers.base import ServedModel
from ..providers.quirks import CONTRARY
from ..request import ChatRequest
from .policy import OMITTABLE, Step, rule_of


def repaired(served: ServedModel, error: APIError, request: ChatRequest) -> ServedModel | None:
    """The model, to be asked as its provider wants it after `error`; None if there is no such way, or
    if it was tried."""
    repair = _REPAIRS.get(rule_of(error).step)
    return repair(served, rejected_by(error), request) if repair is not None else None


def rejected_by(error: APIError) -> str:
    """The parameter that an error complains of; "" if it names none."""
    return (error.param or "") if isinstance(error, APIStatusError) else ""


def is_sent(name: str, served: ServedModel, request: ChatRequest) -> bool:
    """Whether a request to `served` has the parameter, perhaps under its other name."""
    # The endpoint asks for usage in every stream.
    ours = name == "stream_options" and request.stream
    given = name in request.params or CONTRARY.get(name) in request.params
    return (ours or given) and name not in served.refused


def _without_parameter(served: ServedModel, name: str, request: ChatRequest) -> ServedModel | None:
    if name not in OMITTABLE or not is_sent(name, served, request):
        return None
    # Only what the caller asked for is missed.
    omitted = (*served.omitted, name) if name in request.params else served.omitted
    return replace(served, omitted=omitted, refused=(*served.refused, name))


def _with_other_name(served: ServedModel, name: str, _: ChatRequest) -> ServedModel | None:
    quirk = CONTRARY.get(name)
    if quirk is None or any(tried in served.quirks for tried in CONTRARY):
        return None
    return replace(served, quirks=(*served.quirks, quirk))


def _with_schema_in_prompt(served: ServedModel, _: str, request: ChatRequest) -> ServedModel | None:
    if served.schema_in_prompt or request.schema is None:
        return None
    return replace(served, schema_in_prompt=True)


_REPAIRS: Mapping[Step, Callable[[ServedModel, str, ChatRequest], ServedModel | None]] = {
    "without_parameter": _without_parameter,
    "other_name": _with_other_name,
    "schema_in_prompt": _with_schema_in_prompt,
}
