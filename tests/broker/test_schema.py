"""The schema's versions: each step is taken whole or not at all."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from broker import schema
from broker.store import AuditRow, Batch, CommandRow, ProcessRow, SessionRow, StoreUnusable, TaskRow
from broker.store_sqlite import SqliteStore
from tests.broker.stores import EVERYTHING, command, process, session, task
from tests.support.processes import ROOT

SECOND = "ALTER TABLE sessions ADD COLUMN colour TEXT;"
BROKEN = "CREATE TABLE half (x); ALTER TABLE nothing ADD COLUMN colour TEXT;"


def use(monkeypatch: pytest.MonkeyPatch, *scripts: str) -> None:
    """Let these be all the versions there are."""
    monkeypatch.setattr(schema, "MIGRATIONS", scripts)
    monkeypatch.setattr(schema, "VERSION", len(scripts))


def state(path: Path) -> tuple[int, int, set[str]]:
    """Version, application id and tables of a file."""
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        return version, application, {name for (name,) in tables}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "sessions.db"
    with closing(SqliteStore.open(path)) as store:
        store.commit(Batch([process()], [session()]))
    return path


def test_every_version_has_its_script() -> None:
    assert len(schema.MIGRATIONS) == schema.VERSION


def test_every_field_of_a_row_has_its_column(made: Path) -> None:
    fields = {
        "processes": ProcessRow._fields,
        "sessions": SessionRow._fields,
        "tasks": TaskRow._fields,
        "commands": CommandRow._fields,
        "audit": AuditRow._fields,
    }
    assert state(made) == (schema.VERSION, schema.APPLICATION_ID, {*fields, "counters"})
    with closing(sqlite3.connect(made)) as connection:
        for table, names in fields.items():
            columns = connection.execute(f"SELECT name FROM pragma_table_info('{table}')")
            assert {name for (name,) in columns} == set(names)


def test_a_present_database_is_not_touched_by_opening(made: Path) -> None:
    before = made.read_bytes()
    SqliteStore.open(made).close()
    assert made.read_bytes() == before


def test_an_older_database_is_brought_forward_with_its_rows(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = schema.VERSION + 2
    use(monkeypatch, *schema.MIGRATIONS, SECOND, "CREATE TABLE third (x);")
    with closing(SqliteStore.open(made)) as store:
        loaded = store.load(max_tombstones=EVERYTHING, max_commands=EVERYTHING, max_gone=EVERYTHING)
        assert loaded.sessions == [session()]
    version, application, tables = state(made)
    assert (version, application) == (newest, schema.APPLICATION_ID)
    assert "third" in tables


def test_a_step_that_fails_leaves_the_version_before_it(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(made)
    use(monkeypatch, *schema.MIGRATIONS, BROKEN)
    with pytest.raises(StoreUnusable, match=r"can't use .*; choose another place"):
        SqliteStore.open(made)
    assert state(made) == before
    monkeypatch.undo()
    with closing(SqliteStore.open(made)) as store:
        loaded = store.load(max_tombstones=EVERYTHING, max_commands=EVERYTHING, max_gone=EVERYTHING)
        assert loaded.sessions == [session()]


def test_steps_before_the_one_that_fails_are_kept(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = schema.MIGRATIONS
    use(monkeypatch, *first, SECOND, BROKEN)
    with pytest.raises(StoreUnusable):
        SqliteStore.open(made)
    version, _, tables = state(made)
    assert (version, "half" in tables) == (len(first) + 1, False)
    use(monkeypatch, *first, SECOND, "CREATE TABLE third (x);")
    SqliteStore.open(made).close()
    assert state(made)[0] == len(first) + 2


def test_a_first_start_that_fails_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sessions.db"
    use(monkeypatch, BROKEN)
    with pytest.raises(StoreUnusable):
        SqliteStore.open(path)
    assert [file.name for file in tmp_path.iterdir()] == ["sessions.db.lock"]
    monkeypatch.undo()
    SqliteStore.open(path).close()
    assert state(path)[0] == schema.VERSION


def test_what_a_first_start_cut_short_has_left_does_no_harm(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    for suffix in ("", "-wal", "-shm"):  # an old log must not be taken for the new file's
        left = path.with_name(f"{path.name}.new{suffix}")
        left.write_bytes(made.read_bytes())
    with closing(SqliteStore.open(path)) as store:
        loaded = store.load(max_tombstones=EVERYTHING, max_commands=EVERYTHING, max_gone=EVERYTHING)
        assert loaded.sessions == []
    assert not list(tmp_path.glob("*.new*"))


def test_a_step_cut_short_by_the_end_of_the_process_is_as_if_never_begun(
    made: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(made, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(SECOND)
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
        copy = tmp_path / "as the disk has it.db"
        for suffix in ("", "-wal"):
            source = made.with_name(made.name + suffix)
            copy.with_name(copy.name + suffix).write_bytes(source.read_bytes())
    assert state(copy)[0] == schema.VERSION
    with closing(SqliteStore.open(copy)) as store:
        loaded = store.load(max_tombstones=EVERYTHING, max_commands=EVERYTHING, max_gone=EVERYTHING)
        assert loaded.sessions == [session()]


# --- every version there was ---------------------------------------------------------------------

VERSIONS = range(1, schema.VERSION + 1)
# what a row holds where a version has such a column; any other column holds a value of its type
KNOWN: dict[str, dict[str, Any]] = {
    "processes": process()._asdict(),
    "sessions": session(kill_command="c", kill_error="no")._asdict(),
    "tasks": task(1)._asdict(),
    "commands": {**command(key="k", digest=b"d")._asdict(), "targets": '["s", "gone"]'},
    "counters": {"name": "last_seq", "value": 77},
}
OF_TYPE = {"TEXT": "text", "INTEGER": 5, "REAL": 2.5, "BLOB": b"blob"}

Rows = dict[str, dict[str, Any]]


def made_at(path: Path, version: int) -> Rows:
    """A database as the code of that version left it, with one row in each table."""
    rows: Rows = {}
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for script in schema.MIGRATIONS[:version]:
            connection.executescript(script)
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
        for table in sorted(tables_of(connection)):
            columns = connection.execute(f"SELECT name, type FROM pragma_table_info('{table}')")
            known = KNOWN.get(table, {})
            row = {name: known.get(name, OF_TYPE[type_]) for name, type_ in columns}
            marks = ", ".join("?" * len(row))
            names = ", ".join(row)
            connection.execute(
                f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values())
            )
            rows[table] = row
    return rows


def tables_of(connection: sqlite3.Connection) -> set[str]:
    found = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    return {name for (name,) in found}


def shape(path: Path) -> tuple[int, list[tuple[str, str]]]:
    """The version and every statement of the schema, which must fit each other."""
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return version, connection.execute(
            "SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name"
        ).fetchall()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_database_of_every_version_opens_with_all_its_rows(tmp_path: Path, version: int) -> None:
    path = tmp_path / "sessions.db"
    rows = made_at(path, version)
    with closing(SqliteStore.open(path)) as store:
        loaded = store.load(max_tombstones=EVERYTHING, max_commands=EVERYTHING, max_gone=EVERYTHING)
        (found_session,), (found_command,) = loaded.sessions, loaded.commands
        assert found_session._asdict().items() >= rows["sessions"].items()
        assert found_command.targets == ("s", "gone")
        assert found_command.key == "k"
        assert loaded.processes[0]._asdict().items() >= rows["processes"].items()
        assert store.tasks("s", 1)[0]._asdict().items() >= rows["tasks"].items()
        assert loaded.last_seq == 77
        store.commit(Batch([process("q")], [session("t", 78)], [], [command("d")]))
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        for table, row in rows.items():
            found = connection.execute(f"SELECT * FROM {table}").fetchall()
            assert any(dict(kept).items() >= row.items() for kept in found), table


@pytest.mark.parametrize("version", VERSIONS)
def test_an_upgraded_database_has_the_schema_of_a_new_one(tmp_path: Path, version: int) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    made_at(old, version)
    SqliteStore.open(old).close()
    SqliteStore.open(new).close()
    with closing(sqlite3.connect(old)) as one, closing(sqlite3.connect(new)) as other:
        assert tables_of(one) == tables_of(other)
        for table in tables_of(other):
            query = f"SELECT name, type, \"notnull\", pk FROM pragma_table_info('{table}')"
            assert one.execute(query).fetchall() == other.execute(query).fetchall()


# A process that opens the database given and ends like kill -9 before its Nth statement.
DYING = """
import os, sqlite3, sys
from pathlib import Path
from broker import schema
from broker.store_sqlite import SqliteStore

left = int(sys.argv[2])
schema.MIGRATIONS += tuple(sys.argv[3:])
schema.VERSION = len(schema.MIGRATIONS)
connect = sqlite3.connect

def count(_statement):
    global left
    left -= 1
    if left < 0:
        os._exit(9)

def counting(*arguments, **options):
    connection = connect(*arguments, **options)
    connection.set_trace_callback(count)
    return connection

sqlite3.connect = counting
SqliteStore.open(Path(sys.argv[1])).close()
"""


def dies(path: Path, before: int, *more_versions: str) -> bool:
    words = [sys.executable, "-c", DYING, str(path), str(before), *more_versions]
    status = subprocess.run(words, cwd=ROOT, check=False, timeout=60).returncode
    assert status in (0, 9)
    return status == 9


@pytest.mark.process
@pytest.mark.parametrize("version", [0, *VERSIONS])
def test_a_crash_anywhere_in_a_migration_leaves_the_version_before_or_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    path, whole = tmp_path / "sessions.db", tmp_path / "whole.db"
    more = (SECOND, "CREATE TABLE third (x);")
    use(monkeypatch, *schema.MIGRATIONS, *more)
    shapes = []
    for number in VERSIONS if version else ():
        made_at(whole, number)
        shapes.append(shape(whole))
        whole.unlink()
    rows = made_at(path, version) if version else {}
    statements = 0
    seen = set()
    while dies(path, statements, *more):
        statements += 1
        if not path.exists():
            assert version == 0  # a new database appears whole
            continue
        found = shape(path)
        seen.add(found[0])
        if found[0] <= len(shapes):
            assert found == shapes[found[0] - 1]
        if rows:
            with closing(sqlite3.connect(path)) as connection:
                kept = connection.execute("SELECT session_id FROM sessions").fetchall()
                assert kept == [(rows["sessions"]["session_id"],)]
        for suffix in ("", "-wal", "-shm"):  # anew, up to a later statement
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        rows = made_at(path, version) if version else {}
    assert statements > 10
    if version:
        assert seen == set(range(version, schema.VERSION + 1))
    assert shape(path)[0] == schema.VERSION
    assert not path.with_name("sessions.db.new").exists()
