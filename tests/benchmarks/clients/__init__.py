"""The clients that are compared, each run by the Python of its own virtual environment.

A module here has a class `Peer(url)`: `await whole(prompt)` is the text of an answer that is not
streamed, `await stream(prompt, texts)` appends the pieces of one that is to `texts`, a
`Texts`, and `stream_sync` is the same without `await`. It may have some of them only.
"""

from __future__ import annotations

from time import perf_counter

__all__ = ["MODEL", "Texts", "messages"]

MODEL = "gpt-4o"


class Texts(list[str]):
    """The pieces of one answer, and when the first one came."""

    first = 0.0

    def add(self, text: str) -> None:
        if not self:
            self.first = perf_counter()
        self.append(text)


def messages(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]
