"""The database's schema and how an older one becomes the present one."""

from __future__ import annotations

import sqlite3
from typing import Final

APPLICATION_ID: Final = 0x50424E53  # "PBNS": tells our files from any other SQLite file

# One script for each version; its position + 1 is the `user_version` it leads to. A released
# script never changes: what is different later is another script.
MIGRATIONS: Final = (
    """
    CREATE TABLE processes (
        instance    TEXT PRIMARY KEY,
        source      TEXT NOT NULL,
        secret_hash BLOB,
        host        TEXT NOT NULL,
        pid         INTEGER NOT NULL,
        heard_at    REAL NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE sessions (
        session_id   TEXT PRIMARY KEY,
        seq          INTEGER NOT NULL UNIQUE,
        app_name     TEXT NOT NULL,
        user_id      TEXT,
        process      TEXT NOT NULL,
        start_time   REAL NOT NULL,
        status       TEXT NOT NULL,
        current_task TEXT,
        task_start   REAL,
        kill_command TEXT,
        kill_error   TEXT,
        ended_at     REAL,
        end_reason   TEXT,
        end_error    TEXT
    ) STRICT;
    CREATE INDEX sessions_live ON sessions (seq) WHERE ended_at IS NULL;
    CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;
    CREATE INDEX sessions_process ON sessions (process);

    CREATE TABLE tasks (
        session_id TEXT NOT NULL,
        task_no    INTEGER NOT NULL,
        name       TEXT NOT NULL,
        started_at REAL NOT NULL,
        ended_at   REAL NOT NULL,
        outcome    TEXT NOT NULL,
        error      TEXT,
        PRIMARY KEY (session_id, task_no)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE commands (
        command_id   TEXT PRIMARY KEY,
        kind         TEXT NOT NULL,
        app_name     TEXT,
        targets      TEXT NOT NULL,  -- a JSON array of session ids
        reason       TEXT,
        key          TEXT,
        digest       BLOB,
        requested_by TEXT NOT NULL,
        requested_at REAL NOT NULL,
        finished_at  REAL,
        stage        TEXT NOT NULL,
        delivered    INTEGER NOT NULL,
        completed    INTEGER NOT NULL,
        failed       INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE counters (  -- what the rows alone can't tell once they are purged
        name  TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE INDEX commands_open ON commands (requested_at) WHERE finished_at IS NULL;
    CREATE INDEX commands_finished ON commands (finished_at) WHERE finished_at IS NOT NULL;
    """,
    # 2: whose a process is, and the audit. What it holds can't be changed by any statement, and
    # only what lies before the mark that a purge sets first can be removed.
    """
    ALTER TABLE processes ADD COLUMN owner TEXT;

    CREATE TABLE audit (
        number     INTEGER PRIMARY KEY,
        at         REAL NOT NULL,
        actor      TEXT NOT NULL,
        action     TEXT NOT NULL,
        outcome    TEXT NOT NULL,
        app_name   TEXT,
        targets    TEXT NOT NULL,  -- a JSON array of session ids
        reason     TEXT,
        command_id TEXT,
        detail     TEXT
    ) STRICT;
    CREATE INDEX audit_at ON audit (at);
    -- one that is there already came with an earlier commit of unknown outcome, and is the same
    CREATE TRIGGER audit_is_once BEFORE INSERT ON audit
    WHEN EXISTS (SELECT 1 FROM audit WHERE number = NEW.number) BEGIN
        SELECT RAISE(IGNORE);
    END;
    CREATE TRIGGER audit_is_final BEFORE UPDATE ON audit BEGIN
        SELECT RAISE(ABORT, 'the audit is append-only');
    END;
    CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
    WHEN OLD.at >= coalesce((SELECT value FROM counters WHERE name = 'audit_kept_from'), 0) BEGIN
        SELECT RAISE(ABORT, 'the audit is append-only');
    END;
    """,
)

VERSION: Final = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring a database of ``version`` (0 for a new file) up to `VERSION`.

    Each step is one transaction that also sets the version, so a crash leaves the version before
    or the version after, never something between.
    """
    for number in range(version, VERSION):
        connection.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[number]}"
            f" PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number + 1};"
            " COMMIT;"
        )
