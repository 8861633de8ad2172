"""The clients to compare. Each one runs with the Python of its own virtual environment.

A module has a class `Peer(url)` with some of these methods: `await whole(prompt)` returns the text
of an answer that is not streamed, `await stream(prompt, texts)` adds the texts of a streamed one to
`texts`, a `Texts`, and `stream_sync(prompt, texts)` does so without `await`.
"""

from __future__ import annotations

from time import perf_counter

__all__ = ["MODEL", "Texts", "messages"]

MODEL = "gpt-4o"


class Texts(list[str]):
    """The texts of one answer, and the time of the first one."""

    first = 0.0

    def add(self, text: str) -> None:
        if not self:
            self.first = perf_counter()
        self.append(text)


def messages(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]
