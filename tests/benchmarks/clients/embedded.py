"""The embedded model through the client and through llama.cpp alone, in turn.

`python -m clients.embedded TOKENS ROUNDS` prints seconds to the first token and tokens per second
for `ours` and `bare`, round by round.
"""

from __future__ import annotations

import json
import logging
import sys
from time import perf_counter
from typing import Any

from .guard import only_loopback


def _question(number: int) -> list[dict[str, str]]:
    # A new one each time, since llama.cpp caches the last prompt.
    return [{"role": "user", "content": f"{number} dragons: tell me a long story about them."}]


def main(tokens: int, rounds: int) -> None:
    only_loopback()
    logging.getLogger("llm_g4f").setLevel(logging.ERROR)
    from llm_g4f import Client
    from llm_g4f.local import runtime
    from llm_g4f.providers import embedded

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
        seen: list[float] = []
        used = [0]

        def take(pieces: Any) -> bool:
            for piece in pieces if isinstance(pieces, list) else [pieces]:
                if piece.get("choices") and piece["choices"][0]["delta"].get("content"):
                    seen.append(perf_counter())
                if piece.get("usage"):
                    used[0] = piece["usage"]["completion_tokens"]
            return False

        request = {
            **embedded._DEFAULTS,
            **fixed,
            **endless,
            "messages": _question(number),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        before = perf_counter()
        runtime._runtime.server.handle_chat_completions(request, take)
        return seen[0] - before, (used[0] - 1) / (seen[-1] - seen[0]), used[0]

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
