"""Count the calls of Python functions and built-ins with cProfile: unlike time, counts repeat.

The calls of the event loop count, and so do the few of the `Peer`.
"""

from __future__ import annotations

from cProfile import Profile
from typing import Any

from . import Texts

__all__ = ["of_answer", "of_chunks"]

_OWN = 2
"""Calls of `_CountingTexts` for each chunk: `add` and `disable`."""


async def of_answer(peer: Any, prompt: str, *, streaming: bool) -> tuple[int, list[str]]:
    """The number of calls for one answer, and its texts."""
    texts, profile = Texts(), Profile()
    profile.enable()
    if streaming:
        await peer.stream(prompt, texts)
    else:
        texts.append(await peer.whole(prompt))
    profile.disable()
    return _total(profile), texts


async def of_chunks(peer: Any, prompt: str) -> tuple[list[int], list[str]]:
    """The number of calls from each text of a stream to the next, and the texts."""
    texts = _CountingTexts()
    await peer.stream(prompt, texts)
    texts.profile.disable()
    return texts.counts[1:], texts


class _CountingTexts(Texts):
    """Texts that note the number of calls since the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.profile = Profile()
        self.counts: list[int] = []

    def add(self, text: str) -> None:
        self.profile.disable()
        self.append(text)
        self.counts.append(_total(self.profile) - _OWN)
        self.profile.clear()
        self.profile.enable()


def _total(profile: Profile) -> int:
    return sum(entry.callcount for entry in profile.getstats())
