"""A client's key file: read whole, or refused with what to do and without what it holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sessionclient import AsyncOperator, Misuse, Operator
from sessionclient.keys import (
    KEY_VARIABLE,
    MAX_FILE_BYTES,
    ClientKey,
    check_name,
    key_from_environment,
    read_fields,
    read_key,
)

PUBLIC, SECRET, SERVER = "P" * 40, "S" * 40, "0123456789.-:+=^!/*?&<>()[]{}@%$#abcdefg"
GOOD = f'''# a comment

name = "sales"
role = "app"
 public = "{PUBLIC}"
secret="{SECRET}"
server =   "{SERVER}"
'''


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_key_is_read_with_its_broker(tmp_path: Path) -> None:
    key = read_key(written(tmp_path / "k", GOOD))
    assert key == ClientKey("sales", PUBLIC, SECRET, SERVER)
    assert repr(key) == "ClientKey('sales')"


def test_the_variable_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert key_from_environment() is None
    monkeypatch.setenv(KEY_VARIABLE, "")
    assert key_from_environment() is None
    monkeypatch.setenv(KEY_VARIABLE, str(written(tmp_path / "k", GOOD)))
    assert key_from_environment() == read_key(tmp_path / "k")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no client's key: name, public, secret, server is missing"),
        (GOOD.replace("server", "# server"), "server is missing; make one with: panelbus keygen"),
        (GOOD.replace(SECRET, "short"), "secret in .* is not a key of 40 characters"),
        (GOOD.replace(PUBLIC, PUBLIC[:-1] + '\\"'), "line 5 of .* is not one of a key file"),
        (GOOD.replace(PUBLIC, "P" * 39 + "~"), "public in .* is not a key of 40 characters"),
        (GOOD.replace('"sales"', '"../etc"'), "'../etc' can't name a key"),
        (GOOD + 'name = "again"', "line 8 of .* is not one of a key file"),
        ("-----BEGIN PRIVATE KEY-----", "line 1 of .* is not one of a key file"),
        ("# ä", "can't read the key file .*: it is not plain text"),
        ("#" * (MAX_FILE_BYTES + 1), "is no key file: it is over 4096 bytes"),
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(
    text: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(Misuse, match=says) as caught:
        read_key(written(tmp_path / "k", text))
    assert SECRET not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"can't read the key file .*/none: No such file"):
        read_key(tmp_path / "none")
    with pytest.raises(Misuse, match=r"can't read the key file .*: Is a directory"):
        read_key(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="permission bits of POSIX")
def test_a_secret_that_everybody_can_read_is_none(tmp_path: Path) -> None:
    path = written(tmp_path / "k", GOOD, 0o644)
    with pytest.raises(Misuse, match=f"everybody on this machine can read .*: chmod 600 {path}"):
        read_key(path)
    path.chmod(0o640)  # a group may share it, as where files are mounted into containers
    assert read_key(path).name == "sales"
    public = written(tmp_path / "p", f'public = "{PUBLIC}"', 0o644)
    assert read_fields(public) == {"public": PUBLIC}


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a b", "x" * 65, "ä", "a\n"])
def test_a_name_that_could_be_no_file_is_refused(name: str) -> None:
    with pytest.raises(Misuse, match="can't name a key"):
        check_name(name)


@pytest.mark.parametrize("kind", [Operator, AsyncOperator])
def test_an_operator_refuses_a_broken_key_at_once(
    kind: type[Operator] | type[AsyncOperator], tmp_path: Path
) -> None:
    with pytest.raises(Misuse, match="can't read the key file"):
        kind("tcp://127.0.0.1:1", key_file=tmp_path / "none")
