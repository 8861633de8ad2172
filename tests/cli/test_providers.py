"""`llm g4f providers, check, models, enable, disable, add, remove`."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llm_g4f import config
from llm_g4f.cli import config_editor
from llm_g4f.cli.config_editor import editing
from llm_g4f.providers.catalogue import PROVIDERS
from tests.support.commands import failed, g4f, llm_command, ok
from tests.support.server import RESET, Script, Server, http, stream

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Write = Callable[[str], Path]

MINE = """\
# what I want
notice: false   # quiet
providers:
  # the box under the desk
  box:
    base_url: 'http://127.0.0.1:1/v1'   # its address
    models: {gpt-4o: llama}
routes:
  gpt-4o: [box]
"""


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_edits_keep_a_link(user_path: Path, tmp_path: Path) -> None:
    target = tmp_path / "settings.yaml"
    target.touch()
    (user_path / "g4f.yaml").symlink_to(target)
    assert g4f("enable", "ovh").exit_code == 0
    assert (user_path / "g4f.yaml").is_symlink()
    assert "ovh" in target.read_text()


def test_edits_keep_comments_without_a_value(write_config: Write) -> None:
    path = write_config("# mine\n\n# notice: false")
    assert g4f("enable", "ovh").exit_code == 0
    enabled = "providers:\n  ovh:\n    enabled: true\n"
    assert path.read_text() == f"# mine\n\n# notice: false\n{enabled}"
    assert g4f("remove", "ovh").exit_code == 0
    assert path.read_text() == "# mine\n\n# notice: false\n"


def test_edits_keep_comments_and_order(run_llm: Run, write_config: Write) -> None:
    path = write_config(MINE)
    assert run_llm("g4f", "enable", "openrouter").returncode == 0
    after = MINE.replace("routes:", "  openrouter:\n    enabled: true\nroutes:")
    assert path.read_text() == after
    assert run_llm("g4f", "disable", "openrouter").returncode == 0
    assert path.read_text() == after.replace("enabled: true", "enabled: false")
    assert run_llm("g4f", "remove", "openrouter").returncode == 0
    assert path.read_text() == MINE


def test_add_and_remove(run_llm: Run, user_path: Path) -> None:
    added = run_llm(
        *("g4f", "add", "box", "http://127.0.0.1:8000/v1/"),
        *("--model", "gpt-4o=llama", "--model", "gpt-4o-mini=small"),
    )
    assert added.stdout == 'box is added. Test it with "llm g4f check box".\n'
    assert (user_path / "g4f.yaml").read_text() == (
        "providers:\n  box:\n    base_url: http://127.0.0.1:8000/v1\n"
        "    models:\n      gpt-4o: llama\n      gpt-4o-mini: small\n"
    )
    assert run_llm("g4f", "route", "gpt-4o").stdout.startswith("1. box: llama, a substitute\n")
    again = run_llm("g4f", "add", "box", "http://127.0.0.1:8000/v1")
    assert (again.returncode, again.stderr) == (
        1,
        'Error: box is already in g4f.yaml: run "llm g4f remove box" first, or edit the file.\n',
    )
    removed = run_llm("g4f", "remove", "box").stdout
    path = user_path / "g4f.yaml"
    assert removed == f"box is removed from {path}; the file stays, and is empty.\n"
    assert (user_path / "g4f.yaml").read_text() == ""
    assert run_llm("g4f", "remove", "box").stderr == "Error: box is not in g4f.yaml.\n"


def test_two_edits_at_once_both_count(user_path: Path) -> None:
    with ThreadPoolExecutor(1) as other:
        with editing() as providers:
            second = other.submit(enable_groq)
            with pytest.raises(TimeoutError):
                second.result(0.2)  # It waits for the lock.
            providers["box"] = {"base_url": "http://127.0.0.1:1/v1"}
        second.result(20)
    assert list(config.load().providers) == ["box", "groq"]
    assert [path.name for path in user_path.iterdir()] == ["g4f.yaml"]


def enable_groq() -> None:
    with editing() as providers:
        providers["groq"] = {"enabled": True}


def test_an_edit_does_not_wait_for_ever(user_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_editor, "LOCK_SECONDS", 0.1)
    with editing():
        said = failed(g4f("enable", "groq"))
    assert said.startswith(f"{user_path / 'g4f.yaml'} is being changed by another command.")


def test_a_file_that_only_its_owner_can_edit_stays(write_config: Write) -> None:
    text = "providers:\n  !!binary box: {base_url: 'http://127.0.0.1:1/v1'}\n"
    path = write_config(text)
    said = failed(g4f("enable", "groq"))
    assert said.startswith(f"{path}, line 2: a command cannot edit this (failed to decode base64")
    assert said.endswith("). Edit the file yourself.\n")
    assert path.read_text() == text


def test_remove_says_what_stays(write_config: Write, user_path: Path) -> None:
    path = write_config(
        "providers: {box: {base_url: 'http://127.0.0.1:1/v1', key: mine}}\n"
        "routes: {gpt-4o: [box/llama, openai]}\n"
    )
    result = g4f("remove", "box")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"box is removed from {path}; the file stays.",
        f"Its key stays in {user_path / 'keys.json'}, under the name mine.",
    ]
    assert result.stderr.startswith(f"{path} still names it in the route of gpt-4o: ")


def test_add_exact_with_a_key(run_llm: Run, user_path: Path) -> None:
    (user_path / "keys.json").write_text('{"mykey": "sk-test"}')
    run_llm("g4f", "add", "box", "https://box.example/v1", "--key", "mykey", "--exact",
            "--model", "gpt-4o=deployment")  # fmt: skip
    assert run_llm("g4f", "route", "gpt-4o").stdout.startswith("1. box: deployment, exact\n")
    assert "sk-test" not in (user_path / "g4f.yaml").read_text()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("openai", "https://x.example"), "openai is a built-in name"),
        (("any", "https://x.example"), "any is a built-in name"),
        (("box", "x.example"), "must start with https:// or http://"),
        (("box", "http://x.example/v1"), "would send prompts unencrypted"),
        (
            ("box", "https://x.example", "--key", "mine"),
            '"llm keys set mine" first, then use --key',
        ),
        (
            ("box", "https://x.example", "--key", "sk-1234"),
            '"llm keys set box" first, then use --key',
        ),
        (("box", "https://x.example", "--model", "gpt-4o"), "use REQUESTED=UPSTREAM"),
        (("Box!", "https://x.example"), "invalid provider name 'Box!'"),
    ],
)
def test_add_rejects_invalid_arguments(
    run_llm: Run, user_path: Path, args: tuple[str, ...], words: str
) -> None:
    refused = run_llm("g4f", "add", *args)
    assert refused.returncode == 1
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "sk-1234" not in refused.stderr
    assert not (user_path / "g4f.yaml").exists()


PAGE = http(404, "<h1>Not Found</h1>", kind="text/html")


def listing(*ids: str) -> Script:
    return http(200, {"data": [{"id": id} for id in ids]})


@pytest.mark.parametrize("end", ["", "/v1", "/v1/chat/completions", "/chat/completions"])
def test_add_finds_the_api_of_a_server(end: str) -> None:
    scripts = [listing("gpt-4o")] if "v1" in end else [PAGE, listing("gpt-4o")]
    with Server(*scripts, models=None) as server:
        lines = ok(g4f("add", "box", server.origin + end))
    assert server.requests[-1].path == "/v1/models"
    found = [f"The API is at {server.url}: base_url is {server.url}."]
    assert lines == [
        *(found if end != "/v1" else []),
        "It has gpt-4o.",
        "gpt-4o answers for gpt-4o: the model itself.",
        'box is added. Test it with "llm g4f check box".',
    ]
    assert config.load().providers["box"].base_url == server.url


@pytest.mark.parametrize(
    ("ids", "line"),
    [
        (("qwen3:8b",), "qwen3:8b answers for gpt-4o: a substitute."),
        (
            ("a", "b"),
            'Say which one stands for gpt-4o under models: in g4f.yaml, such as "gpt-4o: a".',
        ),
    ],
)
def test_add_says_what_answers_for_gpt_4o(ids: tuple[str, ...], line: str) -> None:
    with Server(models=listing(*ids)) as server:
        assert line in ok(g4f("add", "box", server.url))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            PAGE,
            r"box is added unseen: Nothing at http.* speaks the API; base_url usually ends in /v1",
        ),
        (
            http(401, {"error": {"message": "No."}}),
            r"box wants a key: llm keys set box, then key: box",
        ),
        ([RESET], r"box is added unseen: http://127.0.0.1:\d+ did not answer in HTTP"),
    ],
    ids=["a page", "401", "reset"],
)
def test_add_of_an_endpoint_that_does_not_list_models(script: Script, words: str) -> None:
    with Server(models=script) as server:
        added = g4f("add", "box", server.origin)
    assert (added.exit_code, added.stdout.splitlines()[-1][:12]) == (0, "box is added")
    assert re.match(words, added.stderr)
    assert config.load().providers["box"].base_url == server.origin


def test_add_with_plain_http(run_llm: Run, user_path: Path) -> None:
    assert run_llm("g4f", "add", "box", "http://x.example/v1", "--plain-http").returncode == 0
    assert "plain_http: true" in (user_path / "g4f.yaml").read_text()


def test_enable_says_where_prompts_go(run_llm: Run) -> None:
    said = run_llm("g4f", "enable", "kilo").stdout
    assert f"your prompts will go to {PROVIDERS['kilo'].base_url}." in said
    assert "may be used for training" in said


def test_enable_and_disable_reject_unknown_names(run_llm: Run) -> None:
    for command in ("enable", "disable"):
        assert (
            "Unknown provider 'nope'. Known providers: openai"
            in run_llm("g4f", command, "nope").stderr
        )


def test_a_broken_file_is_not_edited(run_llm: Run, write_config: Write) -> None:
    path = write_config("providers: {box: {base_urll: x}}")
    refused = run_llm("g4f", "enable", "ovh")
    assert refused.returncode == 1
    assert f"{path}, line 1: unknown key 'base_urll'" in refused.stderr
    assert path.read_text() == "providers: {box: {base_urll: x}}"


def test_a_disabled_embedded_model_does_not_answer(run_llm: Run, real_weights: Path) -> None:
    assert run_llm("g4f", "disable", "embedded").returncode == 0
    answer = run_llm("-m", "gpt-4o", "hi")
    assert answer.returncode == 1
    assert 'embedded: disabled in g4f.yaml: "llm g4f enable embedded"' in answer.stderr


def test_providers(run_llm: Run, write_config: Write) -> None:
    write_config("providers: {box: {base_url: 'http://127.0.0.1:1/v1', models: {gpt-4o: llama}}}")
    table = run_llm("g4f", "providers").stdout
    assert run_llm("g4f", "--all").stdout.startswith(table)
    assert table.splitlines()[0].split() == [
        "provider",
        "kind",
        "enabled",
        "key",
        "cooldown",
        "gpt-4o",
    ]
    assert table.splitlines()[1].split() == ["box", "own", "yes", "-", "-", "llama"]
    assert "\x1b" not in table
    rows = json.loads(run_llm("g4f", "providers", "--json").stdout)
    assert [row["provider"] for row in rows] == ["box", *PROVIDERS, "embedded"]
    assert rows[0]["model"] == "llama"
    assert rows[1]["key"] is False


def test_alone_it_shows_what_a_route_leaves_out(write_config: Write) -> None:
    write_config(
        "providers:\n  box: {base_url: 'http://127.0.0.1:1/v1', models: {gpt-4o: llama}}\n"
        "  other: {base_url: 'http://127.0.0.1:1/v1', models: {gpt-4o: phi}}\n"
        "routes:\n  gpt-4o: [box]\n"
    )
    lines = ok(g4f())
    assert [line.split()[0] for line in lines[1:3]] == ["box", "other"]
    assert lines[2].endswith("the route gpt-4o in g4f.yaml (line 5) does not name it")


def test_alone_it_shows_what_takes_part_and_the_answer(write_config: Write) -> None:
    write_config(
        "providers:\n  box: {base_url: 'http://127.0.0.1:1/v1', models: {gpt-4o: llama}}\n"
        "  groq: {enabled: true}\n"
    )
    lines = ok(g4f())
    assert [line.split()[0] for line in lines[1:4]] == ["box", "openai", "groq"]
    assert lines[3].split()[2:5] == ["yes", "no", "-"]
    assert "  enabled, no key: set it with " in lines[3]
    assert lines[4:] == [
        "25 others: --all",
        "gpt-4o is answered by llama (box): a substitute.",
    ]
    assert len(ok(g4f("--all"))) == len(PROVIDERS) + 4


def test_enable_without_its_key_says_how_to_set_it() -> None:
    enabled = g4f("enable", "groq")
    assert (enabled.exit_code, enabled.stdout) == (0, "groq is enabled.\n")
    assert enabled.stderr == (
        'groq cannot answer yet: no key: set it with "llm keys set groq" or the environment'
        " variable GROQ_API_KEY.\n"
    )


def test_check_and_models_report_what_was_enabled_and_cannot_answer(write_config: Write) -> None:
    with Server(stream("hello"), models=listing("gpt-4o")) as server:
        write_config(
            f"providers:\n  box: {{base_url: '{server.url}'}}\n  groq: {{enabled: true}}\n"
            f"  other: {{base_url: '{server.url}', models: {{gpt-4o-mini: small}}}}\n"
        )
        checked = g4f("check")
        rows = [line.split() for line in checked.stdout.splitlines()]
        listed = g4f("models")
    assert (checked.exit_code, listed.exit_code) == (1, 1)
    assert [row[0] for row in rows] == ["provider", "box", "other", "groq"]
    assert "no key: set it with" in checked.stdout
    assert {asked.json["model"] for asked in server.requests} == {"gpt-4o", "small"}
    assert listed.stdout.splitlines() == ["box/gpt-4o", "other/gpt-4o"]
    assert listed.stderr.startswith('groq: no key: set it with "llm keys set groq"')


def test_a_failure_is_said_once_without_the_name_twice(endpoints: Callable[..., Path]) -> None:
    with Server([RESET], models=listing("gpt-4o")) as server:
        endpoints(box=server)
        checked = g4f("check", "--json")
    assert json.loads(checked.stdout)[0]["error"].startswith("box (http")
    assert "box" not in g4f("models", "box").stderr.removeprefix("Error: box")


def test_models(run_llm: Run, endpoints: Callable[..., Path]) -> None:
    listing = http(200, {"object": "list", "data": [{"id": "b"}, {"id": "a"}]})
    with Server(models=listing) as server:
        endpoints(box=server)
        assert run_llm("g4f", "models", "box").stdout == "b\na\n"
        assert run_llm("g4f", "models").stdout == "box/b\nbox/a\n"
        assert json.loads(run_llm("g4f", "models", "--json").stdout) == {"box": ["b", "a"]}
    assert server.looks[0].path == "/v1/models"
    off = run_llm("g4f", "models", "box")
    assert off.returncode == 1
    assert "refuses connections" in off.stderr


def test_check(run_llm: Run, endpoints: Callable[..., Path]) -> None:
    failing = http(401, {"error": {"message": "who are you"}})
    with Server(stream("hello")) as good, Server(failing) as bad:
        endpoints(good=good, bad=bad)
        checked = run_llm("g4f", "check")
        assert checked.returncode == 1
        lines = checked.stdout.splitlines()
        assert lines[1].split()[0] == "good"
        assert lines[1].split()[-1] == "gpt-4o-2024-11-20"
        assert "  wants a key: llm keys set bad, then key: bad in g4f.yaml" in lines[2]
        assert sorted(checked.stderr.splitlines()) == ["bad: failed", "good: answered"]
        found = json.loads(run_llm("g4f", "check", "good", "--json").stdout)
        assert found[0]["exact"] is True
        assert found[0]["error"] is None


def test_an_invalid_key_of_a_substitute_fails_no_command(
    endpoints: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "YOUR API KEY")
    with Server(stream("hello"), models=listing("gpt-4o")) as server:
        endpoints(box=server)
        lines = ok(g4f("route", "gpt-4o"))
        assert g4f("check").exit_code == 0
        assert llm_command("-m", "gpt-4o", "hi").stdout == "hello\n"
    assert any(
        line.startswith("-  gemini: The key from the environment variable") for line in lines
    )
