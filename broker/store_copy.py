"""A consistent copy of the database while the broker writes to it.

The copy reads through a connection and a transaction of its own, so it is the database as it was
at one instant, and no commit waits for it: not even when the copy's own disk is slow.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from broker import files
from broker.store import CopyRefused, StoreError, StoreUnavailable
from broker.store_errors import damaged, translate
from broker.store_opening import check_ours

PAGES_PER_STEP: Final = 256  # 1 MiB; between two steps it can be given up
SUFFIX: Final = ".db"
SPARE_BYTES: Final = 8 << 20  # left free beside a copy on its disk
MARK_BYTES: Final = 4  # of randomness in an unfinished copy's name


class _GivenUp(Exception):
    """Nobody waits for the copy any more."""


def target(database: Path, file: str) -> Path:
    """Where a copy goes. What may ask for one is far away, so it gets to write nothing else.

    Raises:
        CopyRefused: it may not, or can't, be there.
    """
    if not file.endswith(SUFFIX) or not file.isprintable() or Path(file).name == SUFFIX:
        raise CopyRefused(f"{file!r:.200} must be a file name that ends in {SUFFIX}", "bad_request")
    path = database.parent / file  # an absolute one stays as it is
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _refusal(path, error) from error
    else:
        raise CopyRefused(f"{path} exists already; choose another name", "conflict")
    if not path.parent.is_dir():
        raise CopyRefused(f"there is no directory {path.parent}; make it first", "bad_request")
    return path


def copy_database(database: Path, file: str, go_on: Callable[[], bool]) -> tuple[str, int]:
    """See `broker.store.Store.copy`."""
    path = target(database, file)
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(MARK_BYTES)}.part")
    try:
        _must_fit(database, path)
        with files.unfinished(unfinished):
            files.create(unfinished)
            _copy(database, unfinished, go_on)
            size = unfinished.stat().st_size
            files.give_to_owner_of(unfinished, database)
            files.place(unfinished, path)
    except FileExistsError as error:
        raise CopyRefused(f"{path} exists already; choose another name", "conflict") from error
    except OSError as error:
        raise _refusal(path, error) from error
    return str(path), size


def _refusal(path: Path, error: OSError) -> StoreError:
    text = f"can't write {path}: {error.strerror}; choose another place"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreUnavailable(text, "full")
    return CopyRefused(text, "bad_request")


def _must_fit(database: Path, path: Path) -> None:
    """A copy that filled the database's own disk would cost more than it saves."""
    log = database.with_name(database.name + "-wal")
    size = database.stat().st_size + (log.stat().st_size if log.exists() else 0)
    if shutil.disk_usage(path.parent).free < size + SPARE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _copy(database: Path, unfinished: Path, go_on: Callable[[], bool]) -> None:
    def between_steps(_status: int, _remaining: int, _total: int) -> None:
        if not go_on():
            raise _GivenUp

    try:
        source = sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, isolation_level=None)
        with closing(source), closing(sqlite3.connect(unfinished)) as copy:
            copy.execute("PRAGMA synchronous = OFF")  # it is synced before it gets its name
            # one transaction for all steps: without it each commit would start them anew
            source.execute("BEGIN")
            check_ours(source, database)  # which also begins to read
            source.backup(copy, pages=PAGES_PER_STEP, progress=between_steps)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, wherever it is opened
            (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    except _GivenUp as error:
        raise StoreUnavailable("the broker stops; ask again later", "busy") from error
    except sqlite3.Error as error:
        raise translate(error, database) from error
    if found != "ok":
        raise damaged(database, f"found by copying it: {found}")
