"""What a provider wrote about a failure, recognised as a `Reason`.

The only place that reads a provider's status, codes and words for a decision. A new kind of
failure is a row or a word in one of these tables.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from ..errors import Reason
from ..request import PARAMETERS

_LONGEST = 4_000
"""Characters of a provider's text that are looked at."""

_ANY = range(300, 600)
_INVALID = (400, 422)
"""The statuses of a request that is at fault: OpenAI's, and FastAPI's for a body that does not fit."""


class _Row(NamedTuple):
    """A failure has this reason if its status is one of `statuses`, and if it has one of `codes` or
    matches `words`. `parameters`: it must be about one of them. `mentions`: it must name this one
    too."""

    reason: Reason
    statuses: Collection[int]
    codes: frozenset[str] = frozenset()
    words: str = ""
    parameters: Collection[str] | None = None
    mentions: str = ""


def _words(*alternatives: str) -> str:
    """A pattern for any of these. None is compiled before a failure: all together take 8 ms."""
    return "|".join(alternatives)


def _found(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE) is not None


_PASSING_CODES = frozenset(
    {
        # OpenRouter's docs, "Limits": a 402 that passes, and the 403 of a budget with its end.
        "openrouter_in_flight_budget",
        "resets_at",
    }
)
_SIZE_LIMIT_CODES = frozenset(
    {
        # Groq's tokens per minute; GitHub Models' tokens per request.
        "rate_limit_exceeded",
        "tokens_limit_reached",
    }
)
_CREDIT_CODES = frozenset(
    {
        # OpenAI's guide to error codes; a 429 of this code does not pass by waiting.
        "insufficient_quota",
        # OpenRouter's docs, "Limits": spent, without a time at which it is renewed.
        *("openrouter_key_limit", "openrouter_guardrail_budget", "openrouter_workspace_budget"),
        # DashScope, with 400; Kimi and Zhipu, with 429.
        *("Arrearage", "exceeded_current_quota_error", "1113"),
    }
)
_CREDIT_WORDS = _words(
    # OpenRouter's 403 of a key whose own limit is spent.
    r"key limit exceeded",
    # xAI, in two forms; SiliconFlow.
    r"(any|all available|no) credits|balance is insufficient",
)
_CONTEXT_CODES = frozenset(
    {
        # OpenAI, Groq, Cerebras; llama.cpp; Perplexity; Copilot.
        *("context_length_exceeded", "exceed_context_size_error", "too_many_prompt_tokens"),
        # Zhipu.
        *("model_max_prompt_tokens_exceeded", "1261"),
    }
)
_CONTEXT_WORDS = _words(
    # OpenAI, Groq and Cerebras, and those who copy them.
    r"reduce the length of (the|your) (messages|prompt|input)",
    # OpenAI, vLLM, llama.cpp, LM Studio, Cloudflare, MiniMax, Ollama.
    r"context_length_exceeded|exceed_context_size|(maximum|available|exceeds the).{0,20} context",
    r"context (length|window|size)|exceeds? context limit",
    # Anthropic, Fireworks, Ollama; Bedrock; Z.ai.
    r"(prompt|input) is too long|prompt exceeds max length",
    # Gemini.
    r"input token count.{0,40} exceeds",
    # xAI; vLLM.
    r"maximum (prompt|model) length",
    # Perplexity; TGI and Together, in two forms.
    r"total length of all messages is too long",
    r".inputs. tokens \+ .max_new_tokens. must be|.inputs. must have less than",
    # DashScope, in two forms; SGLang.
    r"range of input length should be|input length.{0,30} exceeds? the maximum",
    # SambaNova; SiliconFlow.
    r"max(imum)? sequence length|max_seq_len",
    # Kimi, in two forms; Copilot; Cohere.
    r"exceeded model token limit|input token length too long",
    r"prompt token count.{0,40} exceeds|tokens in the prompt (cannot )?exceeds?",
)
_KEY_CODES = frozenset(
    {
        # Gemini's ErrorInfo; OpenAI and those who copy it.
        *("API_KEY_INVALID", "invalid_api_key"),
    }
)
_KEY_WORDS = _words(
    # Gemini, in two forms; xAI and OpenAI.
    r"api.?key (not valid|expired)|(incorrect|invalid) api.?key",
    # Gemini without a key, in two forms, and with one that was published.
    r"(missing|invalid).{0,20} authorization header|unregistered callers|key was reported as leaked",
    # Cloudflare, in two forms.
    r"invalid access token|^\W*(\w+ )?authentication error$",
)
_MODEL = r"[('\"`]?[\w./:@-]+[)'\"`]?"
_GONE_CODES = frozenset(
    {
        # Groq; OpenAI, LM Studio, Hugging Face; Mistral, by type and by number; GitHub Models;
        *("model_decommissioned", "model_not_found", "invalid_model", "1500", "unknown_model"),
        # Copilot and Hugging Face; Together; Azure; SiliconFlow; Zhipu.
        *("model_not_supported", "model_not_available", "DeploymentNotFound", "20012", "1211"),
    }
)
_GONE_WORDS = _words(
    # OpenRouter, in two forms; Groq, OpenAI and Anthropic.
    r"is not a valid model|no endpoints found for",
    r"\bmodel\b.{0,120}(has been|was) (decommissioned|deprecated|retired|shut down)",
    r"\bmodel\b.{0,120}(reached its end of life|no longer (available|supported))",
    # Mistral; LiteLLM; LM Studio; Perplexity.
    r"invalid model(:| name\b| identifier\b| ['\"`])",
    # GitHub Models; Cloudflare, in two forms; Gemini.
    r"(unknown|no such) model\b|model deprecated|unexpected model name",
    # DeepSeek, SiliconFlow, Hugging Face.
    rf"\bmodel:? ((with )?(the )?(id |name )?{_MODEL} )?(does not|doesn't|not) exist",
    # Hugging Face, and gateways; not "x is not supported for model y".
    rf"(?<!for )(?<!with )(?<!for the )(?<!with the )\bmodel {_MODEL} is not (supported|available)",
    # LM Studio, in three forms; xAI; Together.
    rf"\bmodel ({_MODEL} )?not found|no models? loaded|model is not loaded|unable to access model",
)
_ADDRESS_CODES = frozenset(
    {
        # Ours, for a 404 that is none of an API; Groq's.
        *("no_api", "unknown_url"),
    }
)
_ADDRESS_WORDS = _words(
    # Go; llama.cpp.
    r"404 page not found|\bfile not found",
    # OpenAI; Groq; LM Studio (under 200); Express.
    r"\binvalid url \(|unknown request url|unexpected endpoint or method|cannot (get|post) /",
)
_UNSUPPORTED_CODES = frozenset(
    {
        # OpenAI's codes for a parameter that a model does not take; pydantic's type (Mistral).
        *("unsupported_parameter", "unknown_parameter", "unsupported_value", "extra_forbidden"),
    }
)
_UNSUPPORTED_WORDS = _words(
    # OpenAI, Groq, Cerebras, xAI, DeepSeek, Ollama.
    r"unsupported|unavailable|(does not|doesn't|not) (currently |yet )?(support|accept)",
    r"not (allowed|permitted|available|implemented|enabled)",
    # OpenAI before its codes; serde and Go; Gemini; Python's servers.
    r"unrecognized|unknown (field|name|parameter|argument|property)|cannot find field",
    r"unexpected (keyword|field|parameter|argument)|extra (inputs|fields)",
    # vLLM without a tool parser; Groq's JSON mode beside tools.
    r"requires --|cannot be (combined|used) with",
)
_FORMAT_WORDS = _words(
    # FastAPI's servers and LM Studio: another type of response_format is expected.
    r"input should be|must be 'json_schema' or 'text'",
    # Azure's older versions of its API.
    r"enabled only for",
    # Gemini: a schema that its decoder cannot hold.
    r"too many states",
    _UNSUPPORTED_WORDS,
)
_ONE_CHOICE = _words(
    # llama.cpp; Groq.
    r"only one (completion )?choice|'n'.{0,12}must be (at most )?1",
)
_OUT_OF_RANGE = _words(
    # pydantic; OpenAI, in two forms; vLLM and others.
    r"(less|greater) than",
    r"(above|below) (the )?(maximum|minimum)|expected a value",
    r"must be (between|in |at (most|least)|[<>]|non-negative|positive)",
    r"out of range|in (the )?range",
)

_HTTPS_WORDS = _words(
    # nginx; Go; Apache.
    r"plain HTTP request was sent to HTTPS port|HTTP request to an HTTPS server",
    r"speaking plain HTTP to an SSL-enabled server port",
)

_ROWS = (
    _Row("tls", (400,), words=_HTTPS_WORDS),
    _Row("rate_limited", (402, 403), _PASSING_CODES),
    _Row("rate_limited", (413,), _SIZE_LIMIT_CODES, _words(r"tokens per minute|\bTPM\b")),
    _Row("out_of_credit", (403, 429), words=_CREDIT_WORDS),
    _Row("out_of_credit", _ANY, _CREDIT_CODES),
    _Row("context_too_long", (400, 413, 422), _CONTEXT_CODES, _CONTEXT_WORDS),
    _Row("invalid_key", (400, 403, 422), _KEY_CODES, _KEY_WORDS),
    # OpenRouter's 403 for an input that its moderation flagged.
    _Row("filtered", (403,), words=_words("moderation")),
    # Azure, for a prompt.
    _Row("filtered", (400,), frozenset({"content_filter"})),
    # Gemini, where it may not be used.
    _Row("no_access", (400,), words=_words("user location is not supported")),
    # A 404 without this word is about the address, not about the model.
    _Row("model_gone", (404, 410), _GONE_CODES, _words("model", "no endpoints found for")),
    _Row("model_gone", _INVALID, _GONE_CODES, _GONE_WORDS),
    _Row("wrong_address", (400, 404, 405), _ADDRESS_CODES, _ADDRESS_WORDS),
    # Groq: what the model made did not fit the schema, or the tools.
    _Row("schema_mismatch", _INVALID, frozenset({"json_validate_failed", "tool_use_failed"})),
    _Row("schema_unsupported", _INVALID, _UNSUPPORTED_CODES, _FORMAT_WORDS, {"response_format"}),
    _Row("parameter_unsupported", _INVALID, words=_ONE_CHOICE, parameters={"n"}),
    # A wrong value is the request's own fault, in whatever code it comes.
    _Row("invalid_request", _INVALID, words=_OUT_OF_RANGE),
    *(
        _Row("parameter_renamed", _INVALID, _UNSUPPORTED_CODES, _UNSUPPORTED_WORDS, {name}, other)
        for name, other in (
            ("max_tokens", "max_completion_tokens"),
            ("max_completion_tokens", "max_tokens"),
        )
    ),
    _Row("parameter_unsupported", _INVALID, _UNSUPPORTED_CODES),
    _Row("parameter_unsupported", _INVALID, words=_UNSUPPORTED_WORDS, parameters=PARAMETERS),
)
"""The first row that fits counts."""


def asks_for_https(text: str) -> bool:
    """Whether a page, which else says nothing of use, is that of a server that expected TLS."""
    return _found(_HTTPS_WORDS, text)


def reason_of(
    status: int,
    code: str | None,
    words: str,
    parameter: str | None = None,
    codes: Collection[str] = (),
) -> Reason | None:
    """The reason for HTTP `status` with the provider's `code`, further `codes` and `words`, about
    `parameter`; None: the status's own."""
    codes = {*codes, code or ""}
    said = " ".join((*sorted(codes), words[:_LONGEST]))
    return next((row.reason for row in _ROWS if _fits(row, status, codes, said, parameter)), None)


def _fits(row: _Row, status: int, codes: Collection[str], said: str, parameter: str | None) -> bool:
    if status not in row.statuses:
        return False
    if row.parameters is not None and parameter not in row.parameters:
        return False
    if row.mentions and not _found(rf"\b{row.mentions}\b", said):
        return False
    return not row.codes.isdisjoint(codes) or bool(row.words and _found(row.words, said))


_NAME = r"[`'\"“\[(]*(?:body\.)?(?P<name>[a-z_]{1,40})(?![a-z_])[`'\"”\])]*"
_KINDS = r"(?:parameter|argument|field|name|property)s?"
_NAMING = (
    # OpenAI, in two forms; serde and Go; Gemini. Each also without quotes.
    rf"{_KINDS}(?: supplied)?:? {_NAME}",
    # xAI, in two forms; Ollama.
    rf"(?:support|accept)(?:s|ed)?(?: the| {_KINDS}| on this model)*:? {_NAME}",
    # OpenAI, Groq, Cerebras, Gemini.
    rf"{_NAME}(?: {_KINDS})?:? (?:(?:is|are) )?(?:currently )?(?:not |un)(?:supported|allowed|permitted|available|enabled)",
    # Anthropic and NVIDIA; Fireworks.
    rf"{_NAME}:?\s+extra inputs",
    rf"extra inputs are not permitted, field: {_NAME}",
)

_PARAPHRASED = {
    # OpenAI, Groq and DeepSeek; Novita; Gemini, in three forms.
    "response_format": _words(
        r"response.?format|json.?schema|structured.?output|response_schema|json mode|specified schema"
    ),
    # Groq, Perplexity, vLLM, DeepSeek.
    "tools": _words(r"tool.(calls?|calling|choice|use)\b|function.?call"),
    "n": _ONE_CHOICE,
}
"""The parameters that providers refuse without their names."""


def parameter_of(given: str | None, words: str) -> str | None:
    """The parameter that an error is about: the one given for it, if chat completions has it, else
    the one in its words."""
    return given if given in PARAMETERS else parameter_in(words) or given


def parameter_in(words: str) -> str | None:
    """The parameter of chat completions that a provider's text complains of; None if it names none.

    >>> parameter_in("Model grok-4 does not support parameter presencePenalty.")
    'presence_penalty'
    """
    words = words[:_LONGEST]
    for pattern in _NAMING:
        for match in re.finditer(pattern, words, re.IGNORECASE):
            name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", match["name"]).lower()
            if name in PARAMETERS:
                return name
    return next((name for name, said in _PARAPHRASED.items() if _found(said, words)), None)
