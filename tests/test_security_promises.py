"""SECURITY.md names the tests of each promise, and they exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
TEXT = (TESTS.parent / ".github" / "SECURITY.md").read_text(encoding="utf-8")
PROMISES = TEXT.partition("## What is protected\n")[2].partition("\n## ")[0]
NOTES = dict(re.findall(r"^\[\^([\w-]+)\]: (.+)$", TEXT, re.MULTILINE))


def test_each_promise_names_its_tests() -> None:
    introduction, *promises = [line for line in PROMISES.splitlines() if line]
    assert introduction.startswith("The notes at the end")
    # A headline only introduces the list below it.
    unproven = [
        promise
        for promise, below in zip(promises, [*promises[1:], ""], strict=True)
        if "[^" not in promise and not (promise.startswith("**") and below.startswith("- "))
    ]
    assert unproven == []
    named = re.findall(r"\[\^([\w-]+)\]", PROMISES)
    assert sorted(named) == sorted(NOTES)


def test_the_named_tests_exist() -> None:
    named = [test for note in NOTES.values() for test in re.findall(r"`([^`]+)`", note)]
    assert len(named) > 60
    missing = []
    for test in named:
        file, _, function = test.partition("::")
        path = TESTS / file
        source = path.read_text(encoding="utf-8") if path.exists() else ""
        if not re.search(rf"^(?:async )?def {function}\(", source, re.MULTILINE):
            missing.append(test)
    assert missing == []
