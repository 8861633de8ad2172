"""Reasoning that a model writes into its text, between <think> and </think> at the very start.

DeepSeek's models began with it, and servers that know nothing of it pass it on as content.
"""

from __future__ import annotations

_OPEN, _CLOSE = "<think>", "</think>"


class ThinkTags:
    """Parts the text of one answer, piece by piece, into (reasoning, content).

    A piece that may be half a tag is kept until the next one, or until `end`. `plain`: all that
    follows is content.
    """

    def __init__(self) -> None:
        self.plain = False
        self._held = ""
        self._inside = False
        self._closed = False

    def feed(self, text: str) -> tuple[str, str]:
        """The (reasoning, content) that is certain after the next piece."""
        text, self._held = self._held + text, ""
        if not self._inside and not self._closed:
            start = text.lstrip()
            if _OPEN.startswith(start[: len(_OPEN)]):
                if len(start) < len(_OPEN):
                    self._held = text
                    return "", ""
                self._inside = True
                text = start[len(_OPEN) :]
            else:
                self.plain = True
                return "", text
        reasoning = ""
        if self._inside:
            reasoning, tag, text = text.partition(_CLOSE)
            if not tag:
                kept = _half_tag(reasoning)
                self._held = reasoning[len(reasoning) - kept :]
                return reasoning[: len(reasoning) - kept], ""
            self._inside, self._closed = False, True
        # The blank lines between are neither's.
        text = text.lstrip()
        self.plain = bool(text)
        return reasoning, text

    def end(self) -> tuple[str, str]:
        """What is still held, now that nothing follows."""
        held, self._held = self._held, ""
        return (held, "") if self._inside else ("", held)


def _half_tag(text: str) -> int:
    """How many characters at the end of `text` may begin the closing tag."""
    for length in range(min(len(text), len(_CLOSE) - 1), 0, -1):
        if _CLOSE.startswith(text[-length:]):
            return length
    return 0
