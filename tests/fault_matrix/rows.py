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
    ArgumentError,
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
    PROXY_REFUSAL,
    Fault,
    Policy,
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


TOOLBOX = [{"type": "function", "function": {"name": "f"}}]


def no(status: int, message: str = "No.", headers: list[Header] | None = None, **error: Any) -> Script:  # fmt: skip
    return http(status, {"error": {"message": message, **error}}, headers or [])


def begun(*rest: Any) -> Script:
    """A stream that has said "Hel" before `rest`, which does not come in the same piece."""
    return [SSE_HEAD, EVENT, 0.05, *rest]


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


STALE = (("APIConnectionError", None),)

CONNECTION = [
    Fault("an unresolvable host name", S, APIConnectionError, at=unresolvable, requests=0),
    Fault("connection refused", S, APIConnectionError, at=refused, requests=0),
    Fault("connect timeout", S, APITimeoutError, at=overrun, requests=0),
    Fault("TLS by an unknown authority", R, APIConnectionError, stream("x"), at=encrypted(trusted=False), requests=0),
    Fault("TLS for another host", R, APIConnectionError, stream("x"), at=encrypted("example.org"), requests=0),
    Fault("TLS that has expired", R, APIConnectionError, stream("x"), at=encrypted(begin=-9, end=-8), requests=0),
    Fault("TLS that is not valid yet", R, APIConnectionError, stream("x"), at=encrypted(begin=8, end=9), requests=0),
    Fault("TLS by an authority in ca_file", A, None, stream("Hel", "lo"), "Hello", at=encrypted(), kept=True),
    Fault("https:// to a server without TLS", R, APIConnectionError, stream("x"), at=tls_to_plain, requests=0),
    Fault("http:// to a server with TLS", S, APIConnectionError, stream("x"), at=plain_to_tls, requests=0),
    Fault("proxy authentication required, http://", R, APIConnectionError, at=proxied("http://127.0.0.1:9/v1", PROXY_REFUSAL), requests=0),
    Fault("proxy authentication required, https://", R, APIConnectionError, at=proxied("https://127.0.0.1:9/v1", PROXY_REFUSAL), requests=0),
    Fault("a proxy that cannot reach the provider", R, APIConnectionError, at=proxied("https://127.0.0.1:9/v1", http(502)), requests=0),
    Fault("an unreachable proxy, http://", R, APIConnectionError, at=proxied("http://127.0.0.1:9/v1", None), requests=0),
    Fault("an unreachable proxy, https://", R, APIConnectionError, at=proxied("https://127.0.0.1:9/v1", None), requests=0),
    Fault("reset at the request", S, APIConnectionError, [RESET]),
    Fault("closed at the request", S, APIConnectionError, [CLOSE]),
    Fault("half closed at the request", S, APIConnectionError, [HALF]),
    Fault("silence at the request", S, APITimeoutError, [HANG], yaml=SHORT),
    Fault("a kept connection, reset at the next request", A, None, ([RESET], stream("Hel", "lo")), "Hello", before=whole(), failed=STALE),
    Fault("a kept connection, closed at the next request", A, None, ([CLOSE], stream("Hel", "lo")), "Hello", before=whole(), failed=STALE),
    Fault("a kept connection, closed at the next request, without retries", N, APIConnectionError, [CLOSE], before=whole(), params={"max_retries": 0}),
    Fault("a kept connection, closed before the next request", A, None, stream("Hel", "lo"), "Hello", before=[*whole(), CLOSE]),
    Fault("connection: close", A, None, http(200, WHOLE, [("Connection", "close")]), "Hello", kept=False),
]  # fmt: skip

REDIRECTS = [
    Fault(f"{status} to {place}", R, APIStatusError, http(status, "", [("Location", target)]), status=status)
    for status in (301, 302, 303, 307, 308)
    for place, target in (("another server", "SINK/v1/chat/completions"), ("itself", "/v2/chat"))
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
    Fault("304", R, APIStatusError, [b"HTTP/1.1 304 Not Modified\r\n\r\n"], status=304),
    Fault("400", R, BadRequestError, no(400), status=400, made={"cooldown": 0}),
    Fault("400, an HTML page", R, BadRequestError, http(400, "<html>No.</html>", kind="text/html"), status=400),
    Fault("400, a megabyte with escapes", R, BadRequestError, no(400, "\x1b]52;c;x\x07\x9b2J" * 2**16), status=400, kept=False),
    Fault("400, context too long, then a larger window", N, ContextLengthError, no(400, code="context_length_exceeded"), status=400, yaml="context: 8000", behind="context: 16000"),
    Fault("400, context too long, then a smaller window", R, ContextLengthError, no(400, code="context_length_exceeded"), status=400, yaml="context: 8000", behind="context: 4000"),
    Fault("400, context too long, then an unknown window", N, ContextLengthError, no(400, "This model's maximum context length is 8 tokens."), status=400, yaml="context: 8000"),
    Fault("400, an unsupported parameter", A, None, (no(400, param="seed", code="unsupported_parameter"), stream("Hel", "lo")), "Hello", params={"seed": 1}, failed=(("BadRequestError", 400),), made={"omitted": ("seed",)}),
    Fault("400, an unsupported parameter, again", R, BadRequestError, no(400, param="seed", code="unsupported_parameter"), params={"seed": 1}, failed=(("BadRequestError", 400),) * 2, kept=True),
    Fault("400, several unsupported parameters", A, None, (no(400, "property 'seed' is unsupported"), no(400, "property 'user' is unsupported"), stream("Hel", "lo")), "Hello", params={"seed": 1, "user": "u"}, failed=(("BadRequestError", 400),) * 2, made={"omitted": ("seed", "user")}),
    Fault("400, unsupported tools", N, BadRequestError, no(400, "m does not support tools"), status=400, params={"tools": TOOLBOX}),
    Fault("400, a value out of range", R, BadRequestError, no(400, "temperature must be between 0 and 2", code="unsupported_value", param="temperature"), status=400, params={"temperature": 9}),
    Fault("400, max_tokens under its other name", A, None, (no(400, "Use 'max_completion_tokens' instead.", code="unsupported_parameter", param="max_tokens"), stream("Hel", "lo")), "Hello", params={"max_tokens": 5}, failed=(("BadRequestError", 400),), made={"omitted": ()}),
    Fault("400, stream_options", A, None, (no(400, "stream_options: Extra inputs are not permitted"), stream("Hel", "lo")), "Hello", params={"stream_options": {}}, failed=(("BadRequestError", 400),), made={"omitted": ("stream_options",)}),
    Fault("400, the model is gone", N, NotFoundError, no(400, "The model `m` has been decommissioned", code="model_decommissioned"), status=400, made={"cooldown": 0}),
    Fault("400, the key is invalid", N, AuthenticationError, no(400, "API key not valid. Please pass a valid API key."), status=400, made={"cooldown": 0}),
    Fault("400, the words of the provider behind", R, BadRequestError, no(400, "Provider returned error", metadata={"raw": '{"error": {"message": "the picture is too small"}}'}), status=400),
    Fault("400, a parameter that was not sent", R, BadRequestError, no(400, param="seed", code="unsupported_parameter"), status=400),
    Fault("401", N, AuthenticationError, no(401), status=401, made={"cooldown": 0}),
    Fault("402", N, APIStatusError, no(402), status=402, made={"cooldown": 3600}),
    Fault("402, a limit that passes", N, RateLimitError, no(402, headers=[("Retry-After", "7")], metadata={"limit_source": "openrouter_in_flight_budget"}), status=402, made={"retry_after": 7.0, "cooldown": 7}),
    Fault("403, the limit of the key", N, PermissionDeniedError, no(403, "Key limit exceeded (total limit)."), status=403, made={"cooldown": 3600}),
    Fault("403", N, PermissionDeniedError, no(403), status=403, made={"cooldown": 0}),
    Fault("403, moderation", R, PermissionDeniedError, no(403, "requires moderation; your input was flagged", metadata={"flagged_input": "hi"}), status=403),
    Fault("404", N, NotFoundError, http(404, "404 page not found", kind="text/plain"), status=404, made={"cooldown": 0}),
    Fault("404, the model is gone", N, NotFoundError, no(404, "The model `gpt-4o` has been deprecated", code="model_not_found"), status=404),
    Fault("408", S, APITimeoutError, no(408), kept=True),
    Fault("409", S, ConflictError, no(409), status=409),
    Fault("410", N, APIStatusError, no(410), status=410),
    Fault("413, then a larger window", N, BadRequestError, no(413), status=413, yaml="context: 8000", behind="context: 16000"),
    Fault("413, then a smaller window", R, BadRequestError, no(413), status=413, yaml="context: 8000", behind="context: 4000"),
    Fault("413, tokens per minute", N, RateLimitError, no(413, code="rate_limit_exceeded"), status=413, made={"cooldown": 5}),
    Fault("418", N, APIStatusError, no(418), status=418),
    Fault("422, an unsupported parameter", A, None, (http(422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}), stream("Hel", "lo")), "Hello", params={"seed": 1}, failed=(("UnprocessableEntityError", 422),), made={"omitted": ("seed",)}),
    Fault("422", R, UnprocessableEntityError, http(422, {"detail": [{"loc": ["body"], "msg": "field required"}]}), status=422),
    Fault("429", N, RateLimitError, no(429), status=429, made={"cooldown": 5}),
    *(
        Fault(f"429, retry after: {name}", N, RateLimitError, no(429, headers=headers, **({"details": details} if details else {})), status=429, made={"retry_after": delay, "cooldown": cooldown})
        for name, (headers, details, delay, cooldown) in RETRY_AFTER.items()
    ),
    Fault("429, insufficient_quota", N, RateLimitError, no(429, code="insufficient_quota"), status=429, made={"cooldown": 3600}),
    Fault("500", S, InternalServerError, no(500), status=500, made={"cooldown": 5}),
    Fault("500, an empty body", S, InternalServerError, http(500), status=500),
    Fault("500, a body without end", S, InternalServerError, [SSE_HEAD.replace(b"200", b"500"), Endless(framed(b"x" * 2**15))], status=500, kept=False),
    Fault("502, an HTML page", S, InternalServerError, http(502, "<html>nginx</html>", kind="text/html"), status=502),
    Fault("503, retry after 7 s", N, InternalServerError, no(503, headers=[("Retry-After", "7")]), status=503, made={"cooldown": 7}),
    Fault("503, cut in its body", S, InternalServerError, [b"HTTP/1.1 503 X\r\nContent-Length: 99\r\n\r\n{", 0.02, CLOSE], status=503, kept=False),
    Fault("529", S, InternalServerError, no(529), status=529),
    Fault("an unknown status", N, APIStatusError, [b"HTTP/1.1 499 \r\nContent-Length: 0\r\n\r\n"], status=499),
]  # fmt: skip

HEAD = [
    Fault("a page under 200", N, InvalidResponseError, http(200, "<html>Log in</html>", kind="text/html"), kept=EITHER),
    Fault("a page under 200, called JSON", N, InvalidResponseError, http(200, "\n<!DOCTYPE html>"), kept=EITHER),
    Fault("an error under 200", S, InternalServerError, http(200, {"error": {"message": "No."}}), status=500),
    Fault("an error under 200 with a code", N, RateLimitError, http(200, {"error": {"message": "No.", "code": 429}}), status=429),
    Fault("an error under 200 with code 400", R, BadRequestError, http(200, {"error": {"message": "No.", "code": 400}}), status=400),
    Fault("an error as text under 200", S, InternalServerError, http(200, {"error": "No."}), status=500),
    Fault("an error as a list under 200", S, InternalServerError, http(200, {"error": ["No."]}), status=500),
    Fault("an error beside its words under 200", S, InternalServerError, http(200, {"error": True, "message": "No."}), status=500),
    Fault("code and message under 200", S, InternalServerError, http(200, {"code": 40003, "message": "No."}), status=500),
    Fault("detail under 200", S, InternalServerError, http(200, {"detail": {"error": "No."}}), status=500),
    Fault("errors under 200", S, InternalServerError, http(200, {"success": False, "errors": [{"code": 7000, "message": "No."}]}), status=500),
    Fault("base_resp under 200", N, APIStatusError, http(200, {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "No."}}), status=402),
    Fault("text under 200", N, InvalidResponseError, http(200, "upstream error", kind="text/plain"), kept=EITHER),
    Fault("another JSON under 200", N, InvalidResponseError, http(200, {"hello": "world"}), kept=EITHER),
    Fault("half a JSON under 200", N, InvalidResponseError, http(200, '{"choices": ['), kept=EITHER),
    Fault("an empty body under 200", N, InvalidResponseError, http(200), kept=EITHER),
    Fault("blank lines under 200", N, InvalidResponseError, http(200, "\r\n \n"), kept=EITHER),
    Fault("204", N, InvalidResponseError, [b"HTTP/1.1 204 No Content\r\n\r\n"], kept=EITHER),
    Fault("a completion for any request", A, None, whole(), "Hello", made={"usage": USAGE, "finish": "stop"}),
    Fault("a stream for any request", A, None, stream("Hel", "lo"), "Hello", made={"usage": USAGE, "finish": "stop"}),
    *(
        Fault(f"a stream under {kind}", A, None, http(200, GOOD, kind=kind), "Hello")
        for kind in ("application/json", "text/plain", "text/html")
    ),
    Fault("a stream under no type", A, None, answered(length(GOOD), body=GOOD), "Hello"),
    *(
        Fault(f"a completion under {kind}", A, None, http(200, WHOLE, kind=kind), "Hello")
        for kind in ("text/event-stream", "text/plain", "text/html")
    ),
    Fault("a stream compressed with gzip", A, None, http(200, gzip.compress(GOOD), [("Content-Encoding", "gzip")]), "Hello"),
    Fault("a completion compressed with gzip", A, None, http(200, gzip.compress(WHOLE), [("Content-Encoding", "gzip")]), "Hello"),
    Fault("a completion compressed with deflate", A, None, http(200, zlib.compress(WHOLE), [("Content-Encoding", "deflate")]), "Hello"),
    Fault("an unknown content encoding", N, InvalidResponseError, http(200, b"\x8b\x02\x80\x7f\x03", [("Content-Encoding", "br")]), kept=EITHER),
    Fault("invalid gzip", S, TruncatedStreamError, http(200, WHOLE, [("Content-Encoding", "gzip")]), kept=EITHER),
    Fault("a gzip bomb", N, InvalidResponseError, http(200, bomb(40), [("Content-Encoding", "gzip")]), kept=EITHER),
    Fault("a gzip bomb without end", N, InvalidResponseError, [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + endless_gzip()[0], Endless(endless_gzip()[1], 0.001)]),
    Fault("blank lines without end", N, InvalidResponseError, [SSE_HEAD, Endless(framed(b"\n" * 2**19))]),
    Fault("an invalid status line", S, APIConnectionError, [b"SSH-2.0-OpenSSH_9.2\r\nInvalid SSH identification string.\r\n", CLOSE]),
    Fault("a head without a status line", S, APIConnectionError, [b"Content-Type: application/json\r\n\r\n{}", HANG]),
    Fault("a head that never ends", S, APIConnectionError, [b"HTTP/1.1 200 OK\r\n", Endless(b"X-A: " + b"x" * 1000 + b"\r\n")]),
    Fault("a header line that never ends", S, APIConnectionError, [b"HTTP/1.1 200 OK\r\nX-A: ", Endless(b"x" * 2**14)]),
    Fault("a status line that never ends", S, APIConnectionError, [b"HTTP/1.1 200 ", Endless(b"x" * 2**14)]),
    Fault("a header without a colon", S, APIConnectionError, [b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", HANG]),
    Fault("100 and 103 first", A, None, [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", *stream("Hel", "lo")], "Hello"),
    Fault("100 without end", S, APITimeoutError, [Endless(b"HTTP/1.1 100 Continue\r\n\r\n", 0.001)], yaml=SHORT),
    Fault("a head byte by byte", A, None, [*(step for byte in split(SSE_HEAD, 1) for step in (byte, 0.001)), framed(GOOD), END], "Hello"),
    Fault("the length twice", A, None, answered(length(WHOLE), length(WHOLE), body=WHOLE), "Hello"),
    Fault("the length as a list", A, None, answered(f"{length(WHOLE)}, {len(WHOLE)}", body=WHOLE), "Hello"),
    Fault("blanks behind the sizes of chunks", A, None, answered("Transfer-Encoding: chunked", body=framed(GOOD).replace(b"\r\n", b"  \r\n", 1) + b"0 \t\r\n\r\n"), "Hello"),
    Fault("two lengths", S, APIConnectionError, [*answered(length(WHOLE), "Content-Length: 3", body=WHOLE), HANG]),
    Fault("a length and chunks", S, APIConnectionError, answered("Content-Length: 3", "Transfer-Encoding: chunked", body=framed(WHOLE) + END), httpx=False),
    Fault("a length that is too short", N, InvalidResponseError, answered("Content-Length: 20", body=WHOLE), httpx=False),
    Fault("a length that is too long", S, TruncatedStreamError, [*answered("Content-Length: 9999", body=WHOLE), 0.02, CLOSE]),
    Fault("an invalid length", S, APIConnectionError, [*answered("Content-Length: -1", body=WHOLE), HANG]),
    Fault("an answer followed by another one", A, None, stream("Hel", "lo"), "Hello", before=[*whole("one"), *whole("nobody's")], httpx=False),
    Fault("no chunk size", S, TruncatedStreamError, [SSE_HEAD, b"zz\r\n", HANG]),
    Fault("a chunk that is cut", S, TruncatedStreamError, [SSE_HEAD, b"ff\r\ndata", 0.02, CLOSE]),
    Fault("a chunk size without end", S, TruncatedStreamError, [SSE_HEAD, Endless(b"0" * 2**14)]),
    Fault("chunk extensions and trailers", A, None, [SSE_HEAD, b"%x;a=b\r\n" % len(GOOD) + GOOD + b"\r\n0\r\nX-Checksum: 1\r\n\r\n"], "Hello"),
    Fault("HTTP/1.0 without a length", A, None, [b"HTTP/1.0 200 OK\r\n\r\n" + GOOD, CLOSE], "Hello", kept=False),
    Fault("HTTP/1.0 with a whole completion", A, None, [b"HTTP/1.0 200 OK\r\n\r\n" + WHOLE, CLOSE], "Hello", kept=False),
    Fault("HTTP/1.1 without a length", A, None, [b"HTTP/1.1 200 OK\r\n\r\n" + GOOD, CLOSE], "Hello", kept=False),
    Fault("a whole completion, half closed", A, None, [b"HTTP/1.1 200 OK\r\n\r\n" + WHOLE, HALF], "Hello", kept=False),
]  # fmt: skip

FRAMING = [
    Fault("lines end in CR", A, None, sent(GOOD.replace(b"\n", b"\r")), "Hello"),
    Fault("lines end in CRLF", A, None, sent(GOOD.replace(b"\n", b"\r\n")), "Hello"),
    Fault("lines end in all ways", A, None, sent(event(HELLO[0]).replace(b"\n", b"\r") + event(HELLO[1]).replace(b"\n", b"\r\n") + b"".join(map(event, HELLO[2:]))), "Hello"),
    Fault("CRLF split in the middle", A, None, [SSE_HEAD, *(framed(piece) for piece in split(GOOD.replace(b"\n", b"\r\n"), 1)), END], "Hello"),
    Fault("comments, ids, retries", A, None, sent(b": OPENROUTER PROCESSING\n\nid: 1\nretry: 5\n\nevent: message\n" + GOOD), "Hello"),
    Fault("comments only", N, InvalidResponseError, sent(b": ping\n\n: ping\n\n"), kept=EITHER),
    Fault("no space after the colon", A, None, sent(GOOD.replace(b"data: ", b"data:")), "Hello"),
    Fault("data of several lines", A, None, sent(b"data: {\"choices\":\ndata: [{\"delta\":{\"content\":\"Hello\"}}]}\n\n" + b"".join(map(event, HELLO[2:]))), "Hello"),
    Fault("a BOM", A, None, sent(b"\xef\xbb\xbf" + GOOD), "Hello"),
    Fault("a BOM before a whole completion", A, None, http(200, b"\xef\xbb\xbf" + WHOLE), "Hello"),
    Fault("blank lines before a stream", A, None, sent(b"\n\r\n\n" + GOOD), "Hello"),
    Fault("blank lines before a completion", A, None, http(200, b"\n \r\n" + WHOLE), "Hello"),
    Fault("a BOM byte by byte", A, None, [SSE_HEAD, *map(framed, split(b"\xef\xbb\xbf" + GOOD[:9], 1)), framed(GOOD[9:]), END], "Hello"),
    Fault("NUL in a text", A, None, events(chunk("a\0b"), *HELLO[2:]), "a\0b"),
    Fault("NUL between events", A, None, sent(GOOD.replace(b"\n\n", b"\n\n\0\n\n", 1)), "Hello"),
    Fault("UTF-8 split across reads", A, None, [SSE_HEAD, *map(framed, split(GOOD.replace(b'"lo"', '"l😀é"'.encode()), 1)), END], "Hell😀é"),
    Fault("invalid UTF-8", A, None, sent(GOOD.replace(b'"lo"', b'"l\xff\xc3"')), "Hell\ufffd\ufffd"),
    *(
        Fault(f"U+{ord(char):04X} inside a text", A, None, sent(GOOD.replace(b'"lo"', f'"l{char}o"'.encode())), f"Hell{char}o")
        for char in "\u2028\u2029\x85"
    ),
    *(
        Fault(f"U+{ord(char):04X} inside a text, escaped", A, None, events(chunk(f"a{char}b"), *HELLO[2:]), f"a{char}b")
        for char in "\v\f\x1c"
    ),
    Fault("one line of 33 MiB before text", N, InvalidResponseError, [SSE_HEAD, framed(b"data: "), *[framed(b"x" * 2**20)] * 33, HANG]),
    Fault("one line of 33 MiB after text", K, StreamError, begun(framed(b"data: "), *[framed(b"x" * 2**20)] * 33, HANG), "Hel"),
    Fault("a line without end", N, InvalidResponseError, [SSE_HEAD, framed(b"data: "), Endless(framed(b"x" * 2**19))]),
    Fault("a completion without end", N, InvalidResponseError, [SSE_HEAD, framed(b'{"choices": "'), Endless(framed(b"x" * 2**19))]),
    Fault("no blank line after [DONE]", A, None, sent(GOOD.removesuffix(b"\n\n")), "Hello"),
    Fault("no blank line after the last chunk", A, None, sent(b"".join(map(event, HELLO[:3])).removesuffix(b"\n\n")), "Hello"),
    Fault("no line end after half an event", K, TruncatedStreamError, begun(framed(event(chunk("lo"))[:40]), END), "Hel", kept=EITHER),
    Fault("half an event, then nothing", S, TruncatedStreamError, sent(event(chunk("lo"))[:40]), kept=EITHER),
    Fault("[DONE], then more", A, None, events(*HELLO, chunk(" world"), {"error": {"message": "No."}}, "{"), "Hello"),
    Fault("[DONE], then a stream without end", A, None, [SSE_HEAD, framed(GOOD), Endless(EVENT)], "Hello", kept=False, after_finish=60.0),
    Fault("[DONE], then silence", A, None, [SSE_HEAD, framed(GOOD), HANG], "Hello", kept=False, after_finish=60.0),
    Fault("[DONE], then a reset", A, None, [SSE_HEAD, framed(GOOD), 0.05, RESET], "Hello", kept=False),
]  # fmt: skip

ENDS = [
    Fault("only [DONE]", N, InvalidResponseError, events("[DONE]"), kept=EITHER),
    Fault("an answer without text", N, InvalidResponseError, events(chunk("", role="assistant"), *HELLO[2:]), kept=EITHER),
    Fault("a whole answer without text", N, InvalidResponseError, whole(""), kept=EITHER),
    Fault("a whole answer of null", N, InvalidResponseError, whole(None), kept=EITHER),
    Fault("usage alone", N, InvalidResponseError, events(chunk(usage=USAGE), "[DONE]"), kept=EITHER),
    Fault("no [DONE]", A, None, events(*HELLO[:4]), "Hello"),
    Fault("no [DONE], left open", A, None, [SSE_HEAD, *(framed(event(one)) for one in HELLO[:3]), HANG], "Hello", kept=False, after_finish=0.3),
    Fault("no [DONE], left open after the usage", A, None, [SSE_HEAD, *(framed(event(one)) for one in HELLO[:4]), HANG], "Hello", kept=False, made={"usage": USAGE}, after_finish=0.3),
    Fault("no [DONE], left open with comments", A, None, [SSE_HEAD, *(framed(event(one)) for one in HELLO[:3]), Endless(PING, 0.05)], "Hello", kept=False, after_finish=0.3),
    Fault("no [DONE], cut", A, None, [SSE_HEAD, *(framed(event(one)) for one in HELLO[:3]), 0.05, RESET], "Hello", kept=False),
    Fault("no finish_reason", A, None, events(*HELLO[:2], "[DONE]"), "Hello"),
    Fault("no [DONE] and no finish_reason, before text", S, TruncatedStreamError, opened(END), kept=EITHER),
    Fault("no [DONE] and no finish_reason, after text", K, TruncatedStreamError, begun(END), "Hel", kept=EITHER),
    Fault("closed before text", S, TruncatedStreamError, opened(0.02, CLOSE)),
    Fault("closed after text", K, TruncatedStreamError, begun(0.02, CLOSE), "Hel"),
    Fault("half closed before text", S, TruncatedStreamError, opened(HALF)),
    Fault("half closed after text", K, TruncatedStreamError, begun(HALF), "Hel"),
    Fault("reset before text", S, TruncatedStreamError, opened(0.05, RESET)),
    Fault("reset after text", K, TruncatedStreamError, begun(0.05, RESET), "Hel"),
    Fault("a whole completion, cut", S, TruncatedStreamError, [*answered(length(WHOLE), body=WHOLE[:-20]), 0.02, CLOSE]),
    Fault("an error before text", S, InternalServerError, opened(framed(event({"error": {"message": "No."}})), END), status=500, kept=EITHER),
    Fault("an error with code 429 before text", N, RateLimitError, opened(framed(event({"error": {"message": "No.", "code": 429}})), END), status=429, kept=EITHER),
    Fault("an error with code 400 before text", R, BadRequestError, opened(framed(event({"error": {"message": "No.", "code": 400}})), END), status=400, kept=EITHER),
    Fault("an error after text", K, StreamError, begun(framed(event({"error": {"message": "No."}})), END), "Hel", kept=EITHER),
    Fault("an error with code 429 after text", K, StreamError, begun(framed(event({"error": {"message": "No.", "code": 429}})), END), "Hel", kept=EITHER),
    Fault("an error with code 400 after text", K, StreamError, begun(framed(event({"error": {"message": "No.", "code": 400}})), END), "Hel", kept=EITHER),
    Fault("an error beside choices before text", S, InternalServerError, events(chunk("x") | {"error": {"message": "No."}}), status=500, kept=EITHER),
    Fault("an error beside choices after text", K, StreamError, begun(framed(event(chunk("x") | {"error": {"message": "No."}})), END), "Hel", kept=EITHER),
    Fault("event: error before text", S, InternalServerError, sent(b'event: error\ndata: {"message": "No."}\n\n'), status=500, kept=EITHER),
    Fault("event: error after text", K, StreamError, begun(framed(b"event: error\ndata: No.\n\n"), END), "Hel", kept=EITHER),
    Fault("an error as the whole body of a stream", S, InternalServerError, sent(b'{"error": {"message": "No."}}'), status=500),
    Fault("silence before text", S, APITimeoutError, opened(HANG), yaml=SHORT),
    Fault("silence after text", K, APITimeoutError, begun(HANG), "Hel", yaml=SHORT),
    Fault("comments before text", S, APITimeoutError, [SSE_HEAD, Endless(PING, 0.02)], yaml=SHORT),
    Fault("comments after text", K, APITimeoutError, begun(Endless(PING, 0.02)), "Hel", yaml=SHORT),
    Fault("a byte at a time before text", S, APITimeoutError, [SSE_HEAD, *drip(event(chunk("Hel")), 0.02), HANG], yaml=SHORT),
    Fault("a byte at a time after text", K, APITimeoutError, begun(*drip(event(chunk("lo")), 0.02), HANG), "Hel", yaml=SHORT),
    Fault("a byte at a time, with the head", S, APITimeoutError, [*(step for byte in split(SSE_HEAD, 1) for step in (byte, 0.02)), HANG], yaml=SHORT),
    Fault("slow, and never silent", A, None, [SSE_HEAD, *(step for one in HELLO for step in (framed(event(one)), 0.1)), END], "Hello", made={"usage": USAGE}, yaml=SHORT),
    Fault("an endless answer, and a time limit", K, APITimeoutError, begun(HANG), "Hel", params={"timeout": 0.6}),
    Fault("no answer, and a time limit", R, APITimeoutError, [HANG], params={"timeout": 0.6}),
]  # fmt: skip

CONTENT = [
    Fault("repeated chunks", A, None, events(HELLO[0], *HELLO), "HelHello"),
    Fault("empty choices, null deltas, null contents", A, None, events({"choices": []}, {"choices": None, "usage": {}}, {"choices": [{"delta": None}]}, chunk(content=None, role="assistant"), {"choices": [None, 7]}, *HELLO), "Hello"),
    Fault("an index that starts at 1", A, None, events({"choices": [{"index": 1, "delta": {"content": "x"}}]}, "[DONE]"), "x"),
    Fault("message in place of delta", A, None, events({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}, "[DONE]"), "Hello"),
    Fault("content as a list with thoughts", A, None, delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "Hello"}]), "Hello", made={"reasoning": "Hm"}),
    Fault("reasoning", A, None, events(chunk(reasoning="Hm"), *HELLO), "Hello", made={"reasoning": "Hm"}),
    Fault("reasoning_content", A, None, events(chunk(reasoning_content="Hm"), *HELLO), "Hello", made={"reasoning": "Hm"}),
    Fault("reasoning, then closed", K, TruncatedStreamError, [SSE_HEAD, framed(event(chunk(reasoning="Hm"))), 0.02, CLOSE]),
    Fault("usage null on each chunk", A, None, events(*({**one, "usage": None} for one in HELLO[:3]), "[DONE]"), "Hello", made={"usage": None}),
    Fault("usage on each chunk", A, None, events(*({**one, "usage": {**USAGE, "completion_tokens": n}} for n, one in enumerate(HELLO[:3])), "[DONE]"), "Hello", made={"usage": {**USAGE, "completion_tokens": 2}}),
    Fault("no usage", A, None, events(*HELLO[:3], "[DONE]"), "Hello", made={"usage": None}),
    *(
        Fault(f"finish_reason {said}", A, None, events(*HELLO[:2], chunk(finish=said), "[DONE]"), "Hello", made={"finish": finish})
        for said, finish in (("length", "length"), ("content_filter", "content_filter"), ("eos", "stop"), ("SAFETY", "content_filter"))
    ),
    Fault("finish_reason length without text", A, None, events(chunk(finish="length"), "[DONE]"), made={"finish": "length"}),
    Fault("finish_reason content_filter without text", R, InvalidResponseError, events(chunk(finish="content_filter"), "[DONE]"), kept=EITHER),
    Fault("finish_reason error before text", S, StreamError, events(chunk("", finish="error"), "[DONE]"), kept=EITHER),
    Fault("finish_reason error after text", K, StreamError, begun(framed(event(chunk(finish="error"))), END), "Hel", kept=EITHER),
    Fault("a refusal", A, None, events(chunk(refusal="I can"), chunk(refusal="not."), *HELLO[2:]), made={"refusal": "I cannot."}),
    Fault("a refusal, then closed", K, TruncatedStreamError, [SSE_HEAD, framed(event(chunk(refusal="No."))), 0.02, CLOSE]),
    Fault("a bad chunk before text", N, InvalidResponseError, events("{", *HELLO), kept=EITHER),
    Fault("a bad chunk after text", K, StreamError, begun(framed(event("{")), END), "Hel", kept=EITHER),
    Fault("another JSON after text", K, TruncatedStreamError, begun(framed(event({"hello": "world"})), END), "Hel", kept=EITHER),
    Fault("deep nesting before text", N, InvalidResponseError, events("[" * 100_000, *HELLO), kept=EITHER),
    Fault("deep nesting after text", K, StreamError, begun(framed(event('{"choices":' + "[" * 100_000)), END), "Hel", kept=EITHER),
    Fault("deep nesting beside text", A, None, events(json.dumps(HELLO[0])[:-1] + ', "x": ' + "[" * 150 + "]" * 150 + "}", *HELLO[1:]), "Hello"),
    Fault("a number of 5000 digits", N, InvalidResponseError, events('{"created": ' + "7" * 5000 + ', "choices": [{"delta": {"content": "Hel"}}]}', *HELLO[1:]), kept=EITHER),
    Fault("surrogate pairs, escaped", A, None, events(r'{"choices":[{"delta":{"content":"\ud83d\ude00"}}]}', *HELLO[2:]), "😀"),
    Fault("a lone surrogate", A, None, events(r'{"choices":[{"delta":{"content":"a\ud83d"}}]}', *HELLO[2:]), "a\ufffd"),
    Fault("a surrogate pair over two chunks", A, None, events(r'{"choices":[{"delta":{"content":"a\ud83d"}}]}', r'{"choices":[{"delta":{"content":"\ude00b"}}]}', *HELLO[2:]), "a😀b"),
]  # fmt: skip

F = ("call_a", "f", '{"a": 1}')

TOOLS = [
    Fault("a tool call in pieces", A, None, calls(call("", "f", index=0, id="call_a"), call('{"a"', index=0), call(": 1}", index=0)), made={"tool_calls": [F], "finish": "tool_calls"}),
    Fault("a tool call without an id", A, None, calls(call('{"a": 1}', "f", index=0)), made={"tool_calls": [("call_0", *F[1:])]}),
    Fault("a tool call without an index", A, None, calls(call('{"a"', "f", id="call_a"), call(": 1}")), made={"tool_calls": [F]}),
    Fault("a new id on a used index", A, None, calls(call('{"a": 1}', "f", index=0, id="call_a"), call("{}", "g", index=0, id="call_b")), made={"tool_calls": [F, ("call_b", "g", "{}")]}),
    Fault("an id on every piece", A, None, calls(call('{"a"', "f", index=0, id="call_a"), call(": 1}", index=0, id="call_a")), made={"tool_calls": [F]}),
    Fault("arguments as an object", A, None, calls(call({"a": 1}, "f", index=0, id="call_a")), made={"tool_calls": [F]}),
    Fault("no arguments", A, None, calls(call(None, "f", index=0, id="call_a")), made={"tool_calls": [("call_a", "f", "{}")]}),
    Fault("empty arguments", A, None, calls(call("", "f", index=0, id="call_a")), made={"tool_calls": [("call_a", "f", "{}")]}),
    Fault("a whole tool call under finish_reason stop", A, None, calls(call('{"a": 1}', "f", index=0, id="call_a"), finish="stop"), made={"tool_calls": [F]}),
    Fault("a tool call, then closed", K, TruncatedStreamError, [SSE_HEAD, framed(event(chunk(tool_calls=[call('{"a"', "f", index=0, id="call_a")]))), 0.02, CLOSE]),
    Fault("a tool call, then the end of the stream", K, TruncatedStreamError, events(chunk(tool_calls=[call('{"a"', "f", index=0, id="call_a")])), kept=EITHER),
    Fault("half a tool call, then [DONE]", K, TruncatedStreamError, calls(call('{"a"', "f", index=0, id="call_a"), finish=None), kept=EITHER),
    Fault("a tool call without arguments, then [DONE]", K, TruncatedStreamError, calls(call("", "f", index=0, id="call_a"), finish=None), kept=EITHER),
    Fault("half a tool call, then silence", K, APITimeoutError, [SSE_HEAD, framed(event(chunk(tool_calls=[call('{"a"', "f", index=0, id="call_a")]))), HANG], yaml=SHORT),
]  # fmt: skip

SURROGATES = [{"role": "user", "content": "\ud83d"}]

CLIENT = [
    Fault("lone surrogates in the prompt", A, None, stream("Hel", "lo"), "Hello", params={"messages": SURROGATES}),
    Fault("a prompt without text", R, BadRequestError, stream("x"), params={"messages": " "}, requests=0, made={"attempts": []}),
    Fault("a parameter that is not JSON", R, ArgumentError, stream("x"), params={"metadata": {"a": object()}}, requests=0),
    Fault("an invalid header", R, BadRequestError, stream("x"), params={"headers": {"X-A": "a\r\nb"}}, requests=0, made={"attempts": []}),
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

FAULTS = [row for rows in SECTIONS.values() for row in rows]
