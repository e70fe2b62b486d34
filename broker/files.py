"""Files of our own: readable by the owner alone, and under their name whole or not at all."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600
NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)  # what file systems say without them


def create(path: Path) -> None:
    """Make an empty private file that did not exist; whatever the umask is.

    Raises:
        OSError: FileExistsError above all.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE))


def place(finished: Path, final: Path) -> None:
    """Give a finished file its name, durably. What already has that name stays as it is.

    Raises:
        OSError: FileExistsError when the name is taken.
    """
    sync(finished)
    try:
        os.link(finished, final)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if final.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final)) from error
        finished.rename(final)
    else:
        finished.unlink()
    sync(final.parent)


def sync(path: Path) -> None:
    """Wait until a file, or a directory's list of names, is on the disk."""
    if sys.platform == "win32" and path.is_dir():
        return  # which has no such thing
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def give_to_owner_of(path: Path, model: Path) -> None:
    """Root leaves no file of its own where another user's broker has to write."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return
    owner = model.stat()
    os.chown(path, owner.st_uid, owner.st_gid)


@contextmanager
def unfinished(path: Path) -> Iterator[None]:
    """A file that is worked on in this block, and then placed: nothing stays under this name.

    What an earlier attempt left goes first: SQLite would take an old log for the new file's.
    """
    _discard(path)
    try:
        yield
    finally:
        _discard(path)


def _discard(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
