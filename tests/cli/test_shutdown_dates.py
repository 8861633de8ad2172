"""`check openai` compares the days on which models end with the catalogue's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_g4f.providers.catalogue import CHECKED
from tests.support.commands import g4f
from tests.support.server import Server, http, stream

LISTED: dict[str, Any] = {
    "gpt-4o": "2027-02-01",
    "gpt-4o-mini": "2027-01-14",
    "gpt-4.1": None,
    "gpt-4.1-mini": "2027-01-14T00:00:00Z",
    "gpt-5": "2026-12-11",
    "gpt-4": "soon",
}


def test_what_the_catalogue_has_otherwise_is_said(
    write_config: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "sk-1234567890")
    data = [{"id": id, "shutdown_date": day} for id, day in LISTED.items()]
    listing = http(200, {"data": [*data, {"id": "gpt-3.5-turbo"}]})
    with Server(stream("hello"), models=listing) as server:
        write_config(f"providers: {{openai: {{base_url: '{server.url}', key_env: KEY}}}}")
        lines = g4f("check", "openai").stdout.splitlines()
        (row,) = json.loads(g4f("check", "openai", "--json").stdout)
    known = f"; the catalogue (of {CHECKED}) has it end on"
    differences = [line.partition(". Update")[0] for line in lines[2:]]
    assert differences == [
        f"openai says that gpt-4o ends on 2027-02-01{known} 2027-01-14",
        f"openai says that gpt-4.1 ends on no known day{known} 2027-01-14",
        f"openai says that gpt-4 ends on no known day{known} 2026-10-23",
    ]
    assert row["differences"] == lines[2:]
    assert row["error"] is None
