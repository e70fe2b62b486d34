"""What a benchmark ran on, as far as its figures depend on it."""

from __future__ import annotations

import os
import platform
import sqlite3
from pathlib import Path
from typing import Final

import msgpack
import msgspec
import psutil
import zmq

CPU_INFO: Final = Path("/proc/cpuinfo")
GIB: Final = 1 << 30


def describe(directory: Path) -> dict[str, str]:
    """In words, by name; ``directory`` is where the databases will be."""
    load = " ".join(f"{value:.1f}" for value in psutil.getloadavg())
    return {
        "processor": _processor(),
        "cores": str(_cores()),
        "memory": f"{psutil.virtual_memory().total / GIB:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "pyzmq": f"{zmq.__version__}, libzmq {zmq.zmq_version()}",
        "msgpack": ".".join(map(str, msgpack.version)),
        "msgspec": msgspec.__version__,
        "SQLite": sqlite3.sqlite_version,
        "file system": _file_system(directory),
        "load average": f"{load} before it began",
    }


def _processor() -> str:
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def _cores() -> int:
    """Those this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _file_system(directory: Path) -> str:
    """Of the mount that the directory is in."""
    path = directory.resolve()
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    found = next((place for place in (path, *path.parents) if place in mounts), None)
    return "unknown" if found is None else mounts[found] or "unknown"
