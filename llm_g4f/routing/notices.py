"""The one line that says who answered, if that is not what was asked for."""

from __future__ import annotations

import logging

from ..errors import InvalidResponseError
from ..providers.catalogue import PROVIDERS
from ..providers.model_ids import is_same_model
from ..providers.successors import successor_of
from ..reason import SUMMARIES
from ..receipt import Attempt, Receipt, kind_of_answer
from ..types import ChatCompletion

_log = logging.getLogger("llm_g4f")


def notice_of(receipt: Receipt) -> str | None:
    """The line to show before the first word; None if the exact model answered as asked.

    >>> notice_of(Receipt("gpt-4o", "ollama", "qwen3:8b"))
    'gpt-4o answered by qwen3:8b (ollama): a substitute. "llm g4f route gpt-4o" shows why.'
    """
    parts = []
    if not receipt.exact:
        parts.append(kind_of_answer(exact=False, successor=receipt.successor))
        parts += filter(None, [successor_note(receipt)])
    failed = dict.fromkeys(
        f"{attempt.provider} failed ({attempt.words})"
        for attempt in receipt.attempts
        if attempt.outcome != "ok" and not _is_mended(attempt, receipt)
    )
    parts.extend(failed)
    if receipt.over_budget:
        parts.append(f"{', '.join(receipt.over_budget)} not asked, because of the budget")
    if receipt.omitted:
        parts.append(f"without {', '.join(receipt.omitted)}, which it does not take")
    if not parts:
        return None
    line = (
        f"{receipt.requested_model} answered by {receipt.model} ({receipt.provider}):"
        f" {'; '.join(parts)}."
    )
    if _is_smallest(receipt):
        return f'{line} A small model that gets facts wrong; "llm g4f setup" for better.'
    if not receipt.exact:
        line += f' "llm g4f route {receipt.requested_model}" shows why.'
    return line


def _is_smallest(receipt: Receipt) -> bool:
    """Whether the model answers that comes without being asked for."""
    if receipt.provider != "embedded":
        return False
    from ..local.table import DEFAULT

    return receipt.model == DEFAULT.id


def successor_note(receipt: Receipt) -> str:
    """What a person should know of the successor that answers; "" if there is nothing."""
    spec = PROVIDERS.get(receipt.provider or "")
    if spec is None or not receipt.successor:
        return ""
    found = successor_of(spec, receipt.requested_model)
    return found.note if is_same_model(receipt.model or "", found.id) else ""


def _is_mended(attempt: Attempt, receipt: Receipt) -> bool:
    """Whether the provider that answers rejected the request at first and took it after a change: what
    it took is as good, and what was left out is said. Or it took it over a new connection."""
    return attempt.provider == receipt.provider and (
        attempt.outcome in _REJECTIONS or attempt.summary == SUMMARIES["stale_connection"]
    )


_REJECTIONS = ("BadRequestError", "UnprocessableEntityError")
_ENDINGS = {
    "length": "The answer was cut at its token limit (max_tokens, or the model's own).",
    "content_filter": "The provider's content filter cut the answer.",
}


def ending_of(finish_reason: str | None) -> str | None:
    """The line about an answer that was cut; None if it was not."""
    return _ENDINGS.get(finish_reason or "")


def announce_warnings(receipt: Receipt) -> None:
    """Announce what a person should know of an answer that has ended."""
    for warning in receipt.warnings:
        announce(warning)


def check_has_words(completion: ChatCompletion) -> None:
    """Raise `InvalidResponseError` for an answer whose tokens were used up before its first word: what
    shows or stores only text has nothing to show."""
    choice = completion.choices[0] if completion.choices else None
    if choice is None or choice.finish_reason != "length":
        return
    message = choice.message
    if (message.content or "").strip() or message.tool_calls or message.refusal:
        return
    provider = completion.provider or "The provider"
    raise InvalidResponseError(
        f"{provider} used up the token limit before the first word (finish_reason: length): raise"
        " max_tokens.",
        provider=completion.provider,
        model=completion.model,
        receipt=completion.receipt,
        reason="empty",
    )


def announce(line: str, *, in_answer: bool = False) -> None:
    """Log a line for the person, at WARNING: without logging set up, it goes to stderr. `in_answer`:
    the last line of the answer is still open there."""
    _log.warning("%s", line, extra={"in_answer": in_answer})


def announce_once(receipt: Receipt, notice: str) -> None:
    """`announce` for a program: once in its life for a provider and model, and what it left out."""
    subject = (receipt.requested_model, receipt.provider, receipt.model, receipt.omitted)
    if subject not in _announced:
        _announced.add(subject)
        announce(notice)


_announced: set[tuple[object, ...]] = set()
