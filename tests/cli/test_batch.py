"""`llm g4f batch`: from a file to a file, and resumed after any end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from llm_g4f.batch.results_file import ResultsFile
from llm_g4f.routing.spend_file import SpendFile
from tests.support.batch import (
    asked,
    batch,
    has_lines,
    lines,
    logged,
    prompts,
    read,
    started,
    texts,
    write,
)
from tests.support.commands import Run, g4f
from tests.support.prices import table_price
from tests.support.scenarios import empty_log
from tests.support.server import USAGE, Server, http, whole
from tests.support.stand_in import StandIn, counted
from tests.support.waiting import wait_until

Endpoints = Callable[..., Path]

LONG = bool(os.environ.get("G4F_LONG"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of IN and OUT, where the command runs."""
    path = tmp_path / "work"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


FORMS = {
    "in.jsonl": '{"id": "a", "prompt": "one"}\n{"id": "b", "prompt": "two\\nlines", "temperature": 0}\n',
    "in.json": '[{"id": "a", "prompt": "one"},\n {"id": "b", "prompt": "two\\nlines", "temperature": 0}]',
    "in.csv": 'id,prompt,temperature\na,one,\nb,"two\nlines",0\n',
    "in.tsv": 'id\tprompt\ttemperature\na\tone\t\nb\t"two\nlines"\t0\n',
}


@pytest.mark.parametrize("named", [True, False], ids=["by name", "by content"])
@pytest.mark.parametrize("name", FORMS)
def test_every_format(name: str, named: bool, endpoints: Endpoints) -> None:
    source = name if named else "in"
    Path(source).write_text(FORMS[name], encoding="utf-8")
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        result = batch(source, "out", "-m", "gpt-4o", "--concurrency", "1")
    assert texts() == {"a": "Hello", "b": "Hello"}
    assert asked(server) == ["one", "two\nlines"]
    assert [request.json.get("temperature") for request in server.requests] == [None, 0]
    assert result.stderr == "2 answered, 0 failed, 18 tokens: out\n"
    assert result.stdout == ""


def test_lines_of_text_have_their_numbers_as_ids(endpoints: Endpoints) -> None:
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        batch(write("in.txt", "one", "", "three, four"), "out", "-m", "4o")
        batch(write("in", "one", '{"b": 1}'), "out2", "-m", "4o", "--format", "lines")
    assert texts() == {1: "Hello", 3: "Hello"}
    assert texts("out2") == {1: "Hello", 2: "Hello"}
    assert sorted(asked(server)) == ["one", "one", "three, four", '{"b": 1}']


def test_standard_input(endpoints: Endpoints, run_llm: Run, folder: Path) -> None:
    rows = "".join(json.dumps(row) + "\n" for row in prompts(200))
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        done = run_llm("g4f", "batch", "-", "out", "-m", "gpt-4o", input=rows)
    assert (done.returncode, done.stdout) == (0, "")
    assert texts() == dict.fromkeys(range(200), "Hello")


def test_rows_of_an_open_pipe_are_answered(endpoints: Endpoints) -> None:
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        with started("-", "out", "-m", "gpt-4o", stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            for count in (1, 2):
                process.stdin.write('{"prompt": "a"}\n')
                process.stdin.flush()
                wait_until(partial(has_lines, count))
            process.stdin.close()
            assert process.wait(20) == 0


def test_options_are_defaults_of_every_row(endpoints: Endpoints) -> None:
    write(
        "in.jsonl",
        {"id": "a", "prompt": "one"},
        {"id": "b", "prompt": "two", "temperature": 1, "system": "Own", "model": "4o-mini"},
    )
    with Server(whole('{"name": "Rex", "age": 3}')) as server:
        endpoints(box=server, other=Server(whole("never")))
        batch(
            *("in.jsonl", "out", "-m", "4o", "-s", "Be brief", "--concurrency", "1"),
            *("-o", "temperature", "0.5", "-o", "provider", "box", "-o", "timeout", "30"),
            *("--schema", "name, age int"),
        )
    first, second = (request.json for request in server.requests)
    assert (first["model"], second["model"]) == ("gpt-4o", "gpt-4o-mini")
    assert (first["temperature"], second["temperature"]) == (0.5, 1)
    assert [one["messages"][0] for one in (first, second)] == [
        {"role": "system", "content": "Be brief"},
        {"role": "system", "content": "Own"},
    ]
    schema = first["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["name", "age"]
    assert "provider" not in first
    assert "timeout" not in first


def template(user_path: Path, name: str, text: str) -> str:
    folder = user_path / "templates"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return name


TEMPLATE = "model: gpt-4o-mini\nsystem: In $tone.\nprompt: 'Greet $name. $input'\ndefaults: {tone: prose}\noptions: {seed: 7}\n"


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("in.csv", "prompt,name,tone,seed,note\nNow!,Ann,,1,x\nLater.,Bob,verse,,y\n"),
        ("in.jsonl", '{"prompt": "Now!", "name": "Ann", "seed": 1, "tone": ""}\n{"prompt": "Later.", "name": "Bob", "tone": "verse"}\n'),
    ],
)  # fmt: skip
def test_other_columns_are_a_templates_variables(
    name: str, rows: str, endpoints: Endpoints, user_path: Path
) -> None:
    Path(name).write_text(rows, encoding="utf-8")
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        batch(name, "out", "-t", template(user_path, "greet", TEMPLATE), "--concurrency", "1")
    bodies = [request.json for request in server.requests]
    assert [[one["content"] for one in body["messages"]] for body in bodies] == [
        ["In .", "Greet Ann. Now!"],
        ["In verse.", "Greet Bob. Later."],
    ]
    assert [(body["model"], body["seed"]) for body in bodies] == [
        ("gpt-4o-mini", 1),
        ("gpt-4o-mini", 7),
    ]


def test_a_row_that_does_not_fit_the_template_fails_alone(
    endpoints: Endpoints, user_path: Path
) -> None:
    write(
        "in.jsonl",
        {"name": "Ann"},
        {"prompt": "a"},
        {"messages": [], "name": "Ann"},
        {"prompt": "a", "name": "Bob"},
    )
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        batch("in.jsonl", "out", "-t", template(user_path, "greet", TEMPLATE), code=1)
    said = {id: one["error"]["message"] for id, one in read().items() if "error" in one}
    assert said == {
        1: "Invalid row: the template needs prompt ($input).",
        2: "Invalid row: Missing variables: name.",
        3: "Invalid row: a template needs prompt, not messages.",
    }
    assert asked(server) == ["Greet Bob. a"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("prompt,colour\na,red\n", "Unknown column colour"),
        ("name,age\na,7\n", "Missing column prompt or messages: the first line names name, age"),
        ("prompt\na\n".encode("utf-16").decode("latin-1"), "in.csv is not UTF-8 text"),
        ("prompt,\x1b[2Jx\xff\na,\n", r"Unknown column \x1b[2Jx\udcff: it is"),
        ("n\x1b[2J,\xff\na,7\n", r"the first line names n\x1b[2J, \udcff. To build"),
    ],
)
def test_unknown_columns_are_an_error(rows: str, said: str, endpoints: Endpoints) -> None:
    Path("in.csv").write_bytes(rows.encode("latin-1"))
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        result = batch("in.csv", "out", "-m", "gpt-4o", code=1)
    assert said in result.stderr
    assert server.requests == []


def test_two_columns_with_the_same_name_are_an_error(endpoints: Endpoints) -> None:
    Path("in.csv").write_text("id,prompt,prompt\na,x,y\n")
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        batch("in.csv", "out", "-m", "gpt-4o", code=1)
    (error,) = (one["error"] for one in read().values())
    assert (error["message"], error["line"]) == (
        "Invalid row: two columns have the same name.",
        1,
    )
    assert server.requests == []


def test_elements_of_an_array_may_share_a_line(endpoints: Endpoints) -> None:
    Path("in.json").write_text('[5, 6, {"prompt": "a"}, {"prompt": "b"}]')
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        for count in (2, 0):
            result = batch("in.json", "out", "-m", "gpt-4o", code=1)
            assert f"{count} answered, 2 failed" in result.stderr
            assert texts() == {"row 1": None, "row 2": None, 3: "Hello", 4: "Hello"}


def test_cells_have_the_type_of_their_parameter(endpoints: Endpoints) -> None:
    Path("in.csv").write_text(
        "prompt,stop,exact,seed,tools,user\n"
        'a,5,1,7,"[{""type"": ""function"", ""function"": {""name"": ""f""}}]",12\n'
        "b,,,seven,,\n"
    )
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        batch("in.csv", "out", "-m", "gpt-4o", code=1)
    (body,) = (request.json for request in server.requests)
    assert {name: body[name] for name in ("stop", "seed", "user")} == {
        "stop": "5",
        "seed": 7,
        "user": "12",
    }
    assert body["tools"][0]["function"]["name"] == "f"
    assert read()[2]["error"] == {
        "type": "BadRequestError",
        "message": "Invalid row: seed cannot be 'seven'.",
        "line": 3,
    }


def test_invalid_rows_fail_alone_with_their_lines(endpoints: Endpoints) -> None:
    rows = ("no", {"id": "b"}, {"id": 0, "prompt": "a"}, [1], {"id": [], "prompt": "a"})
    write("in.jsonl", *rows, {"id": 4, "prompt": "b", "model": "nobody's"})
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        result = batch("in.jsonl", "out", "-m", "gpt-4o", code=1)
    found = read()
    assert {id: one["error"]["line"] for id, one in found.items() if "error" in one} == {
        "line 1": 1,
        "b": 2,
        "line 4": 4,
        "line 5": 5,
        4: 6,
    }
    assert "not JSON" in found["line 1"]["error"]["message"]
    assert "neither prompt" in found["b"]["error"]["message"]
    assert "Unknown model: nobody's" in found[4]["error"]["message"]
    assert texts()[0] == "Hello"
    assert "1 answered, 5 failed" in result.stderr
    assert "--retry-failed" in result.stderr


def test_a_corrected_row_replaces_its_error(endpoints: Endpoints) -> None:
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        batch(write("in.jsonl", '{"id": "a", "prompt"', {"id": "b"}), "out", "-m", "4o", code=1)
        before = Path("out").stat()
        batch("in.jsonl", "out", "-m", "4o", code=1)
        after = Path("out").stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        write("in.jsonl", {"id": "a", "prompt": "one"}, {"id": "b", "prompt": "two"})
        batch("in.jsonl", "out", "-m", "4o")
    assert texts() == {"a": "Hello", "b": "Hello"}


def test_a_new_error_replaces_the_old_one(endpoints: Endpoints) -> None:
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        batch(write("in.jsonl", {"id": "s", "prompt": ""}), "out", "-m", "4o", code=1)
        write("in.jsonl", {"id": "k", "prompt": "k"}, {"id": "s", "prompt": "x", "n": 2})
        batch("in.jsonl", "out", "-m", "4o", code=1)
    error = read()["s"]["error"]
    assert ("n must be 1" in error["message"], error["line"]) == (True, 2)


PROXIES = [
    *("http://[::1", "http://h:port", "://", "ftp://h:1", "http://[::1]x:3", "http://h\n:1"),
    *("http://u:secret@[::1", "http://u:secret@127.0.0.1:99999", "http://\udcff", "http://é..:1"),
]


@pytest.mark.skipif(os.name == "nt", reason="variables that are no text are POSIX's")
@pytest.mark.parametrize("proxy", PROXIES)
def test_a_malformed_proxy_is_each_rows_error(
    proxy: str, write_config: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    write_config("providers: {box: {base_url: 'https://box.example/v1'}}")
    write("in.jsonl", *prompts(2))
    result = batch("in.jsonl", "out", "-m", "gpt-4o", "-o", "provider", "box", code=1)
    said = {id: one["error"]["message"] for id, one in read().items()}
    assert said.keys() == {0, 1}
    assert all("HTTPS_PROXY" in message for message in said.values())
    assert "0 answered, 2 failed" in result.stderr
    assert "secret" not in result.output + Path("out").read_text()


@pytest.mark.parametrize("end", ["removed", "rotated"])
def test_results_that_are_moved_during_the_run_end_it(end: str, endpoints: Endpoints) -> None:
    write("in.jsonl", *prompts(40))
    with Server([0.02, *whole("Hello")]) as server:
        endpoints(box=server)
        with started("in.jsonl", "out", "-m", "gpt-4o", "--concurrency", "1") as process:
            wait_until(partial(has_lines, 2))
            Path("out").rename("out.1")
            if end == "rotated":
                Path("out").touch()
            said = process.communicate(timeout=20)[1]
    assert process.returncode == 1
    assert said.startswith("Error: out was moved, removed or changed by another program")
    assert "Traceback" not in said
    assert 2 <= lines("out.1") <= len(server.requests) < 40
    assert lines() == 0


@pytest.mark.parametrize("source", [".out.new", ".out.lock"])
def test_no_file_beside_the_results_is_changed(source: str, endpoints: Endpoints) -> None:
    write(source, *prompts(1))
    before = Path(source).read_bytes()
    with Server(http(400, "no"), whole("Hello")) as server:
        endpoints(box=server)
        batch(source, "out", "-m", "gpt-4o", code=1)
        batch(source, "out", "-m", "gpt-4o")
    assert texts() == {0: "Hello"}
    assert Path(source).read_bytes() == before
    assert sorted(os.listdir()) == [source, "out"]


def test_a_repeated_id_ends_the_run(endpoints: Endpoints) -> None:
    write("in.jsonl", *prompts(3), {"id": 1, "prompt": "again"}, {"id": 9, "prompt": "never"})
    with Server([0.2, *whole("Hello")]) as server:
        endpoints(box=server)
        result = batch("in.jsonl", "out", "-m", "gpt-4o", code=1)
        assert "The id 1 occurs twice, in line 2 and in line 4" in result.stderr
        assert texts() == dict.fromkeys(range(3), "Hello")
        write("in.jsonl", *prompts(3), {"id": 9, "prompt": "now"})
        batch("in.jsonl", "out", "-m", "gpt-4o")
    assert sorted(asked(server)) == ["now", "prompt 0", "prompt 1", "prompt 2"]


def test_a_second_run_asks_missing_and_failed_rows(endpoints: Endpoints) -> None:
    write("in.jsonl", *prompts(3))
    with Server(whole("first"), http(400, "no"), whole("third"), whole("Hello")) as server:
        endpoints(box=server)
        arguments = ("in.jsonl", "out", "-m", "gpt-4o", "--concurrency", "1")
        batch(*arguments, code=1)
        assert texts() == {0: "first", 1: None, 2: "third"}
        write("in.jsonl", *prompts(4))
        result = batch(*arguments)
        assert "2 answered, 0 failed, 18 tokens, 2 had an answer before" in result.stderr
        assert texts() == {0: "first", 1: "Hello", 2: "third", 3: "Hello"}
        batch(*arguments)
    assert asked(server) == [f"prompt {number}" for number in (0, 1, 2, 1, 3)]


def test_retry_failed_asks_only_failed_rows(endpoints: Endpoints) -> None:
    write("in.jsonl", *prompts(3))
    with Server(http(400, "no"), whole("Hello")) as server:
        endpoints(box=server)
        batch("in.jsonl", "out", "-m", "gpt-4o", "--limit", "1", code=1)
        assert texts() == {0: None}
        result = batch("in.jsonl", "out", "-m", "gpt-4o", "--retry-failed")
    assert texts() == {0: "Hello"}
    assert asked(server) == ["prompt 0"] * 2
    assert "2 not asked yet" in result.stderr


def test_a_short_rate_limit_is_waited_for_repeatedly(endpoints: Endpoints) -> None:
    write("in.jsonl", *prompts(2))
    refusal = http(429, "slow down", [("Retry-After", "0")])
    with Server(*[refusal] * 5, whole("Hello")) as server:
        endpoints(box=server)
        batch("in.jsonl", "out", "-m", "gpt-4o", "--concurrency", "2")
    assert texts() == {0: "Hello", 1: "Hello"}
    assert len(server.requests) == 7


def test_limit_is_for_each_run(endpoints: Endpoints) -> None:
    write("in.jsonl", *prompts(5))
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        for count in (2, 4, 5):
            batch("in.jsonl", "out", "-m", "gpt-4o", "--limit", "2")
            assert len(read()) == len(server.requests) == count


def test_a_run_ends_when_its_answers_have_cost_enough(stand_in: StandIn) -> None:
    write("in.jsonl", *prompts(5))
    script = counted(model="openai/gpt-4o", usage=USAGE | {"cost": 0.0125})
    unpriced = counted(model="openai/gpt-4o", usage=USAGE | {"cost": None}, service_tier="flex")
    args = ("in.jsonl", "out", "-m", "gpt-4o", "--concurrency", "1", "--max-cost")
    with stand_in(script, script, unpriced, script, openrouter="") as server:
        first, second = batch(*args, "0.02"), batch(*args, "10")
        assert len(server.requests) == 5
    assert first.stderr.splitlines() == [
        "2 answered, 0 failed, 18 tokens: out",
        "The answers cost $0.0250.",
        "Stopped at --max-cost. Run the same command to resume.",
    ]
    assert second.stderr.splitlines() == [
        "3 answered, 0 failed, 27 tokens, 2 had an answer before: out",
        "The answers cost $0.0250; 1 have no known price, and do not count for --max-cost.",
    ]


def test_max_cost_needs_the_table_of_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    write("in.jsonl", *prompts(1))
    monkeypatch.setattr("llm_g4f.routing.prices.has_table", lambda: False)
    result = batch("in.jsonl", "out", "-m", "gpt-4o", "--max-cost", "5", code=1)
    assert result.stderr == (
        "Error: --max-cost needs a table of prices: llm install 'llm-g4f[prices]'.\n"
    )


def test_rows_beyond_the_budget_fail_and_are_asked_when_it_is_raised(
    endpoints: Endpoints, caplog: pytest.LogCaptureFixture
) -> None:
    write("in.jsonl", *prompts(3))
    with Server(whole("Hello")) as server:
        endpoints("budget: {day: 1}", box=server)
        SpendFile().add("box", "m", 1.0)
        batch("in.jsonl", "out", "-m", "gpt-4o", code=1)
        assert server.requests == []
        assert all(
            "over budget: $1.00 of $1.00" in one["error"]["message"] for one in read().values()
        )
        endpoints("budget: {day: 2}", box=server)
        batch("in.jsonl", "out", "-m", "gpt-4o", "--concurrency", "1")
        assert texts() == {0: "Hello", 1: "Hello", 2: "Hello"}
    (said,) = [message for message in caplog.messages if "unknown" in message]
    assert said.startswith("The price of an answer by gpt-4o-2024-11-20 (box) is unknown")


def test_an_invalid_output_file_is_an_error(endpoints: Endpoints) -> None:
    write("in.jsonl", *prompts(1))
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        assert "OUT is a file" in batch("in.jsonl", "-", "-m", "4o", code=2).stderr
        assert "is both IN and OUT" in batch("in.jsonl", "in.jsonl", "-m", "4o", code=1).stderr
        assert "cannot be read" in batch("none", "out", "-m", "4o", code=1).stderr
        assert (
            "not a result" in batch("in.jsonl", write("notes", "mine"), "-m", "4o", code=1).stderr
        )
        for dry in ((), ("--dry-run",)):
            result = batch("in.jsonl", "o" * 300, "-m", "4o", *dry, code=1)
            assert re.search(r"o cannot be (written|read): File name too long", result.stderr)
    assert (server.requests, Path("notes").read_text()) == ([], "mine\n")


def test_two_runs_at_once(endpoints: Endpoints) -> None:
    write("in.jsonl", *prompts(1))
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        with contextlib.closing(ResultsFile(Path("out"))):
            result = batch("in.jsonl", "out", "-m", "gpt-4o", code=1)
        assert "out is being written by another run" in result.stderr
        assert server.requests == []
        batch("in.jsonl", "out", "-m", "gpt-4o")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-m", "gpt-4o", "-o", "temperature", "9"), "less than or equal to 2"),
        (("-m", "gpt-4o", "-o", "nothing", "9"), "Extra inputs"),
        (("-m", "nobody's"), "Unknown model: nobody's"),
        (("-m", "echo"), "another plugin's model"),
        (("-m", "gpt-4o", "-t", "nowhere"), "Invalid template"),
        (("-m", "gpt-4o", "-o", "provider", "a,b", "--key", "sk-1"), "belongs to one provider"),
        (("-m", "gpt-4o", "--schema", "x"), "Invalid schema"),
    ],
)
def test_invalid_options_are_errors(
    arguments: tuple[str, ...], said: str, endpoints: Endpoints
) -> None:
    write("in.jsonl", *prompts(1))
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        result = g4f("batch", "in.jsonl", "out", *arguments)
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert server.requests == []
    assert not Path("out").exists()


def test_a_template_with_unsupported_parts_is_an_error(
    endpoints: Endpoints, user_path: Path
) -> None:
    write("in.jsonl", *prompts(1))
    name = template(user_path, "tools", "prompt: $input\ntools: [llm_time]\n")
    result = batch("in.jsonl", "out", "-m", "gpt-4o", "-t", name, code=1)
    assert "The template tools has tools: unsupported in a batch." in result.stderr


def test_a_template_with_a_stray_dollar_is_an_error(endpoints: Endpoints, user_path: Path) -> None:
    write("in.jsonl", *prompts(1))
    name = template(user_path, "shop", "prompt: 'Costs $5: $input'\n")
    result = batch("in.jsonl", "out", "-m", "gpt-4o", "-t", name, code=1)
    assert (
        "The template shop has a $ without a variable name: write $$ for a plain $."
        in result.stderr
    )


def test_a_template_may_use_id(endpoints: Endpoints, user_path: Path) -> None:
    write("in.jsonl", {"id": "a", "question": "why"})
    name = template(user_path, "ids", "prompt: 'Row $id asks $question'\n")
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        batch("in.jsonl", "out", "-m", "gpt-4o", "-t", name)
    assert asked(server) == ["Row a asks why"]


def test_a_key_goes_only_to_its_provider(endpoints: Endpoints) -> None:
    write("in.jsonl", {"id": "a", "prompt": "x"}, {"id": "b", "prompt": "y", "provider": "other"})
    with Server(whole("Hello")) as server:
        endpoints(box=server, other=server)
        arguments = ("-m", "gpt-4o", "-o", "provider", "box", "--key", "sk-canary")
        result = batch("in.jsonl", "out", *arguments, code=1)
    assert texts() == {"a": "Hello", "b": None}
    assert [request.headers.get("authorization") for request in server.requests] == [
        "Bearer sk-canary"
    ]
    assert "canary" not in result.output + Path("out").read_text()


def test_the_results_have_neither_prompts_nor_keys(endpoints: Endpoints) -> None:
    write("in.jsonl", {"id": "a", "prompt": "canary one"}, {"id": "b", "prompt": "canary two"})
    echoed = http(400, {"error": {"message": "Bearer sk-canary-4711 is invalid"}})
    with Server(whole("Hello"), echoed) as server:
        endpoints(box=server)
        arguments = ("-m", "gpt-4o", "-o", "provider", "box", "--key", "sk-canary-4711")
        batch("in.jsonl", "out", *arguments, "--concurrency", "1", code=1)
    assert [one.headers["authorization"] for one in server.requests] == [
        "Bearer sk-canary-4711"
    ] * 2
    assert "canary" not in Path("out").read_text()


def test_log_writes_what_llm_would_have_written(
    endpoints: Endpoints, run_llm: Run, user_path: Path
) -> None:
    answer = whole('{"name": "Rex", "age": 3}', reasoning="Hm")
    with Server(answer, answer, http(400, "no")) as server:
        endpoints(box=server)
        options = ("-m", "gpt-4o", "-o", "temperature", "0.5", "--schema", "name, age int")
        run_llm(*options, "-s", "Be brief", "one", "--no-stream")
        write("in.jsonl", {"prompt": "one"}, {"prompt": "two"})
        arguments = ("-s", "Be brief", "--log", "--concurrency", "1")
        batch("in.jsonl", "out", *options, *arguments, code=1)
    own, ours = logged(user_path)
    assert run_llm("logs", "list", "-n", "0", "--short").stdout.count("prompt: one") == 2
    for name in own:
        if name not in ("id", "thread_id", "datetime_utc", "duration_ms", "response_json"):
            assert ours[name] == own[name], name
    theirs, mine = (json.loads(turn["response_json"]) for turn in (own, ours))
    assert mine.keys() == theirs.keys()
    assert mine["g4f"]["provider"] == "box"
    assert 0 <= ours["duration_ms"] < 5_000


def test_log_has_a_whole_conversation_and_calls(
    endpoints: Endpoints, run_llm: Run, caplog: pytest.LogCaptureFixture
) -> None:
    function = {"name": "look", "arguments": '{"at": 1}'}
    call = {"id": "call_1", "type": "function", "function": function}
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    messages = [
        {"role": "user", "content": "Look"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "a pelican"},
    ]
    with Server(whole(None, tool_calls=[call], model="llama")) as server:
        endpoints("routes: {gpt-4o: [box/llama]}", box=server)
        write("in.jsonl", {"messages": messages, "tools": tools, "provider": "box/llama"})
        batch("in.jsonl", "out", "-m", "gpt-4o", "--log")
    # Who answers is said when it answers, and not again when it is logged.
    assert caplog.text.count("answered by llama") == 1
    (entry,) = json.loads(run_llm("logs", "list", "--json").stdout)
    assert entry["options_json"] == {"provider": "box/llama"}
    assert [one["tool_call_id"] for one in entry["tool_calls"]] == ["call_1"]
    assert [one["output"] for one in entry["tool_results"]] == ["a pelican"]


def test_log_takes_messages_that_llm_cannot_express(endpoints: Endpoints, run_llm: Run) -> None:
    content = [{"type": "text", "text": "see"}, {"type": "video_url", "video_url": {"url": "x"}}]
    odd = {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        write("in.jsonl", {"messages": [odd, {"role": "user", "content": content}]})
        batch("in.jsonl", "out", "-m", "gpt-4o", "--log")
    (entry,) = json.loads(run_llm("logs", "list", "--json").stdout)
    assert "video_url" in entry["prompt"]
    assert entry["response"] == "Hello"


@pytest.mark.parametrize(
    "form", [{}, {"json_schema": 5}, {"json_schema": {}}, {"json_schema": {"schema": 5}}]
)
def test_log_takes_an_answer_with_an_invalid_schema(
    form: Any, endpoints: Endpoints, user_path: Path
) -> None:
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        write("in.jsonl", {"prompt": "a", "response_format": {"type": "json_schema"} | form})
        batch("in.jsonl", "out", "-m", "gpt-4o", "--log")
    assert len(logged(user_path)) == 1


def test_a_failed_log_entry_is_a_warning(
    endpoints: Endpoints, user_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        write("in.jsonl", '{"id": "odd", "prompt": "a \\ud800 b"}', *prompts(2))
        batch("in.jsonl", "out", "-m", "gpt-4o", "--log")
    assert "An answer is not in llm's logs: " in caplog.text
    assert len(logged(user_path)) == 2
    assert len(texts()) == 3


def test_a_log_file_that_is_not_a_database_is_an_error(
    endpoints: Endpoints, user_path: Path
) -> None:
    (user_path / "logs.db").write_text("mine")
    write("in.jsonl", *prompts(1))
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        told = batch("in.jsonl", "out", "-m", "gpt-4o", "--log", code=1).stderr
        assert "llm's logs cannot be written: file is not a database" in told
        told = batch("in.jsonl", "out", "-m", "gpt-4o", "--schema", "name", code=1).stderr
        assert "llm's schemas in " in told
    assert server.requests == []


def test_logs_with_a_broken_schema_are_an_error(endpoints: Endpoints, user_path: Path) -> None:
    broken = empty_log().replace(b"CREATE TABLE", b"CR\xccATE TABLE")
    (user_path / "logs.db").write_bytes(broken)
    write("in.jsonl", *prompts(1))
    with Server(whole("Hello")) as server:
        endpoints(box=server)
        for option in (("--log",), ("--schema", "name")):
            told = batch("in.jsonl", "out", "-m", "gpt-4o", *option, code=1).stderr
            assert "malformed database schema" in told
            assert len(told.splitlines()) == 1
    assert server.requests == []


def test_dry_run_sends_nothing_and_says_what_would_be_sent(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    answered = {"id": 0, "text": "x"}
    failed = {"id": 1, "error": {"type": "RateLimitError"}}
    before = Path(write("out", answered, failed)).read_bytes()
    rows = [row | {"prompt": "x" * 4_000} for row in prompts(5)]
    write("in.jsonl", *rows, "no", {"id": "n"}, {"id": "mini", "prompt": "a", "model": "4o-mini"})
    endpoints("routes: {gpt-4o: [openai]}")
    result = batch("in.jsonl", "out", "-m", "gpt-4o", "--dry-run")
    told = result.stdout.splitlines()
    assert told[:3] == [
        "5 to ask: 4 missing, 1 failed",
        "1 done",
        "2 invalid rows",
    ]
    cost = table_price("openai", "gpt-4o", input_tokens=4_000)
    at = told.index("gpt-4o, 4 prompts:")
    assert told[at + 1] == "1. openai: gpt-4o, exact"
    assert told[at + 2] == (
        f"Input: about 4,000 tokens (4 characters each), about ${cost:,.4f} at openai."
        " The tokens of the answers are extra."
    )
    assert "gpt-4o-mini, 1 prompts:" in told
    assert Path("out").read_bytes() == before
    assert "canary" not in result.output
    assert sorted(os.listdir()) == ["in.jsonl", "out"]


def test_dry_run_with_other_options(endpoints: Endpoints) -> None:
    write("in.jsonl", *prompts(5), {"id": 2, "prompt": "again"})
    with Server(whole("never")) as server:
        endpoints(box=server)
        for arguments, first in (
            (("--limit", "2"), "2 to ask: 2 missing, 0 failed"),
            (("--retry-failed",), "0 to ask: 0 missing, 0 failed"),
        ):
            told = batch("in.jsonl", "out", "-m", "gpt-4o", "--dry-run", *arguments).stdout
            assert told.splitlines()[0] == first
        told = batch("in.jsonl", "out", "-m", "gpt-4o", "-o", "provider", "box", "--dry-run").stdout
    assert "The id 2 occurs twice, in lines 3 and 6" in told
    assert "gpt-4o (-o provider box), 5 prompts:\n1. box: gpt-4o, exact" in told
    assert server.requests == []
    assert not Path("out").exists()


def test_dry_run_shows_ineligible_providers(user_path: Path) -> None:
    write("in.jsonl", *prompts(1), {"id": "any", "prompt": "a", "exact": False})
    (user_path / "g4f.yaml").write_text(
        "providers: {box: {base_url: 'http://127.0.0.1:9/v1', models: {gpt-4o: llama}}}"
    )
    told = batch("in.jsonl", "out", "-m", "gpt-4o", "-o", "exact", "1", "--dry-run").stdout
    assert told.count("1. box: llama, a substitute") == 1
    assert "only gpt-4o is allowed" in told


def test_dry_run_without_prices_says_how_to_get_them(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_g4f.cli.dry_run.has_table", lambda: False)
    monkeypatch.setattr("llm_g4f.routing.prices.has_table", lambda: False)
    write("in.jsonl", *prompts(1))
    told = batch("in.jsonl", "out", "-m", "gpt-4o", "--dry-run").stdout
    assert "llm install 'llm-g4f[prices]'" in told
    assert "$" not in told


def test_ctrl_c_while_a_pipe_is_silent(endpoints: Endpoints) -> None:
    with Server(whole("a")) as server:
        endpoints(box=server)
        with started("-", "out", "-m", "gpt-4o", stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            process.stdin.write('{"prompt": "a"}\n')
            process.stdin.flush()
            wait_until(lambda: lines() == 1)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            assert process.stderr is not None
            assert "Traceback" not in process.stderr.read()


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX's")
def test_a_kill_at_any_moment_loses_nothing_and_repeats_nothing(endpoints: Endpoints) -> None:
    count, steps = (2_000, 60) if LONG else (60, 3)
    chance = random.Random(4711)
    write("in.jsonl", *prompts(count))
    written: dict[str, int] = {}
    with Server([0.005, *whole("Hello")]) as server:
        endpoints(box=server)
        for step in range(1, steps + 1):
            goal = lines() + chance.randint(0, 2 * (count - lines()) // (steps + 2 - step))
            with started("in.jsonl", "out", "-m", "gpt-4o", "--concurrency", "4") as process:
                wait_until(partial(has_lines, goal))
                time.sleep(chance.random() * 0.01)
                process.kill()
            requests = Counter(asked(server))
            whole_lines = Path("out").read_bytes().rpartition(b"\n")[0].splitlines()
            for line in whole_lines:
                prompt = f"prompt {json.loads(line)['id']}"
                # Once it was written it is asked no more.
                assert written.setdefault(prompt, requests[prompt]) == requests[prompt]
        batch("in.jsonl", "out", "-m", "gpt-4o")
        requests = Counter(asked(server))
    assert {prompt: requests[prompt] for prompt in written} == written
    assert texts() == dict.fromkeys(range(count), "Hello")
    assert sorted(os.listdir()) == ["in.jsonl", "out"]


def peak(*args: str) -> int:
    """Bytes of memory that the command needed at most."""
    code = (
        "import resource, sys; from llm.cli import cli\n"
        "try: cli(sys.argv[1:])\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "g4f", "batch", *args],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1_024)


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="rusage is POSIX's")
def test_memory_does_not_grow_with_the_rows(endpoints: Endpoints) -> None:
    count, already = (50_000, 0) if LONG else (50_000, 49_900)
    body = {"text": "x" * 300, "receipt": None}
    write("few.jsonl", *prompts(100))
    write("many.jsonl", *prompts(count))
    write("many", *({"id": number, **body} for number in range(already)))
    with Server(whole("x" * 300)) as server:
        endpoints(box=server)
        few = peak("few.jsonl", "few", "-m", "gpt-4o")
        many = peak("many.jsonl", "many", "-m", "gpt-4o")
        assert len(server.requests) == 100 + count - already
    assert lines("many") == count
    assert many < few + 12_000_000


def test_progress_without_a_terminal(endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm_g4f.cli.progress._LINE", 0.0)
    write("in.jsonl", *prompts(4))
    with Server([0.05, *whole("Hello")]) as server:
        endpoints(box=server)
        result = batch("in.jsonl", "out", "-m", "gpt-4o", "--concurrency", "1")
    *told, last = result.stderr.splitlines()
    assert len(told) == 4
    for number, line in enumerate(told, 1):
        assert re.fullmatch(
            rf"{number} done, 0 failed, [\d.]+/s, {9 * number} tokens, \d+%, 0:00:0\d left", line
        )
    assert last == "4 answered, 0 failed, 36 tokens: out"


def on_a_terminal(*args: str, **kwargs: Any) -> tuple[int, str]:
    """The command with stderr on a terminal: its exit code, and what the terminal got."""
    ours, theirs = os.openpty()
    with started(*args, stderr=theirs, **kwargs) as process:
        os.close(theirs)
        seen = b""
        # Linux tells the end of a terminal by an error.
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 4_096):
                seen += piece
        os.close(ours)
        return process.wait(20), seen.decode()


@pytest.mark.skipif(os.name == "nt", reason="terminals are POSIX's")
def test_progress_on_a_terminal(endpoints: Endpoints) -> None:
    write("in.jsonl", *prompts(6), {"id": "n"})
    with Server([0.15, *whole("Hello", model="llama")]) as server:
        endpoints("routes: {gpt-4o: [box/llama]}", box=server)
        arguments = ("in.jsonl", "out", "-m", "gpt-4o", "--concurrency", "1")
        code, seen = on_a_terminal(*arguments)
    assert code == 1
    pictures = re.findall(
        r"\[([#-]*)\] +(\d+)%.*?(\d+) done, (\d) failed, [\d.]+/s, (\d+) tokens", seen
    )
    assert len(pictures) >= 5
    assert pictures[-1][1:] == ("100", "6", "1", "54")
    assert "#" in pictures[2][0]
    # The bar made room for the notice.
    assert "\x1b[2K\x1b[2mgpt-4o answered by llama (box): a substitute." in seen
    assert seen.count("answered by llama") == 1
    # And the cursor is there again.
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")


@pytest.mark.skipif(os.name == "nt", reason="terminals are POSIX's")
def test_progress_of_a_pipe_has_no_percentage(endpoints: Endpoints) -> None:
    with Server([0.15, *whole("Hello")]) as server:
        endpoints(box=server)
        rows = "".join(json.dumps(row) + "\n" for row in prompts(4))
        Path("rows").write_text(rows)
        with subprocess.Popen(["cat", "rows"], stdout=subprocess.PIPE) as cat:
            code, seen = on_a_terminal("-", "out", "-m", "gpt-4o", stdin=cat.stdout)
    assert code == 0
    assert "4 done, 0 failed" in seen
    assert "%" not in seen


@pytest.mark.long
def test_a_batch_with_the_embedded_model(real_weights: Path, run_llm: Run) -> None:
    count = 100 if LONG else 2
    rows = [
        {"id": n, "prompt": f"What is {n} plus one?", "max_tokens": 8, "temperature": 0}
        for n in range(count)
    ]
    write("in.jsonl", *rows)
    done = run_llm("g4f", "batch", "in.jsonl", "out", "-m", "gpt-4o", timeout=600)
    assert done.returncode == 0, done.stderr
    found = read()
    assert found.keys() == set(range(count))
    assert all(one["text"] and one["provider"] == "embedded" for one in found.values())
    assert done.stderr.splitlines()[0].startswith("gpt-4o answered by smollm2-135m-instruct")
