"""tests/messages.txt: every message of the fault matrix."""

from __future__ import annotations

from pathlib import Path

MESSAGES = Path(__file__).parents[1] / "messages.txt"

Message = tuple[str, str]
"""An error's class and its message, without what differs from run to run."""


def write_messages(messages: dict[str, Message]) -> None:
    """Write the messages, given by the names of their faults: each once, with all its faults."""
    names: dict[Message, list[str]] = {}
    for name, message in messages.items():
        names.setdefault(message, []).append(name)
    blocks = [
        f"{kind}\n"
        + "".join(f"    {line}\n" for line in message.split("\n"))
        + "".join(f"- {name}\n" for name in names[kind, message])
        for kind, message in sorted(names, key=lambda one: one[0])
    ]
    MESSAGES.write_text("\n".join(blocks), encoding="utf-8")


def read_messages() -> dict[str, Message]:
    """The messages by the names of their faults."""
    messages: dict[str, Message] = {}
    for block in MESSAGES.read_text(encoding="utf-8").split("\n\n"):
        kind, *lines = block.removesuffix("\n").split("\n")
        message = "\n".join(line[4:] for line in lines if line.startswith("    "))
        messages |= {line[2:]: (kind, message) for line in lines if line.startswith("- ")}
    return messages
