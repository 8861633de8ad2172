"""Pieces of tool calls, assigned to their calls."""

from __future__ import annotations

import json
from typing import Any

from ..types import JSON, Function, ToolCallDelta
from .text import whole


class ToolCallAssembler:
    """The tool calls of one choice: which call a piece belongs to.

    By id, then by index; a new id on a used index is a new call; a piece with neither
    belongs to the call before it.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._named: list[bool] = []
        self._by_index: dict[int, int] = {}

    def read(self, calls: list[Any]) -> list[ToolCallDelta]:
        """The deltas of `calls`, the tool_calls of one chunk as parsed JSON. An id and a name come once."""
        found = []
        for position, call in enumerate(calls):
            if not isinstance(call, dict):
                continue
            function = call.get("function")
            if not isinstance(function, dict):
                function = {}
            name = function.get("name")
            arguments = function.get("arguments")
            extra = call.get("extra_content")
            if isinstance(arguments, (dict, list)):
                arguments = json.dumps(arguments)
            if not isinstance(name, str):
                name = ""
            place, new = self._place(call, position, len(calls), bool(name))
            if self._named[place]:
                name = ""
            elif name:
                self._named[place] = True
            found.append(
                ToolCallDelta(
                    place,
                    self._ids[place] if new else None,
                    Function(whole(name), whole(arguments) if isinstance(arguments, str) else ""),
                    extra_content=extra if isinstance(extra, dict) else None,
                )
            )
        return found

    def _place(self, call: JSON, position: int, count: int, named: bool) -> tuple[int, bool]:
        given = call.get("id")
        id = given if isinstance(given, str) and given else None
        index = call.get("index")
        if not isinstance(index, int) or isinstance(index, bool):
            index = None
        if id is not None and id in self._ids:
            return self._ids.index(id), False
        if id is None:
            if index is not None and index in self._by_index:
                return self._by_index[index], False
            if index is None and self._ids and not named:
                return len(self._ids) - 1, False
        place = len(self._ids)
        self._ids.append(id or f"call_{place}")
        self._named.append(False)
        if index is None:
            index = position if count > 1 else place
        self._by_index[index] = place
        return place, True
