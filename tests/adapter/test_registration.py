from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llm
import pytest
import yaml
from llm.default_plugins.openai_models import AsyncChat, Chat
from llm.models import ModelWithAliases
from llm.plugins import load_plugins, pm

from llm_g4f.adapter.models import G4F, AsyncG4F
from llm_g4f.adapter.registration import register_all
from llm_g4f.providers.model_ids import MODELS, OPEN_MODELS
from tests.support.commands import Run
from tests.support.server import Server, stream

OURS = tuple(MODELS)
OPEN = [(f"g4f/{name}", "G4F", [name]) for name in OPEN_MODELS]


def sync(name: str) -> Any:
    return llm.get_model(name)


def asynchronous(name: str) -> Any:
    return llm.get_async_model(name)


def row(model: Any, *aliases: str, async_model: Any = None) -> ModelWithAliases:
    return ModelWithAliases(model, async_model, set(aliases))


def rows() -> list[ModelWithAliases]:
    return list(llm.get_models_with_aliases())


def named(model_id: str) -> list[ModelWithAliases]:
    return [row for row in rows() if row.model.model_id == model_id]


def builtin_rows() -> list[ModelWithAliases]:
    """The rows as llm has them without us."""
    load_plugins()
    ours = pm.unregister(name="g4f")
    try:
        return rows()
    finally:
        pm.register(ours, name="g4f")


@pytest.mark.parametrize("model", OURS)
def test_the_builtin_row_is_replaced_at_its_index(model: str) -> None:
    builtin = builtin_rows()
    before = [row.model.model_id for row in builtin]
    after = rows()
    assert [row.model.model_id for row in after[: len(before)]] == before
    found = after[before.index(model)]
    assert isinstance(found.model, G4F)
    assert isinstance(found.async_model, AsyncG4F)
    theirs = list(builtin[before.index(model)].aliases)
    assert theirs == list(MODELS[model])
    assert list(found.aliases) == [*theirs, f"g4f/{model}"]
    for name in (model, *theirs, f"g4f/{model}"):
        assert type(sync(name)) is G4F
        assert type(asynchronous(name)) is AsyncG4F


def test_no_other_row_changes() -> None:
    def others(found: list[ModelWithAliases]) -> list[tuple[str, str, list[str]]]:
        return [
            (row.model.model_id, type(row.model).__name__, list(row.aliases))
            for row in found
            if row.model.model_id not in OURS
        ]

    assert others(rows()) == others(builtin_rows()) + OPEN


def test_sync_and_async_models_have_the_same_name() -> None:
    (found,) = named("gpt-4o")
    assert str(found.model) == str(found.async_model) == "G4F: gpt-4o"


def test_json_replacements_equal_llms() -> None:
    """Else turns that llm's own gpt-4o logged read back without their JSON."""
    for model in (sync("gpt-4o"), asynchronous("gpt-4o")):
        for name, value in Chat.json_replacements.items():
            assert model.json_replacements[name] == value


@pytest.mark.parametrize("alias", ["gpt-4o", "4o", "g4f/gpt-4o"])
def test_a_users_alias_wins(alias: str) -> None:
    llm.get_models_with_aliases()
    llm.set_alias(alias, "gpt-5")
    assert sync(alias).model_id == "gpt-5"
    assert asynchronous(alias).model_id == "gpt-5"


@pytest.mark.parametrize("name", ["gpt-4o", "4o"])
@pytest.mark.parametrize("api_base", [None, "http://127.0.0.1:1/v1"])
def test_a_model_of_extra_openai_models_wins(
    user_path: Path, name: str, api_base: str | None
) -> None:
    extra = {"model_id": name, "model_name": "llama"} | ({"api_base": api_base} if api_base else {})
    (user_path / "extra-openai-models.yaml").write_text(yaml.safe_dump([extra]))
    model: Any = sync(name)
    assert type(model) is Chat
    assert model.model_name == "llama"
    assert type(asynchronous(name)) is AsyncChat
    assert type(sync("g4f/gpt-4o")) is G4F


def test_another_plugins_row_wins(
    other_plugin: Callable[[Callable[[Any], None]], None],
) -> None:
    chat: Any = Chat
    theirs = chat("gpt-4o", api_base="http://127.0.0.1:1/v1")
    other_plugin(lambda register: register(theirs, aliases=("4o-mini",)))
    assert sync("gpt-4o") is theirs
    assert sync("4o-mini") is theirs
    assert type(sync("4o")) is G4F


class Special(Chat):
    """Another plugin's class."""


ADDED = [(name, "G4F", [*aliases, f"g4f/{name}"]) for name, aliases in MODELS.items()] + OPEN
"""The rows that are registered if llm has none of these models."""


def registered(found: list[ModelWithAliases]) -> list[tuple[str, str, list[str]]]:
    """The rows of `found` after ours have been registered."""

    def register(model: Any, async_model: Any = None, aliases: Any = ()) -> None:
        found.append(ModelWithAliases(model, async_model, aliases))

    register_all(register, found)
    return [(one.model.model_id, type(one.model).__name__, list(one.aliases)) for one in found]


@pytest.mark.parametrize(
    "theirs",
    [
        (Special, {}),
        (Chat, {"model_name": "llama"}),
        (Chat, {"api_base": "http://127.0.0.1:1/v1"}),
    ],
)
def test_a_row_of_another_class_or_address_is_not_replaced(
    theirs: tuple[Any, dict[str, Any]],
) -> None:
    kind, settings = theirs
    assert registered([row(kind("gpt-4o", **settings), "4o")]) == [
        ("gpt-4o", kind.__name__, ["4o"]),
        ("g4f/gpt-4o", "G4F", []),
        *ADDED[1:],
    ]


def test_a_model_missing_in_llm_is_added() -> None:
    chat: Any = Chat
    assert registered([row(chat("4o", api_base="http://127.0.0.1:1/v1"))]) == [
        ("4o", "Chat", []),
        ("gpt-4o", "G4F", ["g4f/gpt-4o"]),
        *ADDED[1:],
    ]


def test_the_models_of_g4f_yaml_are_registered(write_config: Callable[[str], Path]) -> None:
    write_config(
        """
        providers:
          box: {base_url: 'http://127.0.0.1:1', models: {gpt-4o: a, my-model: b, gpt-5: c}}
        routes: {other: [box], my-model: [box]}
        """
    )
    before = [row.model.model_id for row in builtin_rows()]
    added = [(row.model.model_id, list(row.aliases)) for row in rows()[len(before) :]]
    assert added == [
        *((name, aliases) for name, _, aliases in OPEN),
        ("g4f/other", ["other"]),
        ("g4f/my-model", ["my-model"]),
        ("g4f/gpt-5", []),
    ]
    assert sync("my-model").requested == asynchronous("g4f/my-model").requested == "my-model"
    assert type(sync("gpt-5")).__name__ == "Responses"
    assert str(sync("other")) == "G4F: g4f/other"


def test_an_open_model_leaves_its_name_to_another_plugin(
    other_plugin: Callable[[Callable[[Any], None]], None],
) -> None:
    chat: Any = Chat
    theirs = chat("gpt-oss-20b", api_base="http://127.0.0.1:1/v1")
    other_plugin(lambda register: register(theirs))
    assert sync("gpt-oss-20b") is theirs
    assert type(sync("g4f/gpt-oss-20b")) is G4F


def test_without_takeover_llms_own_models_stay(write_config: Callable[[str], Path]) -> None:
    write_config("takeover: false")
    assert type(sync("gpt-4o")) is Chat
    assert type(sync("4o")) is Chat
    assert type(asynchronous("gpt-4o")) is AsyncChat
    model = sync("g4f/gpt-4o")
    assert isinstance(model, G4F)
    assert (model.model_id, model.requested) == ("g4f/gpt-4o", "gpt-4o")
    assert str(model) == str(asynchronous("g4f/gpt-4o")) == "G4F: g4f/gpt-4o"


def test_without_takeover_g4f_names_still_ask_for_the_model(
    endpoints: Callable[..., Path],
) -> None:
    with Server(stream("Hello")) as server:
        endpoints("takeover: false", mybox=server)
        response = sync("g4f/gpt-4o").prompt("hi")
        assert response.text() == "Hello"
    assert server.requests[0].json["model"] == "gpt-4o"


def test_takeover_is_read_at_each_start(write_config: Callable[[str], Path]) -> None:
    path = write_config("takeover: false")
    assert type(sync("gpt-4o")) is Chat
    path.unlink()
    assert type(sync("gpt-4o")) is G4F


BROKEN = "takeover: true\nsubstitute: false\n"


def complaint(path: Path) -> str:
    return f"{path}, line 2: unknown key 'substitute'"


@pytest.mark.parametrize("args", [["models"], ["-m", "gpt-4o", "--options"]])
def test_a_broken_configuration_is_one_warning_at_start(
    write_config: Callable[[str], Path], run_llm: Run, args: list[str]
) -> None:
    path = write_config(BROKEN)
    done = run_llm(*args)
    assert done.returncode == 0
    assert "gpt-4o" in done.stdout
    assert done.stderr.count(complaint(path)) == 1
    assert len(done.stderr.splitlines()) == 1


def test_a_broken_configuration_does_not_affect_help_and_other_models(
    write_config: Callable[[str], Path], run_llm: Run, user_path: Path
) -> None:
    path = write_config(BROKEN)
    done = run_llm("--help")
    assert (done.returncode, done.stderr) == (0, "")
    with Server(stream("Hello")) as server:
        extra = [{"model_id": "theirs", "model_name": "llama", "api_base": server.url}]
        (user_path / "extra-openai-models.yaml").write_text(yaml.safe_dump(extra))
        done = run_llm("-m", "theirs", "hi")
    assert (done.returncode, done.stdout) == (0, "Hello\n")
    assert done.stderr.count(complaint(path)) == 1


@pytest.mark.parametrize("text", [BROKEN, "takeover: true\nnotice: [\n", "a: &b\n  - *b\n"])
def test_a_prompt_under_a_broken_configuration_names_file_and_line(
    write_config: Callable[[str], Path], text: str
) -> None:
    path = write_config(text)
    for name in ("gpt-4o", "g4f/gpt-4o-mini"):
        with pytest.raises(llm.ModelError, match=rf"{path}, line [123]: "):
            sync(name).prompt("hi").text()


def test_a_broken_configuration_fails_a_prompt_on_the_command_line(
    write_config: Callable[[str], Path], run_llm: Run
) -> None:
    path = write_config(BROKEN)
    done = run_llm("-m", "gpt-4o", "hi")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Error: {complaint(path)}" in done.stderr
    assert done.stderr.count(complaint(path)) == 1


START = """
import json, sys

reached = []
sys.addaudithook(lambda event, args: reached.append(event) if event.startswith("socket.") else None)
before = len(reached)
import llm
from click.testing import CliRunner
from llm.cli import cli

models = [model.model.model_id for model in llm.get_models_with_aliases()]
commands = sorted(cli.commands)
print(json.dumps([models, commands, reached[before:], sorted(sys.modules)]))
"""


def started(**environment: str) -> tuple[list[str], list[str], list[str], set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", START],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    models, commands, reached, modules = json.loads(done.stdout)
    return models, commands, reached, set(modules)


@pytest.mark.parametrize("config", [None, "takeover: true\nproviders: {}\n"])
def test_the_hooks_import_little_and_open_no_sockets(
    config: str | None, write_config: Callable[[str], Path]
) -> None:
    if config:
        write_config(config)
    models, commands, reached, modules = started(LLM_LOAD_PLUGINS="llm-g4f")
    assert "gpt-4o" in models
    assert "g4f" in commands
    _, _, reached_without, without = started(LLM_LOAD_PLUGINS="")
    # What llm itself does at its start is llm's.
    assert reached == reached_without
    extra = modules - without
    ours = {name for name in extra if name.startswith("llm_g4f")}
    expected = {
        *(
            "llm_g4f",
            "llm_g4f.version",
            "llm_g4f.model_names",
            "llm_g4f.plugin",
            "llm_g4f.adapter",
            "llm_g4f.adapter.registration",
            "llm_g4f.adapter.models",
        ),
        "llm_g4f.providers.hookspecs",
        *("llm_g4f.cli", "llm_g4f.providers", "llm_g4f.providers.model_ids"),
    }
    if config:
        parts = (
            "files",
            "keys",
            "model_keys",
            "sections",
            "settings",
            "urls",
            "yaml_reader",
            "yaml_size",
        )
        expected |= {
            "llm_g4f.config",
            *("llm_g4f.errors", "llm_g4f.reason"),
            *(f"llm_g4f.config.{one}" for one in parts),
        }
    assert ours == expected
    # Not httpx, not xllamacpp, nothing: an editable install has a finder of its own.
    assert {name for name in extra - ours if "llm_g4f" not in name} == set()


def test_llm_models_lists_each_model_once(run_llm: Run) -> None:
    done = run_llm("models")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "G4F: gpt-4o (aliases: 4o, g4f/gpt-4o)"
    assert lines[1] == "G4F: gpt-4o-mini (aliases: 4o-mini, g4f/gpt-4o-mini)"
    assert sum(": gpt-4o" in line for line in lines) == 2
    assert "G4F: gpt-3.5-turbo (aliases: 3.5, chatgpt, g4f/gpt-3.5-turbo)" in lines
    assert "G4F: g4f/gpt-oss-120b (aliases: gpt-oss-120b)" in lines


def test_llm_shows_the_options_of_our_model(run_llm: Run) -> None:
    done = run_llm("-m", "gpt-4o", "--options")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("G4F: gpt-4o (aliases: 4o, g4f/gpt-4o)")
    for name in (
        "temperature: float",
        "logit_bias",
        "provider: str",
        "exact: ",
        "reasoning_effort: ",
    ):
        assert f"\n    {name}" in done.stdout
    for feature in ("streaming", "schemas", "tools", "async"):
        assert f"\n  - {feature}" in done.stdout
    assert "application/pdf, audio/mpeg, audio/wav, image/gif" in done.stdout
    assert "\n  Keys:\n    key: openai\n    env_var: OPENAI_API_KEY" in done.stdout


def test_llm_openai_endpoint_stays_llms_own(run_llm: Run) -> None:
    with Server(stream("Hello")) as server:
        done = run_llm("openai", "endpoint", server.url, "hi", "-m", "gpt-4o")
    assert (done.returncode, done.stdout.strip()) == (0, "Hello"), done.stderr
    assert server.requests[0].headers["user-agent"].startswith("OpenAI/")
