"""The tree of errors, and how they are told and carried."""

from __future__ import annotations

import copy
import importlib
import pickle
import pkgutil
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import llm_g4f
from llm_g4f import errors
from llm_g4f.decoding.error_messages import status_error
from llm_g4f.decoding.reasons import reason_of
from llm_g4f.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConfigError,
    ConflictError,
    ContextLengthError,
    G4FError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    TruncatedStreamError,
    UnprocessableEntityError,
)
from llm_g4f.receipt import Attempt, Receipt
from llm_g4f.safe_text import clean


def drawn() -> dict[str, str | None]:
    """Each class of the drawing in the module's docstring, and what it hangs under."""
    parents: list[tuple[int, str]] = []
    tree: dict[str, str | None] = {}
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"([│├└─ ]*)(\w+Error)\b", line)
        if found is None:
            continue
        depth = len(found[1])
        while parents and parents[-1][0] >= depth:
            parents.pop()
        tree[found[2]] = parents[-1][1] if parents else None
        parents.append((depth, found[2]))
    return tree


def real(kind: type[G4FError]) -> dict[str, str]:
    found: dict[str, str] = {}
    for child in kind.__subclasses__():
        found |= {child.__name__: kind.__name__} | real(child)
    return found


def test_the_error_tree_matches_the_docstring() -> None:
    for module in pkgutil.walk_packages(llm_g4f.__path__, "llm_g4f."):
        # It needs Ray, and has no error of its own.
        if module.name != "llm_g4f.batch.ray_actors":
            importlib.import_module(module.name)
    assert drawn() == {"G4FError": None} | real(G4FError)
    assert len(drawn()) == 24
    assert issubclass(G4FError, Exception)


def test_every_error_is_public() -> None:
    assert set(drawn()) | {"Reason"} == set(errors.__all__)
    assert llm_g4f.errors is errors


def test_openais_names_have_openais_hierarchy() -> None:
    import openai

    for name, parent in drawn().items():
        theirs = getattr(openai, name, None)
        if theirs is not None and parent is not None and hasattr(openai, parent):
            assert issubclass(theirs, getattr(openai, parent)), name


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (300, APIStatusError),
        (301, APIStatusError),
        (308, APIStatusError),
        (400, BadRequestError),
        (401, AuthenticationError),
        (402, APIStatusError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (407, APIStatusError),
        (409, ConflictError),
        (413, BadRequestError),
        (418, APIStatusError),
        (422, UnprocessableEntityError),
        (429, RateLimitError),
        (500, InternalServerError),
        (502, InternalServerError),
        (503, InternalServerError),
        (529, InternalServerError),
        (599, InternalServerError),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[APIStatusError]) -> None:
    error = status_error(
        status, "no", provider="a", model="m", code="c", request_id="r", retry_after=2.5
    )
    assert type(error) is kind
    assert isinstance(error, APIStatusError)
    assert (error.status_code, error.code) == (status, "c")
    assert (error.request_id, error.retry_after) == ("r", 2.5)
    assert (error.provider, error.model, error.message, str(error)) == ("a", "m", "no", "no")


def test_408_is_a_timeout() -> None:
    error = status_error(408, "slow", provider="a", model="m")
    assert type(error) is APITimeoutError
    assert (error.provider, error.model, error.final) == ("a", "m", False)


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        ("context_length_exceeded", ""),
        (None, "This model's maximum context length is 8192 tokens."),
        (None, "the request exceeds the available context size, try increasing it"),
        ("exceed_context_size_error", "x"),
        (None, "prompt is too long: 210000 tokens > 200000 maximum"),
        (None, "Input exceeds the context window of this model."),
        (None, "Your input exceeds the model CONTEXT LENGTH"),
    ],
)
def test_a_context_length_error_is_recognised(code: str | None, detail: str) -> None:
    for status in (400, 413):
        reason = reason_of(status, code, detail)
        assert reason == "context_too_long"
        error = status_error(status, "no", provider="a", model="m", reason=reason)
        assert type(error) is ContextLengthError
        assert error.reason == reason
    assert reason_of(500, code, detail) is None


@pytest.mark.parametrize("detail", ["", "temperature: too large", "no context given", "max_tokens"])
def test_other_bad_requests_are_not_context_length_errors(detail: str) -> None:
    assert reason_of(400, None, detail) is None
    assert type(status_error(400, "no", provider="a", model="m")) is BadRequestError


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain é 😀", "plain é 😀"),
        ("  a\n", "a"),
        ("a\tb\nc \r\n\n d", "a b c d"),
        ("polly\nError: no key", "polly Error: no key"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\x1b]52;c;Zm9v\x07", "a\\x1b]52;c;Zm9v\\x07"),
        ("a\x9b2Jb", "a\\x9b2Jb"),
        ("a\x00b", "a\\x00b"),
        ("a\rb", "a b"),
        ("a\x0b\x0cb", "a\\x0b\\x0cb"),
        ("a\x7fb", "a\\x7fb"),
        ("a\x85b", "a\\x85b"),
    ],
)
def test_control_characters_are_escaped(text: str, safe: str) -> None:
    assert clean(text) == safe


@pytest.mark.parametrize(
    "char",
    [*"\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"],
)
def test_line_separators_and_bidirectional_controls_are_escaped(char: str) -> None:
    assert char not in clean(f"a{char}b")
    assert f"{ord(char):x}" in clean(f"a{char}b")


@pytest.mark.parametrize("limit", [2, 10, 300])
def test_long_text_is_cut(limit: int) -> None:
    assert clean("x" * limit, limit) == "x" * limit
    assert clean("x" * (limit + 1), limit) == "x" * (limit - 1) + "…"


def test_the_default_limit_is_300_characters() -> None:
    assert len(clean("x" * 1_000_000)) == 300


@given(st.text(st.characters() | st.characters(max_codepoint=0xA0)), st.integers(20, 60))
@example("\x1b" * 400, 300)
@example("\ud800", 300)
def test_any_cleaned_text_is_short_and_printable(text: str, limit: int) -> None:
    made = clean(text, limit)
    assert len(made) <= limit
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", made)
    assert len(made.splitlines()) <= 1
    made.encode()


RECEIPT = Receipt(
    "gpt-4o",
    attempts=(
        Attempt("a", "gpt-4o", "RateLimitError", 429, "a takes no more", 0.1),
        Attempt("b", "gpt-4o", "APITimeoutError", None, "b fell silent", 12.04),
    ),
)


def test_several_attempts_are_listed_one_a_line() -> None:
    error = status_error(429, "a takes no more", provider="a", model="gpt-4o")
    assert str(error) == "a takes no more"
    error.receipt = Receipt("gpt-4o", attempts=RECEIPT.attempts[:1])
    assert str(error) == "a takes no more"
    error.receipt = RECEIPT
    assert str(error) == (
        "a takes no more\nTried:\n"
        "  a gpt-4o: RateLimitError, 0.1 s\n"
        "  b gpt-4o: APITimeoutError (b fell silent), 12.0 s"
    )
    assert error.message == "a takes no more"


def some_errors() -> list[G4FError]:
    final = APIConnectionError("tls", provider="a", model="m", receipt=RECEIPT)
    final.final = True
    partial = TruncatedStreamError("cut", provider="a", receipt=RECEIPT)
    partial.partial = "Hel"
    statuses = [
        status_error(status, "no", provider="a", model="m", code="c", retry_after=1.5)
        for status in (302, 400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500)
    ]
    return [ConfigError("g4f.yaml, line 3: no."), final, partial, *statuses]


@pytest.mark.parametrize("error", some_errors(), ids=lambda error: type(error).__name__)
def test_errors_survive_pickling_and_copying(error: G4FError) -> None:
    copies = [copy.copy(error), copy.deepcopy(error)]
    copies += [pickle.loads(pickle.dumps(error, n)) for n in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    for other in copies:
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert vars(other) == vars(error)
        if isinstance(error, APIError):
            assert isinstance(other, APIError)
            assert other.partial == error.partial
