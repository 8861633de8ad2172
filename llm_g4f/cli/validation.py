"""Check names of providers and resolve names of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..routing.registry import Registry


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


def known_model(name: str, registry: Registry) -> str:
    """The requested model behind `name`: an id or alias, a name in g4f.yaml, or provider/id.

    Raises a click error with near names for any other.
    """
    from difflib import get_close_matches

    from ..model_names import MODELS, OPEN_MODELS, meant_by
    from ..providers.model_ids import names_of

    model = requested_model(name)
    names, config = names_of(model), registry.config
    known = [*MODELS, *OPEN_MODELS, *config.models()]
    if any(form in known for form in names) or config.route_key(names) is not None:
        return model
    if "/" in model and (model.split("/")[0] in registry.names() or model.startswith("llm:")):
        return model
    near = meant_by(name) or next(iter(get_close_matches(name, known, 1)), None)
    guess = f" Did you mean {near}?" if near else ""
    raise click.ClickException(
        f"Unknown model {name!r}.{guess} Models: {', '.join(dict.fromkeys(known))}; or PROVIDER/ID."
    )
