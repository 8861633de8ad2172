"""`llm g4f setup`: look at what is here, and set up who answers for gpt-4o."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
from msgspec import Struct

from .errors import handle_errors

if TYPE_CHECKING:
    from ..providers.catalogue import ProviderSpec
    from ..routing.nearby import Nearby
    from ..routing.registry import Registry

MODEL = "gpt-4o"


class Offer(Struct, frozen=True):
    """A way to better answers: what it means, the command for it, and the function that takes it."""

    text: str
    command: str
    take: Callable[[], None]


@click.command()
@handle_errors
def setup() -> None:
    """Look at what is here, and set up who answers for gpt-4o.

    Looks at keys, at the usual ports of local servers, and at memory and disk. On a terminal it
    offers the ways to better answers, and says where your prompts would go; otherwise it prints
    what it found, and the commands.
    """
    from .. import config
    from ..routing.nearby import servers_here
    from ..routing.registry import Registry
    from .table import is_terminal
    from .waiting import wait_for

    registry = Registry(config.load())
    servers = wait_for(servers_here)
    keys = _keys(registry)
    _print_found(keys, servers)
    offers = _offers(registry, keys, servers)
    if not is_terminal():
        click.echo()
        for offer in offers:
            click.echo(f"{offer.command}\n  {offer.text}")
        return
    if not _choose(offers):
        return
    _show_route()
    _try_out()


def _keys(registry: Registry) -> list[str]:
    """The providers that have a key, in `llm keys` or the environment."""
    from ..providers.catalogue import PROVIDERS

    return [
        name
        for name, spec in PROVIDERS.items()
        if spec.kind == "keyed" and registry.has_key(name) is True
    ]


def _print_found(keys: list[str], servers: list[Nearby]) -> None:
    from ..local.hub_cache import hub_cache
    from ..local.progress import shown_size
    from ..local.resources import free_disk, total_memory
    from ..routing.nearby import TITLES
    from .table import echo_line

    echo_line(f"Keys: {', '.join(keys) or 'none'}.")
    running = ", ".join(f"{TITLES[server.name]} ({server.base_url})" for server in servers)
    echo_line(f"Servers on this machine: {running or 'none at the usual ports'}.")
    memory, free = total_memory(), free_disk(hub_cache())
    sizes = [f"{shown_size(memory)} of memory"] if memory else []
    sizes += [f"{shown_size(free)} of free disk"] if free is not None else []
    if sizes:
        echo_line(f"This machine: {', '.join(sizes)}.")


def _offers(registry: Registry, keys: list[str], servers: list[Nearby]) -> list[Offer]:
    from ..providers.catalogue import PROVIDERS

    offers = [_offer_of_key()] if "openai" not in keys else []
    for name in keys:
        spec, settings = PROVIDERS[name], registry.settings(name)
        if not spec.key_is_consent and not (settings and settings.enabled):
            offers.append(_offer_of_provider(spec, "a substitute, with the key that is set"))
    offers += [_offer_of_server(server) for server in servers]
    offers.append(_offer_of_local_model())
    for name, spec in PROVIDERS.items():
        settings = registry.settings(name)
        if spec.kind == "anonymous" and not (settings and settings.enabled):
            offers.append(_offer_of_provider(spec, "a public endpoint without a contract"))
    return offers


def _offer_of_key() -> Offer:
    return Offer(
        "OpenAI with a key of yours: gpt-4o itself. Prompts go to api.openai.com.",
        "llm keys set openai",
        _set_key,
    )


def _set_key() -> None:
    from llm.cli import keys_set

    value = click.prompt("Key (not shown)", hide_input=True)
    click.get_current_context().invoke(keys_set, name="openai", value=value)


def _offer_of_provider(spec: ProviderSpec, what: str) -> Offer:
    ids = spec.models.get(MODEL) or spec.models.get("*", ())
    training = {True: "They may be used for training.", False: "They are not used for training."}
    parts = [
        f"{spec.name}, {what}: {ids[0]}." if ids else f"{spec.name}, {what}.",
        f"{spec.limits[:1].upper()}{spec.limits[1:]}." if spec.limits else "",
        f"Prompts go to {urlsplit(spec.base_url).netloc}.",
        training.get(spec.trains_on_prompts, "Whether they are used for training is unknown."),  # type: ignore[arg-type]
    ]

    def take() -> None:
        from .enable import enable_provider

        enable_provider(spec.name)

    return Offer(" ".join(filter(None, parts)), f"llm g4f enable {spec.name}", take)


def _offer_of_server(server: Nearby) -> Offer:
    from ..routing.discovery import choose
    from ..routing.nearby import TITLES
    from ..safe_text import clean

    chosen = choose(server.models, MODEL)
    has = clean(chosen.model if chosen else ", ".join(server.models[:4]), 200)

    def take() -> None:
        from .enable import enable_provider

        model = chosen.model if chosen else None
        if model is None:
            question = f"Which of its models stands for {MODEL}?"
            names = click.Choice(list(server.models))
            model = click.prompt(question, default=server.models[0], type=names)
        enable_provider(server.name, {MODEL: model})

    return Offer(
        f"{TITLES[server.name]}, which runs here: {has}, a substitute. Prompts stay on this machine.",
        server.command(MODEL),
        take,
    )


def _offer_of_local_model() -> Offer:
    from ..local.models import recommended
    from ..local.progress import shown_size

    row = recommended()

    def take() -> None:
        from .local_install import install

        click.get_current_context().invoke(install, name=row.name, yes=False, force=False)

    return Offer(
        f"{row.name}, run by this plugin: a substitute. {shown_size(row.size)} to fetch once,"
        f" {shown_size(row.memory)} of memory. Prompts stay on this machine.",
        f"llm g4f local install {row.name}",
        take,
    )


def _choose(offers: list[Offer]) -> bool:
    """Show the offers and take one. Returns whether one was taken."""
    from .table import echo_line

    click.echo(f"\nWho shall answer for {MODEL}?")
    for number, offer in enumerate(offers, 1):
        echo_line(f"{number:2}. {offer.text}", 4)
    numbers = click.IntRange(0, len(offers))
    number = click.prompt("Number (0: nothing changes)", default=0, type=numbers)
    if number:
        offers[number - 1].take()
    return bool(number)


def _show_route() -> None:
    from .. import config
    from ..request import ChatRequest
    from ..routing.registry import Registry
    from ..routing.route import resolve_route
    from .route import echo, echo_answer
    from .waiting import wait_for

    registry = Registry(config.load())
    request = ChatRequest(model=MODEL, messages=[])
    route = wait_for(lambda: resolve_route(request, registry))
    click.echo(f"\nllm g4f route {MODEL}")
    echo_answer(route, request, registry, echo(route, request, registry))


def _try_out() -> None:
    """Send one short prompt, and show the answer. Raises `G4FError`."""
    from .. import config
    from ..request import ChatRequest
    from ..routing.fallback import Fallback
    from ..routing.registry import Registry
    from ..safe_text import clean
    from .check import SECONDS
    from .table import echo_line
    from .waiting import wait_for

    question = "Answer with the word hello."
    request = ChatRequest(
        model=MODEL,
        messages=[{"role": "user", "content": question}],
        params={"max_tokens": 16},
        stream=True,
        timeout=SECONDS,
    )

    async def ask() -> str:
        fallback = Fallback(request, Registry(config.load()))
        async for _ in fallback:
            pass
        message = fallback.completion().choices[0].message
        receipt = fallback.receipt
        return f"{clean(message.content or '', 200)}\n({receipt.model} at {receipt.provider}, {receipt.seconds:.1f} s)"

    click.echo()
    echo_line(f'llm -m {MODEL} "{question}"')
    click.echo(wait_for(ask))
