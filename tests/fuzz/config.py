"""g4f.yaml: what is read, the providers that it makes, and a command that edits it.

A file is a configuration, or an error with its path. An edit changes what it is for and nothing else.
"""

from __future__ import annotations

import re
from pathlib import Path

from llm_g4f.cli.config_editor import editing
from llm_g4f.config import Config, config_path, load, yaml_reader
from llm_g4f.errors import ConfigError, G4FError
from llm_g4f.providers.base import Ineligible
from llm_g4f.routing.lineup import Entry
from llm_g4f.routing.registry import Registry
from tests.fuzz.checks import assert_line, assert_ours

RUNS = 2_000

EXAMPLE = Path(__file__).parents[2] / "README.md"

SEEDS = [
    re.findall(r"```yaml\n(.*?)```", EXAMPLE.read_text(encoding="utf-8"), re.DOTALL)[0].encode(),
    b"providers: {box: {base_url: 'http://127.0.0.1:1/v1', key: box, models: {gpt-4o: a}}}\n",
    b"routes: {gpt-4o: [box/x, openai]}\nproviders: {openai: {key_env: MINE, enabled: yes}}\n",
    b"local: {model: qwen3.5-2b, keep_alive: 5m}\ntakeover: off\n",
    b"providers: &a\n  box:\n    extra_body: {b: &c [1, 2.5, null, 'd'], e: *c}\n# end\n",
    b"providers:\n  'box': !!map {timeout: 0x10, context: 1_000, headers: {X-A: \"\\u00e9\"}}\n",
    b"%YAML 1.1\n---\nnotice: >-\n  true\n...\n",
]

WORDS = [
    *(
        "takeover: ",
        "substitutes: ",
        "notice: ",
        "local: ",
        "providers:\n  box: ",
        "routes:\n  gpt-4o: ",
    ),
    *(
        "base_url: ",
        "key: ",
        "key_env: ",
        "models: ",
        "vision: ",
        "context: ",
        "headers: ",
        "quirks: ",
    ),
    *("extra_body: ", "timeout: ", "ca_file: ", "plain_http: ", "http://127.0.0.1", "https://a@b/"),
    *(
        "&a ",
        "*a",
        "!!str ",
        "!!binary ",
        "!!timestamp ",
        "<<: ",
        "? ",
        "|\n",
        ">\n",
        "---\n",
        ".inf",
    ),
]


def run(data: bytes) -> None:
    path = config_path()
    path.write_bytes(data)
    try:
        config = _load()
    except ConfigError as error:
        assert_ours(error, path)
        assert path.read_bytes() == data
        return
    _make_providers(config)
    try:
        with editing() as providers:
            providers.setdefault("groq", {})["enabled"] = True
    except ConfigError as error:
        assert_ours(error)
        assert path.read_bytes() == data
        return
    edited = _load()
    assert edited.providers["groq"].enabled
    assert _without_groq(edited) == _without_groq(config)


def _load() -> Config:
    # Two files of one size may be written in one tick of the file system's clock.
    yaml_reader._loaded = None
    return load()


def _without_groq(config: Config) -> Config:
    """All but what the edit is for, and the lines, which it may move."""
    others = {
        name: provider._replace(line=0)
        for name, provider in config.providers.items()
        if name != "groq"
    }
    return config._replace(providers=others, route_lines={})


def _make_providers(config: Config) -> None:
    registry = Registry(config)
    entries = [Entry.parse(entry) for route in config.routes.values() for entry in route]
    for entry in (*map(Entry, config.providers), *entries):
        try:
            made = registry.provider(entry.name, "gpt-4o", upstream=entry.upstream)
        except G4FError as error:
            assert_ours(error)
        else:
            if isinstance(made, Ineligible):
                assert_line(made.reason)
