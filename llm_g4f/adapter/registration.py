"""Our models among llm's: each in the place of llm's own row, or beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import llm
from llm.default_plugins.openai_models import Chat
from llm.models import ModelWithAliases

from ..providers.model_ids import MODELS, OPEN_MODELS
from .models import G4F, AsyncG4F

if TYPE_CHECKING:
    from ..config.settings import Config

Register = Callable[..., None]


def register_all(register: Register, rows: list[ModelWithAliases]) -> None:
    """Put our models into `rows`, llm's list of models.

    A row of llm's own Chat class is replaced at its index, with its aliases: what stands behind
    it (the user's extra models, other plugins') still wins over it. With `takeover: false`,
    or where somebody else has the name, ours is registered as g4f/NAME alone. The open models and
    those that g4f.yaml names are g4f/NAME, and NAME where nobody has it.
    """
    config = _config()
    takeover = config is None or config.takeover
    taken = {name for row in rows for name in (row.model.model_id, *row.aliases)}
    for model, aliases in MODELS.items():
        prefixed = f"g4f/{model}"
        index = _builtin(rows, model) if takeover else None
        if index is not None:
            ours: dict[str, Any] = {
                "model": G4F(model, model),
                "async_model": AsyncG4F(model, model),
                "aliases": [*rows[index].aliases, prefixed],
            }
            rows[index] = replace(rows[index], **ours)
        elif takeover and model not in taken:
            free = [alias for alias in aliases if alias not in taken]
            register(G4F(model, model), AsyncG4F(model, model), aliases=[*free, prefixed])
        else:
            register(G4F(prefixed, model), AsyncG4F(prefixed, model))
    for model in dict.fromkeys((*OPEN_MODELS, *(config.models() if config else ()))):
        if model in MODELS:
            continue
        prefixed = f"g4f/{model}"
        free = [] if model in taken else [model]
        register(G4F(prefixed, model), AsyncG4F(prefixed, model), aliases=free)


def _config() -> Config | None:
    """g4f.yaml, or None where there is none that can be used."""
    if not (llm.user_dir() / "g4f.yaml").exists():
        return None
    from .. import config
    from ..errors import ConfigError

    try:
        return config.load()
    except ConfigError as error:
        # Every use of our models says it again; other plugins' models must go on.
        _warn(str(error))
        return None


@cache  # llm asks for its models several times in one command
def _warn(words: str) -> None:
    from ..routing.notices import announce

    announce(words)


def _builtin(rows: list[ModelWithAliases], model: str) -> int | None:
    """Where llm's own row for `model` is. Rows of extra-openai-models.yaml have a model_name."""
    for index, row in enumerate(rows):
        own: Any = row.model
        if (
            type(own) is Chat
            and own.model_id == model
            and own.model_name is None
            and own.api_base is None
        ):
            return index
    return None
