"""Pieces of tool calls, assigned to their calls.

OpenAI sends a call's id and name with its first piece, and its index with each. Other servers
send all calls with index 0, another id with every piece, the id late, the name in pieces or
again and again, or a finished call once more. A call goes on under its index, or its id where
there is no index, until a name begins another one (`_begins_another`).
"""

from __future__ import annotations

import json
import re
from typing import Any

from msgspec import Struct

from ..types import JSON, Function, ToolCallDelta
from .text import joined, whole

_LONGEST_NAME = 1024
"""Characters; OpenAI allows 64. Without a bound, a name in pieces is copied once for each of them."""

_MOST_CALLS = 10_000
"""Calls of one choice; OpenAI allows 128 tools. Half a million fit into an answer that is not too large,
and would keep the event loop for ten seconds."""

_BRACKETS = re.compile(r'\\.?|["{}\[\]]', re.DOTALL)


class _Piece(Struct):
    """One entry of `tool_calls`. `name` and `arguments` are "" where they are missing."""

    id: str | None
    index: int | None
    name: str
    arguments: str
    extra: JSON | None


class _Call(Struct):
    """A call so far. `id` is the one handed on, `last_id` the provider's latest, `ends` the first and
    the last character of the arguments but blanks, and `half` the half of a surrogate pair. `again`:
    its name came once more behind its whole arguments: a repetition, or the beginning of the next.
    `unread` are the arguments that `is_whole` has yet to read; behind the others, `depth` brackets
    are open, and perhaps a string."""

    place: int
    index: int
    id: str | None = None
    last_id: str | None = None
    name: str = ""
    arguments: list[str] = []
    size: int = 0
    ends: str = ""
    half: str = ""
    extra: JSON | None = None
    announced: bool = False
    again: bool = False
    unread: list[str] = []
    depth: int = 0
    in_string: bool = False

    def add(self, arguments: str) -> str:
        """Add arguments; they are returned without half a surrogate pair at their end."""
        arguments, self.half = joined(self.half, arguments)
        self.arguments.append(arguments)
        self.unread.append(arguments)
        self.size += len(arguments)
        if stripped := arguments.strip():
            self.ends = (self.ends or stripped)[0] + stripped[-1]
        return arguments

    def text(self) -> str:
        """The arguments so far."""
        if len(self.arguments) > 1:
            self.arguments = ["".join(self.arguments)]
        return self.arguments[0] if self.arguments else ""

    def is_whole(self) -> bool:
        """Whether the arguments are a whole object, by their brackets. Reads each piece once."""
        mark = ""
        for match in _BRACKETS.finditer("".join(self.unread)):
            mark = match[0]
            if mark == '"':
                self.in_string = not self.in_string
            elif not self.in_string and mark[0] != "\\":
                self.depth += 1 if mark in "{[" else -1
        # A backslash at the end escapes what comes next.
        self.unread = [mark] if mark == "\\" else []
        return self.ends == "{}" and self.depth == 0 and not self.in_string

    def goes_on_in(self, piece: _Piece) -> bool:
        """Whether a piece with the name once more, and another id, goes on inside the arguments."""
        begins = piece.arguments.lstrip()[:1] in ("", "{")
        return bool(self.ends) and piece.name == self.name and not begins and not self.is_whole()

    def repeats(self, piece: _Piece) -> bool:
        """Whether a piece is the whole arguments once more."""
        # Lengths first, so that the texts are compared at most log(length) times.
        return (
            len(piece.arguments) == self.size
            and self.ends == "{}"
            and piece.arguments == self.text()
            and self.is_whole()
        )


class ToolCallAssembler:
    """The tool calls of one choice: `read` the pieces of each chunk, then `end`."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_id: dict[str, _Call] = {}
        self._by_index: dict[int, _Call] = {}
        self._open: dict[int, _Call] = {}

    def read(self, pieces: list[Any], *, is_whole: bool = False) -> list[ToolCallDelta]:
        """The deltas of one chunk's pieces. With `is_whole` each piece is a call of its own. Raises
        `ValueError` for too many calls, and for a name that is too long."""
        deltas = []
        touched: set[int] = set()
        for given in pieces:
            if not isinstance(given, dict):
                continue
            piece = _piece(given)
            call = None if is_whole else self._continued(piece, touched)
            if call is None:
                call = self._new(piece)
            touched.add(call.place)
            self._open[call.place] = call
            if (delta := self._add(call, piece)) is not None:
                deltas.append(delta)
        return deltas

    def end(self) -> list[ToolCallDelta]:
        """The deltas that were held back. Raises `ValueError` for a call without a name."""
        deltas = []
        for call in self._open.values():
            if not call.name:
                raise ValueError("a tool call without a name")
            rest = ""
            if call.half:
                rest, call.half = whole(call.half), ""
                call.arguments.append(rest)
            if not call.announced:
                deltas.append(self._announced(call))
            elif rest:
                deltas.append(ToolCallDelta(call.place, None, Function("", rest)))
        self._open.clear()
        return deltas

    def is_complete(self) -> bool:
        """Whether every call has a name and a whole object of arguments."""
        return all(call.name and _is_object(call.text()) for call in self._calls)

    def _continued(self, piece: _Piece, touched: set[int]) -> _Call | None:
        """The call that a piece goes on with; None if it begins one."""
        by_id = self._by_id.get(piece.id) if piece.id else None
        if piece.index is not None:
            call = self._by_index.get(piece.index)
            if by_id is not None and by_id is not call and self._goes_on(by_id, call, piece):
                call = by_id
        elif by_id is not None:
            call = by_id
        else:
            call = self._calls[-1] if self._calls else None
            if call and piece.id and piece.name and not call.goes_on_in(piece):
                call = None
        if call is None or _begins_another(call, piece, touched):
            return None
        if call.again and piece.arguments.strip() and not call.repeats(piece):
            piece.name = call.name
            return None
        return call

    def _goes_on(self, by_id: _Call, by_index: _Call | None, piece: _Piece) -> bool:
        """Whether a piece belongs to the call with its id, and not to that with its index."""
        if not piece.name:
            return by_index is None or by_index.last_id != piece.id
        # Calls that take turns under one index.
        return (
            by_id.index == piece.index
            and by_id.name == piece.name
            and (not by_id.is_whole() or by_id.repeats(piece))
        )

    def _new(self, piece: _Piece) -> _Call:
        place = len(self._calls)
        if place == _MOST_CALLS:
            raise ValueError(f"more than {_MOST_CALLS:,} tool calls")
        call = _Call(place, place if piece.index is None else piece.index, arguments=[])
        self._calls.append(call)
        self._by_index[call.index] = call
        return call

    def _add(self, call: _Call, piece: _Piece) -> ToolCallDelta | None:
        """Add a piece to its call; what it adds for the caller, None if nothing."""
        if call.id is None and piece.id and piece.id not in self._by_id:
            call.id = piece.id
        if piece.id:
            call.last_id = piece.id
            self._by_id.setdefault(piece.id, call)
        name = piece.name.removeprefix(call.name)
        call.name += name
        if len(call.name) > _LONGEST_NAME:
            raise ValueError(f"a tool call with a name of more than {_LONGEST_NAME:,} characters")
        arguments = ""
        if piece.arguments and not call.repeats(piece):
            arguments = call.add(piece.arguments)
        if piece.extra is not None:
            call.extra = piece.extra
        if not call.announced:
            # OpenAI's shape has id and name in a call's first delta.
            ready = call.name and (call.id or call.ends)
            return self._announced(call) if ready else None
        if not (name or arguments or piece.extra):
            return None
        return ToolCallDelta(call.place, None, Function(name, arguments), extra_content=piece.extra)

    def _announced(self, call: _Call) -> ToolCallDelta:
        call.announced = True
        if call.id is None:
            call.id = self._made_up_id(call.place)
        return ToolCallDelta(
            call.place, call.id, Function(call.name, call.text()), extra_content=call.extra
        )

    def _made_up_id(self, place: int) -> str:
        id = f"call_{place}"
        while id in self._by_id:
            id += "_"
        self._by_id[id] = self._calls[place]
        return id


def _begins_another(call: _Call, piece: _Piece, touched: set[int]) -> bool:
    """Whether a piece with the index or id of `call` begins another call: by its name. Notes in `call`
    where that cannot be known yet."""
    if not piece.name or not call.name:
        return False
    if call.place in touched:
        return True
    same_name = piece.name == call.name
    other_id = bool(piece.id and call.id and piece.id != call.id)
    if not call.ends:
        # A name in pieces, or again, before its arguments.
        return other_id and not (same_name and piece.arguments)
    if not same_name:
        return True
    if not call.is_whole():
        return False
    if piece.arguments.strip() and not call.repeats(piece):
        return True
    call.again = not other_id
    return other_id


def _piece(given: JSON) -> _Piece:
    function = given.get("function")
    if not isinstance(function, dict):
        function = {}
    id, index, name = given.get("id"), given.get("index"), function.get("name")
    arguments, extra = function.get("arguments"), given.get("extra_content")
    if isinstance(arguments, (dict, list)):
        arguments = json.dumps(arguments)
    return _Piece(
        id if isinstance(id, str) and id else None,
        index if isinstance(index, int) and not isinstance(index, bool) else None,
        whole(name) if isinstance(name, str) else "",
        arguments if isinstance(arguments, str) else "",
        extra if isinstance(extra, dict) else None,
    )


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
