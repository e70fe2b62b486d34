"""One broker for one database: an advisory lock beside the file, which tells who holds it.

The operating system drops the lock with the process, so kill -9 leaves nothing to clean up.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from broker import files
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
            self._file: int | None = _open(self.path)
        except OSError as error:
            raise StoreUnusable(
                f"can't write beside {path}: {error.strerror}; choose another place with --db"
            ) from error
        try:
            taken = _try_lock(self._file)
        except OSError as error:
            self.release()
            raise StoreUnusable(
                f"can't lock {self.path}: {error.strerror}; choose a place with --db whose file"
                " system has locks"
            ) from error
        if not taken:
            holder = os.pread(self._file, MAX_HOLDER_BYTES, 0).decode(errors="replace").strip()
            os.close(self._file)
            self._file = None
            raise StoreUnusable(
                f"{path} is in use by another broker ({holder or 'unknown'}); stop that one, or"
                " choose another database with --db"
            )
        started = datetime.now(UTC).isoformat(timespec="seconds")
        holder = f"pid {os.getpid()} on {socket.gethostname()} since {started}\n"
        with suppress(OSError):  # a full disk: the note is for people, the lock holds without it
            os.ftruncate(self._file, os.pwrite(self._file, holder.encode(), 0))

    def release(self) -> None:
        """Give the lock back; idempotent. The file stays: removing it could race with a taker."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def holder(path: Path) -> str | None:
    """Who holds the lock beside this file, None when nobody does; makes and changes nothing.

    Raises:
        OSError: it can't be told, as when the lock may not be read.
    """
    try:
        number = os.open(path.with_name(path.name + ".lock"), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        # for an instant this is a lock itself, though one that other lookers do not notice
        if _try_lock(number, shared=True):
            return None
        found = os.pread(number, MAX_HOLDER_BYTES, 0).decode(errors="replace").strip()
        return found or "unknown"
    finally:
        os.close(number)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR)
    except FileNotFoundError:
        number = os.open(path, os.O_RDWR | os.O_CREAT, files.PRIVATE)
        files.give_to_owner_of(path, path.parent)
        return number


if sys.platform == "win32":  # pragma: no cover - the other platforms have flock
    import msvcrt

    def _try_lock(file: int, *, shared: bool = False) -> bool:
        # the byte locked lies beyond the text, so that others can read who holds it
        os.lseek(file, 4096, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: int, *, shared: bool = False) -> bool:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
