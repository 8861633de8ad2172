"""The complete list of differences between our answers in llm and those of llm's own gpt-4o.

An answer is what `scenarios.Session.take` notes.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.scenarios import JSON


@dataclass(frozen=True)
class Difference:
    """A reason for which ours differs; `apply` turns the record of llm's own into ours, in place.
    `streamed` and `whole`: in which way of answering there is the difference."""

    why: str
    apply: Callable[[JSON], None]
    streamed: bool = True
    whole: bool = True


def _object(answer: JSON) -> None:
    answer["json"]["object"] = "chat.completion"


def _flat(answer: JSON) -> None:
    (choice,) = answer["json"].pop("choices")
    message = choice["message"]
    message.pop("tool_calls", None)
    message.setdefault("content", None)
    answer["json"] |= message | {"finish_reason": choice["finish_reason"]}


def _no_content(answer: JSON) -> None:
    if answer["calls"] and answer["json"]["content"] == "":
        answer["json"]["content"] = None


def _no_empty_arguments(answer: JSON) -> None:
    answer["events"] = [event for event in answer["events"] if event["chunk"]]


def _turns(answer: JSON) -> list[JSON]:
    """The model's turns, wherever an answer tells of them."""
    saved = answer["saved"]
    messages = [*saved["prompt"]["messages"], *saved["messages"], *answer["restored"]]
    return [message for message in messages if message["role"] == "assistant"]


def _begin_with(answer: JSON, kind: str, text: str) -> None:
    """Tell of one part more, first."""
    event = dict.fromkeys(("tool_call_id", "tool_name"))
    event |= dict.fromkeys(("redacted", "server_executed"), False)
    event |= dict.fromkeys(("message_index", "part_index"), 0) | {"type": kind, "chunk": text}
    for other in answer["events"]:
        other["part_index"] += 1
    answer["events"].insert(0, event)
    for messages in (answer["saved"]["messages"], answer["restored"]):
        if not messages:
            messages.append({"role": "assistant", "parts": []})
    for turn in _turns(answer):
        turn["parts"].insert(0, {"type": kind, "text": text})


def _reasoning(answer: JSON) -> None:
    _begin_with(answer, "reasoning", "Hm.")
    answer["log"]["reasoning"] = "Hm."
    answer["json"].pop("reasoning_content", None)


def _refusal(answer: JSON) -> None:
    _begin_with(answer, "text", "I can't.")
    answer["text"] = answer["log"]["response"] = answer["json"]["refusal"] = "I can't."
    answer["json"]["content"] = ""


def _words_first(answer: JSON) -> None:
    for turn in _turns(answer):
        turn["parts"].sort(key=lambda part: part["type"] != "text")
    answer["events"].sort(key=lambda event: event["type"] != "text")
    if answer["calls"]:
        for event in answer["events"]:
            event["part_index"] = int(event["type"] != "text")


DIFFERENCES: dict[str, Difference] = {
    "object": Difference(
        "Ours keeps the accumulated chunks as what they are together: a completion.",
        _object,
        whole=False,
    ),
    "flat": Difference(
        "A whole answer is kept in the form a streamed one has: the first choice, without its box;"
        " its tool calls are in the messages.",
        _flat,
        streamed=False,
    ),
    "no content": Difference(
        "Beside tool calls the content is null, as OpenAI has it.", _no_content, whole=False
    ),
    "no empty arguments": Difference(
        "Empty arguments are no event, streamed or not.", _no_empty_arguments, streamed=False
    ),
    "words first": Difference(
        "Words stand before the calls that they announce, as in a streamed answer.",
        _words_first,
        streamed=False,
    ),
    "reasoning": Difference("Llm's own drops reasoning in words.", _reasoning),
    "refusal": Difference("Llm's own drops a refusal: the answer looks empty.", _refusal),
}

ALWAYS = ("object", "flat")
"""Differences in every answer."""

BESIDES = frozenset(["g4f", "refusal", "role", "service_tier", "system_fingerprint"])
"""Fields that only our response_json has."""

DETAILS_BESIDES: frozenset[str] = frozenset()
"""Details that only our usage has."""


def as_ours_tells(answers: list[JSON], differs: tuple[str, ...], *, streamed: bool) -> list[JSON]:
    """The record of llm's own, with the listed differences applied. Each must change something."""
    answers = copy.deepcopy(answers)
    for name in (*ALWAYS, *differs):
        difference = DIFFERENCES[name]
        if not (difference.streamed if streamed else difference.whole):
            continue
        before = copy.deepcopy(answers)
        for answer in answers:
            difference.apply(answer)
        assert answers != before, f"{name} is no difference any more: {difference.why}"
    return answers


_VOLATILE = frozenset(["id", "datetime_utc", "duration_ms", "conversation_id"])


def comparable(answer: JSON) -> JSON:
    """An answer without its JSON, what differs from run to run and what ours alone remembers."""
    told = {name: value for name, value in answer.items() if name not in ("json", "resolved")}
    told["saved"] = {name: value for name, value in told["saved"].items() if name not in _VOLATILE}
    told["log"] = comparable_log(told["log"])
    return dict(_without_notes(told))


def comparable_log(row: JSON) -> JSON:
    """A row of `llm logs --json` without its JSON and what differs from run to run."""
    left = _VOLATILE | {"response_json", "resolved_model"}
    row = {name: value for name, value in row.items() if name not in left}
    row["tool_calls"] = [made | {"id": None} for made in row["tool_calls"]]
    row["token_details"] = json.loads(row["token_details"] or "null")
    return row


def shared_json(ours: JSON, theirs: JSON) -> JSON:
    """Our response_json without what it has besides."""
    return {name: value for name, value in ours.items() if name in theirs or name not in BESIDES}


def _without_notes(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_notes(item) for item in value]
    if not isinstance(value, dict):
        return value
    noted = value.get("provider_metadata")
    assert noted is None or noted.keys() == {"g4f"}
    return {
        name: _without_notes(item)
        for name, item in value.items()
        if name not in DETAILS_BESIDES | {"provider_metadata"}
    }
