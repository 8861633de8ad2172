"""What we say on a terminal: notices in dim style, and nothing in the line of an unfinished answer."""

from __future__ import annotations

import logging
import os
import sys

import click

_LOGGER = logging.getLogger("llm_g4f")


class _Handler(logging.Handler):
    """Write to stderr as logging does where nobody set it up. On a terminal a notice is dim, as llm
    shows reasoning, and begins a line of its own; the record itself has neither."""

    def emit(self, record: logging.LogRecord) -> None:
        others = [handler for handler in _LOGGER.handlers if handler is not self]
        if others or logging.getLogger().handlers:
            # The program has set up logging, and shows the record in its own way.
            return
        text = self.format(record)
        stream = sys.stderr
        try:
            if stream.isatty():
                if not os.environ.get("NO_COLOR"):
                    text = click.style(text, dim=True)
                if getattr(record, "in_answer", False):
                    text = f"\n{text}"
            click.echo(text, file=stream)
        except Exception:  # noqa: BLE001 (as every handler of logging)
            self.handleError(record)


_handler = _Handler(logging.WARNING)


def show_notices() -> None:
    """Show what is logged at WARNING to the person at a terminal, unless the program shows it."""
    if _handler not in _LOGGER.handlers:
        _LOGGER.addHandler(_handler)


def end_line() -> None:
    """End the line of an answer that broke off, before llm's error, if both are on one terminal."""
    if click.get_current_context(silent=True) is None:
        # A program shows the answer in its own way.
        return
    if sys.stdout.isatty() and sys.stderr.isatty():
        sys.stdout.flush()
        click.echo(err=True)
