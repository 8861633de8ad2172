"""CPU milliseconds that the plugin adds to the start of llm: its import and hooks."""

from __future__ import annotations

import os
from importlib import import_module
from time import process_time
from typing import Any


def main() -> None:
    os.environ["LLM_LOAD_PLUGINS"] = ""
    import click
    import llm.cli
    import yaml  # noqa: F401 (llm's commands import it)
    from llm.plugins import load_plugins, pm

    load_plugins()
    rows: list[Any] = []

    def register(model: Any, async_model: Any = None, aliases: Any = ()) -> None:
        rows.append(llm.models.ModelWithAliases(model, async_model, set(aliases or ())))

    pm.hook.register_models(register=register, model_aliases=rows)
    cli = click.Group()
    before = process_time()
    plugin = import_module("llm_g4f.plugin")
    plugin.register_models(register=register, model_aliases=rows)
    plugin.register_commands(cli=cli)
    print((process_time() - before) * 1000)
    assert "g4f" in cli.commands
    assert any(str(row.model).startswith("G4F: ") for row in rows)


if __name__ == "__main__":
    main()
