"""`llm g4f add`: add your own endpoint."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

import click

from .errors import handle_errors
from .table import echo_line, is_terminal

if TYPE_CHECKING:
    from ..errors import APIError
    from ..request import Secret

_PASTED = ("/chat/completions", "/completions", "/models")
"""Ends of URLs that are no part of base_url."""


@click.command()
@click.argument("name")
@click.argument("base_url")
@click.option("--key", metavar="ALIAS", help="Name of its key in `llm keys`.")
@click.option(
    "models",
    "--model",
    metavar="REQUESTED=UPSTREAM",
    multiple=True,
    help="Model of the endpoint that answers for a requested model.",
)
@click.option(
    "--exact", is_flag=True, help="The --model entries are the requested models themselves."
)
@click.option("--plain-http", is_flag=True, help="Allow http:// to another machine.")
@handle_errors
def add(
    name: str,
    base_url: str,
    key: str | None,
    models: tuple[str, ...],
    exact: bool,
    plain_http: bool,
) -> None:
    """Add your own endpoint NAME at BASE_URL (up to /v1). It is asked before all other providers."""
    from .. import config
    from ..config.urls import check_base_url
    from ..providers.catalogue import PROVIDERS
    from .in_routes import offer

    if name in PROVIDERS or name in ("embedded", "custom", "any"):
        raise click.ClickException(f"{name} is a built-in name; choose another one.")
    try:
        base_url = check_base_url(base_url, plain_http=plain_http)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    _check_is_new(name, config.load().providers)
    secret = _stored_key(name, key)
    served = dict(pair(text, exact) for text in models)
    base_url, listed = _looked_at(name, base_url, secret)
    mapped = _mapping(listed, served)
    write(name, base_url, key, served | mapped, plain_http=plain_http)
    echo_line(f'{name} is added. Test it with "llm g4f check {name}".')
    offer(name)


def write(
    name: str,
    base_url: str,
    key: str | None,
    models: dict[str, object],
    *,
    plain_http: bool = False,
) -> None:
    """Write an endpoint to g4f.yaml. Raises a click error if the name is there already."""
    from .config_editor import editing

    entry: dict[str, object] = {"base_url": base_url}
    if key:
        entry["key"] = key
    if plain_http:
        entry["plain_http"] = True
    if models:
        entry["models"] = models
    with editing() as providers:
        _check_is_new(name, providers)
        providers[name] = entry


def _check_is_new(name: str, providers: Container[str]) -> None:
    if name in providers:
        raise click.ClickException(
            f'{name} is already in g4f.yaml: run "llm g4f remove {name}" first, or edit the file.'
        )


def _stored_key(name: str, key: str | None) -> Secret | None:
    from ..config.keys import find_key, looks_like_key

    if key is None:
        return None
    found = find_key((key,), ())
    if found is not None:
        return found
    # What was pasted may be the key itself.
    alias = name if looks_like_key(key) else key
    shown = "Unknown key" if looks_like_key(key) else f"Unknown key {key!r}"
    raise click.ClickException(
        f"{shown}: --key takes a name from llm keys, not the key itself."
        f' Run "llm keys set {alias}" first, then use --key {alias}.'
    )


def pair(text: str, exact: bool = False) -> tuple[str, object]:
    """The requested model and its entry of `models:` in REQUESTED=UPSTREAM. Raises a click error."""
    requested, separator, upstream = text.partition("=")
    if not separator or not requested or not upstream:
        raise click.ClickException(f"Invalid --model {text!r}: use REQUESTED=UPSTREAM.")
    return requested, {"id": upstream, "exact": True} if exact else upstream


def _looked_at(name: str, base_url: str, key: Secret | None) -> tuple[str, Sequence[str] | None]:
    """The base URL at which the endpoint lists its models, and their ids; the given URL and None if
    it does not answer or has no list. Says what it found."""
    from ..errors import APIConnectionError, AuthenticationError
    from ..safe_text import without_name

    shortened = base_url
    for end in _PASTED:
        shortened = shortened.removesuffix(end)
    problem: APIError | None = None
    for url in dict.fromkeys((shortened, f"{shortened}/v1")):
        found = _look(name, url, key)
        if not isinstance(found, Exception):
            if url != base_url:
                echo_line(f"The API is at {url}: base_url is {url}.")
            return url, found
        problem = problem or found
        if isinstance(found, (APIConnectionError, AuthenticationError)):
            problem = found
            break
    assert problem is not None
    if isinstance(problem, AuthenticationError) and key is None:
        click.echo(
            f"{name} wants a key: llm keys set {name}, then key: {name} in g4f.yaml (or llm g4f"
            f" remove {name} and llm g4f add {name} {shortened} --key {name}).",
            err=True,
        )
    else:
        click.echo(f"{name} is added unseen: {without_name(problem.message, name)}", err=True)
    return shortened, None


def _look(name: str, url: str, key: Secret | None) -> Sequence[str] | APIError:
    """The ids that the endpoint lists, or the error."""
    from ..errors import APIError
    from ..providers.endpoint import Endpoint
    from ..routing.discovery import LOOK, listed_by
    from .waiting import wait_for

    endpoint = Endpoint(name=name, base_url=url, key=key)
    try:
        return wait_for(lambda: listed_by(endpoint, LOOK))
    except APIError as error:
        return error


def _mapping(listed: Sequence[str] | None, served: dict[str, object]) -> dict[str, object]:
    """The line of `models:` to write for gpt-4o, if one is needed and agreed to."""
    from ..routing.discovery import choose
    from ..safe_text import clean

    if not listed or served:
        return {}
    shown = ", ".join(clean(id, 60) for id in listed[:8]) + (", …" if len(listed) > 8 else "")
    echo_line(f"It has {shown}.")
    chosen = choose(listed, "gpt-4o")
    if chosen is not None and chosen.exact:
        echo_line(f"{clean(chosen.model, 60)} answers for gpt-4o: the model itself.")
        return {}
    if not is_terminal():
        echo_line(_advice(chosen.model if chosen else None, clean(listed[0], 60)))
        return {}
    answer = click.prompt(
        "Which one stands for gpt-4o, as a substitute? (- for none)",
        default=chosen.model if chosen else "-",
        type=click.Choice([*listed, "-"]),
        show_choices=False,
    )
    return {} if answer == "-" else {"gpt-4o": answer}


def _advice(chosen: str | None, first: str) -> str:
    if chosen is not None:
        return f"{chosen} answers for gpt-4o: a substitute."
    return f'Say which one stands for gpt-4o under models: in g4f.yaml, such as "gpt-4o: {first}".'
