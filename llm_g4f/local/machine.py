"""What this machine has for a model: memory and cores."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def available_memory() -> int | None:
    """Bytes of memory that a new process may take; None if the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return min(int(line.split()[1]) * 1024, _cgroup_limit())
    except (OSError, ValueError):
        pass
    if sys.platform == "win32":
        return _windows_memory()
    try:
        # macOS tells only how much there is: half of it is a careful guess at what is free.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (OSError, ValueError):
        return None


def _cgroup_limit() -> int:
    """Bytes that a container may still take (the kernel's cgroup-v2.rst, "Memory"). Without a limit,
    a number that is larger than any."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii")
        return int(limit) - int((folder / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 1 << 62


def _windows_memory() -> int | None:
    import ctypes

    class MemoryStatus(ctypes.Structure):  # MEMORYSTATUSEX of sysinfoapi.h
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *(
                (name, ctypes.c_ulonglong)
                for name in ("total", "available", "a", "b", "c", "d", "e")
            ),
        ]

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    windows = getattr(ctypes, "windll")  # noqa: B009 (missing elsewhere)
    if not windows.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.available)


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
