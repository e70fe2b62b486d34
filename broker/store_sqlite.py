"""The store in one SQLite file: WAL, synchronous=FULL, one transaction for each batch."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from broker.file_lock import FileLock
from broker.reserve import RESERVE_BYTES, SPARE_BYTES, Reserve
from broker.store import (
    AuditRow,
    Batch,
    CommandRow,
    EndedBadly,
    Kept,
    Loaded,
    ProcessRow,
    SessionRow,
    StoreError,
    StoreUnavailable,
    StoreUnusable,
    TaskRow,
    Tombstone,
)
from broker.store_copy import copy_database
from broker.store_errors import damaged, full, is_io_error, replaced, translate
from broker.store_opening import connect, identity, make_new, refuse_foreign_file
from broker.store_writing import TOMBSTONE_COLUMNS, write

BUSY_TIMEOUT: Final = 2.0  # seconds a commit waits for somebody else's lock
MAX_IO_FAILURES: Final = 5  # commits in a row, each written twice, before the disk is given up
PROBE_BYTES: Final = 1 << 16  # written to see whether the disk takes anything again

T = TypeVar("T")

_SESSION_COLUMNS: Final = ", ".join(SessionRow._fields)
_AUDIT_TARGETS: Final = AuditRow._fields.index("targets")


class SqliteStore:
    """`broker.store.Store` in a SQLite file. One thread at a time; any thread may be that one."""

    def __init__(self, path: Path, lock: FileLock, busy_timeout: float, reserve: int) -> None:
        self._path = path
        self._lock = lock
        self._busy_timeout = busy_timeout
        self._reserve = Reserve(path, reserve)
        self._connection = connect(path, busy_timeout)
        self._closed = False
        self._broken = False  # the connection was closed and none could be opened since
        self._io_failures = 0  # in a row
        self._identity = identity(path)
        self._trouble: StoreUnavailable | None = None  # since when not all is well
        self._hold_reserve()

    @classmethod
    def open(
        cls, path: Path, *, busy_timeout: float = BUSY_TIMEOUT, reserve: int = RESERVE_BYTES
    ) -> SqliteStore:
        """Open or create the database, alone.

        Args:
            busy_timeout: seconds to wait for another program's lock.
            reserve: bytes of disk space kept for the time when it is full.

        Raises:
            StoreUnusable: it can't be written, is held by another broker, is no database of
                ours, is damaged, or was made by a newer version. The message says what to do.
        """
        path = path.absolute()
        exists = refuse_foreign_file(path)
        lock = FileLock(path)
        try:
            if not exists:
                make_new(path, busy_timeout)
            try:
                return cls(path, lock, busy_timeout, reserve)
            except sqlite3.OperationalError:
                # as on a disk that is full since the last broker was killed, reserve and all
                if not Reserve(path, reserve).give_up():
                    raise
                return cls(path, lock, busy_timeout, reserve)
        except sqlite3.Error as error:
            lock.release()
            raise translate(error, path, opening=True) from error
        except OSError as error:
            lock.release()
            raise StoreUnusable(
                f"can't make {path}: {error.strerror}; choose another place with --db"
            ) from error
        except StoreError:
            lock.release()
            raise

    # --- reading ---------------------------------------------------------------------------

    def load(self, *, max_tombstones: int, max_commands: int, max_gone: int) -> Loaded:
        try:
            return self._load(max_tombstones, max_commands, max_gone)
        except sqlite3.Error as error:
            raise translate(error, self._path, opening=True) from error
        except ValueError as error:  # a text that is no JSON
            raise damaged(self._path, error) from error

    def _load(self, max_tombstones: int, max_commands: int, max_gone: int) -> Loaded:
        query = self._connection.execute
        sessions = query(
            f"SELECT {_SESSION_COLUMNS} FROM sessions WHERE ended_at IS NULL ORDER BY seq"
        )
        processes = query(
            f"SELECT {', '.join(ProcessRow._fields)} FROM processes WHERE instance IN"
            " (SELECT process FROM sessions WHERE ended_at IS NULL)"
        )
        gone = query(
            "SELECT instance, secret_hash FROM processes WHERE secret_hash IS NOT NULL AND instance"
            " NOT IN (SELECT process FROM sessions WHERE ended_at IS NULL)"
            " ORDER BY heard_at DESC LIMIT ?",
            (max_gone,),
        ).fetchall()
        tombstones = query(
            f"SELECT {TOMBSTONE_COLUMNS} FROM sessions"
            " WHERE ended_at IS NOT NULL ORDER BY ended_at DESC, seq DESC LIMIT ?",
            (max_tombstones,),
        ).fetchall()
        badly = query(
            "SELECT session_id, kill_command, kill_error, end_error FROM sessions"
            " WHERE ended_at IS NOT NULL AND kill_command IS NOT NULL"
            " AND coalesce(kill_error, end_error) IS NOT NULL ORDER BY ended_at DESC LIMIT ?",
            (max_commands,),
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
        last = query(
            "SELECT max(seq) FROM (SELECT max(seq) AS seq FROM sessions"
            " UNION ALL SELECT value FROM counters WHERE name = 'last_seq')"
        ).fetchone()[0]
        # the mark, because a purge may have left none
        last_audit = query(
            "SELECT max(number) FROM (SELECT max(number) AS number FROM audit"
            " UNION ALL SELECT value FROM counters WHERE name = 'last_audit')"
        ).fetchone()[0]
        return Loaded(
            processes=[ProcessRow(*row) for row in processes],
            sessions=[SessionRow(*row) for row in sessions],
            commands=commands,
            tombstones=[Tombstone(*row) for row in reversed(tombstones)],
            last_seq=last or 0,
            last_audit=last_audit or 0,
            gone=list(reversed(gone)),
            ended_badly={row[0]: EndedBadly(*row[1:]) for row in badly},
        )

    def tasks(self, session_id: str, limit: int) -> list[TaskRow]:
        try:
            rows = self._connection.execute(
                f"SELECT {', '.join(TaskRow._fields)} FROM tasks WHERE session_id = ?"
                " ORDER BY task_no DESC LIMIT ?",
                (session_id, limit),
            ).fetchall()
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        return [TaskRow(*row) for row in reversed(rows)]

    def audit(self, before: int | None, limit: int) -> list[AuditRow]:
        try:
            rows = self._connection.execute(
                f"SELECT {', '.join(AuditRow._fields)} FROM audit"
                " WHERE number < coalesce(?1, 9223372036854775807)"
                " ORDER BY number DESC LIMIT ?2",
                (before, limit),
            ).fetchall()
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        return [
            AuditRow(*row)._replace(targets=tuple(json.loads(row[_AUDIT_TARGETS]))) for row in rows
        ]

    # --- writing ---------------------------------------------------------------------------

    def commit(self, batch: Batch) -> Kept:
        self._must_be_in_place()
        if not batch:
            return Kept((), self._trouble)
        refused, more = self._tried(lambda: self._transact(lambda: self._write(batch)))
        if self._trouble is not None and self._trouble.cause != "full":
            self._trouble = None
            self._hold_reserve()
        return Kept(tuple(refused), self._trouble, more)

    def check(self, *, probe: bool) -> StoreUnavailable | None:
        self._must_be_in_place()
        if self._trouble is not None and probe:
            try:
                self._tried(self._probe)
            except StoreUnavailable as error:
                self._trouble = error
            else:
                self._trouble = None
        return self._trouble

    def _must_be_in_place(self) -> None:
        if identity(self._path) != self._identity and not self._broken:
            raise replaced(self._path)

    def _tried(self, write: Callable[[], T]) -> T:
        """Write; after an I/O error, whose outcome is unknown, open and write once more.

        Everything written is absolute, so that it may be written twice.

        Raises:
            StoreUnavailable: nothing was kept.
            StoreUnusable: nothing will be.
        """
        try:
            if self._broken:
                self._reopen()
            try:
                done = write()
            except sqlite3.Error as error:
                if not is_io_error(error):
                    raise
                self._reopen()
                done = write()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        self._io_failures = 0
        return done

    def _failed(self, error: sqlite3.Error) -> StoreError:
        found = translate(error, self._path)
        if not isinstance(found, StoreUnavailable):
            return found
        self._trouble = found
        if found.cause == "full":
            self._reserve.give_up()
        elif is_io_error(error):
            self._io_failures += 1
            if self._io_failures >= MAX_IO_FAILURES:
                return StoreUnusable(
                    f"{found}, {self._io_failures} times in a row; mend the disk, or restore a"
                    " backup elsewhere, then start the broker again"
                )
        return found

    def _reopen(self) -> None:
        self._broken = True  # until a new connection stands, if it takes several commits
        self._connection.close()
        if identity(self._path)[0] != self._identity[0]:
            raise replaced(self._path)
        self._connection = connect(self._path, self._busy_timeout)
        self._identity = identity(self._path)  # its log is a new one
        self._broken = False

    def _transact(self, write: Callable[[], T]) -> T:
        connection = self._connection
        try:
            # IMMEDIATE: a transaction that starts by reading can't wait for a lock later on
            connection.execute("BEGIN IMMEDIATE")
            done = write()
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return done

    def _write(self, batch: Batch) -> tuple[list[Tombstone], bool]:
        return write(self._connection, batch)

    def _probe(self) -> None:
        """See whether the log can move into the database, and the disk takes new pages.

        A small row proves neither: it may fit where there is room by chance. What costs space
        comes last, so that a disk that stays full is not filled further.
        """
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        try:
            self._reserve.take(SPARE_BYTES)
        except OSError as error:
            raise full(self._path) from error
        self._transact(self._write_probe)

    def _write_probe(self) -> None:
        for statement in (
            "CREATE TABLE probe (content BLOB)",
            f"INSERT INTO probe VALUES (zeroblob({PROBE_BYTES}))",
            "DROP TABLE probe",
        ):
            self._connection.execute(statement)

    def _hold_reserve(self) -> None:
        try:
            self._reserve.take()
        except OSError:
            self._trouble = full(self._path)

    # --- copying ---------------------------------------------------------------------------

    def copy(self, file: str, go_on: Callable[[], bool]) -> tuple[str, int]:
        return copy_database(self._path, file, go_on)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._connection.close()
            self._reserve.give_up()  # while the lock is held: later it may be another's
            self._lock.release()


# --- rows ----------------------------------------------------------------------------------------


def _command(row: tuple[Any, ...]) -> CommandRow:
    command = CommandRow(*row)
    return command._replace(targets=tuple(json.loads(row[CommandRow._fields.index("targets")])))
