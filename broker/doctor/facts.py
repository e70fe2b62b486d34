"""Looking at the database and the host; nothing is made or changed by it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import zmq

from broker import schema
from broker.doctor.findings import DatabaseFacts
from broker.file_lock import holder
from broker.keyring import Keyring, others_can_read
from broker.store import StoreError
from broker.store_errors import primary_code
from broker.store_opening import check_ours, refuse_foreign_file
from sessionclient.keys import KEY_VARIABLE
from sessionclient.version import __version__

SECRETS: Final = (KEY_VARIABLE, "PANELBUS_TOKENS", "PANELBUS_USERS")  # that name a file
BUSY_TIMEOUT: Final = 1.0  # seconds to wait for another's lock


def database(path: Path) -> DatabaseFacts:
    path = path.absolute()
    base = DatabaseFacts(str(path), newest=schema.VERSION)
    if not path.parent.is_dir():
        return replace(base, directory=False)
    base = replace(
        base,
        writable=os.access(path.parent, os.W_OK),
        free=shutil.disk_usage(path.parent).free,
        modes=_modes(path),
    )
    try:
        base = replace(base, holder=_holder(path))
        if not refuse_foreign_file(path):
            return base
        return _looked_into(replace(base, exists=True, size=path.stat().st_size), path)
    except StoreError as error:
        return replace(base, problem=str(error), exists=True)


def _holder(path: Path) -> str | None:
    try:
        return holder(path)
    except OSError:
        return "unknown"  # another user's lock, so most likely held


def _modes(path: Path) -> dict[str, int]:
    found = {}
    for suffix in ("", "-wal", "-shm", ".lock", ".reserve"):
        file = path.with_name(path.name + suffix)
        with suppress(OSError):
            found[str(file)] = file.stat().st_mode & 0o777
    return found


def _looked_into(facts: DatabaseFacts, path: Path) -> DatabaseFacts:
    log = path.with_name(path.name + "-wal")
    # without a log and a broker nobody writes, and SQLite need not make files beside it
    still = facts.holder is None and not (log.exists() and log.stat().st_size)
    mode = "immutable=1" if still else "mode=ro"
    try:
        connection = sqlite3.connect(
            f"{path.as_uri()}?{mode}", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None
        )
        with closing(connection):
            version = check_ours(connection, path)
            (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        if primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return replace(facts, damage=str(error))
        return replace(facts, unchecked=str(error))
    return replace(facts, version=version, damage=None if sound == "ok" else sound)


def open_secrets(environment: Mapping[str, str]) -> list[str] | None:
    """Of the keys, tokens and users that the environment names those which others can read or
    write; None when it names none."""
    named = [Path(environment[name]) for name in SECRETS if environment.get(name)]
    if environment.get("PANELBUS_KEYS"):
        ring = Keyring(Path(environment["PANELBUS_KEYS"]))
        named += [ring.broker_file, *sorted(ring.keys_directory.glob("*.key"))]
    found = []
    for path in named:
        with suppress(OSError):  # not there: whoever needs it says so
            if others_can_read(path):
                found.append(str(path))
    return found if named else None


def broker_process(held_by: str | None) -> int | None:
    """The process id of a broker on this host that holds the lock."""
    found = re.fullmatch(r"pid (\d+) on (\S+) since \S+", held_by or "")
    if found is None or found[2] != socket.gethostname():
        return None
    return int(found[1])


def open_files_limit(pid: int | None) -> int | None:
    """How many files a process may have open: that of the broker, or this one's own soft limit."""
    if sys.platform == "win32":
        return None
    import resource

    if pid is not None and sys.platform == "linux":
        with suppress(OSError, ValueError):
            return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return hard if pid is None else soft  # a broker raises its own to the hard limit


def versions() -> dict[str, str]:
    return {
        "panelbus": __version__,
        "Python": platform.python_version(),
        "libzmq": zmq.zmq_version(),
        "SQLite": sqlite3.sqlite_version,
    }
