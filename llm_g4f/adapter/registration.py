"""Register our models with llm: each in the place of llm's own row, or beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import click
import llm
from llm.default_plugins.openai_models import Chat
from llm.models import ModelWithAliases

from ..providers.model_ids import MODELS, OPEN_MODELS
from .models import G4F, AsyncG4F, reported

if TYPE_CHECKING:
    from ..config.settings import Config

Register = Callable[..., None]


def register_all(register: Register, rows: list[ModelWithAliases]) -> None:
    """Add our models to `rows`, llm's list of models.

    A row of llm's own Chat class is replaced at its index, with its aliases: later rows, such as the
    user's extra models and other plugins', still win over it. With `takeover: false`, or if the name
    is taken by another model, ours is only g4f/NAME. The open models and those in g4f.yaml are
    g4f/NAME, and also NAME if that is free.
    """
    config = _config()
    takeover = config is None or config.takeover
    taken = {name for row in rows for name in (row.model.model_id, *row.aliases)}
    for model, aliases in MODELS.items():
        prefixed = f"g4f/{model}"
        index = _index_of_builtin(rows, model) if takeover else None
        if index is not None:
            replacement: dict[str, Any] = {
                "model": G4F(model, model),
                "async_model": AsyncG4F(model, model),
                "aliases": [*rows[index].aliases, prefixed],
            }
            rows[index] = replace(rows[index], **replacement)
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
    """The configuration, or None if g4f.yaml is missing or invalid."""
    if not (llm.user_dir() / "g4f.yaml").exists():
        return None
    from .. import config
    from ..errors import ConfigError

    try:
        return config.load()
    except ConfigError as error:
        # Every use of our models raises it again. Other plugins' models must keep working.
        _warn(str(error))
        return None


@cache  # llm registers models several times in one command
def _warn(message: str) -> None:
    """Announce an invalid g4f.yaml: in a command at its end, unless its error says the same."""
    from ..routing.notices import announce

    def announce_unless_reported() -> None:
        if message not in reported:
            announce(message)

    context = click.get_current_context(silent=True)
    if context is None:
        announce(message)
    else:
        context.find_root().call_on_close(announce_unless_reported)


def _index_of_builtin(rows: list[ModelWithAliases], model: str) -> int | None:
    """The index of llm's own row for `model`. Rows of extra-openai-models.yaml have a model_name."""
    for index, row in enumerate(rows):
        chat: Any = row.model
        if (
            type(chat) is Chat
            and chat.model_id == model
            and chat.model_name is None
            and chat.api_base is None
        ):
            return index
    return None
