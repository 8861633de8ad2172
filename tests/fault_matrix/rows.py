"""The fault matrix: what providers and networks do, and what a caller gets of it.

The policies are S (the same provider again, where there is no other), N (the next provider), R
(raised) and K (raised with the partial text); A is an answer.
"""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

from llm_g4f.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ContextLengthError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    StreamError,
    TruncatedStreamError,
    UnprocessableEntityError,
)
from tests.fault_matrix.faults import (
    EITHER,
    REFUSING,
    Policy,
    Row,
    encrypted,
    overrun,
    plain_to_tls,
    proxied,
    refused,
    tls_to_plain,
    unresolvable,
)
from tests.support.server import (
    CLOSE,
    END,
    HALF,
    HANG,
    RESET,
    SSE_HEAD,
    USAGE,
    Endless,
    Script,
    chunk,
    completion,
    drip,
    event,
    events,
    framed,
    http,
    split,
    stream,
    whole,
)

A, S, N, R, K = Policy

Header = tuple[str, str]

HELLO: list[Any] = [chunk("Hel"), chunk("lo"), chunk(finish="stop"), chunk(usage=USAGE), "[DONE]"]
GOOD = b"".join(map(event, HELLO))
WHOLE = json.dumps(completion("Hello")).encode()
EVENT = framed(event(chunk("Hel")))
OPEN = framed(event(chunk("", role="assistant")))
PING = framed(b": ping\n\n")
SHORT = "timeout: 1.2"
"""A provider's patience: long for a server on loopback, short for a test."""


def no(status: int, message: str = "No.", headers: list[Header] | None = None, **error: Any) -> Script:  # fmt: skip
    return http(status, {"error": {"message": message, **error}}, headers or [])


def begun(*rest: Any) -> Script:
    """A stream that has said "Hel" before `rest`."""
    return [SSE_HEAD, EVENT, *rest]


def opened(*rest: Any) -> Script:
    """A stream that has begun before `rest`, and said nothing."""
    return [SSE_HEAD, OPEN, *rest]


def sent(body: bytes) -> Script:
    """A good chunked stream of these bytes."""
    return [SSE_HEAD, framed(body), END]


def answered(*fields: str, body: bytes = b"") -> Script:
    """A response with exactly these lines in its head."""
    return [("\r\n".join(["HTTP/1.1 200 OK", *fields]) + "\r\n\r\n").encode(), body]


def length(body: bytes) -> str:
    return f"Content-Length: {len(body)}"


def delta(**fields: Any) -> Script:
    """A good stream with one chunk that has these fields in its delta."""
    return events(chunk(**fields), *HELLO[2:])


def calls(*pieces: dict[str, Any], finish: str | None = "tool_calls") -> Script:
    """A stream of tool calls, each piece a chunk of its own."""
    said = [chunk(tool_calls=[piece]) for piece in pieces]
    return events(*said, *([chunk(finish=finish)] if finish else []), "[DONE]")


def call(arguments: Any = None, name: str | None = None, **fields: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {**fields, "function": {key: value for key, value in function.items() if value is not None}}  # fmt: skip


def bomb(mebibytes: int) -> bytes:
    """A completion that gzip has made small."""
    return gzip.compress(b'{"choices": "' + b"x" * (mebibytes << 20) + b'"}', 1)


def endless_gzip() -> tuple[bytes, bytes]:
    """The beginning of a gzip body, and a piece that unpacks to a mebibyte wherever it comes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    first = packer.compress(b'{"choices": "') + packer.flush(zlib.Z_FULL_FLUSH)
    return first, packer.compress(b"x" * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)


CONNECTION = [
    Row("a name that does not resolve", S, APIConnectionError, at=unresolvable, requests=0),
    Row("a port where nobody listens", S, APIConnectionError, at=refused, requests=0),
    Row("a queue of connections that is full", S, APITimeoutError, at=overrun, requests=0),
    Row("TLS by an unknown authority", R, APIConnectionError, stream("x"), at=encrypted(trusted=False), requests=0),
    Row("TLS for another host", R, APIConnectionError, stream("x"), at=encrypted("example.org"), requests=0),
    Row("TLS that has expired", R, APIConnectionError, stream("x"), at=encrypted(begin=-9, end=-8), requests=0),
    Row("TLS that is not valid yet", R, APIConnectionError, stream("x"), at=encrypted(begin=8, end=9), requests=0),
    Row("TLS by an authority in ca_file", A, None, stream("Hel", "lo"), "Hello", at=encrypted(), kept=True),
    Row("https:// to a server without TLS", R, APIConnectionError, stream("x"), at=tls_to_plain, requests=0),
    Row("http:// to a server with TLS", S, APIConnectionError, stream("x"), at=plain_to_tls, requests=0),
    Row("a proxy that wants a password, http://", R, APIConnectionError, at=proxied("http://127.0.0.1:9/v1", REFUSING), requests=0),
    Row("a proxy that wants a password, https://", R, APIConnectionError, at=proxied("https://127.0.0.1:9/v1", REFUSING), requests=0),
    Row("a proxy that cannot reach the provider", R, APIConnectionError, at=proxied("https://127.0.0.1:9/v1", http(502)), requests=0),
    Row("a proxy that is not there, http://", R, APIConnectionError, at=proxied("http://127.0.0.1:9/v1", None), requests=0),
    Row("a proxy that is not there, https://", R, APIConnectionError, at=proxied("https://127.0.0.1:9/v1", None), requests=0),
    Row("reset at the request", S, APIConnectionError, [RESET]),
    Row("closed at the request", S, APIConnectionError, [CLOSE]),
    Row("half closed at the request", S, APIConnectionError, [HALF]),
    Row("silence at the request", S, APITimeoutError, [HANG], yaml=SHORT),
    Row("a kept connection, reset at the next request", A, None, ([RESET], stream("Hel", "lo")), "Hello", before=whole(), requests=2),
    Row("a kept connection, closed at the next request", A, None, ([CLOSE], stream("Hel", "lo")), "Hello", before=whole(), requests=2),
    Row("a kept connection, closed before the next request", A, None, stream("Hel", "lo"), "Hello", before=[*whole(), CLOSE]),
    Row("connection: close", A, None, http(200, WHOLE, [("Connection", "close")]), "Hello", kept=False),
]  # fmt: skip

REDIRECTS = [
    Row(f"{status} to {whose}", R, APIStatusError, http(status, "", [("Location", target)]), status=status)
    for status in (301, 302, 303, 307, 308)
    for whose, target in (("another server", "SINK/v1/chat/completions"), ("itself", "/v2/chat"))
]  # fmt: skip

RETRY_AFTER: dict[str, tuple[list[Header], Any, float | None, int]] = {
    "seconds": ([("Retry-After", "7")], None, 7.0, 7),
    "a fraction": ([("Retry-After", "6.5")], None, 6.5, 7),
    "milliseconds": ([("retry-after-ms", "7000")], None, 7.0, 7),
    "a date that is over": ([("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT")], None, 0.0, 0),
    "ten minutes": ([("Retry-After", "600")], None, 600.0, 600),
    "an hour": ([("Retry-After", "3600")], None, 3600.0, 3600),
    "Gemini's retryDelay": ([], [{"@type": "RetryInfo", "retryDelay": "7s"}], 7.0, 7),
    "a reset": ([("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "1m7s")], None, 67.0, 67),
    **{
        value: ([("Retry-After", value)], None, None, 5)
        for value in ("nan", "inf", "-7", "1e3", "99999999999", "soon")
    },
}  # fmt: skip

STATUS = [
    *REDIRECTS,
    Row("304", R, APIStatusError, [b"HTTP/1.1 304 Not Modified\r\n\r\n"], status=304),
    Row("400", R, BadRequestError, no(400), status=400, made={"cooldown": 0}),
    Row("400, an HTML page", R, BadRequestError, http(400, "<html>No.</html>", kind="text/html"), status=400),
    Row("400, a megabyte with escapes", R, BadRequestError, no(400, "\x1b]52;c;x\x07\x9b2J" * 2**16), status=400, kept=False),
    Row("400, too long for its window, a larger one behind", N, ContextLengthError, no(400, code="context_length_exceeded"), status=400, yaml="context: 8000", behind="context: 16000"),
    Row("400, too long for its window, a smaller one behind", R, ContextLengthError, no(400, code="context_length_exceeded"), status=400, yaml="context: 8000", behind="context: 4000"),
    Row("400, too long for its window, an unknown one behind", R, ContextLengthError, no(400, "This model's maximum context length is 8 tokens."), status=400, yaml="context: 8000"),
    Row("400, a parameter it does not take", A, None, (no(400, param="seed", code="unsupported_parameter"), stream("Hel", "lo")), "Hello", params={"seed": 1}, failed=(("BadRequestError", 400),), made={"omitted": ("seed",)}),
    Row("400, a parameter it does not take, again", R, BadRequestError, no(400, param="seed", code="unsupported_parameter"), params={"seed": 1}, failed=(("BadRequestError", 400),) * 2, kept=True),
    Row("400, a parameter that was not sent", R, BadRequestError, no(400, param="seed", code="unsupported_parameter"), status=400),
    Row("401", N, AuthenticationError, no(401), status=401, made={"cooldown": 0}),
    Row("402", N, APIStatusError, no(402), status=402, made={"cooldown": 3600}),
    Row("403", N, PermissionDeniedError, no(403), status=403, made={"cooldown": 0}),
    Row("403, moderation", R, PermissionDeniedError, no(403, "requires moderation; your input was flagged", metadata={"flagged_input": "hi"}), status=403),
    Row("404", N, NotFoundError, http(404, "404 page not found", kind="text/plain"), status=404, made={"cooldown": 0}),
    Row("404, the model is gone", N, NotFoundError, no(404, "The model `gpt-4o` has been deprecated", code="model_not_found"), status=404),
    Row("408", S, APITimeoutError, no(408), kept=True),
    Row("409", S, ConflictError, no(409), status=409),
    Row("410", N, APIStatusError, no(410), status=410),
    Row("413", R, BadRequestError, no(413), status=413),
    Row("418", N, APIStatusError, no(418), status=418),
    Row("422", R, UnprocessableEntityError, http(422, {"detail": [{"loc": ["body"], "msg": "field required"}]}), status=422),
    Row("429", N, RateLimitError, no(429), status=429, made={"cooldown": 5}),
    *(
        Row(f"429, come back after: {name}", N, RateLimitError, no(429, headers=headers, **({"details": details} if details else {})), status=429, made={"retry_after": delay, "cooldown": cooldown})
        for name, (headers, details, delay, cooldown) in RETRY_AFTER.items()
    ),
    Row("429, insufficient_quota", N, RateLimitError, no(429, code="insufficient_quota"), status=429, made={"cooldown": 3600}),
    Row("500", S, InternalServerError, no(500), status=500, made={"cooldown": 5}),
    Row("500, an empty body", S, InternalServerError, http(500), status=500),
    Row("500, a body without end", S, InternalServerError, [SSE_HEAD.replace(b"200", b"500"), Endless(framed(b"x" * 2**15))], status=500, kept=False),
    Row("502, an HTML page", S, InternalServerError, http(502, "<html>nginx</html>", kind="text/html"), status=502),
    Row("503, come back after 7 s", N, InternalServerError, no(503, headers=[("Retry-After", "7")]), status=503, made={"cooldown": 7}),
    Row("503, cut in its body", S, InternalServerError, [b"HTTP/1.1 503 X\r\nContent-Length: 99\r\n\r\n{", 0.02, CLOSE], status=503, kept=False),
    Row("529", S, InternalServerError, no(529), status=529),
    Row("an unknown status", N, APIStatusError, [b"HTTP/1.1 499 \r\nContent-Length: 0\r\n\r\n"], status=499),
]  # fmt: skip

HEAD = [
    Row("a page under 200", N, InvalidResponseError, http(200, "<html>Log in</html>", kind="text/html"), kept=EITHER),
    Row("a page under 200, called JSON", N, InvalidResponseError, http(200, "\n<!DOCTYPE html>"), kept=EITHER),
    Row("an error under 200", S, InternalServerError, http(200, {"error": {"message": "No."}}), status=500),
    Row("an error under 200 with a code", N, RateLimitError, http(200, {"error": {"message": "No.", "code": 429}}), status=429),
    Row("an error under 200 with code 400", R, BadRequestError, http(200, {"error": {"message": "No.", "code": 400}}), status=400),
    Row("an error as text under 200", S, InternalServerError, http(200, {"error": "No."}), status=500),
    Row("text under 200", N, InvalidResponseError, http(200, "upstream error", kind="text/plain"), kept=EITHER),
    Row("another JSON under 200", N, InvalidResponseError, http(200, {"hello": "world"}), kept=EITHER),
    Row("half a JSON under 200", N, InvalidResponseError, http(200, '{"choices": ['), kept=EITHER),
    Row("nothing under 200", N, InvalidResponseError, http(200), kept=EITHER),
    Row("blank lines under 200", N, InvalidResponseError, http(200, "\r\n \n"), kept=EITHER),
    Row("204", N, InvalidResponseError, [b"HTTP/1.1 204 No Content\r\n\r\n"], kept=EITHER),
    Row("a completion, streamed or not", A, None, whole(), "Hello", made={"usage": USAGE, "finish": "stop"}),
    Row("a stream, asked for or not", A, None, stream("Hel", "lo"), "Hello", made={"usage": USAGE, "finish": "stop"}),
    Row("a stream under application/json", A, None, http(200, GOOD), "Hello"),
    Row("a stream under text/plain", A, None, http(200, GOOD, kind="text/plain"), "Hello"),
    Row("a stream under no type", A, None, answered(length(GOOD), body=GOOD), "Hello"),
    Row("a completion under text/event-stream", A, None, http(200, WHOLE, kind="text/event-stream"), "Hello"),
    Row("a stream packed by gzip", A, None, http(200, gzip.compress(GOOD), [("Content-Encoding", "gzip")]), "Hello"),
    Row("a completion packed by gzip", A, None, http(200, gzip.compress(WHOLE), [("Content-Encoding", "gzip")]), "Hello"),
    Row("a completion packed by deflate", A, None, http(200, zlib.compress(WHOLE), [("Content-Encoding", "deflate")]), "Hello"),
    Row("a packing nobody asked for or knows", N, InvalidResponseError, http(200, b"\x8b\x02\x80\x7f\x03", [("Content-Encoding", "br")]), kept=EITHER),
    Row("gzip that is none", S, TruncatedStreamError, http(200, WHOLE, [("Content-Encoding", "gzip")]), kept=EITHER),
    Row("a gzip bomb", N, InvalidResponseError, http(200, bomb(40), [("Content-Encoding", "gzip")]), kept=EITHER),
    Row("a gzip bomb without end", N, InvalidResponseError, [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + endless_gzip()[0], Endless(endless_gzip()[1], 0.001)]),
    Row("blank lines without end", N, InvalidResponseError, [SSE_HEAD, Endless(framed(b"\n" * 2**19))]),
    Row("a status line that is none", S, APIConnectionError, [b"SSH-2.0-OpenSSH_9.2\r\nInvalid SSH identification string.\r\n", CLOSE]),
    Row("a head without a status line", S, APIConnectionError, [b"Content-Type: application/json\r\n\r\n{}", HANG]),
    Row("a head that never ends", S, APIConnectionError, [b"HTTP/1.1 200 OK\r\n", Endless(b"X-A: " + b"x" * 1000 + b"\r\n")]),
    Row("a header line that never ends", S, APIConnectionError, [b"HTTP/1.1 200 OK\r\nX-A: ", Endless(b"x" * 2**14)]),
    Row("a status line that never ends", S, APIConnectionError, [b"HTTP/1.1 200 ", Endless(b"x" * 2**14)]),
    Row("a header without a colon", S, APIConnectionError, [b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", HANG]),
    Row("100 and 103 first", A, None, [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", *stream("Hel", "lo")], "Hello"),
    Row("100 without end", S, APITimeoutError, [Endless(b"HTTP/1.1 100 Continue\r\n\r\n", 0.001)], yaml=SHORT),
    Row("a head byte by byte", A, None, [*(step for byte in split(SSE_HEAD, 1) for step in (byte, 0.001)), framed(GOOD), END], "Hello"),
    Row("the length twice", S, APIConnectionError, answered(length(WHOLE), length(WHOLE), body=WHOLE), stock=False),
    Row("two lengths", S, APIConnectionError, [*answered(length(WHOLE), "Content-Length: 3", body=WHOLE), HANG]),
    Row("a length and chunks", S, APIConnectionError, answered("Content-Length: 3", "Transfer-Encoding: chunked", body=framed(WHOLE) + END), stock=False),
    Row("a length that is too short", N, InvalidResponseError, answered("Content-Length: 20", body=WHOLE), stock=False),
    Row("a length that is too long", S, TruncatedStreamError, [*answered("Content-Length: 9999", body=WHOLE), 0.02, CLOSE]),
    Row("a length that is none", S, APIConnectionError, [*answered("Content-Length: -1", body=WHOLE), HANG]),
    Row("an answer with another one behind it", A, None, stream("Hel", "lo"), "Hello", before=[*whole("one"), *whole("nobody's")], stock=False),
    Row("no chunk size", S, TruncatedStreamError, [SSE_HEAD, b"zz\r\n", HANG]),
    Row("a chunk that is cut", S, TruncatedStreamError, [SSE_HEAD, b"ff\r\ndata", 0.02, CLOSE]),
    Row("a chunk size without end", S, TruncatedStreamError, [SSE_HEAD, Endless(b"0" * 2**14)]),
    Row("chunk extensions and trailers", A, None, [SSE_HEAD, b"%x;a=b\r\n" % len(GOOD) + GOOD + b"\r\n0\r\nX-Checksum: 1\r\n\r\n"], "Hello"),
    Row("HTTP/1.0 without a length", A, None, [b"HTTP/1.0 200 OK\r\n\r\n" + GOOD, CLOSE], "Hello", kept=False),
    Row("HTTP/1.0 with a whole completion", A, None, [b"HTTP/1.0 200 OK\r\n\r\n" + WHOLE, CLOSE], "Hello", kept=False),
    Row("HTTP/1.1 without a length", A, None, [b"HTTP/1.1 200 OK\r\n\r\n" + GOOD, CLOSE], "Hello", kept=False),
    Row("a whole completion, half closed", A, None, [b"HTTP/1.1 200 OK\r\n\r\n" + WHOLE, HALF], "Hello", kept=False),
]  # fmt: skip

FRAMING = [
    Row("lines end in CR", A, None, sent(GOOD.replace(b"\n", b"\r")), "Hello"),
    Row("lines end in CRLF", A, None, sent(GOOD.replace(b"\n", b"\r\n")), "Hello"),
    Row("lines end in all ways", A, None, sent(event(HELLO[0]).replace(b"\n", b"\r") + event(HELLO[1]).replace(b"\n", b"\r\n") + b"".join(map(event, HELLO[2:]))), "Hello"),
    Row("CRLF split in the middle", A, None, [SSE_HEAD, *(framed(piece) for piece in split(GOOD.replace(b"\n", b"\r\n"), 1)), END], "Hello"),
    Row("comments, ids, retries", A, None, sent(b": OPENROUTER PROCESSING\n\nid: 1\nretry: 5\n\nevent: message\n" + GOOD), "Hello"),
    Row("comments only", N, InvalidResponseError, sent(b": ping\n\n: ping\n\n"), kept=EITHER),
    Row("no space behind the colon", A, None, sent(GOOD.replace(b"data: ", b"data:")), "Hello"),
    Row("data of several lines", A, None, sent(b"data: {\"choices\":\ndata: [{\"delta\":{\"content\":\"Hello\"}}]}\n\n" + b"".join(map(event, HELLO[2:]))), "Hello"),
    Row("a BOM", A, None, sent(b"\xef\xbb\xbf" + GOOD), "Hello"),
    Row("a BOM before a whole completion", A, None, http(200, b"\xef\xbb\xbf" + WHOLE), "Hello"),
    Row("a BOM byte by byte", A, None, [SSE_HEAD, *map(framed, split(b"\xef\xbb\xbf" + GOOD[:9], 1)), framed(GOOD[9:]), END], "Hello"),
    Row("NUL in a text", A, None, events(chunk("a\0b"), *HELLO[2:]), "a\0b"),
    Row("NUL between events", A, None, sent(GOOD.replace(b"\n\n", b"\n\n\0\n\n", 1)), "Hello"),
    Row("UTF-8 split across reads", A, None, [SSE_HEAD, *map(framed, split(GOOD.replace(b'"lo"', '"l😀é"'.encode()), 1)), END], "Hell😀é"),
    Row("bytes that are no UTF-8", A, None, sent(GOOD.replace(b'"lo"', b'"l\xff\xc3"')), "Hell\ufffd\ufffd"),
    *(
        Row(f"U+{ord(char):04X} inside a text", A, None, sent(GOOD.replace(b'"lo"', f'"l{char}o"'.encode())), f"Hell{char}o")
        for char in "\u2028\u2029\x85"
    ),
    *(
        Row(f"U+{ord(char):04X} inside a text, escaped", A, None, events(chunk(f"a{char}b"), *HELLO[2:]), f"a{char}b")
        for char in "\v\f\x1c"
    ),
    Row("one line of 33 MiB before a word", N, InvalidResponseError, [SSE_HEAD, framed(b"data: "), *[framed(b"x" * 2**20)] * 33, HANG]),
    Row("one line of 33 MiB behind a word", K, StreamError, begun(framed(b"data: "), *[framed(b"x" * 2**20)] * 33, HANG), "Hel"),
    Row("a line without end", N, InvalidResponseError, [SSE_HEAD, framed(b"data: "), Endless(framed(b"x" * 2**19))]),
    Row("a completion without end", N, InvalidResponseError, [SSE_HEAD, framed(b'{"choices": "'), Endless(framed(b"x" * 2**19))]),
    Row("no blank line behind [DONE]", A, None, sent(GOOD.removesuffix(b"\n\n")), "Hello"),
    Row("no blank line behind the last chunk", A, None, sent(b"".join(map(event, HELLO[:3])).removesuffix(b"\n\n")), "Hello"),
    Row("no line end behind half an event", K, TruncatedStreamError, begun(framed(event(chunk("lo"))[:40]), END), "Hel", kept=EITHER),
    Row("half an event, then nothing", S, TruncatedStreamError, sent(event(chunk("lo"))[:40]), kept=EITHER),
    Row("[DONE], then more", A, None, events(*HELLO, chunk(" world"), {"error": {"message": "No."}}, "{"), "Hello"),
    Row("[DONE], then a stream without end", A, None, [SSE_HEAD, framed(GOOD), Endless(EVENT)], "Hello", kept=False, after_finish=60.0),
    Row("[DONE], then silence", A, None, [SSE_HEAD, framed(GOOD), HANG], "Hello", kept=False, after_finish=60.0),
    Row("[DONE], then a reset", A, None, [SSE_HEAD, framed(GOOD), 0.05, RESET], "Hello", kept=False),
]  # fmt: skip

ENDS = [
    Row("only [DONE]", N, InvalidResponseError, events("[DONE]"), kept=EITHER),
    Row("an answer without a word", N, InvalidResponseError, events(chunk("", role="assistant"), *HELLO[2:]), kept=EITHER),
    Row("a whole answer without a word", N, InvalidResponseError, whole(""), kept=EITHER),
    Row("a whole answer of null", N, InvalidResponseError, whole(None), kept=EITHER),
    Row("usage alone", N, InvalidResponseError, events(chunk(usage=USAGE), "[DONE]"), kept=EITHER),
    Row("no [DONE]", A, None, events(*HELLO[:4]), "Hello"),
    Row("no [DONE], left open", A, None, [SSE_HEAD, *(framed(event(one)) for one in HELLO[:3]), HANG], "Hello", kept=False, after_finish=0.3),
    Row("no [DONE], left open with comments", A, None, [SSE_HEAD, *(framed(event(one)) for one in HELLO[:3]), Endless(PING, 0.05)], "Hello", kept=False, after_finish=0.3),
    Row("no [DONE], cut", A, None, [SSE_HEAD, *(framed(event(one)) for one in HELLO[:3]), 0.05, RESET], "Hello", kept=False),
    Row("no finish_reason", A, None, events(*HELLO[:2], "[DONE]"), "Hello"),
    Row("neither, before a word", S, TruncatedStreamError, opened(END), kept=EITHER),
    Row("neither, behind a word", K, TruncatedStreamError, begun(END), "Hel", kept=EITHER),
    Row("closed before a word", S, TruncatedStreamError, opened(0.02, CLOSE)),
    Row("closed behind a word", K, TruncatedStreamError, begun(0.02, CLOSE), "Hel"),
    Row("half closed before a word", S, TruncatedStreamError, opened(HALF)),
    Row("half closed behind a word", K, TruncatedStreamError, begun(HALF), "Hel"),
    Row("reset before a word", S, TruncatedStreamError, opened(0.05, RESET)),
    Row("reset behind a word", K, TruncatedStreamError, begun(0.05, RESET), "Hel"),
    Row("a whole completion, cut", S, TruncatedStreamError, [*answered(length(WHOLE), body=WHOLE[:-20]), 0.02, CLOSE]),
    Row("an error before a word", S, InternalServerError, opened(framed(event({"error": {"message": "No."}})), END), status=500, kept=EITHER),
    Row("an error with code 429 before a word", N, RateLimitError, opened(framed(event({"error": {"message": "No.", "code": 429}})), END), status=429, kept=EITHER),
    Row("an error with code 400 before a word", R, BadRequestError, opened(framed(event({"error": {"message": "No.", "code": 400}})), END), status=400, kept=EITHER),
    Row("an error behind a word", K, StreamError, begun(framed(event({"error": {"message": "No."}})), END), "Hel", kept=EITHER),
    Row("an error with code 400 behind a word", K, StreamError, begun(framed(event({"error": {"message": "No.", "code": 400}})), END), "Hel", kept=EITHER),
    Row("an error beside choices before a word", S, InternalServerError, events(chunk("x") | {"error": {"message": "No."}}), status=500, kept=EITHER),
    Row("an error beside choices behind a word", K, StreamError, begun(framed(event(chunk("x") | {"error": {"message": "No."}})), END), "Hel", kept=EITHER),
    Row("event: error before a word", S, InternalServerError, sent(b'event: error\ndata: {"message": "No."}\n\n'), status=500, kept=EITHER),
    Row("event: error behind a word", K, StreamError, begun(framed(b"event: error\ndata: No.\n\n"), END), "Hel", kept=EITHER),
    Row("an error as the whole body of a stream", S, InternalServerError, sent(b'{"error": {"message": "No."}}'), status=500),
    Row("silence before a word", S, APITimeoutError, opened(HANG), yaml=SHORT),
    Row("silence behind a word", K, APITimeoutError, begun(HANG), "Hel", yaml=SHORT),
    Row("comments before a word", S, APITimeoutError, [SSE_HEAD, Endless(PING, 0.02)], yaml=SHORT),
    Row("comments behind a word", K, APITimeoutError, begun(Endless(PING, 0.02)), "Hel", yaml=SHORT),
    Row("a byte at a time before a word", S, APITimeoutError, [SSE_HEAD, *drip(event(chunk("Hel")), 0.02), HANG], yaml=SHORT),
    Row("a byte at a time behind a word", K, APITimeoutError, begun(*drip(event(chunk("lo")), 0.02), HANG), "Hel", yaml=SHORT),
    Row("a byte at a time, with the head", S, APITimeoutError, [*(step for byte in split(SSE_HEAD, 1) for step in (byte, 0.02)), HANG], yaml=SHORT),
    Row("slow, and never silent", A, None, [SSE_HEAD, *(step for one in HELLO for step in (framed(event(one)), 0.1)), END], "Hello", yaml=SHORT),
    Row("an endless answer, and a time limit", K, APITimeoutError, begun(HANG), "Hel", params={"timeout": 0.6}),
    Row("no answer, and a time limit", R, APITimeoutError, [HANG], params={"timeout": 0.6}),
]  # fmt: skip

CONTENT = [
    Row("repeated chunks", A, None, events(HELLO[0], *HELLO), "HelHello"),
    Row("empty choices, null deltas, null contents", A, None, events({"choices": []}, {"choices": None, "usage": {}}, {"choices": [{"delta": None}]}, chunk(content=None, role="assistant"), {"choices": [None, 7]}, *HELLO), "Hello"),
    Row("another choice than the one asked for", A, None, events({"choices": [{"index": 1, "delta": {"content": "x"}}]}, *HELLO), "Hello"),
    Row("only another choice", N, InvalidResponseError, events({"choices": [{"index": 1, "delta": {"content": "x"}}]}, "[DONE]"), kept=EITHER),
    Row("message in place of delta", A, None, events({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}, "[DONE]"), "Hello"),
    Row("content as a list with thoughts", A, None, delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "Hello"}]), "Hello", made={"reasoning": "Hm"}),
    Row("reasoning", A, None, events(chunk(reasoning="Hm"), *HELLO), "Hello", made={"reasoning": "Hm"}),
    Row("reasoning_content", A, None, events(chunk(reasoning_content="Hm"), *HELLO), "Hello", made={"reasoning": "Hm"}),
    Row("reasoning, then closed", K, TruncatedStreamError, [SSE_HEAD, framed(event(chunk(reasoning="Hm"))), 0.02, CLOSE]),
    Row("usage null on each chunk", A, None, events(*({**one, "usage": None} for one in HELLO[:3]), "[DONE]"), "Hello", made={"usage": None}),
    Row("usage on each chunk", A, None, events(*({**one, "usage": {**USAGE, "completion_tokens": n}} for n, one in enumerate(HELLO[:3])), "[DONE]"), "Hello", made={"usage": {**USAGE, "completion_tokens": 2}}),
    Row("no usage", A, None, events(*HELLO[:3], "[DONE]"), "Hello", made={"usage": None}),
    *(
        Row(f"finish_reason {said}", A, None, events(*HELLO[:2], chunk(finish=said), "[DONE]"), "Hello", made={"finish": finish})
        for said, finish in (("length", "length"), ("content_filter", "content_filter"), ("eos", "stop"), ("SAFETY", "content_filter"))
    ),
    Row("finish_reason length without a word", A, None, events(chunk(finish="length"), "[DONE]"), made={"finish": "length"}),
    Row("finish_reason error before a word", S, StreamError, events(chunk("", finish="error"), "[DONE]"), kept=EITHER),
    Row("finish_reason error behind a word", K, StreamError, begun(framed(event(chunk(finish="error"))), END), "Hel", kept=EITHER),
    Row("a refusal", A, None, events(chunk(refusal="I can"), chunk(refusal="not."), *HELLO[2:]), made={"refusal": "I cannot."}),
    Row("a bad chunk before a word", N, InvalidResponseError, events("{", *HELLO), kept=EITHER),
    Row("a bad chunk behind a word", K, StreamError, begun(framed(event("{")), END), "Hel", kept=EITHER),
    Row("another JSON behind a word", K, StreamError, begun(framed(event({"hello": "world"})), END), "Hel", kept=EITHER),
    Row("deep nesting before a word", N, InvalidResponseError, events("[" * 100_000, *HELLO), kept=EITHER),
    Row("deep nesting behind a word", K, StreamError, begun(framed(event('{"choices":' + "[" * 100_000)), END), "Hel", kept=EITHER),
    Row("deep nesting beside a word", A, None, events(json.dumps(HELLO[0])[:-1] + ', "x": ' + "[" * 150 + "]" * 150 + "}", *HELLO[1:]), "Hello"),
    Row("a number of 5000 digits", N, InvalidResponseError, events('{"created": ' + "7" * 5000 + ', "choices": [{"delta": {"content": "Hel"}}]}', *HELLO[1:]), kept=EITHER),
    Row("surrogate pairs, escaped", A, None, events(r'{"choices":[{"delta":{"content":"\ud83d\ude00"}}]}', *HELLO[2:]), "😀"),
    Row("a lone surrogate", A, None, events(r'{"choices":[{"delta":{"content":"a\ud83d"}}]}', *HELLO[2:]), "a\ufffd"),
    Row("a surrogate pair over two chunks", A, None, events(r'{"choices":[{"delta":{"content":"a\ud83d"}}]}', r'{"choices":[{"delta":{"content":"\ude00b"}}]}', *HELLO[2:]), "a\ufffd\ufffdb"),
]  # fmt: skip

F = ("call_a", "f", '{"a": 1}')

TOOLS = [
    Row("a tool call in pieces", A, None, calls(call("", "f", index=0, id="call_a"), call('{"a"', index=0), call(": 1}", index=0)), made={"tool_calls": [F], "finish": "tool_calls"}),
    Row("a tool call without an id", A, None, calls(call('{"a": 1}', "f", index=0)), made={"tool_calls": [("call_0", *F[1:])]}),
    Row("a tool call without an index", A, None, calls(call('{"a"', "f", id="call_a"), call(": 1}")), made={"tool_calls": [F]}),
    Row("a new id on a used index", A, None, calls(call('{"a": 1}', "f", index=0, id="call_a"), call("{}", "g", index=0, id="call_b")), made={"tool_calls": [F, ("call_b", "g", "{}")]}),
    Row("an id on every piece", A, None, calls(call('{"a"', "f", index=0, id="call_a"), call(": 1}", index=0, id="call_a")), made={"tool_calls": [F]}),
    Row("arguments as an object", A, None, calls(call({"a": 1}, "f", index=0, id="call_a")), made={"tool_calls": [F]}),
    Row("no arguments", A, None, calls(call(None, "f", index=0, id="call_a")), made={"tool_calls": [("call_a", "f", "{}")]}),
    Row("empty arguments", A, None, calls(call("", "f", index=0, id="call_a")), made={"tool_calls": [("call_a", "f", "{}")]}),
    Row("a whole tool call under finish_reason stop", A, None, calls(call('{"a": 1}', "f", index=0, id="call_a"), finish="stop"), made={"tool_calls": [F]}),
    Row("a tool call, then closed", K, TruncatedStreamError, [SSE_HEAD, framed(event(chunk(tool_calls=[call('{"a"', "f", index=0, id="call_a")]))), 0.02, CLOSE]),
    Row("a tool call, then the end of the stream", K, TruncatedStreamError, events(chunk(tool_calls=[call('{"a"', "f", index=0, id="call_a")])), kept=EITHER),
    Row("half a tool call, then [DONE]", K, TruncatedStreamError, calls(call('{"a"', "f", index=0, id="call_a"), finish=None), kept=EITHER),
    Row("a tool call without arguments, then [DONE]", K, TruncatedStreamError, calls(call("", "f", index=0, id="call_a"), finish=None), kept=EITHER),
    Row("half a tool call, then silence", K, APITimeoutError, [SSE_HEAD, framed(event(chunk(tool_calls=[call('{"a"', "f", index=0, id="call_a")]))), HANG], yaml=SHORT),
]  # fmt: skip

SURROGATES = [{"role": "user", "content": "\ud83d"}]

CLIENT = [
    Row("cancelled before the head", R, None, [HANG], leave="cancelled"),
    Row("cancelled behind the head", R, None, [SSE_HEAD, HANG], leave="cancelled"),
    Row("cancelled before a word", R, None, opened(HANG), leave="cancelled"),
    Row("cancelled behind a word", R, None, begun(HANG), "Hel", leave="cancelled"),
    Row("closed behind a word by the caller", R, None, begun(HANG), "Hel", leave="closed"),
    Row("closed by the caller in an endless stream", R, None, begun(Endless(EVENT)), "Hel", leave="closed"),
    Row("lone surrogates in the prompt", A, None, stream("Hel", "lo"), "Hello", params={"messages": SURROGATES}),
    Row("a prompt without a word", R, BadRequestError, stream("x"), params={"messages": " "}, requests=0, made={"attempts": []}),
    Row("a parameter that is no JSON", R, BadRequestError, stream("x"), params={"metadata": {"a": object()}}, requests=0),
    Row("a header that is none", R, BadRequestError, stream("x"), params={"headers": {"X-A": "a\r\nb"}}, requests=0, made={"attempts": []}),
]  # fmt: skip

SECTIONS = {
    "Connection": CONNECTION,
    "Status": STATUS,
    "Response head": HEAD,
    "SSE framing": FRAMING,
    "Ends of streams": ENDS,
    "Content": CONTENT,
    "Tool calls": TOOLS,
    "Client side": CLIENT,
}

ROWS = [row for rows in SECTIONS.values() for row in rows]
