"""Files that only their owner may read, changed whole or not at all, by one program at a time."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LOCK_SECONDS: Final = 10.0  # a program waits this long for another one
_LOCK_PAUSE: Final = 0.02  # seconds


class Busy(Exception):
    """Another program has been changing the file for too long."""


@contextmanager
def alone_with(path: Path) -> Iterator[Path]:
    """Hold a file alone; gives the file itself, where ``path`` is a link to it.

    Raises:
        Busy: another program holds it for more than `LOCK_SECONDS`.
        OSError: its directory is not there, or can't be locked.
    """
    target = Path(os.path.realpath(path))  # or a link would be replaced instead of what it means
    deadline = time.monotonic() + LOCK_SECONDS
    descriptor = _open_lock(target)
    try:
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise Busy(f"{target} is being changed by another command; try again")
            time.sleep(_LOCK_PAUSE)
        yield target
    finally:
        os.close(descriptor)  # which gives the lock back, as the process's end would


def replace(target: Path, content: bytes) -> None:
    """Write beside the file and put it in its place, with mode 0600; on the disk when this returns.

    Raises:
        OSError: it can't be written; the file is as it was.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            _keep_owner(target, file.fileno())
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    if os.name == "posix":
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _keep_owner(target: Path, descriptor: int) -> None:
    """Leave the file to whom it belongs: when root changes it, its program must still read it."""
    if os.name != "posix" or not target.exists():
        return
    was, now = target.stat(), os.fstat(descriptor)
    if (was.st_uid, was.st_gid) != (now.st_uid, now.st_gid):
        os.fchown(descriptor, was.st_uid, was.st_gid)


if sys.platform == "win32":  # pragma: no cover - the other platforms have flock
    import msvcrt

    def _open_lock(target: Path) -> int:
        return os.open(f"{target}.lock", os.O_RDWR | os.O_CREAT, 0o600)

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _open_lock(target: Path) -> int:
        # the directory: it outlives the file, which is another one after each change, and leaves
        # no lock file behind that a second user could not open
        return os.open(target.parent, os.O_RDONLY)

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
