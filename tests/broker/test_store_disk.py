"""The SQLite store on disks that are really full, read-only, or lose their files."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broker.reserve import SPARE_BYTES, Reserve
from broker.store import Batch, Kept, StoreError, StoreUnavailable, StoreUnusable
from broker.store_sqlite import MAX_IO_FAILURES, SqliteStore
from tests.broker.stores import EVERYTHING, command, ended, process, session
from tests.broker.test_store_faults import Failing, io_error
from tests.support.disks import Disk, small_disk

RESERVE = 512 << 10  # bytes


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk", "4m") as mounted:
        yield mounted


def opened(disk: Disk) -> SqliteStore:
    return SqliteStore.open(disk.directory / "sessions.db", busy_timeout=0.05, reserve=RESERVE)


def rows(start: int, count: int = 100) -> Batch:
    many = [session(f"s{n}", n + 1, status="x" * 255) for n in range(start, start + count)]
    return Batch(sessions=many)


def live(store: SqliteStore) -> int:
    loaded = store.load(max_tombstones=EVERYTHING, max_commands=EVERYTHING, max_gone=EVERYTHING)
    return len(loaded.sessions)


def write_until_full(store: SqliteStore) -> int:
    """Returns how many sessions were kept before a commit failed."""
    return next(start for start in range(0, 100_000, 100) if _full(store, rows(start)))


def _full(store: SqliteStore, batch: Batch) -> bool:
    try:
        store.commit(batch)
    except StoreUnavailable as error:
        return error.cause == "full"
    return False


# --- full ----------------------------------------------------------------------------------------


def test_a_full_disk_keeps_what_it_took_and_nothing_of_what_it_did_not(disk: Disk) -> None:
    with closing(opened(disk)) as store:
        store.commit(Batch([process()]))
        disk.fill(leave=256 << 10)
        kept = write_until_full(store)
        assert live(store) == kept
    with closing(opened(disk)) as store:
        assert live(store) == kept


def test_the_reserve_lets_what_was_accepted_be_written_on_a_full_disk(disk: Disk) -> None:
    with closing(opened(disk)) as store:
        reserve = disk.directory / "sessions.db.reserve"
        assert reserve.stat().st_blocks * 512 >= RESERVE
        store.commit(Batch([process()]))
        disk.fill(leave=256 << 10)
        kept = write_until_full(store)
        assert not reserve.exists()
        told = store.commit(Batch(sessions=[ended("s1", 2)], commands=[command()]))
        assert told.trouble is not None
        assert (told.trouble.cause, str(told.trouble)) == (
            "full",
            f"no space left for {disk.directory / 'sessions.db'}; free some",
        )
        assert live(store) == kept - 1


def test_a_commit_that_succeeds_is_no_proof_of_space(disk: Disk) -> None:
    with closing(opened(disk)) as store:
        store.commit(Batch([process()]))
        disk.fill(leave=256 << 10)
        write_until_full(store)
        assert store.commit(Batch(commands=[command()])).trouble is not None
        disk.fill()  # somebody else takes what the reserve gave
        for _ in range(3):
            trouble = store.check(probe=True)
            assert trouble is not None
            assert trouble.cause == "full"


def test_space_that_returns_is_noticed_without_a_commit(disk: Disk) -> None:
    with closing(opened(disk)) as store:
        store.commit(Batch([process()]))
        disk.fill(leave=256 << 10)
        kept = write_until_full(store)
        assert store.check(probe=True) is not None
        disk.empty()
        assert store.check(probe=False) is not None
        assert store.check(probe=True) is None
        assert (disk.directory / "sessions.db.reserve").stat().st_size == RESERVE
        assert store.commit(rows(kept)) == Kept()
        assert live(store) == kept + 100


def test_room_for_a_look_is_none_for_what_waits_in_the_log(tmp_path: Path) -> None:
    many = 6_000  # sessions, which take more than a look wants to see free
    with small_disk(tmp_path / "disk", "16m") as disk, closing(opened(disk)) as store:
        store.commit(Batch([process()]))
        with closing(sqlite3.connect(store._path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sessions").fetchone()
            for start in range(0, many, 100):  # none of it can move into the database
                store.commit(rows(start))
            disk.fill()
            assert _full(store, rows(many))
        disk.empty()
        disk.fill(leave=RESERVE + SPARE_BYTES + (128 << 10))
        for _ in range(3):
            trouble = store.check(probe=True)
            assert trouble is not None
            assert trouble.cause == "full"
        disk.empty()
        assert store.check(probe=True) is None


def test_looking_at_a_full_disk_again_and_again_does_not_fill_it_further(disk: Disk) -> None:
    with closing(opened(disk)) as store:
        store.commit(Batch([process()]))
        disk.fill(leave=256 << 10)
        write_until_full(store)
        disk.fill(leave=128 << 10)  # less than the reserve, more than a look may write
        log = disk.directory / "sessions.db-wal"
        before = log.stat().st_size
        for _ in range(50):
            assert store.check(probe=True) is not None
        assert log.stat().st_size == before


def test_a_disk_without_room_for_the_reserve_is_short_of_space_from_the_start(disk: Disk) -> None:
    disk.fill(leave=RESERVE // 2)
    with closing(opened(disk)) as store:
        trouble = store.check(probe=False)
        assert trouble is not None
        assert trouble.cause == "full"
        disk.empty()
        assert store.check(probe=True) is None


def test_a_disk_full_from_the_start_leaves_no_file_that_is_none(disk: Disk) -> None:
    disk.fill()
    with pytest.raises(StoreError) as caught:
        opened(disk)
    assert "can't make" in str(caught.value) or "no space left" in str(caught.value)
    assert {file.name for file in disk.directory.iterdir()} <= {"filling", "sessions.db.lock"}
    disk.empty()
    opened(disk).close()


def test_a_broker_killed_with_its_reserve_starts_again_on_a_disk_full_since(disk: Disk) -> None:
    with closing(opened(disk)) as store:
        store.commit(Batch([process()], [session()]))
    Reserve(disk.directory / "sessions.db", RESERVE).take()  # as kill -9 leaves it
    disk.fill()
    with closing(opened(disk)) as store:
        trouble = store.check(probe=True)
        assert trouble is not None
        assert trouble.cause == "full"
        assert store.commit(Batch(commands=[command()])).trouble is not None
        disk.empty()
        assert store.check(probe=True) is None


def test_a_limit_of_the_database_itself_is_met_by_the_probe(tmp_path: Path) -> None:
    """Where the disk has room and the file may not grow, as under a quota."""
    with closing(SqliteStore.open(tmp_path / "sessions.db", reserve=RESERVE)) as store:
        store.commit(Batch([process()]))
        query = store._connection.execute
        (limit,) = query("PRAGMA max_page_count").fetchone()
        (pages,) = query("PRAGMA page_count").fetchone()
        query(f"PRAGMA max_page_count = {pages + 5}")
        write_until_full(store)
        for _ in range(3):
            assert store.check(probe=True) is not None
        query(f"PRAGMA max_page_count = {limit}")
        assert store.check(probe=True) is None


def test_an_orderly_end_gives_the_reserve_back(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with closing(SqliteStore.open(path, reserve=RESERVE)):
        assert (tmp_path / "sessions.db.reserve").exists()
    assert {file.name for file in tmp_path.iterdir()} == {"sessions.db", "sessions.db.lock"}


def test_a_reserve_cut_short_is_made_whole(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "sessions.db", RESERVE)
    reserve.path.write_bytes(b"x")
    reserve.take()
    assert reserve.path.stat().st_blocks * 512 >= RESERVE
    reserve.give_up()
    reserve.give_up()
    assert not reserve.path.exists()


def test_a_reserve_holds_space_where_it_can_not_be_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    reserve = Reserve(tmp_path / "sessions.db", RESERVE + 1)
    reserve.take()
    found = reserve.path.stat()
    assert found.st_size == RESERVE + 1
    assert found.st_blocks * 512 >= RESERVE


# --- read-only -----------------------------------------------------------------------------------


def test_a_read_only_file_system_is_refused_at_the_start(disk: Disk) -> None:
    opened(disk).close()
    disk.make_read_only()
    with pytest.raises(StoreUnusable) as caught:
        opened(disk)
    path = disk.directory / "sessions.db"
    assert str(caught.value) == (
        f"can't write beside {path}: Read-only file system; choose another place with --db"
    )


def test_a_database_that_turns_read_only_takes_nothing_and_recovers(tmp_path: Path) -> None:
    with closing(SqliteStore.open(tmp_path / "sessions.db", reserve=RESERVE)) as store:
        store._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreUnavailable, match="can't be written") as caught:
            store.commit(rows(0, 1))
        assert caught.value.cause == "readonly"
        trouble = store.check(probe=True)
        assert trouble is not None
        assert trouble.cause == "readonly"
        store._connection.execute("PRAGMA query_only = OFF")
        assert store.check(probe=True) is None
        assert store.commit(rows(0, 1)) == Kept()


# --- files that go away --------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("replace", [False, True], ids=["removed", "replaced"])
def test_a_file_that_goes_away_is_noticed_by_looking(
    tmp_path: Path, suffix: str, replace: bool
) -> None:
    path = tmp_path / "sessions.db"
    with closing(SqliteStore.open(path, reserve=RESERVE)) as store:
        store.commit(rows(0, 1))
        gone = tmp_path / f"sessions.db{suffix}"
        content = gone.read_bytes()
        gone.rename(tmp_path / "away")
        if replace:
            gone.write_bytes(content)
        for look in (lambda: store.check(probe=False), lambda: store.commit(rows(1, 1))):
            with pytest.raises(StoreUnusable, match="or its -wal was removed or replaced"):
                look()


def test_a_database_that_vanished_is_not_made_anew_by_opening_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sessions.db"
    with closing(SqliteStore.open(path, reserve=RESERVE)) as store:
        write = store._write

        def vanish(batch: Batch) -> None:
            path.rename(tmp_path / "away")
            monkeypatch.setattr(store, "_write", write)
            raise io_error()

        monkeypatch.setattr(store, "_write", vanish)
        with pytest.raises(StoreUnusable, match="removed or replaced"):
            store.commit(rows(0, 1))
        assert not path.exists()


# --- errors that stay ----------------------------------------------------------------------------


def test_a_disk_that_keeps_failing_stops_the_broker_after_some_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(SqliteStore.open(tmp_path / "sessions.db", reserve=RESERVE)) as store:
        failing = Failing(store._write, 10 * MAX_IO_FAILURES, io_error())
        monkeypatch.setattr(store, "_write", failing)
        for _ in range(MAX_IO_FAILURES - 1):
            with pytest.raises(StoreUnavailable):
                store.commit(rows(0, 1))
        with pytest.raises(StoreUnusable) as caught:
            store.commit(rows(0, 1))
        assert f"failed: disk I/O error, {MAX_IO_FAILURES} times in a row; mend" in str(
            caught.value
        )
        assert failing.calls == 2 * MAX_IO_FAILURES


def test_a_commit_that_succeeds_between_starts_the_count_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(SqliteStore.open(tmp_path / "sessions.db", reserve=RESERVE)) as store:
        for _ in range(2):
            monkeypatch.setattr(
                store, "_write", Failing(store._write, 2 * (MAX_IO_FAILURES - 1), io_error())
            )
            for _ in range(MAX_IO_FAILURES - 1):
                with pytest.raises(StoreUnavailable):
                    store.commit(rows(0, 1))
            store.commit(rows(0, 1))
            monkeypatch.undo()


@pytest.mark.parametrize("cause", ["io", "busy"])
def test_recovery_is_noticed_while_nothing_is_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    path = tmp_path / "sessions.db"
    with (
        closing(SqliteStore.open(path, busy_timeout=0.05, reserve=RESERVE)) as store,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        if cause == "busy":
            other.execute("BEGIN IMMEDIATE")
        else:
            monkeypatch.setattr(store, "_write", Failing(store._write, 2, io_error()))
        with pytest.raises(StoreUnavailable) as caught:
            store.commit(rows(0, 1))
        assert caught.value.cause == cause
        trouble = store.check(probe=False)
        assert trouble is caught.value
        if cause == "busy":
            assert store.check(probe=True) is not None
            other.execute("ROLLBACK")
        assert store.check(probe=True) is None


def test_no_room_for_the_log_s_index_is_a_full_disk_not_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = sqlite3.OperationalError("disk I/O error")
    short.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    with closing(SqliteStore.open(tmp_path / "sessions.db", reserve=RESERVE)) as store:
        monkeypatch.setattr(store, "_write", Failing(store._write, 2 * MAX_IO_FAILURES + 2, short))
        for _ in range(MAX_IO_FAILURES + 1):
            with pytest.raises(StoreUnavailable, match="no space left") as caught:
                store.commit(rows(0, 1))
            assert caught.value.cause == "full"
        assert not (tmp_path / "sessions.db.reserve").exists()
        assert store.commit(rows(0, 1)).trouble is not None


# --- whose they are ------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="permission bits of POSIX")
def test_new_files_are_the_owner_s_alone_and_old_ones_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    before = os.umask(0)
    try:
        with closing(SqliteStore.open(path, reserve=RESERVE)) as store:
            store.commit(rows(0, 1))
            modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
            store.copy("copy.db", lambda: True)
        assert os.umask(0) == 0  # it was not touched
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(
        (f"sessions.db{end}" for end in ("", "-wal", "-shm", ".lock", ".reserve")), 0o600
    )
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    (tmp_path / "sessions.db.lock").chmod(0o660)
    with closing(SqliteStore.open(path, reserve=RESERVE)) as store:
        store.commit(rows(1, 1))
        assert (tmp_path / "sessions.db-wal").stat().st_mode & 0o777 == 0o640
    assert path.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "sessions.db.lock").stat().st_mode & 0o777 == 0o660


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_root_leaves_files_to_the_directory_s_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    with closing(SqliteStore.open(tmp_path / "sessions.db", reserve=RESERVE)) as store:
        store.commit(rows(0, 1))
        store.copy("copy.db", lambda: True)
        owners = {file.name: file.stat().st_uid for file in tmp_path.iterdir()}
    owners.pop("sessions.db.reserve", None)
    assert set(owners.values()) == {65534}
