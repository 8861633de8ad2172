"""A Content-Length that a response has more than once."""

from __future__ import annotations

import re

_INTERIM = re.compile(rb"HTTP/1\.[01] 1\d\d[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length:([^\r\n]*)", re.IGNORECASE)


class ConflictingLengths(ValueError):
    """Several lengths that differ."""


def one_length(data: bytes) -> bytes | None:
    r"""A response that repeats its Content-Length, in several fields or in a list, with one: RFC 9110,
    section 8.6, and what h11 does. b"" while its head is incomplete; None if it does not repeat it.
    Raises `ConflictingLengths`.

    >>> one_length(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nHi")
    b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nHi'
    """
    start = 0
    while (interim := _INTERIM.match(data, start)) is not None:
        start = interim.end()
    end = data.find(b"\r\n\r\n", start)
    head = data[start:] if end < 0 else data[start:end]
    lengths = b",".join(_LENGTH.findall(head)).split(b",")
    if len(lengths) < 2:
        return None
    if end < 0:
        return b""
    different = dict.fromkeys(length.strip() for length in lengths)
    if len(different) > 1:
        shown = b" and ".join(different).decode("latin-1")
        raise ConflictingLengths(f"different values of Content-Length ({shown[:80]})")
    length = b"\r\ncontent-length: " + lengths[0].strip()
    return data[:start] + _LENGTH.sub(b"", head) + length + data[end:]
