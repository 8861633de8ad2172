"""What this machine has free for a model: memory and cores."""

from __future__ import annotations

import os
from pathlib import Path

from .resources import total_memory


def available_memory() -> int | None:
    """Bytes of memory that a new process may take; None if the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return min(int(line.split()[1]) * 1024, _cgroup_limit())
    except (OSError, ValueError):
        pass
    # Other systems tell how much there is: half of it is a careful guess at what is free.
    total = total_memory()
    return None if total is None else total // 2


def _cgroup_limit() -> int:
    """Bytes that a container may still take (the kernel's cgroup-v2.rst, "Memory"). Without a limit,
    a number that is larger than any."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii")
        return int(limit) - int((folder / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 1 << 62


def load_average() -> float:
    """The processes that wanted a core in the last minute; 0 where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return 0.0


def physical_cores() -> int:
    """The cores that this process may use: two threads on one core only wait for each other."""
    try:
        allowed = os.sched_getaffinity(0)  # type: ignore[attr-defined, unused-ignore]
        cores = set()
        for number in allowed:
            topology = Path(f"/sys/devices/system/cpu/cpu{number}/topology")
            cores.add(
                tuple(
                    (topology / name).read_text(encoding="ascii")
                    for name in ("physical_package_id", "core_id")
                )
            )
        return len(cores) or 1
    except (OSError, AttributeError):
        return os.cpu_count() or 1
