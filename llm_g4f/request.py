"""A chat request, before a provider is chosen, and the parameters that it may have."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from msgspec import Struct, field

from .json_shape import JSON

Need = Literal["images", "audio", "files", "tools", "schema"]
"""A capability that a request needs of a model, besides text."""

SAMPLING = (
    *("temperature", "top_p", "frequency_penalty", "presence_penalty"),
    *("logprobs", "top_logprobs", "logit_bias"),
)
"""The parameters that control or report the choice of tokens."""

_TEXT = (
    *("reasoning_effort", "verbosity", "service_tier", "stop", "user"),
    *("prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
)
_OTHERS = (
    *("audio", "max_completion_tokens", "max_tokens", "metadata"),
    *("modalities", "moderation", "n", "parallel_tool_calls", "prediction", "prompt_cache_options"),
    *("response_format", "seed", "store", "stream_options", "tool_choice", "tools"),
    "web_search_options",
)

PARAMETERS: Mapping[str, Literal["text", "json"]] = {
    **dict.fromkeys(_TEXT, "text"),
    **dict.fromkeys((*SAMPLING, *_OTHERS), "json"),
}
"""The parameters of chat completions besides model, messages and stream, each with the kind of its
value: "text" if it is text or may be, else "json". Source: OpenAI's API reference, "Create chat
completion", and `CompletionCreateParamsBase` of openai 3.57."""

LEGACY_PARAMETERS: Mapping[str, str] = {"functions": "tools", "function_call": "tool_choice"}
"""Parameters that OpenAI replaced in November 2023, each with its successor. They are refused: an
answer to them has its call where neither llm nor a client of today looks."""


class RoutingOption(NamedTuple):
    """An option of a request that is for the route and not for the model: the types that its value
    may have, in Python and in words. Numbers must be above 0."""

    types: tuple[type, ...]
    expected: str


ROUTING_OPTIONS: Mapping[str, RoutingOption] = {
    "provider": RoutingOption((str, list, tuple), "a name or a list of names"),
    "exact": RoutingOption((bool,), "true or false"),
    "timeout": RoutingOption((int, float), "a number of seconds above 0"),
    "extra_body": RoutingOption((Mapping,), "an object"),
    "headers": RoutingOption((Mapping,), "an object"),
}
"""By name: a keyword of `create`, a key of a batch's row, and an option of llm (`-o`) where
`adapter.options` has it. All but `provider` are fields of `ChatRequest` too."""


SECRET_HEADERS = frozenset(
    {"authorization", "api-key", "x-api-key", "cookie", "proxy-authorization"}
)
"""Headers that carry a key, in lower case."""


def is_misdirected(headers: Mapping[str, str], *, with_key: bool) -> bool:
    """Whether headers send a key, or go with one, and name another server than the one it is for:
    behind one address, Host decides which server gets a request. `headers` may be in any case."""
    names = {name.lower() for name in headers}
    return "host" in names and (with_key or not names.isdisjoint(SECRET_HEADERS))


MIN_SECRET, LONG_SECRET = 8, 16
"""Characters of a key: a shorter one than the first is a placeholder, and one as long as the second is
part of nothing else."""


class Secret:
    """An API key, hidden in its repr, and so in logs and tracebacks. `reveal()` is only for the
    header that sends it. `hint` is how to set another one where it came from."""

    __slots__ = ("_forms", "_value", "hint")

    def __init__(self, value: str, hint: str = "give another one with --key or api_key") -> None:
        self._value = value
        self.hint = hint
        self._forms: tuple[str, ...] | None = None

    def reveal(self) -> str:
        """The key itself."""
        return self._value

    def removed_from(self, text: str) -> str:
        """`text` with "…" in place of the key, which a server may echo: as it is, and as JSON, Python
        and URLs write it.

        A key of fewer than `MIN_SECRET` characters stays: "ollama" or "x" in place of a key is no
        secret, and part of many names. One of fewer than `LONG_SECRET` counts as a whole word only.
        """
        if self._forms is None:
            key = self._value
            forms = (key, json.dumps(key)[1:-1], repr(key)[1:-1], quote(key, safe=""), quote(key))
            self._forms = tuple(dict.fromkeys(forms)) if len(key) >= MIN_SECRET else ()
        for form in self._forms:
            if form in text:
                if len(form) >= LONG_SECRET:
                    text = text.replace(form, "…")
                else:
                    word = f"(?<![A-Za-z0-9]){re.escape(form)}(?![A-Za-z0-9])"
                    text = re.sub(word, "…", text)
        return text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> Any:
        raise TypeError("a Secret cannot be pickled")


class Waits(Struct, frozen=True):
    """Seconds to connect, and to the first content and from each to the next; None: the default."""

    connect: float | None = None
    read: float | None = None


_DEFAULT_WAITS = Waits()


class ChatRequest(Struct, frozen=True, kw_only=True):
    """One chat request, before a provider is chosen.

    `messages` and `params` are in OpenAI's form and belong to this request alone: nothing changes
    them. Empty `providers` mean the default route. `timeout` is in seconds, for the whole answer;
    `waits` are for its parts. `query` goes behind the URL. `max_retries` 0: no provider is asked
    twice, unless its request was changed.
    """

    model: str
    messages: list[JSON]
    params: JSON = field(default_factory=dict)
    stream: bool = False
    providers: tuple[str, ...] = ()
    exact: bool = False
    timeout: float | None = None
    key: Secret | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, Any] | None = None
    waits: Waits = _DEFAULT_WAITS
    max_retries: int | None = None

    @property
    def needs(self) -> frozenset[Need]:
        """The capabilities that the request needs of a model besides text. Reads all messages."""
        needs: set[Need] = set()
        if self.params.get("tools"):
            needs.add("tools")
        if json_schema_of(self.params) is not None:
            needs.add("schema")
        for message in self.messages:
            content = message.get("content")
            for part in content if isinstance(content, list) else ():
                need = _NEED_OF_PART.get(str(part.get("type"))) if isinstance(part, dict) else None
                if need is not None:
                    needs.add(need)
        return frozenset(needs)

    @property
    def has_image_urls(self) -> bool:
        """Whether it names an image on the web, which whoever answers has to fetch. Reads all
        messages."""
        for message in self.messages:
            content = message.get("content")
            for part in content if isinstance(content, list) else ():
                image = part.get("image_url") if isinstance(part, dict) else None
                url = image.get("url") if isinstance(image, dict) else image
                if isinstance(url, str) and url[:8].lower().startswith(("http://", "https://")):
                    return True
        return False

    @property
    def schema(self) -> Any:
        """The JSON schema that the answer must fit, unchecked; None if there is none."""
        return (json_schema_of(self.params) or {}).get("schema")

    @property
    def wants_json_object(self) -> bool:
        """Whether the answer must be a JSON object, of any schema."""
        return bool(_format_type(self.params) == "json_object")


_NEED_OF_PART: Mapping[str, Need] = {"image_url": "images", "input_audio": "audio", "file": "files"}


def json_schema_of(params: JSON) -> JSON | None:
    """The `json_schema` of a response_format: {"name", "schema", "strict", …}, unchecked. {} if it
    is missing from a response_format of this type; None for another type or none."""
    if _format_type(params) != "json_schema":
        return None
    json_schema = params["response_format"].get("json_schema")
    return json_schema if isinstance(json_schema, dict) else {}


def schema_format(schema: Any) -> JSON:
    """The `response_format` that asks for an answer that fits a JSON schema."""
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}


def _format_type(params: JSON) -> Any:
    response_format = params.get("response_format")
    return response_format.get("type") if isinstance(response_format, dict) else None
