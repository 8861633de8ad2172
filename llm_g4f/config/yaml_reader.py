"""Read g4f.yaml into `Config`. Every error names the file and the line."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .files import user_file
from .model_keys import ANY_IS_RESERVED, problem_of
from .sections import SECTIONS, budget
from .settings import ALL_PROVIDERS, Config, ModelEntry, ProviderConfig, is_pattern
from .urls import check_base_url
from .yaml_size import count_values

_SWITCHES = ("takeover", "substitutes", "notice")

_PROVIDER_NAME = r"[a-z0-9][a-z0-9_.-]*"

_MAX_DEPTH = 100
_MAX_SIZE = 1 << 20
"""The most bytes g4f.yaml may have, and the most values with its aliases expanded. A file written
by hand has about a thousandth of that."""

_loaded: tuple[tuple[str, int, int], Config] | None = None


def load() -> Config:
    """The configuration in g4f.yaml. Reads the file again only after it has changed.

    Raises `ConfigError`.
    """
    global _loaded
    name = user_file("g4f.yaml")
    try:
        status = os.stat(name)  # noqa: PTH116 (making a Path takes longer than the call)
    except (FileNotFoundError, NotADirectoryError):
        version = (name, 0, -1)
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror}.") from None
    else:
        version = (name, status.st_mtime_ns, status.st_size)
        if _loaded is not None and _loaded[0] == version:
            return _loaded[1]
        if not stat.S_ISREG(status.st_mode):
            # Reading a pipe would block for ever.
            raise ConfigError(f"{name} cannot be read: it is not a regular file.")
        if status.st_size > _MAX_SIZE:
            raise ConfigError(
                f"{name} is too large: {status.st_size:,} bytes, and {_MAX_SIZE:,} are allowed."
            )
    if _loaded is None or _loaded[0] != version:
        path = Path(name)
        _loaded = (version, Config(path) if version[2] < 0 else parse(_read_text(path), path))
    return _loaded[1]


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text: save it as UTF-8.") from None


def parse(text: str, path: Path) -> Config:
    """The configuration in the YAML document `text`. `path` is only named in errors. Raises
    `ConfigError`."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # libyaml's composer recurses on the C stack: too deep, it crashes the process.
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise RecursionError
        root = yaml.compose(text, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        if "nesting depth" in problem:
            # PyYAML's own limit (6.0.4) comes first: it counts brackets that it has only looked ahead at.
            raise ConfigError(f"{path}: nested too deeply.") from None
        raise ConfigError(f"{where}: not valid YAML: {problem}.") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply.") from None
    if root is None:
        return Config(path)
    try:
        if count_values(root, {}) > _MAX_SIZE:
            raise ConfigError(f"{path}: its aliases expand to too many values.")
        return Reader(path, yaml).config(root)
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply.") from None


class Reader:
    """Reads configuration from YAML nodes, which know their line, while plain data does not.

    `label` names the value in errors. Every method raises `ConfigError`.
    """

    def __init__(self, path: Path, yaml: Any) -> None:
        self.path = path
        self.yaml = yaml
        self._constructor = yaml.constructor.SafeConstructor()

    def fail(self, node: Any, message: str) -> ConfigError:
        return ConfigError(f"{self.path}, line {node.start_mark.line + 1}: {message}")

    def items(self, node: Any, label: str) -> list[tuple[str, Any, Any]]:
        """The (key, key node, value node) of each entry of a mapping."""
        if isinstance(node, self.yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
            return []
        if not isinstance(node, self.yaml.MappingNode):
            raise self.fail(node, f"{label} must be a mapping (name: value).")
        seen: dict[str, Any] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, self.yaml.ScalarNode):
                raise self.fail(key_node, f"a key of {label} must be plain text.")
            if not key_node.value.isprintable():
                raise self.fail(
                    key_node, f"{key_node.value!r:.80} in {label} contains a control character."
                )
            if key_node.value in seen:
                raise self.fail(key_node, f"duplicate key {key_node.value!r} in {label}.")
            seen[key_node.value] = (key_node, value)
        return [(key, *nodes) for key, nodes in seen.items()]

    def plain(self, node: Any) -> Any:
        """The node as plain data."""
        try:
            return self._constructor.construct_object(node, deep=True)
        except self.yaml.YAMLError as error:
            raise self.fail(node, f"{getattr(error, 'problem', None) or error}.") from None
        except (ValueError, TypeError, OverflowError, LookupError, AttributeError):
            # PyYAML raises these for text that does not fit its tag: "!!bool never".
            raise self.fail(node, f"invalid {node.tag}: {node.value!r:.80}.") from None

    @staticmethod
    def shown(value: Any) -> str:
        try:
            return f"{value!r:.80}"
        except ValueError:
            return "a number with thousands of digits"

    def boolean(self, node: Any, label: str) -> bool:
        value = self.plain(node)
        if not isinstance(value, bool):
            raise self.fail(node, f"{label} must be true or false, not {self.shown(value)}.")
        return value

    def text(self, node: Any, label: str) -> str:
        value = self.plain(node)
        if not isinstance(value, str) or not value.strip():
            raise self.fail(node, f"{label} must be text, not {self.shown(value)}.")
        if not value.strip().isprintable():
            raise self.fail(node, f"{label} contains a control character: remove it.")
        return value.strip()

    def number(self, node: Any, label: str) -> float:
        value = self.plain(node)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
            raise self.fail(node, f"{label} must be a number above 0, not {self.shown(value)}.")
        return value

    def duration(self, node: Any, label: str) -> float:
        from .durations import seconds_in

        value = self.plain(node)
        if (seconds := seconds_in(value)) is None:
            shown = self.shown(value)
            raise self.fail(node, f"{label} must be a time such as 300, 5m or 24h, not {shown}.")
        return seconds

    def config(self, root: Any) -> Config:
        values: dict[str, Any] = {}
        route_nodes: list[tuple[str, Any]] = []
        for key, key_node, value in self.items(root, "g4f.yaml"):
            if key in _SWITCHES:
                values[key] = self.boolean(value, key)
            elif key in SECTIONS:
                values[key] = SECTIONS[key](self, value, key)
            elif key == "providers":
                values[key] = {
                    name: self.provider(name, name_node, entry)
                    for name, name_node, entry in self.items(value, "providers")
                }
            elif key == "routes":
                entries = self.items(value, "routes")
                values[key] = {model: self.route(model, entry) for model, _, entry in entries}
                route_nodes = [(model, node) for model, node, _ in entries]
                values["route_lines"] = {
                    name: node.start_mark.line + 1 for name, node in route_nodes
                }
            else:
                known = ", ".join((*_SWITCHES, *SECTIONS, "providers", "routes"))
                raise self.fail(key_node, f"unknown key {key!r}; known keys: {known}.")
        shared, providers = values.pop("budget", None), values.get("providers", {})
        budgets = {name: each.budget for name, each in providers.items()} | {ALL_PROVIDERS: shared}
        values["budgets"] = {name: each for name, each in budgets.items() if each is not None}
        config = Config(self.path, **values)
        for route in route_nodes:
            self.check_model(*route, "routes", config.models())
        return config

    def check_model(self, name: str, node: Any, label: str, named: Iterable[str] = ()) -> None:
        if (problem := problem_of(name, named)) is not None:
            raise self.fail(node, f"{name!r} in {label} {problem}.")

    def route(self, model: str, node: Any) -> tuple[str, ...]:
        if not isinstance(node, self.yaml.SequenceNode) or not node.value:
            raise self.fail(node, f"the route of {model} must be a list of providers.")
        entries = [self.text(entry, f"an entry of the route of {model}") for entry in node.value]
        if "any" in entries:
            raise self.fail(node.value[entries.index("any")], ANY_IS_RESERVED)
        return tuple(entries)

    def provider(self, name: str, name_node: Any, node: Any) -> ProviderConfig:
        if not re.fullmatch(_PROVIDER_NAME, name):
            raise self.fail(
                name_node,
                f"invalid provider name {name!r}: use lower-case letters, digits, - _ and . only.",
            )
        if name == "any":
            raise self.fail(name_node, ANY_IS_RESERVED)
        label = f"provider {name}"
        entry: dict[str, Any] = {}
        nodes: dict[str, Any] = {}
        for key, key_node, value in self.items(node, label):
            read = self._provider_keys.get(key)
            if read is None:
                known = ", ".join(self._provider_keys)
                raise self.fail(key_node, f"unknown key {key!r} in {label}; known keys: {known}.")
            entry[key] = read(self, value, f"{key} of {label}")
            nodes[key] = value
        if "key" in entry and "key_env" in entry:
            raise self.fail(nodes["key_env"], f"{label} has both key and key_env: remove one.")
        if "base_url" in entry:
            try:
                entry["base_url"] = check_base_url(
                    entry["base_url"], plain_http=entry.get("plain_http", False)
                )
            except ValueError as error:
                raise self.fail(nodes["base_url"], f"base_url of {label}: {error}") from None
        return ProviderConfig(name, line=name_node.start_mark.line + 1, **entry)

    def models(self, node: Any, label: str) -> dict[str, ModelEntry]:
        entries: dict[str, ModelEntry] = {}
        for model, model_node, value in self.items(node, label):
            if is_pattern(model):
                why = "is a pattern, which only routes takes: write a line for each model"
                raise self.fail(model_node, f"{model!r} in {label} {why}.")
            self.check_model(model, model_node, label)
            if isinstance(value, self.yaml.ScalarNode):
                entries[model] = ModelEntry(self.text(value, f"{model} in {label}"))
                continue
            entry: dict[str, Any] = {}
            for key, key_node, inner in self.items(value, f"{model} in {label}"):
                if key == "id":
                    entry[key] = self.text(inner, f"id of {model} in {label}")
                elif key == "exact":
                    entry[key] = self.boolean(inner, f"exact of {model} in {label}")
                else:
                    raise self.fail(key_node, f"unknown key {key!r}; known keys: id, exact.")
            if "id" not in entry:
                raise self.fail(value, f"{model} in {label} needs an id.")
            entries[model] = ModelEntry(**entry)
        return entries

    def headers(self, node: Any, label: str) -> dict[str, str]:
        headers: dict[str, str] = {}
        for name, name_node, value in self.items(node, label):
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
                raise self.fail(name_node, f"invalid header name {name!r}.")
            if name.lower() in ("authorization", "api-key"):
                raise self.fail(name_node, f"a key belongs in key or key_env, not in {label}.")
            content = self.text(value, f"{name} in {label}")
            if not content.isascii():
                raise self.fail(value, f"{name} in {label} must be ASCII.")
            headers[name] = content
        return headers

    def body(self, node: Any, label: str) -> dict[str, Any]:
        self.items(node, label)
        value: dict[str, Any] = self.plain(node)
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise self.fail(node, f"{label} cannot be sent as JSON: {error}.") from None
        return value

    def context(self, node: Any, label: str) -> int:
        value = self.number(node, label)
        if not isinstance(value, int):
            raise self.fail(node, f"{label} must be a whole number of tokens.")
        return value

    def ca_file(self, node: Any, label: str) -> str:
        path = Path(self.text(node, label))
        try:
            path = path.expanduser()
            exists = path.is_file()
        except (OSError, RuntimeError):  # too long, no access; no such user
            exists = False
        if not exists:
            raise self.fail(node, f"{label}: file not found: {str(path)[:300]}")
        return str(path)

    def quirks(self, node: Any, label: str) -> tuple[str, ...]:
        if not isinstance(node, self.yaml.SequenceNode):
            raise self.fail(node, f"{label} must be a list.")
        return tuple(self.text(entry, f"an entry of {label}") for entry in node.value)

    _provider_keys: Mapping[str, Callable[[Reader, Any, str], Any]] = {
        "enabled": boolean,
        "base_url": text,
        "key": text,
        "key_env": text,
        "models": models,
        "vision": boolean,
        "audio": boolean,
        "supports_tools": boolean,
        "supports_schema": boolean,
        "context": context,
        "headers": headers,
        "extra_body": body,
        "quirks": quirks,
        "timeout": number,
        "plain_http": boolean,
        "ca_file": ca_file,
        "budget": budget,
    }
