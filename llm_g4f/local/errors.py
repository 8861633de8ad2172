"""The error of this package."""

from __future__ import annotations

from pathlib import Path

from .progress import shown_size


class WeightsError(Exception):
    """The local model is unavailable. The message says why and what to do. The provider turns it into
    an `APIConnectionError`."""


def disk_full(
    name: str, place: Path, variable: str, needed: int | None = None, free: int | None = None
) -> WeightsError:
    """The error for a disk that is too small, or has become full (without figures). `variable` chooses
    another place."""
    takes = "" if needed is None else f": fetching it takes {shown_size(needed)}"
    left = "" if free is None else f", and {shown_size(free)} are free"
    return WeightsError(
        f"Too little disk space for {name} in {place}{takes}{left}. Free some, or set {variable} to a"
        " larger disk."
    )
