"""Keys of llm's keys.json, of the environment and of the caller."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from llm_g4f import config
from llm_g4f.errors import NoProviderError

CANARY = "sk-canary-4711"


def keys(user_path: Path, **stored: Any) -> None:
    (user_path / "keys.json").write_text(json.dumps(stored))


def revealed(aliases: tuple[str, ...], variables: tuple[str, ...]) -> str | None:
    found = config.find_key(aliases, variables)
    return None if found is None else found.reveal()


def test_stored_keys_come_before_the_environment(
    user_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert revealed(("a", "b"), ("KEY_A", "KEY_B")) is None
    monkeypatch.setenv("KEY_B", "env-b")
    assert revealed(("a", "b"), ("KEY_A", "KEY_B")) == "env-b"
    monkeypatch.setenv("KEY_A", " env-a\n")
    assert revealed(("a", "b"), ("KEY_A", "KEY_B")) == "env-a"
    keys(user_path, b=" stored-b \n")
    assert revealed(("a", "b"), ("KEY_A", "KEY_B")) == "stored-b"
    keys(user_path, b="stored-b", a="stored-a")
    assert revealed(("a", "b"), ("KEY_A", "KEY_B")) == "stored-a"
    assert revealed((), ("KEY_A",)) == "env-a"


def test_a_key_says_how_to_set_another_one_in_its_place(
    user_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hint(*aliases: str) -> str:
        found = config.find_key(aliases, ("KEY_A", "KEY_B"))
        assert found is not None
        return found.hint

    monkeypatch.setenv("KEY_B", "env-b")
    assert hint() == "set it with the environment variable KEY_B"
    assert hint("a") == 'set it with "llm keys set a" or the environment variable KEY_B'
    keys(user_path, b="stored-b")
    assert hint("a", "b") == 'set it with "llm keys set b"'


def test_keys_that_are_just_being_written_are_read_again(
    user_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = user_path / "keys.json"
    path.touch()
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        keys(user_path, a="stored-a")

    monkeypatch.setattr(time, "sleep", sleep)
    assert revealed(("a",), ()) == "stored-a"
    assert len(pauses) == 1
    # One that was incomplete before stays so.
    path.write_text("{")
    os.utime(path, (0, 0))
    with pytest.raises(NoProviderError, match="cannot be read"):
        revealed(("a",), ())
    assert len(pauses) == 1


@pytest.mark.parametrize("stored", ["", "  ", None, 5, {"x": 1}])
def test_an_empty_stored_key_is_ignored(
    user_path: Path, monkeypatch: pytest.MonkeyPatch, stored: Any
) -> None:
    keys(user_path, a=stored)
    monkeypatch.setenv("KEY_A", "  ")
    assert revealed(("a",), ("KEY_A",)) is None
    monkeypatch.setenv("KEY_A", "env-a")
    assert revealed(("a",), ("KEY_A",)) == "env-a"


@pytest.mark.parametrize("content", ["[]", "null", '"x"'])
def test_a_keys_file_without_an_object_has_no_keys(user_path: Path, content: str) -> None:
    (user_path / "keys.json").write_text(content)
    assert revealed(("a",), ()) is None


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b'{"a": "' + CANARY.encode()])
def test_an_invalid_keys_file_is_an_error_that_does_not_show_it(
    user_path: Path, content: bytes
) -> None:
    path = user_path / "keys.json"
    path.write_bytes(content)
    os.utime(path, (0, 0))
    with pytest.raises(NoProviderError, match=r"keys\.json cannot be read") as caught:
        config.find_key(("a",), ())
    assert CANARY not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_in_place_of_the_keys_is_an_error(user_path: Path) -> None:
    os.mkfifo(user_path / "keys.json")
    with pytest.raises(
        NoProviderError, match=r"keys\.json cannot be read: it is not a regular file"
    ):
        config.find_key(("a",), ())


@pytest.mark.parametrize(
    "bad", [f"{CANARY} x", f"{CANARY}\nX: y", f"{CANARY}ü", f"{CANARY}\x00", f"{CANARY}\x7f", "…"]
)
def test_an_invalid_key_is_an_error_with_its_source_and_without_the_key(
    user_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    keys(user_path, a=bad)
    with pytest.raises(NoProviderError, match=r'"llm keys" \(a\)') as stored:
        config.find_key(("a",), ())
    with pytest.raises(NoProviderError, match="--key") as named:
        config.named_key("a")
    with pytest.raises(NoProviderError, match="--key") as given_one:
        config.named_key(bad)
    errors = [stored, named, given_one]
    if "\x00" not in bad:
        monkeypatch.setenv("KEY_A", bad)
        with pytest.raises(NoProviderError, match="environment variable KEY_A") as env:
            config.find_key((), ("KEY_A",))
        errors.append(env)
    for caught in errors:
        assert CANARY not in str(caught.value) + repr(caught.value)
        assert bad not in str(caught.value)


def test_named_key(user_path: Path) -> None:
    assert config.named_key("work").reveal() == "work"
    keys(user_path, work="stored")
    assert config.named_key("work").reveal() == "stored"
    assert config.named_key(" sk-1 ").reveal() == "sk-1"
    with pytest.raises(NoProviderError):
        config.named_key(" ")


def test_a_key_is_not_in_its_repr() -> None:
    key = config.clean_key(CANARY, "a test")
    assert key.reveal() == CANARY
    assert CANARY not in f"{key!r} {key} {[key]}"


@pytest.mark.parametrize(
    "name",
    ["sk-1", "gsk_abc", "hf_abc", "AIzaSy", "Bearer x", "0123456789abcdef01234567", " sk-or-v1-2"],
)
def test_what_may_be_a_key_is_not_a_name(name: str) -> None:
    assert config.looks_like_key(name)


@pytest.mark.parametrize(
    "name", ["mybox", "my-box-2", "OPENAI_API_KEY", "company-gateway-west-europe"]
)
def test_what_names_a_key(name: str) -> None:
    assert not config.looks_like_key(name)
