"""Changes to g4f.yaml that keep the user's comments and order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from .. import config
from ..config.files import atomic_write
from ..errors import ConfigError


@contextmanager
def editing() -> Iterator[Any]:
    """The `providers:` of g4f.yaml as a mapping, to be changed; written back in one step.

    What would not be a valid configuration afterwards is a `ConfigError`, and not written.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

    path = config.config_path()
    # A file that is wrong now is the user's to mend: an edit could lose what she meant.
    config.load()
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4_096
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    document = yaml.load(text)
    if document is None:
        document = CommentedMap()
    if document.get("providers") is None:
        document["providers"] = CommentedMap()
    yield document["providers"]
    if not document["providers"]:
        del document["providers"]
    out = StringIO()
    if document:
        yaml.dump(document, out)
    config.parse(out.getvalue(), path)
    _write(path, out.getvalue())


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        atomic_write(path, text.encode(), mode)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
