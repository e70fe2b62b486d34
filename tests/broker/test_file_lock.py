"""The lock beside a database: one holder, named to the next, and gone with its process."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker import file_lock
from broker.file_lock import FileLock, holder
from broker.store import StoreUnusable
from tests.support.processes import running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def lock(path: Path) -> Iterator[FileLock]:
    held = FileLock(path)
    yield held
    held.release()


def refusal(path: Path) -> str:
    with pytest.raises(StoreUnusable) as caught:
        FileLock(path)
    return str(caught.value)


def test_the_lock_lies_beside_the_file_and_does_not_make_it(lock: FileLock, path: Path) -> None:
    assert lock.path == path.with_name("sessions.db.lock")
    assert [file.name for file in path.parent.iterdir()] == ["sessions.db.lock"]


def test_it_tells_who_holds_it_and_since_when(lock: FileLock) -> None:
    words = lock.path.read_text().split()
    assert words[:5] == ["pid", str(os.getpid()), "on", socket.gethostname(), "since"]
    since = datetime.fromisoformat(words[5])
    assert since.utcoffset() == datetime.now(UTC).utcoffset()
    assert abs((datetime.now(UTC) - since).total_seconds()) < 60


def test_a_second_one_is_refused_and_told_the_first(lock: FileLock, path: Path) -> None:
    text = refusal(path)
    holder = lock.path.read_text().strip()
    assert text == (
        f"{path} is in use by another broker ({holder}); stop that one, or choose another"
        " database with --db"
    )


def test_a_refused_one_takes_nothing_away(lock: FileLock, path: Path) -> None:
    before = lock.path.read_text()
    refusal(path)
    assert lock.path.read_text() == before
    refusal(path)


def test_a_holder_that_has_not_said_who_it_is_is_unknown(lock: FileLock, path: Path) -> None:
    lock.path.write_text("")
    assert "(unknown)" in refusal(path)


def test_a_holder_that_wrote_nonsense_is_shown_as_far_as_it_goes(
    lock: FileLock, path: Path
) -> None:
    lock.path.write_bytes(b"\xff" + b"x" * 10_000)
    assert f"(\N{REPLACEMENT CHARACTER}{'x' * (file_lock.MAX_HOLDER_BYTES - 1)})" in refusal(path)


def test_releasing_is_idempotent_and_leaves_the_file(lock: FileLock, path: Path) -> None:
    lock.release()
    lock.release()
    assert lock.path.exists()
    FileLock(path).release()


def test_a_longer_text_of_an_earlier_holder_is_gone(path: Path) -> None:
    beside = path.with_name("sessions.db.lock")
    beside.write_text("x" * 1000)
    lock = FileLock(path)
    assert "x" not in lock.path.read_text().replace(socket.gethostname(), "")
    lock.release()


def test_two_databases_of_one_directory_have_two_locks(lock: FileLock, path: Path) -> None:
    FileLock(path.with_name("other.db")).release()


def test_a_place_that_can_not_be_written_is_named(path: Path) -> None:
    missing = path.parent / "nowhere" / "sessions.db"
    assert refusal(missing) == (
        f"can't write beside {missing}: No such file or directory; choose another place with --db"
    )
    path.with_name("sessions.db.lock").mkdir()
    assert "Is a directory" in refusal(path)


@pytest.mark.skipif(os.name != "posix", reason="flock")
def test_a_file_system_without_locks_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_file: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("broker.file_lock.fcntl.flock", no_locks)
    assert "No locks available" in refusal(path)


HOLDER = """
import json, signal, sys
from pathlib import Path
from broker.file_lock import FileLock, holder
lock = FileLock(Path(sys.argv[1]))
print(json.dumps({"event": "locked"}), flush=True)
signal.pause()
"""


@pytest.mark.process
def test_the_lock_of_a_process_that_was_killed_is_free(path: Path, tmp_path: Path) -> None:
    with running(["-c", HOLDER, str(path)], tmp_path / "holder.log") as holder:
        holder.wait_for("locked")
        assert f"(pid {holder.pid} on " in refusal(path)
        holder.kill()
        lock = FileLock(path)
        assert f"pid {os.getpid()} on " in lock.path.read_text()
        lock.release()


@pytest.mark.process
def test_a_child_process_does_not_inherit_the_lock(lock: FileLock, path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        lock.release()
        FileLock(path).release()
        assert child.poll() is None
        child.communicate()


def test_who_holds_it_can_be_told_without_touching_it(lock: FileLock, path: Path) -> None:
    assert holder(path) == lock.path.read_text().strip()
    lock.release()
    before = lock.path.stat()
    assert holder(path) is None
    assert lock.path.stat() == before
    FileLock(path).release()  # looking has left no lock behind
    assert holder(path.with_name("other.db")) is None
    assert not path.with_name("other.db.lock").exists()


def test_a_full_disk_costs_the_note_not_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    held = FileLock(path)
    assert "in use by another broker (unknown)" in refusal(path)
    held.release()
