"""Check that a wheel contains only the package and its metadata, and no further dependencies."""

from __future__ import annotations

import re
import sys
import zipfile
from email.parser import Parser

ALLOWED = {
    *("llm", "httpx", "pluggy"),
    *("filelock", "httptools", "jsonschema", "msgspec", "ruamel-yaml"),
}
LOCAL = {"xllamacpp", "huggingface-hub"}
PRICES = {"genai-prices"}
PLOT = {"matplotlib"}
OTEL = {"opentelemetry-api"}
RAY = {"ray"}
TEST = LOCAL | PRICES | PLOT | OTEL
TEST |= {
    "coverage",
    "hatchling",
    "hypothesis",
    "llm-echo",
    "openai",
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-sdk",
    "pytest",
    "pytest-cov",
    "pytest-timeout",
    "pytest-xdist",
    "socksio",
    "trustme",
    "uvloop",
}
DEV = TEST | {
    "atheris",
    "build",
    "cogapp",
    "import-linter",
    "mypy",
    "ruff",
    "types-jsonschema",
    "types-pyyaml",
}
EXTRAS = {
    "local": LOCAL,
    "prices": PRICES,
    "plot": PLOT,
    "otel": OTEL,
    "ray": RAY,
    "bench": LOCAL,
    "test": TEST,
    "dev": DEV,
}
# A new dependency also needs a reason in the README.


def required(requirements: list[str], extra: str = "") -> set[str]:
    """Names of the required packages, or of those required by `extra`."""
    names = set()
    for requirement in requirements:
        package, _, marker = requirement.partition(";")
        match = re.search(r"extra == ['\"]([^'\"]+)['\"]", marker)
        if (match[1] if match else "") == extra:
            assert "@" not in package, f"required from a URL: {package}"
            names.add(
                re.split(r"[<>=!~ \[(]", package.strip())[0]
                .lower()
                .replace(".", "-")
                .replace("_", "-")
            )
    return names


def main(path: str) -> None:
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata_text = wheel.read(metadata).decode()
        requirements = Parser().parsestr(metadata_text).get_all("Requires-Dist", [])
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        assert "g4f = llm_g4f.plugin" in wheel.read(entry_points).decode()
    stray = [
        name
        for name in names
        if not re.fullmatch(r"llm_g4f/([a-z_]+/)*([a-z_0-9]+\.py|py\.typed)", name)
        and not re.fullmatch(r"llm_g4f-[0-9.a-z]+\.dist-info/[A-Za-z_./]+", name)
    ]
    assert not stray, f"stray files in the wheel: {stray}"
    hard = required(requirements)
    assert hard == ALLOWED, f"the wheel requires {hard}"
    extras = set(Parser().parsestr(metadata_text).get_all("Provides-Extra", []))
    assert extras == EXTRAS.keys(), f"the wheel's extras are {extras}"
    for extra, allowed in EXTRAS.items():
        packages = required(requirements, extra)
        assert packages == allowed, f"the extra {extra} requires {packages}"
    print(f"{path.rsplit('/', 1)[-1]}: {len(names)} files, requires {', '.join(sorted(hard))}")


main(sys.argv[1])
