"""The models this package stands for, and names that are mistaken for theirs.

llm imports this module at every start: it must stay light.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

MODELS: Mapping[str, tuple[str, ...]] = {
    "gpt-4o": ("4o",),
    "gpt-4o-mini": ("4o-mini",),
    "gpt-4.1": ("4.1",),
    "gpt-4.1-mini": ("4.1-mini",),
    "gpt-4.1-nano": ("4.1-nano",),
    "gpt-4": ("4", "gpt4"),
    "gpt-4-turbo": ("gpt-4-turbo-preview", "4-turbo", "4t"),
    "gpt-3.5-turbo": ("3.5", "chatgpt"),
}
"""The models that llm's own plugin has too, each with its aliases there."""

OPEN_MODELS = ("gpt-oss-120b", "gpt-oss-20b")
"""OpenAI's open-weight models, which many providers serve."""

SNAPSHOTS: Mapping[str, str] = {
    "gpt-4-turbo-preview": "gpt-4-turbo",
    "gpt-4-0125-preview": "gpt-4-turbo",
    "gpt-4-1106-preview": "gpt-4-turbo",
}
"""Snapshots whose names do not show their family. Source: OpenAI's page of the model GPT-4 Turbo."""


def meant_by(name: str) -> str | None:
    """The model that `name` is an alias or a near miss of; None for its own id and for a new name.

    A near miss has one letter doubled, missing or swapped with its neighbour, or 0 for o. Another
    digit is another model.

    >>> meant_by("4o"), meant_by("gpt-40"), meant_by("gpt-5")
    ('gpt-4o', 'gpt-4o', None)
    """
    known = (*MODELS, *OPEN_MODELS)
    if name in known or name in SNAPSHOTS:
        return None
    for model in known:
        if name in MODELS.get(model, ()) or name == f"g4f/{model}":
            return model
    return next((model for model in known if _is_near_miss(name, model)), None)


def _is_near_miss(name: str, model: str) -> bool:
    return name.replace("0", "o") == model.replace("0", "o") or name in _near_misses(model)


def _near_misses(model: str) -> Iterable[str]:
    for place, char in enumerate(model):
        head, tail = model[:place], model[place + 1 :]
        if char.isalpha() or char == "-":
            yield head + tail
            yield head + char + char + tail
        if tail and (char.isalpha() or tail[0].isalpha()):
            yield head + tail[0] + char + tail[1:]
