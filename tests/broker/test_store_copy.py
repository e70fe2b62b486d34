"""Copies of a database in use: consistent, never over anything that exists, whole or not there."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broker import store_copy
from broker.schema import APPLICATION_ID, VERSION
from broker.store import Batch, CopyRefused, StoreError, StoreUnavailable, StoreUnusable
from broker.store_sqlite import SqliteStore
from tests.broker.stores import EVERYTHING, process, session
from tests.support.disks import small_disk

MANY = 20_000  # sessions, which take several steps


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore.open(tmp_path / "sessions.db")) as opened:
        opened.commit(Batch([process()], [session("first", 1)]))
        yield opened


def go_on() -> bool:
    return True


def refusal(store: SqliteStore, file: str) -> CopyRefused:
    with pytest.raises(CopyRefused) as caught:
        store.copy(file, go_on)
    return caught.value


def ids(path: Path) -> list[str]:
    with closing(SqliteStore.open(path)) as opened:
        loaded = opened.load(
            max_tombstones=EVERYTHING, max_commands=EVERYTHING, max_gone=EVERYTHING
        )
        return [row.session_id for row in loaded.sessions]


def rows(start: int, count: int) -> Batch:
    many = [session(f"s{n}", n + 10, status="x" * 255) for n in range(start, start + count)]
    return Batch(sessions=many)


def test_a_copy_is_one_whole_database_of_ours(store: SqliteStore, tmp_path: Path) -> None:
    path, size = store.copy("copy.db", go_on)
    copy = tmp_path / "copy.db"
    assert (path, size) == (str(copy), copy.stat().st_size)
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith("copy")] == ["copy.db"]
    with closing(sqlite3.connect(copy)) as connection:
        query = connection.execute
        assert query("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert query("PRAGMA user_version").fetchone() == (VERSION,)
        assert query("PRAGMA integrity_check").fetchone() == ("ok",)
        assert query("PRAGMA journal_mode").fetchone() == ("delete",)
    assert ids(copy) == ["first"]


def test_a_copy_is_the_database_of_one_instant_whatever_is_committed_meanwhile(
    store: SqliteStore, tmp_path: Path
) -> None:
    store.commit(rows(0, MANY))
    steps = 0

    def commit_more() -> bool:
        nonlocal steps
        store.commit(rows(100_000 + 10 * steps, 10))  # at once: the copy holds up nothing
        steps += 1
        assert steps < 200, "it begins anew after each commit"
        return True

    store.copy("copy.db", commit_more)
    assert steps > 3
    assert ids(tmp_path / "copy.db") == ["first", *(f"s{n}" for n in range(MANY))]
    store.commit(rows(200_000, 1))


def test_another_thread_may_make_it(store: SqliteStore, tmp_path: Path) -> None:
    made: list[str] = []
    thread = threading.Thread(target=lambda: made.append(store.copy("copy.db", go_on)[0]))
    thread.start()
    for number in range(20):
        store.commit(rows(number, 1))
    thread.join(20.0)
    assert made == [str(tmp_path / "copy.db")]
    assert ids(tmp_path / "copy.db")[0] == "first"


def test_a_copy_that_is_given_up_leaves_nothing(store: SqliteStore, tmp_path: Path) -> None:
    store.commit(rows(0, MANY))
    before = {file.name for file in tmp_path.iterdir()}
    seen: set[str] = set()

    def give_up() -> bool:
        seen.update(file.name for file in tmp_path.iterdir())
        return False

    with pytest.raises(StoreUnavailable, match="the broker stops; ask again later"):
        store.copy("copy.db", give_up)
    assert any(name.endswith(".part") for name in seen)
    assert "copy.db" not in seen
    assert {file.name for file in tmp_path.iterdir()} == before


# --- where it may be -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "directory", "dangling link", "link to a file"])
def test_what_exists_is_never_overwritten(store: SqliteStore, tmp_path: Path, kind: str) -> None:
    copy, other = tmp_path / "copy.db", tmp_path / "precious"
    other.write_text("data")
    if kind == "file":
        copy.write_text("data")
    elif kind == "directory":
        copy.mkdir()
    else:
        copy.symlink_to(other if kind == "link to a file" else tmp_path / "nowhere")
    error = refusal(store, "copy.db")
    assert (error.code, str(error)) == ("conflict", f"{copy} exists already; choose another name")
    assert other.read_text() == "data"
    assert not (tmp_path / "nowhere").exists()


def test_a_name_that_is_taken_while_it_copies_stays_as_it_is(
    store: SqliteStore, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"

    def take_the_name() -> bool:
        copy.write_text("data")
        return True

    with pytest.raises(CopyRefused, match="exists already"):
        store.copy("copy.db", take_the_name)
    assert copy.read_text() == "data"
    assert [file.name for file in tmp_path.iterdir() if "part" in file.name] == []


def test_the_database_itself_is_not_overwritten(store: SqliteStore, tmp_path: Path) -> None:
    assert refusal(store, "sessions.db").code == "conflict"
    assert refusal(store, str(tmp_path / "sessions.db")).code == "conflict"


@pytest.mark.parametrize(
    "file", ["", "copy", "/etc/cron.d/job", "copy.db\n", "a\0.db", ".db", "copy.db/", "x\x1b[2J.db"]
)
def test_a_name_that_is_none_for_a_copy_is_refused(store: SqliteStore, file: str) -> None:
    error = refusal(store, file)
    assert error.code == "bad_request"
    assert "must be a file name that ends in .db" in str(error)
    assert str(error).isprintable()


def test_a_relative_name_counts_from_the_database_and_an_absolute_one_does_not(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    (tmp_path / "sub").mkdir()
    assert store.copy("sub/copy.db", go_on)[0] == str(tmp_path / "sub" / "copy.db")
    elsewhere = tmp_path / "sub" / "other.db"
    assert store.copy(str(elsewhere), go_on)[0] == str(elsewhere)


def test_a_directory_that_is_not_there_is_named(store: SqliteStore, tmp_path: Path) -> None:
    error = refusal(store, "nowhere/copy.db")
    assert str(error) == f"there is no directory {tmp_path / 'nowhere'}; make it first"
    (tmp_path / "file").touch()
    assert "Not a directory" in str(refusal(store, "file/copy.db"))
    assert "File name too long" in str(refusal(store, "x" * 300 + ".db"))


def test_a_disk_without_room_is_told_and_not_filled(store: SqliteStore, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        with pytest.raises(StoreUnavailable, match="No space left on device; choose another") as e:
            store.copy(str(disk.directory / "copy.db"), go_on)
        assert e.value.cause == "full"
        assert list(disk.directory.iterdir()) == []


def test_a_disk_that_can_not_be_written_is_told(store: SqliteStore, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "16m") as disk:
        disk.make_read_only()
        error = refusal(store, str(disk.directory / "copy.db"))
    assert "Read-only file system; choose another place" in str(error)


# --- what it copies ------------------------------------------------------------------------------


def test_damage_is_not_copied(store: SqliteStore, tmp_path: Path) -> None:
    store.commit(rows(0, 2_000))
    store.close()
    path = tmp_path / "sessions.db"
    content = path.read_bytes()
    middle = len(content) // 2 // 4096 * 4096
    path.write_bytes(content[:middle] + b"\xa5" * 8192 + content[middle + 8192 :])
    with pytest.raises(StoreUnusable, match="is damaged"):
        store_copy.copy_database(path, "copy.db", go_on)
    assert not (tmp_path / "copy.db").exists()


def test_another_program_s_database_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    with pytest.raises(StoreError, match="another program's database"):
        store_copy.copy_database(path, "copy.db", go_on)
    assert {file.name for file in tmp_path.iterdir()} == {"other.db"}


def test_without_links_a_copy_gets_its_name_all_the_same(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(_source: Path, _target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("broker.files.os.link", no_links)
    taken = tmp_path / "taken.db"
    with pytest.raises(CopyRefused, match="exists already"):
        store.copy("taken.db", lambda: taken.write_text("data") > 0)
    assert taken.read_text() == "data"
    store.copy("copy.db", go_on)
    assert ids(tmp_path / "copy.db") == ["first"]
    shutil.copy(tmp_path / "copy.db", tmp_path / "again.db")
    assert refusal(store, "copy.db").code == "conflict"
