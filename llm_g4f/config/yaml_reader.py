"""g4f.yaml into `Config`. Every error names the file and the line."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .files import user_file
from .settings import Config, ModelEntry, ProviderConfig
from .urls import check_base_url

_NAME = r"[a-z0-9][a-z0-9_.-]*"
_DEPTH = 100
_LARGEST = 1 << 20
"""Bytes of g4f.yaml, and values in it, those behind aliases counted each time: a person's file has a
thousandth of that."""


_loaded: tuple[tuple[str, int, int], Config] | None = None


def load() -> Config:
    """The configuration as the file is now; read again only when the file has changed.

    Raises `ConfigError`.
    """
    global _loaded
    name = user_file("g4f.yaml")
    try:
        found = os.stat(name)  # noqa: PTH116 (a Path takes longer than the question)
    except (FileNotFoundError, NotADirectoryError):
        seen = (name, 0, -1)
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror}.") from None
    else:
        seen = (name, found.st_mtime_ns, found.st_size)
        if _loaded is not None and _loaded[0] == seen:
            return _loaded[1]
        if not stat.S_ISREG(found.st_mode):
            # To read a pipe would wait for ever.
            raise ConfigError(f"{name} cannot be read: it is no file.")
        if found.st_size > _LARGEST:
            raise ConfigError(f"{name} is too large: {found.st_size:,} bytes.")
    if _loaded is None or _loaded[0] != seen:
        path = Path(name)
        _loaded = (seen, Config(path) if seen[2] < 0 else parse(_text(path), path))
    return _loaded[1]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text: save it as UTF-8.") from None


def parse(text: str, path: Path) -> Config:
    """The configuration in `text`; `path` is for the messages. Raises `ConfigError`."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # libyaml's composer recurses on the C stack and crashes where Python's would raise.
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEPTH:
                raise RecursionError
        root = yaml.compose(text, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        what = getattr(error, "problem", None) or "it is not YAML"
        if "nesting depth" in what:
            # PyYAML's own limit (6.0.4) counts brackets that it has only looked ahead at.
            raise ConfigError(f"{path}: nested too deeply.") from None
        raise ConfigError(f"{where}: {what}.") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply.") from None
    if root is None:
        return Config(path)
    try:
        if _values(root, {}) > _LARGEST:
            raise ConfigError(f"{path}: its aliases stand for too many values.")
        return _Reader(path, yaml).config(root)
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply.") from None


def _values(node: Any, known: dict[int, int]) -> int:
    """How many values a node stands for, those behind its aliases counted each time."""
    if id(node) not in known:
        known[id(node)] = 1  # of a loop
        inner = node.value if isinstance(node.value, list) else ()
        pairs = (part if isinstance(part, tuple) else (part,) for part in inner)
        known[id(node)] = 1 + sum(_values(one, known) for pair in pairs for one in pair)
    return known[id(node)]


class _Reader:
    """YAML nodes into configuration. Nodes, since they know their lines and plain data does not."""

    def __init__(self, path: Path, yaml: Any) -> None:
        self.path = path
        self.yaml = yaml
        self._constructor = yaml.constructor.SafeConstructor()

    def fail(self, node: Any, message: str) -> ConfigError:
        return ConfigError(f"{self.path}, line {node.start_mark.line + 1}: {message}")

    def items(self, node: Any, what: str) -> list[tuple[str, Any, Any]]:
        """(key, key node, value node) of a mapping; a key twice is an error."""
        if isinstance(node, self.yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
            return []
        if not isinstance(node, self.yaml.MappingNode):
            raise self.fail(node, f"{what} must be a mapping (name: value).")
        seen: dict[str, Any] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, self.yaml.ScalarNode):
                raise self.fail(key_node, f"a key of {what} must be plain text.")
            if not key_node.value.isprintable():
                raise self.fail(
                    key_node, f"{key_node.value!r:.80} in {what} contains a control character."
                )
            if key_node.value in seen:
                raise self.fail(key_node, f"{key_node.value!r} stands twice in {what}.")
            seen[key_node.value] = (key_node, value)
        return [(key, *nodes) for key, nodes in seen.items()]

    def plain(self, node: Any) -> Any:
        """The node as plain data."""
        try:
            return self._constructor.construct_object(node, deep=True)
        except self.yaml.YAMLError as error:
            raise self.fail(node, f"{getattr(error, 'problem', None) or error}.") from None
        except (ValueError, TypeError, OverflowError, LookupError, AttributeError):
            # What PyYAML raises for a tag whose text does not fit it: "!!bool never".
            raise self.fail(node, f"{node.tag} cannot be read from {node.value!r:.80}.") from None

    @staticmethod
    def shown(value: Any) -> str:
        try:
            return f"{value!r:.80}"
        except ValueError:
            return "a number of thousands of digits"

    def boolean(self, node: Any, what: str) -> bool:
        value = self.plain(node)
        if not isinstance(value, bool):
            raise self.fail(node, f"{what} must be true or false, not {self.shown(value)}.")
        return value

    def text(self, node: Any, what: str) -> str:
        value = self.plain(node)
        if not isinstance(value, str) or not value.strip():
            raise self.fail(node, f"{what} must be text, not {self.shown(value)}.")
        if not value.strip().isprintable():
            raise self.fail(node, f"{what} contains a control character.")
        return value.strip()

    def number(self, node: Any, what: str) -> float:
        value = self.plain(node)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
            raise self.fail(node, f"{what} must be a number above 0, not {self.shown(value)}.")
        return value

    def config(self, root: Any) -> Config:
        values: dict[str, Any] = {}
        for key, key_node, value in self.items(root, "g4f.yaml"):
            if key in ("takeover", "substitutes", "notice"):
                values[key] = self.boolean(value, key)
            elif key == "providers":
                values[key] = {
                    name: self.provider(name, name_node, entry)
                    for name, name_node, entry in self.items(value, "providers")
                }
            elif key == "routes":
                entries = self.items(value, "routes")
                values[key] = {model: self.route(model, entry) for model, _, entry in entries}
                values["route_lines"] = {
                    model: node.start_mark.line + 1 for model, node, _ in entries
                }
            else:
                raise self.fail(
                    key_node,
                    f"unknown key {key!r}; known are takeover, substitutes, notice, providers, routes.",
                )
        return Config(self.path, **values)

    def route(self, model: str, node: Any) -> tuple[str, ...]:
        if not isinstance(node, self.yaml.SequenceNode) or not node.value:
            raise self.fail(node, f"the route of {model} must be a list of providers.")
        return tuple(self.text(entry, f"an entry of the route of {model}") for entry in node.value)

    def provider(self, name: str, name_node: Any, node: Any) -> ProviderConfig:
        if not re.fullmatch(_NAME, name):
            raise self.fail(
                name_node,
                f"a provider's name is lower-case letters, digits, - _ . and not {name!r}.",
            )
        what = f"provider {name}"
        entry: dict[str, Any] = {}
        nodes: dict[str, Any] = {}
        for key, key_node, value in self.items(node, what):
            read = self._provider_keys.get(key)
            if read is None:
                known = ", ".join(self._provider_keys)
                raise self.fail(key_node, f"unknown key {key!r} in {what}; known are {known}.")
            entry[key] = read(self, value, f"{key} of {what}")
            nodes[key] = value
        if "key" in entry and "key_env" in entry:
            raise self.fail(nodes["key_env"], f"{what} has key and key_env: give one of them.")
        if "base_url" in entry:
            try:
                entry["base_url"] = check_base_url(
                    entry["base_url"], plain_http=entry.get("plain_http", False)
                )
            except ValueError as error:
                raise self.fail(nodes["base_url"], f"base_url of {what}: {error}") from None
        return ProviderConfig(name, line=name_node.start_mark.line + 1, **entry)

    def models(self, node: Any, what: str) -> dict[str, ModelEntry]:
        entries: dict[str, ModelEntry] = {}
        for model, _, value in self.items(node, what):
            if isinstance(value, self.yaml.ScalarNode):
                entries[model] = ModelEntry(self.text(value, f"{model} in {what}"))
                continue
            entry: dict[str, Any] = {}
            for key, key_node, inner in self.items(value, f"{model} in {what}"):
                if key == "id":
                    entry[key] = self.text(inner, f"id of {model} in {what}")
                elif key == "exact":
                    entry[key] = self.boolean(inner, f"exact of {model} in {what}")
                else:
                    raise self.fail(key_node, f"unknown key {key!r}; known are id, exact.")
            if "id" not in entry:
                raise self.fail(value, f"{model} in {what} needs an id.")
            entries[model] = ModelEntry(**entry)
        return entries

    def headers(self, node: Any, what: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, name_node, value in self.items(node, what):
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
                raise self.fail(name_node, f"{name!r} is no header name.")
            if name.lower() in ("authorization", "api-key"):
                raise self.fail(name_node, f"a key belongs in key or key_env, not in {what}.")
            content = self.text(value, f"{name} in {what}")
            if not content.isascii():
                raise self.fail(value, f"{name} in {what} must be ASCII.")
            found[name] = content
        return found

    def body(self, node: Any, what: str) -> dict[str, Any]:
        self.items(node, what)
        value: dict[str, Any] = self.plain(node)
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise self.fail(node, f"{what} cannot be sent as JSON: {error}.") from None
        return value

    def context(self, node: Any, what: str) -> int:
        value = self.number(node, what)
        if not isinstance(value, int):
            raise self.fail(node, f"{what} is a number of tokens.")
        return value

    def ca_file(self, node: Any, what: str) -> str:
        path = Path(self.text(node, what))
        try:
            path = path.expanduser()
            found = path.is_file()
        except (OSError, RuntimeError):  # too long, no access; no such user
            found = False
        if not found:
            raise self.fail(node, f"{what}: there is no file {str(path)[:300]}.")
        return str(path)

    def quirks(self, node: Any, what: str) -> tuple[str, ...]:
        if not isinstance(node, self.yaml.SequenceNode):
            raise self.fail(node, f"{what} must be a list.")
        return tuple(self.text(entry, f"an entry of {what}") for entry in node.value)

    _provider_keys: Mapping[str, Callable[[_Reader, Any, str], Any]] = {
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
    }
