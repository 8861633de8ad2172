"""Servers that run on this machine, at their usual ports, and what they have.

Only `llm g4f setup` and `llm g4f route` look; a prompt never does. A look is a GET of the list of
models, without a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from msgspec import Struct

from ..providers.catalogue import PROVIDERS
from ..providers.endpoint import Endpoint
from ..safe_text import clean
from .discovery import choose, look

SECONDS = 0.3
"""Seconds that a look may take; all are looked at together."""

TITLES = {
    "ollama": "Ollama",
    "lmstudio": "LM Studio",
    "llamacpp": "llama.cpp",
    "llamacpp-app": "llama.cpp's app",
    "vllm": "vLLM",
    "sglang": "SGLang",
    "litellm": "LiteLLM",
    "g4f": "g4f",
}


class Nearby(Struct, frozen=True):
    """A server that answered: the provider of its port, its base URL, and the ids that it lists."""

    name: str
    base_url: str
    models: Sequence[str]

    def line(self, model: str) -> str:
        """What it is, and the command that lets it answer for `model`."""
        shown = ", ".join(clean(id, 60) for id in self.models[:4])
        more = ", …" if len(self.models) > 4 else ""
        return f"{TITLES.get(self.name, self.name)} is running here with {shown}{more}: {self.command(model)}"

    def command(self, model: str) -> str:
        """The command that lets it answer for `model`: with a mapping where its models leave a choice."""
        mapping = "" if choose(self.models, model) else f" --model {model}={self.models[0]}"
        return f"llm g4f enable {self.name}{mapping}"


def addresses() -> Mapping[str, str]:
    """The base URL of each local server at its usual port."""
    return {name: spec.base_url for name, spec in PROVIDERS.items() if spec.kind == "local"}


async def servers_here() -> list[Nearby]:
    """The servers that answer at their usual ports with at least one model."""
    found = await asyncio.gather(*(_look(name, url) for name, url in addresses().items()))
    return [server for server in found if server is not None]


async def _look(name: str, base_url: str) -> Nearby | None:
    listed = await look(Endpoint(name=name, base_url=base_url, kind="local"), SECONDS)
    if listed is None or isinstance(listed, Exception) or not listed:
        return None
    return Nearby(name, base_url, listed)
