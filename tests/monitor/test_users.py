"""The file of users: how passwords are kept, what is refused, and that changes count at once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monitor import users as users_module
from monitor.users import (
    DEFAULT_COST,
    Cost,
    User,
    UserFile,
    changing,
    check_name,
    hashed,
    matches,
    read_users,
)
from sessionclient import Misuse, private_files

CHEAP = Cost(n=2, r=1, p=1)
SECRET = "correct horse"


def put(path: Path, name: str = "ann", role: str = "operator", password: str = SECRET) -> None:
    with changing(path) as users:
        users[name] = User(role, hashed(password, CHEAP))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "users.json"
    put(found)
    return found


# --- passwords -----------------------------------------------------------------------------------


def test_only_the_password_matches() -> None:
    kept = hashed(SECRET, CHEAP)
    assert matches(kept, SECRET)
    for wrong in ("", "Correct horse", SECRET + " ", SECRET[:-1], "\0", "\ud800"):
        assert not matches(kept, wrong)


def test_the_same_text_matches_however_it_was_composed() -> None:
    assert matches(hashed("cafe\N{COMBINING ACUTE ACCENT} au lait", CHEAP), "caf\xe9 au lait")


def test_it_is_scrypt_with_a_salt_of_its_own() -> None:
    one, two = hashed(SECRET, CHEAP), hashed(SECRET, CHEAP)
    assert one.salt != two.salt
    assert one.key == hashlib.scrypt(SECRET.encode(), salt=one.salt, n=2, r=1, p=1, dklen=32)


def test_the_default_cost_is_one_of_owasp_s() -> None:
    kept = hashed(SECRET)
    assert kept.cost == DEFAULT_COST == (32_768, 8, 3)
    assert matches(kept, SECRET)


@pytest.mark.parametrize("password", ["", "7 chars", "x" * 1_025])
def test_a_password_of_another_length_is_refused(password: str) -> None:
    with pytest.raises(Misuse, match="8 to 1,024 characters"):
        hashed(password, CHEAP)


def test_neither_hash_nor_salt_is_printed() -> None:
    kept = hashed(SECRET, CHEAP)
    for text in (repr(kept), str(User("viewer", kept))):
        assert kept.key.hex() not in text
        assert repr(kept.key) not in text
        assert repr(kept.salt) not in text


@pytest.mark.parametrize("name", ["ann", "ann.b+c@example.com", "0", "a" * 64])
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", " ann", "a" * 65, "-x", "a\nb", "a b", "<b>", "\xe9va"])
def test_what_can_name_nobody(name: str) -> None:
    with pytest.raises(Misuse, match="can't name a user"):
        check_name(name)


# --- the file ------------------------------------------------------------------------------------


def test_it_is_read_as_it_was_written(path: Path) -> None:
    put(path, "vic", "viewer")
    users = read_users(path)
    assert {name: user.role for name, user in users.items()} == {"ann": "operator", "vic": "viewer"}
    assert matches(users["ann"].password, SECRET)
    assert SECRET not in path.read_text()


def test_only_its_owner_can_read_it(path: Path) -> None:
    put(path, "vic", "viewer")
    for found in path.parent.iterdir():
        assert stat.S_IMODE(found.stat().st_mode) == 0o600, found


def test_the_owner_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    real = os.fstat

    def of_root(descriptor: int) -> os.stat_result:
        found = list(real(descriptor))
        found[stat.ST_UID] += 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", of_root)
    monkeypatch.setattr(os, "fchown", lambda _file, uid, gid: given.append((uid, gid)))
    put(path, "vic", "viewer")
    assert given == [(path.stat().st_uid, path.stat().st_gid)]


def test_a_change_that_fails_leaves_what_was(path: Path) -> None:
    before = path.read_bytes()

    def failing() -> None:
        with changing(path) as users:
            users.clear()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        failing()
    assert path.read_bytes() == before


def test_a_disk_that_takes_nothing_leaves_what_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Misuse, match="No space left"):
        put(path, "vic", "viewer")
    assert path.read_bytes() == before
    assert {found.name for found in path.parent.iterdir()} == {"users.json"}


def test_writers_wait_for_each_other(path: Path) -> None:
    names = [f"user{number}" for number in range(12)]
    threads = [threading.Thread(target=put, args=(path, name)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert read_users(path).keys() == {"ann", *names}


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="panelbus user add NAME"):
        read_users(tmp_path / "none.json")


def test_a_file_that_everybody_can_read_is_refused(path: Path) -> None:
    path.chmod(0o604)
    with pytest.raises(Misuse, match=f"chmod 600 {path}"):
        read_users(path)


@pytest.mark.skipif(os.name != "posix", reason="permission bits of POSIX")
@pytest.mark.parametrize("bits", [0o620, 0o602])
def test_a_file_that_others_may_change_is_refused(bits: int, path: Path) -> None:
    users = UserFile(path)
    path.chmod(bits)
    with pytest.raises(Misuse, match=f"others may change {path}; close it: chmod 600 {path}"):
        read_users(path)
    assert users.get("ann") is None


def test_a_link_to_the_file_stays_one(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "users.json"
    link.parent.mkdir()
    link.symlink_to(path)
    put(link, "vic", "viewer")
    assert link.is_symlink()
    assert read_users(path).keys() == {"ann", "vic"}
    assert list(link.parent.iterdir()) == [link]


def test_a_change_is_on_the_disk_with_its_directory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []
    real = os.fsync

    def noting(descriptor: int) -> None:
        kept.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    put(path, "vic", "viewer")
    assert kept == ([False, True] if os.name == "posix" else [False])


def test_a_command_that_hangs_stops_another_one_only_for_a_while(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_files, "LOCK_SECONDS", 0.1)
    with changing(path), pytest.raises(Misuse, match="is being changed by another command"):
        put(path, "vic", "viewer")
    put(path, "vic", "viewer")


def _edit(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(version=2),
        lambda d: d.pop("users"),
        lambda d: d.update(users=[]),
        lambda d: d["users"].update({"a b": d["users"]["ann"]}),
        lambda d: d["users"]["ann"].update(role="app"),
        lambda d: d["users"]["ann"].update(password="plain text"),
        lambda d: d["users"]["ann"]["password"].update(kdf="md5"),
        lambda d: d["users"]["ann"]["password"].update(n=3),
        lambda d: d["users"]["ann"]["password"].update(n=2**24),
        lambda d: d["users"]["ann"]["password"].update(n="2"),
        lambda d: d["users"]["ann"]["password"].update(p=65),
        lambda d: d["users"]["ann"]["password"].update(salt="AAAA"),
        lambda d: d["users"]["ann"]["password"].update(key="!"),
    ],
)
def test_a_file_of_something_else_is_refused(path: Path, change: Callable[[Any], None]) -> None:
    _edit(path, change)
    with pytest.raises(Misuse, match="no file of users") as refused:
        read_users(path)
    assert "plain text" not in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"\xff", b"x" * (4 * 1024 * 1024 + 1)])
def test_bytes_that_are_no_users_are_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(Misuse, match="no file of users"):
        read_users(path)


# --- for the monitor -----------------------------------------------------------------------------


def test_a_check_takes_name_and_password(path: Path) -> None:
    users = UserFile(path)
    assert users.check("ann", SECRET) == users.get("ann")
    assert users.get("ann") is not None
    for name, password in (("ann", "wrong one"), ("vic", SECRET), ("", ""), ("ann", "x" * 2_000)):
        assert users.check(name, password) is None


def test_an_unknown_user_costs_the_same_hash(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = UserFile(path)
    spent: list[Cost] = []
    real = users_module._key

    def counting(password: str, cost: Cost, salt: bytes) -> bytes:
        spent.append(cost)
        return real(password, cost, salt)

    monkeypatch.setattr(users_module, "_key", counting)
    for name in ("ann", "nobody"):
        assert users.check(name, "wrong password") is None
    assert spent == [CHEAP, CHEAP]


def test_a_change_counts_at_once(path: Path) -> None:
    users = UserFile(path)
    before = users.get("ann")
    assert before is not None
    put(path, "ann", "viewer")
    after = users.get("ann")
    assert after is not None
    assert (after.role, after.stamp != before.stamp) == ("viewer", True)
    with changing(path) as found:
        del found["ann"]
    assert users.get("ann") is None
    assert users.check("ann", SECRET) is None


def test_nobody_logs_in_while_the_file_is_gone_or_broken(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    users = UserFile(path)
    good = path.read_bytes()
    path.unlink()
    assert users.get("ann") is None
    assert users.get("ann") is None
    assert [record.levelname for record in caplog.records] == ["ERROR"]  # told once
    path.write_bytes(good)
    path.chmod(0o600)
    assert users.get("ann") is not None
    path.write_bytes(b"{")
    assert users.get("ann") is None
