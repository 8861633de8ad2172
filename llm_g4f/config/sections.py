"""The smaller sections of g4f.yaml: each a function from its YAML node to what `Config` has of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .settings import Budget, CacheConfig, LocalConfig

if TYPE_CHECKING:
    from .yaml_reader import Reader


def local(reader: Reader, node: Any, label: str) -> LocalConfig:
    """The models that run on this machine."""
    return LocalConfig(
        **_values(reader, node, label, {"model": reader.text, "keep_alive": reader.duration})
    )


def cache(reader: Reader, node: Any, label: str) -> CacheConfig:
    """Answers that are given again."""

    def ttl(node: Any, label: str) -> float:
        seconds: float = reader.duration(node, label)
        if seconds <= 0:
            raise reader.fail(node, f"{label} must be above 0. Without a cache, leave cache out.")
        return seconds

    return CacheConfig(**_values(reader, node, label, {"ttl": ttl}))


def budget(reader: Reader, node: Any, label: str) -> Budget:
    """A budget, of all providers or of one."""
    _require_prices(reader, node, label)
    periods = {"day": reader.number, "month": reader.number}
    values = _values(reader, node, label, periods, " (US dollars)")
    if not values:
        raise reader.fail(node, f"{label} needs day or month, in US dollars: {{day: 2.00}}.")
    return Budget(**values, line=node.start_mark.line + 1)


def order(reader: Reader, node: Any, label: str) -> str:
    """What decides about the order of equally exact candidates."""
    value = reader.text(node, label)
    if value not in ("price", "latency"):
        raise reader.fail(node, f"{label} must be price or latency, not {reader.shown(value)}.")
    if value == "price":
        _require_prices(reader, node, f"{label}: price")
    return value


def _values(
    reader: Reader,
    node: Any,
    label: str,
    readers: Mapping[str, Callable[[Any, str], Any]],
    unit: str = "",
) -> dict[str, Any]:
    """The values of a mapping, each read by the reader of its key."""
    values: dict[str, Any] = {}
    for key, key_node, value in reader.items(node, label):
        if key not in readers:
            known = ", ".join(readers)
            raise reader.fail(
                key_node, f"unknown key {key!r} in {label}; known keys: {known}{unit}."
            )
        values[key] = readers[key](value, f"{key} of {label}")
    return values


def _require_prices(reader: Reader, node: Any, label: str) -> None:
    if find_spec("genai_prices") is None:
        raise reader.fail(
            node, f"{label} needs a table of prices: llm install 'llm-g4f[prices]', or remove it."
        )


SECTIONS: Mapping[str, Callable[[Reader, Any, str], Any]] = {
    "local": local,
    "cache": cache,
    "budget": budget,
    "order": order,
}
