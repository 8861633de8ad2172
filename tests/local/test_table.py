"""The table of local models: every row can be fetched, checked and chosen."""

from __future__ import annotations

import re

import pytest

from llm_g4f.local.hub import HubFile, parse_reference
from llm_g4f.local.table import DEFAULT, ROWS, ModelRow
from llm_g4f.request import SAMPLING

OF_LLAMA_CPP = {"top_k", "min_p", "repeat_penalty", "max_tokens"}
"""Parameters of llama.cpp's server besides OpenAI's (its README, "POST /completion")."""


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_a_row_is_complete(row: ModelRow) -> None:
    assert re.fullmatch("[0-9a-f]{64}", row.sha256)
    assert row.file.endswith(".gguf")
    assert row.size < row.memory
    assert row.license == "Apache-2.0"
    assert row.sampling.keys() <= {*SAMPLING, *OF_LLAMA_CPP}
    if row.repository:
        # A commit: a branch may move.
        assert re.fullmatch("[0-9a-f]{40}", row.revision)
        reference = f"hf:{row.repository}/{row.file}@{row.revision}"
        assert parse_reference(reference) == HubFile(row.repository, row.file, row.revision)
    else:
        assert row.wheels
    for wheel in row.wheels:
        assert re.fullmatch(r"[\w-]+==[\d.]+", wheel.requirement)
        assert re.fullmatch("[0-9a-f]{64}", wheel.sha256)


def test_the_rows_are_in_order_of_memory() -> None:
    assert list(ROWS.values()) == sorted(ROWS.values(), key=lambda row: row.memory)
    assert next(iter(ROWS.values())) is DEFAULT
    assert [name for name, row in ROWS.items() if row.recommended] == [
        *("smollm2-135m", "qwen3.5-0.8b", "qwen3.5-2b"),
        *("granite-4.1-3b", "qwen3.5-9b", "gpt-oss-20b"),
    ]
