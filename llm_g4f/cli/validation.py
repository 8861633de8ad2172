"""Names of providers and models, checked and resolved."""

from __future__ import annotations

import click


def check_name(name: str) -> None:
    """Raise a click error if there is no provider `name`."""
    from .. import config
    from ..routing.registry import Registry, unknown_provider_error

    registry = Registry(config.load())
    names = registry.names()
    if registry.is_member(name):
        raise click.ClickException(
            f"{name} takes part where a route in g4f.yaml or -o provider names it, and nowhere else."
        )
    if name not in names:
        raise unknown_provider_error(name, names)


def requested_model(name: str) -> str:
    """The model that `name` asks for: "4o" and "g4f/gpt-4o" are gpt-4o, as for `llm -m`."""
    import llm

    from ..adapter.models import G4F

    try:
        model = llm.get_model(name)
    except llm.UnknownModelError:
        return name
    return model.requested if isinstance(model, G4F) else name
