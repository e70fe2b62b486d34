"""SQLite's errors as the store's: what went wrong, and what to do about it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from broker.store import StoreError, StoreUnavailable, StoreUnusable


def _extended_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0)


def primary_code(error: sqlite3.Error) -> int:
    return _extended_code(error) & 0xFF


def is_io_error(error: sqlite3.Error) -> bool:
    return primary_code(error) == sqlite3.SQLITE_IOERR


def damaged(path: Path, what: object) -> StoreUnusable:
    return StoreUnusable(
        f"{path} is damaged ({what}); put the newest backup back: panelbus restore BACKUP --db"
        f" {path}; or move the file away to start afresh"
    )


def replaced(path: Path) -> StoreUnusable:
    return StoreUnusable(
        f"{path} or its -wal was removed or replaced while in use; nothing written now would be"
        " kept. Put it back or restore a backup, then start the broker again"
    )


def full(path: Path) -> StoreUnavailable:
    return StoreUnavailable(f"no space left for {path}; free some", "full")


def translate(error: sqlite3.Error, path: Path, *, opening: bool = False) -> StoreError:
    """An error of SQLite as one of ours."""
    code = primary_code(error)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, error)
    # the log's index is the one thing whose lack of space has a name of its own
    if code == sqlite3.SQLITE_FULL or _extended_code(error) == sqlite3.SQLITE_IOERR_SHMSIZE:
        return full(path)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        text = f"{path} is locked by another program ({error}); end what reads or copies it"
        return StoreUnusable(text) if opening else StoreUnavailable(text, "busy")
    if opening:
        return StoreUnusable(f"can't use {path}: {error}; choose another place with --db")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return StoreUnavailable(f"{path} can't be written: {error}", "readonly")
    return StoreUnavailable(f"writing {path} failed: {error}", "io")
