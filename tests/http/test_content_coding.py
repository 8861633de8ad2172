"""Compressed bodies, which no request asks for."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib

import pytest

from llm_g4f import AsyncClient
from llm_g4f.errors import APIError, InternalServerError, InvalidResponseError, TruncatedStreamError
from llm_g4f.http.content_coding import STEP
from tests.support.server import Script, Server, completion, framed, http, split

pytestmark = pytest.mark.usefixtures("transport", "short_pauses")

WHOLE = json.dumps(completion("Hello")).encode()


def bare(data: bytes) -> bytes:
    """Deflate without zlib's header, as some servers send it."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


async def answer(server: Server) -> str | APIError | None:
    try:
        made = await AsyncClient(base_url=server.url).chat.completions.create("hi")
    except APIError as error:
        return error
    content: str | None = made.choices[0].message.content
    return content


def sent(packed: bytes, *codings: str, status: int = 200) -> Script:
    return http(status, packed, [("Content-Encoding", coding) for coding in codings])


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(WHOLE)),
        ("GZIP", gzip.compress(WHOLE)),
        ("x-gzip", gzip.compress(WHOLE) + b"padding"),
        ("deflate", zlib.compress(WHOLE)),
        ("deflate", bare(WHOLE)),
        ("identity", WHOLE),
    ],
    # The time is in gzip's bytes.
    ids=["gzip", "upper case", "padded", "deflate", "without zlib's header", "identity"],
)
def test_gzip_and_deflate_are_unpacked_from_pieces_of_any_size(
    coding: str, packed: bytes, size: int
) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = [framed(piece) for piece in split(packed, size)]
    with Server([head.encode(), *body, b"0\r\n\r\n"]) as server:
        assert asyncio.run(answer(server)) == "Hello"


def test_an_answer_above_one_step_is_whole() -> None:
    text = "x" * (5 * STEP // 2)
    packed = gzip.compress(json.dumps(completion(text)).encode())
    with Server(sent(packed, "gzip")) as server:
        assert asyncio.run(answer(server)) == text


@pytest.mark.parametrize("codings", [("gzip, gzip",), ("gzip", "gzip"), ("br",), ("zstd",)])
def test_several_codings_and_unknown_ones_are_refused_unread(codings: tuple[str, ...]) -> None:
    packed = gzip.compress(gzip.compress(bytes(2**26)))
    with Server(sent(packed, *codings)) as server:
        error = asyncio.run(answer(server))
    assert type(error) is InvalidResponseError
    assert f'compressed its answer as "{", ".join(codings)}"' in str(error)


def test_an_error_in_an_unknown_coding_keeps_its_status() -> None:
    with Server(sent(b"\x8b\x02", "br", status=500)) as server:
        assert type(asyncio.run(answer(server))) is InternalServerError


def test_what_is_not_compressed_as_announced_is_an_error() -> None:
    with Server(sent(WHOLE, "gzip")) as server:
        assert type(asyncio.run(answer(server))) is TruncatedStreamError


def test_other_tasks_get_their_turns_while_a_bomb_is_unpacked() -> None:
    mebibytes = 24
    packed = gzip.compress(b"{" + bytes(mebibytes << 20))

    async def run() -> int:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        with Server(sent(packed, "gzip")) as server:
            asking = asyncio.create_task(answer(server))
            await asyncio.to_thread(server.wait_requests)
            task = asyncio.create_task(others())
            await asking
            task.cancel()
        return turns

    assert asyncio.run(run()) > (mebibytes << 20) // STEP // 2
