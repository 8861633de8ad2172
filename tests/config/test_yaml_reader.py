"""g4f.yaml: its keys, its errors with file and line, any text."""

from __future__ import annotations

import json
import os
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_g4f import config
from llm_g4f.config.settings import (
    ALL_PROVIDERS,
    Budget,
    Config,
    LocalConfig,
    ModelEntry,
    ProviderConfig,
)
from llm_g4f.errors import ConfigError

Write = Callable[[str], Path]


def parse(text: str) -> Config:
    return config.parse(text, Path("g4f.yaml"))


def test_defaults_without_a_file(user_path: Path) -> None:
    assert config.load() == Config(user_path / "g4f.yaml", takeover=True, substitutes=True)
    assert config.load().notice
    assert not config.load().providers
    assert not config.load().routes


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("0", 0), ("300", 300), ("5m", 300), ("'5m'", 300), ("1.5h", 5400), ("24h", 86400),
        ("-1", -1), ("-1m", -60), ("500ms", 0.5), ("2.5", 2.5), ("7d", 604800),
    ],
)  # fmt: skip
def test_local(written: str, seconds: float) -> None:
    found = parse(f"local: {{model: smollm2-360m, keep_alive: {written}}}").local
    assert found == LocalConfig("smollm2-360m", seconds)
    assert parse("local: {}").local == parse("").local == LocalConfig(None, None)


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "{}", "\ufefftakeover: true"])
def test_defaults_of_an_empty_file(write_config: Write, text: str) -> None:
    path = write_config(text)
    assert config.load() == Config(path)


def test_every_key(write_config: Write, user_path: Path) -> None:
    ca_file = user_path / "company.pem"
    ca_file.touch()
    path = write_config(
        f"""\
takeover: false
substitutes: false
notice: false
providers:
  ovh: {{enabled: true}}
  openrouter: {{enabled: false}}
  mybox:
    base_url: http://127.0.0.1:8000/v1/
    key: mybox
    models:
      gpt-4o: llama-3.3-70b
      gpt-4o-mini: {{id: my-deployment, exact: true}}
    vision: true
    audio: false
    supports_tools: true
    supports_schema: false
    context: 8192
    headers: {{X-Team: blue}}
    extra_body: {{data_collection: deny, nested: {{list: [1, 2.5, null, true]}}}}
    timeout: 60
    plain_http: true
    ca_file: {ca_file}
  other: {{base_url: https://example.com/v1, key_env: OTHER_API_KEY, timeout: 0.5}}
routes:
  gpt-4o: [mybox, openai, openrouter/openai/gpt-4o, ovh]
"""
    )
    assert config.load() == Config(
        path,
        takeover=False,
        substitutes=False,
        notice=False,
        providers={
            "ovh": ProviderConfig("ovh", line=5, enabled=True),
            "openrouter": ProviderConfig("openrouter", line=6, enabled=False),
            "mybox": ProviderConfig(
                "mybox",
                line=7,
                base_url="http://127.0.0.1:8000/v1",
                key="mybox",
                models={
                    "gpt-4o": ModelEntry("llama-3.3-70b"),
                    "gpt-4o-mini": ModelEntry("my-deployment", exact=True),
                },
                vision=True,
                audio=False,
                supports_tools=True,
                supports_schema=False,
                context=8192,
                headers={"X-Team": "blue"},
                extra_body={"data_collection": "deny", "nested": {"list": [1, 2.5, None, True]}},
                timeout=60,
                plain_http=True,
                ca_file=str(ca_file),
            ),
            "other": ProviderConfig(
                "other",
                line=23,
                base_url="https://example.com/v1",
                key_env="OTHER_API_KEY",
                timeout=0.5,
            ),
        },
        routes={"gpt-4o": ("mybox", "openai", "openrouter/openai/gpt-4o", "ovh")},
        route_lines={"gpt-4o": 25},
    )


def test_ca_file_in_the_home_directory(
    write_config: Write, user_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(user_path))
    monkeypatch.setenv("USERPROFILE", str(user_path))
    (user_path / "ca.pem").touch()
    write_config("providers: {a: {ca_file: ~/ca.pem}}")
    assert config.load().providers["a"].ca_file == str(user_path / "ca.pem")


def test_budgets_are_for_all_or_for_one_provider() -> None:
    text = (
        "budget: {day: 2.00, month: 20}\norder: price\nproviders:\n  openai:\n    budget: {day: 1}"
    )
    read = parse(text)
    assert read.budgets == {ALL_PROVIDERS: Budget(2.0, 20, line=1), "openai": Budget(1, line=5)}
    assert read.order == "price"


@pytest.mark.parametrize("text", ["budget: {day: 2}", "order: price"])
def test_prices_need_their_table(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(ConfigError) as caught:
        parse(f"notice: true\n{text}")
    assert str(caught.value).startswith(f"g4f.yaml, line 2: {text.partition(':')[0]}")
    assert "needs a table of prices: llm install 'llm-g4f[prices]', or remove it." in str(
        caught.value
    )
    assert parse("order: latency").order == "latency"


# (text, the line that is at fault, words of the message)
WRONG = [
    ("takeover: true\nrouts: {}", 2, "unknown key 'routs'; known keys: takeover"),
    ("local: 5m", 1, "local must be a mapping"),
    ("local:\n  keepalive: 5m", 2, "unknown key 'keepalive' in local; known keys: model"),
    ("local: {keep_alive: soon}", 1, "must be a time such as 300, 5m or 24h, not 'soon'"),
    ("local: {keep_alive: true}", 1, "must be a time such as"),
    ("local: {keep_alive: .inf}", 1, "must be a time such as"),
    ("local: {keep_alive: []}", 1, "must be a time such as"),
    ("local: {model: ''}", 1, "model of local must be text"),
    ("budget: 5", 1, "budget must be a mapping"),
    ("budget: {}", 1, "budget needs day or month, in US dollars: {day: 2.00}"),
    ("budget:\n  week: 5", 2, "unknown key 'week' in budget; known keys: day, month (US dollars)"),
    ("budget: {day: 0}", 1, "day of budget must be a number above 0, not 0"),
    ("budget: {month: $5}", 1, "month of budget must be a number above 0, not '$5'"),
    ("providers:\n  a: {budget: {day: x}}", 2, "day of budget of provider a must be a number"),
    ("order: best", 1, "order must be price or latency, not 'best'"),
    ("order: [price]", 1, "order must be text"),
    ("takeover: maybe", 1, "takeover must be true or false, not 'maybe'"),
    ("\nsubstitutes: 1", 2, "substitutes must be true or false"),
    ("notice:\n  [true]", 2, "notice must be true or false"),
    ("notice: true\nnotice: false", 2, "duplicate key 'notice'"),
    ("- takeover", 1, "must be a mapping"),
    ("hello", 1, "must be a mapping"),
    ("? [a]\n: b", 1, "must be plain text"),
    ("providers: [ovh]", 1, "providers must be a mapping"),
    ("providers:\n  ovh: true", 2, "provider ovh must be a mapping"),
    ("providers:\n  ovh:\n    enable: true", 3, "unknown key 'enable' in provider ovh"),
    ("providers:\n  ovh:\n    enabled: 1", 3, "enabled of provider ovh must be true or false"),
    ("providers:\n  My Box: {}", 2, "invalid provider name 'My Box'"),
    ("providers:\n  a/b: {}", 2, "invalid provider name 'a/b'"),
    ("providers:\n  a: {}\n  b: {}\n  a: {}", 4, "duplicate key 'a' in providers"),
    ("providers:\n  a:\n    base_url: nonsense", 3, "must start with https:// or http://"),
    ("providers:\n  a:\n    base_url: http://example.com", 3, "plain_http: true"),
    ("providers:\n  a:\n    base_url: [x]", 3, "base_url of provider a must be text"),
    ("providers:\n  a:\n    base_url: ''", 3, "base_url of provider a must be text"),
    ("providers:\n  a:\n    key: 5", 3, "key of provider a must be text"),
    ('providers:\n  a:\n    key: "a\\nb"', 3, "contains a control character"),
    ("providers:\n  a:\n    key: k\n    key_env: K", 4, "has both key and key_env"),
    ("providers:\n  a:\n    key_env: K\n    key: k", 3, "has both key and key_env"),
    ("providers:\n  a:\n    models: [gpt-4o]", 3, "models of provider a must be a mapping"),
    ("providers:\n  a:\n    models:\n      gpt-4o:\n        [x]", 5, "must be a mapping"),
    ("providers:\n  a:\n    models:\n      gpt-4o: 4", 4, "must be text, not 4"),
    ("providers:\n  a:\n    models:\n      gpt-4o: {exact: true}", 4, "needs an id"),
    ("providers:\n  a:\n    models:\n      x: {id: y, exac: 1}", 4, "unknown key 'exac'"),
    ("providers:\n  a:\n    models:\n      x: {id: y, exact: 1}", 4, "must be true or false"),
    ("providers:\n  a:\n    models:\n      x: {id: []}", 4, "id of x in models of provider a"),
    ("providers:\n  a:\n    vision: 'on'", 3, "vision of provider a must be true or false"),
    ("providers:\n  a:\n    context: 0", 3, "must be a number above 0"),
    ("providers:\n  a:\n    context: 1.5", 3, "must be a whole number of tokens"),
    ("providers:\n  a:\n    context: true", 3, "must be a number above 0"),
    ("providers:\n  a:\n    timeout: -1", 3, "must be a number above 0, not -1"),
    ("providers:\n  a:\n    timeout: .nan", 3, "must be a number above 0"),
    ("providers:\n  a:\n    timeout: .inf", 3, "must be a number above 0"),
    ("providers:\n  a:\n    timeout: soon", 3, "must be a number above 0"),
    ("providers:\n  a:\n    headers: {'X Y': z}", 3, "invalid header name 'X Y'"),
    ("providers:\n  a:\n    headers:\n      X-Y: ü", 4, "must be ASCII"),
    ('providers:\n  a:\n    headers:\n      X-Y: "a\\r\\nX: b"', 4, "control character"),
    ("providers:\n  a:\n    headers:\n      X-Y: 5", 4, "must be text"),
    ("providers:\n  a:\n    headers:\n      authorization: x", 4, "belongs in key or key_env"),
    ("providers:\n  a:\n    headers:\n      Api-Key: x", 4, "belongs in key or key_env"),
    ("providers:\n  a:\n    extra_body: text", 3, "extra_body of provider a must be a mapping"),
    ("providers:\n  a:\n    extra_body: {x: .nan}", 3, "cannot be sent as JSON"),
    ("providers:\n  a:\n    extra_body: {x: 2020-01-01}", 3, "cannot be sent as JSON"),
    ("providers:\n  a:\n    extra_body: &b {x: *b}", 3, "recursive"),
    ("providers:\n  a:\n    ca_file: /nowhere/ca.pem", 3, "file not found"),
    ("providers:\n  a:\n    ca_file: ~nobody-of-that-name/ca.pem", 3, "ca_file of provider a"),
    pytest.param(
        f"providers:\n  a:\n    ca_file: {'a' * 5_000}", 3, "ca_file of provider a", id="long-path"
    ),
    ("routes: gpt-4o", 1, "routes must be a mapping"),
    ("routes:\n  gpt-4o: mybox", 2, "the route of gpt-4o must be a list"),
    ("routes:\n  gpt-4o: []", 2, "the route of gpt-4o must be a list"),
    ("routes:\n  gpt-4o:\n  - a\n  - 5", 4, "an entry of the route of gpt-4o must be text, not 5"),
    ("routes:\n  4o: [openai]", 2, "'4o' in routes is not the id of a model: write gpt-4o."),
    ("routes:\n  g4f/gpt-4o: [openai]", 2, "write gpt-4o."),
    ("routes:\n  gpt-4oo: [openai]", 2, "write gpt-4o."),
    ("routes:\n  gpt-40-mini: [openai]", 2, "write gpt-4o-mini."),
    ("routes:\n  gtp-4o: [openai]", 2, "write gpt-4o."),
    ("routes:\n  gpt-4o: [openai]\n  gpt-oss-12ob: [groq]", 3, "write gpt-oss-120b."),
    ("providers:\n  a:\n    models:\n      gpt4: x", 4, "'gpt4' in models of provider a is not"),
    ("providers:\n  a:\n    models:\n      gpt-4.1-mni: x", 4, "write gpt-4.1-mini."),
    ("routes:\n  gtp-4*: [openai]", 2, "'gtp-4*' in routes matches no model; models: gpt-4o, "),
    (
        "providers:\n  a:\n    models:\n      gpt-4*: x",
        4,
        "'gpt-4*' in models of provider a is a pattern",
    ),
    ("routes:\n  gpt-4o: [openai, any]", 2, "any names no provider"),
    ("providers:\n  any: {base_url: 'https://a.invalid/v1'}", 2, "any names no provider"),
    ("takeover: true\n  notice: true", 2, "mapping values are not allowed"),
    ("takeover: [true", 1, "g4f.yaml"),
    ("takeover: *nobody", 1, "undefined alias"),
    ("takeover: !!python/object:os.system {}", 1, "python/object"),
    ("takeover: true\n--- \nnotice: true", 2, "another document"),
    ("takeover: !!timestamp never", 1, "g4f.yaml"),
    ("takeover: !!bool never", 1, "g4f.yaml"),
    ("takeover: !!int ''", 1, "g4f.yaml"),
    ("takeover: !!float ''", 1, "g4f.yaml"),
    pytest.param(
        f"providers:\n  a:\n    timeout: 0x{'f' * 6_000}", 3, "above 0", id="6000-hex-digits"
    ),
    pytest.param(f"takeover:\n  {'9' * 6_000}", 2, "g4f.yaml", id="6000-digits"),
]


@pytest.mark.parametrize(("text", "line", "words"), WRONG)
def test_an_error_names_the_file_and_the_line(
    write_config: Write, text: str, line: int, words: str
) -> None:
    path = write_config(text)
    with pytest.raises(ConfigError) as caught:
        config.load()
    message = str(caught.value)
    # The parser of PyYAML sees an open bracket where the file ends.
    lines = {line, line + 1} if text == "takeover: [true" else {line}
    assert any(message.startswith(f"{path}, line {number}: ") for number in lines), message
    assert words in message
    assert len(message) < len(str(path)) + 6_000


@pytest.mark.parametrize(
    "name",
    [
        "gpt-5",
        "gpt-4.5",
        "gpt-6o",
        "mine",
        "gpt-4-turbo-preview",
        "gpt-4o-2024-08-06",
        "GPT-4o",
        "gpt-35-turbo",
        "openai/gpt-4o",
        "gpt-oss-20b:free",
        "gpt-oss-21b",
    ],
)
def test_a_new_name_defines_a_model(name: str) -> None:
    parsed = parse(f"routes:\n  {name}: [a]\nproviders:\n  a: {{models: {{{name}: x}}}}")
    assert parsed.models() == [name]


@pytest.mark.parametrize(
    "pattern", ["*", "gpt-4*", "gpt-4o-2024-*", "openai/gpt-4o*", "mi?e", "gpt-oss-*:free"]
)
def test_a_pattern_that_matches_a_model(pattern: str) -> None:
    text = f"routes:\n  '{pattern}': [a]\nproviders:\n  a: {{models: {{mine: x}}}}"
    assert parse(text).routes == {pattern: ("a",)}


@pytest.mark.parametrize("text", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_an_error_and_no_crash(user_path: Path, text: str) -> None:
    (user_path / "g4f.yaml").write_text(text * 100_000)
    code = (
        "from llm_g4f import config, errors\n"
        "try: config.load()\n"
        "except errors.ConfigError as error: print('told:', str(error)[:200])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout[:5]) == (0, "told:"), done


@pytest.mark.parametrize(
    ("content", "words"), [(b"takeover: \xff", "not UTF-8"), (b"takeover: \0", "g4f.yaml")]
)
def test_invalid_bytes_are_an_error(user_path: Path, content: bytes, words: str) -> None:
    (user_path / "g4f.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        config.load()


def test_an_unreadable_file_is_an_error(user_path: Path) -> None:
    (user_path / "g4f.yaml").mkdir()
    with pytest.raises(ConfigError, match=r"g4f\.yaml cannot be read: "):
        config.load()


def test_an_invalid_path_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_USER_PATH", "/" + "a" * 5_000)
    with pytest.raises(ConfigError, match="cannot be read: "):
        config.load()


def test_a_user_directory_that_is_a_file_counts_as_no_configuration(
    user_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user_path / "file").touch()
    monkeypatch.setenv("LLM_USER_PATH", str(user_path / "file"))
    assert config.load().takeover


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(user_path: Path) -> None:
    path = user_path / "g4f.yaml"
    path.write_text("notice: false")
    first = config.load()
    assert config.load() is first
    stat = path.stat()
    path.write_text("notice: true ")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert config.load().notice
    path.unlink()
    path.with_name("other").mkdir()
    assert config.load() == Config(path)


def test_the_user_directory_equals_llms(monkeypatch: pytest.MonkeyPatch) -> None:
    import llm

    monkeypatch.delenv("LLM_USER_PATH")
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nowhere/config")
    # llm.user_dir() would make the directory.
    import click

    assert config.user_dir() == Path(click.get_app_dir("io.datasette.llm"))
    assert config.config_path().name == "g4f.yaml"
    monkeypatch.setenv("LLM_USER_PATH", str(Path.cwd()))
    assert config.user_dir() == llm.user_dir()


# Any text, and any document of these words: a configuration or an error that says where.

_WORDS = st.sampled_from(
    [
        *Config._fields[1:],
        *ProviderConfig._fields,
        *("openai", "gpt-4o", "id", "exact", "true", "null", "0x1F", "1e3", ".nan", "2020-01-01"),
        *("https://example.com/v1", "http://127.0.0.1", "~", "<<", "=", "&a x", "*a", "!!int x"),
        *("!!bool x", "!!float ''", "!!timestamp x", "!!binary x", "!!set {x}", "!x y", "'", '"'),
    ]
)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.text(string.printable, max_size=20)
    | st.dates()
    | st.binary(max_size=5)
    | _WORDS
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(_WORDS | st.text(max_size=5), inner)
    ),
    max_leaves=20,
)
_ENTRIES = st.dictionaries(st.sampled_from(ProviderConfig._fields) | _WORDS, _TREES)
_LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "takeover": st.booleans() | _SCALARS,
        "providers": st.dictionaries(st.sampled_from(["openai", "mine"]) | _WORDS, _ENTRIES),
        "routes": st.dictionaries(_WORDS, st.lists(_WORDS) | _TREES),
    },
)


def _check(text: str) -> None:
    try:
        result = parse(text)
    except ConfigError as error:
        message = str(error)
        result = None
    if result is None:
        assert message.startswith("g4f.yaml")
        assert message.encode()
        return
    assert isinstance(result, Config)
    for provider in result.providers.values():
        json.dumps(dict(provider.extra_body))
        assert provider.base_url is None or provider.base_url.startswith("http")


@settings(deadline=None)
@given(
    st.text() | st.text(string.printable) | st.lists(_WORDS | st.text(":-[]{}\n ,#")).map("".join)
)
def test_any_text_is_a_configuration_or_an_error(text: str) -> None:
    _check(text)


@settings(deadline=None)
@given(_TREES | _LIKELY, st.booleans())
def test_any_yaml_is_a_configuration_or_an_error(tree: Any, flow: bool) -> None:
    _check(yaml.safe_dump(tree, default_flow_style=flow, allow_unicode=flow))
