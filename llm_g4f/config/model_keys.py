"""Check the names that g4f.yaml uses for models: in `routes:`, and in `models:` of providers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from ..model_names import MODELS, OPEN_MODELS, SNAPSHOTS, meant_by
from .settings import is_pattern

ANY_IS_RESERVED = "any names no provider: -o provider any stands for the default route."


def problem_of(name: str, named: Iterable[str]) -> str | None:
    """The reason why `name` cannot stand for a model, as the end of a sentence; None if it can.

    A pattern must match a known model or one of those `named` in the file. Any other new name defines
    a model, unless it is an alias or a near miss: that would be a model that is never asked for.
    """
    if not is_pattern(name):
        model = meant_by(name)
        return f"is not the id of a model: write {model}" if model else None
    known = dict.fromkeys((*MODELS, *OPEN_MODELS, *SNAPSHOTS, *named))
    bare = name.rsplit("/", 1)[-1].split(":", 1)[0]
    for model in known:
        if fnmatchcase(model, name) or fnmatchcase(model, bare):
            return None
        if re.match(rf"{re.escape(model)}-\d", bare):  # a model's snapshots
            return None
    return f"matches no model; models: {', '.join(known)}"
