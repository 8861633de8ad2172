"""llm_g4f's AsyncClient without arguments: an OPENAI_API_KEY or g4f.yaml configures it."""

from __future__ import annotations

from . import ours


class Peer(ours.Peer):
    def __init__(self, url: str) -> None:
        super().__init__(None)
