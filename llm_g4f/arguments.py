"""The arguments of a client and of `create`: what they may be, and what is said of the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any

from .config.settings import Names, provider_names
from .errors import ArgumentError
from .other_parameters import OTHER_PARAMETERS
from .providers.catalogue import PROVIDERS
from .request import PARAMETERS, Waits

ABSENT = frozenset(("NotGiven", "Omit"))
"""Class names of `openai.NOT_GIVEN` and `openai.omit`, and of ours: an argument that is absent. By
name, since the package openai may be missing, and is slow to import."""

_MOVED = {"extra_headers": "headers", "extra_query": "query", "max_retries": "max_retries"}
"""Arguments of openai's `create` that are no parameters of the model, with their names here."""

_ELSEWHERE = frozenset(name for names in OTHER_PARAMETERS.values() for name in names)

_ATTACH = (
    '{"role": "user", "content": [{"type": "text", "text": "…"}, {"type": "image_url",'
    ' "image_url": {"url": "data:image/png;base64,…"}}]}'
)
_REFUSED = {
    "image": f"image= is not a parameter here. Attach a picture to a message: {_ATTACH}.",
    "images": f"images= is not a parameter here. Attach pictures to a message: {_ATTACH}.",
    "web_search": "web_search= is not offered here. Leave it out, or use a model that searches.",
}
"""g4f's own parameters, with what to do here."""


class Absent:
    """An argument that is absent. False as a condition, as openai's are."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return type(self).__name__


def is_absent(value: Any) -> bool:
    """Whether an argument was not given: None, or openai's word for it."""
    return value is None or type(value).__name__ in ABSENT


def without_absent(values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that were given."""
    return {name: value for name, value in values.items() if not is_absent(value)}


def sort_out(routing: dict[str, Any], params: dict[str, Any]) -> None:
    """Check the arguments of a call, in place: absent ones go, and what is not for the model moves
    from `params` to `routing`. Raises `ArgumentError`."""
    for values in (routing, params):
        for name in [name for name, value in values.items() if is_absent(value)]:
            del values[name]
    for given, name in _MOVED.items():
        if given in params:
            value = params.pop(given)
            if name == "headers":
                value = {**mapping(routing.get(name), "headers"), **mapping(value, given)}
            routing[name] = value
    for name in ("headers", "query", "extra_body"):
        if name in routing:
            routing[name] = mapping(routing[name], "extra_query" if name == "query" else name)
    if "max_retries" in routing:
        check_retries(routing["max_retries"])
    for name in ("exact", "cache"):
        if not isinstance(routing.get(name, False), bool):
            raise ArgumentError(f"{name} must be True or False, not {_shown(routing[name])}.")
    _check_params(params)


def _check_params(params: MutableMapping[str, Any]) -> None:
    for name in _REFUSED.keys() & params.keys():
        if params.pop(name):
            raise ArgumentError(_REFUSED[name])
    if isinstance(tools := params.get("tools"), Iterator):
        # Every provider of the route is sent them.
        params["tools"] = list(tools)
    if is_parsable(params.get("response_format")):
        raise ArgumentError(
            "response_format is a class: only chat.completions.parse(…) takes one. create() takes an"
            ' object in OpenAI\'s form, such as {"type": "json_object"}.'
        )
    for name in params:
        if name not in PARAMETERS and (meant := misspelt(name)):
            raise ArgumentError(
                f"Unknown parameter {name}: did you mean {meant}? To send {name} as it is, put it in"
                " extra_body."
            )


def is_parsable(kind: Any) -> bool:
    """Whether `kind` is a class that `parse` takes."""
    return isinstance(kind, type) and (
        hasattr(kind, "model_json_schema") or hasattr(kind, "__dataclass_fields__")
    )


def misspelt(name: str) -> str | None:
    """The parameter of OpenAI that `name` obviously means: with one letter missing, doubled or
    swapped, in a name of seven letters or more. None for a name that another server knows.

    >>> misspelt("temperatur"), misspelt("max_tokenss"), misspelt("top_k")
    ('temperature', 'max_tokens', None)
    """
    if name in _ELSEWHERE:
        return None
    for known in PARAMETERS:
        if len(known) >= 7 and abs(len(name) - len(known)) <= 1 and name in _slips(known):
            return known
    return None


def _slips(name: str) -> Iterable[str]:
    for place, letter in enumerate(name):
        yield name[:place] + name[place + 1 :]
        yield name[:place] + letter + name[place:]
        yield name[:place] + name[place + 1 : place + 2] + letter + name[place + 2 :]


def mapping(value: Any, name: str) -> dict[str, Any]:
    """`value` as a dict; {} if it is absent."""
    if is_absent(value):
        return {}
    if not isinstance(value, Mapping):
        raise ArgumentError(f"{name} must be an object, as in {{'a': 'b'}}, not {_shown(value)}.")
    return without_absent(value) if name != "extra_body" else dict(value)


def check_retries(value: Any) -> int:
    """`max_retries`: 0, or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ArgumentError(f"max_retries must be a whole number from 0, not {_shown(value)}.")
    return value


def text(value: Any, name: str) -> str | None:
    """A text argument; None if it is absent."""
    if is_absent(value):
        return None
    if not isinstance(value, str):
        raise ArgumentError(f"{name} must be text, not {_shown(value)}.")
    return value


def waits_of(timeout: Any) -> tuple[float | None, Waits]:
    """The seconds for a whole answer, and those for its parts: of a number, or of an object like
    `httpx.Timeout`."""
    if is_absent(timeout):
        return None, Waits()
    if _is_number(timeout):
        return _seconds(timeout, "timeout"), Waits()
    if not (hasattr(timeout, "connect") and hasattr(timeout, "read")):
        raise ArgumentError(
            f"timeout must be a number of seconds or an httpx.Timeout, not {_shown(timeout)}."
        )
    parts = {"connect": timeout.connect, "read": timeout.read}
    return None, Waits(
        **{name: _seconds(value, name) for name, value in parts.items() if value is not None}
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _seconds(value: Any, name: str) -> float:
    if not _is_number(value) or not 0 < value < float("inf"):
        raise ArgumentError(f"{name} must be a number of seconds above 0, not {_shown(value)}.")
    return float(value) if not isinstance(value, int) else value


def provider_argument(provider: Any) -> tuple[str, ...]:
    """The names in `provider`, which may be classes of g4f's. Raises `ArgumentError`."""
    if is_absent(provider) or isinstance(provider, str):
        return provider_names(provider or None)
    if isinstance(provider, Mapping):
        raise ArgumentError(
            f"provider must be a name or a list of names, not {_shown(provider)}. The provider= of"
            " OpenRouter goes into extra_body."
        )
    parts = list(provider) if isinstance(provider, Iterable) else [provider]
    names: Names = [part if isinstance(part, str) else _name_of_class(part) for part in parts]
    return provider_names(names)


def _name_of_class(value: Any) -> str:
    name = getattr(value, "__name__", None)
    if name is None or not isinstance(value, type):
        raise ArgumentError(f"provider must be a name or a list of names, not {_shown(value)}.")
    for known in (*PROVIDERS, "embedded"):
        if _letters(known) == _letters(name):
            return known
    raise ArgumentError(
        f"provider={name} is a class, and there is no provider of that name here. Give one of these"
        f" names: {', '.join(PROVIDERS)}, embedded; or leave provider out."
    )


def _letters(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


def http_client_argument(client: Any) -> Any:
    """An `AsyncClient` of httpx or httpx2; None if it is absent. Raises `ArgumentError`."""
    if is_absent(client):
        return None
    for kind in type(client).__mro__:
        if kind.__name__ == "AsyncClient" and kind.__module__.split(".")[0] in ("httpx", "httpx2"):
            return client
    raise ArgumentError(
        "http_client must be an httpx.AsyncClient or an httpx2.AsyncClient, also for Client, not"
        f" {_shown(client)}."
    )


def _shown(value: Any) -> str:
    """The kind of a value, and the value itself if it is a number: a text may be a key."""
    kind = type(value).__name__
    return (
        f"{value!r}" if _is_number(value) or isinstance(value, bool) else f"a value of type {kind}"
    )
