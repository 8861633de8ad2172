"""Text from outside, made safe to print."""

from __future__ import annotations

import re

# A line of its own could pass for one of ours.
_LINE_END = re.compile(r"[ \t\r\n]*[\t\r\n][ \t\r\n]*")

# C0, DEL and C1: a terminal may act on them. U+2028 and U+2029 end lines for some programs.
# Bidirectional controls reorder what a person reads. Lone surrogates cannot be written at all.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def clean(text: str, limit: int = 300) -> str:
    """`text` made safe to print: one line, at most `limit` characters, control characters escaped."""
    text = text.strip()[: limit + 1]
    if not text.isprintable():
        text = _CONTROL.sub(_escaped, _LINE_END.sub(" ", text))
    if len(text) > limit:
        text = text[: limit - 1].rstrip() + "…"
    return text


def without_name(text: str, name: str) -> str:
    """A message without the provider's name at its beginning, for where that stands already.

    >>> without_name("box (http://127.0.0.1:1) refuses connections.", "box")
    'http://127.0.0.1:1 refuses connections.'
    """
    found = re.match(rf"{re.escape(name)}(?: \(([^()\s]+)\))?(:? )", text)
    if found is None:
        return text
    origin, separator = found.groups()
    return f"{origin}{separator}{text[found.end() :]}" if origin else text[found.end() :]


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}"
