"""Opening the database: whose file it is, which version, and how a new one comes to be."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from broker import files, schema
from broker.store import StoreUnusable

SQLITE_MAGIC: Final = b"SQLite format 3\0"
CHOOSE: Final = "choose another file with --db"


def refuse_foreign_file(path: Path, choose: str = CHOOSE) -> bool:
    """SQLite takes an empty file for a database and a foreign one for damage: say it better.

    ``choose`` is what to do about it. Returns whether there is a file at all.

    Raises:
        StoreUnusable: it is no SQLite database, or can't be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(SQLITE_MAGIC))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreUnusable(f"can't read {path}: {error.strerror}; {choose}") from error
    if not start:
        raise StoreUnusable(
            f"{path} is empty, which a database never is: restore a backup, remove the file to"
            f" start afresh, or {choose}"
        )
    if start != SQLITE_MAGIC:
        raise StoreUnusable(f"{path} is not a SQLite database; {choose}")
    return True


def check_ours(connection: sqlite3.Connection, path: Path, choose: str = CHOOSE) -> int:
    """The schema version of a database of ours, 0 for one without a table yet.

    Raises:
        StoreUnusable: it is another program's, or of a newer version.
    """
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application_id != schema.APPLICATION_ID and (tables or version or application_id):
        raise StoreUnusable(f"{path} is another program's database; {choose}")
    if version > schema.VERSION:
        raise StoreUnusable(
            f"{path} has schema version {version}, this broker knows up to {schema.VERSION};"
            f" upgrade panelbus, or {choose}"
        )
    return int(version)


def connect(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """A connection to a database that exists: one that vanished is never made anew.

    Raises:
        StoreUnusable: it is not ours.
        sqlite3.Error: anything else.
    """
    # rows are full of None, for which the module would look for an adapter and find none each time,
    # which takes as long as to write another column
    sqlite3.register_adapter(type(None), _as_it_is)
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,  # transactions are begun by us, never by the module
        check_same_thread=False,
    )
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _as_it_is(value: None) -> None:
    return value


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Check whose file it is, then set it up."""
    version = check_ours(connection, path)
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL, because only it keeps an acknowledged kill through a power cut
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cell_size_check = ON")  # damage is met earlier
    schema.migrate(connection, version)
    # finds a file that can't be written now, not later; beginning alone would only read it
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("DELETE FROM counters WHERE 0")
    finally:
        connection.execute("ROLLBACK")


def make_new(path: Path, busy_timeout: float) -> None:
    """Create a database under another name first, so that one cut short is never met.

    Raises:
        sqlite3.Error, OSError: it can't be made; nothing is left of it.
    """
    new = path.with_name(path.name + ".new")
    with files.unfinished(new):
        files.create(new)
        files.give_to_owner_of(new, path.parent)
        connect(new, busy_timeout).close()
        files.place(new, path)


Identity = tuple[tuple[int, int] | None, ...]


def identity(path: Path) -> Identity:
    """Which files the database and its log are, None for one that is not there."""
    # texts, because this is asked before each commit, and to make a Path takes longer than the rest
    name = str(path)
    return _inode(name), _inode(name + "-wal")


def _inode(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino
