"""Check what a wheel contains: the package, its metadata, and nothing that runs by itself."""

from __future__ import annotations

import re
import sys
import zipfile
from email.parser import Parser

ALLOWED = {"llm", "httpx", "httptools", "pluggy", "filelock", "ruamel-yaml"}


def main(path: str) -> None:
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        requirements = Parser().parsestr(wheel.read(metadata).decode()).get_all("Requires-Dist", [])
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        assert "g4f = llm_g4f.plugin" in wheel.read(entry_points).decode()
    stray = [
        name
        for name in names
        if not re.fullmatch(r"llm_g4f/([a-z_]+/)?([a-z_0-9]+\.py|py\.typed)", name)
        and not re.fullmatch(r"llm_g4f-[0-9.a-z]+\.dist-info/[A-Za-z_./]+", name)
    ]
    assert not stray, f"stray files in the wheel: {stray}"
    hard = {
        re.split(r"[<>=!~ ;\[]", requirement)[0]
        for requirement in requirements
        if "extra ==" not in requirement
    }
    assert hard == ALLOWED, f"the wheel requires {hard}"
    print(f"{path.rsplit('/', 1)[-1]}: {len(names)} files, requires {', '.join(sorted(hard))}")


main(sys.argv[1])
