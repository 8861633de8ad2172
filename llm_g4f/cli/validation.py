"""Check names of providers and resolve names of models."""

from __future__ import annotations

import click


def check_name(name: str) -> None:
    """Check that g4f.yaml may have an entry for provider `name`.

    Raises a click error for a member of a family such as `llm:`, `NoProviderError` for an unknown name.
    """
    from .. import config
    from ..routing.registry import Registry, unknown_provider_error

    registry = Registry(config.load())
    names = registry.names()
    if registry.is_member(name):
        raise click.ClickException(
            f"{name} cannot be enabled or disabled: it is only used where a route in g4f.yaml or"
            " -o provider names it."
        )
    if name not in names:
        raise unknown_provider_error(name, names)


def requested_model(name: str) -> str:
    """Resolve aliases as `llm -m` does: "4o" and "g4f/gpt-4o" are gpt-4o. Other names stay."""
    import llm

    from ..adapter.models import G4F

    try:
        model = llm.get_model(name)
    except llm.UnknownModelError:
        return name
    return model.requested if isinstance(model, G4F) else name
