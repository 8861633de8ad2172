"""Names of providers and models, checked and resolved."""

from __future__ import annotations

import click

__all__ = ["check_name", "requested_model"]


def check_name(name: str) -> None:
    """Raise a click error if there is no provider `name`."""
    from .. import config
    from ..routing.registry import Source, no_such

    source = Source(config.load())
    names = source.names()
    if source.is_member(name):
        raise click.ClickException(
            f"{name} takes part where a route in g4f.yaml or -o provider names it, and nowhere else."
        )
    if name not in names:
        raise no_such(name, names)


def requested_model(name: str) -> str:
    """The model that `name` asks for: "4o" and "g4f/gpt-4o" are gpt-4o, as for `llm -m`."""
    import llm

    from ..models import G4F

    try:
        model = llm.get_model(name)
    except llm.UnknownModelError:
        return name
    return model.requested if isinstance(model, G4F) else name
