"""gpt-4o through llm: the plugin's, or llm's own if g4f.yaml says `takeover: false`."""

from __future__ import annotations

import llm

from . import MODEL, Texts


class Peer:
    def __init__(self, url: str) -> None:
        self._model = llm.get_model(MODEL)

    def stream_sync(self, prompt: str, texts: Texts) -> None:
        for text in self._model.prompt(prompt):
            texts.add(text)
