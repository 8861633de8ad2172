"""OUT of a batch: a file in the place of the results.

It is read as results, and every answer in it stays, or it is left as it was, with an error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llm_g4f.batch.results_file import ResultsFile, RowState
from llm_g4f.config.files import user_file
from llm_g4f.errors import LedgerError
from tests.fuzz.checks import assert_ours

RUNS = 2_500

ANSWER = b'{"id": "a", "text": "Hello", "model": "m", "usage": null, "receipt": {"attempts": []}}\n'
FAILED = b'{"id": "b", "error": {"type": "RateLimitError", "message": "x"}, "receipt": null}\n'
INVALID = b'{"id": "line 3", "error": {"type": "BadRequestError", "message": "x", "line": 3}}\n'

SEEDS = [
    ANSWER + FAILED + INVALID,
    FAILED + FAILED + ANSWER.replace(b'"a"', b'"b"') + ANSWER[:40],
    ANSWER + ANSWER.replace(b"Hello", b"Again") + b'{"id":' + b"\0" * 20 + b"\n" + INVALID,
    b'{"id":1,"text":"a","digest":"0123"}\n{"id":1,"text":"b","digest":"4567"}\n{"id":1,"error":{}}',
    b"a,b\n1,2\n",
]

WORDS = ['{"id":', '"text":', '"error":', '"line":', '"digest":', "\0\0\0", "\n", "\\ud800", "\r\n"]


def answers(data: bytes) -> dict[Any, set[str]]:
    """The texts of the answers in a file, by their ids."""
    found: dict[Any, set[str]] = {}
    for line in data.split(b"\n"):
        try:
            result = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(result, dict) and "text" in result and "error" not in result:
            id = result.get("id")
            found.setdefault((type(id), id), set()).add(json.dumps(result["text"]))
    return found


def run(data: bytes) -> None:
    path = Path(user_file("out.jsonl"))
    path.write_bytes(data)
    try:
        file = ResultsFile(path)
    except LedgerError as error:
        assert_ours(error, path)
        assert path.read_bytes() == data
        return
    try:
        file.append({"id": "new", "text": "new"})
        file.finish(compact=True)
    finally:
        file.close()
    before, after = answers(data), answers(path.read_bytes())
    assert before.keys() | {(str, "new")} == after.keys()
    assert all(after[id] <= before.get(id, set()) | {'"new"'} for id in after)
    again = ResultsFile(path)
    assert all(again.index.state(id) is RowState.ANSWERED for _, id in after)
    again.close()
