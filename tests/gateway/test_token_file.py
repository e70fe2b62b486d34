"""The file of tokens: what a running gateway makes of its changes, and how commands change it."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from broker.gateway import token_file
from broker.gateway.token_file import RECHECK_SECONDS, TokenFile, change, load
from broker.gateway.tokens import BadTokens, Token, Tokens, added, digest_of, dump, removed
from sessionclient import private_files

on_posix = pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
ANN = Token("ann", "operator", digest_of("a"), 1.0, None)
BOB = Token("bob", "viewer", digest_of("b"), 1.0, None)
EVE = Token("eve", "app", digest_of("c"), 1.0, None)


class Clock:
    """Each look is late enough to see a change."""

    def __init__(self) -> None:
        self.now = 100.0

    def look(self, file: TokenFile) -> Tokens:
        self.now += RECHECK_SECONDS
        return file.current(self.now)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.json"
    change(path, lambda _: (ANN, BOB), create=True)
    return path


@pytest.fixture
def clock() -> Clock:
    return Clock()


# --- reading ----------------------------------------------------------------------------------


def test_a_change_counts_at_the_next_look(path: Path, clock: Clock) -> None:
    file = TokenFile(path)
    assert clock.look(file) == (ANN, BOB)
    change(path, lambda tokens: added(tokens, EVE))
    assert file.current(clock.now) == (ANN, BOB)
    assert clock.look(file) == (ANN, BOB, EVE)
    change(path, lambda tokens: removed(tokens, "ann"))
    assert clock.look(file) == (BOB, EVE)
    assert RECHECK_SECONDS <= 1


def test_a_change_that_leaves_size_and_time_alone_is_seen(path: Path, clock: Clock) -> None:
    file = TokenFile(path)
    clock.look(file)
    before = path.stat()
    path.write_bytes(dump((ANN._replace(role="operator"), BOB._replace(name="rob"))))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [token.name for token in clock.look(file)] == ["ann", "rob"]


@pytest.mark.parametrize("broken", [b"", b"{", b'{"version": 9, "tokens": []}', b"x" * 2_000_000])
def test_a_broken_file_leaves_the_last_good_list_and_is_told_once(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, broken: bytes
) -> None:
    file = TokenFile(path)
    change(path, lambda tokens: removed(tokens, "bob"))
    assert clock.look(file) == (ANN,)
    good = path.read_bytes()
    path.write_bytes(broken)
    with caplog.at_level(logging.INFO, "panelbus.gateway"):
        assert [clock.look(file) for _ in range(5)] == [(ANN,)] * 5
        assert file.trouble is not None
        (line,) = caplog.messages
        assert line.startswith(f"{path} ")
        assert "the tokens it held before stay in use" in line
        path.write_bytes(good)
        assert clock.look(file) == (ANN,)
    assert file.trouble is None
    assert caplog.messages[1:] == [f"{path} can be used again"]


def test_a_file_that_is_gone_leaves_the_last_good_list(path: Path, clock: Clock) -> None:
    file = TokenFile(path)
    path.unlink()
    assert clock.look(file) == (ANN, BOB)
    assert file.trouble == "can't be read: No such file or directory"


def test_an_old_copy_does_not_bring_revoked_tokens_back(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    old = path.read_bytes()
    file = TokenFile(path)
    change(path, lambda tokens: removed(tokens, "ann"))
    assert clock.look(file) == (BOB,)
    path.write_bytes(old)
    assert clock.look(file) == (BOB,)
    assert "holds 1 tokens that had been revoked; they stay revoked" in caplog.text
    # also when it was renamed, or its role is another one, or another change comes between
    path.write_bytes(dump((ANN._replace(name="zoe", role="app"), BOB, EVE)))
    assert clock.look(file) == (BOB, EVE)


def test_a_name_may_have_a_new_token(path: Path, clock: Clock) -> None:
    file = TokenFile(path)
    change(path, lambda tokens: removed(tokens, "ann"))
    clock.look(file)
    new = ANN._replace(digest=digest_of("new"))
    change(path, lambda tokens: added(tokens, new))
    assert clock.look(file) == (BOB, new)


@on_posix
def test_a_file_that_others_may_change_is_refused(path: Path, clock: Clock) -> None:
    file = TokenFile(path)
    path.chmod(0o660)
    assert clock.look(file) == (ANN, BOB)
    assert file.trouble == "may be changed by others than its owner: chmod 600 it"
    with pytest.raises(BadTokens, match=f"^{path} may be changed by others"):
        TokenFile(path)


@pytest.mark.parametrize(("content", "why"), [(None, "can't be read: No such"), (b"{", "is not J")])
def test_a_gateway_does_not_start_without_a_list(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    path = tmp_path / "tokens.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadTokens, match=f"^{path} {why}"):
        TokenFile(path)


def test_what_a_gateway_remembers_is_bounded(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_file, "MAX_REVOKED_KEPT", 1)
    file = TokenFile(path)
    change(path, lambda _: (EVE,))
    assert clock.look(file) == (ANN, BOB)
    assert file.trouble == "has changed too often for one run; restart the gateway"


# --- writing ----------------------------------------------------------------------------------


@on_posix
def test_only_the_owner_may_read_it(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    change(path, lambda tokens: added(tokens, EVE))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [name.name for name in path.parent.iterdir()] == ["tokens.json"]


@on_posix
def test_it_stays_with_its_owner(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root changes the file of the gateway's user, who must still be able to read it."""
    given: list[tuple[int, int]] = []
    real = os.fstat

    def of_root(descriptor: int) -> os.stat_result:
        found = list(real(descriptor))
        found[stat.ST_UID] += 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", of_root)
    monkeypatch.setattr(os, "fchown", lambda _file, user, group: given.append((user, group)))
    change(path, lambda tokens: added(tokens, EVE))
    was = path.stat()
    assert given == [(was.st_uid, was.st_gid)]


def test_a_failure_leaves_the_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadTokens, match=f"^can't write {path}: No space left on device"):
        change(path, lambda tokens: added(tokens, EVE))
    monkeypatch.undo()
    assert load(path) == (ANN, BOB)
    assert [name.name for name in path.parent.iterdir()] == ["tokens.json"]


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(path)
    change(link, lambda tokens: added(tokens, EVE))
    assert link.is_symlink()
    assert load(path) == (ANN, BOB, EVE)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(BadTokens, match=r"can't write .*: No such file or directory"):
        change(tmp_path / "no" / "tokens.json", lambda tokens: tokens, create=True)


def test_a_command_does_not_wait_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_files, "LOCK_SECONDS", 0.0)

    def while_held(tokens: Tokens) -> Tokens:
        with pytest.raises(BadTokens, match="is being changed by another command; try again"):
            change(path, lambda tokens: tokens)
        return tokens

    change(path, while_held)


ADDING = """
import sys
from pathlib import Path
from broker.gateway.token_file import change
from broker.gateway.tokens import Token, added, digest_of
start = sys.stdin.readline()
for number in range(10):
    name = f"{sys.argv[2]}-{number}"
    token = Token(name, "app", digest_of(name), 1.0, None)
    change(Path(sys.argv[1]), lambda tokens: added(tokens, token))
"""


@pytest.mark.process
def test_commands_at_once_lose_nothing_of_each_other(path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", ADDING, str(path), f"w{number}"], stdin=subprocess.PIPE
        )
        for number in range(3)
    ]
    try:
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write(b"go\n")
            writer.stdin.close()
        assert [writer.wait(60) for writer in writers] == [0] * 3
    finally:
        for writer in writers:
            if writer.poll() is None:
                writer.kill()
                writer.wait()
    assert len(load(path)) == 2 + 30
