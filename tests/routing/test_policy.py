"""The reaction to each failure, as a table."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_g4f import errors
from llm_g4f.errors import APIConnectionError, APIError, APIStatusError, RateLimitError, Reason
from llm_g4f.routing import policy
from llm_g4f.routing.policy import RULES, State, Step, cooldown_of, next_step, rule_of

REASONS: tuple[Reason, ...] = get_args(Reason)


def error_of(reason: Reason) -> APIError:
    return APIError("no", reason=reason)


def test_every_reason_has_a_rule_and_every_rule_a_reason() -> None:
    assert set(RULES) == set(REASONS)
    assert len({rule.meaning for rule in RULES.values()}) == len(RULES)


def test_every_error_class_has_a_reason_with_a_rule() -> None:
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, APIError):
            assert kind("no").reason in RULES, name


@pytest.mark.parametrize(
    ("status", "reason"),
    [(302, "redirect"), (402, "out_of_credit"), (413, "too_large"), (418, "unexpected_status")],
)
def test_a_status_without_a_class_has_a_reason_of_its_own(status: int, reason: str) -> None:
    assert APIStatusError("no", status_code=status).reason == reason


def test_an_unknown_reason_of_another_package_is_judged_as_unknown() -> None:
    error = APIError("no")
    error.reason = "solar_flare"  # type: ignore[assignment]
    assert rule_of(error) is RULES["unknown"]


@pytest.mark.parametrize(
    ("reason", "state", "step"),
    [
        ("overloaded", State(), "retry"),
        ("overloaded", State(alone=False), "next"),
        ("overloaded", State(may_retry=False), "next"),
        ("stale_connection", State(alone=False, may_retry=False), "again"),
        ("stale_connection", State(may_repeat=False), "retry"),
        ("stale_connection", State(alone=False, may_repeat=False), "next"),
        ("rate_limited", State(), "next"),
        ("rate_limited", State(may_wait=True), "wait"),
        ("tls", State(alone=False), "stop"),
        ("filtered", State(alone=False), "stop"),
        ("redirect", State(alone=False), "stop"),
        ("context_too_long", State(), "larger_window"),
        ("too_large", State(), "larger_window"),
        ("parameter_unsupported", State(repairable=True, sent=True), "without_parameter"),
        ("parameter_unsupported", State(sent=True), "next"),
        ("parameter_unsupported", State(), "stop"),
        ("parameter_renamed", State(repairable=True, sent=True), "other_name"),
        ("parameter_renamed", State(sent=True), "next"),
        ("schema_unsupported", State(repairable=True, sent=True), "schema_in_prompt"),
        ("schema_unsupported", State(sent=True), "next"),
        ("model_gone", State(has_successor=True), "successor"),
        ("model_gone", State(), "next"),
        ("empty", State(), "next"),
        ("unknown", State(), "next"),
    ],
)
def test_the_step_for_a_reason(reason: Reason, state: State, step: Step) -> None:
    assert next_step(error_of(reason), state) == step


@pytest.mark.parametrize("reason", REASONS)
def test_after_the_first_content_or_the_deadline_every_failure_stops(reason: Reason) -> None:
    for state in (State(committed=True), State(late=True)):
        assert next_step(error_of(reason), state) == "stop"


@pytest.mark.parametrize("reason", REASONS)
def test_a_final_error_of_another_package_stops(reason: Reason) -> None:
    error = APIConnectionError("no", reason=reason)
    error.final = True
    assert next_step(error, State(alone=False)) == "stop"


def test_a_growing_cooldown_grows_up_to_its_bound() -> None:
    seconds = [cooldown_of(error_of("overloaded"), failures) for failures in (1, 2, 3, 100)]
    assert seconds == [5, 10, 15, 120]


def test_the_providers_own_time_goes_before_the_rule() -> None:
    assert cooldown_of(RateLimitError("no", retry_after=7), 3) == 7
    used_up = RateLimitError("no", reason="out_of_credit", retry_after=7)
    assert cooldown_of(used_up, 1) == 3_600
    used_up.retry_after = 86_400
    assert cooldown_of(used_up, 1) == 86_400


@given(st.integers(1, 4), st.none() | st.floats(0, 30), st.none() | st.floats(0, 20))
def test_a_pause_is_at_least_what_the_provider_asks_and_ends_in_time(
    tries: int, retry_after: float | None, left: float | None
) -> None:
    error = RateLimitError("no", retry_after=retry_after)
    pause = policy.pause_before_retry(error, tries, left)
    if (retry_after or 0) > policy.BACKOFF[1]:
        assert pause is None
    elif pause is None:
        assert left is not None
    else:
        assert (retry_after or 0) <= pause <= policy.BACKOFF[1]
        assert left is None or pause < left
