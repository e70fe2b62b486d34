"""What a batch writes, within a transaction that is somebody else's to begin and to end."""

from __future__ import annotations

import sqlite3
from itertools import chain
from typing import Any, Final, TypeVar

import msgspec

from broker.store import (
    AuditRow,
    Batch,
    CommandRow,
    ProcessRow,
    SessionRow,
    StatusRow,
    TaskRow,
    Tombstone,
)
from broker.store_purge import purge

Targeted = TypeVar("Targeted", CommandRow, AuditRow)

# Rows of one statement; 14 values each, and 999 may be the most. Each statement that is run lets go
# of the interpreter and waits for it again, behind the loop's thread when that is busy.
AT_ONCE: Final = 64
TOMBSTONE_COLUMNS: Final = "session_id, seq, end_reason, ended_at, kill_command, process"
_KEEP_ENDED: Final = "sessions.ended_at IS NULL OR sessions.end_reason = 'stale'"


def _upsert(
    table: str, fields: tuple[str, ...], keys: tuple[str, ...], where: str = "", rows: int = 1
) -> str:
    columns = ", ".join(fields)
    marks = ", ".join([f"({', '.join('?' * len(fields))})"] * rows)
    sets = ", ".join(f"{name} = excluded.{name}" for name in fields if name not in keys)
    condition = f" WHERE {where}" if where else ""
    return (
        f"INSERT INTO {table} ({columns}) VALUES {marks}"
        f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {sets}{condition}"
    )


_PUT_PROCESS: Final = _upsert("processes", ProcessRow._fields, ("instance",))
_PUT_SESSION: Final = _upsert("sessions", SessionRow._fields, ("session_id",), _KEEP_ENDED)
_PUT_SESSIONS: Final = _upsert(
    "sessions", SessionRow._fields, ("session_id",), _KEEP_ENDED, AT_ONCE
)
# the named columns only: to set one that stands in an index is to write the index, too
_SETS: Final = ", ".join(f"{name} = changed.{name}" for name in StatusRow._fields[1:])
_PUT_STATUSES: Final = (
    f"WITH changed ({', '.join(StatusRow._fields)}) AS (VALUES {{rows}})"
    f" UPDATE sessions SET {_SETS} FROM changed"
    " WHERE sessions.session_id = changed.session_id AND sessions.ended_at IS NULL"
)
_PUT_TASK: Final = _upsert("tasks", TaskRow._fields, ("session_id", "task_no"))
_PUT_COMMAND: Final = _upsert("commands", CommandRow._fields, ("command_id",))
_ADD_AUDIT: Final = (
    f"INSERT INTO audit ({', '.join(AuditRow._fields)})"
    f" VALUES ({', '.join('?' * len(AuditRow._fields))})"
)


def write(connection: sqlite3.Connection, batch: Batch) -> tuple[list[Tombstone], bool]:
    """Returns how those ended that the batch would have live again, and whether there may be
    more to purge."""
    refused: list[Tombstone] = []
    if batch.processes:
        connection.executemany(_PUT_PROCESS, batch.processes)
    if batch.sessions:
        written = _put_sessions(connection, batch.sessions)
        if written < len(batch.sessions):
            refused = _refused(connection, batch.sessions)
    if batch.statuses:
        _put_statuses(connection, batch.statuses)
    if batch.tasks:
        connection.executemany(_PUT_TASK, batch.tasks)
    if batch.commands:
        connection.executemany(_PUT_COMMAND, _as_stored(batch.commands))
    if batch.heard:
        connection.executemany(
            "UPDATE processes SET heard_at = ?2 WHERE instance = ?1", batch.heard
        )
    if batch.audit:
        connection.executemany(_ADD_AUDIT, _as_stored(batch.audit))
    return refused, purge(connection, batch)


def _as_stored(rows: list[Targeted]) -> list[tuple[Any, ...]]:
    """The rows with their targets as JSON, which is what the column holds."""
    json = msgspec.json.encode
    return [row._replace(targets=json(row.targets).decode()) for row in rows]  # type: ignore[arg-type]


def _put_sessions(connection: sqlite3.Connection, rows: list[SessionRow]) -> int:
    """How many were written."""
    many = len(rows) - len(rows) % AT_ONCE
    written = 0
    for start in range(0, many, AT_ONCE):
        values = list(chain.from_iterable(rows[start : start + AT_ONCE]))
        written += connection.execute(_PUT_SESSIONS, values).rowcount
    if many < len(rows):
        written += connection.executemany(_PUT_SESSION, rows[many:]).rowcount
    return written


def _put_statuses(connection: sqlite3.Connection, rows: list[StatusRow]) -> None:
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        marks = ", ".join([f"({', '.join('?' * len(StatusRow._fields))})"] * len(some))
        values = list(chain.from_iterable(some))
        connection.execute(_PUT_STATUSES.format(rows=marks), values)


def _refused(connection: sqlite3.Connection, rows: list[SessionRow]) -> list[Tombstone]:
    """How those of the live rows ended that stand as ended for good."""
    found = []
    for session_id in dict.fromkeys(row.session_id for row in rows if row.ended_at is None):
        row = connection.execute(
            f"SELECT {TOMBSTONE_COLUMNS} FROM sessions WHERE session_id = ?"
            f" AND NOT ({_KEEP_ENDED})",
            (session_id,),
        ).fetchone()
        if row is not None:
            found.append(Tombstone(*row))
    return found
