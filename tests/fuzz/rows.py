"""IN of a batch: a file of rows in each format, through a run and a second one.

The rows are the same however the file is read. Each is asked, or is an error; the second run asks
none of those again that were answered. The two bytes in front are the format and the size of a read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from llm_g4f.batch import run as ask
from llm_g4f.batch.job import Job, Progress
from llm_g4f.batch.readers import FORMATS, Row, detect, read
from llm_g4f.batch.results_file import ResultsFile
from llm_g4f.cli.templating import RowPreparer
from llm_g4f.config.files import user_file
from tests.fuzz.checks import KEY, assert_line, forget, write_user_file
from tests.fuzz.loopback import CONFIG, Server
from tests.support.server import split, whole

RUNS = 250


def _seeds() -> Iterator[bytes]:
    rows = [
        {"prompt": "a"},
        {"id": "b", "prompt": "b", "temperature": 0.5, "provider": "box"},
        {
            "messages": [{"role": "user", "content": "c"}],
            "system": "s",
            "timeout": 5,
            "exact": True,
        },
        {
            "custom_id": "d",
            "url": "/v1/chat/completions",
            "body": {"model": "gpt-4o", "prompt": "d"},
        },
        {"id": 5, "prompt": "e", "response_format": {"type": "json_object"}, "n": 1, "stop": ["x"]},
    ]
    yield b"\x03\x20" + "\n".join(map(json.dumps, rows)).encode()
    yield b"\x00\x10" + json.dumps(rows, indent=1).encode()
    yield b"\x01\x07" + b'id,prompt,seed\r\n1,"a, ""b""\nc",\r\n2,d,5\r\n'
    yield b"\x02\x05" + b"\xef\xbb\xbfprompt\tmodel\na\tgpt-4o\n\nb\tx\n"
    yield b"\x04\x03" + "one\r\n\ntwo ü\n".encode()
    yield b"\x05\x09" + b'[{"prompt": "a"}, 5, {"prompt": "\\ud83d"}, {"id": 1e400}]'


SEEDS = list(_seeds())

WORDS = [
    *('"id":', '"prompt":', '"messages":', '"system":', '"model":', '"provider":', '"timeout":'),
    *(
        '"tools":',
        '"response_format":',
        '"json_schema":',
        '"max_tokens":',
        '"n":',
        '"stop":',
        '"body":',
    ),
    *(
        '"custom_id":',
        '"extra_body":',
        '"role":',
        '"content":',
        '"image_url":',
        "data:image/png;base64,",
    ),
    *(
        "prompt,",
        "\r\n",
        '""',
        "\\u0000",
        "\\ud800",
        "\n\n",
        "null",
        "1e400",
        "-0",
        "embedded",
        "any",
    ),
]

ANSWER = b"".join(step for step in whole("ok") if isinstance(step, bytes))


def run(data: bytes) -> None:
    if len(data) < 2 or b"llm:" in data:  # those may be models anywhere
        return
    kind, size, data = data[0] % (len(FORMATS) + 1), data[1] + 1, data[2:]
    format = FORMATS[kind] if kind < len(FORMATS) else detect("", data)
    rows = list(read([data], format))
    assert rows == list(read(split(data, size), format))
    ends = [0, *(row.end for row in rows)]
    assert ends == sorted(ends)
    assert ends[-1] <= len(data)
    for row in rows:
        assert (row.data is None) != (row.error is None)
        assert_line(row.error or "")
    out = Path(user_file("out.jsonl"))
    forget(out.name, "g4f-health.json", "g4f-failures.jsonl")
    write_user_file("g4f.yaml", CONFIG)
    first = asyncio.run(_answer(rows, out, table=format in ("csv", "tsv")))
    if first is None:
        return
    ids = [json.loads(line)["id"] for line in out.read_bytes().splitlines()]
    assert len({(type(id), id) for id in ids}) == len(ids)
    second = asyncio.run(_answer(rows, out, table=format in ("csv", "tsv")))
    assert second is not None
    assert (second.answered, second.answered_before) == (0, first.answered), (first, second)


async def _answer(rows: list[Row], out: Path, *, table: bool) -> Progress | None:
    """Run the batch; None where every row is invalid for one reason."""
    file = ResultsFile(out)
    try:
        async with Server(ANSWER):
            job = Job(file, prepare=RowPreparer((), None, table=table))
            chosen = job.selection.choose(rows)
            options: dict[str, Any] = {"provider": "box", "api_key": KEY, "concurrency": 2}
            async with ask(chosen, on_notice=assert_line, **options) as results:
                async for result in results:
                    job.write(result)
        file.finish(compact=True)
    except click.ClickException as error:
        assert_line(error.message)
        return None
    finally:
        file.close()
    return job.progress
