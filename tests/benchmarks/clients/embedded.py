"""The local model through the client, and its process asked over a bare socket, in turn.

`python -m clients.embedded TOKENS ROUNDS` prints seconds to the first token and tokens per second
for `ours` and `bare`, round by round.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
from time import perf_counter
from typing import Any

from .guard import only_loopback


def _question(number: int) -> list[dict[str, str]]:
    # A new one each time, since llama.cpp caches the last prompt.
    return [{"role": "user", "content": f"{number} dragons: tell me a long story about them."}]


def _ask_bare(path: str, request: dict[str, Any]) -> tuple[list[float], int]:
    """When each piece of text came, and the number of tokens."""
    body = json.dumps(request).encode()
    seen: list[float] = []
    used = 0
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        for line in connection.makefile("rb"):
            if line.startswith(b"data: [DONE]"):
                break
            if line.startswith(b"data: "):
                piece = json.loads(line[6:])
                if piece["choices"] and piece["choices"][0]["delta"].get("content"):
                    seen.append(perf_counter())
                if piece.get("usage"):
                    used = piece["usage"]["completion_tokens"]
    return seen, used


def main(tokens: int, rounds: int) -> None:
    only_loopback()
    logging.getLogger("llm_g4f").setLevel(logging.ERROR)
    from llm_g4f import Client
    from llm_g4f.local import server
    from llm_g4f.local.table import DEFAULT

    fixed: dict[str, Any] = {"max_tokens": tokens, "seed": 1}
    # Without ends, so that both generate the same number of tokens.
    endless = {"ignore_eos": True}
    completions = Client(provider="embedded").chat.completions

    def ours(number: int) -> tuple[float, float, int]:
        before = perf_counter()
        stream = completions.stream(_question(number), extra_body=endless, **fixed)
        seen = [perf_counter() for chunk in stream if chunk.choices[0].delta.content]
        used = stream.usage.completion_tokens if stream.usage else 0
        return seen[0] - before, (used - 1) / (seen[-1] - seen[0]), used

    def bare(number: int) -> tuple[float, float, int]:
        [(running, _)] = server.running_models()
        assert running.unix_socket is not None
        request = {
            **DEFAULT.sampling,
            **fixed,
            **endless,
            "messages": _question(number),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        before = perf_counter()
        seen, used = _ask_bare(running.unix_socket, request)
        return seen[0] - before, (used - 1) / (seen[-1] - seen[0]), used

    ours(0)
    bare(1)
    result: dict[str, list[tuple[float, float]]] = {"ours": [], "bare": []}
    for number in range(rounds):
        both = [("ours", ours), ("bare", bare)]
        for place, (name, ask) in enumerate(both if number % 2 else reversed(both)):
            first, rate, used = ask(100 + 2 * number + place)
            assert used == tokens, f"{name}: {used} tokens, not {tokens}"
            result[name].append((first, rate))
    print(json.dumps(result))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
