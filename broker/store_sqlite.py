"""The store in one SQLite file: WAL, synchronous=FULL, one transaction for each batch."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import Any, Final

from broker.file_lock import FileLock
from broker.schema import APPLICATION_ID, VERSION, migrate
from broker.store import (
    Batch,
    CommandRow,
    Loaded,
    ProcessRow,
    SessionRow,
    StoreError,
    StoreUnavailable,
    StoreUnusable,
    TaskRow,
    Tombstone,
)

BUSY_TIMEOUT: Final = 2.0  # seconds a commit waits for somebody else's lock
PURGE_ROWS: Final = 1_000  # history rows of each table removed in one commit
SQLITE_MAGIC: Final = b"SQLite format 3\0"

_SESSION_COLUMNS: Final = ", ".join(SessionRow._fields)
_KEEP_ENDED: Final = "sessions.ended_at IS NULL OR sessions.end_reason = 'stale'"


def _upsert(table: str, fields: tuple[str, ...], keys: tuple[str, ...], where: str = "") -> str:
    columns = ", ".join(fields)
    marks = ", ".join("?" * len(fields))
    sets = ", ".join(f"{name} = excluded.{name}" for name in fields if name not in keys)
    condition = f" WHERE {where}" if where else ""
    return (
        f"INSERT INTO {table} ({columns}) VALUES ({marks})"
        f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {sets}{condition}"
    )


_PUT_PROCESS: Final = _upsert("processes", ProcessRow._fields, ("instance",))
_PUT_SESSION: Final = _upsert("sessions", SessionRow._fields, ("session_id",), _KEEP_ENDED)
_PUT_TASK: Final = _upsert("tasks", TaskRow._fields, ("session_id", "task_no"))
_PUT_COMMAND: Final = _upsert("commands", CommandRow._fields, ("command_id",))


class SqliteStore:
    """`broker.store.Store` in a SQLite file. One thread at a time; any thread may be that one."""

    def __init__(self, path: Path, lock: FileLock, busy_timeout: float) -> None:
        self._path = path
        self._lock = lock
        self._busy_timeout = busy_timeout
        self._connection = self._connect()
        self._identity = _identity(path)

    @classmethod
    def open(cls, path: Path, *, busy_timeout: float = BUSY_TIMEOUT) -> SqliteStore:
        """Open or create the database, alone.

        Raises:
            StoreUnusable: it can't be written, is held by another broker, is no database of
                ours, is damaged, or was made by a newer version. The message says what to do.
        """
        path = path.absolute()
        _refuse_foreign_file(path)
        lock = FileLock(path)
        try:
            return cls(path, lock, busy_timeout)
        except sqlite3.Error as error:
            lock.release()
            raise _translate(error, path, opening=True) from error
        except StoreError:
            lock.release()
            raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=self._busy_timeout,
            isolation_level=None,  # transactions are begun here, never by the module
            check_same_thread=False,
        )
        try:
            _prepare(connection, self._path)
        except BaseException:
            connection.close()
            raise
        return connection

    # --- reading ---------------------------------------------------------------------------

    def load(self, *, max_tombstones: int, max_commands: int) -> Loaded:
        try:
            return self._load(max_tombstones, max_commands)
        except sqlite3.Error as error:
            raise _translate(error, self._path, opening=True) from error

    def _load(self, max_tombstones: int, max_commands: int) -> Loaded:
        query = self._connection.execute
        sessions = query(
            f"SELECT {_SESSION_COLUMNS} FROM sessions WHERE ended_at IS NULL ORDER BY seq"
        )
        processes = query(
            f"SELECT {', '.join(ProcessRow._fields)} FROM processes WHERE instance IN"
            " (SELECT process FROM sessions WHERE ended_at IS NULL)"
        )
        tombstones = query(
            "SELECT session_id, seq, end_reason, ended_at, kill_command FROM sessions"
            " WHERE ended_at IS NOT NULL ORDER BY ended_at DESC, seq DESC LIMIT ?",
            (max_tombstones,),
        ).fetchall()
        columns = ", ".join(CommandRow._fields)
        finished = query(
            f"SELECT {columns} FROM commands WHERE finished_at IS NOT NULL AND stage <> 'refused'"
            " ORDER BY finished_at DESC LIMIT ?",
            (max_commands,),
        ).fetchall()
        unfinished = query(
            f"SELECT {columns} FROM commands WHERE finished_at IS NULL AND stage <> 'refused'"
        ).fetchall()
        commands = [_command(row) for row in finished + unfinished]
        commands.sort(key=lambda row: row.requested_at)
        last = query("SELECT max(seq) FROM sessions").fetchone()[0]
        return Loaded(
            processes=[ProcessRow(*row) for row in processes],
            sessions=[SessionRow(*row) for row in sessions],
            commands=commands,
            tombstones=[Tombstone(*row) for row in reversed(tombstones)],
            last_seq=last or 0,
        )

    def tasks(self, session_id: str, limit: int) -> list[TaskRow]:
        try:
            rows = self._connection.execute(
                f"SELECT {', '.join(TaskRow._fields)} FROM tasks WHERE session_id = ?"
                " ORDER BY task_no DESC LIMIT ?",
                (session_id, limit),
            ).fetchall()
        except sqlite3.Error as error:
            raise _translate(error, self._path) from error
        return [TaskRow(*row) for row in reversed(rows)]

    # --- writing ---------------------------------------------------------------------------

    def commit(self, batch: Batch) -> None:
        if _identity(self._path) != self._identity:
            raise StoreUnusable(
                f"{self._path} was removed or replaced while in use; nothing written now would be"
                " kept. Put it back or restore a backup, then start the broker again"
            )
        if not batch:
            return
        try:
            self._commit(batch)
        except sqlite3.Error as error:
            if not _is_io_error(error):
                raise _translate(error, self._path) from error
            self._reopen_and_repeat(batch)

    def _reopen_and_repeat(self, batch: Batch) -> None:
        """After an I/O error the outcome is unknown; rows are absolute, so write them again."""
        self._connection.close()
        try:
            self._connection = self._connect()
            self._commit(batch)
        except sqlite3.Error as error:
            raise _translate(error, self._path) from error

    def _commit(self, batch: Batch) -> None:
        connection = self._connection
        try:
            # IMMEDIATE: a transaction that starts by reading can't wait for a lock later on
            connection.execute("BEGIN IMMEDIATE")
            self._write(connection, batch)
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _write(self, connection: sqlite3.Connection, batch: Batch) -> None:
        if batch.processes:
            connection.executemany(_PUT_PROCESS, batch.processes)
        if batch.sessions:
            connection.executemany(_PUT_SESSION, batch.sessions)
        if batch.tasks:
            connection.executemany(_PUT_TASK, batch.tasks)
        if batch.commands:
            rows = [row._replace(targets=json.dumps(row.targets)) for row in batch.commands]  # type: ignore[arg-type]  # the column holds JSON
            connection.executemany(_PUT_COMMAND, rows)
        if batch.heard:
            connection.executemany(
                "UPDATE processes SET heard_at = ?2 WHERE instance = ?1", batch.heard
            )
        if batch.purge_before is not None:
            _purge(connection, batch.purge_before)

    def close(self) -> None:
        self._connection.close()
        self._lock.release()


# --- opening -------------------------------------------------------------------------------------


def _refuse_foreign_file(path: Path) -> None:
    """SQLite takes an empty file for a database and a foreign one for damage: say it better."""
    try:
        with path.open("rb") as file:
            start = file.read(len(SQLITE_MAGIC))
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreUnusable(
            f"can't read {path}: {error.strerror}; choose another file with --db"
        ) from error
    if not start:
        raise StoreUnusable(
            f"{path} is empty, which a database never is: restore a backup, remove the file to"
            " start afresh, or choose another with --db"
        )
    if start != SQLITE_MAGIC:
        raise StoreUnusable(f"{path} is not a SQLite database; choose another file with --db")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Check whose file it is, then set it up."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application_id != APPLICATION_ID and (tables or version or application_id):
        raise StoreUnusable(f"{path} is another program's database; choose another file with --db")
    if version > VERSION:
        raise StoreUnusable(
            f"{path} has schema version {version}, this broker knows up to {VERSION}; upgrade"
            " panelbus, or choose another file with --db"
        )
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL, because only it keeps an acknowledged kill through a power cut
    connection.execute("PRAGMA synchronous = FULL")
    migrate(connection, version)
    connection.execute("BEGIN IMMEDIATE")  # finds a file that can't be written now, not later
    connection.execute("ROLLBACK")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _command(row: tuple[Any, ...]) -> CommandRow:
    command = CommandRow(*row)
    return command._replace(targets=tuple(json.loads(row[CommandRow._fields.index("targets")])))


def _purge(connection: sqlite3.Connection, before: float) -> None:
    """Forget a bounded piece of what ended before this time."""
    connection.execute(
        "DELETE FROM tasks WHERE session_id IN (SELECT session_id FROM sessions"
        " WHERE ended_at < ?1 ORDER BY ended_at LIMIT ?2)",
        (before, PURGE_ROWS),
    )
    connection.execute(
        "DELETE FROM sessions WHERE session_id IN (SELECT session_id FROM sessions"
        " WHERE ended_at < ?1 ORDER BY ended_at LIMIT ?2)",
        (before, PURGE_ROWS),
    )
    connection.execute(
        "DELETE FROM commands WHERE command_id IN (SELECT command_id FROM commands"
        " WHERE finished_at < ?1 OR (stage = 'refused' AND requested_at < ?1) LIMIT ?2)",
        (before, PURGE_ROWS),
    )
    connection.execute(
        "DELETE FROM processes WHERE instance IN (SELECT instance FROM processes WHERE"
        " heard_at < ?1 AND instance NOT IN (SELECT process FROM sessions) LIMIT ?2)",
        (before, PURGE_ROWS),
    )


# --- errors --------------------------------------------------------------------------------------


def _primary(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_io_error(error: sqlite3.Error) -> bool:
    return _primary(error) == sqlite3.SQLITE_IOERR


def _translate(error: sqlite3.Error, path: Path, *, opening: bool = False) -> StoreError:
    """An error of SQLite as one of ours, with what to do about it."""
    code = _primary(error)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreUnusable(
            f"{path} is damaged ({error}); restore a backup, or move the file away to start afresh"
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreUnavailable(f"no space left for {path}; free some", "full")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        text = f"{path} is locked by another program ({error}); end what reads or copies it"
        return StoreUnusable(text) if opening else StoreUnavailable(text, "busy")
    if opening:
        return StoreUnusable(f"can't use {path}: {error}; choose another place with --db")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return StoreUnavailable(f"{path} can't be written: {error}", "readonly")
    return StoreUnavailable(f"writing {path} failed: {error}", "io")
