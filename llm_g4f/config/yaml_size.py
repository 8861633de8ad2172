"""The size of a YAML document with its aliases expanded."""

from __future__ import annotations

from typing import Any


def count_values(node: Any, counts: dict[int, int]) -> int:
    """The number of values in a node with its aliases expanded. `counts` has the known ones, by the
    node's id(). Raises RecursionError."""
    if id(node) not in counts:
        counts[id(node)] = 1  # ends the recursion if the node contains itself
        children = node.value if isinstance(node.value, list) else ()
        pairs = (child if isinstance(child, tuple) else (child,) for child in children)
        counts[id(node)] = 1 + sum(count_values(part, counts) for pair in pairs for part in pair)
    return counts[id(node)]
