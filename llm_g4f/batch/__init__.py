"""Answer many prompts at once.

    async for result in run(rows, model="gpt-4o"):
        print(result.id, result.text if result.error is None else result.error)

`llm g4f batch` does this between two files: `readers` reads the rows from one, and `results_file`
writes the results to the other.
"""

from __future__ import annotations

from .engine import Results, Rows, run
from .results import Result

__all__ = ["Result", "Results", "Rows", "run"]
