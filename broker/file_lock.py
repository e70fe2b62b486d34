"""One broker for one database: an advisory lock beside the file, which tells who holds it.

The operating system drops the lock with the process, so kill -9 leaves nothing to clean up.
"""

from __future__ import annotations

import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from broker.store import StoreUnusable

MAX_HOLDER_BYTES: Final = 500


class FileLock:
    """An exclusive lock on ``<path>.lock``, held until `release`."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            StoreUnusable: another process holds it (the message says which), or the directory
                can't be written.
        """
        self.path = path.with_name(path.name + ".lock")
        try:
            self._file: int | None = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreUnusable(
                f"can't write beside {path}: {error.strerror}; choose another place with --db"
            ) from error
        if not _try_lock(self._file):
            holder = os.pread(self._file, MAX_HOLDER_BYTES, 0).decode(errors="replace").strip()
            os.close(self._file)
            self._file = None
            raise StoreUnusable(
                f"{path} is in use by another broker ({holder or 'unknown'}); stop that one, or"
                " choose another database with --db"
            )
        started = datetime.now(UTC).isoformat(timespec="seconds")
        holder = f"pid {os.getpid()} on {socket.gethostname()} since {started}\n"
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, holder.encode(), 0)

    def release(self) -> None:
        """Give the lock back; idempotent. The file stays: removing it could race with a taker."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


if sys.platform == "win32":  # pragma: no cover - the other platforms have flock
    import msvcrt

    def _try_lock(file: int) -> bool:
        # the byte locked lies beyond the text, so that others can read who holds it
        os.lseek(file, 4096, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
