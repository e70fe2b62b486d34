"""Putting a backup back: checked first, nothing lost, and never a moment without a database."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker import files
from broker.restore import restore
from broker.schema import VERSION
from broker.store import Batch, StoreUnusable
from broker.store_sqlite import SqliteStore
from tests.broker.stores import EVERYTHING, process, session

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
ASIDE = "sessions.db.before-20260504T030201Z"


def ids(path: Path) -> list[str]:
    with closing(SqliteStore.open(path)) as opened:
        loaded = opened.load(
            max_tombstones=EVERYTHING, max_commands=EVERYTHING, max_gone=EVERYTHING
        )
        return [row.session_id for row in loaded.sessions]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with "old" and "new", of which there is a backup that has "old" only."""
    path = tmp_path / "sessions.db"
    with closing(SqliteStore.open(path)) as store:
        store.commit(Batch([process()], [session("old", 1)]))
        store.copy("backup.db", lambda: True)
        store.commit(Batch([], [session("new", 2)]))
    return path


def backup(path: Path) -> Path:
    return path.with_name("backup.db")


def names(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()}


def refusal(path: Path) -> str:
    before = path.read_bytes()
    with pytest.raises(StoreUnusable) as caught:
        restore(backup(path), path, NOW)
    assert path.read_bytes() == before
    assert names(path) <= {"sessions.db", "sessions.db.lock", "backup.db"}
    return str(caught.value)


def test_the_backup_takes_the_place_and_the_files_before_are_kept(path: Path) -> None:
    done = restore(backup(path), path, NOW)
    assert done == (VERSION, path.with_name(ASIDE))
    assert names(path) == {"sessions.db", "sessions.db.lock", "backup.db", ASIDE}
    assert ids(path) == ["old"]
    assert ids(path.with_name(ASIDE)) == ["old", "new"]


def test_a_log_of_the_database_before_goes_aside_with_it(path: Path, tmp_path: Path) -> None:
    with closing(SqliteStore.open(path)) as store:
        store.commit(Batch([], [session("newest", 3)]))
        kept = {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("", "-wal", "-shm")}
    for suffix, content in kept.items():  # as kill -9 leaves them
        Path(f"{path}{suffix}").write_bytes(content)
    restore(backup(path), path, NOW)
    assert not Path(f"{path}-wal").exists()
    assert not Path(f"{path}-shm").exists()
    assert ids(path) == ["old"]
    assert ids(tmp_path / ASIDE) == ["old", "new", "newest"]


def test_where_there_was_no_database_there_is_one_afterwards(path: Path) -> None:
    path.unlink()
    assert restore(backup(path), path, NOW) == (VERSION, None)
    assert ids(path) == ["old"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_copy_of_a_killed_broker_s_files_is_taken_with_its_log(path: Path) -> None:
    with closing(SqliteStore.open(path)) as store:
        store.commit(Batch([], [session("newest", 3)]))
        for suffix in ("", "-wal"):
            Path(f"{backup(path)}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    restore(backup(path), path, NOW)
    assert ids(path) == ["old", "new", "newest"]


@pytest.mark.skipif(os.name != "posix", reason="permission bits of POSIX")
def test_mode_and_owner_stay_those_of_the_database_before(path: Path) -> None:
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    before = path.stat()
    restore(backup(path), path, NOW)
    after = path.stat()
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)


def test_while_a_broker_has_it_it_is_not_replaced(path: Path) -> None:
    with closing(SqliteStore.open(path)), pytest.raises(StoreUnusable, match="in use by another"):
        restore(backup(path), path, NOW)
    assert ids(path) == ["old", "new"]


def test_a_damaged_backup_is_refused(path: Path) -> None:
    content = backup(path).read_bytes()
    backup(path).write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    text = refusal(path)
    assert f"{backup(path)} is damaged (" in text
    assert "choose another backup" in text
    backup(path).write_bytes(content[: len(content) // 2 // 4096 * 4096])
    assert "is damaged (" in refusal(path)


def test_what_is_no_backup_is_refused(path: Path) -> None:
    backup(path).write_bytes(b"PK\x03\x04")
    assert refusal(path) == f"{backup(path)} is not a SQLite database; choose another backup"
    backup(path).write_bytes(b"")
    assert "is empty, which a database never is" in refusal(path)
    backup(path).unlink()
    with closing(sqlite3.connect(backup(path))) as connection:
        connection.execute("CREATE TABLE mine (x)")
    assert "is another program's database; choose another backup" in refusal(path)


def test_a_backup_of_a_newer_version_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(backup(path))) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    assert f"has schema version {VERSION + 1}, this broker knows up to {VERSION}" in refusal(path)


def test_whenever_it_is_cut_short_a_database_is_in_place(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call that changes the directory may be the last one."""
    steps = 0
    cut = 0

    def counted(call: object) -> object:
        def step(*arguments: object, **named: object) -> object:
            nonlocal steps
            steps += 1
            if steps == cut:
                raise KeyboardInterrupt
            assert callable(call)
            return call(*arguments, **named)

        return step

    for owner, name in ((os, "link"), (Path, "replace"), (files, "sync")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    whole = {("old",), ("old", "new")}
    for cut in range(1, 20):
        steps = 0
        moment = NOW.replace(microsecond=0, second=cut)
        try:
            restore(backup(path), path, moment)
        except KeyboardInterrupt:
            assert tuple(_looked_at(path)) in whole
        else:
            break
    else:
        raise AssertionError("it never comes to its end")
    assert cut > 3
    assert ids(path) == ["old"]


def _looked_at(path: Path) -> list[str]:
    """Without the lock, the log or anything else that would change the files."""
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as connection:
        found = connection.execute("SELECT session_id FROM sessions ORDER BY seq")
        return [row[0] for row in found]
