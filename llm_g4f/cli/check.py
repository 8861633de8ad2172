"""`llm g4f check`: test providers with a short prompt."""

from __future__ import annotations

import asyncio
import json as json_format
from typing import Any

import click

from .errors import handle_errors

SECONDS = 30.0
"""Time limit for each provider."""


@click.command()
@click.argument("names", nargs=-1)
@click.option("--json", is_flag=True, help="Print JSON.")
@handle_errors
def check(names: tuple[str, ...], json: bool) -> None:
    """Test the providers NAMES, or all that take part or were enabled, with a short prompt.

    All are asked at the same time. Exits with 1 if a provider fails, or cannot be asked.
    """
    from ..safe_text import without_name
    from . import table
    from .waiting import wait_for

    rows = wait_for(lambda: _check_all(names))
    if json:
        click.echo(json_format.dumps(rows, indent=2))
    else:
        table.echo(
            ("provider", "first token", "total", "answer"),
            [
                (
                    row["provider"],
                    f"{row['ttft']:.2f} s" if row["ttft"] is not None else "-",
                    f"{row['seconds']:.2f} s",
                    row["model"] or without_name(row["error"] or "", row["provider"]),
                )
                for row in rows
            ],
        )
        for row in rows:
            for line in row.get("differences", ()):
                click.echo(line)
    if any(row["error"] for row in rows):
        raise click.exceptions.Exit(1)


async def _check_all(names: tuple[str, ...]) -> list[dict[str, Any]]:
    from .. import config
    from ..routing.registry import Registry
    from .in_use import in_use

    registry = Registry(config.load())
    found = await in_use(names, registry)
    if not found:
        from ..request import ChatRequest
        from ..routing.no_provider import no_provider_error
        from ..routing.route import resolve_route

        request = ChatRequest(model="gpt-4o", messages=[])
        raise no_provider_error(
            request, (await resolve_route(request, registry)).left_out, registry
        )
    return list(
        await asyncio.gather(
            *(
                _failed(one.name, one.problem)
                if one.problem
                else _check(one.name, one.model, registry)
                for one in found
            )
        )
    )


async def _failed(name: str, reason: str) -> dict[str, Any]:
    click.echo(f"{name}: failed", err=True)
    return _row(name) | {"error": reason, "seconds": 0.0}


def _row(name: str) -> dict[str, Any]:
    return {"provider": name, "model": None, "exact": None, "ttft": None, "error": None}


async def _check(name: str, model: str, registry: Any) -> dict[str, Any]:
    from ..errors import G4FError
    from ..request import ChatRequest
    from ..routing.fallback import Fallback
    from .shutdown_dates import differences

    request = ChatRequest(
        model=model,
        messages=[{"role": "user", "content": "Answer with the word hello."}],
        params={"max_tokens": 16},
        stream=True,
        providers=(name,),
        timeout=SECONDS,
    )
    loop = asyncio.get_running_loop()
    began = loop.time()
    row = _row(name)
    try:
        fallback = Fallback(request, registry)
        await fallback.open()
        while await fallback.next():
            pass
        receipt = fallback.receipt
        row |= {"model": receipt.model, "exact": receipt.exact, "ttft": receipt.ttft}
        if said := await differences(name, registry):
            row["differences"] = said
    except G4FError as error:
        row["error"] = error.message
    row["seconds"] = round(loop.time() - began, 3)
    click.echo(f"{name}: {'failed' if row['error'] else 'answered'}", err=True)
    return row
