"""Opening a SQLite database: what is set up, and everything that is refused with what to do."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.schema import APPLICATION_ID, VERSION
from broker.store import Batch, StoreError, StoreUnusable
from broker.store_sqlite import SqliteStore
from tests.broker.stores import EVERYTHING, audit_row, command, process, session

NOBODY = 65534
posix = pytest.mark.skipif(os.name != "posix", reason="permission bits of POSIX")


def refusal(path: Path) -> str:
    """Why the database can't be opened."""
    with pytest.raises(StoreUnusable) as caught:
        SqliteStore.open(path, busy_timeout=0.05)
    return str(caught.value)


def create(path: Path, *statements: str) -> None:
    """A SQLite file as some other program might make it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def pragma(path: Path, name: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def made(path: Path) -> Path:
    """A database of ours with one session in it, closed again."""
    with closing(SqliteStore.open(path)) as store:
        store.commit(Batch([process()], [session()]))
    return path


# --- setting up ----------------------------------------------------------------------------------


def test_a_new_database_is_ours_and_of_the_newest_version(made: Path) -> None:
    assert pragma(made, "application_id") == APPLICATION_ID
    assert pragma(made, "user_version") == VERSION
    assert pragma(made, "integrity_check") == "ok"


def test_commits_are_logged_ahead_and_waited_for(made: Path) -> None:
    with closing(SqliteStore.open(made)) as store:
        query = store._connection.execute
        assert query("PRAGMA journal_mode").fetchone() == ("wal",)
        assert query("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_closing_leaves_one_file_and_the_lock(made: Path) -> None:
    assert {file.name for file in made.parent.iterdir()} == {"sessions.db", "sessions.db.lock"}


def test_a_relative_path_means_the_directory_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    monkeypatch.chdir(tmp_path)
    with closing(SqliteStore.open(Path("sessions.db"))) as store:
        monkeypatch.chdir(other)
        store.commit(Batch([process()], [session()]))
    assert list(other.iterdir()) == []


def test_a_database_without_a_table_yet_is_taken(path: Path) -> None:
    create(path, "PRAGMA journal_mode = WAL")  # as a first start leaves it that was cut short
    with closing(SqliteStore.open(path)) as store:
        store.commit(Batch([process()], [session()]))


def test_a_file_name_may_hold_anything(tmp_path: Path) -> None:
    path = tmp_path / "a b?mode=ro#%41 'ö\".db"
    with closing(SqliteStore.open(path)) as store:
        store.commit(Batch([process()], [session()]))
    assert path.exists()


# --- what is no database of ours -----------------------------------------------------------------


@pytest.mark.parametrize("content", [b"PK\x03\x04 a spreadsheet", b"x", b"SQLite format 2\0" * 99])
def test_a_file_of_another_kind_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    text = refusal(path)
    assert text == f"{path} is not a SQLite database; choose another file with --db"
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_an_empty_file_is_refused_and_left_alone(path: Path) -> None:
    path.touch()
    text = refusal(path)
    assert "is empty, which a database never is" in text
    assert "restore a backup, remove the file" in text
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE mine (x)", "PRAGMA user_version = 1", "PRAGMA application_id = 7"],
)
def test_the_database_of_another_program_is_refused_and_left_alone(
    path: Path, statement: str
) -> None:
    create(path, "VACUUM", statement)
    before = path.read_bytes()
    text = refusal(path)
    assert text == f"{path} is another program's database; choose another file with --db"
    assert path.read_bytes() == before


def test_a_database_of_a_newer_version_is_refused_and_left_alone(made: Path) -> None:
    create(made, f"PRAGMA user_version = {VERSION + 1}")
    before = made.read_bytes()
    text = refusal(made)
    assert f"has schema version {VERSION + 1}, this broker knows up to {VERSION}" in text
    assert "upgrade panelbus" in text
    assert made.read_bytes() == before


def test_a_file_that_only_begins_like_a_database_is_damaged(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    text = refusal(path)
    assert f"{path} is damaged (" in text
    assert f"put the newest backup back: panelbus restore BACKUP --db {path}; or move" in text


def test_a_database_cut_off_in_its_header_is_damaged(made: Path) -> None:
    made.write_bytes(made.read_bytes()[:60])
    assert "is damaged" in refusal(made)


def test_damage_within_is_found_by_reading(made: Path) -> None:
    content = made.read_bytes()
    made.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    with closing(SqliteStore.open(made)) as store, pytest.raises(StoreUnusable) as caught:
        store.load(max_tombstones=EVERYTHING, max_commands=EVERYTHING, max_gone=EVERYTHING)
    assert "is damaged" in str(caught.value)


def test_a_command_whose_targets_are_no_list_is_damage(made: Path) -> None:
    with closing(SqliteStore.open(made)) as store:
        store.commit(Batch(commands=[command()]))
    create(made, "UPDATE commands SET targets = 'no list'")
    with closing(SqliteStore.open(made)) as store, pytest.raises(StoreUnusable, match="damaged"):
        store.load(max_tombstones=EVERYTHING, max_commands=EVERYTHING, max_gone=EVERYTHING)


# --- where it can't be ---------------------------------------------------------------------------


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    text = refusal(tmp_path / "nowhere" / "sessions.db")
    assert "can't write beside" in text
    assert "No such file or directory; choose another place with --db" in text


def test_a_file_in_place_of_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    text = refusal(tmp_path / "file" / "sessions.db")
    assert "can't read" in text
    assert "Not a directory" in text


def test_a_directory_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    text = refusal(tmp_path)
    assert text == f"can't read {tmp_path}: Is a directory; choose another file with --db"


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory every user can reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o777)
        yield directory
        directory.chmod(0o777)


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user whom permission bits bind; root is not bound by them."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@posix
def test_a_directory_that_can_not_be_written_is_named(open_directory: Path) -> None:
    open_directory.chmod(0o555)
    with unprivileged():
        text = refusal(open_directory / "sessions.db")
    assert "can't write beside" in text
    assert "Permission denied; choose another place with --db" in text


@posix
def test_a_file_that_can_not_be_read_is_named(made: Path, open_directory: Path) -> None:
    path = open_directory / "sessions.db"
    shutil.copy(made, path)
    path.chmod(0)
    with unprivileged():
        text = refusal(path)
    assert text == f"can't read {path}: Permission denied; choose another file with --db"


@posix
def test_a_file_that_can_not_be_written_is_refused_at_the_start(
    made: Path, open_directory: Path
) -> None:
    path = open_directory / "sessions.db"
    shutil.copy(made, path)
    path.chmod(0o444)
    with unprivileged():
        text = refusal(path)
    assert re.fullmatch(f"can't use {path}: .*readonly.*; choose another place with --db", text)


# --- alone ---------------------------------------------------------------------------------------


def test_a_database_in_use_is_refused_and_its_holder_named(made: Path) -> None:
    with closing(SqliteStore.open(made)) as holder:
        text = refusal(made)
        assert f"{made} is in use by another broker (pid {os.getpid()} on " in text
        assert "stop that one, or choose another database with --db" in text
        holder.commit(Batch([process()], [session(status="running")]))
    SqliteStore.open(made).close()


def test_closing_gives_the_lock_back_once(made: Path) -> None:
    first = SqliteStore.open(made)
    first.close()
    second = SqliteStore.open(made)
    first.close()  # again, which must not take the lock from its new holder
    assert "in use" in refusal(made)
    second.close()


@pytest.mark.parametrize("content", ["foreign", "newer", "damaged"])
def test_a_refused_database_is_not_locked(path: Path, content: str) -> None:
    if content == "foreign":
        create(path, "CREATE TABLE mine (x)")
    elif content == "newer":
        create(path, f"PRAGMA application_id = {APPLICATION_ID}", "PRAGMA user_version = 999")
    else:
        path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    assert "in use" not in refusal(path)
    path.unlink()
    SqliteStore.open(path).close()


def test_a_database_another_program_locks_is_named_as_such(made: Path) -> None:
    with closing(sqlite3.connect(made, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        text = refusal(made)
        assert f"{made} is locked by another program (" in text
        assert "end what reads or copies it" in text
        other.execute("ROLLBACK")
        SqliteStore.open(made).close()


def test_a_disk_that_is_full_from_the_start_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def connect_to_a_small_disk(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 2")
        return connection

    monkeypatch.setattr("broker.store_sqlite.sqlite3.connect", connect_to_a_small_disk)
    with pytest.raises(StoreError, match=f"no space left for {re.escape(str(path))}; free some"):
        SqliteStore.open(path)
    monkeypatch.undo()
    SqliteStore.open(path).close()


def test_no_statement_changes_the_audit_or_takes_from_it(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with closing(SqliteStore.open(path)) as store:
        store.commit(Batch(audit=[audit_row(1, at=10.0), audit_row(2, at=20.0)]))
        store.commit(Batch(purge_audit_before=5.0))
        before = store.audit(None, 10)
    with closing(sqlite3.connect(path)) as connection:
        for statement in (
            "UPDATE audit SET actor = 'nobody'",
            "DELETE FROM audit",
            "DELETE FROM audit WHERE number = 1",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)
            connection.rollback()
        # replacing would delete without asking any trigger
        connection.execute(
            "REPLACE INTO audit SELECT number, 0, 'nobody', action, outcome, app_name, targets,"
            " reason, command_id, detail FROM audit"
        )
        connection.commit()
    with closing(SqliteStore.open(path)) as store:
        assert store.audit(None, 10) == before
