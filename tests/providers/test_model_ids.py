"""Which ids name the same model."""

from __future__ import annotations

import pytest

from llm_g4f.providers.model_ids import is_same_model, names_of


@pytest.mark.parametrize(
    ("name", "requested", "same"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("GPT-4o", "gpt-4o", True),
        ("gpt-4o-2024-11-20", "gpt-4o", True),
        ("openai/gpt-4o", "gpt-4o", True),
        ("openai/gpt-4o-2024-11-20", "gpt-4o", True),
        ("gpt-4-0613", "gpt-4", True),
        ("gpt-4o-20241120", "gpt-4o", True),
        ("gpt-4o-mini", "gpt-4o", False),
        ("gpt-4o-mini-2024-07-18", "gpt-4o", False),
        ("chatgpt-4o-latest", "gpt-4o", False),
        ("gpt-4o-latest", "gpt-4o", False),
        ("gpt-4o2024", "gpt-4o", False),
        ("gpt-4o-7", "gpt-4o", False),
        ("gpt-4.1", "gpt-4", False),
        ("gpt-4", "gpt-4o", False),
        ("", "gpt-4o", False),
        ("gpt-4o/llama", "gpt-4o", False),
        # Whole ids, vendors on either side.
        ("openai/gpt-4o", "openai/gpt-4o", True),
        ("gpt-4o", "openai/gpt-4o", True),
        ("openai/gpt-4o", "azure/gpt-4o", True),
        ("@cf/openai/gpt-oss-120b", "gpt-oss-120b", True),
        ("openai/gpt-4o-mini", "openai/gpt-4o", False),
        # OpenRouter's variants, and sizes, which are none.
        ("openai/gpt-4o:free", "gpt-4o", True),
        ("openai/gpt-4o", "gpt-4o:free", True),
        ("gpt-4o-2024-08-06:nitro", "gpt-4o", True),
        ("openai/gpt-4o:extended", "openai/gpt-4o:floor", True),
        ("gpt-oss:20b", "gpt-oss:20b", True),
        ("gpt-oss:20b", "gpt-oss:120b", False),
        ("qwen3:8b", "qwen3", False),
        ("qwen3:8b-2025-07-01", "qwen3:8b", True),
        # A date that was asked for.
        ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06", True),
        ("openai/gpt-4o-2024-08-06", "gpt-4o-2024-08-06", True),
        ("gpt-4o-20240806", "gpt-4o-2024-08-06", True),
        ("gpt-4o-2024-11-20", "gpt-4o-2024-08-06", False),
        ("gpt-4o", "gpt-4o-2024-08-06", False),
        ("gpt-4o-mini-2024-08-06", "gpt-4o-2024-08-06", False),
    ],
)
def test_is_same_model(name: str, requested: str, same: bool) -> None:
    assert is_same_model(name, requested) is same


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("gpt-4o", ("gpt-4o",)),
        ("gpt-4o-2024-08-06", ("gpt-4o-2024-08-06", "gpt-4o")),
        ("gpt-3.5-turbo-0125", ("gpt-3.5-turbo-0125", "gpt-3.5-turbo")),
        ("gpt-4-1106-preview", ("gpt-4-1106-preview", "gpt-4-turbo")),
        ("openai/gpt-4o", ("openai/gpt-4o", "gpt-4o")),
        (
            "openai/gpt-4.1-2025-04-14:online",
            (
                "openai/gpt-4.1-2025-04-14:online",
                "openai/gpt-4.1-2025-04-14",
                "gpt-4.1-2025-04-14",
                "gpt-4.1",
            ),
        ),
        ("gpt-oss:20b", ("gpt-oss:20b",)),
        (":free", (":free",)),
        ("", ("",)),
    ],
)
def test_the_names_of_a_model_end_with_its_family(model: str, names: tuple[str, ...]) -> None:
    assert names_of(model) == names
