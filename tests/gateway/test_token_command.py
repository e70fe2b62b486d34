"""``panelbus token``."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from broker.gateway.token_file import change, load
from broker.gateway.tokens import Identity, Token, added, check, digest_of
from sessionclient.cli import main

Run = Callable[..., Result]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture
def run(path: Path) -> Run:
    """Run ``panelbus token`` with these words and this list."""

    def run(*words: str) -> Result:
        env = {"PANELBUS_TOKENS": str(path), "COLUMNS": "160"}
        return CliRunner().invoke(main, ["token", *words], env=env)

    return run


def test_a_token_is_shown_once_and_works(run: Run, path: Path) -> None:
    made = run("create", "ci", "--role", "viewer")
    assert made.exit_code == 0
    secret = made.stdout.removesuffix("\n")
    assert check(load(path), [f"Bearer {secret}".encode()], 0.0) == Identity("token ci", "viewer")
    assert "The token of ci (viewer). It is shown this once" in made.stderr
    assert secret not in made.stderr + run("list").output + run("list", "--json").output
    assert secret not in path.read_text()


def test_as_json(run: Run) -> None:
    made = json.loads(run("create", "ci", "--role", "app", "--expires", "2", "--json").stdout)
    (row,) = json.loads(run("list", "--json").stdout)
    assert made == {"token": made["token"], **row}
    assert (row["name"], row["role"]) == ("ci", "app")
    start, end = (datetime.fromisoformat(row[key]) for key in ("created", "expires"))
    assert (end - start).total_seconds() == 2 * 86400
    assert start.utcoffset() is not None


def test_the_list_tells_what_has_expired(run: Run, path: Path) -> None:
    run("create", "ever", "--role", "operator")
    old = Token("old", "app", digest_of("x"), 1.0, time.time() - 1)
    change(path, lambda tokens: added(tokens, old))
    lines = [line.strip() for line in run("list").output.splitlines()]
    (ever,) = [line for line in lines if line.startswith("ever")]
    (over,) = [line for line in lines if line.startswith("old")]
    assert ever.endswith("no end")
    assert over.endswith("(expired)")
    assert lines[-1] == "2 tokens"


def test_revoked(run: Run, path: Path) -> None:
    run("create", "ci", "--role", "viewer")
    assert run("revoke", "ci").output == "The token ci is revoked.\n"
    assert load(path) == ()
    again = run("revoke", "ci")
    assert (again.exit_code, again.output) == (1, "panelbus token: there is no token 'ci'\n")


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["create", "a b", "--role", "app"], 1, "'a b' is not a token's name; give 1 to 64 of"),
        (["create", "taken", "--role", "app"], 1, "there is a token 'taken' already; revoke it"),
        (["create", "x"], 2, "Missing option '--role'"),
        (["create", "x", "--role", "root"], 2, "'root' is not one of 'app', 'viewer', 'operator'"),
        (["create", "x", "--role", "app", "--expires", "0"], 2, "not in the range"),
        (["create", "x", "--role", "app", "--expires", "nan"], 2, "is not a number"),
        (["create"], 2, "Missing argument 'NAME'"),
        (["revoke", "x"], 1, "there is no token 'x'"),
    ],
)
def test_what_can_not_be_done(
    run: Run, path: Path, words: list[str], status: int, line: str
) -> None:
    run("create", "taken", "--role", "app")
    before = path.read_bytes()
    done = run(*words)
    assert (done.exit_code, done.stdout) == (status, "")
    assert line in done.stderr
    assert path.read_bytes() == before


def test_a_file_that_is_none(run: Run, path: Path) -> None:
    missing = run("list")
    line = f"panelbus token: {path} can't be read: No such file or directory\n"
    assert (missing.exit_code, missing.output) == (1, line)
    path.write_text("{")
    for words in (("list",), ("revoke", "x"), ("create", "x", "--role", "app")):
        done = run(*words)
        assert done.exit_code == 1
        assert f"{path} is not JSON" in done.stderr
    assert path.read_text() == "{"


def test_the_file_has_to_be_named() -> None:
    done = CliRunner().invoke(main, ["token", "list"], env={"PANELBUS_TOKENS": None})
    assert done.exit_code == 2
    assert "Missing option '--tokens' (env var: 'PANELBUS_TOKENS')" in done.stderr


def test_it_needs_no_web_framework() -> None:
    code = "import sys, broker.gateway.token_command; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"fastapi", "pydantic", "uvicorn", "starlette"}.isdisjoint(done.stdout.split())
