"""A provider from another package, really installed."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PLUGIN = Path(__file__).parents[1] / "plugin"

Llm = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the example plugin, which sees this one's packages too."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = next(folder.glob("[bS]*/python*"))
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    here = Path(__file__).parents[2]
    lines = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n{here}\n"
    Path(site, "here.pth").write_text(lines)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"]
    offline = ["--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, *offline, PLUGIN], check=True, cwd=folder)
    return python


@pytest.fixture
def other_llm(other_python: Path) -> Llm:
    def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [other_python, "-m", "llm", *args],
            capture_output=True,
            text=True,
            input="",
            check=False,
            env={**os.environ, **env},
        )

    return run


def test_an_enabled_provider_answers(other_llm: Llm, write_config: Callable[[str], Any]) -> None:
    assert (
        'parrot: not enabled: "llm g4f enable parrot"' in other_llm("g4f", "route", "gpt-4o").stdout
    )
    assert other_llm("g4f", "enable", "parrot").returncode == 0
    answer = other_llm("-m", "gpt-4o", "pieces of eight")
    assert answer.stdout.strip() == "pieces of eight"
    assert answer.stderr == (
        'gpt-4o answered by polly (parrot): a substitute. "llm g4f route gpt-4o" shows why.\n'
    )
    assert other_llm("g4f", "models", "parrot").stdout == "polly\n"


def test_its_ineligibility_is_reported(other_llm: Llm, write_config: Callable[[str], Any]) -> None:
    write_config("providers: {parrot: {enabled: true}}")
    answer = other_llm("-m", "gpt-4o", "-T", "llm_time", "hi")
    assert answer.returncode == 1
    assert "parrot: a parrot calls no tools" in answer.stderr


def test_python_finds_the_provider_by_name(
    other_python: Path, write_config: Callable[[str], Any]
) -> None:
    write_config("providers: {parrot: {enabled: true}}")
    code = (
        "from llm_g4f import Client\n"
        "answer = Client('parrot').chat.completions.create('hello there')\n"
        "print(answer.choices[0].message.content, answer.provider)\n"
    )
    found = subprocess.run(
        [other_python, "-X", "dev", "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout == "hello there  parrot\n"


def test_a_client_does_not_load_llms_plugins(user_path: Path) -> None:
    # Reading the stored keys imports llm, and no more than that.
    (user_path / "keys.json").write_text('{"openai": "sk-test"}')
    code = (
        "import sys\n"
        "from llm_g4f import config\n"
        "from llm_g4f.routing.registry import Registry\n"
        "config.find_key(('openai',), ())\n"
        "Registry(config.load()).names()\n"
        "print('llm' in sys.modules, 'openai' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "True False\n"
