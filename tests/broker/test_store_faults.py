"""A SQLite database that fails while in use: nothing half-kept, a clear cause, and recovery."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from broker import store_sqlite
from broker.store import Batch, Loaded, StoreUnavailable, StoreUnusable
from broker.store_opening import connect
from broker.store_sqlite import SqliteStore
from tests.broker.stores import EVERYTHING, command, ended, process, session, task

BATCH = Batch([process()], [session()], [task(1)], [command()])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore.open(path, busy_timeout=0.05)) as opened:
        yield opened


def load(store: SqliteStore) -> Loaded:
    return store.load(max_tombstones=EVERYTHING, max_commands=EVERYTHING, max_gone=EVERYTHING)


def failure(store: SqliteStore, batch: Batch = BATCH) -> StoreUnavailable:
    """How a commit fails that may succeed later."""
    with pytest.raises(StoreUnavailable) as caught:
        store.commit(batch)
    return caught.value


def io_error() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    return error


class Failing:
    """Stands before a method and raises instead of calling it, so many times."""

    def __init__(self, method: Any, times: int, error: sqlite3.Error) -> None:
        self.method, self.times, self.error = method, times, error
        self.calls = 0

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return self.method(*arguments)


# --- the file ------------------------------------------------------------------------------------


def test_connecting_makes_no_file(path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        connect(path, 0.05)
    assert not path.exists()


@pytest.mark.parametrize("batch", [BATCH, Batch()], ids=["rows", "nothing"])
def test_a_file_that_was_deleted_is_noticed_by_the_next_commit(
    store: SqliteStore, path: Path, batch: Batch
) -> None:
    path.unlink()
    with pytest.raises(StoreUnusable) as caught:
        store.commit(batch)
    assert f"{path} or its -wal was removed or replaced while in use" in str(caught.value)
    assert "Put it back or restore a backup" in str(caught.value)


def test_a_file_that_was_replaced_is_noticed_by_the_next_commit(
    store: SqliteStore, path: Path, tmp_path: Path
) -> None:
    shutil.copy(path, tmp_path / "copy")
    os.replace(tmp_path / "copy", path)
    with pytest.raises(StoreUnusable, match="removed or replaced"):
        store.commit(BATCH)


def test_a_file_that_was_moved_away_and_back_is_as_before(
    store: SqliteStore, path: Path, tmp_path: Path
) -> None:
    path.rename(tmp_path / "away")
    with pytest.raises(StoreUnusable):
        store.commit(BATCH)
    (tmp_path / "away").rename(path)
    store.commit(BATCH)
    assert load(store).sessions == [session()]


def test_damage_found_by_a_commit_stops_the_broker(path: Path) -> None:
    with closing(SqliteStore.open(path)) as store:
        store.commit(BATCH)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    with closing(SqliteStore.open(path)) as store, pytest.raises(StoreUnusable) as caught:
        store.commit(BATCH)
    assert "is damaged" in str(caught.value)


# --- others --------------------------------------------------------------------------------------


def test_a_commit_while_another_program_writes_is_busy_and_succeeds_later(
    store: SqliteStore, path: Path
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        error = failure(store)
        assert error.cause == "busy"
        assert f"{path} is locked by another program" in str(error)
        assert load(store) == Loaded()
        other.execute("ROLLBACK")
        store.commit(BATCH)
    assert load(store).sessions == [session()]


def test_a_commit_waits_a_little_for_another_program(path: Path) -> None:
    with closing(SqliteStore.open(path)) as store:
        (timeout,) = store._connection.execute("PRAGMA busy_timeout").fetchone()
    assert timeout == 2000


def test_a_transaction_that_begins_by_reading_has_its_lock_already(
    store: SqliteStore, path: Path
) -> None:
    def read_then_write() -> int:
        query = store._connection.execute
        query("SELECT count(*) FROM counters").fetchone()
        with (
            closing(sqlite3.connect(path, timeout=0.0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("INSERT INTO counters VALUES ('theirs', 1)")
        return query("INSERT INTO counters VALUES ('ours', 1)").rowcount

    assert store._transact(read_then_write) == 1


def test_a_reader_holds_up_no_commit(store: SqliteStore, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM sessions").fetchone()
        store.commit(BATCH)
        assert other.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
        other.execute("ROLLBACK")
    assert load(store).sessions == [session()]


# --- the disk ------------------------------------------------------------------------------------


def test_a_full_disk_keeps_nothing_of_the_batch_and_recovers(store: SqliteStore) -> None:
    store.commit(Batch([process()], [session("before", 1)]))
    query = store._connection.execute
    (pages,) = query("PRAGMA page_count").fetchone()
    (limit,) = query("PRAGMA max_page_count").fetchone()
    query(f"PRAGMA max_page_count = {pages}")
    many = [session(f"s{number}", number + 2, status="x" * 255) for number in range(500)]
    error = failure(store, Batch([process("q")], many, [task(1)], [command()]))
    assert error.cause == "full"
    assert "no space left" in str(error)
    assert "free some" in str(error)
    assert [row.session_id for row in load(store).sessions] == ["before"]
    assert load(store).commands == []
    assert store.tasks("s", 1) == []
    query(f"PRAGMA max_page_count = {limit}")
    store.commit(Batch(sessions=many))
    assert len(load(store).sessions) == 501


@pytest.mark.parametrize(
    "bad",
    [
        Batch([process("q")], [session("b", 2), session("c", 1)]),
        Batch([process("q")], [session("b", 2)], [task(1), task(2, outcome=None)]),
        Batch(
            [process("q")], [session("b", 2)], [], [command("d"), command("e", delivered="1 of 2")]
        ),
    ],
    ids=["a seq twice", "a column without a value", "text for a number"],
)
def test_a_batch_with_one_bad_row_leaves_nothing_of_itself(store: SqliteStore, bad: Batch) -> None:
    store.commit(Batch([process()], [session("a", 1)]))
    before = load(store)
    assert failure(store, bad).cause == "io"
    assert not store._connection.in_transaction
    assert load(store) == before
    assert store.tasks("s", 10) == []
    store.commit(Batch(sessions=[ended("a", 1)]))
    assert load(store).sessions == []


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (sqlite3.SQLITE_FULL, "full"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "busy"),
        (sqlite3.SQLITE_LOCKED, "busy"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "readonly"),
        (sqlite3.SQLITE_PERM, "readonly"),
        (sqlite3.SQLITE_CANTOPEN, "readonly"),
        (sqlite3.SQLITE_NOMEM, "io"),
    ],
)
def test_every_error_has_a_cause_and_is_passing(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, code: int, cause: str
) -> None:
    error = sqlite3.OperationalError("as SQLite puts it")
    error.sqlite_errorcode = code
    monkeypatch.setattr(store, "_write", Failing(store._write, 1, error))
    assert failure(store).cause == cause
    assert load(store) == Loaded()
    store.commit(BATCH)
    assert load(store).sessions == [session()]


# --- errors of the disk itself -------------------------------------------------------------------


def test_an_io_error_is_answered_by_opening_and_writing_again(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(store._write, 1, io_error())
    monkeypatch.setattr(store, "_write", failing)
    first = store._connection
    store.commit(BATCH)
    assert failing.calls == 2
    assert store._connection is not first
    with pytest.raises(sqlite3.ProgrammingError):
        first.execute("SELECT 1")
    query = store._connection.execute
    assert query("PRAGMA journal_mode").fetchone() == ("wal",)
    assert query("PRAGMA synchronous").fetchone() == (2,)
    assert load(store).sessions == [session()]


def test_an_io_error_after_the_write_keeps_each_row_once(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    transact = store._transact

    def kept_but_reported_as_failed(write: Callable[[], None]) -> None:
        transact(write)
        monkeypatch.undo()
        raise io_error()

    monkeypatch.setattr(store, "_transact", kept_but_reported_as_failed)
    store.commit(BATCH)
    assert load(store) == Loaded([process()], [session()], [command()], [], 1)
    assert store.tasks("s", 10) == [task(1)]


def test_an_io_error_that_stays_is_told_and_a_later_commit_succeeds(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_write", Failing(store._write, 4, io_error()))
    for _ in range(2):
        error = failure(store)
        assert error.cause == "io"
        assert "disk I/O error" in str(error)
    store.commit(BATCH)
    assert load(store).sessions == [session()]


def test_a_disk_that_can_not_even_be_opened_again_is_tried_with_each_commit(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_write", Failing(store._write, 1, io_error()))
    monkeypatch.setattr(store_sqlite, "connect", Failing(connect, 1, io_error()))
    assert failure(store).cause == "io"
    store.commit(BATCH)
    assert load(store).sessions == [session()]


def test_a_database_found_damaged_when_opened_again_stops_the_broker(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    monkeypatch.setattr(store, "_write", Failing(store._write, 1, io_error()))
    monkeypatch.setattr(store_sqlite, "connect", Failing(connect, 1, error))
    with pytest.raises(StoreUnusable, match="is damaged"):
        store.commit(BATCH)


# --- reading -------------------------------------------------------------------------------------


def test_reading_that_fails_is_an_error_of_the_store(store: SqliteStore) -> None:
    store._connection.close()
    with pytest.raises(StoreUnavailable) as caught:
        store.tasks("s", 1)
    assert caught.value.cause == "io"
    with pytest.raises(StoreUnusable, match="choose another place with --db"):
        load(store)
