"""Forgetting what is old, piece by piece."""

from __future__ import annotations

import sqlite3
from typing import Final

from broker.store import Batch

# History rows of each table removed in one commit. Ids are random, so each row costs pages of its
# own: 200 take about 20 ms, and 1,000 held up kills for 200.
PURGE_ROWS: Final = 200


def purge(connection: sqlite3.Connection, batch: Batch) -> bool:
    """Forget what the batch says, in bounded pieces; True when one of them was full."""
    more = False
    if batch.purge_before is not None:
        more = _purge_history(connection, batch.purge_before)
    if batch.purge_audit_before is not None:
        more = _purge_audit(connection, batch.purge_audit_before) or more
    return more


def _purge_history(connection: sqlite3.Connection, before: float) -> bool:
    """Forget a bounded piece of what ended before this time."""
    # so that a seq is never given out again
    connection.execute(
        "INSERT INTO counters SELECT 'last_seq', max(seq) FROM sessions WHERE true"
        " HAVING max(seq) IS NOT NULL"
        " ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)"
    )
    old = "SELECT session_id FROM sessions WHERE ended_at < ?1 ORDER BY ended_at LIMIT ?2"
    piece = (before, PURGE_ROWS)
    connection.execute(f"DELETE FROM tasks WHERE session_id IN ({old})", piece)
    sessions = connection.execute(f"DELETE FROM sessions WHERE session_id IN ({old})", piece)
    commands = connection.execute(
        "DELETE FROM commands WHERE command_id IN (SELECT command_id FROM commands"
        " WHERE finished_at < ?1 OR (stage = 'refused' AND requested_at < ?1) LIMIT ?2)",
        piece,
    )
    processes = connection.execute(
        "DELETE FROM processes WHERE instance IN (SELECT instance FROM processes WHERE"
        " heard_at < ?1 AND instance NOT IN (SELECT process FROM sessions) LIMIT ?2)",
        piece,
    )
    return PURGE_ROWS in (sessions.rowcount, commands.rowcount, processes.rowcount)


def _purge_audit(connection: sqlite3.Connection, before: float) -> bool:
    """Forget a bounded piece of the audit that is older than this time."""
    mark = "INSERT INTO counters {} ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    connection.execute(mark.format("VALUES ('audit_kept_from', ?)"), (int(before),))
    connection.execute(
        mark.format(
            "SELECT 'last_audit', max(number) FROM audit WHERE true HAVING max(number) IS NOT NULL"
        )
    )
    rows = connection.execute(
        "DELETE FROM audit WHERE number IN"
        " (SELECT number FROM audit WHERE at < ? ORDER BY at LIMIT ?)",
        (int(before), PURGE_ROWS),
    )
    return rows.rowcount == PURGE_ROWS
