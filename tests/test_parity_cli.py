"""The same command lines, once with llm's own gpt-4o and once with ours: the same output, the same
requests, the same logs, but for what is listed."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import shlex
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import Run, llm_command
from tests.support.media import PDF, PNG
from tests.support.parity import as_ours_tells, comparable_log, shared_json
from tests.support.scenarios import JSON, Reply, text_reply, tool_reply
from tests.support.server import USAGE, Server, call, http

FUNCTIONS = '''
def weather(city: str) -> str:
    """The weather in a city."""
    return city + ": rain"
'''

TEMPLATE = """
system: You know $what.
prompt: "Invent a dog: $input"
model: gpt-4o
options: {temperature: 0.5, seed: 1}
defaults: {what: dogs}
attachments: [FILES/a.png]
schema_object: {type: object, properties: {name: {type: string}}}
"""

FILES: dict[str, bytes] = {
    "a.png": PNG,
    "b.pdf": PDF,
    "image": PNG,
    "one.txt": b"one",
    "two.txt": b"two",
    "tools.py": FUNCTIONS.encode(),
    "dog.yaml": TEMPLATE.encode(),
}

IMAGE = http(200, kind="image/png")

CACHED = {**USAGE, "prompt_tokens_details": {"cached_tokens": 3}}
REASONED = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 5}}
HELLO = text_reply("Hel", "lo")
PARIS = call("weather", '{"city": "Paris"}', "call_a")
ROME = call("weather", '{"city": "Rome"}', "call_b", 1)
CODE = text_reply("One:\n```py\n1\n```\nTwo:\n```py\n2\n```\n")


@dataclass(frozen=True)
class Example:
    """Command lines, one after the other in one user directory, and what the server answers.
    `typed` is what stands on stdin, for the last one; a name of FILES stands for its bytes."""

    lines: tuple[str, ...]
    replies: tuple[Reply, ...] = (HELLO,)
    count: int = 1
    streamed: bool = True
    typed: str = ""
    differs: tuple[str, ...] = ()


OPTIONS = (
    "-o temperature 0.5 -o max_tokens 10 -o top_p 1 -o frequency_penalty -0.5 -o stop END"
    " -o presence_penalty 0.5 -o seed 1 -o json_object 1 -o logit_bias '{\"1712\": -100}'"
    " -o image_detail low -o service_tier flex"
)

EXAMPLES: dict[str, Example] = {
    "system, stdin and usage": Example(
        ("llm -m gpt-4o -s 'Be brief.' 'what is this?' -u",),
        (text_reply("Grüße", " 🌍", usage=CACHED),),
        typed="a text",
    ),
    "whole": Example(("llm -m 4o hi --no-stream -u --key sk-2",), streamed=False),
    "extracted": Example(("llm -m gpt-4o x --xl",), (CODE,), streamed=False),
    "async": Example(("llm -m gpt-4o hi --async -u",), (text_reply("Hello", usage=REASONED),)),
    "options": Example((f"llm -m gpt-4o JSON {OPTIONS}",)),
    "bad options": Example(("llm -m gpt-4o hi -o temperature 3 -o nosuch 1",), count=0),
    "stored options": Example(
        (
            "llm models options set gpt-4o temperature 0.5",
            "llm -m 4o hi -o seed 1",
        ),
    ),
    "schema": Example(
        ("llm -m gpt-4o --schema-multi 'name: of the dog, age int' dogs",),
        (text_reply('{"items": [{"name": "Rex", "age": 3}]}'),),
        differs=("strict",),
    ),
    "tools": Example(
        ("llm -m gpt-4o 'weather?' -T llm_version --functions {files}/tools.py --td -u",),
        (tool_reply(PARIS, ROME), tool_reply(call("llm_version", "{}", "call_c")), HELLO),
        3,
        differs=("no content",),
    ),
    "tools, async and whole": Example(
        ("llm -m gpt-4o 'weather?' --functions {files}/tools.py --async --no-stream",),
        (tool_reply(PARIS, ROME), HELLO),
        2,
        streamed=False,
    ),
    "chain limit": Example(
        ("llm -m gpt-4o 'weather?' --functions {files}/tools.py --cl 1",),
        (tool_reply(PARIS),),
    ),
    "tools approved": Example(
        ("llm chat -m gpt-4o --functions {files}/tools.py --ta",),
        (tool_reply(PARIS, ROME), HELLO),
        2,
        typed="weather?\ny\nn\nexit\n",
        differs=("no content",),
    ),
    "attachments": Example(
        (
            "llm -m gpt-4o look -a {files}/a.png -a {files}/b.pdf -o image_detail low",
            "llm -c -a - --at {files}/image image/png -a {images}/c.png",
        ),
        count=2,
        typed="a.png",
    ),
    "fragments": Example(
        ("llm -m gpt-4o hi -f {files}/one.txt -f {files}/two.txt --sf {files}/one.txt",)
    ),
    "template": Example(
        ("llm -t {files}/dog.yaml small -o seed 2",), (text_reply('{"name": "Rex"}'),)
    ),
    "chat": Example(
        ("llm chat -m gpt-4o -s S -o temperature 0",),
        count=3,
        typed="one\n!multi\ntwo\nthree\n!end\n!multi 8\nfour\n!end 8\nquit\n",
    ),
    "continued": Example(
        (
            "llm -m gpt-4o one -s S -o seed 1",
            "llm -c two --async",
            "llm --cid {cid} three -s T",
            "llm logs -c -u",
        ),
        count=3,
        differs=("resolved",),
    ),
    "reasoning": Example(
        ("llm -m gpt-4o hi", "llm -c hi -R"),
        (text_reply("42", deltas={"reasoning_content": "Hm."}),),
        2,
        differs=("reasoning",),
    ),
    "cut, not logged": Example(
        ("llm -m gpt-4o hi -n",), (text_reply("Hel", finish="length"),), differs=("ending",)
    ),
    "keys": Example(
        ("llm keys set openai --value sk-3", "llm -m gpt-4o hi"),
    ),
}


@dataclass(frozen=True)
class Difference:
    why: str
    apply: Callable[[JSON], None]


def _resolved(told: JSON) -> None:
    for said in told["said"]:
        said["stdout"] = said["stdout"].replace(
            "Model: **gpt-4o**\n", "Model: **gpt-4o** (resolved: **openai/gpt-4o-2024-11-20**)\n"
        )


def _no_content(told: JSON) -> None:
    for row in told["logs"]:
        if row["tool_calls"]:
            row["response_json"]["content"] = None


def _reasoning(told: JSON) -> None:
    first, _ = told["said"]
    first["stderr"] = "Hm.\n"
    for row in told["logs"]:
        row["reasoning"] = "Hm."


def _ending(told: JSON) -> None:
    (said,) = told["said"]
    said["stderr"] = "The answer was cut at its token limit (max_tokens, or the model's own).\n"


def _strict(told: JSON) -> None:
    for _, _, body in told["asked"]:
        form = body["response_format"]["json_schema"]
        form["strict"] = True
        for one in (form["schema"], form["schema"]["properties"]["items"]["items"]):
            one["additionalProperties"] = False


DIFFERENCES: dict[str, Difference] = {
    "strict": Difference("OpenAI holds an answer to a schema where it can.", _strict),
    "resolved": Difference("The logs say who answered.", _resolved),
    "no content": Difference("Beside tool calls the content is null.", _no_content),
    "reasoning": Difference("Llm's own drops reasoning in words.", _reasoning),
    "ending": Difference("Ours says that an answer was cut.", _ending),
}

BUILTIN = "takeover: false\n"
# The model's date of retirement is not the matter here.
OURS = "providers:\n  openai: {models: {gpt-4o: gpt-4o}}\n"

SCRUBBED = [
    (re.compile(r"\b01[0-9a-z]{24}\b"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?"), "<time>"),
    (re.compile(r"\b\d+ms \(\d+s\)|(?<=duration_ms: )\d+"), "<duration>"),
]


def scrubbed(text: str) -> str:
    """`text` without what differs from run to run."""
    for pattern, word in SCRUBBED:
        text = pattern.sub(word, text)
    return text


_ONE_AT_A_TIME = threading.Lock()  # the runner takes the whole process's stdout


def logs_of(home: Path) -> list[JSON]:
    """The rows of `llm logs --json`, oldest first."""
    database = str(home / "logs.db")
    with _ONE_AT_A_TIME:
        done = llm_command("logs", "list", "-n", "0", "--json", "-d", database)
    assert (done.exit_code, done.stderr) == (0, "")
    return list(json.loads(done.stdout))


def first_thread(home: Path) -> str:
    with sqlite3.connect(home / "logs.db") as database:
        ((id,),) = database.execute("select id from threads order by id limit 1")
    database.close()
    return str(id)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content.replace(b"FILES", str(folder).encode()))
    return folder


def perform(
    example: Example, home: Path, config: str, files: Path, images: str, run_llm: Run
) -> JSON:
    """Run the command lines of an example in `home`; what they said, asked for and logged."""
    home.mkdir()
    (home / "g4f.yaml").write_text(config, encoding="utf-8")
    said: list[JSON] = []
    with Server(*(reply.script(streamed=example.streamed) for reply in example.replies)) as server:
        environment = {
            "LLM_USER_PATH": str(home),
            "OPENAI_BASE_URL": server.url,
            "OPENAI_API_KEY": "sk-1",
        }
        for number, line in enumerate(example.lines, 1):
            cid = first_thread(home) if "{cid}" in line else ""
            words = shlex.split(line.replace("{files}", str(files)).replace("{images}", images))
            with contextlib.ExitStack() as stack:
                typed: JSON = {"input": example.typed if number == len(example.lines) else ""}
                if typed["input"] in FILES:
                    typed = {"stdin": stack.enter_context((files / example.typed).open())}
                done = run_llm(
                    *(cid if word == "{cid}" else word for word in words[1:]),
                    env=environment,
                    **typed,
                )
            said.append(
                {
                    "code": done.returncode,
                    "stdout": scrubbed(done.stdout),
                    "stderr": scrubbed(done.stderr),
                }
            )
    asked = [[one.path, one.headers.get("authorization"), one.json] for one in server.requests]
    return {"said": said, "asked": asked, "logs": logs_of(home)}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_a_command_line_behaves_as_with_llms_gpt_4o(
    example: Example, tmp_path: Path, files: Path, run_llm: Run
) -> None:
    with Server(IMAGE) as server, ThreadPoolExecutor(2) as pool:
        theirs, ours = pool.map(
            lambda name, config: perform(
                example, tmp_path / name, config, files, server.origin, run_llm
            ),
            *zip(("theirs", BUILTIN), ("ours", OURS), strict=True),
        )
    for name in example.differs:
        before = copy.deepcopy(theirs)
        DIFFERENCES[name].apply(theirs)
        assert theirs != before, f"{name} is no difference any more: {DIFFERENCES[name].why}"
    assert ours["said"] == theirs["said"]
    assert ours["asked"] == theirs["asked"]
    assert len(ours["asked"]) == example.count
    for mine, other in zip(ours["logs"], theirs["logs"], strict=True):
        assert mine["resolved_model"] == "openai/gpt-4o-2024-11-20"
        told = {"json": other["response_json"]}
        (told,) = as_ours_tells([told], (), streamed=example.streamed)
        assert shared_json(mine["response_json"], told["json"]) == told["json"]
        assert comparable_log(mine) == comparable_log(other)
