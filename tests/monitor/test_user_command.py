"""``panelbus user``: adds, lists and removes; a password is never an argument, never shown."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from monitor import user_command, users
from monitor.user_command import main
from monitor.users import Cost, hashed, matches, read_users
from tests.support.processes import ROOT

SECRET = "correct horse"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users.json"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_command, "hashed", lambda text: hashed(text, Cost(2, 1, 1)))


def run(path: Path, *words: str, given: str = "") -> Result:
    done = CliRunner().invoke(main, [*words, "--users", str(path)], input=given)
    assert SECRET not in done.output
    return done


def add(path: Path, name: str, role: str, *more: str, given: str = SECRET + "\n") -> Result:
    return run(path, "add", name, "--role", role, "--password-stdin", *more, given=given)


def test_users_come_and_go(path: Path) -> None:
    assert add(path, "ann", "operator").output == "ann is added as operator\n"
    assert add(path, "victor", "viewer").output == "victor is added as viewer\n"
    assert run(path, "list").output == "ann     operator\nvictor  viewer\n"
    assert matches(read_users(path)["ann"].password, SECRET)
    assert run(path, "remove", "ann").output == "ann is removed\n"
    assert read_users(path).keys() == {"victor"}


def test_nobody_is_replaced_by_accident(path: Path) -> None:
    add(path, "ann", "operator")
    again = add(path, "ann", "viewer", given="another password\n")
    assert again.exit_code == 2
    assert "--replace" in again.output
    assert matches(read_users(path)["ann"].password, SECRET)
    assert add(path, "ann", "viewer", "--replace").output == "ann is now viewer\n"
    assert read_users(path)["ann"].role == "viewer"


@pytest.mark.parametrize(
    ("given", "password"), [("12345678", "12345678"), (" 3456 8 \r\nmore\n", " 3456 8 ")]
)
def test_a_piped_password_is_the_first_line_as_it_is(path: Path, given: str, password: str) -> None:
    assert add(path, "ann", "viewer", given=given).exit_code == 0
    assert matches(read_users(path)["ann"].password, password)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "a b", "--role", "viewer", "--password-stdin"), "can't name a user"),
        (("add", "ann", "--role", "app", "--password-stdin"), "'app' is not one of"),
        (("add", "ann", "--password-stdin"), "Missing option '--role'"),
        (("add", "ann", "--role", "viewer"), "there is no terminal"),
        (("add", "ann", "--role", "viewer", "--password", SECRET), "No such option"),
        (("remove", "ann"), "there is no user 'ann'"),
        (("list",), "panelbus user add NAME"),
    ],
)
def test_what_is_refused(path: Path, words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(main, [*words, "--users", str(path)], input="too short"[:7])
    assert (done.exit_code, said in done.output) == (2, True), done.output
    assert "Traceback" not in done.output


def test_a_short_password_is_refused(path: Path) -> None:
    done = add(path, "ann", "viewer", given="seven77\n")
    assert (done.exit_code, "8 to 1,024 characters" in done.output) == (2, True)
    assert not path.exists()


def test_the_file_may_come_from_the_environment(path: Path) -> None:
    add(path, "ann", "viewer")
    done = CliRunner().invoke(main, ["list"], env={"PANELBUS_USERS": str(path)})
    assert done.output == "ann  viewer\n"


@pytest.mark.process
@pytest.mark.parametrize("typed", [(SECRET, SECRET), (SECRET, "another one", SECRET, SECRET)])
def test_a_terminal_is_asked_twice_and_shows_nothing(path: Path, typed: tuple[str, ...]) -> None:
    ours, theirs = pty.openpty()
    words = ["user", "add", "ann", "--role", "operator", "--users", str(path)]
    code = "import sys; from sessionclient.cli import main; main(prog_name='panelbus')"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        for line in typed:
            while not shown.rpartition(b"\n")[2].endswith(b": "):
                shown += os.read(ours, 1024)
            os.write(ours, f"{line}\n".encode())
            while not shown.endswith(b"\n"):  # its echo of the end of the line
                shown += os.read(ours, 1)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert SECRET.encode() not in shown
    assert users.matches(read_users(path)["ann"].password, SECRET)
