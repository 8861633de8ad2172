"""Text that attacks a terminal, and all that a user sees of an answer."""

from __future__ import annotations

import traceback
from typing import Any

from llm_g4f import AsyncClient
from llm_g4f.errors import G4FError
from tests.support.commands import llm_command

TRICKS = {
    "clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "title": "\x1b]0;root@host\x1b\\",
    "clear": "\x1b[2J\x1b[H",
    "C1": "\x9b2J\x9d52;c;AA\x9c",
    "line": "\rllm: all is well\x08\x08",
    "bidi": "\u202etxt.exe\u202c \u2066x\u2069",
    "NUL and DEL": "\x00\x7f",
}
TRICK = "".join(TRICKS.values())


def assert_no_escapes(text: str) -> None:
    """Check that `text` has nothing that a terminal acts on, and nothing that reorders text."""
    bad = {
        char
        for char in text
        if (ord(char) < 32 and char not in "\n\t")
        or 0x7F <= ord(char) <= 0x9F
        or 0x202A <= ord(char) <= 0x202E
        or 0x2066 <= ord(char) <= 0x2069
    }
    # Ours: the head of a table is bold.
    if "\x1b" in bad and "\x1b" not in text.replace("\x1b[1m", "").replace("\x1b[0m", ""):
        bad.discard("\x1b")
    assert not bad, f"{sorted(bad)} in {text!r:.2000}"


def invoke(*args: str) -> str:
    """The output of `llm` on a terminal, with the traceback of the exception that ended it."""
    done = llm_command(*args, color=True)
    ended = traceback.format_exception(*done.exc_info) if done.exc_info else []
    return done.output + "".join(ended)


async def ask(provider: str | None = None, **settings: Any) -> str:
    """All that there is to see of a question through the Python client."""
    client = AsyncClient(provider, **settings)
    seen = [
        repr(client),
        repr(vars(client)),
        repr(vars(vars(client.chat.completions)["_settings"])),
    ]
    try:
        stream = client.chat.completions.create("hi", stream=True)
        seen += [f"{piece!r} {piece.model_dump_json()}" async for piece in stream]
    except G4FError as error:
        seen.append(f"{vars(error)}")
        chain: BaseException | None = error
        while chain is not None:
            seen += [f"{chain} {chain!r}", *traceback.format_exception(chain)]
            chain = chain.__cause__ or chain.__context__
    return "\n".join(seen)
