"""The reactions to failures: one table, and one pure function on top of it.

Numbers and rules are policy; nothing here waits, asks or writes. Sources: retry behaviour of
OpenAI's client and botocore, RFC 9110 (Retry-After), and the failures seen at providers.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from ..errors import APIError, APIStatusError, Reason
from ..request import SAMPLING

TRIES_PER_PROVIDER = 2
TRIES_PER_CALL = 5

IDLE_TIMEOUT = 120.0
"""Seconds to the first chunk, and from each to the next. Comments and blank lines are no chunks."""

BACKOFF = (0.5, 8.0)
"""Seconds before the second try of a provider that is alone: the first bound doubles up to the last."""

LIMIT_PATIENCE = 600.0
"""Seconds for which a request of a batch waits out the rate limits of its provider."""

COOLDOWN_STEP = 5.0
"""Seconds of cooldown for each failure in a row, unless the provider names a time."""

LONGEST_COOLDOWN = 120.0
"""Seconds of cooldown at most, unless the provider names a later time."""

LOCAL_COOLDOWN = 15.0
"""Seconds of cooldown at most for a server on this machine, unless it names a later time: to ask it
costs next to nothing, and it is started within seconds."""

CREDIT_COOLDOWN = 3_600.0
"""Seconds of cooldown when a quota or the credit is used up."""

Step = Literal[
    "stop",
    "next",
    "retry",
    "again",
    "wait",
    "larger_window",
    "without_parameter",
    "other_name",
    "schema_in_prompt",
    "successor",
]
"""The reaction of the fallback to a failure before the first content.

stop: raise it. next: ask the next candidate. retry: the next candidate or, if none is left,
the same one again after a pause. again: the same one at once, but only once. wait: for another
permit, since the limit passes soon (batches only). larger_window: the next candidate with a larger
or an unknown context window. without_parameter, other_name, schema_in_prompt: the same one again
with the request changed (`routing.repairs`). successor: the model's successor at the same provider
takes its place behind the exact candidates.
"""

REPAIRS: frozenset[Step] = frozenset({"without_parameter", "other_name", "schema_in_prompt"})
"""The steps that change the request."""

NO_TRY: frozenset[Step] = REPAIRS | {"again"}
"""The steps after which a request counts against the tries of the call, and not against those of
the provider."""

OMITTABLE = frozenset(
    {
        *SAMPLING,
        *("seed", "reasoning_effort", "verbosity", "parallel_tool_calls", "prediction"),
        *("metadata", "user", "safety_identifier", "store", "service_tier", "stream_options"),
        *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"),
    }
)
"""The parameters without which an answer is still one to the request: sampling, effort and
metadata. Never tools, n, stop, a token limit or another form of answer."""


class Rule(Struct, frozen=True):
    """The reaction to one kind of failure. `cooldown`: "growing" with each failure in a row, an
    "hour", or "none"; a time that the provider names goes first."""

    meaning: str
    step: Step
    cooldown: Literal["none", "growing", "hour"] = "none"


RULES: Mapping[Reason, Rule] = {
    "connection": Rule("no connection, or no HTTP response", "retry", "growing"),
    "stale_connection": Rule("a kept connection ended without a byte of an answer", "again"),
    "timeout": Rule("no connection, first token or further token in time", "retry", "growing"),
    "tls": Rule("no trustworthy TLS connection", "stop", "growing"),
    "proxy": Rule("the proxy is invalid, unreachable or refuses", "stop", "growing"),
    "this_machine": Rule("a file, a limit or a setting of this machine", "stop"),
    "rate_limited": Rule(
        "too many requests (429), or another limit that passes", "next", "growing"
    ),
    "out_of_credit": Rule("credit or quota used up (402, insufficient_quota)", "next", "hour"),
    "overloaded": Rule("the provider failed (5xx)", "retry", "growing"),
    "conflict": Rule("a conflict (409)", "retry"),
    "invalid_key": Rule("the key is invalid (401, 400)", "next"),
    "no_access": Rule("the key does not cover the request (403)", "next"),
    "model_gone": Rule("the model is unknown or gone (404, 410, 400)", "successor"),
    "wrong_address": Rule("the address is unknown (404)", "next"),
    "redirect": Rule("a redirect (3xx): never followed", "stop"),
    "context_too_long": Rule("the prompt exceeds the context window", "larger_window"),
    "too_large": Rule("the request is too large (413)", "larger_window"),
    "parameter_unsupported": Rule("a parameter is unsupported (400, 422)", "without_parameter"),
    "parameter_renamed": Rule("max_tokens has its other name there (400, 422)", "other_name"),
    "schema_unsupported": Rule("response_format is unsupported (400, 422)", "schema_in_prompt"),
    "filtered": Rule("moderation rejects the input (403) or withholds the answer", "stop"),
    "invalid_request": Rule("the request is invalid (400, 422)", "stop"),
    "not_the_protocol": Rule("HTTP 200 without a completion (HTML, not JSON)", "next"),
    "empty": Rule("an empty answer", "next"),
    "wrong_model": Rule("another model answered, and exact is asked for", "next"),
    "schema_mismatch": Rule("the answer does not match the schema", "next"),
    "broken_stream": Rule("the answer broke off, or was never finished", "retry"),
    "unexpected_status": Rule("any other HTTP status", "next"),
    "unknown": Rule("any other failure of a provider", "next"),
}


class State(Struct, frozen=True):
    """The state of a fallback. `committed`: the caller has content. `late`: the deadline has passed.
    `may_wait`: the admission waits a limit out. `alone`: no other candidate is left. `may_retry`: the
    provider and the call have a try left. `may_repeat`: the call has one left, and the provider was
    not asked again at once before. `repairable`: the request can be changed to what the
    provider takes. `sent`: it has the parameter that the provider rejects. `has_successor`: a
    successor may take the model's place."""

    committed: bool = False
    late: bool = False
    may_wait: bool = False
    alone: bool = True
    may_retry: bool = True
    may_repeat: bool = True
    repairable: bool = False
    sent: bool = False
    has_successor: bool = False


def rule_of(error: APIError) -> Rule:
    """The rule for an error, also of a provider of another package."""
    return RULES.get(error.reason, RULES["unknown"])


def next_step(error: APIError, state: State) -> Step:
    """The reaction to `error`. After the first content, or after the deadline, always stop."""
    if state.committed or state.late or getattr(error, "final", False):
        return "stop"
    if state.may_wait:
        return "wait"
    step = rule_of(error).step
    if step == "again" and not state.may_repeat:
        step = "retry"
    if step == "retry":
        return "retry" if state.alone and state.may_retry else "next"
    if step in REPAIRS and not state.repairable:
        # What cannot be left out may be taken elsewhere; what was not sent is nothing to repair.
        return "next" if state.sent else "stop"
    if step == "successor":
        return step if state.has_successor else "next"
    return step


def cooldown_of(error: APIError, failures: int, longest: float = LONGEST_COOLDOWN) -> float:
    """Seconds for which a provider goes last after `failures` failures in a row; 0: not at all. One
    that grows ends at `longest`."""
    rule = rule_of(error)
    wait = error.retry_after if isinstance(error, APIStatusError) else None
    if rule.cooldown == "hour":
        return max(CREDIT_COOLDOWN, wait or 0.0)
    if wait is not None:
        return wait
    return min(longest, COOLDOWN_STEP * failures) if rule.cooldown == "growing" else 0.0


def pause_before_retry(error: APIError, tries: int, seconds_left: float | None) -> float | None:
    """Seconds before a provider that is alone is asked again after `tries` tries (full jitter).

    None: it asks for a longer pause than a person waits, or `seconds_left` are fewer.
    """
    wait = (error.retry_after if isinstance(error, APIStatusError) else None) or 0.0
    first, longest = BACKOFF
    if wait > longest:
        return None
    pause = max(wait, random.uniform(0, min(longest, first * 2 ** (tries - 1))))
    return None if seconds_left is not None and pause >= seconds_left else pause
