"""`llm g4f add`: add your own endpoint."""

from __future__ import annotations

import click

from .errors import handle_errors


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
    import llm

    from ..config.urls import check_base_url
    from ..providers.catalogue import PROVIDERS
    from .config_editor import editing

    if name in PROVIDERS or name in ("embedded", "custom"):
        raise click.ClickException(f"{name} is a built-in provider; choose another name.")
    try:
        base_url = check_base_url(base_url, plain_http=plain_http)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    if key is not None and key not in llm.load_keys():
        raise click.ClickException(
            f"Unknown key {key!r}: --key takes a name from llm keys, not the key itself."
            f' Run "llm keys set {key}" first.'
        )
    with editing() as providers:
        if name in providers:
            raise click.ClickException(
                f'{name} is already in g4f.yaml: run "llm g4f remove {name}" first, or edit the file.'
            )
        entry: dict[str, object] = {"base_url": base_url}
        if key:
            entry["key"] = key
        if plain_http:
            entry["plain_http"] = True
        for pair in models:
            requested, separator, upstream = pair.partition("=")
            if not separator or not requested or not upstream:
                raise click.ClickException(f"Invalid --model {pair!r}: use REQUESTED=UPSTREAM.")
            served = {"id": upstream, "exact": True} if exact else upstream
            entry.setdefault("models", {})[requested] = served  # type: ignore[index]
        providers[name] = entry
    click.echo(f'{name} is added. Test it with "llm g4f check {name}".')
