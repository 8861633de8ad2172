"""The smaller sections of g4f.yaml: each a function from its YAML node to what `Config` has of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .settings import Budget, LocalConfig

if TYPE_CHECKING:
    from .yaml_reader import _Reader


def local(reader: _Reader, node: Any, label: str) -> LocalConfig:
    """The models that run on this machine."""
    values: dict[str, Any] = {}
    for key, key_node, value in reader.items(node, label):
        if key == "model":
            values[key] = reader.text(value, f"model of {label}")
        elif key == "keep_alive":
            values[key] = reader.duration(value, f"keep_alive of {label}")
        else:
            raise reader.fail(
                key_node, f"unknown key {key!r} in {label}; known keys: model, keep_alive."
            )
    return LocalConfig(**values)


def budget(reader: _Reader, node: Any, label: str) -> Budget:
    """A budget, of all providers or of one."""
    _require_prices(reader, node, label)
    values: dict[str, float] = {}
    for key, key_node, value in reader.items(node, label):
        if key not in ("day", "month"):
            raise reader.fail(
                key_node, f"unknown key {key!r} in {label}; known keys: day, month (US dollars)."
            )
        values[key] = reader.number(value, f"{key} of {label}")
    if not values:
        raise reader.fail(node, f"{label} needs day or month, in US dollars: {{day: 2.00}}.")
    return Budget(**values, line=node.start_mark.line + 1)


def order(reader: _Reader, node: Any, label: str) -> str:
    """What decides about the order of equally exact candidates."""
    value = reader.text(node, label)
    if value not in ("price", "latency"):
        raise reader.fail(node, f"{label} must be price or latency, not {reader.shown(value)}.")
    if value == "price":
        _require_prices(reader, node, f"{label}: price")
    return value


def _require_prices(reader: _Reader, node: Any, label: str) -> None:
    if find_spec("genai_prices") is None:
        raise reader.fail(
            node, f"{label} needs a table of prices: llm install 'llm-g4f[prices]', or remove it."
        )


SECTIONS: Mapping[str, Callable[[_Reader, Any, str], Any]] = {
    "local": local,
    "budget": budget,
    "order": order,
}
